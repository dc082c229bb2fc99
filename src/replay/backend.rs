//! What can run a method: a processor, a GPU, a simulated circuit.

use std::str::FromStr;

use anyhow::Result;

use super::cpu::Cpu;
use super::fpga::Fpga;
use super::method::ReplayMethod;
use super::profile::DeviceProfile;
use crate::record::replay::Provenance;
use splitbench_codec::{Activation, Calibration};

/// What a back end runs on.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// As it names itself.
    pub name: String,
    /// Clock, MHz, where it says.
    pub clock_mhz: Option<f64>,
    /// Libraries that do the work, each with its version.
    pub libraries: Vec<String>,
}

/// How many threads work at once, each on activations of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One.
    One,
    /// As many as the program has (`RAYON_NUM_THREADS`).
    All,
}

impl Threads {
    /// Their number.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::All => rayon::current_num_threads(),
        }
    }
}

impl FromStr for Threads {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "1" => Ok(Self::One),
            "all" => Ok(Self::All),
            _ => Err(splitbench_codec::suggest::unknown("number of threads", text, ["1", "all"])),
        }
    }
}

/// What is to be run at one hidden size.
pub struct ReplayJob<'a> {
    /// Channels, D.
    pub hidden: usize,
    /// Methods, in the order of the rows.
    pub methods: &'a [ReplayMethod],
    /// Ways to use threads, where the back end has any.
    pub threads: &'a [Threads],
    /// What calibrated codecs learn from; none where no method needs it.
    pub calibration: Option<&'a Calibration>,
}

/// A place to run methods.
pub trait Backend {
    /// `cpu`, `cuda`, ...
    fn name(&self) -> &'static str;

    /// What it runs on.
    fn device(&self) -> &Device;

    /// What the model of `profile.rs` needs to know of the device, where that can be asked or measured: the model is checked
    /// against the times.
    fn profile(&self) -> Option<DeviceProfile> {
        None
    }

    /// How its times come about.
    fn provenance(&self) -> Provenance;

    /// A lane for each method that it runs and way of running it; the error of one that cannot be opened becomes its row.
    fn lanes<'a>(&'a self, job: &ReplayJob<'a>) -> Vec<OpenedLane<'a>>;
}

/// A lane, or why there is none.
pub struct OpenedLane<'a> {
    /// The method, as rows have it.
    pub method: ReplayMethod,
    /// Which of several implementations, and what its times contain; empty where there is one.
    pub variant: String,
    /// Threads, where the back end has any.
    pub threads: Option<usize>,
    /// The lane.
    pub lane: Result<Box<dyn Lane + 'a>>,
}

/// One method made ready on one device.
pub trait Lane {
    /// Seconds that making it ready took, plans apart: building the codec from its calibration, compiling a kernel.
    fn setup_s(&self) -> f64;

    /// Times the method on an activation at a ratio in elements.
    fn time(&mut self, activation: &Activation, ratio: f64) -> Result<CallTimes>;

    /// What the receiver gets, S x D row-major.
    fn round_trip(&mut self, activation: &Activation, ratio: f64) -> Result<Vec<f32>>;

    /// Something that a reader of the row should know, after all is timed.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Times of one activation, seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallTimes {
    /// The first call of both directions, plan creation included.
    pub first_s: f64,
    /// Compression, each call after that.
    pub encode_s: Vec<f64>,
    /// Decompression.
    pub decode_s: Vec<f64>,
}

/// Names of the back ends, in the order of the rows.
pub const NAMES: [&str; 3] = ["cpu", "cuda", "fpga"];

/// How the times of a back end come about, whether or not it can be opened here.
pub fn provenance(name: &str) -> Provenance {
    if name == "fpga" { Provenance::Simulated } else { Provenance::Measured }
}

/// Opens a back end. Fails, saying why, where it cannot run here.
pub fn open(name: &str) -> Result<Box<dyn Backend>> {
    match name {
        "cpu" => Ok(Box::new(Cpu::detect())),
        "cuda" => cuda(),
        "fpga" => Ok(Box::new(Fpga::open()?)),
        _ => Err(splitbench_codec::suggest::unknown("back end", name, NAMES)),
    }
}

#[cfg(feature = "cuda-kernel")]
fn cuda() -> Result<Box<dyn Backend>> {
    Ok(Box::new(super::cuda::Cuda::open()?))
}

#[cfg(not(feature = "cuda-kernel"))]
fn cuda() -> Result<Box<dyn Backend>> {
    anyhow::bail!(
        "this program was built without the CUDA kernels; build it with --features cuda-kernel (no CUDA toolkit is needed)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_answered_with_the_nearest() {
        assert!(open("cuad").err().unwrap().to_string().contains("\"cuda\""));
        assert!("two".parse::<Threads>().unwrap_err().to_string().contains("all"));
        assert_eq!("1".parse::<Threads>().unwrap().count(), 1);
    }

    #[cfg(not(feature = "cuda-kernel"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        assert!(open("cuda").err().unwrap().to_string().contains("--features cuda-kernel"));
    }
}
