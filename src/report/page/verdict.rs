//! What is said of a claim.

use std::fmt;

/// Whether a claim is borne out by numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimState {
    Holds,
    Fails,
    /// The numbers are missing, or too uncertain.
    Open,
}

impl ClaimState {
    /// From whether it surely holds and whether it surely does not.
    pub fn judge(holds: bool, fails: bool) -> Self {
        match (holds, fails) {
            (_, true) => Self::Fails,
            (true, _) => Self::Holds,
            _ => Self::Open,
        }
    }
}

impl fmt::Display for ClaimState {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "✓ holds",
            Self::Fails => "✗ does not hold",
            Self::Open => "? cannot be judged",
        })
    }
}

/// A number with its standard error; none where it is not known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Uncertain {
    pub value: f64,
    pub stderr: Option<f64>,
}

/// Standard errors that a number must be away from a bound: for one number, and where any of several could be.
pub(super) const ONE: f64 = 2.0;
pub(super) const ANY: f64 = 3.0;

impl Uncertain {
    pub fn surely_above(self, bound: f64, errors: f64) -> bool {
        self.stderr.is_some_and(|stderr| self.value - errors * stderr > bound)
    }

    pub fn surely_below(self, bound: f64, errors: f64) -> bool {
        self.stderr.is_some_and(|stderr| self.value + errors * stderr < bound)
    }

    /// Difference of two independent numbers.
    pub fn minus(self, other: Self) -> Self {
        let both = self.stderr.zip(other.stderr);
        Self { value: self.value - other.value, stderr: both.map(|(a, b)| a.hypot(b)) }
    }

    /// Mean of some numbers, and its standard error from how they differ; none of fewer than three.
    pub fn mean(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (values.len() > 2 && mean.is_finite()).then(|| Self { value: mean, stderr: Some((variance / n).sqrt()) })
    }

    /// `1.2 ± 0.3`.
    pub fn text(self, digits: usize) -> String {
        let stderr = self.stderr.map(|stderr| format!(" ± {stderr:.digits$}")).unwrap_or_default();
        format!("{:.digits$}{stderr}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sure_without_an_error() {
        let of = |stderr| Uncertain { value: 1.0, stderr };
        assert!(of(Some(0.1)).surely_above(0.69, ANY) && !of(Some(0.1)).surely_above(0.75, ANY));
        assert!(of(Some(0.1)).surely_below(1.21, ONE) && !of(Some(0.1)).surely_below(1.19, ONE));
        assert!(!of(None).surely_above(0.0, ONE) && !of(None).surely_below(9.0, ONE));
        assert!(!of(Some(f64::NAN)).surely_above(0.0, ONE));
        assert_eq!(of(Some(3.0)).minus(of(Some(4.0))), Uncertain { value: 0.0, stderr: Some(5.0) });
        assert_eq!(of(None).minus(of(Some(4.0))).stderr, None);
        assert_eq!(Uncertain::mean(&[1.0, 2.0]), None);
        assert_eq!(Uncertain::mean(&[1.0, 2.0, 3.0]).unwrap().text(2), "2.00 ± 0.58");
        assert_eq!(
            [ClaimState::judge(true, false), ClaimState::judge(true, true), ClaimState::judge(false, false)],
            [ClaimState::Holds, ClaimState::Fails, ClaimState::Open]
        );
    }
}
