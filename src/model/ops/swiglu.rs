//! The gate of the feed-forward block.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_values};

/// `silu(gate) * up`, element by element.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.device().is_cpu() { gate.apply_op2(up, SwiGlu) } else { gate.silu()? * up }
}

/// Elements a task.
const CHUNK: usize = 8192;

struct SwiGlu;

fn sigmoid(v: f32) -> f32 {
    1.0 / (1.0 + (-v).exp())
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, g: &CpuStorage, lg: &Layout, u: &CpuStorage, lu: &Layout) -> Result<(CpuStorage, Shape)> {
        let (g, u) = (slice(g, lg)?, slice(u, lu)?);
        let mut out = vec![0f32; g.len()];
        (out.par_chunks_mut(CHUNK), g.par_chunks(CHUNK), u.par_chunks(CHUNK)).into_par_iter().for_each(
            |(out, g, u)| {
                for ((o, g), u) in out.iter_mut().zip(g).zip(u) {
                    *o = g * sigmoid(*g) * u;
                }
            },
        );
        Ok((CpuStorage::F32(out), lg.shape().clone()))
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
