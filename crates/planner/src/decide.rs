//! What decides where the cut is.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::cost::{CutCost, CutObjective};
use crate::problem::{Crossing, CutChoice, CutLoss, PartCost, PhaseSeconds, SplitProblem};
use crate::search::{CutPlan, best_cut, fitting};

/// Something without which another cut would be better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CutReason {
    /// The memory of a device.
    Memory,
    /// Layers that must stay on the client.
    Privacy,
    /// The limit on what may be lost, as the same codec and ratio lose more at some layers.
    Loss,
    /// Embedding and head, whose time or memory goes with an end.
    HeadAndEmbedding,
    /// Cuts send differently many bytes with the same codec and ratio.
    Bytes,
    /// Layers take differently long.
    LayerTimes,
    /// Client, link and server work at the same time on several requests, so none should have more than its share.
    Balance,
}

impl CutReason {
    const ALL: [Self; 7] =
        [Self::Memory, Self::Privacy, Self::Loss, Self::HeadAndEmbedding, Self::Bytes, Self::LayerTimes, Self::Balance];

    /// The problem and objective without it.
    fn without(self, problem: &SplitProblem, objective: CutObjective) -> (SplitProblem, CutObjective) {
        let mut problem = problem.clone();
        match self {
            Self::Memory => (problem.limits.client_memory_bytes, problem.limits.server_memory_bytes) = (None, None),
            Self::Privacy => problem.limits.min_layer = 0,
            Self::Loss => even_losses(&mut problem),
            Self::HeadAndEmbedding => {
                (problem.embedding, problem.head) = (PartCost::default(), PartCost::default());
                problem.shared_bytes = 0;
            }
            Self::Bytes => even_crossings(&mut problem),
            Self::LayerTimes => even_layers(&mut problem),
            Self::Balance if objective == CutObjective::Throughput => return (problem, CutObjective::Response),
            Self::Balance => {}
        }
        (problem, objective)
    }
}

impl fmt::Display for CutReason {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "the memory of a device",
            Self::Privacy => "the layers that must stay on the client",
            Self::Loss => "the loss, which differs by layer",
            Self::HeadAndEmbedding => "the cost of embedding and head",
            Self::Bytes => "the bytes, which differ by layer",
            Self::LayerTimes => "the times of layers, which differ",
            Self::Balance => "the balance of client, link and server under many requests",
        })
    }
}

/// A plan with what decides its cut.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CutDecision {
    /// The best choice.
    pub plan: CutPlan,
    /// Whether the cut is at an end: after 0, 1, N - 1 or N layers.
    pub is_end: bool,
    /// Each thing without which another cut would be strictly better.
    pub reasons: Vec<CutReason>,
}

impl fmt::Display for CutDecision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "cut after layer {}: ", self.plan.choice.after_layer)?;
        let reasons: Vec<String> = self.reasons.iter().map(CutReason::to_string).collect();
        match (reasons.is_empty(), self.is_end) {
            (false, _) => write!(f, "decided by {}", reasons.join(", and by ")),
            (true, true) => f.write_str("an end, as no limit binds"),
            (true, false) => {
                f.write_str("no single thing decides it; several would have to go before another cut is better")
            }
        }
    }
}

/// Indices of the choices between the two ends that share codec and ratio, for each kind.
fn kinds(problem: &SplitProblem) -> Vec<Vec<usize>> {
    let mut kinds: BTreeMap<(&str, Option<u64>), Vec<usize>> = BTreeMap::new();
    for (nth, choice) in problem.choices.iter().enumerate() {
        if (1..problem.layers.len()).contains(&choice.after_layer) {
            kinds.entry((&choice.codec, choice.ratio.map(f64::to_bits))).or_default().push(nth);
        }
    }
    kinds.into_values().collect()
}

/// Of each codec and ratio, the mean crossing over its cuts in place of each.
fn even_crossings(problem: &mut SplitProblem) {
    for kind in kinds(problem) {
        let mean = |phase: &dyn Fn(&CutChoice) -> Crossing| {
            let mean = |part: &dyn Fn(Crossing) -> f64| {
                kind.iter().map(|&nth| part(phase(&problem.choices[nth]))).sum::<f64>() / kind.len() as f64
            };
            Crossing { bytes: mean(&|c| c.bytes), encode_s: mean(&|c| c.encode_s), decode_s: mean(&|c| c.decode_s) }
        };
        let (prompt, step) = (mean(&|choice| choice.prompt), mean(&|choice| choice.step));
        for &nth in &kind {
            (problem.choices[nth].prompt, problem.choices[nth].step) = (prompt, step);
        }
    }
}

/// Of each codec and ratio, the least loss of its cuts in place of each.
fn even_losses(problem: &mut SplitProblem) {
    for kind in kinds(problem) {
        let least = |part: &dyn Fn(&CutLoss) -> Option<f64>| {
            kind.iter().filter_map(|&nth| part(&problem.choices[nth].loss)).min_by(f64::total_cmp)
        };
        let loss = CutLoss { drop_points: least(&|loss| loss.drop_points), kl_nats: least(&|loss| loss.kl_nats) };
        kind.iter().for_each(|&nth| problem.choices[nth].loss = loss);
    }
}

/// The mean time of all layers in place of each.
fn even_layers(problem: &mut SplitProblem) {
    let count = problem.layers.len() as f64;
    let mean = |part: &dyn Fn(&PartCost) -> PhaseSeconds| PhaseSeconds {
        prompt_s: problem.layers.iter().map(|layer| part(layer).prompt_s).sum::<f64>() / count,
        step_s: problem.layers.iter().map(|layer| part(layer).step_s).sum::<f64>() / count,
    };
    let (client, server) = (mean(&|layer| layer.client), mean(&|layer| layer.server));
    for layer in &mut problem.layers {
        (layer.client, layer.server) = (client, server);
    }
}

/// The best choice, and each thing without which another cut would be better by more than a millionth.
///
/// Where all layers take the same time and all cuts send the same bytes, latency and energy are linear in the number of layers on
/// the client. So among the cuts between the two ends the best one is the first or the last.
pub fn decide(problem: &SplitProblem, objective: CutObjective) -> Result<CutDecision> {
    let plan = best_cut(problem, objective)?;
    let (cut, layers) = (plan.choice.after_layer, problem.layers.len());
    let mut reasons = Vec::new();
    for reason in CutReason::ALL {
        let (without, objective) = reason.without(problem, objective);
        let fitting = fitting(&without, objective)?;
        let value = |(_, cost): &(usize, CutCost)| objective.value(cost);
        // The best that this cut can do without the reason, with whichever codec.
        let same = fitting.iter().find(|(nth, _)| without.choices[*nth].after_layer == cut);
        let (best, same) = (value(&fitting[0]), same.map_or(f64::INFINITY, value));
        if best < same * (1.0 - 1e-6) {
            reasons.push(reason);
        }
    }
    Ok(CutDecision { plan, is_end: cut <= 1 || cut + 1 >= layers, reasons })
}
