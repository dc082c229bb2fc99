//! The paper's near-lossless ratio of a data set.

use crate::score::{Bound, ROUNDING};

/// The largest of some ratios that loses at most `points` against the baseline; `tried` has each ratio with its accuracy, in per
/// cent as the baseline. `None` when none was tried.
pub fn near_lossless(baseline_percent: f64, tried: &[(f64, f64)], points: f64) -> Option<Bound> {
    let qualifies = |percent: f64| baseline_percent - percent <= points + ROUNDING;
    let bound = Bound::new(tried.iter().map(|&(ratio, percent)| (ratio, qualifies(percent))));
    (!tried.is_empty()).then_some(bound)
}

/// The ratio, or that it is below all that were tried.
pub fn near_lossless_text(bound: Bound) -> String {
    match (bound.holds, bound.fails) {
        (Some(ratio), _) => ratio.to_string(),
        (None, fails) => fails.map_or(String::new(), |smallest| format!("< {smallest}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::paper;

    fn rule(baseline: f64, cells: &[(f64, f64)], points: f64) -> Option<String> {
        near_lossless(baseline, cells, points).map(near_lossless_text)
    }

    #[test]
    fn edges() {
        assert_eq!(rule(50.0, &[], 0.3), None);
        assert_eq!(rule(50.0, &[(6.0, 49.0), (8.0, 40.0)], 0.3), Some("< 6".to_string()));
        assert_eq!(rule(50.0, &[(8.0, 49.7), (6.0, 50.0)], 0.3), Some("8".to_string()));
        assert_eq!(rule(50.0, &[(8.0, 49.69), (6.0, 50.0)], 0.3), Some("6".to_string()));
        // A gain qualifies, and a hole below it does not matter.
        assert_eq!(rule(50.0, &[(10.0, 51.0), (8.0, 40.0), (6.0, 50.0)], 0.3), Some("10".to_string()));
        assert_eq!(rule(50.0, &[(8.0, 49.0)], 1.0), Some("8".to_string()));
    }

    #[test]
    fn arc_easy_of_the_paper() {
        let found: Vec<String> = paper::models()
            .into_iter()
            .map(|model| {
                let tried: Vec<(f64, f64)> = [10.0, 9.0, 8.0, 7.0, 6.0]
                    .into_iter()
                    .map(|ratio| (ratio, paper::table2(model, Some(ratio), "arc_easy").unwrap()))
                    .collect();
                let baseline = paper::table2(model, None, "arc_easy").unwrap();
                rule(baseline, &tried, 0.3).unwrap()
            })
            .collect();
        assert_eq!(found, ["7", "7", "7", "9"]);
    }
}
