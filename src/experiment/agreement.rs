//! Whether a device comes to the numbers of the CPU.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{Cell, Scope, ScoreRequest, score_in_memory};
use crate::data::Dataset;
use crate::model::source::Model;
use crate::model::split::to_values;
use crate::model::{Packing, ProductType, SplitPoint};
use crate::record::Sample;
use crate::score::Request;
use splitbench_codec::{Budget, CodecSpec, Rate};

/// The largest differences that pass.
struct AgreementLimits {
    /// Relative error of a layer's residual stream, ||device - CPU|| / ||CPU||.
    hidden: f64,
    /// Of a log-likelihood without a codec or with a lossless one, nats.
    lossless: f64,
    /// The same with a codec, which may round a number the other way or keep the other one of two nearly equal.
    lossy: f64,
}

impl AgreementLimits {
    /// By what products with weights are made of on the device; on the CPU they are f32.
    fn new(products: ProductType) -> Self {
        match products {
            ProductType::F32 => Self { hidden: 1e-4, lossless: 1e-3, lossy: 0.1 },
            // A step of TF32 is 2^13 steps of f32, one of bf16 2^16.
            ProductType::Tf32 => Self { hidden: 5e-3, lossless: 0.05, lossy: 0.2 },
            ProductType::Bf16 => Self { hidden: 5e-2, lossless: 0.5, lossy: 1.0 },
        }
    }
}

/// The codecs that are compared: nothing is lost, a transform, a quantiser.
const CODECS: [&str; 3] = ["noop", "fc", "int8"];
/// Their ratio, in elements.
const RATIO: f64 = 8.0;

/// One comparison with the CPU.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceAgreement {
    /// What was compared.
    pub check: String,
    /// Layers, or choices.
    pub values: usize,
    /// The largest difference: relative of a residual stream, nats of a log-likelihood.
    pub difference: f64,
    /// The largest that passes.
    pub limit: f64,
    /// Questions with another answer.
    pub changed: usize,
    /// Those of them whose two best choices lie further apart than differences of twice the limit explain.
    pub unexplained: usize,
}

impl DeviceAgreement {
    /// Whether the difference is within its limit and every changed answer a near tie. What is no number has not passed.
    pub fn passed(&self) -> bool {
        self.difference <= self.limit && self.unexplained == 0
    }
}

/// The same model on both, and where it is cut.
pub struct DevicePair<'a> {
    /// On the device.
    pub device: &'a Model,
    /// On the CPU.
    pub cpu: &'a Model,
    /// The cut of the codecs' runs.
    pub split: SplitPoint,
    /// Most rows of a batch.
    pub batch_tokens: usize,
}

impl DevicePair<'_> {
    fn limits(&self) -> AgreementLimits {
        AgreementLimits::new(self.device.placement.products)
    }

    /// Residual streams of one sequence after each layer.
    pub fn hidden_states(&self, request: &Request) -> Result<DeviceAgreement> {
        let layers = self.cpu.config.num_hidden_layers;
        let splits: Vec<SplitPoint> = (1..=layers).map(|after_layer| SplitPoint { after_layer }).collect();
        let packing = Arc::new(Packing::of([request.tokens.len()]));
        let streams = |model: &Model| -> Result<Vec<Vec<f32>>> {
            model.decoder()?.client(&request.tokens, &packing, &splits)?.iter().map(to_values).collect()
        };
        let (device, cpu) = (streams(self.device)?, streams(self.cpu)?);
        let errors = device.iter().zip(&cpu).map(|(device, cpu)| relative_error(device, cpu));
        Ok(DeviceAgreement {
            check: format!("residual stream after each layer, {} tokens", request.tokens.len()),
            values: layers,
            difference: largest(errors),
            limit: self.limits().hidden,
            changed: 0,
            unexplained: 0,
        })
    }

    /// Log-likelihoods of a data set: unsplit, then with each codec, then all of them a second time on the device.
    pub fn scores(&self, dataset: &Dataset, requests: &[Vec<Request>]) -> Result<Vec<DeviceAgreement>> {
        let cells: Vec<Cell> = CODECS
            .iter()
            .map(|codec| {
                let codec = CodecSpec::parse(codec)?;
                let budget = (codec.info().rate == Rate::Budget).then(|| Budget::elements(RATIO)).transpose()?;
                Ok(Cell { split: self.split, scope: Scope::PromptAndChoice, budget, codec })
            })
            .collect::<Result<_>>()?;
        let run = |model: &Model| -> Result<Vec<Vec<Sample>>> {
            let (records, samples) = score_in_memory(&ScoreRequest {
                experiment: "device-check",
                model,
                dataset,
                requests,
                train: &[],
                calibrations: None,
                cells: &cells,
                limit: None,
                shard: None,
                batch_tokens: self.batch_tokens,
                predictor: None,
                probe: None,
            })?;
            let failed = records.rows.iter().find_map(|row| row.err.as_ref());
            ensure!(failed.is_none(), "{}: {}", dataset.info.name, failed.map_or("", String::as_str));
            Ok(samples)
        };
        let (cpu, device, again) = (run(self.cpu)?, run(self.device)?, run(self.device)?);
        let names = std::iter::once("unsplit").chain(CODECS);
        let mut out: Vec<DeviceAgreement> = names
            .zip(cpu.iter().zip(&device))
            .map(|(name, (cpu, device))| {
                let AgreementLimits { lossless, lossy, .. } = self.limits();
                let limit = if matches!(name, "unsplit" | "noop") { lossless } else { lossy };
                compare(&format!("{}, {name}", dataset.info.name), cpu, device, limit)
            })
            .collect();
        // cuBLAS gives the same of the same shapes on one stream.
        out.push(compare(&format!("{}, twice", dataset.info.name), &device.concat(), &again.concat(), 0.0));
        Ok(out)
    }
}

