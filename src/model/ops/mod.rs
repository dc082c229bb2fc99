//! The decoder's operations that candle has only in forms that are slow on a CPU (many passes, one thread) or without a
//! backward pass. Each works on the token-major layout, so that nothing is transposed, and has its gradient, so that
//! scoring, training and Fisher information share one decoder. Each is deterministic: no sum depends on threads or on
//! what else is in the batch.

mod attention;
mod cross_entropy;
mod rms_norm;
mod rotary;
mod swiglu;

pub use attention::{Heads, causal_attention};
pub use cross_entropy::cross_entropy;
pub use rms_norm::rms_norm;
pub use rotary::rotary;
pub use swiglu::swiglu;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// Results of up to this many values come from another kernel of `gemm`, with another order of summation: a request's
/// bits would depend on what shares its batch. Zero rows are added until a result is larger.
const OTHER_KERNEL: usize = 256;

/// `x` (.. x K) times the transpose of `weight` (N x K), plus `bias` (N).
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    let width = shape.pop().unwrap_or(0);
    let rows: usize = shape.iter().product();
    shape.push(weight.dim(0)?);
    let flat = x.reshape((rows, width))?;
    let least = (OTHER_KERNEL / weight.dim(0)? + 1).max(2);
    let out = if rows < least {
        flat.pad_with_zeros(0, 0, least - rows)?.matmul(&weight.t()?)?.narrow(0, 0, rows)?
    } else {
        flat.matmul(&weight.t()?)?
    };
    let out = match bias {
        Some(bias) => out.broadcast_add(bias)?,
        None => out,
    };
    out.reshape(shape)
}

/// The f32 values of a contiguous CPU storage.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// Runs `f` on the f32 values of a CPU tensor.
fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => Ok(f(slice(cpu, layout)?)),
        _ => bail!("expected a tensor on the CPU"),
    }
}
