//! Neurosurgeon (Kang et al., ASPLOS 2017): one cut, for latency or for the client's energy. Its layer times come from
//! [`fit_layer_time`](crate::fit_layer_time).

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::cost::CutObjective;
use crate::problem::{ClientPower, CutLimits, SplitProblem};
use crate::search::{CutPlan, best_cut};

/// What Neurosurgeon makes small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum NeurosurgeonGoal {
    /// Latency of the answer.
    Latency,
    /// Energy of the client: computing and sending, not waiting.
    Energy,
}

/// The best cut for activations as one codec sends them (the paper sends them raw), with the two ends as they are. Neurosurgeon
/// sees no codec's loss, no memory and no privacy.
pub fn neurosurgeon(problem: &SplitProblem, codec: &str, goal: NeurosurgeonGoal) -> Result<CutPlan> {
    let ends = [0, problem.layers.len()];
    let mut problem = problem.clone();
    ensure!(
        problem.choices.iter().any(|choice| choice.codec == codec),
        "no cut has codec {codec:?}: give the cuts with that one, as Neurosurgeon compares no others"
    );
    problem.choices.retain(|choice| choice.codec == codec || ends.contains(&choice.after_layer));
    problem.limits = CutLimits::default();
    problem.power = ClientPower { wait_w: 0.0, ..problem.power };
    let objective = match goal {
        NeurosurgeonGoal::Latency => CutObjective::Response,
        NeurosurgeonGoal::Energy => CutObjective::ClientEnergy,
    };
    best_cut(&problem, objective)
}
