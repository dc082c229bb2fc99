//! What a device can do, from its data sheet or measured on the spot, and the FC kernel's time on it by a roofline model.

use anyhow::{Context, Result, ensure};
use include_dir::{Dir, include_dir};
use serde::Deserialize;

use super::limits;
use super::roofline::{Kernel, work};
use super::sample::{Estimate, SampleTime, TraceSequence, estimate, every};
use splitbench_codec::kernel::Band;
use splitbench_codec::{self as codec, Shape};

static EMBEDDED: Dir = include_dir!("$CARGO_MANIFEST_DIR/experiments/devices");

/// A number with where it was published.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantity {
    value: f64,
    source: String,
}

/// A file of `experiments/devices`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataSheet {
    /// As the maker calls it.
    name: String,
    /// What there is to know beside the numbers.
    about: String,
    /// CUDA cores; each does a fused product and sum a clock.
    cuda_cores: Quantity,
    /// Highest clock of the GPU, MHz.
    gpu_mhz: Quantity,
    /// Memory bandwidth, GB/s.
    memory_gb_s: Quantity,
    /// Time between the starts of two small kernels, µs.
    launch_us: Quantity,
}

impl DataSheet {
    fn check(&self) -> Result<()> {
        for (name, quantity) in [
            ("cuda_cores", &self.cuda_cores),
            ("gpu_mhz", &self.gpu_mhz),
            ("memory_gb_s", &self.memory_gb_s),
            ("launch_us", &self.launch_us),
        ] {
            let Quantity { value, source } = quantity;
            ensure!(value.is_finite() && *value > 0.0, "{name}.value is {value}; expected a number above 0");
            ensure!(source.starts_with("https://"), "{name}.source is {source:?}; expected the public page it is from");
        }
        ensure!(!self.name.is_empty() && !self.about.is_empty(), "name and about must say what the device is");
        Ok(())
    }
}

/// A device as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceProfile {
    /// Its name.
    pub name: String,
    /// Clock, MHz, where one is stated.
    pub clock_mhz: Option<f64>,
    /// Where the numbers are from.
    pub about: String,
    flops: f64,
    bytes_per_second: f64,
    launch_s: f64,
    kernels: Vec<Kernel>,
}

/// Names of the devices that are part of the program.
pub fn embedded() -> Vec<&'static str> {
    let mut names: Vec<_> = EMBEDDED.files().filter_map(|f| f.path().file_stem()?.to_str()).collect();
    names.sort_unstable();
    names
}

/// Reads a device: a name of [`embedded`], or a path that ends in `.toml`.
pub fn load(name: &str) -> Result<DeviceProfile> {
    let text = match EMBEDDED.get_file(format!("{name}.toml")).and_then(|f| f.contents_utf8()) {
        Some(text) => text.to_string(),
        None if name.ends_with(".toml") => {
            std::fs::read_to_string(name).with_context(|| format!("reading device {name}"))?
        }
        None => {
            return Err(splitbench_codec::suggest::unknown("device", name, embedded())
                .context("a device is a known name or a path that ends in .toml"));
        }
    };
    let sheet: DataSheet = toml::from_str(&text).with_context(|| format!("device {name}"))?;
    sheet.check().with_context(|| format!("device {name}"))?;
    Ok(DeviceProfile {
        about: sheet.about,
        clock_mhz: Some(sheet.gpu_mhz.value),
        flops: 2e6 * sheet.cuda_cores.value * sheet.gpu_mhz.value,
        bytes_per_second: 1e9 * sheet.memory_gb_s.value,
        launch_s: 1e-6 * sheet.launch_us.value,
        ..DeviceProfile::gpu(sheet.name)
    })
}

impl DeviceProfile {
    fn gpu(name: String) -> Self {
        let kernels = vec![Kernel::Cufft, Kernel::Fused];
        Self { name, clock_mhz: None, about: String::new(), flops: 0.0, bytes_per_second: 0.0, launch_s: 0.0, kernels }
    }

    /// A GPU of `[FLOP/s, bytes/s, seconds a launch]`.
    #[cfg(any(test, feature = "cuda-kernel"))]
    pub(super) fn new(name: &str, [flops, bytes_per_second, launch_s]: [f64; 3]) -> Self {
        Self { flops, bytes_per_second, launch_s, ..Self::gpu(name.to_string()) }
    }

