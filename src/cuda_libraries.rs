//! NVIDIA's libraries, loaded when a GPU is asked for.
//!
//! candle and cudarc are linked with these libraries, so that a program of theirs does not even start where one is missing. Here each
//! function they call is defined as a jump to where the loaded library has it; the linker then needs no library, and a program built
//! with CUDA runs on a machine without, and says there what a GPU would need.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use anyhow::{Result, anyhow, ensure};
use libloading::Library;

/// What a function returns whose library is not loaded: an error in every one of them, as 3 is neither success nor "try again".
extern "C" fn absent() -> c_int {
    3
}

/// Defines the functions of a library, and a table of them by this name.
macro_rules! library {
    ($table:ident: $($name:ident)*) => {
        static $table: &[LibraryFunction] = &[$(LibraryFunction { name: stringify!($name), slot: &$name::SLOT, jump: $name::$name }),*];
        $(
            #[allow(non_snake_case)]
            mod $name {
                use super::{AtomicPtr, absent, c_void};

                /// Where the function is.
                pub(super) static SLOT: AtomicPtr<c_void> = AtomicPtr::new(absent as *mut c_void);

                /// Whatever it takes and returns stays in its registers.
                #[unsafe(naked)]
                #[unsafe(no_mangle)]
                pub(super) unsafe extern "C" fn $name() {
                    #[cfg(target_arch = "x86_64")]
                    core::arch::naked_asm!("jmp qword ptr [rip + {slot}]", slot = sym SLOT);
                    #[cfg(target_arch = "aarch64")]
                    core::arch::naked_asm!(
                        "adrp x16, {slot}", "ldr x16, [x16, :lo12:{slot}]", "br x16",
                        slot = sym SLOT,
                    );
                }
            }
        )*
    };
}

/// A function of a library.
struct LibraryFunction {
    name: &'static str,
    slot: &'static AtomicPtr<c_void>,
    /// Held so that the linker takes it before it looks into a library.
    #[allow(dead_code)]
    jump: unsafe extern "C" fn(),
}

library! { DRIVER:
    cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuCtxSynchronize cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount
    cuDeviceGetName cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuDriverGetVersion cuEventCreate cuEventDestroy_v2
    cuEventRecord cuGetErrorString cuInit cuLaunchKernel cuMemAllocAsync cuMemAlloc_v2 cuMemFreeAsync cuMemFree_v2
    cuMemGetInfo_v2 cuMemcpyDtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyHtoDAsync_v2 cuMemcpyPeerAsync cuMemsetD8Async
    cuModuleGetFunction cuModuleLoad cuModuleLoadData cuModuleUnload cuStreamCreate cuStreamDestroy_v2
    cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent
}

library! { CUBLAS:
    cublasCreate_v2 cublasDestroy_v2 cublasDgemmStridedBatched cublasGemmStridedBatchedEx cublasSetStream_v2
}

library! { CURAND:
    curandCreateGenerator curandDestroyGenerator curandSetPseudoRandomGeneratorSeed curandSetStream
}

library! { NVRTC:
    nvrtcCompileProgram nvrtcCreateProgram nvrtcDestroyProgram nvrtcGetPTX nvrtcGetPTXSize nvrtcGetProgramLog
    nvrtcGetProgramLogSize nvrtcVersion
}

// candle's kernels for products of quantised weights and for experts are of the CUDA runtime, and register themselves with it before
// `main`. Weights are widened when they are read, so none of them is ever called: these functions stay absent, and with them a library
// that nobody needs to have.
library! { RUNTIME:
    __cudaGetKernel __cudaLaunchKernel __cudaLaunchKernel_ptsz __cudaPopCallConfiguration __cudaPushCallConfiguration
    __cudaRegisterFatBinary __cudaRegisterFatBinaryEnd __cudaRegisterFunction __cudaRegisterVar
    __cudaUnregisterFatBinary cudaDeviceGetAttribute cudaFree cudaFreeAsync cudaFreeAsync_ptsz cudaFuncGetAttributes
    cudaFuncSetAttribute cudaGetDevice cudaGetDeviceCount cudaGetErrorName cudaGetErrorString cudaGetLastError
    cudaMalloc cudaMallocAsync cudaMallocAsync_ptsz cudaMemsetAsync cudaMemsetAsync_ptsz
    cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cudaPeekAtLastError cudaSetDevice cudaStreamSynchronize
    cudaStreamSynchronize_ptsz
}

