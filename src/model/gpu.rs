//! Opening an NVIDIA GPU, and what is said where that fails.

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, sys};
use candle_core::cuda_backend::set_gemm_reduced_precision_f32;
use candle_core::{Device, Tensor};

use super::device::ProductType;
use super::ops;
use crate::cuda_libraries;

/// Opens GPU `ordinal` for all threads.
///
/// # Errors
/// A library that is missing; no driver, no such GPU; kernels that this driver or GPU does not take.
pub(super) fn open(ordinal: usize, products: ProductType) -> Result<Device> {
    cuda_libraries::load(cuda_libraries::DECODER)
        .map_err(|error| anyhow!("{error}. --device cpu needs none of them"))?;
    let count =
        CudaContext::device_count().context("the NVIDIA driver finds no GPU; `nvidia-smi` lists those there are")?;
    ensure!(
        usize::try_from(count).is_ok_and(|count| ordinal < count),
        "no GPU {ordinal}: the NVIDIA driver finds {count}, counted from 0; `nvidia-smi` lists them"
    );
    // One stream for all threads. `Device::new_cuda` gives every thread a stream of its own, and no stream waits for
    // another: a tensor that clients hand to the server would be read before it is written, and its memory used again
    // before it is read.
    let device = Device::new_cuda_with_stream(ordinal).with_context(|| format!("opening GPU {ordinal}"))?;
    // An event for every use of a tensor orders streams, of which there is one.
    // SAFETY: tensors of this device are made, used and freed in the order of its one stream.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    // A switch of the process with candle, and so the other one here: a process has one device beside the CPU.
    set_gemm_reduced_precision_f32(products == ProductType::Tf32);
    ops::multiply_in_bf16(products == ProductType::Bf16);
    run_one_kernel(&device).with_context(|| unlike(&device))?;
    Ok(device)
}

/// One of candle's kernels: a driver or a GPU that they are not for shows now and not in the middle.
fn run_one_kernel(device: &Device) -> Result<()> {
    let ones = Tensor::ones(4, candle_core::DType::F32, device)?;
    let sums = (&ones + &ones)?.to_vec1::<f32>()?;
    if sums != [2.0; 4] {
        bail!("the GPU adds 1 and 1 to {sums:?}");
    }
    Ok(())
}

/// What a GPU says of itself.
pub(super) fn description(device: &Device) -> Result<String> {
    let context = device.as_cuda_device()?.cuda_stream().context().clone();
    let (major, minor) = context.compute_capability()?;
    let mut driver = 0;
    // SAFETY: it writes the number that it is given a place for.
    unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result()?;
    let (_, memory) = context.mem_get_info()?;
    let gib = memory as f64 / (1u64 << 30) as f64;
    let (name, [whole, part]) = (context.name()?, [driver / 1000, driver % 1000 / 10]);
    Ok(format!("{name}, compute capability {major}.{minor}, {gib:.1} GiB, driver for CUDA {whole}.{part}"))
}

/// Bytes that it has left.
pub(super) fn free_memory(device: &Device) -> Result<usize> {
    let (free, _) = device.as_cuda_device()?.cuda_stream().context().mem_get_info()?;
    Ok(free)
}

/// What the kernels were built for, beside what is here.
fn unlike(device: &Device) -> String {
    let here = description(device).unwrap_or_else(|error| format!("the GPU says nothing of itself: {error}"));
    format!(
        "this program's kernels were built with {}, and do not run here: {here}. Update the driver, or build again with this GPU's \
         CUDA_COMPUTE_CAP (70 for 7.0) and a CUDA no newer than the driver's",
        env!("SPLITBENCH_CUDA")
    )
}
