//! The back end `cuda`: the FC transform on an NVIDIA GPU, by cuFFT and by a fused kernel.

#[cfg(feature = "cuda-kernel")]
mod device;
#[cfg(test)]
mod emulate_tests;
#[cfg(feature = "cuda-kernel")]
mod lane;
mod layout;
#[cfg(feature = "cuda-kernel")]
mod transform;

#[cfg(feature = "cuda-kernel")]
pub(super) use device::Cuda;
