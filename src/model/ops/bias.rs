//! The bias of a projection.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::slice;

/// `x` (rows x N) with `bias` (N) added to every row.
pub(super) fn add(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2(bias, AddBias)
}

struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, bias: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (slice(x, lx)?, slice(bias, lb)?);
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(bias.len()).zip(x.par_chunks(bias.len())).with_min_len(16).for_each(|(out, row)| {
            for ((o, v), b) in out.iter_mut().zip(row).zip(bias) {
                *o = v + b;
            }
        });
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        _bias: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.sum(0)?)))
    }
}
