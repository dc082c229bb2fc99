//! The back end `fpga`: the FC transform by the cores of `rtl/`, simulated cycle by cycle. Seconds are cycles over a stated clock.

use std::thread;

use anyhow::{Result, anyhow, bail, ensure};

use super::backend::{Backend, Device, Job, Lane, Opened, Provenance, Timed};
use super::clock::{timed, wall_seconds};
use super::method::Method;
use crate::codec::{self, Activation};
use crate::fpga::{self, CLOCK_HZ, Shape, Simulator, Timing};
use crate::kernel::{Band, Block};

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

    fn lanes<'a>(&'a self, job: &Job<'a>) -> Vec<Opened<'a>> {
        let opened = |method: &Method| {
            let Method::Kernel(band) = method else { return None };
            let lane = FpgaLane::open(*band, job.hidden).map(|lane| Box::new(lane) as Box<dyn Lane>);
            let variant = format!("{:.0} MHz", CLOCK_HZ / 1e6);
            Some(Opened { method: method.clone(), variant, threads: None, lane })
        };
        job.methods.iter().filter_map(opened).collect()
    }
}

struct FpgaLane {
    simulator: Simulator,
    setup_s: f64,
    /// Activations simulated, their numbers, and how many of these were at the rails.
    activations: usize,
    numbers: usize,
    saturated: u64,
}

impl FpgaLane {
    fn open(band: Band, hidden: usize) -> Result<Self> {
        ensure!(
            band == Band::Mirrored,
            "the FPGA cores keep the block of band=mirrored alone: leave other bands to another back end"
        );
        // A length that the cores do not have is known before anything is built.
        Shape::new(1, hidden, Block { ks: 1, kd: 1 })?;
        let (simulator, setup_s) = timed(wall_seconds, Simulator::find);
        Ok(Self { simulator: simulator?, setup_s, activations: 0, numbers: 0, saturated: 0 })
    }

    /// Compresses and restores an activation: cycles of both, and what comes back. Each number is compared with the model's.
    fn simulate(&mut self, a: &Activation, ratio: f64) -> Result<([Timing; 2], Vec<f32>)> {
        let block = codec::proportional(Band::Mirrored, (a.tokens(), a.hidden()), ratio);
        let shape = Shape::new(a.tokens(), a.hidden(), block)?;
        let rows = fpga::quantise(a.values(), a.hidden())?.rows;
        let encoded = fpga::encode(&shape, &rows)?;
        // A process for each direction, at once: what the decoder gets is the model's, which the encoder's must be.
        let (there, back) = thread::scope(|scope| {
            let there = scope.spawn(|| self.simulator.encode(&[(shape, &rows)]));
            let back = self.simulator.decode(&[(shape, &encoded.coefficients)]);
            (there.join().unwrap_or_else(|_| Err(anyhow!("the simulation of the encoder was cut short"))), back)
        });
        let (Some(there), Some(back)) = (there?.pop(), back?.pop()) else { bail!("the simulator gave no result") };
        ensure!(there.encoded == encoded, "what the simulated encoder gives is not what its model does");
        let decoded = fpga::decode(&shape, &encoded.coefficients)?;
        ensure!(back.decoded == decoded, "what the simulated decoder gives is not what its model does");
        self.activations += 1;
        self.numbers += a.values().len();
        self.saturated += encoded.saturations + decoded.saturations;
        Ok(([there.timing, back.timing], decoded.values.to_f32()))
    }
}

impl Lane for FpgaLane {
    fn setup_s(&self) -> f64 {
        self.setup_s
    }

    /// Alone and from a reset, so that all calls are like the first: the table of S is filled in each.
    fn time(&mut self, a: &Activation, ratio: f64) -> Result<Timed> {
        let (timings, _) = self.simulate(a, ratio)?;
        let [encode, decode] = timings.map(|timing| Timing::seconds(timing.cycles()));
        Ok(Timed { first_s: encode + decode, encode_s: vec![encode], decode_s: vec![decode] })
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
        let mut lane = match FpgaLane::open(Band::Mirrored, 192) {
            Ok(lane) => lane,
            Err(why) => return println!("skipped: {why:#}"),
        };
        assert!(error(513, 0.5, &mut lane).contains("S from 1 to 512, not 513"));
        assert!(error(2, 1e38, &mut lane).contains("beyond 2^115"));
        assert_eq!(lane.note(), None);
    }
}
