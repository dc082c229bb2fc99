//! `zfp`: fixed accuracy (Lindstrom, "Fixed-Rate Compressed Floating-Point Arrays", IEEE TVCG 2014; the crate zfp-rs).

use anyhow::{Context, Result, ensure};
use zfp_rs::{ZfpBitStream, ZfpConfig, ZfpField, ZfpFieldMut, ZfpRounding, ZfpScalarType};

use crate::activation::Activation;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, ValueType};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, NUMBER_BITS, raw_bytes};
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "zfp",
    summary: "zfp in fixed-accuracy mode: blocks of 4 x 4, a transform in integers, bit planes down to a tolerance that fits.",
    options: &[],
    id: 19,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Zfp { spec: spec.clone() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// Whole words of 64 bits: four elements at least.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    stated: |_, _, packet| Some(21 + size_rule::count(packet.as_bytes(), 17)),
    least: |_, _, _| 4,
    ..SizeRule::ADAPTIVE
};

/// Own header: tolerance 2, bytes of the stream 4.
const OWN_BYTES: usize = 6;

/// Tolerances are powers of two to the eighth; zfp itself has whole powers, so values are scaled by what is over.
const STEPS: i32 = 8;

/// The largest is beyond every f32, the smallest below what scaling leaves of a subnormal.
const TOLERANCES: std::ops::RangeInclusive<i32> = -160 * STEPS..=135 * STEPS;

/// 2^(-i / 8).
const SCALES: [f32; STEPS as usize] =
    [1.0, 0.917_004_04, 0.840_896_4, 0.771_105_4, 0.707_106_77, 0.648_419_8, 0.594_603_55, 0.545_253_9];

struct Zfp {
    spec: CodecSpec,
}

impl Codec for Zfp {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        let top = crate::interface::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        // zfp has no numbers to count: under `elements`, 16 bits of its stream count as one.
        let most = match budget.accounting {
            Accounting::Elements => (tokens * hidden) as f64 / budget.ratio * (NUMBER_BITS / 8) as f64,
            Accounting::Wire => raw_bytes(tokens, hidden) as f64 / budget.ratio - (HEADER_BYTES + OWN_BYTES) as f64,
        };
        // zfp keeps six bit planes below a tolerance of its block's exponent: at 2^8 of the largest magnitude's nothing is
        // sent. At 2^-28 everything is that an f32 holds.
        let exponent = values::exponent(top).unwrap_or(0);
        let tolerance = |at: i32| (STEPS * (exponent - 28) + at).clamp(*TOLERANCES.start(), *TOLERANCES.end());
        let (mut low, mut high) = (0, STEPS * 36);
        let mut stream = compress(activation, tolerance(high))?;
        // The finest that fits lies in low..=high; where none does, the coarsest is sent.
        while low < high {
            let middle = low.midpoint(high);
            let finer = compress(activation, tolerance(middle))?;
            if finer.len() as f64 <= most {
                (high, stream) = (middle, finer);
            } else {
                low = middle + 1;
            }
        }
        let mut bytes = Packet::begin(&INFO, ValueType::F32, (tokens, hidden), OWN_BYTES + stream.len())?;
        bytes.extend_from_slice(&(tolerance(high) as i16).to_le_bytes());
        put_u32(&mut bytes, stream.len());
        bytes.extend_from_slice(&stream);
        Packet::finish(&INFO, bytes)
    }
}

/// zfp's own parameter, and what values are multiplied by before it.
fn parameters(tolerance: i32) -> (ZfpConfig, f32) {
    // Without rounding, truncated bit planes make the error a third larger, and beyond that of sending nothing.
    let config = ZfpConfig::fixed_accuracy(2f64.powi(tolerance.div_euclid(STEPS)));
    (config.with_rounding(ZfpRounding::First { tight_error: false }), SCALES[tolerance.rem_euclid(STEPS) as usize])
}

fn compress(a: &Activation, tolerance: i32) -> Result<Vec<u8>> {
    let (config, scale) = parameters(tolerance);
    let scaled: Vec<f32> = a.values().iter().map(|v| v * scale).collect();
    // zfp names the dimension first in which neighbours lie side by side.
    let field = ZfpField::new(&scaled, [a.hidden(), a.tokens()])?;
    // zfp writes into a buffer of fixed size: the longest that this shape can take.
    let most = config.maximum_size(ZfpScalarType::F32, field.dims()).context("zfp: the matrix is too large")?;
    let mut stream = ZfpBitStream::new(most)?;
    stream.compress(&config, &field)?;
    Ok(stream.as_bytes().to_vec())
}

fn own_header(reader: &mut Reader<'_>) -> Result<(i32, usize)> {
    let tolerance = i32::from(reader.i16("tolerance")?);
    let (first, last) = TOLERANCES.into_inner();
    ensure!((first..=last).contains(&tolerance), "packet field tolerance: {tolerance} is not in {first}..={last}");
    Ok((tolerance, reader.u32("stream")? as usize))
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    ensure!(view.values == ValueType::F32, "packet field value type: zfp has f32, found {}", view.values);
    let (_, stream) = own_header(&mut Reader::new(view.body))?;
    view.expect_len((OWN_BYTES + stream) as u64)?;
    // zfp writes words of 64 bits.
    ensure!(stream > 0 && stream % 8 == 0, "packet field stream: {stream} bytes are not words of 8");
    Ok(stream * 8 / NUMBER_BITS as usize)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let (tokens, hidden) = (packet.tokens(), packet.hidden());
    let mut reader = Reader::new(packet.view().body);
    let (tolerance, length) = own_header(&mut reader)?;
    let (config, scale) = parameters(tolerance);
    let mut stream = ZfpBitStream::from_bytes(reader.bytes(length, "stream")?)?;
    let mut out = vec![0f32; tokens * hidden];
    let mut field = ZfpFieldMut::new(&mut out, [hidden, tokens])?;
    let read = stream.decompress(&config, &mut field).context("packet field stream")?;
    ensure!(read == length, "packet field stream: {read} of its {length} bytes were read");
    // Scaling back may carry the largest f32 a little beyond itself.
    out.iter_mut().for_each(|v| *v = (*v / scale).clamp(f32::MIN, f32::MAX));
    Ok(out)
}
