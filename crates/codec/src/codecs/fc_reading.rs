//! `fc-reading`: readings of FourierCompress that the paper's words allow and its formulas do not have, to see what they would change.

use anyhow::{Context, Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, power_of_two, shift_for_f32};
use crate::grids::coefficients::{self, Coefficients};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, wire_items};
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
use crate::interface::shared::{self, DIGEST_BYTES, SharedNumbers};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::kernel::{self, Band, Block, with_workspace};
use crate::parts::block_shape::{self, Allowance, Aspect};
use crate::parts::{cosine, low_rank, transform};
use crate::shape::Shape;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "fc-reading",
    summary: "Other readings of FourierCompress: A padded to a length, its mean row taken off, or a cosine transform.",
    options: &[
        OptionInfo {
            key: "transform",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "dft", meaning: "as `fc:band=mirrored,aspect=proportional`" },
                OptionWord { word: "dct", meaning: "2-D DCT-II, a block of real coefficients" },
            ]),
            default: "dft",
            meaning: "which transform the kept block is of",
        },
        OptionInfo {
            key: "pad",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "none", meaning: "A as it is" },
                OptionWord { word: "256", meaning: "256 tokens" },
                OptionWord { word: "512", meaning: "512 tokens" },
            ]),
            default: "none",
            meaning: "rows of zeros are added up to this length, and a ratio in elements counts the padded matrix",
        },
        OptionInfo {
            key: "mean",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "none", meaning: "A as it is" },
                OptionWord { word: "tokens", meaning: "the mean over the tokens is taken off and sent, D numbers" },
                OptionWord { word: "calibrated", meaning: "the mean row of calibration rows, which both sides have" },
            ]),
            default: "none",
            meaning: "which row is taken off before the transform and added after it",
        },
        coefficients::VALUES,
    ],
    id: 21,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |spec| (spec.option("mean") == Some("calibrated")).then_some(CalibrationNeed::Moments),
    build,
    layout,
    decode: |packet| restore(packet, None),
    #[cfg(test)]
    size: SIZE,
};

/// A block as of `fc` over padded tokens, and a mean row where one is sent. Of that each number is one, a complex coefficient has two.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, a, kept| {
        1 + 4
            + 4
            + 4
            + size_rule::digest_bytes(spec)
            + size_rule::coefficient_bytes(spec, numbers(spec, a.hidden(), kept))
    },
    stated: |spec, a, packet| {
        let at = 28 + size_rule::digest_bytes(spec);
        let numbers = numbers(spec, a.hidden(), packet.elements());
        size_rule::coded_coefficients(spec, packet.as_bytes(), at, numbers)
    },
    elements: |spec, [s, d], ratio| {
        if mean_numbers(spec, d) > 0 {
            return None;
        }
        let s = padded_tokens(spec, s);
        let ks = ((s as f64 / ratio.sqrt()).round() as usize).clamp(1, s);
        let kd = (((s * d) as f64 / (ratio * ks as f64)).floor() as usize).max(1);
        let rows = || (((s * d) as f64 / (ratio * d as f64)).floor() as usize).clamp(1, s);
        Some(if kd > d { rows() * d } else { ks * kd })
    },
    least: |spec, [_, d], _| 1 + mean_numbers(spec, d),
    more: |spec, [s, d], kept| kept + padded_tokens(spec, s).max(d),
    ..SizeRule::WHOLE
};

/// Numbers in a packet with so many elements.
#[cfg(test)]
fn numbers(spec: &CodecSpec, hidden: usize, elements: usize) -> usize {
    let row = mean_numbers(spec, hidden);
    row + (elements - row) * if spec.option("transform") == Some("dct") { 1 } else { 2 }
}

/// Numbers of the mean row that is sent.
#[cfg(test)]
fn mean_numbers(spec: &CodecSpec, hidden: usize) -> usize {
    if spec.option("mean") == Some("tokens") { hidden } else { 0 }
}

/// The tokens that a transform has, padding included.
#[cfg(test)]
pub(crate) fn padded_tokens(spec: &CodecSpec, tokens: usize) -> usize {
    let length = spec.option("pad").and_then(|length| length.parse().ok());
    length.unwrap_or(0).max(tokens)
}

/// Own header: transform and mean 1, padded tokens 4, K_S 4, K_D 4.
const OWN_BYTES: usize = 13;

/// Most numbers of a padded matrix: a packet of a few bytes makes no more.
const MOST_PADDED: usize = 512 * 3072;

/// Fails where padding to so many tokens makes too much.
fn check_padded(padded: usize, tokens: usize, hidden: usize) -> Result<()> {
    ensure!(
        padded == tokens || padded > tokens && padded.saturating_mul(hidden) <= MOST_PADDED,
        "packet field padded tokens: {padded} for {tokens} x {hidden}, of which at most {MOST_PADDED} numbers may be padded"
    );
    Ok(())
}

