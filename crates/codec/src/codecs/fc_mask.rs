//! `fc-mask`: the coefficients of the 2-D Fourier or cosine transform that hold the most energy, and which they are.

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
use crate::parts::coefficient_layout::CoefficientLayout;
use crate::parts::mask::{self, Chooser, Mask, MaskNumbers};
use crate::parts::transform::{self, PlaneTransform, TransformedMatrix};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "fc-mask",
    summary: "Keeps the coefficients of a 2-D transform that hold the most energy, and tells which they are.",
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
        transform::OPTION,
        coefficients::VALUES,
        coefficients::CODER,
    ],
    id: 16,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| {
        let (mask, transform) = (spec.typed("mask")?, PlaneTransform::new(spec));
        Ok(Box::new(FcMask { spec: spec.clone(), mask, transform, coefficients: Coefficients::new(spec) }))
    },
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// Coefficients, each of which stands for its mirror too where it is of a spectrum, and an index of them.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    amount: Amount::Indexed,
    stated: |spec, _, packet| {
        let bytes = packet.as_bytes();
        let at = if bytes[15] & 15 == 1 { 29 + size_rule::count(bytes, 25) } else { 25 + size_rule::count(bytes, 21) };
        let numbers = PlaneTransform::new(spec).numbers() * packet.elements();
        let plain = at + size_rule::coefficient_bytes(spec, numbers);
        Some(size_rule::coded_coefficients(spec, bytes, at, numbers).unwrap_or(plain))
    },
    elements: |spec, [s, d], ratio| {
        if spec.option("mask") == Some("separable") {
            return None;
        }
        let count = ((s * d) as f64 / ratio).floor() as usize;
        if spec.option("transform") == Some("dct") {
            return Some(count.max(1));
        }
        // Numbers that are their own mirrors, and one of each pair.
        let own = (1 + usize::from(s.is_multiple_of(2))) * (1 + usize::from(d.is_multiple_of(2)));
        Some(count.clamp(1, (s * d + own) / 2))
    },
    least: |_, _, _| 1,
    ..SizeRule::WHOLE
};

/// In the packet's first field, beside the mask.
const COSINE: u8 = 16;

/// Own header: mask and transform 1, K 4, coding 1, bytes of the index 4; a separable mask has its rows and columns, 4, before the coding.
fn own_bytes(mask: Mask) -> usize {
    if mask == Mask::Separable { 14 } else { 10 }
}

struct FcMask {
    spec: CodecSpec,
    mask: Mask,
    transform: PlaneTransform,
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
        let layout = CoefficientLayout { tokens, hidden, transform: self.transform };
        let gain = values::power_of_two(-shift);
        let sent = self.transform.apply(activation.values(), activation.shape(), gain, |matrix| {
            self.choose(layout, matrix, shift, budget)
        })?;
        let body = own_bytes(self.mask) + sent.coding.bytes + sent.payload.len();
        let mut bytes = Packet::begin(&INFO, self.coefficients.kind, (tokens, hidden), body)?;
        bytes.push(self.mask.id() | if self.transform == PlaneTransform::Cosine { COSINE } else { 0 });
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
    /// Chooses the coefficients that the budget has room for, of a transform divided by 2^`shift`.
    fn choose(
        &self,
        layout: CoefficientLayout,
        matrix: TransformedMatrix<'_>,
        shift: i32,
        budget: Budget,
    ) -> Result<MaskPayload> {
        let CoefficientLayout { tokens, hidden, transform } = layout;
        // By Parseval's theorem the energy left out is proportional to the squared error: what keeps most loses least.
        let chooser = Chooser::new(self.mask, layout, layout.energies(matrix));
        let make = |count| -> Result<MaskPayload> {
            let (kept, listed) = chooser.choose(count);
            let coding = bits::shortest(&listed.numbers, listed.below);
            let payload = self.coefficients.encode(&layout.gather(matrix, &kept), shift)?;
            Ok(MaskPayload { kept: kept.len(), listed, coding, payload })
        };
        match budget.accounting {
            Accounting::Elements => {
                make((((tokens * hidden) as f64 / budget.ratio).floor() as usize).clamp(1, layout.count()))
            }
            Accounting::Wire => {
                let room = wire_items(budget.ratio, (tokens, hidden), HEADER_BYTES + own_bytes(self.mask), 1);
                let certain = |room| self.coefficients.certain(room, transform.numbers()).clamp(1, layout.count());
                // Entropy-coded numbers may leave room for more than is certain.
                let most = if self.coefficients.coded { layout.count() } else { certain(room) };
                // An index is no longer than a bitmap.
                let bitmap = mask::below(self.mask, layout, certain(room)).div_ceil(8);
                let fits = |sent: &MaskPayload| sent.coding.bytes + sent.payload.len() <= room;
                largest_that_fits(certain(room.saturating_sub(bitmap)), most, make, fits)
            }
        }
    }
}

/// The own header.
struct MaskHeader {
    layout: CoefficientLayout,
    mask: Mask,
    kept: usize,
    numbers: usize,
    coding: Coding,
}

fn own_header(reader: &mut Reader<'_>, tokens: usize, hidden: usize) -> Result<MaskHeader> {
    let first = reader.u8("mask")?;
    let mask = Mask::from_id(first & !COSINE)?;
    let transform = if first & COSINE == 0 { PlaneTransform::Fourier } else { PlaneTransform::Cosine };
    let layout = CoefficientLayout { tokens, hidden, transform };
    let (kept, most) = (reader.u32("K")? as usize, layout.count());
    ensure!((1..=most).contains(&kept), "packet field K: {kept} is not in 1..={most}");
    // Two of the masks have a number that follows from K; a separable one states it.
    let numbers = match mask::numbers(mask, layout, kept) {
        Some(numbers) => numbers,
        None => reader.u32("rows and columns")? as usize,
    };
    let most = mask::below(mask, layout, kept);
    ensure!(numbers <= most, "packet field rows and columns: {numbers} of {most}");
    let id = reader.u8("coding")?;
    let bytes = reader.u32("index")? as usize;
    Ok(MaskHeader { layout, mask, kept, numbers, coding: Coding { id, bytes } })
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let own = own_header(&mut Reader::new(view.body), view.tokens, view.hidden)?;
    let numbers = own.layout.transform.numbers() * own.kept;
    coefficients::expect(view, own_bytes(own.mask) + own.coding.bytes, numbers)?;
    Ok(own.kept)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let mut reader = Reader::new(packet.view().body);
    let MaskHeader { layout, mask, kept, numbers, coding } = own_header(&mut reader, packet.tokens(), packet.hidden())?;
    let index = reader.bytes(coding.bytes, "index")?;
    let listed = bits::read(index, coding.id, numbers, mask::below(mask, layout, kept))?;
    let positions = mask::positions(mask, layout, kept, listed.into_vec())?;
    let section = coefficients::read(&mut reader, packet.values(), layout.transform.numbers() * kept, "coefficients")?;
    Ok(layout.restore(&positions, &section.stored, values::power_of_two(section.exponent)))
}
