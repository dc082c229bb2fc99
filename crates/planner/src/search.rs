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

/// By how much a choice misses limits; zero where it keeps to one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LimitExcess {
    /// Loss above the limit, in the limit's unit; infinite where it was not measured.
    pub loss: f64,
    /// Bytes that the client lacks.
    pub client_bytes: u64,
    /// Bytes that the server lacks.
    pub server_bytes: u64,
    /// Layers too few on the client.
    pub layers: usize,
}

impl LimitExcess {
    fn new(limits: &CutLimits, choice: &CutChoice, cost: &CutCost) -> Self {
        let lacking = |need: u64, limit: Option<u64>| limit.map_or(0, |limit| need.saturating_sub(limit));
        let loss = limits.loss.map(|limit| limit.value(&choice.loss).unwrap_or(f64::INFINITY) - limit.most());
        Self {
            loss: loss.map_or(0.0, |above| above.max(0.0)),
            client_bytes: lacking(cost.client_memory_bytes, limits.client_memory_bytes),
            server_bytes: lacking(cost.server_memory_bytes, limits.server_memory_bytes),
            layers: limits.min_layer.saturating_sub(choice.after_layer),
        }
    }

    /// Each excess relative to its limit, summed: 0 where all limits are kept. A limit of zero counts its excess as it is.
    fn distance(&self, limits: &CutLimits) -> f64 {
        let relative = |excess: f64, limit: f64| if limit > 0.0 { excess / limit } else { excess };
        let memory = |lacking: u64, limit: Option<u64>| relative(lacking as f64, limit.unwrap_or(0) as f64);
        relative(self.loss, limits.loss.map_or(0.0, LossLimit::most))
            + memory(self.client_bytes, limits.client_memory_bytes)
            + memory(self.server_bytes, limits.server_memory_bytes)
            + relative(self.layers as f64, limits.min_layer as f64)
    }
}

/// No choice keeps to all limits, and this one comes nearest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearMiss {
    /// The choice that comes nearest.
    pub plan: CutPlan,
    /// The limits it was held against.
    pub limits: CutLimits,
    /// By how much it misses them.
    pub excess: LimitExcess,
    /// Choices that a loss limit rules out as theirs was not measured.
    pub unmeasured: usize,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "no choice keeps to all limits; nearest comes {}, which", self.plan.choice)?;
        let mut parts = Vec::new();
        if let Some(limit) = self.limits.loss.filter(|_| self.excess.loss > 0.0) {
            parts.push(match limit.value(&self.plan.choice.loss) {
                Some(loss) => {
                    let (excess, most, unit) = (self.excess.loss, limit.most(), limit.unit());
                    format!("loses {loss:.4} {unit}, {excess:.4} above the limit of {most}")
                }
                None => format!("has no measured loss in {}", limit.unit()),
            });
        }
        let amount = |bytes: u64| match bytes as f64 / f64::from(1 << 20) {
            mib if mib < 100.0 => format!("{mib:.3} MiB"),
            mib => format!("{:.3} GiB", mib / 1024.0),
        };
        for (device, lacking) in [("client", self.excess.client_bytes), ("server", self.excess.server_bytes)] {
            if lacking > 0 {
                parts.push(format!("needs {} more memory on the {device}", amount(lacking)));
            }
        }
        if self.excess.layers > 0 {
            parts.push(format!("leaves {} layers too few on the client", self.excess.layers));
        }
        write!(f, " {}; raise that limit, or measure more cuts and milder ratios", parts.join(" and "))?;
        if self.unmeasured > 0 {
            write!(f, " ({} choices have no measured loss)", self.unmeasured)?;
        }
        Ok(())
    }
}

impl std::error::Error for NearMiss {}

/// Choices that keep to all limits, as indices with their costs, best first; equal ones in the order of the problem.
pub(crate) fn fitting(problem: &SplitProblem, objective: CutObjective) -> Result<Vec<(usize, CutCost)>> {
    let (table, limits) = (CostTable::new(problem)?, &problem.limits);
    let costs: Vec<CutCost> = problem.choices.iter().map(|choice| table.cost(choice)).collect();
    let excess: Vec<LimitExcess> =
        problem.choices.iter().zip(&costs).map(|(choice, cost)| LimitExcess::new(limits, choice, cost)).collect();
    let distance = |nth: usize| excess[nth].distance(limits);
    let value = |nth: usize| objective.value(&costs[nth]);
    let mut fitting: Vec<usize> = (0..costs.len()).filter(|&nth| distance(nth) == 0.0).collect();
    if fitting.is_empty() {
        let near = |a: &usize, b: &usize| distance(*a).total_cmp(&distance(*b)).then(value(*a).total_cmp(&value(*b)));
        let nearest = (0..costs.len()).min_by(near).expect("a checked problem has choices");
        let unmeasured = excess.iter().filter(|excess| excess.loss.is_infinite()).count();
        let plan = CutPlan { choice: problem.choices[nearest].clone(), cost: costs[nearest] };
        return Err(NearMiss { plan, limits: *limits, excess: excess[nearest], unmeasured }.into());
    }
    fitting.sort_by(|a, b| value(*a).total_cmp(&value(*b)));
    Ok(fitting.into_iter().map(|nth| (nth, costs[nth])).collect())
}

/// All choices that keep to the problem's limits, best first; equal ones in the order of the problem. Fails with a [`NearMiss`]
/// where none does.
pub fn rank_cuts(problem: &SplitProblem, objective: CutObjective) -> Result<Vec<CutPlan>> {
    let plan = |(nth, cost): (usize, CutCost)| CutPlan { choice: problem.choices[nth].clone(), cost };
    Ok(fitting(problem, objective)?.into_iter().map(plan).collect())
}

/// The best choice that keeps to the problem's limits. Fails with a [`NearMiss`] where none does.
pub fn best_cut(problem: &SplitProblem, objective: CutObjective) -> Result<CutPlan> {
    let (nth, cost) = fitting(problem, objective)?[0];
    Ok(CutPlan { choice: problem.choices[nth].clone(), cost })
}
