//! The back end `cpu`: every codec and the FC kernel, on one thread or on all.

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::backend::{Backend, CallTimes, Device, Lane, OpenedLane, ReplayJob, Threads};
use super::method::ReplayMethod;
use super::profile::DeviceProfile;
use crate::clock::{thread_seconds, timed, wall_seconds};
use crate::record::machine::{Machine, clock_mhz, library};
use crate::record::replay::Provenance;
use splitbench_codec::kernel::{self, Band, Block, with_workspace};
use splitbench_codec::{self as codec, Activation, Calibration, Codec, Delivery, Packet, Shape, round_trip};

/// Timed calls of each direction after one that is not counted; odd, so that the median is one of them.
const CALLS: usize = 3;

/// Activations a thread has in a call on all threads: the last one to finish costs the others little.
const EACH: usize = 2;

pub(super) struct Cpu {
    device: Device,
}

impl Cpu {
    pub fn detect() -> Self {
        let machine = Machine::detect();
        let libraries = ["rustfft", "faer", "half"].iter().map(|name| library(name)).collect();
        let name = format!("{}, {} logical processors", machine.cpu, machine.cores);
        Self { device: Device { name, clock_mhz: clock_mhz(), libraries } }
    }
}

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn profile(&self) -> Option<DeviceProfile> {
        DeviceProfile::of_this_cpu()
    }

    fn provenance(&self) -> Provenance {
        Provenance::Measured
    }

    fn lanes<'a>(&'a self, job: &ReplayJob<'a>) -> Vec<OpenedLane<'a>> {
        let ways = || job.threads.iter().flat_map(|&threads| job.methods.iter().map(move |method| (method, threads)));
        ways()
            .map(|(method, threads)| OpenedLane {
                method: method.clone(),
                variant: String::new(),
                threads: Some(threads.count()),
                lane: CpuLane::open(method, threads, job.calibration).map(|lane| Box::new(lane) as _),
            })
            .collect()
    }
}

/// What one call compresses to.
enum CpuPacket {
    Packet(Packet),
    Block { kept: Vec<f32>, band: Band, block: Block, shape: Shape },
}

struct CpuLane {
    work: CpuWork,
    threads: Threads,
    setup_s: f64,
    /// An external program works in a process of its own, which a thread's clock does not see.
    clock: fn() -> f64,
}

enum CpuWork {
    Codec(Box<dyn Codec>),
    Kernel(Band),
}

impl CpuWork {
    fn encode(&self, a: &Activation, ratio: f64) -> Result<CpuPacket> {
        match self {
            Self::Codec(codec) => codec.encode(a, Some(ReplayMethod::budget(ratio)?)).map(CpuPacket::Packet),
            Self::Kernel(band) => {
                let shape = a.shape();
                let block = codec::proportional(*band, shape, ratio);
                let mut kept = Vec::new();
                with_workspace(|work| kernel::forward(a.values(), shape, *band, block, 1.0, &mut kept, work));
                Ok(CpuPacket::Block { kept, band: *band, block, shape })
            }
        }
    }

    fn decode(&self, sent: &CpuPacket) -> Result<Vec<f32>> {
        match (self, sent) {
            (Self::Codec(codec), CpuPacket::Packet(packet)) => Ok(codec.decode(packet)?.into_values()),
            (_, CpuPacket::Block { kept, band, block, shape }) => {
                let mut out = Vec::new();
                with_workspace(|work| kernel::inverse(kept, *shape, *band, *block, 1.0, &mut out, work));
                Ok(out)
            }
            (Self::Kernel(_), CpuPacket::Packet(_)) => anyhow::bail!("the kernel reads no packets"),
        }
    }
}

impl CpuLane {
    fn open(method: &ReplayMethod, threads: Threads, calibration: Option<&Calibration>) -> Result<Self> {
        let (work, setup_s) = timed(wall_seconds, || -> Result<CpuWork> {
            Ok(match method {
                ReplayMethod::Codec(spec) => CpuWork::Codec(codec::build(spec, calibration)?),
                ReplayMethod::Kernel(band) => CpuWork::Kernel(*band),
            })
        });
        let apart = method.codec().is_some_and(|spec| spec.name() == "external");
        let clock = if apart || threads == Threads::All { wall_seconds } else { thread_seconds };
        Ok(Self { work: work.with_context(|| format!("building {method}"))?, threads, setup_s, clock })
    }

    /// Seconds an activation of one call: a thread's own, or those of all threads at work over the activations done.
    fn call<T: Send>(&self, work: impl Fn() -> Result<T> + Sync) -> Result<f64> {
        if self.threads == Threads::One {
            let (out, seconds) = timed(self.clock, work);
            // Not before the clock was read: giving memory back is not part of the codec.
            out.map(|_| seconds)
        } else {
            let copies = EACH * self.threads.count();
            let (done, seconds) = timed(self.clock, || (0..copies).into_par_iter().try_for_each(|_| work().map(drop)));
            done.map(|()| seconds / copies as f64)
        }
    }
}

impl Lane for CpuLane {
    fn setup_s(&self) -> f64 {
        self.setup_s
    }

    fn time(&mut self, a: &Activation, ratio: f64) -> Result<CallTimes> {
        // What the decoder gets is what the first call made; encoding gives the same bytes each time.
        let encode = || self.work.encode(a, ratio).context("compressing");
        let (sent, first_encode) = timed(self.clock, encode);
        let sent = sent?;
        let decode = || self.work.decode(&sent).context("decompressing");
        let (first, first_decode) = timed(self.clock, decode);
        drop(first?);
        if self.threads == Threads::All {
            // Each thread has plans and buffers of its own.
            self.call(encode)?;
            self.call(decode)?;
        }
        Ok(CallTimes {
            first_s: first_encode + first_decode,
            encode_s: (0..CALLS).map(|_| self.call(encode)).collect::<Result<_>>()?,
            decode_s: (0..CALLS).map(|_| self.call(decode)).collect::<Result<_>>()?,
        })
    }

    fn round_trip(&mut self, a: &Activation, ratio: f64) -> Result<Vec<f32>> {
        match &self.work {
            CpuWork::Codec(codec) => {
                match round_trip(codec.as_ref(), a, Some(ReplayMethod::budget(ratio)?))?.received {
                    Delivery::Activation(received) => Ok(received.into_values()),
                    Delivery::TokenIds(_) => anyhow::bail!("the codec sends no activation"),
                }
            }
            kernel => kernel.decode(&kernel.encode(a, ratio)?),
        }
    }
}
