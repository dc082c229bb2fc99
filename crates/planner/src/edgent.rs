//! Edgent (Li, Zhou and Chen, 2018): the most accurate choice that meets a deadline.

use anyhow::{Result, bail};

use crate::check;
use crate::cost::CutObjective;
use crate::problem::{CutLimits, LossLimit, SplitProblem};
use crate::search::{CutPlan, rank_cuts};

/// The choice with the least loss among those whose answer takes no longer than the deadline; of equally accurate ones the
/// quickest. `measure` says which loss is meant; its number does not matter.
///
/// Edgent goes from the last exit to the first, takes the quickest cut of each, and stops at the first that meets the deadline.
/// Our models have no early exits. What stands in their place is a right-sizing: all choices with the same loss, from the least
/// loss on. With a loss that depends on codec and ratio only, that is Edgent's loop over exits. Edgent sees no memory and no
/// privacy. Choices whose loss was not measured are left out.
pub fn edgent(problem: &SplitProblem, deadline_s: f64, measure: LossLimit) -> Result<CutPlan> {
    check::positive("the deadline in s", deadline_s)?;
    let mut problem = SplitProblem { limits: CutLimits::default(), ..problem.clone() };
    problem.choices.retain(|choice| measure.value(&choice.loss).is_some());
    let quickest_first = rank_cuts(&problem, CutObjective::Response)?;
    let quickest = quickest_first[0].clone();
    let loss = |plan: &CutPlan| measure.value(&plan.choice.loss).unwrap_or(f64::INFINITY);
    // min_by keeps the first of equals, which is the quickest.
    let in_time = quickest_first.into_iter().take_while(|plan| plan.cost.response_s <= deadline_s);
    match in_time.min_by(|a, b| loss(a).total_cmp(&loss(b))) {
        Some(plan) => Ok(plan),
        None => bail!(
            "no choice meets the deadline of {deadline_s} s; nearest comes {}, {:.6} s late: allow {:.6} s, or give harder \
             ratios",
            quickest.choice,
            quickest.cost.response_s - deadline_s,
            quickest.cost.response_s
        ),
    }
}
