//! JALAD (Li et al., ICPADS 2018): cut and bits together, the least latency under a limit of accuracy loss.

use anyhow::Result;

use crate::cost::CutObjective;
use crate::problem::{CutLimits, LossLimit, SplitProblem};
use crate::search::{CutPlan, best_cut};

/// The quickest (layer, codec, ratio) that loses no more than the limit. The paper's integer programme has one 0/1 variable for
/// each pair of cut and bits and asks for exactly one of them to be 1, so going through all pairs is exact. JALAD sees no memory
/// and no privacy. Fails with a [`NearMiss`](crate::NearMiss) where no choice fits.
pub fn jalad(problem: &SplitProblem, most_loss: LossLimit) -> Result<CutPlan> {
    let limits = CutLimits { loss: Some(most_loss), ..CutLimits::default() };
    best_cut(&SplitProblem { limits, ..problem.clone() }, CutObjective::Response)
}
