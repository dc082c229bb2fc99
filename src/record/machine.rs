//! What the run ran on.

use serde::{Deserialize, Serialize};

/// Description of the machine, as `machine.json` holds it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Processor as it names itself.
    pub cpu: String,
    /// Logical processors.
    pub cores: usize,
    /// Threads used for computing.
    pub threads: usize,
    /// Instruction sets that matrix multiplication chooses from.
    pub simd: Vec<String>,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Operating system and kernel.
    pub os: String,
    /// Processor architecture.
    pub architecture: String,
    /// This program.
    pub version: String,
}

impl Machine {
    /// This machine.
    pub fn detect() -> Self {
        let system = sysinfo::System::new_with_specifics(
            sysinfo::RefreshKind::nothing()
                .with_cpu(sysinfo::CpuRefreshKind::nothing())
                .with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram()),
        );
        Self {
            cpu: system.cpus().first().map(|c| c.brand().trim().to_string()).unwrap_or_default(),
            cores: system.cpus().len(),
            threads: rayon::current_num_threads(),
            simd: simd().into_iter().map(String::from).collect(),
            memory_bytes: system.total_memory(),
            os: [sysinfo::System::long_os_version(), sysinfo::System::kernel_version()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", kernel "),
            architecture: std::env::consts::ARCH.to_string(),
            version: crate::VERSION.to_string(),
        }
    }
}

/// Clock of the first processor, MHz, as the system states it.
pub fn clock_mhz() -> Option<f64> {
    let frequencies = sysinfo::CpuRefreshKind::nothing().with_frequency();
    let system = sysinfo::System::new_with_specifics(sysinfo::RefreshKind::nothing().with_cpu(frequencies));
    system.cpus().first().map(|cpu| cpu.frequency() as f64).filter(|mhz| *mhz > 0.0)
}

/// Processes that ran or waited for a processor, mean of the last minute; none where the system does not say.
pub fn load() -> Option<f64> {
    cfg!(unix).then(|| sysinfo::System::load_average().one)
}

/// A library's name and the version that this program was built with.
pub fn library(name: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains(&format!("name = \"{name}\"\n")))
        .and_then(|package| package.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"')));
    format!("{name} {}", version.unwrap_or("of unknown version"))
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn simd() -> Vec<&'static str> {
    let mut found = Vec::new();
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        found.push("avx2+fma");
    }
    if std::is_x86_feature_detected!("avx512f") {
        found.push("avx512f");
    }
    found
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn simd() -> Vec<&'static str> {
    Vec::new()
}

/// The most memory this process had, bytes, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}
