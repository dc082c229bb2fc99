//! Opening a GPU: which libraries must be there, what the device says of itself, the kernels compiled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use cudarc::driver::{CudaContext, CudaFunction, CudaStream, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::{CompileError, compile_ptx};

use super::lane;
use crate::clock::{timed, wall_seconds};
use crate::record::replay::Provenance;
use crate::replay::backend::{Backend, Device, OpenedLane, ReplayJob};
use crate::replay::method::{KERNEL, ReplayMethod};
use crate::replay::profile::DeviceProfile;

const SOURCE: &str = include_str!("kernels.cu");

/// Launches that the cost of one is measured over.
const LAUNCHES: usize = 1000;

/// The first GPU, with the kernels compiled for it.
pub(in crate::replay) struct Cuda {
    pub(super) gpu: Gpu,
    device: Device,
    profile: Option<DeviceProfile>,
}

/// What a transform needs of the GPU.
pub(super) struct Gpu {
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
    pub kernels: Kernels,
    /// Seconds that compiling took.
    pub compile_s: f64,
}

/// The functions of `kernels.cu`.
pub(super) struct Kernels {
    pub fused_forward: CudaFunction,
    pub fused_rows: CudaFunction,
    pub fused_tokens: CudaFunction,
    pub pack: CudaFunction,
    pub unpack: CudaFunction,
}

impl Cuda {
    /// Opens the first GPU. Fails, saying why, where a library or a GPU is missing.
    pub fn open() -> Result<Self> {
        load()?;
        // A library that lacks a function is a panic of the loader's.
        catch_unwind(AssertUnwindSafe(Self::open_first)).unwrap_or_else(|_| {
            bail!("a CUDA library here lacks a function of CUDA 12.2: update the driver or the toolkit")
        })
    }

    fn open_first() -> Result<Self> {
        let count = CudaContext::device_count().context("asking the NVIDIA driver for GPUs")?;
        ensure!(count > 0, "the NVIDIA driver finds no GPU");
        let context = CudaContext::new(0).context("opening GPU 0")?;
        // One stream does all: nothing has to wait for another, so nothing need be recorded.
        // SAFETY: no slice is used on a second stream.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().context("making a stream on GPU 0")?;
        let (kernels, compile_s) = timed(wall_seconds, || Kernels::compile(&context));
        let gpu = Gpu { kernels: kernels?, context, stream, compile_s };
        let attribute = |which| gpu.context.attribute(which).map(f64::from).ok();
        let mhz = attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE).map(|khz| khz / 1e3).filter(|mhz| *mhz > 0.0);
        let (major, minor) = gpu.context.compute_capability()?;
        let name = gpu.context.name()?;
        let processors = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        let memory_khz = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
        let bus_bits = attribute(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
        let launch_s = gpu.launch_s()?;
        let profile = mhz.zip(processors).zip(memory_khz.zip(bus_bits)).map(|((mhz, processors), (khz, bits))| {
            // CUDA cores of a multiprocessor by compute capability, from the programming guide's table.
            let cores = if matches!((major, minor), (6 | 8, 0) | (7, _)) { 64.0 } else { 128.0 };
            // Memory sends on both edges of its clock.
            DeviceProfile::new(
                &format!("{name}, by the model"),
                [2e6 * mhz * processors * cores, 250.0 * khz * bits, launch_s],
            )
        });
        let device = Device {
            name: format!("{name}, compute capability {major}.{minor}"),
            clock_mhz: mhz,
            libraries: vec![versions()?, crate::record::machine::library("cudarc")],
        };
        Ok(Self { gpu, device, profile })
    }
}

/// Loads the libraries by the program's own jumps, which candle's CUDA needs.
#[cfg(feature = "cuda-model")]
fn load() -> Result<()> {
    crate::cuda_libraries::load(crate::cuda_libraries::KERNELS)
}