/// In the packet's first field: bit 0 the transform, bits 1 and 2 the mean.
const DCT: u8 = 1;
const MEAN_SENT: u8 = 1 << 1;
const MEAN_CALIBRATED: u8 = 2 << 1;

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let mean = match spec.option("mean") {
        Some("tokens") => MeanRow::Sent,
        Some("calibrated") => {
            let mean =
                calibration.and_then(Calibration::mean).with_context(|| CalibrationNeed::Moments.missing(spec))?;
            MeanRow::Calibrated(SharedNumbers::new(mean.iter().map(|v| *v as f32).collect()))
        }
        _ => MeanRow::None,
    };
    Ok(Box::new(FcReading {
        spec: spec.clone(),
        is_dct: spec.option("transform") == Some("dct"),
        pad: spec.option("pad").and_then(|length| length.parse().ok()).unwrap_or(0),
        mean,
        coefficients: Coefficients::new(spec),
    }))
}

struct FcReading {
    spec: CodecSpec,
    is_dct: bool,
    pad: usize,
    mean: MeanRow,
    coefficients: Coefficients,
}

/// The row that is taken off.
enum MeanRow {
    None,
    Sent,
    Calibrated(SharedNumbers),
}

impl Codec for FcReading {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        let top = crate::interface::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        let padded = tokens.max(self.pad);
        check_padded(padded, tokens, hidden)?;
        let (row, digest): (Vec<f32>, &[u8]) = match &self.mean {
            MeanRow::None => (vec![0.0; hidden], &[]),
            MeanRow::Sent => (mean_row(activation), &[]),
            MeanRow::Calibrated(shared) => {
                low_rank::check_hidden(INFO.name, shared.numbers.len(), hidden)?;
                (shared.numbers.clone(), &shared.digest)
            }
        };
        let sent_row = if matches!(self.mean, MeanRow::Sent) { hidden } else { 0 };
        let (parts, own) = (if self.is_dct { 1 } else { 2 }, OWN_BYTES + digest.len());
        let allowance = match budget.accounting {
            Accounting::Elements if sent_row == 0 => Allowance::Ratio(budget.ratio),
            Accounting::Elements => {
                Allowance::Count((((padded * hidden) as f64 / budget.ratio) as usize).saturating_sub(sent_row).max(1))
            }
            // What is sent counts, whatever the transform was of.
            Accounting::Wire => {
                let room = wire_items(budget.ratio, (tokens, hidden), HEADER_BYTES + own, 1);
                // The mean row takes its bytes first.
                let rest = room.saturating_sub(self.coefficients.bytes(sent_row));
                Allowance::Count(self.coefficients.certain(rest, parts).max(1))
            }
        };
        // As `fc` by its defaults, of the padded matrix.
        let block = block_shape::choose(Aspect::Proportional, Band::Mirrored, (padded, hidden), allowance);

        // A value less its mean may be twice as large as either, so twice the number of terms is assumed.
        let reach = values::exponent(top.max(values::max_magnitude(&row).unwrap_or(0.0)));
        let shift = shift_for_f32(reach, 2 * padded * hidden);
        let gain = power_of_two(-shift);
        let mut rows = vec![0f32; padded * hidden];
        for (out, values) in rows.chunks_exact_mut(hidden).zip(activation.values().chunks_exact(hidden)) {
            for ((out, value), mean) in out.iter_mut().zip(values).zip(&row) {
                // In f64, whose range holds the difference and the gain.
                *out = ((f64::from(*value) - f64::from(*mean)) * gain) as f32;
            }
        }
        let mut numbers: Vec<f32> = row[..sent_row].iter().map(|mean| (f64::from(*mean) * gain) as f32).collect();
        if self.is_dct {
            // Orthonormal, so its coefficients already have the size of the mean row; and real, so each is one number.
            cosine::forward(&mut rows, hidden);
            rows.chunks_exact(hidden).take(block.ks).for_each(|kept| numbers.extend_from_slice(&kept[..block.kd]));
        } else {
            let mut kept = Vec::with_capacity(2 * block.ks * block.kd);
            let gain = power_of_two(-unitary(padded * hidden));
            let shape = Shape { tokens: padded, hidden };
            with_workspace(|work| kernel::forward(&rows, shape, Band::Mirrored, block, gain, &mut kept, work));
            numbers.extend(kept);
        }
        let payload = self.coefficients.encode(&numbers, shift)?;
        let mut bytes = Packet::begin(&INFO, self.coefficients.kind, (tokens, hidden), own + payload.len())?;
        let mean = match self.mean {
            MeanRow::None => 0,
            MeanRow::Sent => MEAN_SENT,
            MeanRow::Calibrated(_) => MEAN_CALIBRATED,
        };
        bytes.push(u8::from(self.is_dct) | mean);
        [padded, block.ks, block.kd].into_iter().for_each(|side| put_u32(&mut bytes, side));
        bytes.extend_from_slice(digest);
        bytes.extend_from_slice(&payload);
        Packet::finish(&INFO, bytes)
    }

    fn decode(&self, packet: &Packet) -> Result<Activation> {
        crate::interface::check_codec(&self.spec, packet)?;
        let shared = if let MeanRow::Calibrated(shared) = &self.mean { Some(shared) } else { None };
        crate::interface::received(packet, restore(packet, shared)?)
    }
}

