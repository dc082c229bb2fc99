//! `fc`: FourierCompress (paper, section III-C), a block of low-frequency coefficients; or of the cosine transform's.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::power_of_two;
use crate::grids::coefficients::{self, Coefficients};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, largest_that_fits, wire_items};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::kernel::{self, Band, Block, with_workspace};
use crate::parts::block_shape::{self, Allowance, Aspect};
use crate::parts::rotation::{self, RotatedRows, Rotation};
use crate::parts::transform::{self, PlaneTransform};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "fc",
    summary: "FourierCompress: keeps a K_S x K_D block of low-frequency coefficients of a 2-D transform.",
    options: &[
        OptionInfo {
            key: "band",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "corner", meaning: "rows 0..K_S, columns 0..K_D, real part of the inverse" },
                OptionWord { word: "mirrored", meaning: "the same block plus its conjugate positions" },
                OptionWord {
                    word: "centered",
                    meaning: "low row frequencies of both signs, columns of the half-spectrum",
                },
            ]),
            default: "mirrored",
            meaning: "which coefficients are kept, and what the decoder puts at their mirror positions",
        },
        OptionInfo {
            key: "aspect",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "proportional", meaning: "K_S : S as K_D : D" },
                OptionWord { word: "tokens", meaning: "K_S = S, only the hidden axis is cut" },
                OptionWord { word: "hidden", meaning: "K_D = D (or D/2 + 1), only the token axis is cut" },
                OptionWord { word: "adaptive", meaning: "the pair that restores the most energy of each activation" },
            ]),
            default: "proportional",
            meaning: "shape of the block at the same number of coefficients",
        },
        transform::OPTION,
        rotation::OPTION,
        coefficients::VALUES,
        coefficients::CODER,
    ],
    id: 1,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: rotation::need,
    build: |spec, calibration| {
        Ok(Box::new(Fc {
            spec: spec.clone(),
            band: spec.typed("band")?,
            aspect: spec.typed("aspect")?,
            transform: PlaneTransform::new(spec),
            rotation: Rotation::new(spec, calibration)?,
            coefficients: Coefficients::new(spec),
        }))
    },
    layout,
    decode: |packet| Ok(restore(packet, None)?.values),
    #[cfg(test)]
    size: SIZE,
};

/// A block of K_S x K_D coefficients, complex of a spectrum. It is less than a row or a column short of what there is room for.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, _, kept| {
        1 + 4
            + 4
            + size_rule::digest_bytes(spec)
            + size_rule::coefficient_bytes(spec, PlaneTransform::new(spec).numbers() * kept)
    },
    stated: |spec, _, packet| {
        let at = 24 + size_rule::digest_bytes(spec);
        size_rule::coded_coefficients(
            spec,
            packet.as_bytes(),
            at,
            PlaneTransform::new(spec).numbers() * packet.elements(),
        )
    },
    elements: |spec, [s, d], ratio| {
        let most = if spec.option("band") == Some("centered") { d / 2 + 1 } else { d };
        let beside = |k: usize, top: usize| (((s * d) as f64 / (ratio * k as f64)).floor() as usize).clamp(1, top);
        Some(match spec.option("aspect") {
            Some("proportional") => {
                let ks = ((s as f64 / ratio.sqrt()).round() as usize).clamp(1, s);
                if beside(ks, usize::MAX) > most { beside(most, s) * most } else { ks * beside(ks, most) }
            }
            Some("tokens") => s * beside(s, most),
            Some("hidden") => beside(most, s) * most,
            _ => return None,
        })
    },
    least: |spec, [s, d], accounting| match (spec.option("aspect"), accounting) {
        (Some("tokens"), Accounting::Elements) => s,
        (Some("hidden"), Accounting::Elements) => d,
        _ => 1,
    },
    more: |_, [s, d], kept| kept + s.max(d),
    ..SizeRule::WHOLE
};

/// In the packet's first field, in place of a band.
const COSINE: u8 = 4;

/// Own header: band and rotation 1, K_S 4, K_D 4; where the rotation is calibrated, its digest.
const OWN_BYTES: usize = 9;

