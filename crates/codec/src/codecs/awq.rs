//! `awq`: channels divided by scales learned on calibration rows before [`super::int4`], and multiplied after it.

use anyhow::{Context, Result, ensure};
use faer::MatRef;
use strum::VariantNames;

use crate::activation::Activation;
use crate::bytes::buffers::{self, Scratch};
use crate::codecs::int4::Int4;
use crate::grids::groups;
use crate::grids::quantiser::{self, CODER, Grid};
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::Packet;
use crate::interface::shared::{self, SharedNumbers};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::linalg;
use crate::parts::low_rank;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "awq",
    summary: "Divides channel d by (mean |A[s,d]|)^alpha over calibration rows, the best of 20 alphas, then int4 \
              (Lin et al., 2024).",
    options: &[
        OptionInfo {
            key: "error",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "projection", meaning: "that of the next layer's stacked q, k, v outputs" },
                OptionWord { word: "activation", meaning: "that of the activation itself" },
            ]),
            default: "projection",
            meaning: "which error chooses alpha",
        },
        // The paper's groups.
        OptionInfo { default: "128", ..groups::GROUP },
        CODER,
        groups::SCALES,
    ],
    id: 40,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |spec| Some(need(spec)),
    build,
    layout: quantiser::layout_shared::<Int4>,
    decode: |_| Err(shared::missing(INFO.name, INFO.name)),
    #[cfg(test)]
    size: SizeRule::QUANTISER4,
};

/// Alphas tried: 0, 1 / 20 .. 19 / 20, as the authors' program does (`awq/quantize/auto_scale.py`, `n_grid`).
const ALPHAS: usize = 20;

/// The least that a power of a channel's mean magnitude counts for, beside that of the mean channel.
const FLOOR: f64 = 1e-4;

/// Calibration rows on which alphas are tried, at most.
const ROWS: usize = 256;

#[derive(Clone, Copy, PartialEq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = anyhow::Error, parse_err_fn = unknown)]
enum SearchError {
    Projection,
    Activation,
}

fn unknown(text: &str) -> anyhow::Error {
    crate::suggest::unknown("error", text, SearchError::VARIANTS.iter().copied())
}

fn need(spec: &CodecSpec) -> CalibrationNeed {
    match spec.option("error") {
        Some("activation") => CalibrationNeed::Moments,
        _ => CalibrationNeed::NextWeights,
    }
}

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let missing = |need: CalibrationNeed| move || need.missing(spec);
    let calibration = calibration.with_context(missing(need(spec)))?;
    let (mean_abs, sample) =
        calibration.mean_abs().zip(calibration.sample()).with_context(missing(CalibrationNeed::Moments))?;
    let gram = match spec.typed("error")? {
        SearchError::Projection => {
            Some(calibration.next_weights().with_context(missing(CalibrationNeed::NextWeights))?)
        }
        SearchError::Activation => None,
    };
    let mean = mean_abs.iter().sum::<f64>() / mean_abs.len() as f64;
    ensure!(mean > 0.0, "codec {spec}: the calibration rows are zero in every channel");
    let relative: Vec<f64> = mean_abs.iter().map(|m| m / mean).collect();
    let search = AlphaSearch::new(spec, sample, gram, calibration.hidden())?;
    let mut best: Option<(f64, Vec<f32>)> = None;
    for step in 0..ALPHAS {
        let scales = scales(&relative, step as f64 / ALPHAS as f64);
        let error = search.error(&scales);
        if best.as_ref().is_none_or(|(least, _)| error < *least) {
            best = Some((error, scales));
        }
    }
    let (_, scales) = best.expect("there are alphas");
    Ok(Box::new(Awq { spec: spec.clone(), scales: SharedNumbers::new(scales) }))
}

/// One scale per channel, the largest and the smallest as far from one.
fn scales(relative: &[f64], alpha: f64) -> Vec<f32> {
    let powers: Vec<f64> = relative.iter().map(|m| m.powf(alpha).max(FLOOR)).collect();
    let (least, most) = powers.iter().fold((f64::INFINITY, 0f64), |(least, most), &p| (least.min(p), most.max(p)));
    let middle = (least * most).sqrt();
    powers.into_iter().map(|p| (p / middle) as f32).collect()
}

/// Calibration rows that scales are tried on.
struct AlphaSearch<'a> {
    /// Each of length one, so that each token counts alike: the norm before the next projection makes them so.
    rows: Vec<f64>,
    gram: Option<MatRef<'a, f64>>,
    hidden: usize,
    channels: usize,
}

