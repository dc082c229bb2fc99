//! EdgeShard's two programmes (Zhang et al., 2024): which devices run which layers, for latency and for throughput.

use anyhow::{Result, anyhow};
use serde::Serialize;

use crate::shard_problem::{ModelShard, ShardProblem};

/// Shards in the order of the layers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardPlan {
    /// The shards.
    pub shards: Vec<ModelShard>,
    /// What was made small, s: the latency of one request, or the time of the slowest stage.
    pub seconds: f64,
}

/// The least latency of one request where each device has at most one shard: layers, hand-overs, and the answer's way back to the
/// source. A state is the number of layers, the set of devices used and the last one, so memory is counted exactly.
pub fn shard_latency_one_each(problem: &ShardProblem) -> Result<ShardPlan> {
    let last_layer = problem.layers().saturating_sub(1);
    let extend = |before: f64, shard_s: f64, hand_over_s: f64| before + hand_over_s + shard_s;
    let finish = |total: f64, last: usize| total + problem.hand_over_s(last_layer, last, problem.source);
    shard_programme(problem, &extend, &finish)
}

/// The least time of the slowest stage, a device's shard or a hand-over, whose inverse is the throughput with enough requests at
/// once: the paper's second programme. The answer's way back is no stage there, and none here.
pub fn shard_throughput(problem: &ShardProblem) -> Result<ShardPlan> {
    let extend = |before: f64, shard_s: f64, hand_over_s: f64| before.max(hand_over_s).max(shard_s);
    shard_programme(problem, &extend, &|slowest, _| slowest)
}

/// Where a state came from.
#[derive(Debug, Clone, Copy)]
struct ShardStep {
    seconds: f64,
    first_layer: usize,
    before: usize,
}

/// The programme over (layers done, devices used, last device). `extend` adds a shard to what is done, `finish` closes it.
fn shard_programme(
    problem: &ShardProblem,
    extend: &dyn Fn(f64, f64, f64) -> f64,
    finish: &dyn Fn(f64, usize) -> f64,
) -> Result<ShardPlan> {
    problem.check()?;
    let (layers, devices, source) = (problem.layers(), problem.devices(), problem.source);
    let sets = 1usize << devices;
    let place = |done: usize, set: usize, last: usize| (done * sets + set) * devices + last;
    let unreached = ShardStep { seconds: f64::INFINITY, first_layer: 0, before: usize::MAX };
    let mut states = vec![unreached; (layers + 1) * sets * devices];
    // Grows one shard layer by layer from `first_layer` on, as far as the device's memory goes.
    let grow = |states: &mut Vec<ShardStep>, first_layer: usize, set: usize, device: usize, from: Option<usize>| {
        let before = from.map_or(0.0, |from| states[place(first_layer, set, from)].seconds);
        let hand_over_s = from.map_or(0.0, |from| problem.hand_over_s(first_layer - 1, from, device));
        let (mut seconds, mut memory) = (0.0, 0u64);
        for layer in first_layer..layers {
            seconds += problem.layer_s[device][layer];
            memory = memory.saturating_add(problem.layer_memory_bytes[layer]);
            if memory > problem.device_memory_bytes[device] {
                break;
            }
            if from.is_none() && layer + 1 < problem.min_source_layers {
                continue;
            }
            let total = extend(before, seconds, hand_over_s);
            let state = &mut states[place(layer + 1, set | 1 << device, device)];
            if total < state.seconds {
                let before = from.map_or(usize::MAX, |from| place(first_layer, set, from));
                *state = ShardStep { seconds: total, first_layer, before };
            }
        }
    };
    grow(&mut states, 0, 0, source, None);
    for done in 1..layers {
        for set in (0..sets).filter(|set| set & (1 << source) != 0) {
            for last in 0..devices {
                if states[place(done, set, last)].seconds.is_finite() {
                    for device in (0..devices).filter(|device| set & (1 << device) == 0) {
                        grow(&mut states, done, set, device, Some(last));
                    }
                }
            }
        }
    }
    let ends = (0..sets * devices).map(|end| layers * sets * devices + end);
    let total = |&end: &usize| finish(states[end].seconds, end % devices);
    let end = ends.min_by(|a, b| total(a).total_cmp(&total(b))).filter(|end| total(end).is_finite());
    let end = end.ok_or_else(|| anyhow!(problem.lacking()))?;
    let (mut shards, mut at, mut end_layer) = (Vec::new(), end, layers);
    while at != usize::MAX {
        let state = states[at];
        shards.push(ModelShard { device: at % devices, first_layer: state.first_layer, end_layer });
        (at, end_layer) = (state.before, state.first_layer);
    }
    shards.reverse();
    Ok(ShardPlan { shards, seconds: total(&end) })
}

