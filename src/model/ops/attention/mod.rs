//! Causal grouped-query attention over packed sequences.

mod backward;
#[cfg(test)]
mod composed;
mod forward;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};

pub(super) use forward::softmax;

use super::{slice, with_values};
use crate::model::packing::{Packing, Span};

/// Number of heads and their width.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads.
    pub key_value: usize,
    /// Channels a head.
    pub dim: usize,
}

impl Heads {
    /// Query heads of a key and value head.
    pub(super) fn group(&self) -> usize {
        self.query / self.key_value
    }

    pub(super) fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}

/// Softmax(q k^T / sqrt(dim)) v, where a token sees itself and those before it in its sequence. `q` is rows x
/// query * dim, `k` and `v` are rows x key_value * dim; the result is like `q`.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, packing: &Arc<Packing>, heads: Heads) -> Result<Tensor> {
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, Attention { heads, packing: packing.clone() })
}

/// [`causal_attention`] of the last tokens of one sequence over all of its keys and values, on the CPU.
pub fn continued_attention(q: &[f32], k: &[f32], v: &[f32], heads: Heads) -> Vec<f32> {
    forward::continued(q, k, v, heads)
}

struct Attention {
    heads: Heads,
    packing: Arc<Packing>,
}

/// The values of one key and value head that a sequence sees, of shared rows first: tokens x dim.
fn gather(values: &[f32], span: &Span, head: usize, heads: Heads) -> Vec<f32> {
    let width = heads.key_value * heads.dim;
    let rows = span.shared.clone().chain(span.own.clone());
    rows.flat_map(|row| &values[row * width + head * heads.dim..][..heads.dim]).copied().collect()
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "causal_attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (slice(q, lq)?, slice(k, lk)?, slice(v, lv)?);
        let out = forward::attention(q, k, v, self.packing.spans(), self.heads);
        Ok((CpuStorage::F32(out), lq.shape().clone()))
    }

    #[cfg(feature = "cuda-model")]
    fn cuda_fwd(
        &self,
        q: &candle_core::CudaStorage,
        lq: &Layout,
        k: &candle_core::CudaStorage,
        lk: &Layout,
        v: &candle_core::CudaStorage,
        lv: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        super::cuda::attend([(q, lq), (k, lk), (v, lv)], &self.packing, self.heads)
    }

    /// On the CPU wherever the tensors are: calibration alone asks for it, for a few rows.
    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let spans = self.packing.spans();
        let here = |x: &Tensor| x.to_device(&Device::Cpu);
        let (dq, dk, dv) = with_values(&here(q)?, |q| {
            with_values(&here(k)?, |k| {
                with_values(&here(v)?, |v| {
                    with_values(&here(grad)?, |grad| backward::gradients(q, k, v, grad, spans, self.heads))
                })
            })
        })????;
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device()).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}
