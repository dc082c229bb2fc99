//! The least latency over devices whose memory binds, exactly: what EdgeShard's first programme approximates.

use anyhow::{Result, anyhow, bail};
use serde::Serialize;

use crate::shard_problem::{MOST_DEVICES, ModelShard, ShardProblem};
use crate::shard_programmes::{ShardPlan, shard_latency_as_published, shard_latency_one_each};

/// Most labels of one layer and device that are followed.
const MOST_LABELS: usize = 200;

/// Rounds that look for prices of memory.
const PRICE_ROUNDS: usize = 600;

/// Rounds without a higher bound after which steps are halved.
const STALE_ROUNDS: usize = 15;

/// A plan, and how good any plan can be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardLatency {
    /// The plan.
    pub plan: ShardPlan,
    /// No plan is quicker than this, s. It is the plan's own time where that is proven to be the least.
    pub least_s: f64,
}

/// One way to place the first layers.
#[derive(Debug, Clone)]
struct Label {
    device: usize,
    seconds: f64,
    /// Bytes left on each device, but no more than the layers to come need.
    left: [u64; MOST_DEVICES],
    /// No completion is quicker than this, s.
    bound_s: f64,
    /// Its place among the labels of the layer before.
    before: usize,
}

/// What a byte of each device's memory is worth, s, and the least priced time behind each layer and device.
struct MemoryPrices {
    prices: Vec<f64>,
    /// `to_go_s[layer][device]`: from the end of the layer there to the answer at the source.
    to_go_s: Vec<Vec<f64>>,
}

impl MemoryPrices {
    fn new(problem: &ShardProblem, prices: Vec<f64>) -> Self {
        let (layers, devices) = (problem.layers(), problem.devices());
        let answer = |device| problem.hand_over_s(layers - 1, device, problem.source);
        let mut to_go_s = vec![(0..devices).map(answer).collect::<Vec<f64>>()];
        for layer in (0..layers - 1).rev() {
            let later = &to_go_s[to_go_s.len() - 1];
            let next_s = |from: usize, to: usize| {
                let priced = problem.layer_s[to][layer + 1] + prices[to] * problem.layer_memory_bytes[layer + 1] as f64;
                problem.hand_over_s(layer, from, to) + priced + later[to]
            };
            let allowed = |to: &usize| problem.allows(layer + 1, *to);
            let least = |from| (0..devices).filter(allowed).map(|to| next_s(from, to)).fold(f64::INFINITY, f64::min);
            let row = (0..devices).map(least).collect();
            to_go_s.push(row);
        }
        to_go_s.reverse();
        Self { prices, to_go_s }
    }

    /// No completion of a label is quicker: memory costs its price, and what is left of it is given back.
    fn bound_s(&self, layer: usize, device: usize, seconds: f64, left: &[u64]) -> f64 {
        let given_back: f64 = self.prices.iter().zip(left).map(|(price, &left)| price * left as f64).sum();
        seconds + self.to_go_s[layer][device] - given_back
    }

    /// The bound of all plans, and how many bytes too many, or too few, the least priced plan has on each device.
    fn relaxed(&self, problem: &ShardProblem) -> (f64, Vec<f64>) {
        let need = problem.needs_from()[0];
        let usable: Vec<f64> = problem.device_memory_bytes.iter().map(|&bytes| bytes.min(need) as f64).collect();
        let mut excess: Vec<f64> = usable.iter().map(|bytes| -bytes).collect();
        let priced = |device: usize, layer: usize| {
            problem.layer_s[device][layer] + self.prices[device] * problem.layer_memory_bytes[layer] as f64
        };
        let mut device = problem.source;
        excess[device] += problem.layer_memory_bytes[0] as f64;
        let given_back: f64 = self.prices.iter().zip(&usable).map(|(price, bytes)| price * bytes).sum();
        let bound_s = priced(device, 0) + self.to_go_s[0][device] - given_back;
        for layer in 1..problem.layers() {
            let value =
                |to: usize| problem.hand_over_s(layer - 1, device, to) + priced(to, layer) + self.to_go_s[layer][to];
            let allowed = (0..problem.devices()).filter(|&to| problem.allows(layer, to));
            device = allowed.min_by(|&a, &b| value(a).total_cmp(&value(b))).unwrap_or(device);
            excess[device] += problem.layer_memory_bytes[layer] as f64;
        }
        (bound_s, excess)
    }

    /// Prices with a high bound, by subgradient steps of Polyak's length towards the time of a known plan; the length is halved,
    /// and the best prices are gone back to, where the bound has not risen for some rounds (Held, Wolfe and Crowder 1974).
    fn search(problem: &ShardProblem, known_s: f64) -> Self {
        let mut at = Self::new(problem, vec![0.0; problem.devices()]);
        let (mut best, mut best_s) = (at.prices.clone(), f64::NEG_INFINITY);
        let (mut length, mut stale) = (1.0, 0);
        for _ in 0..PRICE_ROUNDS {
            let (bound_s, excess) = at.relaxed(problem);
            stale += 1;
            if bound_s > best_s {
                (best, best_s, stale) = (at.prices.clone(), bound_s, 0);
            }
            if stale == STALE_ROUNDS {
                (at.prices, length, stale) = (best.clone(), length / 2.0, 0);
            }
            let target_s = if known_s.is_finite() { known_s } else { 1.1 * best_s };
            let squares: f64 = excess.iter().map(|e| e * e).sum();
            let step = length * (target_s - bound_s).max(0.0) / squares.max(f64::MIN_POSITIVE);
            let prices =
                at.prices.iter().zip(&excess).map(|(price, excess)| (price + step * excess).max(0.0)).collect();
            at = Self::new(problem, prices);
        }
        Self::new(problem, best)
    }
}

