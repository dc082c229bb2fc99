//! `dynamic-pruning`: a DCT of blocks of channels, of which coefficients below the threshold of their band are pruned (after
//! Liu et al., 2018).

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, power_of_two, shift_for_f32};
use crate::grids::coefficients::{self, Coefficients};
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, Amount, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::parts::sparse::{self, SPARSE_BYTES, SparseSource};
use crate::parts::{cosine, transform};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "dynamic-pruning",
    summary: "DCT of blocks of channels, of which coefficients below the threshold of their band are pruned (after Liu et al., \
              2018).",
    options: &[
        OptionInfo {
            key: "block",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "8", meaning: "8 consecutive channels of a token" },
                OptionWord { word: "16", meaning: "16 consecutive channels of a token" },
                OptionWord { word: "64", meaning: "64 consecutive channels of a token" },
            ]),
            default: "8",
            meaning: "which channels are transformed together",
        },
        OptionInfo {
            key: "slope",
            allowed: AllowedValues::Number { min: 0.0, max: 8.0 },
            default: "1",
            meaning: "the last band's threshold is 1 + slope times the first's; 0 is one threshold for all",
        },
        coefficients::VALUES,
        coefficients::CODER,
    ],
    id: 61,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| {
        Ok(Box::new(DynamicPruning {
            spec: spec.clone(),
            block: spec.typed("block")?,
            slope: spec.typed("slope")?,
            coefficients: Coefficients::new(spec),
        }))
    },
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// k coefficients, and where they are.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    amount: Amount::Indexed,
    stated: |spec, _, packet| {
        let at = 28 + size_rule::count(packet.as_bytes(), 24);
        let plain = at + size_rule::coefficient_bytes(spec, packet.elements());
        Some(size_rule::coded_coefficients(spec, packet.as_bytes(), at, packet.elements()).unwrap_or(plain))
    },
    elements: |_, [s, d], ratio| Some((((s * d) as f64 / ratio).floor() as usize).max(1)),
    least: |_, _, _| 1,
    ..SizeRule::WHOLE
};

/// Own header before the positions: channels of a block 4.
const OWN_BYTES: usize = 4;

struct DynamicPruning {
    spec: CodecSpec,
    block: usize,
    slope: f64,
    coefficients: Coefficients,
}

impl Codec for DynamicPruning {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        let top = crate::interface::check_finite(activation)?;
        let shape @ (tokens, hidden) = (activation.tokens(), activation.hidden());
        let block = self.block.min(hidden);
        let shift = shift_for_f32(values::exponent(top), block);
        let mut numbers = Scratch::new(tokens * hidden);
        numbers.extend_from_slice(activation.values());
        transform::times(&mut numbers, power_of_two(-shift));
        cosine::forward_blocks(&mut numbers, hidden, block);
        // Over the weight of its band a coefficient meets one threshold for all: that of the k-th largest.
        let weights: Vec<f32> = (0..block).map(|band| (1.0 / self.threshold(band, block)) as f32).collect();
        let mut ranks = Scratch::new(numbers.len());
        for row in numbers.chunks_exact(hidden) {
            row.chunks(block).for_each(|block| ranks.extend(block.iter().zip(&weights).map(|(c, weight)| c * weight)));
        }
        let source = SparseSource { ranks: &ranks, numbers: &numbers, shift };
        let sent = source.choose(self.coefficients, budget, shape, OWN_BYTES)?;
        let mut bytes = Packet::begin(&INFO, self.coefficients.kind, shape, OWN_BYTES + sent.bytes())?;
        put_u32(&mut bytes, block);
        sent.write(&mut bytes);
        Packet::finish(&INFO, bytes)
    }
}

impl DynamicPruning {
    /// The threshold of a band over that of the first.
    fn threshold(&self, band: usize, block: usize) -> f64 {
        1.0 + self.slope * band as f64 / (block - 1).max(1) as f64
    }
}

fn own_header(reader: &mut Reader<'_>, hidden: usize) -> Result<usize> {
    let block = reader.u32("block")? as usize;
    ensure!((1..=hidden).contains(&block), "packet field block: {block} is not in 1..={hidden}");
    Ok(block)
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let mut reader = Reader::new(view.body);
    own_header(&mut reader, view.hidden)?;
    let (k, coding) = sparse::header(&mut reader, view.tokens * view.hidden)?;
    coefficients::expect(view, OWN_BYTES + SPARSE_BYTES + coding.bytes, k)?;
    Ok(k)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let block = own_header(&mut reader, view.hidden)?;
    let n = view.tokens * view.hidden;
    let (positions, sent) = sparse::read(&mut reader, view.values, n)?;
    let mut out = buffers::floats(n);
    out.fill(0.0);
    positions.iter().zip(&*sent.stored).for_each(|(&at, &c)| out[at as usize] = c);
    cosine::inverse_blocks(&mut out, view.hidden, block);
    transform::times(&mut out, power_of_two(sent.exponent));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str, a: &Activation, ratio: f64) -> Activation {
        let codec = crate::registry::build(&CodecSpec::parse(text).unwrap(), None).unwrap();
        codec.decode(&codec.encode(a, Some(Budget::elements(ratio).unwrap())).unwrap()).unwrap()
    }

    /// A block of the first band and a slightly larger one of the last, of which one coefficient is sent.
    #[test]
    fn a_band_meets_its_own_threshold() {
        let last = |i: usize| (std::f32::consts::PI * 7.0 * (i as f32 + 0.5) / 8.0).cos() * 2f32.sqrt();
        let a: Vec<f32> = (0..16).map(|i| if i < 8 { 1.0 } else { 1.5 * last(i - 8) }).collect();
        let a = Activation::new(1, 16, a).unwrap();
        for (slope, first) in [("0", false), ("0.4", false), ("0.6", true), ("1", true)] {
            let back = sent(&format!("dynamic-pruning:slope={slope},values=f32"), &a, 16.0);
            let kept = if first { 0..8 } else { 8..16 };
            for (i, (v, r)) in a.values().iter().zip(back.values()).enumerate() {
                let expected = if kept.contains(&i) { *v } else { 0.0 };
                assert!((r - expected).abs() < 1e-5, "slope {slope}, channel {i}: {r}");
            }
        }
    }
}
