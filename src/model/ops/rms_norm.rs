//! Root-mean-square normalisation.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_values};

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimension.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.contiguous()?.apply_op2(weight, RmsNorm { eps: eps as f32 })
    } else {
        composed(x, weight, eps)
    }
}

/// The same by candle's own operations, for other devices.
pub(super) fn composed(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    candle_nn::ops::rms_norm_slow(x, weight, eps as f32)
}

/// The same for the values of some rows.
pub fn normalise(x: &[f32], weight: &[f32], eps: f64) -> Vec<f32> {
    RmsNorm { eps: eps as f32 }.rows(x, weight)
}

/// Rows per task; fewer are not worth another thread.
const ROWS: usize = 16;

struct RmsNorm {
    eps: f32,
}

impl RmsNorm {
    fn rows(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut out = vec![0f32; x.len()];
        let block = ROWS * weight.len();
        let one = |(out, rows): (&mut [f32], &[f32])| {
            for (out, row) in out.chunks_exact_mut(weight.len()).zip(rows.chunks_exact(weight.len())) {
                self.row(row, weight, out);
            }
        };
        match x.len() <= block {
            true => one((&mut out, x)),
            false => out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(one),
        }
        out
    }

    fn row(&self, row: &[f32], weight: &[f32], out: &mut [f32]) {
        let inverse = self.inverse_rms(row);
        for ((out, v), w) in out.iter_mut().zip(row).zip(weight) {
            *out = v * inverse * w;
        }
    }

    fn inverse_rms(&self, row: &[f32]) -> f32 {
        // Eight lanes in a fixed order: quick, and the same bits for a row wherever it stands.
        let mut lanes = [0f32; 8];
        let chunks = row.chunks_exact(8);
        let rest: f32 = chunks.remainder().iter().map(|v| v * v).sum();
        for chunk in chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane += v * v;
            }
        }
        let sum = lanes.iter().sum::<f32>() + rest;
        1.0 / (sum / row.len() as f32 + self.eps).sqrt()
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(x, lx)?, slice(w, lw)?);
        Ok((CpuStorage::F32(self.rows(x, w)), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = w.elem_count();
        let (dx, dw) = with_values(x, |xv| {
            with_values(w, |wv| {
                with_values(grad, |gv| {
                    let mut dx = vec![0f32; xv.len()];
                    // Fixed groups of rows, so that the sum over rows does not depend on threads.
                    let group = 64 * width;
                    let partial: Vec<Vec<f32>> = (dx.par_chunks_mut(group), xv.par_chunks(group), gv.par_chunks(group))
                        .into_par_iter()
                        .map(|(dx, x, g)| self.backward_rows(dx, x, g, wv))
                        .collect();
                    let mut dw = vec![0f32; width];
                    for part in partial {
                        dw.iter_mut().zip(part).for_each(|(a, b)| *a += b);
                    }
                    (dx, dw)
                })
            })
        })???;
        Ok((Some(Tensor::from_vec(dx, x.shape(), x.device())?), Some(Tensor::from_vec(dw, w.shape(), w.device())?)))
    }
}

impl RmsNorm {
    /// Writes the rows' gradient and returns their share of the weight's.
    fn backward_rows(&self, dx: &mut [f32], x: &[f32], grad: &[f32], weight: &[f32]) -> Vec<f32> {
        let width = weight.len();
        let mut dw = vec![0f32; width];
        for ((dx, x), g) in dx.chunks_mut(width).zip(x.chunks(width)).zip(grad.chunks(width)) {
            let inverse = self.inverse_rms(x);
            let mut dot = 0f32;
            for i in 0..width {
                dot += g[i] * weight[i] * x[i];
                dw[i] += g[i] * x[i] * inverse;
            }
            let pull = dot * inverse * inverse / width as f32;
            for i in 0..width {
                dx[i] = inverse * (g[i] * weight[i] - x[i] * pull);
            }
        }
        dw
    }
}
