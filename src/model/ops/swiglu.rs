//! The gate of the feed-forward block.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_values};
use crate::model::exp::exp;
use splitbench_codec::vector::dispatch;

/// `silu(gate) * up`, element by element.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.device().is_cpu() { gate.apply_op2(up, SwiGlu) } else { composed(gate, up) }
}

/// The same by candle's own operations, for other devices.
pub(super) fn composed(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// The same for values on the CPU.
pub fn gated(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![0f32; gate.len()];
    match out.len() <= CHUNK {
        true => dispatch!(forward(&mut out, gate, up)),
        false => (out.par_chunks_mut(CHUNK), gate.par_chunks(CHUNK), up.par_chunks(CHUNK))
            .into_par_iter()
            .for_each(|(out, gate, up)| dispatch!(forward(out, gate, up))),
    }
    out
}

/// Elements per task; fewer are not worth another thread.
const CHUNK: usize = 8192;

struct SwiGlu;

#[inline(always)]
fn sigmoid(v: f32) -> f32 {
    let small = exp(-v.abs());
    (if v < 0.0 { small } else { 1.0 }) / (1.0 + small)
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn forward<V>(out: &mut [f32], gate: &[f32], up: &[f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate * sigmoid(*gate) * up;
    }
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, g: &CpuStorage, lg: &Layout, u: &CpuStorage, lu: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(gated(slice(g, lg)?, slice(u, lu)?)), lg.shape().clone()))
    }

    fn bwd(&self, g: &Tensor, u: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dg, du) = with_values(g, |gv| {
            with_values(u, |uv| {
                with_values(grad, |rv| {
                    let (mut dg, mut du) = (vec![0f32; gv.len()], vec![0f32; gv.len()]);
                    (dg.par_chunks_mut(CHUNK), du.par_chunks_mut(CHUNK), gv.par_chunks(CHUNK), uv.par_chunks(CHUNK))
                        .into_par_iter()
                        .zip(rv.par_chunks(CHUNK))
                        .for_each(|((dg, du, g, u), r)| {
                            for i in 0..g.len() {
                                let s = sigmoid(g[i]);
                                du[i] = r[i] * g[i] * s;
                                dg[i] = r[i] * u[i] * s * (1.0 + g[i] * (1.0 - s));
                            }
                        });
                    (dg, du)
                })
            })
        })???;
        Ok((Some(Tensor::from_vec(dg, g.shape(), g.device())?), Some(Tensor::from_vec(du, u.shape(), u.device())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sigmoid_is_good_to_f32() {
        for i in -9_000..=9_000 {
            let v = i as f32 * 0.01;
            let want = 1.0 / (1.0 + (-f64::from(v)).exp());
            assert!((f64::from(sigmoid(v)) / want - 1.0).abs() < 5e-7 || want < 1e-37, "{v}");
        }
        assert_eq!([f32::INFINITY, f32::NEG_INFINITY, 0.0].map(sigmoid), [1.0, 0.0, 0.5]);
        assert!(sigmoid(f32::NAN).is_nan());
    }
}
