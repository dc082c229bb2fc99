//! `atom`: the channels that calibration rows are largest in go in int8, the others, in the order of their size, in groups
//! of int4.

use anyhow::{Context, Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{EXPONENT_BYTES, ValueType};
use crate::codecs::int4::Int4;
use crate::grids::groups::{self, SCALES};
use crate::grids::int8::Int8;
use crate::grids::quantiser::{self, GridCodes};
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{Packet, PacketView};
use crate::interface::shared::{self, DIGEST_BYTES, SharedNumbers};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::parts::low_rank;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "atom",
    summary: "Orders channels by their calibrated energy; the largest go in int8, the others in groups of int4 (Zhao et \
              al., 2024).",
    options: &[
        OptionInfo {
            key: "outliers",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "32", meaning: "32 channels" },
                OptionWord { word: "64", meaning: "64 channels" },
                OptionWord { word: "128", meaning: "128 channels" },
                OptionWord { word: "256", meaning: "256 channels" },
            ]),
            default: "128",
            meaning: "how many channels go in int8, at most half of them",
        },
        OptionInfo {
            key: "group",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "32", meaning: "32 channels of like size of a token" },
                OptionWord { word: "64", meaning: "64 channels of like size of a token" },
                OptionWord { word: "128", meaning: "128 channels of like size of a token" },
            ]),
            default: "128",
            meaning: "which int4 values share one scale",
        },
        OptionInfo {
            key: "clip",
            allowed: AllowedValues::Words(&[
                OptionWord {
                    word: "0.9",
                    meaning: "nine tenths of a group's largest magnitude, as the authors' program",
                },
                OptionWord { word: "1", meaning: "a group's largest magnitude" },
            ]),
            default: "0.9",
            meaning: "where the grid of int4 ends",
        },
        SCALES,
    ],
    id: 42,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| Some(CalibrationNeed::Moments),
    build,
    layout,
    decode: |_| Err(shared::missing(INFO.name, INFO.name)),
    #[cfg(test)]
    size: SIZE,
};

#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, a, _| {
        let (s, d) = (a.tokens(), a.hidden());
        let word = |key: &str| spec.option(key).unwrap().parse::<usize>().unwrap();
        let k = word("outliers").min(d / 2);
        let scales = s + s * (d - k).div_ceil(word("group"));
        4 + 4 + 8 + 2 + 2 + size_rule::scale_width(spec) * scales + s * k + (s * (d - k)).div_ceil(2)
    },
    ..SizeRule::WHOLE
};

/// Own header: channels of a group 4, channels in int8 4, digest of the order.
const OWN_BYTES: usize = 8 + DIGEST_BYTES;

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let missing = || CalibrationNeed::Moments.missing(spec);
    let calibration = calibration.with_context(missing)?;
    let covariance = calibration.covariance().with_context(missing)?;
    let hidden = calibration.hidden();
    let mut order: Vec<usize> = (0..hidden).collect();
    // The sum of squares of a channel: the diagonal of the authors' "hessian" metric, which their scripts take. The sort is
    // stable, so of equal channels the lower one comes first.
    order.sort_by(|&one, &other| covariance[one * (hidden + 1)].total_cmp(&covariance[other * (hidden + 1)]));
    // A channel's number is below 2^20, which f32 holds.
    let digest = SharedNumbers::new(order.iter().map(|&channel| channel as f32).collect());
    let outliers = spec.typed::<usize>("outliers")?.min(hidden / 2);
    Ok(Box::new(Atom {
        spec: spec.clone(),
        order,
        digest,
        outliers,
        group: spec.typed("group")?,
        clip: spec.typed("clip")?,
    }))
}

struct Atom {
    spec: CodecSpec,
    /// Channels by rising energy.
    order: Vec<usize>,
    /// Those as numbers, and the digest by which a packet names them.
    digest: SharedNumbers,
    outliers: usize,
    group: usize,
    clip: f64,
}

/// Widths of a packet's two parts.
struct AtomWidths {
    /// Channels in int4 that share a scale.
    group: usize,
    /// Channels in int8.
    outliers: usize,
    /// Channels in int4.
    others: usize,
}

impl AtomWidths {
    fn read(reader: &mut Reader<'_>, hidden: usize) -> Result<Self> {
        let group = reader.u32("group")? as usize;
        ensure!((1..=hidden).contains(&group), "packet field group: {group} is not in 1..={hidden}");
        let outliers = reader.u32("outliers")? as usize;
        ensure!(outliers <= hidden / 2, "packet field outliers: {outliers} is more than half of {hidden}");
        Ok(Self { group, outliers, others: hidden - outliers })
    }

