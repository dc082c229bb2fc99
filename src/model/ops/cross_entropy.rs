//! The training loss.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_values};

/// Mean negative log-likelihood, nats, of `targets` under `logits` (rows x vocabulary); rows of weight 0 do not count.
/// It is computed on the CPU wherever the logits are, and so is their gradient, which then goes back to their device.
pub fn cross_entropy(logits: &Tensor, targets: &[u32], weights: &[f32]) -> Result<Tensor> {
    let total: f32 = weights.iter().sum();
    let logits = logits.to_device(&Device::Cpu)?;
    logits.apply_op1(CrossEntropy { targets: targets.to_vec(), weights: weights.iter().map(|w| w / total).collect() })
}

struct CrossEntropy {
    targets: Vec<u32>,
    /// Sum to 1.
    weights: Vec<f32>,
}

fn log_sum_exp(row: &[f32]) -> f32 {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    top + row.iter().map(|v| (v - top).exp()).sum::<f32>().ln()
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = slice(logits, layout)?;
        let vocabulary = layout.dims()[1];
        let losses: Vec<f32> = logits
            .par_chunks(vocabulary)
            .zip(&self.targets)
            .zip(&self.weights)
            .map(|((row, &t), &w)| if w == 0.0 { 0.0 } else { w * (log_sum_exp(row) - row[t as usize]) })
            .collect();
        Ok((CpuStorage::F32(vec![losses.iter().sum()]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let scale = grad.to_scalar::<f32>()?;
        let vocabulary = logits.dim(1)?;
        let out = with_values(logits, |logits| {
            let mut out = vec![0f32; logits.len()];
            out.par_chunks_mut(vocabulary)
                .zip(logits.par_chunks(vocabulary))
                .zip(&self.targets)
                .zip(&self.weights)
                .filter(|(_, w)| **w != 0.0)
                .for_each(|(((out, row), &target), &weight)| {
                    let norm = log_sum_exp(row);
                    for (o, v) in out.iter_mut().zip(row) {
                        *o = scale * weight * (v - norm).exp();
                    }
                    out[target as usize] -= scale * weight;
                });
            out
        })?;
        Ok(Some(Tensor::from_vec(out, logits.shape(), logits.device())?))
    }
}
