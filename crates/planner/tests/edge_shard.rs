//! EdgeShard's programmes: against all ways there are, and against the shape of the paper's results.

mod common;

use std::time::Instant;

use common::{INSTANCES, close};
use splitbench_planner::*;

/// About half of the random problems have too little memory to be placed.
const SEEDS: u64 = 2_100;

fn random_shards(random: &mut SplitMix, most_layers: usize, most_devices: usize) -> ShardProblem {
    let (layers, devices) = (1 + random.below(most_layers), 1 + random.below(most_devices));
    let speeds: Vec<f64> = (0..devices).map(|_| random.range(0.2, 3.0)).collect();
    let memory: Vec<u64> = (0..layers).map(|_| 1 + random.below(10) as u64).collect();
    let each = memory.iter().sum::<u64>() as usize;
    ShardProblem {
        layer_s: speeds.iter().map(|speed| (0..layers).map(|_| speed * random.range(0.005, 0.02)).collect()).collect(),
        device_memory_bytes: (0..devices).map(|_| random.below(each + 5) as u64).collect(),
        layer_memory_bytes: memory,
        output_bytes: (0..layers).map(|_| random.range(100.0, 20_000.0)).collect(),
        links: (0..devices)
            .map(|_| {
                let link = |random: &mut SplitMix| OneWayLink {
                    bits_per_s: 10f64.powf(random.range(5.0, 9.0)),
                    delay_s: random.range(0.0, 0.01),
                };
                (0..devices).map(|_| link(random)).collect()
            })
            .collect(),
        source: random.below(devices),
        min_source_layers: random.below(layers + 1).min(2),
    }
}

/// Every assignment of layers to devices that keeps the first layers on the source and fits into memory.
fn assignments(problem: &ShardProblem) -> Vec<Vec<usize>> {
    let (layers, devices) = (problem.layers(), problem.devices());
    let count = devices.pow(layers as u32);
    let digits = |mut number: usize| -> Vec<usize> {
        (0..layers)
            .map(|_| {
                let device = number % devices;
                number /= devices;
                device
            })
            .collect()
    };
    let fits = |assignment: &Vec<usize>| {
        let is_private = assignment[..problem.min_source_layers.max(1)].iter().all(|&device| device == problem.source);
        let mut left = problem.device_memory_bytes.clone();
        is_private
            && assignment.iter().zip(&problem.layer_memory_bytes).all(|(&device, &need)| {
                let fits = left[device] >= need;
                left[device] = left[device].saturating_sub(need);
                fits
            })
    };
    (0..count).map(digits).filter(fits).collect()
}

fn has_one_shard_per_device(assignment: &[usize]) -> bool {
    let mut runs = assignment.to_vec();
    runs.dedup();
    let count = runs.len();
    runs.sort_unstable();
    runs.dedup();
    runs.len() == count
}

fn latency_s(problem: &ShardProblem, assignment: &[usize]) -> f64 {
    let mut seconds = 0.0;
    for (layer, &device) in assignment.iter().enumerate() {
        seconds += problem.layer_s[device][layer];
        let next = assignment.get(layer + 1).copied().unwrap_or(problem.source);
        if next != device {
            let link = problem.links[device][next];
            seconds += link.delay_s + problem.output_bytes[layer] * 8.0 / link.bits_per_s;
        }
    }
    seconds
}

fn slowest_s(problem: &ShardProblem, assignment: &[usize]) -> f64 {
    let mut busy = vec![0.0; problem.devices()];
    let mut slowest = 0.0f64;
    for (layer, &device) in assignment.iter().enumerate() {
        busy[device] += problem.layer_s[device][layer];
        if let Some(&next) = assignment.get(layer + 1).filter(|&&next| next != device) {
            let link = problem.links[device][next];
            slowest = slowest.max(link.delay_s + problem.output_bytes[layer] * 8.0 / link.bits_per_s);
        }
    }
    busy.into_iter().fold(slowest, f64::max)
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::INFINITY, f64::min)
}

fn seconds(plan: anyhow::Result<ShardPlan>) -> f64 {
    plan.map_or(f64::INFINITY, |plan| plan.seconds)
}

/// The devices of a plan, layer by layer.
fn devices(problem: &ShardProblem, plan: &ShardPlan) -> Vec<usize> {
    let mut devices = Vec::new();
    for shard in &plan.shards {
        assert_eq!(shard.first_layer, devices.len(), "shards follow each other");
        devices.resize(shard.end_layer, shard.device);
    }
    assert_eq!(devices.len(), problem.layers());
    devices
}

type Programme = fn(&ShardProblem) -> anyhow::Result<ShardPlan>;
type Cost = fn(&ShardProblem, &[usize]) -> f64;

/// `shard_latency` as a programme; its bound is to hold, and to be reached.
fn exact_latency(problem: &ShardProblem) -> anyhow::Result<ShardPlan> {
    let latency = shard_latency(problem)?;
    assert_eq!(latency.least_s, latency.plan.seconds, "small instances are proven");
    Ok(latency.plan)
}

