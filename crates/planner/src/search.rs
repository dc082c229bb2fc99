//! The best choice under limits, and what comes nearest where none fits.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::cost::{CostTable, CutCost, CutObjective};
use crate::problem::{CutChoice, CutLimits, LossLimit, SplitProblem};

/// A choice with its cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CutPlan {
    /// What was chosen.
    pub choice: CutChoice,
    /// What it costs.
    pub cost: CutCost,
}

/// By how much the nearest choice misses its limits; zero and empty where it keeps to one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearMiss {
    /// The choice that comes nearest.
    pub plan: CutPlan,
    /// The limits it was held against.
    pub limits: CutLimits,
    /// Loss above the limit, in the limit's unit.
    pub loss_excess: f64,
    /// Bytes that the client lacks.
    pub client_bytes_lacking: u64,
    /// Bytes that the server lacks.
    pub server_bytes_lacking: u64,
    /// Layers too few on the client.
    pub layers_lacking: usize,
    /// Choices that a loss limit rules out as theirs was not measured.
    pub unmeasured: usize,
}

impl NearMiss {
    fn new(plan: CutPlan, limits: CutLimits, unmeasured: usize) -> Self {
        let lacking = |need: u64, limit: Option<u64>| limit.map_or(0, |limit| need.saturating_sub(limit));
        let loss = limits.loss.map(|limit| (limit.value(&plan.choice.loss).unwrap_or(f64::INFINITY), limit.most()));
        Self {
            loss_excess: loss.map_or(0.0, |(loss, most)| (loss - most).max(0.0)),
            client_bytes_lacking: lacking(plan.cost.client_memory_bytes, limits.client_memory_bytes),
            server_bytes_lacking: lacking(plan.cost.server_memory_bytes, limits.server_memory_bytes),
            layers_lacking: limits.min_layer.saturating_sub(plan.choice.after_layer),
            plan,
            limits,
            unmeasured,
        }
    }

    /// Each excess relative to its limit, summed: 0 where all limits are kept. A limit of zero counts its excess as it is.
    fn distance(&self) -> f64 {
        let relative = |excess: f64, limit: f64| if limit > 0.0 { excess / limit } else { excess };
        let memory = |lacking: u64, limit: Option<u64>| relative(lacking as f64, limit.unwrap_or(0) as f64);
        relative(self.loss_excess, self.limits.loss.map_or(0.0, LossLimit::most))
            + memory(self.client_bytes_lacking, self.limits.client_memory_bytes)
            + memory(self.server_bytes_lacking, self.limits.server_memory_bytes)
            + relative(self.layers_lacking as f64, self.limits.min_layer as f64)
    }
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "no choice keeps to all limits; nearest comes {}, which", self.plan.choice.name())?;
        let mut parts = Vec::new();
        if let Some(limit) = self.limits.loss.filter(|_| self.loss_excess > 0.0) {
            parts.push(match limit.value(&self.plan.choice.loss) {
                Some(loss) => {
                    let (excess, most, unit) = (self.loss_excess, limit.most(), limit.unit());
                    format!("loses {loss:.4} {unit}, {excess:.4} above the limit of {most}")
                }
                None => format!("has no measured loss in {}", limit.unit()),
            });
        }
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        for (device, lacking) in [("client", self.client_bytes_lacking), ("server", self.server_bytes_lacking)] {
            if lacking > 0 {
                parts.push(format!("needs {:.3} GiB more memory on the {device}", gib(lacking)));
            }
        }
        if self.layers_lacking > 0 {
            parts.push(format!("leaves {} layers too few on the client", self.layers_lacking));
        }
        write!(f, " {}; raise that limit, or measure more cuts and milder ratios", parts.join(" and "))?;
        if self.unmeasured > 0 {
            write!(f, " ({} choices have no measured loss)", self.unmeasured)?;
        }
        Ok(())
    }
}

impl std::error::Error for NearMiss {}

/// All choices that keep to the problem's limits, best first; equal ones in the order of the problem. Fails with a [`NearMiss`]
/// where none does.
pub fn rank_cuts(problem: &SplitProblem, objective: CutObjective) -> Result<Vec<CutPlan>> {
    let table = CostTable::new(problem)?;
    let loss = problem.limits.loss;
    let is_unmeasured = |choice: &&CutChoice| loss.is_some_and(|limit| limit.value(&choice.loss).is_none());
    let unmeasured = problem.choices.iter().filter(is_unmeasured).count();
    let (mut fitting, mut missing) = (Vec::new(), Vec::new());
    for choice in &problem.choices {
        let plan = CutPlan { choice: choice.clone(), cost: table.cost(choice) };
        let miss = NearMiss::new(plan, problem.limits, unmeasured);
        if miss.distance() == 0.0 { fitting.push(miss.plan) } else { missing.push(miss) }
    }
    let value = |plan: &CutPlan| objective.value(&plan.cost);
    fitting.sort_by(|a, b| value(a).total_cmp(&value(b)));
    if fitting.is_empty() {
        let near = |a: &NearMiss, b: &NearMiss| {
            a.distance().total_cmp(&b.distance()).then(value(&a.plan).total_cmp(&value(&b.plan)))
        };
        let nearest = missing.into_iter().min_by(near).expect("a checked problem has choices");
        return Err(nearest.into());
    }
    Ok(fitting)
}

/// The best choice that keeps to the problem's limits. Fails with a [`NearMiss`] where none does.
pub fn best_cut(problem: &SplitProblem, objective: CutObjective) -> Result<CutPlan> {
    Ok(rank_cuts(problem, objective)?.swap_remove(0))
}