    /// One thread of this processor, measured now; none where its peak cannot be.
    pub(super) fn of_this_cpu() -> Option<Self> {
        let (flops, bytes_per_second) = (limits::peak()?, limits::bandwidth());
        Some(Self {
            name: "one thread of this processor".into(),
            clock_mhz: None,
            about: format!(
                "{:.0} GFLOP/s of products and sums in registers and {:.1} GB/s of copying, measured on the spot",
                flops * 1e-9,
                bytes_per_second * 1e-9
            ),
            flops,
            bytes_per_second,
            launch_s: 0.0,
            kernels: vec![Kernel::TokensFirst],
        })
    }

    /// Time between the starts of two small kernels, s.
    pub fn launch_s(&self) -> f64 {
        self.launch_s
    }

    /// Floating-point operations per second at its highest clock, a fused product and sum as two.
    pub fn flops(&self) -> f64 {
        self.flops
    }

    /// Memory bandwidth, bytes/s.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes_per_second
    }

    /// The kernels that the model takes the faster of, shape by shape.
    pub(super) fn variant(&self) -> &'static str {
        if self.kernels.len() > 1 { "faster of cuFFT and fused" } else { "tokens first" }
    }

    /// Compression and decompression of all sequences by the fc kernel, at its best: a lower bound on the device's time.
    pub(super) fn model(&self, sequences: &[TraceSequence], hidden: usize) -> [Estimate; 2] {
        let shapes = every(sequences);
        let times: Vec<[f64; 2]> = shapes
            .iter()
            .map(|(TraceSequence { tokens, ratio, .. }, _)| {
                let shape = (*tokens, hidden);
                let block = codec::proportional(Band::Mirrored, Shape { tokens: *tokens, hidden }, *ratio);
                let seconds = self.kernels.iter().map(|kernel| work(*kernel, shape, block).map(|w| w.seconds(self)));
                // Each direction by the kernel that is faster at it.
                seconds.fold([f64::INFINITY; 2], |best, one| [best[0].min(one[0]), best[1].min(one[1])])
            })
            .collect();
        [0, 1].map(|way| {
            let ran = |(place, ((shape, count), time)): (usize, (&(TraceSequence, f64), &[f64; 2]))| SampleTime {
                place,
                tokens: shape.tokens,
                count: *count,
                value: time[way],
            };
            estimate(&shapes.iter().zip(&times).enumerate().map(ran).collect::<Vec<_>>(), None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_its_sources() {
        assert!(embedded().len() >= 3);
        for name in embedded() {
            let device = load(name).unwrap();
            assert!(device.flops() > 1e11 && device.bytes_per_second() > 1e10 && device.launch_s() > 1e-7, "{name}");
        }
        assert!(format!("{:#}", load("jetson-orin-nona").unwrap_err()).contains("\"jetson-orin-nano\""));
    }

    #[test]
    fn a_sheet_without_a_source_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.toml");
        let text = EMBEDDED.get_file("jetson-orin-nano.toml").unwrap().contents_utf8().unwrap();
        for (from, to, expected) in [("https://", "http-", "source"), ("gpu_mhz", "gpu_hz", "gpu_hz")] {
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let error = format!("{:#}", load(path.to_str().unwrap()).unwrap_err());
            assert!(error.contains("d.toml") && error.contains(expected), "{error}");
        }
    }

    /// Twice the sequences take twice as long, and a device of half the speed too.
    #[test]
    fn the_model_is_linear() {
        let sequence = |tokens| TraceSequence { tokens, ratio: 8.0, row: None };
        let fast = DeviceProfile::new("fast", [1e12, 1e11, 1e-5]);
        let slow = DeviceProfile::new("slow", [5e11, 5e10, 2e-5]);
        let one = [sequence(20), sequence(50)];
        let two = [sequence(20), sequence(20), sequence(50), sequence(50)];
        for way in 0..2 {
            let time = |device: &DeviceProfile, of: &[TraceSequence]| device.model(of, 2048)[way].total;
            assert!((time(&fast, &two) / time(&fast, &one) - 2.0).abs() < 1e-12);
            assert!((time(&slow, &one) / time(&fast, &one) - 2.0).abs() < 1e-12);
        }
    }
}