fn compare(check: &str, cpu: &[Sample], device: &[Sample], limit: f64) -> DeviceAgreement {
    let pairs = || cpu.iter().zip(device);
    let each = pairs().flat_map(|(cpu, device)| cpu.loglik.iter().zip(&device.loglik).map(|(a, b)| (a - b).abs()));
    let changed: Vec<&Sample> = pairs().filter(|(cpu, device)| cpu.pred != device.pred).map(|(cpu, _)| cpu).collect();
    DeviceAgreement {
        check: check.to_string(),
        values: cpu.iter().map(|sample| sample.loglik.len()).sum(),
        difference: largest(each),
        limit,
        changed: changed.len(),
        unexplained: changed.iter().filter(|sample| margin(&sample.loglik) > 2.0 * limit).count(),
    }
}

/// The largest, or NaN where one is.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |largest, value| if value > largest || value.is_nan() { value } else { largest })
}

/// Between the largest log-likelihood and the next, nats.
fn margin(logliks: &[f64]) -> f64 {
    let mut sorted = logliks.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted.first().zip(sorted.get(1)).map_or(f64::INFINITY, |(best, next)| best - next)
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let error = squares(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    error / squares(&mut expected.iter().map(|value| f64::from(*value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(loglik: &[f64], pred: usize) -> Sample {
        Sample {
            dataset: "any".into(),
            id: "0".into(),
            index: 0,
            gold: 0,
            pred,
            pred_norm: pred,
            loglik: loglik.to_vec(),
            choice_tokens: vec![1; loglik.len()],
            choice_chars: vec![1; loglik.len()],
            tokens: 1,
            prompt_sha256: String::new(),
            codec: None,
        }
    }

    #[test]
    fn a_near_tie_may_fall_the_other_way_and_nothing_else() {
        let cpu = [sample(&[-1.0, -1.0005, -9.0], 0), sample(&[-1.0, -2.0], 0)];
        let near = [sample(&[-1.0006, -1.0, -9.0], 1), sample(&[-1.0, -2.0], 0)];
        let found = compare("near", &cpu, &near, 1e-3);
        assert_eq!((found.values, found.changed, found.unexplained, found.passed()), (5, 1, 0, true));
        assert!((found.difference - 6e-4).abs() < 1e-12, "{}", found.difference);
        let far = [sample(&[-1.0, -1.0005, -9.0], 0), sample(&[-2.0, -1.5], 1)];
        let found = compare("far", &cpu, &far, 1e-3);
        assert_eq!((found.difference, found.changed, found.unexplained, found.passed()), (1.0, 1, 1, false));
    }

    #[test]
    fn what_is_no_number_does_not_pass() {
        let cpu = [sample(&[-1.0, -2.0], 0)];
        let broken = [sample(&[-1.0, f64::NAN], 0)];
        assert!(!compare("broken", &cpu, &broken, 0.1).passed());
        assert!(largest([0.5, f64::NAN, 0.7].into_iter()).is_nan());
        assert!((relative_error(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
    }
}