#[test]
fn programmes_are_exact_with_memory_and_privacy() {
    let (mut fitting, mut none) = (0, 0);
    for seed in 0..SEEDS {
        let problem = random_shards(&mut SplitMix::new(seed), 6, 4);
        let all = assignments(&problem);
        let one_each: Vec<Vec<usize>> = all.iter().filter(|a| has_one_shard_per_device(a)).cloned().collect();
        let programmes: [(Programme, Cost, &[Vec<usize>]); 3] = [
            (exact_latency, latency_s, &all),
            (shard_latency_one_each, latency_s, &one_each),
            (shard_throughput, slowest_s, &one_each),
        ];
        for (programme, cost, ways) in programmes {
            let best = least(ways.iter().map(|assignment| cost(&problem, assignment)));
            match programme(&problem) {
                Ok(plan) => {
                    fitting += 1;
                    assert!(close(plan.seconds, best), "seed {seed}: {} and {best}", plan.seconds);
                    let assignment = devices(&problem, &plan);
                    assert!(ways.contains(&assignment) && close(cost(&problem, &assignment), best), "seed {seed}");
                }
                Err(error) => {
                    none += 1;
                    assert!(best.is_infinite(), "seed {seed}: {error}");
                }
            }
        }
    }
    assert!(fitting > 2_700 && none > 2_000, "{fitting} fit and {none} do not: both roads are to be tested");
}

#[test]
fn the_published_latency_programme_is_exact_where_memory_does_not_bind() {
    for seed in 0..SEEDS {
        let mut problem = random_shards(&mut SplitMix::new(seed), 6, 4);
        problem.device_memory_bytes = vec![u64::MAX; problem.devices()];
        let plan = shard_latency_as_published(&problem).unwrap();
        let best = least(assignments(&problem).iter().map(|assignment| latency_s(&problem, assignment)));
        assert!(close(plan.seconds, best), "seed {seed}: {} and {best}", plan.seconds);
        assert!(close(latency_s(&problem, &devices(&problem, &plan)), best), "seed {seed}");
    }
}

/// How far from the optimum over all assignments the published programme is where memory binds, and one with one shard per device: `cargo test --release -p splitbench-planner --test edge_shard how_far -- --nocapture`.
#[test]
fn how_far_other_latency_programmes_are_from_the_least() {
    let (mut feasible, mut published_missing, mut published_slower, mut ours_missing, mut ours_slower) =
        (0, 0, 0, 0, 0);
    let (mut published_worst, mut ours_worst) = (1.0f64, 1.0f64);
    for seed in 0..SEEDS {
        let problem = random_shards(&mut SplitMix::new(seed), 6, 4);
        let best = least(assignments(&problem).iter().map(|assignment| latency_s(&problem, assignment)));
        let (published, ours) =
            (seconds(shard_latency_as_published(&problem)), seconds(shard_latency_one_each(&problem)));
        assert!(published >= best * (1.0 - 1e-9) && ours >= best * (1.0 - 1e-9), "seed {seed}: better than the best");
        if best.is_infinite() {
            continue;
        }
        feasible += 1;
        for (value, missing, slower, worst) in [
            (published, &mut published_missing, &mut published_slower, &mut published_worst),
            (ours, &mut ours_missing, &mut ours_slower, &mut ours_worst),
        ] {
            if value.is_infinite() {
                *missing += 1;
            } else if !close(value, best) {
                *slower += 1;
                *worst = worst.max(value / best);
            }
        }
    }
    println!("{feasible} of {SEEDS} instances can be placed");
    println!(
        "published: {published_missing} not placed, {published_slower} slower, by a factor of {published_worst:.2} at worst"
    );
    println!(
        "one shard per device: {ours_missing} not placed, {ours_slower} slower, by a factor of {ours_worst:.2} at worst"
    );
    assert!(feasible >= INSTANCES, "{feasible} instances can be placed");
    assert!(published_missing + published_slower > 0, "the page says that the published programme is not exact");
    assert!(ours_slower > 0, "the page says that a second shard on one device can be quicker");
}

/// `layers` alike on devices of given times per layer, all links alike, memory for all.
fn cluster(layers: usize, layer_s: &[f64], bits_per_s: f64) -> ShardProblem {
    let devices = layer_s.len();
    ShardProblem {
        layer_s: layer_s.iter().map(|&seconds| vec![seconds; layers]).collect(),
        layer_memory_bytes: vec![1; layers],
        device_memory_bytes: vec![layers as u64; devices],
        output_bytes: vec![10_000.0; layers],
        links: vec![vec![OneWayLink { bits_per_s, delay_s: 0.001 }; devices]; devices],
        source: 0,
        min_source_layers: 1,
    }
}

