//! Where a decoder's weights lie, and in which type.

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device, DeviceLocation};

/// The place and type of a decoder's weights, and what its arithmetic is done in.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Device of weights and arithmetic.
    pub device: Device,
    /// Type that weight matrices are kept in: f32, or bf16 in half the memory. Those of a bf16 checkpoint are the same
    /// numbers in both.
    pub dtype: DType,
    /// What weights and rows are rounded to before they are multiplied. All other arithmetic is f32.
    pub products: ProductType,
}

/// What factors of a product with weights are rounded to. Sums are f32 in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductType {
    /// f32: they are not rounded.
    F32,
    /// TF32 of NVIDIA's tensor cores: f32 with 10 bits of mantissa.
    Tf32,
    /// bf16, and so are the results.
    Bf16,
}

/// The types by name.
const TYPES: [(&str, DType, ProductType); 4] = [
    ("f32", DType::F32, ProductType::F32),
    ("bf16", DType::BF16, ProductType::F32),
    ("tf32", DType::F32, ProductType::Tf32),
    ("bf16-gemm", DType::BF16, ProductType::Bf16),
];

impl Placement {
    /// Opens the device called `cpu`, `cuda` or `cuda:N` for weights of the type called `f32` or `bf16`; on a GPU also `tf32` or
    /// `bf16-gemm`.
    pub fn open(device: &str, type_name: &str) -> Result<Self> {
        let Some((_, dtype, products)) = TYPES.into_iter().find(|(name, ..)| *name == type_name) else {
            let names = TYPES.map(|(name, ..)| name);
            return Err(splitbench_codec::suggest::unknown("type of weights", type_name, names));
        };
        ensure!(
            products == ProductType::F32 || device != "cpu",
            "--dtype {type_name} is for products on a GPU: give --device cuda, or --dtype {}",
            dtype.as_str()
        );
        Ok(Self { device: open_device(device, products)?, dtype, products })
    }

    /// f32 on the CPU.
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, dtype: DType::F32, products: ProductType::F32 }
    }

    /// The name of its type, as [`Placement::open`] takes it.
    pub fn type_name(&self) -> &'static str {
        let own = TYPES.iter().find(|(_, dtype, products)| (*dtype, *products) == (self.dtype, self.products));
        own.map_or("f32", |(name, ..)| name)
    }
}

fn open_device(name: &str, products: ProductType) -> Result<Device> {
    let ordinal = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => 0,
        Some(("cuda", ordinal)) if ordinal.parse::<usize>().is_ok() => ordinal.parse()?,
        _ => bail!("device {name:?}: expected cpu, cuda or cuda:N with N the number of the GPU"),
    };
    cuda(ordinal, products)
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
fn cuda(_ordinal: usize, _products: ProductType) -> Result<Device> {
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
        assert_eq!(placement.type_name(), "bf16");
        for of_a_gpu in ["tf32", "bf16-gemm"] {
            let error = Placement::open("cpu", of_a_gpu).unwrap_err().to_string();
            assert!(error.contains(of_a_gpu) && error.contains("--device cuda"), "{error}");
        }
        for wrong in ["gpu", "cuda:", "cuda:x", "cpu:0"] {
            let error = open_device(wrong, ProductType::F32).unwrap_err().to_string();
            assert!(error.contains("expected cpu, cuda or cuda:N"), "{error}");
        }
    }

    /// What one thread began, others read, use and free: each time the numbers are those of the CPU.
    #[cfg(feature = "cuda-model")]
    #[test]
    fn a_tensor_is_whole_in_another_thread() {
        use candle_core::Tensor;

        let gpu = match open_device("cuda", ProductType::F32) {
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
            let error = open_device(name, ProductType::F32).unwrap_err().to_string();
            assert!(error.contains("--features cuda-model"), "{error}");
        }
    }
}