/// cudarc loads its libraries itself; where one is missing that would be a panic.
#[cfg(not(feature = "cuda-model"))]
fn load() -> Result<()> {
    // SAFETY: each only looks whether a library can be loaded, whose initialisers are NVIDIA's.
    let present = unsafe {
        [
            ("the NVIDIA driver (libcuda)", cudarc::driver::sys::is_culib_present()),
            ("NVRTC of the CUDA toolkit (libnvrtc)", cudarc::nvrtc::sys::is_culib_present()),
            ("cuFFT of the CUDA toolkit (libcufft)", cudarc::cufft::sys::is_culib_present()),
        ]
    };
    let missing: Vec<&str> = present.iter().filter(|(_, here)| !here).map(|(name, _)| *name).collect();
    ensure!(missing.is_empty(), "not on this machine, or not on LD_LIBRARY_PATH: {}", missing.join(", "));
    Ok(())
}

/// Versions of driver, NVRTC and cuFFT.
fn versions() -> Result<String> {
    let (mut driver, mut major, mut minor) = (0, 0, 0);
    // SAFETY: both write the numbers they are given places for.
    unsafe {
        cudarc::driver::sys::cuDriverGetVersion(&raw mut driver).result().context("asking for the driver's version")?;
        cudarc::nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor)
            .result()
            .context("asking for NVRTC's version")?;
    }
    let cufft = cudarc::cufft::result::get_version().context("asking for cuFFT's version")?;
    Ok(format!("driver for CUDA {}.{}, NVRTC {major}.{minor}, cuFFT {cufft}", driver / 1000, driver % 1000 / 10))
}

impl Kernels {
    fn compile(context: &Arc<CudaContext>) -> Result<Self> {
        let ptx = compile_ptx(SOURCE).map_err(|error| match error {
            CompileError::CompileError { log, .. } => anyhow!("compiling the CUDA kernels: {}", log.to_string_lossy()),
            other => anyhow!("compiling the CUDA kernels: {other}"),
        })?;
        let module = context.load_module(ptx).context("loading the CUDA kernels")?;
        let load = |name: &str| module.load_function(name).with_context(|| format!("loading the CUDA kernel {name}"));
        Ok(Self {
            fused_forward: load("fused_forward")?,
            fused_rows: load("fused_rows")?,
            fused_tokens: load("fused_tokens")?,
            pack: load("pack")?,
            unpack: load("unpack")?,
        })
    }
}

impl Gpu {
    /// Seconds from one launch to the next, of a kernel that does nothing.
    fn launch_s(&self) -> Result<f64> {
        let (mut nothing, spectrum) = (
            self.stream.alloc_zeros::<cudarc::cufft::sys::float2>(1)?,
            self.stream.alloc_zeros::<cudarc::cufft::sys::float2>(1)?,
        );
        let frequency = self.stream.alloc_zeros::<i32>(1)?;
        let mut launch = |times: usize| -> Result<()> {
            for _ in 0..times {
                let mut args = self.stream.launch_builder(&self.kernels.pack);
                // No column is kept, so no thread writes.
                args.arg(&spectrum).arg(&mut nothing).arg(&1i32).arg(&1i32).arg(&0i32).arg(&frequency);
                let grid = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
                // SAFETY: the arguments are those of the kernel `pack`.
                unsafe { args.launch(grid) }?;
            }
            Ok(self.stream.synchronize()?)
        };
        launch(10)?;
        let (done, seconds) = timed(wall_seconds, || launch(LAUNCHES));
        done.context("measuring the cost of a launch")?;
        Ok(seconds / LAUNCHES as f64)
    }
}