struct Fc {
    spec: CodecSpec,
    band: Band,
    aspect: Aspect,
    transform: PlaneTransform,
    rotation: Rotation,
    coefficients: Coefficients,
}

impl Codec for Fc {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        let shape @ (tokens, hidden) = (activation.tokens(), activation.hidden());
        let own_bytes = OWN_BYTES + self.rotation.digest().len();
        let room = wire_items(budget.ratio, shape, HEADER_BYTES + own_bytes, 1);
        let numbers = self.transform.numbers();
        // Plain numbers fill the room with this many coefficients; entropy-coded ones may leave some.
        let certain = self.coefficients.certain(room, numbers).max(1);
        let allowance = match budget.accounting {
            Accounting::Elements => Allowance::Ratio(budget.ratio),
            Accounting::Wire => Allowance::Count(certain),
        };
        // Only of entropy-coded numbers the size is unknown until they are coded, so blocks are tried.
        let searched = self.coefficients.coded && budget.accounting == Accounting::Wire;
        // Where the block depends on the coefficients all are computed once, and blocks are cut out of them.
        let whole = searched || self.aspect == Aspect::Adaptive || self.transform == PlaneTransform::Cosine;
        let (block, payload) = if whole {
            let RotatedRows { rows, gain, shift } =
                self.rotation.apply(activation, crate::interface::check_finite(activation)?)?;
            self.transform.apply(&rows, activation.shape(), gain, |matrix| {
                let send = |block: Block| -> Result<(Block, Scratch<u8>)> {
                    let mut kept = Scratch::new(numbers * block.ks * block.kd);
                    matrix.block(self.band, block, &mut kept);
                    Ok((block, self.coefficients.encode(&kept, shift)?))
                };
                let block = |allowance| match self.aspect {
                    Aspect::Adaptive => block_shape::most_energy(matrix, self.band, allowance),
                    _ => block_shape::choose(self.aspect, self.band, shape, allowance),
                };
                let most = if searched { tokens * hidden } else { certain };
                let make = |count| send(block(Allowance::Count(count)));
                match allowance {
                    // `least` fits for certain: only more is tried.
                    Allowance::Count(least) => largest_that_fits(least, most, make, |(_, sent)| sent.len() <= room),
                    ratio => send(block(ratio)),
                }
            })?
        } else {
            // The block is known beforehand, so the transform computes nothing else.
            let block = block_shape::choose(self.aspect, self.band, shape, allowance);
            let mut kept = Scratch::new(2 * block.ks * block.kd);
            let shift = self.transform(activation, block, &mut kept)?;
            (block, self.coefficients.encode(&kept, shift)?)
        };
        let mut bytes = Packet::begin(&INFO, self.coefficients.kind, shape, own_bytes + payload.len())?;
        // Both are small numbers: half a byte each.
        let band = if self.transform == PlaneTransform::Cosine { COSINE } else { self.band.id() };
        bytes.push(band | self.rotation.id() << 4);
        put_u32(&mut bytes, block.ks);
        put_u32(&mut bytes, block.kd);
        bytes.extend_from_slice(self.rotation.digest());
        bytes.extend_from_slice(&payload);
        Packet::finish(&INFO, bytes)
    }

    fn decode(&self, packet: &Packet) -> Result<Activation> {
        crate::interface::check_codec(&self.spec, packet)?;
        let Reconstruction { values, finite } = restore(packet, Some(&self.rotation))?;
        // The inverse transform has told that all values are finite: they are not read again.
        if finite {
            Activation::new(packet.tokens(), packet.hidden(), values)
        } else {
            crate::interface::received(packet, values)
        }
    }
}