impl<'a> AlphaSearch<'a> {
    fn new(spec: &CodecSpec, sample: &[f64], gram: Option<&'a [f64]>, hidden: usize) -> Result<Self> {
        let mut rows = Vec::new();
        let apart = (sample.len() / hidden).div_ceil(ROWS);
        for row in sample.chunks_exact(hidden).step_by(apart.max(1)) {
            let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            if length > 0.0 {
                rows.extend(row.iter().map(|v| v / length));
            }
        }
        let gram = gram.map(|gram| MatRef::from_row_major_slice(gram, hidden, hidden));
        Ok(Self { rows, gram, hidden, channels: groups::channels(spec, hidden)? })
    }

    /// The summed squared error over all rows, of what `gram` is of or of the rows.
    fn error(&self, scales: &[f32]) -> f64 {
        let mut errors = Vec::with_capacity(self.rows.len());
        for row in self.rows.chunks_exact(self.hidden) {
            for (row, scales) in row.chunks(self.channels).zip(scales.chunks(self.channels)) {
                let divided = |(v, s): (&f64, &f32)| v / f64::from(*s);
                let top = row.iter().zip(scales).map(divided).fold(0f64, |top, v| top.max(v.abs()));
                let step = if top > 0.0 { top / Int4::TOP } else { 1.0 };
                let off = |v: f64| Int4::value(Int4::code(v / step)) * step - v;
                errors.extend(row.iter().zip(scales).map(|pair| off(divided(pair)) * f64::from(*pair.1)));
            }
        }
        let Some(gram) = self.gram else { return errors.iter().map(|e| e * e).sum() };
        let count = errors.len() / self.hidden;
        // |e M^T|^2 = e M^T M e^T: the Gram matrix says all of the projection that the error asks for.
        let weighed = linalg::product(MatRef::from_row_major_slice(&errors, count, self.hidden), gram);
        let product = |(i, e): (usize, &f64)| e * weighed[(i / self.hidden, i % self.hidden)];
        errors.iter().enumerate().map(product).sum()
    }
}

struct Awq {
    spec: CodecSpec,
    scales: SharedNumbers,
}

impl Codec for Awq {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, _: Option<Budget>) -> Result<Packet> {
        crate::interface::check_finite(activation)?;
        let shape = (activation.tokens(), activation.hidden());
        low_rank::check_hidden(INFO.name, self.scales.numbers.len(), shape.1)?;
        let mut divided = Scratch::new(activation.values().len());
        for row in activation.values().chunks_exact(shape.1) {
            divided.extend(row.iter().zip(&self.scales.numbers).map(|(&v, &s)| f64::from(v) / f64::from(s)));
        }
        quantiser::pack_shared::<Int4, f64>(&self.spec, shape, &divided, &self.scales.digest)
    }

    fn decode(&self, packet: &Packet) -> Result<Activation> {
        crate::interface::check_codec(&self.spec, packet)?;
        shared::check_hidden(INFO.name, self.scales.numbers.len(), packet.hidden())?;
        let divided = Scratch::from(quantiser::unpack_shared::<Int4>(packet, &self.scales)?);
        let mut out = buffers::empty(divided.len());
        for row in divided.chunks_exact(packet.hidden()) {
            out.extend(row.iter().zip(&self.scales.numbers).map(|(v, &s)| quantiser::saturated(v * f64::from(s))));
        }
        crate::interface::received(packet, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::calibration::CalibrationBuilder;

    /// Even channels are ten times as large as odd ones.
    fn rows(count: usize, seed: usize) -> Activation {
        let value = |i: usize| {
            let size = if i.is_multiple_of(2) { 10.0 } else { 1.0 };
            size * (((i * i * 7 + i * seed) % 31) as f32 / 15.0 - 1.0)
        };
        Activation::new(count, 16, (0..16 * count).map(value).collect()).unwrap()
    }

    fn error(spec: &str, gram: impl Fn(usize) -> f64) -> f64 {
        let mut builder = CalibrationBuilder::new(16);
        builder.push_activation(&rows(60, 3)).unwrap();
        builder.set_next_weights((0..256).map(|i| if i % 17 == 0 { gram(i / 17) } else { 0.0 }).collect()).unwrap();
        let codec = crate::registry::build(&CodecSpec::parse(spec).unwrap(), Some(&builder.finish().unwrap())).unwrap();
        let a = rows(20, 5);
        let back = codec.decode(&codec.encode(&a, None).unwrap()).unwrap();
        let small = |a: &Activation| -> Vec<f32> { a.values().iter().skip(1).step_by(2).copied().collect() };
        let off = small(&a).iter().zip(small(&back)).map(|(v, r)| f64::from(v - r).powi(2)).sum::<f64>();
        (off / small(&a).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()).sqrt()
    }

    #[test]
    fn small_channels_are_spared_where_the_projection_reads_them() {
        let read = error("awq", |channel| if channel % 2 == 1 { 1.0 } else { 1e-6 });
        let unread = error("awq", |channel| if channel % 2 == 0 { 1.0 } else { 1e-6 });
        assert!(read < 0.2 && unread > 0.4, "{read} read, {unread} not read");
    }
}