/// The best way so far that ends with a layer on a device, in the published programme.
#[derive(Debug, Clone)]
struct PublishedState {
    seconds: f64,
    /// Bytes left on each device along this way.
    memory_left: Vec<u64>,
    device_before: usize,
}

/// The paper's first programme to the letter: a state is a layer and its device; each remembers the memory left along its own
/// best way and skips a device that is full. Any layer may go to any device. Exact where memory binds nowhere; where it does, the
/// quickest way to a state may have filled a device that a slower one would have spared, and then the result is too slow, or none
/// is found where there is one. [`shard_latency`](crate::shard_latency) is exact.
pub fn shard_latency_as_published(problem: &ShardProblem) -> Result<ShardPlan> {
    problem.check()?;
    let (layers, devices, source) = (problem.layers(), problem.devices(), problem.source);
    let mut rows: Vec<Vec<Option<PublishedState>>> = Vec::new();
    for layer in 0..layers {
        let mut row = vec![None; devices];
        for device in (0..devices).filter(|&device| problem.allows(layer, device)) {
            let back_s = if layer + 1 == layers { problem.hand_over_s(layer, device, source) } else { 0.0 };
            let own_s = problem.layer_s[device][layer] + back_s;
            let start = PublishedState {
                seconds: own_s,
                memory_left: problem.device_memory_bytes.clone(),
                device_before: source,
            };
            let ways: Vec<PublishedState> = match rows.last() {
                None => vec![start],
                Some(before) => (before.iter().enumerate())
                    .filter_map(|(from, state)| {
                        let state = state.as_ref()?;
                        let seconds = state.seconds + problem.hand_over_s(layer - 1, from, device) + own_s;
                        Some(PublishedState { seconds, memory_left: state.memory_left.clone(), device_before: from })
                    })
                    .collect(),
            };
            let need = problem.layer_memory_bytes[layer];
            let fitting = ways.into_iter().filter(|way| way.memory_left[device] >= need);
            row[device] = fitting.min_by(|a, b| a.seconds.total_cmp(&b.seconds)).map(|mut way| {
                way.memory_left[device] -= need;
                way
            });
        }
        rows.push(row);
    }
    let ends =
        rows[layers - 1].iter().enumerate().filter_map(|(device, state)| Some((device, state.as_ref()?.seconds)));
    let end = ends.min_by(|a, b| a.1.total_cmp(&b.1));
    let (mut device, seconds) =
        end.ok_or_else(|| anyhow!("the published programme finds no way; {}", problem.lacking()))?;
    let mut shards: Vec<ModelShard> = Vec::new();
    for (layer, row) in rows.iter().enumerate().rev() {
        match shards.last_mut() {
            Some(shard) if shard.device == device => shard.first_layer = layer,
            _ => shards.push(ModelShard { device, first_layer: layer, end_layer: layer + 1 }),
        }
        device = row[device].as_ref().map_or(source, |state| state.device_before);
    }
    shards.reverse();
    Ok(ShardPlan { shards, seconds })
}