/// The power of two nearest the square root: coefficients of so many values, divided by it, are about as large as the mean row that
/// shares their exponent in the packet.
fn unitary(values: usize) -> i32 {
    (values as f64).sqrt().log2().round() as i32
}

/// The mean over the tokens.
fn mean_row(activation: &Activation) -> Vec<f32> {
    // f64 has 29 bits more than f32, which long sums use up.
    let mut sums = vec![0f64; activation.hidden()];
    for row in activation.values().chunks_exact(activation.hidden()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.iter().map(|sum| (sum / activation.tokens() as f64) as f32).collect()
}

/// The own header.
struct ReadingHeader<'a> {
    is_dct: bool,
    mean: u8,
    padded: usize,
    block: Block,
    digest: &'a [u8],
}

impl ReadingHeader<'_> {
    fn bytes(&self) -> usize {
        OWN_BYTES + self.digest.len()
    }

    /// Numbers of the mean row in the packet.
    fn sent_row(&self, hidden: usize) -> usize {
        if self.mean == MEAN_SENT { hidden } else { 0 }
    }

    /// Numbers of the packet.
    fn numbers(&self, hidden: usize) -> usize {
        self.sent_row(hidden) + self.block.ks * self.block.kd * if self.is_dct { 1 } else { 2 }
    }
}

fn own_header<'a>(reader: &mut Reader<'a>, view: &PacketView<'_>) -> Result<ReadingHeader<'a>> {
    let first = reader.u8("reading")?;
    let mean = first & !DCT;
    ensure!(
        [0, MEAN_SENT, MEAN_CALIBRATED].contains(&mean),
        "packet field reading: {first} is none that this program knows"
    );
    let padded = reader.u32("padded tokens")? as usize;
    check_padded(padded, view.tokens, view.hidden)?;
    let block = Block { ks: reader.u32("K_S")? as usize, kd: reader.u32("K_D")? as usize };
    ensure!((1..=padded).contains(&block.ks), "packet field K_S: {} is not in 1..={padded}", block.ks);
    ensure!((1..=view.hidden).contains(&block.kd), "packet field K_D: {} is not in 1..={}", block.kd, view.hidden);
    let digest = reader.bytes(if mean == MEAN_CALIBRATED { DIGEST_BYTES } else { 0 }, "digest")?;
    Ok(ReadingHeader { is_dct: first & DCT != 0, mean, padded, block, digest })
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let own = own_header(&mut Reader::new(view.body), view)?;
    coefficients::expect(view, own.bytes(), own.numbers(view.hidden))?;
    Ok(own.block.ks * own.block.kd + own.sent_row(view.hidden))
}

/// The values of a packet, which a calibrated mean may be needed for.
fn restore(packet: &Packet, shared: Option<&SharedNumbers>) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let own = own_header(&mut reader, &view)?;
    let (hidden, kd) = (view.hidden, own.block.kd);
    let sent = coefficients::read(&mut reader, view.values, own.numbers(hidden), "coefficients")?;
    // The mean row and the coefficients share one section, and with it one exponent.
    let (row, kept) = sent.stored.split_at(own.sent_row(hidden));
    let gain = power_of_two(sent.exponent);
    let mean: Vec<f64> = match own.mean {
        0 => vec![0.0; hidden],
        MEAN_SENT => row.iter().map(|value| f64::from(*value) * gain).collect(),
        _ => {
            let shared = shared.ok_or_else(|| shared::missing(INFO.name, "fc-reading:mean=calibrated"))?;
            shared.check(own.digest, INFO.name)?;
            low_rank::check_hidden(INFO.name, shared.numbers.len(), hidden).context("packet field hidden")?;
            shared.numbers.iter().map(|value| f64::from(*value)).collect()
        }
    };
    let size = view.tokens * hidden;
    let shape = Shape { tokens: own.padded, hidden };
    let values = if own.is_dct {
        transform::from_cosine_block(kept, kd, shape, 1.0)
    } else {
        let gain = power_of_two(unitary(own.padded * hidden));
        let mut values = buffers::floats(own.padded * hidden);
        with_workspace(|work| kernel::inverse(kept, shape, Band::Mirrored, own.block, gain, &mut values, work));
        values
    };
    let add = |(value, mean): (&f32, &f64)| (f64::from(*value) * gain + mean) as f32;
    // Rows beyond the tokens are padding, and end here.
    Ok(values[..size].chunks_exact(hidden).flat_map(|row| row.iter().zip(&mean).map(add)).collect())
}

#[cfg(test)]
#[path = "fc_reading_tests.rs"]
mod tests;
