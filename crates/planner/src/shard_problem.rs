//! What EdgeShard is given: one model, any number of devices.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::check;
use crate::link::OneWayLink;

/// Most devices: the programme for throughput has a state for each set of them.
pub(crate) const MOST_DEVICES: usize = 12;

/// A model over devices that are connected pairwise. Embedding and head count as the first and last layer, as in the paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardProblem {
    /// Time of each layer on each device, s: `layer_s[device][layer]`.
    pub layer_s: Vec<Vec<f64>>,
    /// Memory of each layer, bytes.
    pub layer_memory_bytes: Vec<u64>,
    /// Memory of each device, bytes.
    pub device_memory_bytes: Vec<u64>,
    /// What each layer hands on, bytes; the last one's is the answer, which goes back to the source.
    pub output_bytes: Vec<f64>,
    /// `links[from][to]`; the diagonal is not read.
    pub links: Vec<Vec<OneWayLink>>,
    /// The device that has the input.
    pub source: usize,
    /// Layers that the source must run first, for privacy; the paper has 1, and 0 counts as 1.
    pub min_source_layers: usize,
}

/// Consecutive layers on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ModelShard {
    /// The device.
    pub device: usize,
    /// Its first layer, from 0.
    pub first_layer: usize,
    /// The layer behind its last one.
    pub end_layer: usize,
}

impl ShardProblem {
    /// How many layers there are.
    pub fn layers(&self) -> usize {
        self.layer_memory_bytes.len()
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.layer_s.len()
    }

    /// Time to hand the output of a layer from one device to another, s; none where they are the same.
    pub fn hand_over_s(&self, layer: usize, from: usize, to: usize) -> f64 {
        if from == to { 0.0 } else { self.links[from][to].send_s(self.output_bytes[layer]) }
    }

    /// Fails on tables that do not fit together, numbers that are none, and links that are none.
    pub fn check(&self) -> Result<()> {
        let (layers, devices) = (self.layers(), self.devices());
        ensure!(layers > 0, "the model has no layers: give the memory and time of each of them");
        ensure!(
            (1..=MOST_DEVICES).contains(&devices),
            "{devices} devices: 1 to {MOST_DEVICES} were expected, as there is a state for each set of them"
        );
        ensure!(
            self.layer_s.iter().all(|times| times.len() == layers) && self.output_bytes.len() == layers,
            "each device needs a time for each of the {layers} layers, and each layer needs its output's bytes"
        );
        ensure!(
            self.device_memory_bytes.len() == devices
                && self.links.len() == devices
                && self.links.iter().all(|links| links.len() == devices),
            "each of the {devices} devices needs its memory, and a link to each other one"
        );
        ensure!(self.source < devices, "the source is device {}, but there are {devices}, counted from 0", self.source);
        ensure!(
            self.min_source_layers <= layers,
            "the source must run {} layers, but the model has {layers}",
            self.min_source_layers
        );
        for (device, times) in self.layer_s.iter().enumerate() {
            for (layer, &seconds) in times.iter().enumerate() {
                check::amount(format_args!("time of layer {layer} on device {device} in s"), seconds)?;
            }
            for (to, link) in self.links[device].iter().enumerate().filter(|(to, _)| *to != device) {
                link.check(format_args!("the link from device {device} to {to}"))?;
            }
        }
        self.output_bytes.iter().try_for_each(|&bytes| check::amount("bytes of a layer's output", bytes))
    }

    /// Why nothing fits, with how much is lacking.
    pub fn lacking(&self) -> String {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let sum = |bytes: &[u64]| bytes.iter().fold(0u64, |sum, &bytes| sum.saturating_add(bytes));
        let private = sum(&self.layer_memory_bytes[..self.min_source_layers]);
        let source = self.device_memory_bytes[self.source];
        let (need, have) = (sum(&self.layer_memory_bytes), sum(&self.device_memory_bytes));
        if private > source {
            return format!(
                "the first {} layers must stay on the source and need {:.3} GiB, {:.3} GiB more than it has: keep fewer there",
                self.min_source_layers,
                gib(private),
                gib(private - source)
            );
        }
        if need > have {
            return format!(
                "the model needs {:.3} GiB, {:.3} GiB more than all devices have together: add a device",
                gib(need),
                gib(need - have)
            );
        }
        format!(
            "the model needs {:.3} GiB and the devices have {:.3} GiB together, but whole layers do not fit into their memories \
             in any way: add memory to one, or a device",
            gib(need),
            gib(have)
        )
    }
}
