//! The decoder's operations that candle has only in forms that are slow on a CPU (many passes, one thread) or without a
//! backward pass. Each works on the token-major layout, so that nothing is transposed, and has its gradient, so that
//! scoring, training and Fisher information share one decoder. Each is deterministic: no sum depends on threads or on
//! what else is in the batch.

mod attention;
mod bias;
mod cross_entropy;
#[cfg(feature = "cuda-model")]
pub(in crate::model) mod cuda;
#[cfg(test)]
mod cuda_emulated_tests;
mod project;
mod project_chunk;
mod rms_norm;
mod rotary;
mod step_attention;
mod swiglu;
mod weight_product;

pub use attention::{Heads, causal_attention, continued_attention};
pub use cross_entropy::cross_entropy;
pub use project::{Weight, project};
pub use project_chunk::project_chunk;
pub use rms_norm::{normalise, rms_norm};
pub use rotary::{rotary, rotate, rotate_rows};
pub use step_attention::{SeenTokens, step_attention};
pub use swiglu::{gated, swiglu};
use weight_product::times_transposed;

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, bail};

/// Results of up to this many values come from another kernel of `gemm`, with another order of summation: a request's
/// bits would depend on what shares its batch. Zero rows are added until a result is larger.
const OTHER_KERNEL: usize = 256;

/// Most values of a narrow weight that stand in f32 at a time (32 MiB).
pub const WIDENED: usize = 1 << 23;

/// Whether [`linear`] multiplies bf16 weights as they are where they are not on the CPU, with rows and results rounded to bf16.
static MULTIPLY_IN_BF16: AtomicBool = AtomicBool::new(false);

/// Sets that for the process.
#[cfg(feature = "cuda-model")]
pub(super) fn multiply_in_bf16(on: bool) {
    MULTIPLY_IN_BF16.store(on, Ordering::Relaxed);
}

/// `x` (rows x K) times the transpose of `weight` (N x K), plus `bias` (N). A weight of a narrower type than f32 is widened
/// a block of rows at a time: arithmetic is f32 whatever the weight is kept in, but where the process multiplies bf16 on a GPU.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if MULTIPLY_IN_BF16.load(Ordering::Relaxed) && !x.device().is_cpu() && weight.dtype() == DType::BF16 {
        let out = x.to_dtype(DType::BF16)?.matmul(&weight.t()?)?.to_dtype(DType::F32)?;
        return match bias {
            Some(bias) => out.broadcast_add(bias),
            None => Ok(out),
        };
    }
    let (rows, width) = x.dims2()?;
    let outputs = weight.dim(0)?;
    let block = if weight.dtype() == DType::F32 { outputs } else { (WIDENED / width).clamp(1, outputs) };
    let narrowest = (outputs - 1) % block + 1;
    let least = (OTHER_KERNEL / narrowest + 1).max(2);
    let padded = if rows < least { x.pad_with_zeros(0, 0, least - rows)? } else { x.clone() };
    let blocks: Vec<Tensor> = (0..outputs)
        .step_by(block)
        .map(|from| {
            let weight = weight.narrow(0, from, block.min(outputs - from))?.to_dtype(DType::F32)?;
            times_transposed(&padded, &weight)
        })
        .collect::<Result<_>>()?;
    let out = if blocks.len() == 1 { blocks[0].clone() } else { Tensor::cat(&blocks, 1)? };
    let out = out.narrow(0, 0, rows)?;
    match bias {
        Some(bias) if x.device().is_cpu() => bias::add(&out, bias),
        Some(bias) => out.broadcast_add(bias),
        None => Ok(out),
    }
}

