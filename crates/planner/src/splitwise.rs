//! Splitwise (Patel et al., ISCA 2024): prompts on one pool of machines, further tokens on another, the cache sent between them
//! behind the prompt's computation.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::check;
use crate::link::OneWayLink;

/// Most machines of a pool that are looked at.
const MOST_MACHINES: usize = 100_000;

/// A machine that computes prompts, one request at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptMachine {
    /// Time of each layer for the load's prompt, s; embedding and head count into the first and last.
    pub layer_s: Vec<f64>,
    /// Cost of one, in any unit that both pools share: money, W, or 1.
    pub cost: f64,
}

/// A machine that generates tokens for a batch of requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenMachine {
    /// Time of a step whatever the batch, s: mostly reading the weights.
    pub step_fixed_s: f64,
    /// Time of a step per request in the batch, s.
    pub step_per_request_s: f64,
    /// Memory for caches, bytes.
    pub cache_memory_bytes: f64,
    /// Cost of one, in the unit of [`PromptMachine::cost`].
    pub cost: f64,
}

/// How a cache gets from one machine to the other. Each machine has a link of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheTransfer {
    /// Bytes of each layer's cache after the prompt.
    pub layer_bytes: Vec<f64>,
    /// Bytes of the whole cache at the end of the answer.
    pub longest_bytes: f64,
    /// The link.
    pub link: OneWayLink,
    /// Extra time of the link for each layer sent by itself, s.
    pub per_layer_s: f64,
}

/// What is asked, and how quickly it must be answered; a limit is empty where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RequestLoad {
    /// Requests per second, at random times (Poisson).
    pub requests_per_s: f64,
    /// Tokens of an answer after the first.
    pub steps: f64,
    /// Most mean time to the first token, s.
    pub most_ttft_s: Option<f64>,
    /// Most time of a step, s.
    pub most_step_s: Option<f64>,
}

/// Two pools and what they must serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolProblem {
    /// A machine of the prompt pool.
    pub prompt: PromptMachine,
    /// A machine of the token pool.
    pub token: TokenMachine,
    /// The way between them.
    pub transfer: CacheTransfer,
    /// What they must serve.
    pub load: RequestLoad,
}

/// Sizes of both pools, and what a request then sees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PoolPlan {
    /// Machines of the prompt pool.
    pub prompt_machines: usize,
    /// Machines of the token pool.
    pub token_machines: usize,
    /// Their cost together.
    pub cost: f64,
    /// Mean time to the first token, s: waiting and the prompt. The prompt machine makes that token, so no transfer is in it.
    pub ttft_s: f64,
    /// What the transfer adds before the second token, s.
    pub exposed_s: f64,
    /// Whether layers are sent one by one, or the whole cache at the end.
    pub layer_by_layer: bool,
    /// Mean requests in a token machine's batch; below 1 where it is idle at times.
    pub batch: f64,
    /// Time of a step, s.
    pub step_s: f64,
}

impl PoolProblem {
    /// Fails on numbers that are none, and on layers that do not match.
    pub fn check(&self) -> Result<()> {
        let layers = self.prompt.layer_s.len();
        ensure!(
            layers > 0 && self.transfer.layer_bytes.len() == layers,
            "the prompt has times for {layers} layers and caches for {}: one of each per layer was expected",
            self.transfer.layer_bytes.len()
        );
        self.prompt.layer_s.iter().try_for_each(|&seconds| check::amount("prompt time of a layer in s", seconds))?;
        self.transfer.layer_bytes.iter().try_for_each(|&bytes| check::amount("bytes of a layer's cache", bytes))?;
        self.transfer.link.check("the link between the pools")?;
        for (name, value) in [
            ("cost of a prompt machine", self.prompt.cost),
            ("cost of a token machine", self.token.cost),
            ("time of a step in s", self.token.step_fixed_s),
            ("time of a step per request in s", self.token.step_per_request_s),
            ("memory for caches in bytes", self.token.cache_memory_bytes),
            ("extra time per layer sent in s", self.transfer.per_layer_s),
            ("tokens after the first", self.load.steps),
        ] {
            check::amount(name, value)?;
        }
        check::positive("bytes of the longest cache", self.transfer.longest_bytes)?;
        check::positive("requests per second", self.load.requests_per_s)?;
        for limit in [self.load.most_ttft_s, self.load.most_step_s].into_iter().flatten() {
            check::positive("a time limit in s", limit)?;
        }
        Ok(())
    }

    /// Time of the prompt, s.
    pub fn prompt_s(&self) -> f64 {
        self.prompt.layer_s.iter().sum()
    }

    /// How long the link is busy with one cache, s.
    pub fn transfer_busy_s(&self, layer_by_layer: bool) -> f64 {
        let extra = if layer_by_layer { self.transfer.per_layer_s * self.prompt.layer_s.len() as f64 } else { 0.0 };
        self.transfer.link.busy_s(self.transfer.layer_bytes.iter().sum()) + extra
    }