#[test]
fn throughput_balances_a_pipeline_and_latency_takes_the_quickest_device() {
    // The source and three that are twice as quick: 1 + 3 * 2 shares of 28 layers.
    let problem = cluster(28, &[0.010, 0.005, 0.005, 0.005], 1e9);
    let plan = shard_throughput(&problem).unwrap();
    let lengths: Vec<usize> = plan.shards.iter().map(|shard| shard.end_layer - shard.first_layer).collect();
    assert_eq!(lengths, [4, 8, 8, 8]);
    assert!(close(plan.seconds, 0.040));
    // One request has no use for a pipeline: one layer where the input is, the rest on one quick device.
    let plan = shard_latency(&problem).unwrap().plan;
    let shards: Vec<(usize, usize)> = plan.shards.iter().map(|shard| (shard.first_layer, shard.end_layer)).collect();
    assert_eq!(shards, [(0, 1), (1, 28)]);
    // Over a slow link all stays on the source, for latency and for throughput.
    let problem = cluster(28, &[0.010, 0.005, 0.005, 0.005], 1e5);
    assert_eq!(shard_latency(&problem).unwrap().plan.shards.len(), 1);
    assert_eq!(shard_throughput(&problem).unwrap().shards.len(), 1);
}

#[test]
fn memory_forces_more_devices() {
    let mut problem = cluster(28, &[0.010, 0.005, 0.005, 0.005], 1e9);
    let counts: Vec<usize> = [28, 20, 10, 7]
        .map(|memory| {
            problem.device_memory_bytes = vec![memory; 4];
            shard_latency(&problem).unwrap().plan.shards.len()
        })
        .into();
    assert_eq!(counts, [2, 3, 4, 4]);
    problem.device_memory_bytes = vec![6; 4];
    problem.layer_memory_bytes = vec![1 << 30; 28];
    problem.device_memory_bytes = vec![6 << 30; 4];
    let error = shard_latency(&problem).unwrap_err().to_string();
    assert!(error.contains("28.000 GiB, 4.000 GiB more than all devices have together"), "{error}");
    problem.min_source_layers = 8;
    let error = shard_throughput(&problem).unwrap_err().to_string();
    assert!(error.contains("need 8.000 GiB, 2.000 GiB more than it has"), "{error}");
}

/// `cargo test --release -p splitbench-planner --test edge_shard eighty -- --nocapture` prints the times.
#[test]
fn eighty_layers_on_eight_devices_take_less_than_ten_seconds() {
    let mut random = SplitMix::new(80);
    let mut mixed = random_shards(&mut random, 1, 1);
    while (mixed.layers(), mixed.devices()) != (80, 8) {
        mixed = random_shards(&mut random, 80, 8);
    }
    let need = mixed.layer_memory_bytes.iter().sum::<u64>();
    mixed.device_memory_bytes = vec![need; 8];
    // A 70B-like decoder on unlike devices that can just hold it, each with its own memory: 92 layers' worth for 80.
    let mut tight = cluster(80, &[0.030, 0.020, 0.020, 0.015, 0.010, 0.010, 0.005, 0.004], 1e9);
    tight.device_memory_bytes = vec![6, 8, 8, 12, 12, 14, 16, 16];
    let quarter = ShardProblem { device_memory_bytes: vec![need / 4; 8], ..mixed.clone() };
    for (name, problem) in [("memory for all", &mixed), ("a quarter each", &quarter), ("alike and tight", &tight)] {
        let start = Instant::now();
        let latency = shard_latency(problem).unwrap();
        let took = start.elapsed();
        println!("{name}: latency {:.6} s, at least {:.6} s", latency.plan.seconds, latency.least_s);
        assert!(latency.plan.seconds <= latency.least_s * 1.05, "{name}: a plan within 5 % of the least is expected");
        let others: [(&str, Programme); 3] = [
            ("published", shard_latency_as_published),
            ("one each", shard_latency_one_each),
            ("throughput", shard_throughput),
        ];
        println!("    exact: {:.1} ms", took.as_secs_f64() * 1e3);
        assert!(took.as_secs_f64() < 10.0, "{name} took {took:?}");
        for (programme, run) in others {
            let start = Instant::now();
            let seconds = seconds(run(problem));
            let took = start.elapsed();
            println!("    {programme}: {:.1} ms, {seconds:.6} s", took.as_secs_f64() * 1e3);
            assert!(took.as_secs_f64() < 10.0, "{name}, {programme} took {took:?}");
        }
    }
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    type Change = fn(&mut ShardProblem);
    let cases: [(Change, &str); 7] = [
        (|p| p.layer_s[1][2] = f64::NAN, "time of layer 2 on device 1 in s is NaN"),
        (|p| p.layer_s[1].clear(), "a time for each of the 4 layers"),
        (|p| p.links[0][1].bits_per_s = 0.0, "rate of the link from device 0 to 1 in bit/s is 0"),
        (|p| p.device_memory_bytes.clear(), "needs its memory"),
        (|p| p.source = 2, "the source is device 2"),
        (|p| p.min_source_layers = 5, "the source must run 5 layers"),
        (|p| p.layer_s = vec![vec![0.1; 4]; 13], "13 devices: 1 to 12"),
    ];
    for (change, expected) in cases {
        let mut problem = cluster(4, &[0.1, 0.2], 1e6);
        change(&mut problem);
        for programme in [exact_latency, shard_latency_one_each, shard_throughput, shard_latency_as_published] {
            let error = programme(&problem).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }
}
