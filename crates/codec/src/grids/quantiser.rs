//! What the quantisers share: a grid of numbers, one scale per group, and how codes lie in a packet.

use std::marker::PhantomData;

use anyhow::{Result, bail, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::{self, BufferNumber, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::rans;
use crate::bytes::values::{EXPONENT_BYTES, ValueType};
use crate::grids::groups;
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::info::{AllowedValues, OptionInfo, OptionWord};
use crate::interface::packet::{Packet, PacketView};
use crate::interface::shared::{DIGEST_BYTES, SharedNumbers};
use crate::interface::spec::CodecSpec;

/// The option that says how codes are sent.
pub(crate) const CODER: OptionInfo = OptionInfo {
    key: "coder",
    allowed: AllowedValues::Words(&[
        OptionWord { word: "none", meaning: "codes of 4 or 8 bits, one after another" },
        OptionWord { word: "rans", meaning: "entropy-coded by their frequencies in the packet, where that is shorter" },
    ]),
    default: "none",
    meaning: "how the codes are sent",
};

/// Options of every quantiser.
pub(crate) const OPTIONS: &[OptionInfo] = &[groups::GROUP_OR_TENSOR, CODER, groups::SCALES];

/// Own header: channels of a group 4, coder 1.
const OWN_BYTES: usize = 5;

/// In the packet's coder field: codes as they are, or [`rans`].
const PLAIN: u8 = 0;
const RANS: u8 = 1;

/// A grid of numbers, each with a code of [`Grid::BITS`] bits.
pub(crate) trait Grid: Send + Sync + 'static {
    /// Its largest number, on which the largest magnitude of a group falls.
    const TOP: f64;
    /// Bits of a code: 4 or 8.
    const BITS: usize;
    /// What the packet's coder field has beside the coder, to tell the grids of one codec apart.
    const MARK: u8 = 0;
    /// The code of the number nearest to a finite one; ties go to the even code.
    fn code(scaled: f64) -> u8;
    /// The number of a code; NaN where no number has it.
    fn value(code: u8) -> f64;
}

/// The nearest integer, ties to even, as the lowest bits of its two's complement. Adding 1.5 * 2^52 makes the last bit of
/// the mantissa worth one, so that the addition rounds; `round_ties_even` is a function call on plain x86-64.
pub(crate) fn nearest(small: f64) -> u8 {
    debug_assert!(small.abs() < 1e15);
    (small + 1.5 * (1u64 << 52) as f64).to_bits() as u8
}

/// The codec that brings an activation on a grid as it is.
pub(crate) struct Quantiser<G> {
    spec: CodecSpec,
    grid: PhantomData<G>,
}

impl<G> Quantiser<G> {
    pub fn new(spec: &CodecSpec) -> Self {
        Self { spec: spec.clone(), grid: PhantomData }
    }
}

impl<G: Grid> Codec for Quantiser<G> {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, _: Option<Budget>) -> Result<Packet> {
        crate::interface::check_finite(activation)?;
        pack::<G, f32>(&self.spec, (activation.tokens(), activation.hidden()), activation.values())
    }
}

/// The packet of S x D finite values.
pub(crate) fn pack<G: Grid, T: Copy + Into<f64>>(
    spec: &CodecSpec,
    shape: (usize, usize),
    values: &[T],
) -> Result<Packet> {
    pack_shared::<G, T>(spec, shape, values, &[])
}

/// The same, with the digest of what the other side must have.
pub(crate) fn pack_shared<G: Grid, T: Copy + Into<f64>>(
    spec: &CodecSpec,
    shape: (usize, usize),
    values: &[T],
    digest: &[u8],
) -> Result<Packet> {
    let (_, hidden) = shape;
    let channels = groups::channels(spec, hidden)?;
    let kind: ValueType = spec.typed(groups::SCALES.key)?;
    let GridCodes { scales, codes } = quantise::<G, T>(kind, (hidden, channels), values, 1.0)?;
    let plain = plain_bytes::<G>(codes.len());
    // Entropy-coded where that was asked for and is shorter.
    let coded = match spec.option(CODER.key) {
        Some("rans") => Some(rans::encode(&codes, 1 << G::BITS)?).filter(|coded| coded.len() < plain),
        _ => None,
    };
    let payload = coded.as_ref().map_or(plain, Vec::len);
    let mut bytes = Packet::begin(spec.info(), kind, shape, OWN_BYTES + digest.len() + scales.len() + payload)?;
    put_u32(&mut bytes, channels);
    bytes.push(G::MARK | if coded.is_some() { RANS } else { PLAIN });
    bytes.extend_from_slice(digest);
    bytes.extend_from_slice(&scales);
    match coded {
        Some(coded) => bytes.extend_from_slice(&coded),
        None => put_codes::<G>(&mut bytes, &codes),
    }
    Packet::finish(spec.info(), bytes)
}

