//! `fc-mask`: the coefficients of the 2-D Fourier transform that hold the most energy, and which they are.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::bits::{self, Coding};
use crate::bytes::buffers::Scratch;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, shift_for_f32};
use crate::grids::coefficients::{self, Coefficients};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, largest_that_fits, wire_items};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, Amount, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::kernel::{self, Spectrum, with_workspace};
use crate::parts::half_spectrum::HalfSpectrum;
use crate::parts::mask::{self, Chooser, Mask, MaskNumbers};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "fc-mask",
    summary: "Keeps the coefficients of the 2-D Fourier transform that hold the most energy, and tells which they are.",
    options: &[
        OptionInfo {
            key: "mask",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "free", meaning: "the largest, wherever they are" },
                OptionWord { word: "separable", meaning: "chosen row frequencies times chosen columns" },
                OptionWord { word: "staircase", meaning: "the lowest columns of each row, as many as the row needs" },
            ]),
            default: "free",
            meaning: "which sets of coefficients may be kept; fewer sets take fewer bytes to tell",
        },
        coefficients::VALUES,
        coefficients::CODER,
    ],
    id: 16,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| {
        let coefficients = Coefficients::new(spec);
        Ok(Box::new(FcMask { spec: spec.clone(), mask: spec.typed("mask")?, coefficients }))
    },
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// Coefficients, each of which stands for its mirror too, and an index of them.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    amount: Amount::Indexed,
    stated: |spec, _, packet| {
        let bytes = packet.as_bytes();
        let at = if bytes[15] == 1 { 29 + size_rule::count(bytes, 25) } else { 25 + size_rule::count(bytes, 21) };
        let numbers = 2 * packet.elements();
        let plain = at + size_rule::coefficient_bytes(spec, numbers);
        Some(size_rule::coded_coefficients(spec, bytes, at, numbers).unwrap_or(plain))
    },
    elements: |spec, [s, d], ratio| {
        if spec.option("mask") == Some("separable") {
            return None;
        }
        // Numbers that are their own mirrors, and one of each pair.
        let own = (1 + usize::from(s.is_multiple_of(2))) * (1 + usize::from(d.is_multiple_of(2)));
        Some((((s * d) as f64 / ratio).floor() as usize).clamp(1, (s * d + own) / 2))
    },
    least: |_, _, _| 1,
    ..SizeRule::WHOLE
};

/// Own header: mask 1, K 4, coding 1, bytes of the index 4; a separable mask has its rows and columns, 4, before the coding.
fn own_bytes(mask: Mask) -> usize {
    if mask == Mask::Separable { 14 } else { 10 }
}

struct FcMask {
    spec: CodecSpec,
    mask: Mask,
    coefficients: Coefficients,
}

/// What is sent.
struct MaskPayload {
    kept: usize,
    listed: MaskNumbers,
    coding: Coding,
    payload: Scratch<u8>,
}

impl Codec for FcMask {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        let top = crate::interface::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        let shift = shift_for_f32(values::exponent(top), tokens * hidden);
        // The values are real: of each conjugate pair one coefficient says all.
        let half = HalfSpectrum { tokens, hidden };
        let sent = with_workspace(|workspace| {
            let gain = values::power_of_two(-shift);
            let spectrum = kernel::forward_all(activation.values(), activation.shape(), gain, workspace);
            self.choose(half, spectrum, shift, budget)
        })?;
        let body = own_bytes(self.mask) + sent.coding.bytes + sent.payload.len();
        let mut bytes = Packet::begin(&INFO, self.coefficients.kind, (tokens, hidden), body)?;
        bytes.push(self.mask.id());
        put_u32(&mut bytes, sent.kept);
        if self.mask == Mask::Separable {
            put_u32(&mut bytes, sent.listed.numbers.len());
        }
        bytes.push(sent.coding.id);
        put_u32(&mut bytes, sent.coding.bytes);
        bits::write(&mut bytes, &sent.listed.numbers, sent.coding);
        bytes.extend_from_slice(&sent.payload);
        Packet::finish(&INFO, bytes)
    }
}

