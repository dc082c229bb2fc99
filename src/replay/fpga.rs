//! The back end `fpga`: the FC transform by the cores of `rtl/`, simulated cycle by cycle. Seconds are cycles over a stated clock.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use super::backend::{Backend, CallTimes, Device, Lane, OpenedLane, ReplayJob};
use super::method::ReplayMethod;
use crate::clock::{timed, wall_seconds};
use crate::record::replay::Provenance;
use splitbench_codec::kernel::{Band, Block};
use splitbench_codec::{self as codec, Activation};
use splitbench_fpga::{self as fpga, CLOCK_HZ, CoreShape, CoreTiming, Simulator};

pub(super) struct Fpga {
    device: Device,
}

impl Fpga {
    /// Looks for the simulator's tools; the simulator itself is built when it is needed. Fails, saying why, where one is missing.
    pub fn open() -> Result<Self> {
        let device = Device {
            name: "encoder and decoder of rtl/ in simulation, on no board".into(),
            clock_mhz: Some(CLOCK_HZ / 1e6),
            libraries: vec![fpga::tool()?],
        };
        Ok(Self { device })
    }
}

impl Backend for Fpga {
    fn name(&self) -> &'static str {
        "fpga"
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn provenance(&self) -> Provenance {
        Provenance::Simulated
    }

    fn lanes<'a>(&'a self, job: &ReplayJob<'a>) -> Vec<OpenedLane<'a>> {
        let ways = |method: &ReplayMethod| -> Vec<OpenedLane<'a>> {
            let ReplayMethod::Kernel(band) = method else { return Vec::new() };
            let opened = |order: Order| {
                let lane = FpgaLane::open(order, *band, job.hidden).map(|lane| Box::new(lane) as Box<dyn Lane>);
                let variant = format!("{:.0} MHz, {}", CLOCK_HZ / 1e6, order.as_str());
                OpenedLane { method: method.clone(), variant, threads: None, lane }
            };
            [Order::Alone, Order::Queued].map(opened).into()
        };
        job.methods.iter().flat_map(ways).collect()
    }
}

/// What else a core has to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// Nothing: from the first beat in to the last beat out.
    Alone,
    /// Activations wait on both sides: from the last beat of one to that of the next.
    Queued,
}

impl Order {
    fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "one at a time",
            Self::Queued => "one behind another",
        }
    }

    /// Activations of a simulation; of those that are queued the first find the three stages of a core empty.
    fn jobs(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Queued => 4,
        }
    }

    /// Cycles of the last of them.
    fn cycles(self, timings: &[CoreTiming]) -> Option<u64> {
        match (self, timings) {
            (Self::Alone, [only]) => Some(only.cycles()),
            (Self::Queued, [.., before, last]) => Some(last.last_out - before.last_out),
            _ => None,
        }
    }
}

struct FpgaLane {
    order: Order,
    simulator: Simulator,
    setup_s: f64,
    /// Activations simulated, their numbers, and how many of these were at the rails.
    activations: usize,
    numbers: usize,
    saturated: u64,
}

impl FpgaLane {
    fn open(order: Order, band: Band, hidden: usize) -> Result<Self> {
        ensure!(
            band == Band::Mirrored,
            "the FPGA cores keep the block of band=mirrored alone: leave other bands to another back end"
        );
        // A length that the cores do not have is known before anything is built.
        CoreShape::new(1, hidden, Block { ks: 1, kd: 1 })?;
        let (simulator, setup_s) = timed(wall_seconds, Simulator::find);
        Ok(Self { order, simulator: simulator?, setup_s, activations: 0, numbers: 0, saturated: 0 })
    }

    /// Compresses and restores an activation: seconds of both, and what comes back. Each number is compared with the model's.
    fn simulate(&mut self, a: &Activation, ratio: f64) -> Result<([f64; 2], Vec<f32>)> {
        let block = codec::proportional(Band::Mirrored, a.shape(), ratio);
        let shape = CoreShape::new(a.tokens(), a.hidden(), block)?;
        let rows = fpga::quantise(a.values(), a.hidden())?.rows;
        let (encoded, jobs) = (fpga::encode(&shape, &rows)?, self.order.jobs());
        // What travels is the block: beats have neighbours of it too, which the receiver must not count.
        let sent = shape.pack(&shape.unpack(&encoded.coefficients)?)?;
        // A process for each direction, at once: what the decoder gets is the model's, which the encoder's must be.
        let (encodings, back) = thread::scope(|scope| {
            let encodings = scope.spawn(|| self.simulator.encode(&vec![(shape, &rows); jobs]));
            let back = self.simulator.decode(&vec![(shape, &sent); jobs]);
            (encodings.join().unwrap_or_else(|_| Err(anyhow!("the simulation of the encoder was cut short"))), back)
        });
        let (encodings, back, decoded) = (encodings?, back?, fpga::decode(&shape, &sent)?);
        let all = encodings.iter().all(|run| run.encoded == encoded);
        ensure!(all, "what the simulated encoder gives is not what its model does");
        ensure!(
            back.iter().all(|run| run.decoded == decoded),
            "what the simulated decoder gives is not what its model does"
        );
        self.activations += 1;
        self.numbers += a.values().len();
        self.saturated += encoded.saturations + decoded.saturations;
        let seconds = |timings: Vec<CoreTiming>| {
            self.order.cycles(&timings).map(CoreTiming::seconds).context("the simulator gave too few results")
        };
        let encode = seconds(encodings.iter().map(|run| run.timing).collect())?;
        let decode = seconds(back.iter().map(|run| run.timing).collect())?;
        Ok(([encode, decode], decoded.values.to_f32()))
    }
}

impl Lane for FpgaLane {
    fn setup_s(&self) -> f64 {
        self.setup_s
    }

    /// Each simulation begins with a reset, so that there is no first call unlike the others.
    fn time(&mut self, a: &Activation, ratio: f64) -> Result<CallTimes> {
        let ([encode, decode], _) = self.simulate(a, ratio)?;
        Ok(CallTimes { first_s: encode + decode, encode_s: vec![encode], decode_s: vec![decode] })
    }

    fn round_trip(&mut self, a: &Activation, ratio: f64) -> Result<Vec<f32>> {
        Ok(self.simulate(a, ratio)?.1)
    }

    fn note(&self) -> Option<String> {
        let Self { activations, numbers, saturated, .. } = self;
        (*activations > 0).then(|| {
            format!(
                "{activations} activations simulated, each bit for bit as the model has it; {saturated} of {numbers} numbers \
                 saturated; no board, memory or link is simulated"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(tokens: usize, value: f32, lane: &mut FpgaLane) -> String {
        let mut values = vec![0.5; tokens * 192];
        values[5] = value;
        let activation = Activation::new(tokens, 192, values).unwrap();
        format!("{:#}", lane.time(&activation, 8.0).unwrap_err())
    }

    #[test]
    fn what_the_cores_do_not_take_is_an_error() {
        let mut lane = match FpgaLane::open(Order::Alone, Band::Mirrored, 192) {
            Ok(lane) => lane,
            Err(why) => return println!("skipped: {why:#}"),
        };
        assert!(error(513, 0.5, &mut lane).contains("S from 1 to 512, not 513"));
        assert!(error(2, 1e38, &mut lane).contains("beyond 2^115"));
        assert_eq!(lane.note(), None);
    }
}
