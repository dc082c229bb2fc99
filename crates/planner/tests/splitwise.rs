//! Splitwise's pools: against all sizes there are, and against the shape of the paper's results.

mod common;

use common::{INSTANCES, close};
use splitbench_planner::*;

fn random_pools(random: &mut SplitMix) -> PoolProblem {
    let layers = 1 + random.below(6);
    let layer_s: Vec<f64> = (0..layers).map(|_| random.range(0.001, 0.05)).collect();
    let layer_bytes: Vec<f64> = (0..layers).map(|_| random.range(1e5, 1e7)).collect();
    let longest_bytes = layer_bytes.iter().sum::<f64>() * random.range(1.0, 3.0);
    let prompt_s: f64 = layer_s.iter().sum();
    PoolProblem {
        prompt: PromptMachine { layer_s, cost: random.range(0.5, 3.0) },
        token: TokenMachine {
            step_fixed_s: random.range(0.005, 0.05),
            step_per_request_s: random.range(0.0001, 0.005),
            cache_memory_bytes: longest_bytes * random.range(0.8, 60.0),
            cost: random.range(0.5, 3.0),
        },
        transfer: CacheTransfer {
            layer_bytes,
            longest_bytes,
            link: OneWayLink { bits_per_s: 10f64.powf(random.range(9.0, 12.0)), delay_s: random.range(0.0, 0.001) },
            per_layer_s: random.range(0.0, 0.001),
        },
        load: RequestLoad {
            requests_per_s: random.range(0.2, 30.0),
            steps: random.range(1.0, 100.0),
            most_ttft_s: Some(prompt_s * random.range(0.95, 3.0)),
            most_step_s: Some(random.range(0.01, 0.1)),
        },
    }
}

/// Mean time to the first token by Erlang's sums, machine by machine.
fn ttft_s(problem: &PoolProblem, machines: usize) -> f64 {
    let prompt_s: f64 = problem.prompt.layer_s.iter().sum();
    let offered = problem.load.requests_per_s * prompt_s;
    if offered >= machines as f64 {
        return f64::INFINITY;
    }
    let term = |k: usize| (1..=k).fold(1.0, |term, i| term * offered / i as f64);
    let full = term(machines) * machines as f64 / (machines as f64 - offered);
    let waits = full / ((0..machines).map(term).sum::<f64>() + full);
    prompt_s + waits / (machines as f64 / prompt_s - problem.load.requests_per_s)
}

/// A token machine's batch by going to the fixed point step by step; none where it grows without bound.
fn batch(problem: &PoolProblem, machines: usize) -> Option<(f64, f64)> {
    let per_machine = problem.load.requests_per_s * problem.load.steps / machines as f64;
    let token = &problem.token;
    let step_s = |batch: f64| token.step_fixed_s + token.step_per_request_s * batch.max(1.0);
    let mut batch = 0.0;
    for _ in 0..200_000 {
        let next = per_machine * step_s(batch);
        if (next - batch).abs() <= 1e-13 * next {
            return Some((next, step_s(next)));
        }
        batch = next;
    }
    None
}

/// When the last layer of the cache has left: the latest of all layers' starts, each followed by all later sendings.
fn layerwise_exposed_s(problem: &PoolProblem) -> f64 {
    let transfer = &problem.transfer;
    let send = |layer: usize| transfer.layer_bytes[layer] * 8.0 / transfer.link.bits_per_s + transfer.per_layer_s;
    let layers = problem.prompt.layer_s.len();
    let end =
        |first: usize| problem.prompt.layer_s[..=first].iter().sum::<f64>() + (first..layers).map(send).sum::<f64>();
    (0..layers).map(end).fold(0.0, f64::max) + transfer.link.delay_s - problem.prompt.layer_s.iter().sum::<f64>()
}

