//! Calibrations without a model, so that calibrated codecs can be timed: their time does not depend on what was learnt.

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::method::Method;
use super::sample::{Sequence, spread};
use super::source::Source;
use splitbench_codec::{Calibration, CalibrationBuilder, CalibrationNeed, CodecSpec};

/// Sequences calibrated on, as many as training rows in an experiment.
const SEQUENCES: usize = 128;

/// What the methods need, from activations of the trace; gradients are seeded numbers. None where no method needs any, and a
/// sentence on what it was made of.
pub(super) fn calibrate(
    methods: &[Method],
    source: &Source,
    (sequences, hidden): (&[Sequence], usize),
    seed: u64,
) -> Result<Option<(Calibration, String)>> {
    let needs: Vec<CalibrationNeed> =
        methods.iter().filter_map(Method::codec).filter_map(CodecSpec::calibration).collect();
    // Next-layer weights are not to be had without a model; the codec that needs them says so when it is built.
    if needs.iter().all(|need| *need == CalibrationNeed::NextWeights) {
        return Ok(None);
    }
    let mut builder = CalibrationBuilder::new(hidden);
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 1);
    for place in spread(sequences.len(), seed ^ 2).take(SEQUENCES) {
        let a = source.activation(&sequences[place], place)?;
        if needs.contains(&CalibrationNeed::Moments) {
            builder.push_activation(&a)?;
        }
        if needs.contains(&CalibrationNeed::Fisher) {
            let gradient: Vec<f32> = (0..a.values().len()).map(|_| random.random_range(-1.0f32..1.0)).collect();
            builder.push_gradient(&gradient)?;
        }
    }
    let about = format!("{SEQUENCES} {} activations, gradients seeded", source.kind());
    Ok(Some((builder.finish().context("calibrating on activations of the trace")?, about)))
}