impl FcMask {
    /// Chooses the coefficients that the budget has room for, of a spectrum divided by 2^`shift`.
    fn choose(&self, half: HalfSpectrum, spectrum: &Spectrum, shift: i32, budget: Budget) -> Result<MaskPayload> {
        let HalfSpectrum { tokens, hidden } = half;
        // By Parseval's theorem the energy left out is S D times the squared error: what keeps most loses least.
        let chooser = Chooser::new(self.mask, half, half.energies(spectrum));
        let make = |count| -> Result<MaskPayload> {
            let (kept, listed) = chooser.choose(count);
            let coding = bits::shortest(&listed.numbers, listed.below);
            let payload = self.coefficients.encode(&half.gather(spectrum, &kept), shift)?;
            Ok(MaskPayload { kept: kept.len(), listed, coding, payload })
        };
        match budget.accounting {
            Accounting::Elements => {
                make((((tokens * hidden) as f64 / budget.ratio).floor() as usize).clamp(1, half.count()))
            }
            Accounting::Wire => {
                let room = wire_items(budget.ratio, (tokens, hidden), HEADER_BYTES + own_bytes(self.mask), 1);
                let certain = |room| self.coefficients.certain(room, 2).clamp(1, half.count());
                // Entropy-coded numbers may leave room for more than is certain.
                let most = if self.coefficients.coded { half.count() } else { certain(room) };
                // An index is no longer than a bitmap.
                let bitmap = mask::below(self.mask, half, certain(room)).div_ceil(8);
                let fits = |sent: &MaskPayload| sent.coding.bytes + sent.payload.len() <= room;
                largest_that_fits(certain(room.saturating_sub(bitmap)), most, make, fits)
            }
        }
    }
}

/// The own header.
struct MaskHeader {
    mask: Mask,
    kept: usize,
    numbers: usize,
    coding: Coding,
}

fn own_header(reader: &mut Reader<'_>, half: HalfSpectrum) -> Result<MaskHeader> {
    let mask = Mask::from_id(reader.u8("mask")?)?;
    let (kept, most) = (reader.u32("K")? as usize, half.count());
    ensure!((1..=most).contains(&kept), "packet field K: {kept} is not in 1..={most}");
    // Two of the masks have a number that follows from K; a separable one states it.
    let numbers = match mask::numbers(mask, half, kept) {
        Some(numbers) => numbers,
        None => reader.u32("rows and columns")? as usize,
    };
    let most = mask::below(mask, half, kept);
    ensure!(numbers <= most, "packet field rows and columns: {numbers} of {most}");
    let id = reader.u8("coding")?;
    let bytes = reader.u32("index")? as usize;
    Ok(MaskHeader { mask, kept, numbers, coding: Coding { id, bytes } })
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let half = HalfSpectrum { tokens: view.tokens, hidden: view.hidden };
    let own = own_header(&mut Reader::new(view.body), half)?;
    coefficients::expect(view, own_bytes(own.mask) + own.coding.bytes, 2 * own.kept)?;
    Ok(own.kept)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let half = HalfSpectrum { tokens: packet.tokens(), hidden: packet.hidden() };
    let mut reader = Reader::new(packet.view().body);
    let MaskHeader { mask, kept, numbers, coding } = own_header(&mut reader, half)?;
    let index = reader.bytes(coding.bytes, "index")?;
    let listed = bits::read(index, coding.id, numbers, mask::below(mask, half, kept))?;
    let positions = mask::positions(mask, half, kept, listed.into_vec())?;
    let section = coefficients::read(&mut reader, packet.values(), 2 * kept, "coefficients")?;
    Ok(half.restore(&positions, &section.stored, values::power_of_two(section.exponent)))
}