impl Backend for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn profile(&self) -> Option<DeviceProfile> {
        self.profile.clone()
    }

    fn provenance(&self) -> Provenance {
        Provenance::Measured
    }

    fn lanes<'a>(&'a self, job: &ReplayJob<'a>) -> Vec<OpenedLane<'a>> {
        let kernels: Vec<_> = job.methods.iter().filter(|method| method.codec().is_none()).collect();
        if kernels.is_empty() {
            let lane = Err(anyhow!("the GPU runs the FC transform alone: name {KERNEL} among the methods"));
            return vec![OpenedLane {
                method: ReplayMethod::Kernel(splitbench_codec::kernel::Band::Mirrored),
                variant: String::new(),
                threads: None,
                lane,
            }];
        }
        kernels.into_iter().flat_map(|method| lane::lanes(&self.gpu, method)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::sample::{TraceSequence, sequences};
    use crate::replay::{reference, trace};
    use splitbench_codec::kernel::{self, Band};
    use splitbench_codec::{Activation, proportional};

    /// Fails on no machine: says what is missing, or opens.
    #[test]
    fn an_absent_gpu_is_a_reason() {
        match Cuda::open() {
            Ok(gpu) => assert!(!gpu.device().name.is_empty()),
            Err(why) => {
                assert!(!why.to_string().is_empty());
                println!("skipped: {why:#}");
            }
        }
    }

    /// Both kernels against sums in f64 and against the processor's: recorded activations, which all back ends share as a
    /// fixture, and shapes of the paper's models.
    #[test]
    fn a_gpu_gives_what_the_processor_gives() {
        let gpu = match Cuda::open() {
            Ok(gpu) => gpu,
            Err(why) => return println!("skipped: {why:#}"),
        };
        let recorded = trace::load("tests/replay/pocket.json").unwrap();
        let rows = recorded.rows.as_ref().unwrap();
        let hidden = rows.hidden();
        let mut activations: Vec<Activation> = sequences(&recorded, |_| 7.6)
            .iter()
            .map(|TraceSequence { tokens, row, .. }| {
                let values = rows.values()[row.unwrap() * hidden..][..tokens * hidden].to_vec();
                Activation::new(*tokens, hidden, values).unwrap()
            })
            .collect();
        for (tokens, hidden) in [(1, 1536), (13, 192), (32, 2048), (54, 3072), (127, 1536)] {
            let values = (0..tokens * hidden).map(|i| ((i * i + 7 * i) % 1013) as f32 / 500.0 - 1.0).collect();
            activations.push(Activation::new(tokens, hidden, values).unwrap());
        }
        let methods = [
            ReplayMethod::Kernel(Band::Mirrored),
            ReplayMethod::Kernel(Band::Corner),
            ReplayMethod::Kernel(Band::Centered),
        ];
        for a in &activations {
            let (tokens, hidden) = (a.tokens(), a.hidden());
            let job = ReplayJob { hidden, methods: &methods, threads: &[], calibration: None };
            for OpenedLane { method, variant, lane, .. } in gpu.lanes(&job) {
                let mut lane = lane.unwrap();
                let back = lane.round_trip(a, 7.6).unwrap();
                let from = |expected: &[f64]| reference::rel_error(back.iter().map(|&v| f64::from(v)), expected);
                let error = from(&method.exact(a, 7.6, None).unwrap().unwrap());
                assert!(error < 1e-4, "{method} {variant} {tokens} x {hidden}: {error:e} from f64");
                let ReplayMethod::Kernel(band) = method else { unreachable!() };
                let shape = a.shape();
                let block = proportional(band, shape, 7.6);
                let (mut kept, mut cpu) = (Vec::new(), Vec::new());
                kernel::with_workspace(|work| {
                    kernel::forward(a.values(), shape, band, block, 1.0, &mut kept, work);
                    kernel::inverse(&kept, shape, band, block, 1.0, &mut cpu, work);
                });
                let error = from(&cpu.into_iter().map(f64::from).collect::<Vec<_>>());
                assert!(error < 1e-4, "{method} {variant} {tokens} x {hidden}: {error:e} from the processor");
                let timed = lane.time(a, 7.6).unwrap();
                assert!(timed.encode_s.iter().chain(&timed.decode_s).all(|s| *s > 0.0));
            }
        }
    }

    /// A GPU out of memory says so, with how much it was asked for.
    #[test]
    fn out_of_memory_is_an_error() {
        let gpu = match Cuda::open() {
            Ok(gpu) => gpu,
            Err(why) => return println!("skipped: {why:#}"),
        };
        let error = gpu.gpu.ensure_room(1 << 50).unwrap_err().to_string();
        assert!(error.contains("GPU memory") && error.contains("MB"), "{error}");
    }
}