impl Fc {
    /// Makes `kept` the coefficients of a block, and gives the power of two they were divided by.
    fn transform(&self, activation: &Activation, block: Block, kept: &mut Vec<f32>) -> Result<i32> {
        let mut forward = |rows: &[f32], gain| {
            with_workspace(|work| kernel::forward(rows, activation.shape(), self.band, block, gain, kept, work))
        };
        // Ordinary values need no shift: the transform tells the largest, so that they are read once.
        let top = match self.rotation {
            Rotation::None => forward(activation.values(), 1.0),
            _ => None,
        };
        let top = top.map_or_else(|| crate::interface::check_finite(activation), Ok)?;
        let RotatedRows { rows, gain, shift } = self.rotation.apply(activation, top)?;
        // Otherwise the first transform was of these very rows.
        if !(matches!(self.rotation, Rotation::None) && shift == 0) {
            forward(&rows, gain);
        }
        Ok(shift)
    }
}

/// The own header.
struct FcHeader<'a> {
    transform: PlaneTransform,
    band: Band,
    block: Block,
    /// Its number and digest.
    rotation: (u8, &'a [u8]),
}

/// The own header, its block checked against the shape.
fn own_header<'a>(reader: &mut Reader<'a>, view: &PacketView<'_>) -> Result<FcHeader<'a>> {
    let first = reader.u8("band")?;
    // A cosine transform has no mirrors: its block is the low corner of all columns, as that of `mirrored`.
    let (transform, band) = match first & 15 {
        COSINE => (PlaneTransform::Cosine, Band::Mirrored),
        id => (PlaneTransform::Fourier, Band::from_id(id)?),
    };
    let block = Block { ks: reader.u32("K_S")? as usize, kd: reader.u32("K_D")? as usize };
    let most = band.max_kd(view.hidden);
    ensure!((1..=view.tokens).contains(&block.ks), "packet field K_S: {} is not in 1..={}", block.ks, view.tokens);
    ensure!((1..=most).contains(&block.kd), "packet field K_D: {} is not in 1..={most}", block.kd);
    Ok(FcHeader { transform, band, block, rotation: (first >> 4, rotation::read(reader, first >> 4)?) })
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let FcHeader { transform, block, rotation: (_, digest), .. } = own_header(&mut Reader::new(view.body), view)?;
    // A complex coefficient counts as one number, as in the paper, and so does a real one.
    let kept = block.ks * block.kd;
    coefficients::expect(view, OWN_BYTES + digest.len(), transform.numbers() * kept)?;
    Ok(kept)
}

/// What a packet stands for.
struct Reconstruction {
    values: Vec<f32>,
    /// Whether they are known to be finite.
    finite: bool,
}

/// The values of a packet, which `own` may be needed for.
fn restore(packet: &Packet, own: Option<&Rotation>) -> Result<Reconstruction> {
    let (sent, FcHeader { transform, band, block, rotation }, exponent) = sent(packet)?;
    let inverse = |gain| {
        let shape = packet.shape();
        if transform == PlaneTransform::Cosine {
            let values = transform::from_cosine_block(&sent, block.kd, shape, gain);
            return Reconstruction { values, finite: false };
        }
        let mut values = buffers::floats(shape.elements());
        let top = with_workspace(|work| kernel::inverse(&sent, shape, band, block, gain, &mut values, work));
        Reconstruction { values, finite: top.is_some() }
    };
    let gain = power_of_two(exponent);
    if rotation.0 == 0 {
        return Ok(inverse(gain));
    }
    // Stored numbers have a moderate size whatever their exponent is. The transform works on these; the exponent comes
    // in last, in f64.
    let values = rotation::undo(own, packet, rotation, inverse(1.0).values, gain)?;
    Ok(Reconstruction { values, finite: false })
}

/// The stored coefficients of an `fc` packet (of a spectrum real and imaginary parts in turn), its own header, and the exponent they
/// share.
fn sent(packet: &Packet) -> Result<(Scratch<f32>, FcHeader<'_>, i32)> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let own = own_header(&mut reader, &view)?;
    let count = own.transform.numbers() * own.block.ks * own.block.kd;
    let section = coefficients::read(&mut reader, packet.values(), count, "coefficients")?;
    Ok((section.stored, own, section.exponent))
}

#[cfg(test)]
#[path = "fc_tests.rs"]
mod tests;
