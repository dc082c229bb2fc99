//! The product of rows with a weight, whose gradient leaves out what nobody asked for: candle's own product makes and keeps
//! that of every weight on the way back, as much time again and the size of the model.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Tensor};

/// `x` (rows x K) times the transpose of `weight` (N x K), both f32: rows x N.
pub(super) fn times_transposed(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.apply_op2(weight, WeightProduct)
}

struct WeightProduct;

fn product<S: BackendStorage>(x: &S, lx: &Layout, weight: &S, lw: &Layout) -> Result<(S, Shape)> {
    let ((rows, width), outputs) = (lx.shape().dims2()?, lw.dims()[0]);
    Ok((x.matmul(weight, (1, rows, outputs, width), lx, &lw.transpose(0, 1)?)?, Shape::from((rows, outputs))))
}

impl CustomOp2 for WeightProduct {
    fn name(&self) -> &'static str {
        "weight_product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, weight: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        product(x, lx, weight, lw)
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        lx: &Layout,
        weight: &CudaStorage,
        lw: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        product(x, lx, weight, lw)
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of_x = x.track_op().then(|| grad.matmul(weight)).transpose()?;
        let of_weight = weight.track_op().then(|| grad.t()?.matmul(x)).transpose()?;
        Ok((of_x, of_weight))
    }
}
