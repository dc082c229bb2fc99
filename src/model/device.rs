//! Where a decoder's weights lie, and in which type.

use anyhow::{Result, bail};
use candle_core::{DType, Device, DeviceLocation};

/// The place and type of a decoder's weights. Its arithmetic is done there, in f32.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Device of weights and arithmetic.
    pub device: Device,
    /// Type that weight matrices are kept in: f32, or bf16 in half the memory. Those of a bf16 checkpoint are the same
    /// numbers in both.
    pub dtype: DType,
}

impl Placement {
    /// Opens the device called `cpu`, `cuda` or `cuda:N` for weights of the type called `f32` or `bf16`.
    pub fn open(device: &str, dtype: &str) -> Result<Self> {
        let dtype = match dtype {
            "f32" => DType::F32,
            "bf16" => DType::BF16,
            other => return Err(splitbench_codec::suggest::unknown("type of weights", other, ["f32", "bf16"])),
        };
        Ok(Self { device: open_device(device)?, dtype })
    }

    /// f32 on the CPU.
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32 }
    }
}

fn open_device(name: &str) -> Result<Device> {
    let ordinal = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => 0,
        Some(("cuda", ordinal)) if ordinal.parse::<usize>().is_ok() => ordinal.parse()?,
        _ => bail!("device {name:?}: expected cpu, cuda or cuda:N with N the number of the GPU"),
    };
    cuda(ordinal)
}

/// The name that opens a device.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".to_string(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// A device as it describes itself: a GPU's name, compute capability, memory and driver.
pub fn description(device: &Device) -> Result<String> {
    match device {
        #[cfg(feature = "cuda-model")]
        Device::Cuda(_) => super::gpu::description(device),
        _ => Ok(device_name(device)),
    }
}

/// Bytes that a GPU has left; none of the CPU.
pub fn free_memory(device: &Device) -> Result<Option<usize>> {
    match device {
        #[cfg(feature = "cuda-model")]
        Device::Cuda(_) => super::gpu::free_memory(device).map(Some),
        _ => Ok(None),
    }
}

#[cfg(feature = "cuda-model")]
use super::gpu::open as cuda;

#[cfg(not(feature = "cuda-model"))]
fn cuda(_ordinal: usize) -> Result<Device> {
    bail!(
        "this program was built without CUDA; build it where nvcc is, with --features cuda-model, or take --device cpu"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let placement = Placement::open("cpu", "bf16").unwrap();
        assert_eq!((device_name(&placement.device).as_str(), placement.dtype), ("cpu", DType::BF16));
        assert!(Placement::open("cpu", "bf17").unwrap_err().to_string().contains("bf16"));
        for wrong in ["gpu", "cuda:", "cuda:x", "cpu:0"] {
            let error = open_device(wrong).unwrap_err().to_string();
            assert!(error.contains("expected cpu, cuda or cuda:N"), "{error}");
        }
    }

    /// What one thread began, others read, use and free: each time the numbers are those of the CPU.
    #[cfg(feature = "cuda-model")]
    #[test]
    fn a_tensor_is_whole_in_another_thread() {
        use candle_core::Tensor;

        let gpu = match open_device("cuda") {
            Ok(gpu) => gpu,
            Err(why) => return println!("skipped: {why:#}"),
        };
        let begin = |device: &Device| -> candle_core::Result<Tensor> {
            let start = Tensor::full(1f32 / 64.0, (64, 64), device)?;
            (0..30).try_fold(start.clone(), |product, _| (product.matmul(&start)? + 0.5)? - 0.25)
        };
        let go_on = |x: &Tensor| x.matmul(x)?.flatten_all()?.to_vec1::<f32>();
        let expected = go_on(&begin(&Device::Cpu).unwrap()).unwrap();
        for _ in 0..20 {
            let (sender, receiver) = std::sync::mpsc::sync_channel(1);
            std::thread::scope(|scope| {
                scope.spawn(|| sender.send(begin(&gpu).unwrap()).unwrap());
                let values = go_on(&receiver.recv().unwrap()).unwrap();
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs();
                assert!(values.iter().zip(&expected).all(close), "{:?} for {:?}", &values[..4], &expected[..4]);
            });
        }
    }

    #[cfg(not(feature = "cuda-model"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        for name in ["cuda", "cuda:1"] {
            assert!(open_device(name).unwrap_err().to_string().contains("--features cuda-model"));
        }
    }
}