/// Values on a grid.
pub(crate) struct GridCodes {
    /// The section of scales, as it goes into a packet.
    pub scales: Scratch<u8>,
    /// One code per value.
    pub codes: Scratch<u8>,
}

/// Rows of `widths.0` values, `widths.1` of which share a scale ([`groups::TENSOR`]: all), on a grid whose end is at `clip`
/// of a group's largest magnitude.
pub(crate) fn quantise<G: Grid, T: Copy + Into<f64>>(
    kind: ValueType,
    widths: (usize, usize),
    values: &[T],
    clip: f64,
) -> Result<GridCodes> {
    let (hidden, channels) = widths;
    let mut tops = Scratch::new(groups::count(values.len() / hidden, hidden, channels));
    // Without a clip the largest magnitude of a group falls on the end of the grid, so all of the grid is used.
    tops.extend(
        groups::split(values, hidden, channels)
            .map(|group| clip * group.iter().map(|&v| v.into().abs()).fold(0.0, f64::max)),
    );
    let mut scales = Scratch::new(EXPONENT_BYTES + tops.len() * kind.bytes());
    // Codes are made with the scales as the decoder will have them.
    let steps = groups::write(&mut scales, kind, &tops, G::TOP)?;
    let mut codes = Scratch::new(values.len());
    for (group, &step) in groups::split(values, hidden, channels).zip(&*steps) {
        // A group of zeros has no scale. Quotients, not products with a reciprocal: a tie stays one.
        let step = if step == 0.0 { 1.0 } else { step };
        codes.extend(group.iter().map(|&v| G::code(v.into() / step)));
    }
    Ok(GridCodes { scales, codes })
}

/// Appends codes one after another.
pub(crate) fn put_codes<G: Grid>(bytes: &mut Vec<u8>, codes: &[u8]) {
    if G::BITS == 8 {
        bytes.extend_from_slice(codes);
    } else {
        // Two codes per byte, the first in the low half; an odd last one leaves zeros.
        bytes.extend(codes.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4)));
    }
}

/// Bytes of `count` codes one after another.
pub(crate) fn plain_bytes<G: Grid>(count: usize) -> usize {
    (count * G::BITS).div_ceil(8)
}

/// The own header: channels of a group, coder.
fn own_header<G: Grid>(reader: &mut Reader<'_>, hidden: usize) -> Result<(usize, u8)> {
    let channels = reader.u32("group")? as usize;
    let known = channels == groups::TENSOR || (1..=hidden).contains(&channels);
    ensure!(known, "packet field group: {channels} is not in 0..={hidden}");
    let coder = reader.u8("coder")? ^ G::MARK;
    ensure!(coder <= RANS, "packet field coder: {coder} is neither {PLAIN} (none) nor {RANS} (rans)");
    Ok((channels, coder))
}

/// Whether a packet's coder field has this mark.
pub(crate) fn is_marked(body: &[u8], mark: u8) -> bool {
    body.get(OWN_BYTES - 1).is_some_and(|coder| coder & mark != 0)
}

pub(crate) fn layout<G: Grid>(view: &PacketView<'_>) -> Result<usize> {
    checked_layout::<G>(view, 0)
}

/// As [`layout`], of packets with a digest, whose codecs have no scale for the whole matrix.
pub(crate) fn layout_shared<G: Grid>(view: &PacketView<'_>) -> Result<usize> {
    let (channels, _) = own_header::<G>(&mut Reader::new(view.body), view.hidden)?;
    ensure!(channels != groups::TENSOR, "packet field group: {channels} is not in 1..={}", view.hidden);
    checked_layout::<G>(view, DIGEST_BYTES)
}

