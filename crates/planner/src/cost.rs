//! What a choice costs: times, throughput, energy, memory.

use anyhow::Result;
use serde::Serialize;

use crate::problem::{Crossing, CutChoice, PartCost, PhaseSeconds, SplitProblem};

/// What one choice costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CutCost {
    /// Time to the first token, s.
    pub ttft_s: f64,
    /// Time of each further token, s.
    pub step_s: f64,
    /// Time of the whole answer: first token and steps, s.
    pub response_s: f64,
    /// Busy time per request of whichever is busiest of client, link up, server and link down, s. With many requests at once
    /// its inverse is the throughput.
    pub busiest_s: f64,
    /// Energy of the client per request, J.
    pub client_joules: f64,
    /// Memory on the client, bytes.
    pub client_memory_bytes: u64,
    /// Memory on the server, bytes.
    pub server_memory_bytes: u64,
}

/// What is to be small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CutObjective {
    /// Time to the first token.
    FirstToken,
    /// Time of each further token.
    Step,
    /// Time of the whole answer.
    Response,
    /// Busy time of the busiest part, the inverse of the throughput.
    Throughput,
    /// Energy of the client.
    ClientEnergy,
}

impl CutObjective {
    /// Its number, in s or J.
    pub fn value(self, cost: &CutCost) -> f64 {
        match self {
            Self::FirstToken => cost.ttft_s,
            Self::Step => cost.step_s,
            Self::Response => cost.response_s,
            Self::Throughput => cost.busiest_s,
            Self::ClientEnergy => cost.client_joules,
        }
    }
}

/// Sums over the first parts of the model; one more entry than there are layers.
#[derive(Debug, Clone, Copy, Default)]
struct PrefixSum {
    client: PhaseSeconds,
    server: PhaseSeconds,
    memory_bytes: u64,
}

impl PrefixSum {
    fn plus(self, part: &PartCost) -> Self {
        let sum = |a: PhaseSeconds, b: PhaseSeconds| PhaseSeconds {
            prompt_s: a.prompt_s + b.prompt_s,
            step_s: a.step_s + b.step_s,
        };
        Self {
            client: sum(self.client, part.client),
            server: sum(self.server, part.server),
            memory_bytes: self.memory_bytes.saturating_add(part.memory_bytes),
        }
    }
}

/// Busy times of one phase, s.
struct PhaseBusy {
    client_s: f64,
    up_s: f64,
    server_s: f64,
    down_s: f64,
    delay_s: f64,
}

impl PhaseBusy {
    fn total_s(&self) -> f64 {
        self.client_s + self.up_s + self.server_s + self.down_s + self.delay_s
    }
}

/// The costs of a problem that was checked; each choice is then a few additions, whatever the number of layers.
pub struct CostTable<'a> {
    problem: &'a SplitProblem,
    /// Of the first l layers, without embedding and head.
    first: Vec<PrefixSum>,
}

impl<'a> CostTable<'a> {
    /// Checks a problem and adds up its layers.
    pub fn new(problem: &'a SplitProblem) -> Result<Self> {
        problem.check()?;
        let mut first = vec![PrefixSum::default()];
        first.extend(problem.layers.iter().scan(PrefixSum::default(), |sum, layer| {
            *sum = sum.plus(layer);
            Some(*sum)
        }));
        Ok(Self { problem, first })
    }

    /// The cost of a choice.
    pub fn cost(&self, choice: &CutChoice) -> CutCost {
        let problem = self.problem;
        let (all, cut) = (self.first[problem.layers.len()], self.first[choice.after_layer]);
        let client_has_embedding = choice.after_layer > 0;
        let client_has_head = choice.after_layer == problem.layers.len();
        let busy = |phase: &dyn Fn(&PhaseSeconds) -> f64, crossing: &Crossing, round_trip_s: f64| {
            let (embedding, head) = (&problem.embedding, &problem.head);
            let mut client_s = phase(&cut.client) + crossing.encode_s;
            // Subtracting prefixes may leave -1e-18.
            let mut server_s = (phase(&all.server) - phase(&cut.server)).max(0.0) + crossing.decode_s;
            let embeds = if client_has_embedding {
                (&mut client_s, &embedding.client)
            } else {
                (&mut server_s, &embedding.server)
            };
            *embeds.0 += phase(embeds.1);
            let ends = if client_has_head { (&mut client_s, &head.client) } else { (&mut server_s, &head.server) };
            *ends.0 += phase(ends.1);
            if client_has_head {
                return PhaseBusy { client_s, up_s: 0.0, server_s: 0.0, down_s: 0.0, delay_s: 0.0 };
            }
            let (up_s, down_s) = (problem.up.busy_s(crossing.bytes), problem.down.busy_s(problem.answer_bytes));
            PhaseBusy { client_s, up_s, server_s, down_s, delay_s: round_trip_s }
        };
        let round_trip_s = problem.up.delay_s + problem.down.delay_s;
        let prompt = busy(&|times| times.prompt_s, &choice.prompt, round_trip_s);
        // A server that has all layers goes on by itself: a step waits for nothing from the client.
        let step_trip_s = if client_has_embedding { round_trip_s } else { 0.0 };
        let step = busy(&|times| times.step_s, &choice.step, step_trip_s);
        let whole = |part: &dyn Fn(&PhaseBusy) -> f64| part(&prompt) + problem.steps as f64 * part(&step);
        let response_s = whole(&PhaseBusy::total_s);
        let (client_s, up_s) = (whole(&|busy| busy.client_s), whole(&|busy| busy.up_s));
        let busiest_s =
            [client_s, up_s, whole(&|busy| busy.server_s), whole(&|busy| busy.down_s)].into_iter().fold(0.0, f64::max);
        let power = &problem.power;
        let wait_s = (response_s - client_s - up_s).max(0.0);
        let ends_bytes = |has_embedding: bool, has_head: bool| {
            let part = |is_here: bool, part: &PartCost| if is_here { part.memory_bytes } else { 0 };
            let shared = if has_embedding && has_head { problem.shared_bytes } else { 0 };
            part(has_embedding, &problem.embedding).saturating_add(part(has_head, &problem.head)).saturating_sub(shared)
        };
        CutCost {
            ttft_s: prompt.total_s(),
            step_s: step.total_s(),
            response_s,
            busiest_s,
            client_joules: power.compute_w * client_s + power.send_w * up_s + power.wait_w * wait_s,
            client_memory_bytes: cut.memory_bytes.saturating_add(ends_bytes(client_has_embedding, client_has_head)),
            server_memory_bytes: (all.memory_bytes - cut.memory_bytes)
                .saturating_add(ends_bytes(!client_has_embedding, !client_has_head)),
        }
    }
}