/// The f32 values of a contiguous CPU storage.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// Runs `f` on the f32 values of a CPU tensor.
pub fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => Ok(f(slice(cpu, layout)?)),
        _ => bail!("expected a tensor on the CPU"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{Device, Var};

    use super::*;
    use crate::model::packing::Packing;
    use crate::model::rope::RopeTable;
    use crate::model::source::{POCKET, load_config};

    /// What other devices than the CPU compute by candle's operations, forwards and in every gradient; attention's own
    /// test does the same.
    #[test]
    fn composed_operations_agree() {
        let config = load_config(POCKET).unwrap();
        let (rows, width) = (11, 2 * config.head_dim);
        let var = |shape: &[usize], seed: usize| -> Var {
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 506.0 - 1.0)
                .collect();
            Var::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let (x, y, weight) = (var(&[rows, width], 1), var(&[rows, width], 2), var(&[width], 3));
        let (upstream, square) = (var(&[rows, width], 4), var(&[width, width], 5));
        let packing = Arc::new(Packing::of([4, 7]));
        let table = Arc::new(RopeTable::new(&config, 16));
        let pairs = [
            ("rms_norm", rms_norm(&x, &weight, 1e-5), rms_norm::composed(&x, &weight, 1e-5)),
            ("rotary", rotary(&x, &packing, &table), rotary::composed(&x, &packing, &table)),
            ("swiglu", swiglu(&x, &y), swiglu::composed(&x, &y)),
            ("bias", bias::add(&x, &weight), x.broadcast_add(&weight)),
            ("product", times_transposed(&x, &square), x.matmul(&square.t().unwrap())),
        ];
        for (name, fused, composed) in pairs {
            let (fused, composed) = (fused.unwrap(), composed.unwrap());
            let gradients = |out: &Tensor| (out * upstream.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
            let (a, b) = (gradients(&fused), gradients(&composed));
            let same = |one: &Tensor, other: &Tensor, what: &str| {
                let gap = (one - other).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(gap < 1e-5, "{name}, {what}: {gap}");
            };
            same(&fused, &composed, "forwards");
            for (var, what) in [(&x, "x"), (&y, "y"), (&weight, "weight"), (&square, "square")] {
                match (a.get(var), b.get(var)) {
                    (Some(one), Some(other)) => same(one, other, what),
                    (one, other) => {
                        assert!(one.is_none() && other.is_none(), "{name}: one gradient of {what} is missing")
                    }
                }
            }
        }
    }

    #[test]
    fn a_weight_that_is_no_variable_has_no_gradient() {
        let ones = |rows: usize, width: usize| Tensor::ones((rows, width), DType::F32, &Device::Cpu).unwrap();
        let (x, weight) = (Var::from_tensor(&ones(2, 3)).unwrap(), ones(5, 3));
        let gradients = linear(&x, &weight, None).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec2::<f32>().unwrap(), [[5.0; 3]; 2]);
        // Of the weight or of its transpose, which is all that has its size.
        let mut kept = gradients.get_ids().filter_map(|id| gradients.get_id(*id));
        assert!(kept.all(|gradient| gradient.elem_count() != weight.elem_count()), "a gradient that nobody asked for");
    }

    #[test]
    fn a_narrow_weight_in_several_blocks_gives_the_bits_of_a_wide_one() {
        let (outputs, width) = (258, WIDENED / 128);
        let values = |count: usize, step: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * step) % 1009) as f32 / 512.0 - 1.0).collect()
        };
        let weight = Tensor::from_vec(values(outputs * width, 37), (outputs, width), &Device::Cpu).unwrap();
        let narrow = weight.to_dtype(DType::BF16).unwrap();
        let wide = narrow.to_dtype(DType::F32).unwrap();
        let bits = |rows: usize, weight: &Tensor| -> Vec<f32> {
            let x = Tensor::from_vec(values(rows * width, 11), (rows, width), &Device::Cpu).unwrap();
            linear(&x, weight, None).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let few = bits(1, &narrow);
        assert_eq!(few, bits(1, &wide));
        let more = bits(3, &narrow);
        assert_eq!(more, bits(3, &wide));
        assert_eq!(few, more[..outputs], "a row depends on those beside it");
    }
}
