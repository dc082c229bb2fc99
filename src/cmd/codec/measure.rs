//! One matrix through a codec and back, with what that cost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::clock::median;
use crate::cmd::ratio::requested;
use splitbench_codec::{Activation, Budget, Codec, Packet, raw_bytes};

/// Timed calls of each direction; odd, so that the median is one of them.
const CALLS: usize = 31;

/// Fewest timed calls: of a codec that takes seconds there are no more once `ENOUGH` has passed.
const LEAST_CALLS: usize = 5;

const ENOUGH: Duration = Duration::from_secs(2);

/// What `splitbench codec` prints.
#[derive(Debug, Serialize)]
pub(super) struct CodecMeasurement {
    /// The codec in its canonical form.
    pub codec: String,
    /// S and D.
    pub shape: [usize; 2],
    /// What the ratio asked for counts: `elements` or `wire`.
    pub accounting: String,
    /// Compression ratio asked for; none for a codec of fixed rate.
    pub ratio_requested: Option<f64>,
    /// S D over the numbers kept.
    pub ratio_elements: f64,
    /// The matrix in f16.
    pub bytes_raw: usize,
    /// The whole packet.
    pub bytes_wire: usize,
    /// The one over the other.
    pub ratio_wire: f64,
    /// `||A - A'||_F / ||A||_F`, A in f32, summed in f64.
    pub rel_error: f64,
    /// Median of `encode_us_runs`.
    pub encode_us: f64,
    /// Median of `decode_us_runs`.
    pub decode_us: f64,
    /// Shortest and longest of `encode_us_runs`.
    pub encode_us_range: [f64; 2],
    /// Shortest and longest of `decode_us_runs`.
    pub decode_us_range: [f64; 2],
    /// Microseconds of each timed call after one that was not, in their order; one thread.
    pub encode_us_runs: Vec<f64>,
    /// The same for decoding.
    pub decode_us_runs: Vec<f64>,
    /// Version and git revision of this program.
    pub version: String,
}

/// A packet, what came back from it, and the numbers.
pub(super) struct CodecTrip {
    pub packet: Packet,
    pub received: Activation,
    pub measured: CodecMeasurement,
}

/// Sends `activation` through the codec. Fails where encoding or decoding does.
pub(super) fn measure(codec: &dyn Codec, activation: &Activation, budget: Budget) -> Result<CodecTrip> {
    let (packet, encode_us_runs) = time(|| codec.encode(activation, Some(budget))).context("encoding")?;
    // What arrives is bytes: nothing of the encoder's state may help the decoder.
    let packet = Packet::from_bytes(packet.into_bytes())?;
    let (received, decode_us_runs) = time(|| codec.decode(&packet)).context("decoding")?;
    let measured = CodecMeasurement {
        codec: codec.spec().to_string(),
        shape: [activation.tokens(), activation.hidden()],
        accounting: budget.accounting.to_string(),
        ratio_requested: requested(codec.spec(), budget).map(|b| b.ratio),
        ratio_elements: packet.ratio_elements(),
        bytes_raw: raw_bytes(activation.tokens(), activation.hidden()),
        bytes_wire: packet.len(),
        ratio_wire: packet.ratio_wire(),
        rel_error: activation.rel_error(&received),
        encode_us: median(&encode_us_runs),
        decode_us: median(&decode_us_runs),
        encode_us_range: range(&encode_us_runs),
        decode_us_range: range(&decode_us_runs),
        encode_us_runs,
        decode_us_runs,
        version: crate::VERSION.to_string(),
    };
    Ok(CodecTrip { packet, received, measured })
}

/// The result of a call that warms caches and plans up, and the microseconds of each of the calls after it.
fn time<T>(call: impl Fn() -> Result<T>) -> Result<(T, Vec<f64>)> {
    let result = call()?;
    let start = Instant::now();
    let mut runs = Vec::with_capacity(CALLS);
    while runs.len() < CALLS && (runs.len() < LEAST_CALLS || runs.len() % 2 == 0 || start.elapsed() < ENOUGH) {
        let clock = Instant::now();
        let again = call()?;
        runs.push(clock.elapsed().as_nanos() as f64 / 1e3);
        // Not before the clock was read: giving memory back is not part of the codec.
        drop(again);
    }
    Ok((result, runs))
}

/// The shortest and the longest time.
fn range(runs: &[f64]) -> [f64; 2] {
    runs.iter().fold([f64::INFINITY, 0.0], |[least, most], &t| [least.min(t), most.max(t)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_number_of_runs_and_their_middle() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(range(&[9.0, 1.0, 5.0]), [1.0, 9.0]);
        let (result, runs) = time(|| Ok(7)).unwrap();
        assert_eq!((result, runs.len()), (7, CALLS));
        assert!(time(|| -> Result<()> { anyhow::bail!("no") }).is_err());
    }
}
