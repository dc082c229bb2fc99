//! What the rows and profiles at hand cannot tell.

use splitbench_planner::rank_cuts;

use super::board::{AdviceBoard, AdvisedCut};
use super::loss::{LossTable, MeasuredLoss};
use crate::score::Verdict;

/// What cannot be told: losses whose interval reaches over the limit, quicker cuts that may keep it, and cuts whose times are nearer than
/// the fits are sure.
pub(super) fn unsure(board: &AdviceBoard, cuts: &[AdvisedCut], losses: &LossTable) -> Vec<String> {
    let mut out = Vec::new();
    let best = &cuts[0];
    let value = |cut: &AdvisedCut| board.goal.objective.value(&cut.cost);
    if let Some(limit) = board.goal.limits.loss {
        let told = |cut: &AdvisedCut, keeps: &str| {
            let [low, high] = cut.interval.unwrap_or([f64::NAN; 2]);
            let would = cut.questions_needed.map_or("no number of questions would tell".to_string(), |questions| {
                format!("about {} questions would tell, if the value stayed", two_digits(questions))
            });
            format!(
                "{} {keeps} the limit: its loss is between {low:.4} and {high:.4} {}; {would}",
                cut.name(),
                limit.unit()
            )
        };
        out.extend(
            cuts.iter().filter(|cut| cut.verdict == Some(Verdict::CannotTell)).map(|cut| told(cut, "may not keep")),
        );
        // What the estimate rules out and the interval does not, where it would be better.
        let mut open = board.problem.clone();
        open.limits.loss = None;
        if let Ok(ranked) = rank_cuts(&open, board.goal.objective) {
            let ruled_out = ranked.iter().map(|plan| board.advised(&plan.choice, plan.cost));
            let better = ruled_out.take_while(|cut| value(cut) < value(best));
            let may = better.filter(|cut| cut.verdict == Some(Verdict::CannotTell)).take(1);
            out.extend(may.map(|cut| told(&cut, "would be better and may keep")));
        }
    }
    for cut in cuts.iter().skip(1) {
        let layers = cut.after_layer.abs_diff(best.after_layer);
        let apart = (cut.cost.response_s - best.cost.response_s).abs();
        if layers > 0 && apart < board.setting.uncertainty_s(layers) {
            out.push(format!(
                "{} and the best are {:.1} ms apart in the whole answer, less than the residuals of the fitted layer times ({:.1} ms)",
                cut.name(),
                1e3 * apart,
                1e3 * board.setting.uncertainty_s(layers)
            ));
        }
    }
    let nearer = |a: &MeasuredLoss, b: &MeasuredLoss| match (a.kl, b.kl, a.kl_stderr, b.kl_stderr) {
        (Some(a), Some(b), Some(e), Some(f)) => (a - b).abs() < 1.96 * (e * e + f * f).sqrt(),
        _ => false,
    };
    let of = |cut: &AdvisedCut| {
        losses.losses.iter().find(|loss| loss.after_layer == cut.after_layer && Some(&loss.sent) == cut.prompt.as_ref())
    };
    let alike: Vec<String> = (cuts.iter().skip(1))
        .filter(|cut| of(best).zip(of(cut)).is_some_and(|(a, b)| nearer(a, b)))
        .map(AdvisedCut::name)
        .collect();
    if !alike.is_empty() {
        out.push(format!("the KL of the prompt's codec is no different from the best's in: {}", alike.join("; ")));
    }
    out
}

/// To two digits: more would pretend to know.
fn two_digits(number: u64) -> u64 {
    let power = 10u64.pow(number.max(1).ilog10().saturating_sub(1));
    number.div_ceil(power).saturating_mul(power)
}

#[cfg(test)]
mod tests {
    use super::two_digits;

    #[test]
    fn numbers_of_questions_are_rounded_up_to_two_digits() {
        assert_eq!([0, 7, 99, 101, 27_174, 945].map(two_digits), [0, 7, 99, 110, 28_000, 950]);
        assert_eq!(two_digits(u64::MAX), u64::MAX);
    }
}
