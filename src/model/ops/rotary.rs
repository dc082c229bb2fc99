//! Rotary position embedding of rows.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::slice;
use crate::model::packing::Packing;
use crate::model::rope::RopeTable;

/// Rotates each head of `x` (rows x heads * head_dim) by its row's position in `packing`: channel i goes with channel
/// i + head_dim / 2, as in Hugging Face checkpoints.
pub fn rotary(x: &Tensor, packing: &Arc<Packing>, table: &Arc<RopeTable>) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Rotary { table: table.clone(), packing: packing.clone(), sign: 1.0 })
}

/// The same by candle's own operations: what the tests compare with.
#[cfg(test)]
pub(super) fn composed(x: &Tensor, packing: &Packing, table: &RopeTable) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let half = table.frequencies;
    let tensor = |values: &[f32]| -> Result<Tensor> {
        let at = |position: &u32| &values[*position as usize * half..][..half];
        let values: Vec<f32> = packing.positions().iter().flat_map(at).copied().collect();
        Tensor::from_vec(values, (rows, half), x.device())?.to_dtype(x.dtype())
    };
    let heads = x.reshape((1, rows, width / (2 * half), 2 * half))?.transpose(1, 2)?.contiguous()?;
    let turned = candle_nn::rotary_emb::rope_slow(&heads, &tensor(&table.cos)?, &tensor(&table.sin)?)?;
    turned.transpose(1, 2)?.reshape((rows, width))
}

/// Rotates each head of one row at `position` by its angles times `sign`.
pub fn rotate(x: &[f32], position: usize, table: &RopeTable, sign: f32, out: &mut [f32]) {
    let half = table.frequencies;
    let (cos, sin) = (&table.cos[position * half..][..half], &table.sin[position * half..][..half]);
    for (out, x) in out.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half)) {
        for i in 0..half {
            let (a, b, s) = (x[i], x[i + half], sign * sin[i]);
            out[i] = a * cos[i] - b * s;
            out[i + half] = b * cos[i] + a * s;
        }
    }
}

/// Rotates rows at neighbouring positions, of which the first is `position`: rows x heads * head_dim.
pub fn rotate_rows(x: &[f32], rows: usize, position: usize, table: &RopeTable) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    let width = x.len() / rows;
    let rows = out.par_chunks_mut(width).zip(x.par_chunks(width)).enumerate();
    rows.with_min_len(16).for_each(|(row, (out, x))| rotate(x, position + row, table, 1.0, out));
    out
}

struct Rotary {
    table: Arc<RopeTable>,
    packing: Arc<Packing>,
    /// -1 turns back: the gradient of a rotation is the opposite rotation.
    sign: f32,
}

impl CustomOp1 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let (_, width) = layout.shape().dims2()?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(width).zip(x.par_chunks(width)).enumerate().with_min_len(16).for_each(|(row, (out, x))| {
            rotate(x, self.packing.positions()[row] as usize, &self.table, self.sign, out);
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    #[cfg(feature = "cuda-model")]
    fn cuda_fwd(&self, x: &candle_core::CudaStorage, layout: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        super::cuda::rotate(x, layout, &self.packing, &self.table, self.sign)
    }

    fn bwd(&self, _x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Rotary { table: self.table.clone(), packing: self.packing.clone(), sign: -self.sign };
        Ok(Some(grad.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}
