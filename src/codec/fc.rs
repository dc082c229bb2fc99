//! `fc`: FourierCompress (paper, section III-C), a block of low-frequency coefficients.

use anyhow::{Result, ensure};

use super::block::{self, Allowance, Aspect};
use super::budget::wire_items;
use super::buffers::{self, Scratch};
use super::packet::{self, Frame, HEADER_BYTES, Packet, Reader};
use super::registry::{Allowed, Choice, CodecInfo, OptionInfo, Rate, VALUES};
use super::values::{self, EXPONENT_BYTES, ValueType};
use super::{Accounting, Activation, Budget, Codec, CodecSpec};
use crate::kernel::{self, Band, Block};

pub(super) const INFO: CodecInfo = CodecInfo {
    name: "fc",
    summary: "FourierCompress: keeps a K_S x K_D block of low-frequency coefficients of the 2-D Fourier transform.",
    options: &[
        OptionInfo {
            key: "band",
            allowed: Allowed::Words(&[
                Choice { word: "corner", meaning: "rows 0..K_S, columns 0..K_D, real part of the inverse" },
                Choice { word: "mirrored", meaning: "the same block plus its conjugate positions" },
                Choice { word: "centered", meaning: "low row frequencies of both signs, columns of the half-spectrum" },
            ]),
            default: "mirrored",
            meaning: "which coefficients are kept, and what the decoder puts at their mirror positions",
        },
        OptionInfo {
            key: "aspect",
            allowed: Allowed::Words(&[
                Choice { word: "proportional", meaning: "K_S : S as K_D : D" },
                Choice { word: "tokens", meaning: "K_S = S, only the hidden axis is cut" },
                Choice { word: "hidden", meaning: "K_D = D (or D/2 + 1), only the token axis is cut" },
                Choice { word: "adaptive", meaning: "the pair that restores the most energy of each activation" },
            ]),
            default: "proportional",
            meaning: "shape of the block at the same number of coefficients",
        },
        VALUES,
    ],
    id: 1,
    rate: Rate::Budget,
    needs: |_| None,
    build: |spec, _| {
        Ok(Box::new(Fc {
            spec: spec.clone(),
            band: spec.typed("band")?,
            aspect: spec.typed("aspect")?,
            values: spec.values(),
        }))
    },
    layout,
    decode,
};

/// Own header: band 1, K_S 4, K_D 4.
const OWN_BYTES: usize = 9;

struct Fc {
    spec: CodecSpec,
    band: Band,
    aspect: Aspect,
    values: ValueType,
}

impl Codec for Fc {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Budget) -> Result<Packet> {
        budget.check()?;
        let top = super::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        let shape = (tokens, hidden);
        let fixed = HEADER_BYTES + OWN_BYTES + EXPONENT_BYTES;
        let allowance = match budget.accounting {
            Accounting::Elements => Allowance::Ratio(budget.ratio),
            Accounting::Wire => {
                Allowance::Count(wire_items(budget.ratio, shape, fixed, 2 * self.values.bytes()).max(1))
            }
        };
        let shift = shift_for_f32(top, tokens * hidden);
        let gain = values::power_of_two(-shift) as f32;
        let (spectrum, block) = if self.aspect == Aspect::Adaptive {
            let spectrum = kernel::forward_all(activation.values(), tokens, hidden, gain);
            let block = block::most_energy(&spectrum, self.band, allowance);
            (spectrum, block)
        } else {
            let block = block::choose(self.aspect, self.band, shape, allowance);
            (kernel::forward(activation.values(), tokens, hidden, self.band, block, gain), block)
        };
        let mut kept = Scratch::new(2 * block.ks * block.kd);
        spectrum.block(self.band, block, &mut kept);

        let body = OWN_BYTES + EXPONENT_BYTES + kept.len() * self.values.bytes();
        let mut bytes = packet::begin(&INFO, self.values, shape, body)?;
        bytes.push(self.band.id());
        packet::put_u32(&mut bytes, block.ks);
        packet::put_u32(&mut bytes, block.kd);
        values::write_section(&mut bytes, self.values, &kept, shift)?;
        Packet::from_bytes(bytes)
    }
}

/// The power of two to divide by before transforming in f32: zero for ordinary activations; otherwise the one that keeps
/// sums of all values finite and the smallest away from the subnormals.
fn shift_for_f32(top: f32, elements: usize) -> i32 {
    match values::exponent(top) {
        Some(e) if e + elements.ilog2() as i32 >= 120 || e < -60 => e.max(-126),
        _ => 0,
    }
}

/// The own header: band and block, checked against the shape.
fn own_header(reader: &mut Reader<'_>, frame: &Frame<'_>) -> Result<(Band, Block)> {
    let band = Band::from_id(reader.u8("band")?)?;
    let block = Block { ks: reader.u32("K_S")? as usize, kd: reader.u32("K_D")? as usize };
    let most = band.max_kd(frame.hidden);
    ensure!((1..=frame.tokens).contains(&block.ks), "packet field K_S: {} is not in 1..={}", block.ks, frame.tokens);
    ensure!((1..=most).contains(&block.kd), "packet field K_D: {} is not in 1..={most}", block.kd);
    Ok((band, block))
}

fn layout(frame: &Frame<'_>) -> Result<usize> {
    let (_, block) = own_header(&mut Reader::new(frame.body), frame)?;
    let kept = block.ks * block.kd;
    frame.expect_len((OWN_BYTES + EXPONENT_BYTES + 2 * kept * frame.values.bytes()) as u64)?;
    Ok(kept)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let (coefficients, band, block, exponent) = coefficients(packet)?;
    let gain = values::power_of_two(exponent);
    let mut out = buffers::floats(packet.tokens() * packet.hidden());
    kernel::inverse(&coefficients, band, block, packet.tokens(), packet.hidden(), gain, &mut out);
    Ok(out)
}

/// The stored coefficients of an `fc` packet (real and imaginary parts in turn), their band and block, and the exponent
/// they share.
fn coefficients(packet: &Packet) -> Result<(Vec<f32>, Band, Block, i32)> {
    let frame = packet.frame();
    let mut reader = Reader::new(frame.body);
    let (band, block) = own_header(&mut reader, &frame)?;
    let section = values::read_section(&mut reader, packet.values(), 2 * block.ks * block.kd, "coefficients")?;
    Ok((section.stored, band, block, section.exponent))
}

#[cfg(test)]
#[path = "fc_tests.rs"]
mod tests;