    /// Scales of the part in int4.
    fn scales(&self, tokens: usize) -> usize {
        groups::count(tokens, self.others, self.group)
    }
}

impl Codec for Atom {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, _: Option<Budget>) -> Result<Packet> {
        crate::interface::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        low_rank::check_hidden(INFO.name, self.order.len(), hidden)?;
        let kind: ValueType = self.spec.typed(SCALES.key)?;
        let (others, outliers) = self.order.split_at(hidden - self.outliers);
        let columns = |chosen: &[usize]| {
            let mut out = Scratch::new(tokens * chosen.len());
            for row in activation.values().chunks_exact(hidden) {
                out.extend(chosen.iter().map(|&channel| row[channel]));
            }
            out
        };
        let group = self.group.min(others.len());
        // One scale per token for the outliers, whose sizes differ least in relation to their 8 bits.
        let eight = quantiser::quantise::<Int8, f32>(
            kind,
            (outliers.len().max(1), outliers.len().max(1)),
            &columns(outliers),
            1.0,
        )?;
        let four = quantiser::quantise::<Int4, f32>(kind, (others.len(), group), &columns(others), self.clip)?;
        let parts: [&GridCodes; 2] = [&eight, &four];
        let body = parts.iter().map(|part| part.scales.len() + part.codes.len()).sum::<usize>();
        let mut bytes = Packet::begin(&INFO, kind, (tokens, hidden), OWN_BYTES + body)?;
        put_u32(&mut bytes, group);
        put_u32(&mut bytes, outliers.len());
        bytes.extend_from_slice(&self.digest.digest);
        bytes.extend_from_slice(&eight.scales);
        quantiser::put_codes::<Int8>(&mut bytes, &eight.codes);
        bytes.extend_from_slice(&four.scales);
        quantiser::put_codes::<Int4>(&mut bytes, &four.codes);
        Packet::finish(&INFO, bytes)
    }

    fn decode(&self, packet: &Packet) -> Result<Activation> {
        crate::interface::check_codec(&self.spec, packet)?;
        let view = packet.view();
        shared::check_hidden(INFO.name, self.order.len(), view.hidden)?;
        let mut reader = Reader::new(view.body);
        let widths = AtomWidths::read(&mut reader, view.hidden)?;
        self.digest.check(reader.bytes(DIGEST_BYTES, "digest")?, INFO.name)?;
        let steps = groups::read(&mut reader, view.values, eight_scales(&view, &widths))?;
        let codes = quantiser::read_codes::<Int8>(&mut reader, view.tokens * widths.outliers)?;
        let eight = quantiser::numbers::<Int8, f32>(
            &codes,
            &steps,
            (widths.outliers.max(1), widths.outliers.max(1)),
            quantiser::saturated,
        );
        let steps = groups::read(&mut reader, view.values, widths.scales(view.tokens))?;
        let codes = quantiser::read_codes::<Int4>(&mut reader, view.tokens * widths.others)?;
        let four = quantiser::numbers::<Int4, f32>(&codes, &steps, (widths.others, widths.group), quantiser::saturated);
        let (others, outliers) = self.order.split_at(widths.others);
        let mut out = buffers::floats(view.tokens * view.hidden);
        for (token, row) in out.chunks_exact_mut(view.hidden).enumerate() {
            for (chosen, part) in [(outliers, &eight), (others, &four)] {
                let values = &part[token * chosen.len()..][..chosen.len()];
                chosen.iter().zip(values).for_each(|(&channel, &v)| row[channel] = v);
            }
        }
        [eight, four].into_iter().for_each(buffers::give);
        crate::interface::received(packet, out)
    }
}

/// Scales of the part in int8: one per token, none where there is no such part.
fn eight_scales(view: &PacketView<'_>, widths: &AtomWidths) -> usize {
    if widths.outliers == 0 { 0 } else { view.tokens }
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let widths = AtomWidths::read(&mut Reader::new(view.body), view.hidden)?;
    let scales = eight_scales(view, &widths) + widths.scales(view.tokens);
    let codes = quantiser::plain_bytes::<Int8>(view.tokens * widths.outliers)
        + quantiser::plain_bytes::<Int4>(view.tokens * widths.others);
    view.expect_len((OWN_BYTES + 2 * EXPONENT_BYTES + scales * view.values.bytes() + codes) as u64)?;
    Ok(view.tokens * view.hidden)
}