    /// What the transfer adds behind the prompt, s. Layer by layer, a layer is sent once it is computed and the one before it
    /// is sent; else the whole cache once the prompt is done.
    pub fn exposed_s(&self, layer_by_layer: bool) -> f64 {
        if !layer_by_layer {
            return self.transfer.link.delay_s + self.transfer_busy_s(false);
        }
        let (mut computed_s, mut sent_s) = (0.0, 0.0f64);
        for (&layer_s, &bytes) in self.prompt.layer_s.iter().zip(&self.transfer.layer_bytes) {
            computed_s += layer_s;
            sent_s = sent_s.max(computed_s) + self.transfer.link.busy_s(bytes) + self.transfer.per_layer_s;
        }
        self.transfer.link.delay_s + sent_s - computed_s
    }

    /// Mean time to the first token with so many prompt machines, s; infinite where they cannot keep up. The wait is that of a
    /// queue M/M/c (Erlang C), an upper bound for prompts that all take the same time.
    pub fn ttft_s(&self, machines: usize) -> f64 {
        let (prompt_s, count) = (self.prompt_s(), machines as f64);
        let offered = self.load.requests_per_s * prompt_s;
        if offered >= count {
            return f64::INFINITY;
        }
        // Erlang B by its recursion, then C from B.
        let blocked = (1..=machines).fold(1.0, |blocked, k| offered * blocked / (k as f64 + offered * blocked));
        let waits = count * blocked / (count - offered * (1.0 - blocked));
        prompt_s + waits * prompt_s / (count - offered)
    }

    /// Mean batch and step time with so many token machines, s; none where they cannot keep up. By Little's law a machine's batch
    /// is its requests per second times steps times the step's time, which grows with the batch.
    pub fn batch(&self, machines: usize) -> Option<(f64, f64)> {
        let per_machine = self.load.requests_per_s * self.load.steps / machines as f64;
        let (fixed_s, each_s) = (self.token.step_fixed_s, self.token.step_per_request_s);
        let batch = per_machine * (fixed_s + each_s);
        if batch <= 1.0 {
            // A step is for one request at least.
            return Some((batch, fixed_s + each_s));
        }
        let room = 1.0 - per_machine * each_s;
        let batch = per_machine * fixed_s / room;
        (room > 0.0).then_some((batch, fixed_s + each_s * batch))
    }
}

/// The cheapest pools that serve the load. What binds one pool does not depend on the other's size, so each is the smallest that
/// does.
pub fn plan_pools(problem: &PoolProblem) -> Result<PoolPlan> {
    problem.check()?;
    // The paper sends small caches whole, as the extra time per layer is then more than what hiding saves.
    let layer_by_layer = problem.exposed_s(true) < problem.exposed_s(false);
    let load = &problem.load;
    let link_machines = load.requests_per_s * problem.transfer_busy_s(layer_by_layer);
    let most_ttft_s = load.most_ttft_s.unwrap_or(f64::INFINITY);
    ensure!(
        problem.prompt_s() <= most_ttft_s,
        "a prompt takes {} s by itself, {} s more than the limit for the first token: allow more, or take a quicker machine",
        problem.prompt_s(),
        problem.prompt_s() - most_ttft_s
    );
    let single_step_s = problem.token.step_fixed_s + problem.token.step_per_request_s;
    let most_step_s = load.most_step_s.unwrap_or(f64::INFINITY);
    ensure!(
        single_step_s <= most_step_s,
        "a step of one request takes {single_step_s} s, {} s more than the limit: allow more, or take a quicker machine",
        single_step_s - most_step_s
    );
    let most_batch = (problem.token.cache_memory_bytes / problem.transfer.longest_bytes).floor();
    ensure!(
        most_batch >= 1.0,
        "a cache of {} bytes does not fit into a token machine's {}: take one with more memory",
        problem.transfer.longest_bytes,
        problem.token.cache_memory_bytes
    );
    let keeps_up = |machines: &usize| *machines as f64 > link_machines;
    let serves_prompts = |machines: &usize| {
        let ttft_s = problem.ttft_s(*machines);
        ttft_s.is_finite() && ttft_s <= most_ttft_s
    };
    let serves_tokens = |machines: &usize| {
        problem.batch(*machines).is_some_and(|(batch, step_s)| batch <= most_batch && step_s <= most_step_s)
    };
    let too_many = || format!("the load needs more than {MOST_MACHINES} machines in one pool");
    let prompt_machines =
        (1..=MOST_MACHINES).find(|count| keeps_up(count) && serves_prompts(count)).with_context(too_many)?;
    let token_machines =
        (1..=MOST_MACHINES).find(|count| keeps_up(count) && serves_tokens(count)).with_context(too_many)?;
    let (batch, step_s) = problem.batch(token_machines).with_context(too_many)?;
    Ok(PoolPlan {
        prompt_machines,
        token_machines,
        cost: prompt_machines as f64 * problem.prompt.cost + token_machines as f64 * problem.token.cost,
        ttft_s: problem.ttft_s(prompt_machines),
        exposed_s: problem.exposed_s(layer_by_layer),
        layer_by_layer,
        batch,
        step_s,
    })
}