fn checked_layout<G: Grid>(view: &PacketView<'_>, digest: usize) -> Result<usize> {
    let mut reader = Reader::new(view.body);
    let (channels, coder) = own_header::<G>(&mut reader, view.hidden)?;
    reader.bytes(digest, "digest")?;
    let scales = EXPONENT_BYTES + groups::count(view.tokens, view.hidden, channels) * view.values.bytes();
    reader.bytes(scales, "scales")?;
    let elements = view.tokens * view.hidden;
    let payload = if coder == RANS { rans::stated_len(&mut reader)? } else { plain_bytes::<G>(elements) as u64 };
    view.expect_len((OWN_BYTES + digest + scales) as u64 + payload)?;
    Ok(elements)
}

/// The S * D numbers of a packet, each as `to` makes it from f64; NaN where a code stands for none.
pub(crate) fn unpack<G: Grid, T: BufferNumber>(packet: &Packet, to: impl Fn(f64) -> T) -> Result<Vec<T>> {
    unpack_after::<G, T>(packet, |_| Ok(()), to)
}

/// As [`unpack`], of a packet made with these shared numbers; fails where it was made with others.
pub(crate) fn unpack_shared<G: Grid>(packet: &Packet, shared: &SharedNumbers) -> Result<Vec<f64>> {
    let check = |reader: &mut Reader<'_>| shared.check(reader.bytes(DIGEST_BYTES, "digest")?, packet.codec());
    unpack_after::<G, f64>(packet, check, |v| v)
}

fn unpack_after<G: Grid, T: BufferNumber>(
    packet: &Packet,
    check: impl FnOnce(&mut Reader<'_>) -> Result<()>,
    to: impl Fn(f64) -> T,
) -> Result<Vec<T>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let (channels, coder) = own_header::<G>(&mut reader, view.hidden)?;
    check(&mut reader)?;
    let steps = groups::read(&mut reader, view.values, groups::count(view.tokens, view.hidden, channels))?;
    let elements = packet.elements();
    let codes: Scratch<u8>;
    let codes = if coder == RANS {
        codes = rans::decode(&mut reader, 1 << G::BITS, elements)?.into();
        &codes[..]
    } else if G::BITS == 8 {
        reader.bytes(plain_bytes::<G>(elements), "codes")?
    } else {
        codes = read_codes::<G>(&mut reader, elements)?;
        &codes[..]
    };
    Ok(numbers::<G, T>(codes, &steps, (view.hidden, channels), to))
}

/// The numbers of rows of codes, `widths` as of [`quantise`]; NaN where a code stands for none.
pub(crate) fn numbers<G: Grid, T: BufferNumber>(
    codes: &[u8],
    steps: &[f64],
    widths: (usize, usize),
    to: impl Fn(f64) -> T,
) -> Vec<T> {
    // A code is a byte: a table of all 256 makes a number one look-up.
    let numbers: [f64; 256] = std::array::from_fn(|code| G::value(code as u8));
    let mut out = buffers::empty(codes.len());
    for (group, step) in groups::split(codes, widths.0, widths.1).zip(steps) {
        out.extend(group.iter().map(|&code| to(numbers[usize::from(code)] * step)));
    }
    out
}

/// Reads codes one after another.
pub(crate) fn read_codes<G: Grid>(reader: &mut Reader<'_>, count: usize) -> Result<Scratch<u8>> {
    let bytes = reader.bytes(plain_bytes::<G>(count), "codes")?;
    if G::BITS == 4 {
        return halves(bytes, count);
    }
    let mut codes = Scratch::new(count);
    codes.extend_from_slice(bytes);
    Ok(codes)
}

/// One code per byte, from packet bytes that hold two codes each, low half first.
fn halves(bytes: &[u8], count: usize) -> Result<Scratch<u8>> {
    let mut codes = Scratch::new(2 * bytes.len());
    codes.extend(bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]));
    if codes.drain(count..).any(|spare| spare != 0) {
        bail!("packet field codes: the spare half of the last byte is not zero");
    }
    Ok(codes)
}

/// As f32. A rounded scale may carry the largest finite number just past itself.
pub(crate) fn saturated(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

/// The activation of a packet that holds it as it was.
pub(crate) fn decode<G: Grid>(packet: &Packet) -> Result<Vec<f32>> {
    unpack::<G, f32>(packet, saturated)
}