impl ShardProblem {
    /// Whether a layer may be on a device.
    pub(crate) fn allows(&self, layer: usize, device: usize) -> bool {
        device == self.source || layer >= self.min_source_layers.max(1)
    }

    /// Bytes that the layers from each one on need.
    fn needs_from(&self) -> Vec<u64> {
        let mut needs = vec![0u64; self.layers() + 1];
        for (layer, &need) in self.layer_memory_bytes.iter().enumerate().rev() {
            needs[layer] = needs[layer + 1].saturating_add(need);
        }
        needs
    }
}

/// The least latency of one request over all ways to give layers to devices, several shards on one device among them. Where the
/// paper keeps one way per layer and device, this keeps each that is quicker than others or leaves more memory somewhere (labels
/// that no other dominates), and drops those whose bound is above the best known plan. The bound is the time to go with a price on
/// memory (Lagrange relaxation). Of more than 200 labels those with the lowest bounds are followed; `least_s` then says how much
/// quicker a plan could be at most.
pub fn shard_latency(problem: &ShardProblem) -> Result<ShardLatency> {
    problem.check()?;
    let (layers, devices) = (problem.layers(), problem.devices());
    let known = [shard_latency_as_published(problem), shard_latency_one_each(problem)].into_iter().flatten();
    let mut best = known.min_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let known_s = best.as_ref().map_or(f64::INFINITY, |plan| plan.seconds);
    let prices = MemoryPrices::search(problem, known_s);
    let needs_from = problem.needs_from();
    let mut dropped_s = f64::INFINITY;
    let mut left = [0; MOST_DEVICES];
    left[..devices].copy_from_slice(&problem.device_memory_bytes);
    let start = Label { device: problem.source, seconds: 0.0, left, bound_s: 0.0, before: 0 };
    let mut labels = vec![start];
    // Device and place before of every label, by layer: the way back.
    let mut ways: Vec<Vec<(usize, usize)>> = Vec::new();
    for layer in 0..layers {
        let need = problem.layer_memory_bytes[layer];
        let mut next = Vec::new();
        for device in (0..devices).filter(|&device| problem.allows(layer, device)) {
            let mut here: Vec<Label> = Vec::new();
            for (before, label) in labels.iter().enumerate().filter(|(_, label)| label.left[device] >= need) {
                let mut left = label.left;
                left[device] -= need;
                left.iter_mut().for_each(|bytes| *bytes = needs_from[layer + 1].min(*bytes));
                let hand_over_s = if layer == 0 { 0.0 } else { problem.hand_over_s(layer - 1, label.device, device) };
                let seconds = label.seconds + hand_over_s + problem.layer_s[device][layer];
                let bound_s = prices.bound_s(layer, device, seconds, &left);
                if bound_s < known_s {
                    here.push(Label { device, seconds, left, bound_s, before });
                }
            }
            let dropped = keep_undominated(&mut here);
            dropped_s = dropped_s.min(dropped);
            next.append(&mut here);
        }
        ways.push(next.iter().map(|label| (label.device, label.before)).collect());
        labels = next;
    }
    let total_s = |label: &Label| label.seconds + problem.hand_over_s(layers - 1, label.device, problem.source);
    let end = labels.iter().enumerate().min_by(|a, b| total_s(a.1).total_cmp(&total_s(b.1)));
    if let Some((mut place, label)) = end.filter(|(_, label)| total_s(label) < known_s) {
        let mut shards: Vec<ModelShard> = Vec::new();
        for (layer, way) in ways.iter().enumerate().rev() {
            let (device, before) = way[place];
            match shards.last_mut() {
                Some(shard) if shard.device == device => shard.first_layer = layer,
                _ => shards.push(ModelShard { device, first_layer: layer, end_layer: layer + 1 }),
            }
            place = before;
        }
        shards.reverse();
        best = Some(ShardPlan { shards, seconds: total_s(label) });
    }
    match best {
        Some(plan) => Ok(ShardLatency { least_s: dropped_s.min(plan.seconds), plan }),
        None if dropped_s.is_finite() => bail!(
            "no placement was found, though one may be there: the devices' memory is so short that {MOST_LABELS} ways per layer \
             and device do not lead to one; add memory"
        ),
        None => Err(anyhow!(problem.lacking())),
    }
}

/// Keeps labels of one layer and device that no other beats in time and in memory left, up to the most; the lowest bound of those
/// that are dropped for their number.
fn keep_undominated(labels: &mut Vec<Label>) -> f64 {
    labels.sort_by(|a, b| a.bound_s.total_cmp(&b.bound_s).then(a.seconds.total_cmp(&b.seconds)));
    let mut kept: Vec<Label> = Vec::new();
    let mut dropped_s = f64::INFINITY;
    for label in labels.drain(..) {
        let beats =
            |other: &Label| other.seconds <= label.seconds && other.left.iter().zip(&label.left).all(|(o, l)| o >= l);
        if kept.iter().any(beats) {
            continue;
        }
        if kept.len() == MOST_LABELS {
            dropped_s = dropped_s.min(label.bound_s);
            continue;
        }
        kept.push(label);
    }
    *labels = kept;
    dropped_s
}