#[cfg(feature = "cuda-kernel")]
library! { CUFFT:
    cufftDestroy cufftExecC2C cufftExecC2R cufftExecR2C cufftGetVersion cufftPlanMany cufftSetStream
}

/// A library: what it is, its names with the version that was built for first, and what is called of it.
pub(crate) struct NeededLibrary {
    what: &'static str,
    files: &'static [&'static str],
    functions: &'static [LibraryFunction],
}

const LIBCUDA: NeededLibrary = NeededLibrary { what: "the NVIDIA driver", files: &["libcuda.so.1"], functions: DRIVER };
const LIBCUBLAS: NeededLibrary =
    NeededLibrary { what: "cuBLAS", files: &["libcublas.so.13", "libcublas.so.12", "libcublas.so"], functions: CUBLAS };
const LIBCURAND: NeededLibrary =
    NeededLibrary { what: "cuRAND", files: &["libcurand.so.10", "libcurand.so"], functions: CURAND };
const LIBNVRTC: NeededLibrary =
    NeededLibrary { what: "NVRTC", files: &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"], functions: NVRTC };
#[cfg(feature = "cuda-kernel")]
const LIBCUFFT: NeededLibrary =
    NeededLibrary { what: "cuFFT", files: &["libcufft.so.12", "libcufft.so.11", "libcufft.so"], functions: CUFFT };

/// What the decoder needs.
pub(crate) const DECODER: &[NeededLibrary] = &[LIBCUDA, LIBCUBLAS, LIBCURAND, LIBNVRTC];
/// What the FC kernels need.
#[cfg(feature = "cuda-kernel")]
pub(crate) const KERNELS: &[NeededLibrary] = &[LIBCUDA, LIBNVRTC, LIBCUFFT];

/// Loads libraries; those that are there already stay as they are.
///
/// # Errors
/// Every library that is missing, by name; a library that lacks a function.
pub(crate) fn load(needed: &[NeededLibrary]) -> Result<()> {
    // Not loaded; named, so that the jumps are there when candle's objects ask for them.
    std::hint::black_box(RUNTIME);
    let found: Vec<_> = needed.iter().map(|needed| (needed, find(needed.files))).collect();
    let missing: Vec<String> = found
        .iter()
        .filter(|(_, library)| library.is_none())
        .map(|(needed, _)| format!("{} ({})", needed.what, needed.files[0]))
        .collect();
    ensure!(
        missing.is_empty(),
        "not on this machine, or not on LD_LIBRARY_PATH: {}. The driver comes with the GPU's machine, the others with the CUDA toolkit or \
         NVIDIA's packages for pip; docs/gpu.md says which",
        missing.join(", ")
    );
    for (needed, library) in found {
        let Some((file, library)) = library else { continue };
        for LibraryFunction { name, slot, .. } in needed.functions {
            // SAFETY: only its address is taken; who calls it knows its type.
            let function = unsafe { library.get::<*mut c_void>(name.as_bytes()) };
            let function = function.map_err(|_| {
                anyhow!(
                    "{file} has no function {name}: {} is too old for this program, which needs CUDA 12 or later",
                    needed.what
                )
            })?;
            slot.store(*function, Ordering::Release);
        }
        // Its functions are called until the program ends.
        std::mem::forget(library);
    }
    Ok(())
}

/// The first of these files that the system finds by its name, or in a toolkit's folder.
fn find(files: &[&'static str]) -> Option<(&'static str, Library)> {
    let folders = std::env::var("CUDA_HOME").into_iter().chain(["/usr/local/cuda".to_string()]);
    let folders: Vec<String> = folders.map(|home| format!("{home}/lib64/")).collect();
    let places = |file: &&'static str| {
        let file = *file;
        std::iter::once(String::new()).chain(folders.clone()).map(move |folder| (file, format!("{folder}{file}")))
    };
    // SAFETY: the initialisers that run are those of NVIDIA's libraries.
    files.iter().flat_map(places).find_map(|(file, path)| Some((file, unsafe { Library::new(path) }.ok()?)))
}
