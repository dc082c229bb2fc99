//! Where a decoder's weights lie and its arithmetic is done.

use anyhow::{Result, bail};
use candle_core::{Device, DeviceLocation};

/// Opens a device by its name on the command line: `cpu`, `cuda` or `cuda:N`.
pub fn open_device(name: &str) -> Result<Device> {
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

#[cfg(feature = "cuda-model")]
fn cuda(ordinal: usize) -> Result<Device> {
    use anyhow::Context;
    Device::new_cuda(ordinal).with_context(|| format!("opening GPU {ordinal}; `nvidia-smi` lists those there are"))
}

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
        assert_eq!(device_name(&open_device("cpu").unwrap()), "cpu");
        for wrong in ["gpu", "cuda:", "cuda:x", "cpu:0"] {
            let error = open_device(wrong).unwrap_err().to_string();
            assert!(error.contains("expected cpu, cuda or cuda:N"), "{error}");
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