#[test]
fn pools_are_the_cheapest_of_all_sizes() {
    const MOST: usize = 80;
    let (mut fitting, mut none) = (0, 0);
    for seed in 0..INSTANCES {
        let problem = random_pools(&mut SplitMix::new(seed));
        let load = problem.load;
        let whole_s = problem.transfer.layer_bytes.iter().sum::<f64>() * 8.0 / problem.transfer.link.bits_per_s;
        let layerwise_s = layerwise_exposed_s(&problem);
        assert!(close(problem.exposed_s(true), layerwise_s), "seed {seed}");
        let is_layerwise = layerwise_s < whole_s + problem.transfer.link.delay_s;
        let extra_s = problem.transfer.per_layer_s * problem.prompt.layer_s.len() as f64;
        let busy_s = whole_s + if is_layerwise { extra_s } else { 0.0 };
        let keeps_up = |machines: usize| load.requests_per_s * busy_s < machines as f64;
        let (mut best, mut prompts, mut tokens) = (f64::INFINITY, Vec::new(), Vec::new());
        for machines in 1..=MOST {
            if keeps_up(machines) && ttft_s(&problem, machines) <= load.most_ttft_s.unwrap() {
                prompts.push(machines);
            }
            let fits = batch(&problem, machines).is_some_and(|(batch, step_s)| {
                let cached = batch.max(1.0) * problem.transfer.longest_bytes;
                let whole = (problem.token.cache_memory_bytes / problem.transfer.longest_bytes).floor();
                cached <= whole * problem.transfer.longest_bytes && step_s <= load.most_step_s.unwrap()
            });
            if keeps_up(machines) && fits {
                tokens.push(machines);
            }
        }
        for &prompt in &prompts {
            for &token in &tokens {
                best = best.min(prompt as f64 * problem.prompt.cost + token as f64 * problem.token.cost);
            }
        }
        match plan_pools(&problem) {
            Ok(plan) if plan.prompt_machines.max(plan.token_machines) <= MOST => {
                fitting += 1;
                assert!(close(plan.cost, best), "seed {seed}: {plan:?} costs {}, brute force {best}", plan.cost);
                assert!(close(plan.ttft_s, ttft_s(&problem, plan.prompt_machines)), "seed {seed}");
                assert_eq!(plan.layer_by_layer, is_layerwise, "seed {seed}");
            }
            Ok(_) => assert!(best.is_infinite(), "seed {seed}"),
            Err(error) => {
                none += 1;
                assert!(best.is_infinite(), "seed {seed}: {error}");
            }
        }
    }
    assert!(fitting > 400 && none > 100, "{fitting} fit and {none} do not: both roads are to be tested");
}

/// A 70B-like model: 80 layers, 1,000 prompt tokens, 300 generated.
fn service(prompt_scale: f64, steps: f64) -> PoolProblem {
    PoolProblem {
        prompt: PromptMachine { layer_s: vec![0.002 * prompt_scale; 80], cost: 1.0 },
        token: TokenMachine { step_fixed_s: 0.030, step_per_request_s: 0.0005, cache_memory_bytes: 300e9, cost: 1.0 },
        transfer: CacheTransfer {
            layer_bytes: vec![4e6 * prompt_scale; 80],
            longest_bytes: 500e6 * prompt_scale,
            link: OneWayLink { bits_per_s: 200e9, delay_s: 10e-6 },
            per_layer_s: 20e-6,
        },
        load: RequestLoad {
            requests_per_s: 20.0,
            steps,
            most_ttft_s: Some(0.4 * prompt_scale),
            most_step_s: Some(0.06),
        },
    }
}

#[test]
fn long_prompts_want_prompt_machines_and_long_answers_token_machines() {
    let sizes = |prompt_scale, steps| {
        let plan = plan_pools(&service(prompt_scale, steps)).unwrap();
        (plan.prompt_machines, plan.token_machines)
    };
    let (coding, chatting) = (sizes(1.5, 20.0), sizes(1.0, 300.0));
    assert!(coding.0 > coding.1, "{coding:?}: the paper's coding load, long prompts and short answers");
    assert!(chatting.1 > coding.1 && chatting.0 < coding.0, "{chatting:?} and {coding:?}");
}

#[test]
fn the_transfer_is_hidden_behind_the_prompt_but_for_its_last_layer() {
    let problem = service(1.0, 300.0);
    let plan = plan_pools(&problem).unwrap();
    // A layer takes 2 ms to compute and 0.16 + 0.02 ms to send: only the last one's sending is seen.
    assert!(plan.layer_by_layer && close(plan.exposed_s, 0.00016 + 20e-6 + 10e-6), "{}", plan.exposed_s);
    assert!(problem.exposed_s(false) > 60.0 * plan.exposed_s);
    // A prompt of a few tokens is sent whole: sending 80 times costs more than is hidden.
    let mut short = service(0.005, 300.0);
    short.load.most_ttft_s = None;
    assert!(!plan_pools(&short).unwrap().layer_by_layer);
}

#[test]
fn what_cannot_be_served_says_by_how_much() {
    type Change = fn(&mut PoolProblem);
    let cases: [(Change, &str); 7] = [
        (|p| p.load.most_ttft_s = Some(0.1), "more than the limit for the first token"),
        (|p| p.load.most_step_s = Some(0.01), "a step of one request takes 0.0305 s"),
        (|p| p.token.cache_memory_bytes = 1e6, "does not fit into a token machine"),
        (|p| p.transfer.link.bits_per_s = 0.0, "rate of the link between the pools in bit/s is 0"),
        (|p| p.prompt.layer_s[3] = f64::NAN, "prompt time of a layer in s is NaN"),
        (|p| p.load.requests_per_s = 0.0, "requests per second is 0"),
        (|p| p.transfer.layer_bytes.clear(), "times for 80 layers and caches for 0"),
    ];
    for (change, expected) in cases {
        let mut problem = service(1.0, 300.0);
        change(&mut problem);
        let error = plan_pools(&problem).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}
