//! Numbers as tables print them.

use crate::record::Accuracy;

/// Mark of a cell without a number.
pub(super) const MISSING: &str = "–";

/// One decimal, never `-0.0`.
pub(super) fn tenths(value: f64) -> String {
    let text = format!("{value:.1}");
    if text == "-0.0" { "0.0".into() } else { text }
}

/// One decimal with a sign, `0.0` when it rounds to nothing.
pub(super) fn signed(value: f64) -> String {
    signed_to(value, 1)
}

/// The same to some decimals.
pub(super) fn signed_to(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    match text.parse() {
        Ok(0.0) => text,
        _ => format!("{}{text}", if value > 0.0 { '+' } else { '-' }),
    }
}

/// A round number as it is: `0.002`, `5`, `20000`.
pub(super) fn plain(value: f64) -> String {
    // A tick such as 2 * 10^-3 is not quite 0.002.
    let digits = (-value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.digits$}")
}

/// Three significant digits, whole numbers in full.
pub(super) fn significant(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 9) };
    format!("{value:.0$}", digits as usize)
}

/// Accuracy and its standard error in per cent.
pub(super) fn percent(accuracy: Accuracy) -> String {
    format!("{} ± {}", tenths(100.0 * accuracy.value), tenths(100.0 * accuracy.stderr))
}

/// A p-value to three decimals; one that would show as none at all is `< 0.001`.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".into() } else { format!("{p:.3}") }
}

/// A ratio as asked for: `7`, `7.5`.
pub(super) fn ratio(value: f64) -> String {
    format!("{value}")
}

/// Mean over data sets; their questions are independent, so the standard error is sqrt(sum se^2) / n.
pub(super) fn average(cells: &[Option<Accuracy>]) -> Option<Accuracy> {
    let cells: Vec<Accuracy> = cells.iter().copied().collect::<Option<_>>()?;
    let count = cells.len() as f64;
    (!cells.is_empty()).then(|| Accuracy {
        value: cells.iter().map(|cell| cell.value).sum::<f64>() / count,
        stderr: cells.iter().map(|cell| cell.stderr.powi(2)).sum::<f64>().sqrt() / count,
    })
}

/// Mean of values that are all there; none where one is missing, or without any.
pub(super) fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Geometric mean of ratios; none where one is missing.
pub(super) fn geometric_mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    mean(values.map(|value| value.map(f64::ln))).map(f64::exp)
}

/// A CSV field; empty when missing.
pub(super) fn field<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// The same to some decimals.
pub(super) fn field_to(value: Option<f64>, digits: usize) -> String {
    field(value.map(|value| format!("{value:.digits$}")))
}

/// Two decimals of a per cent value for CSV; empty when missing.
pub(super) fn csv_percent(share: Option<f64>) -> String {
    field_to(share.map(|share| 100.0 * share), 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        let shown = [0.0, 0.01234, 1.0, 9.996, 12.34, 123.4, 98765.4].map(significant);
        assert_eq!(shown, ["0", "0.0123", "1.00", "10.00", "12.3", "123", "98765"]);
    }

    #[test]
    fn a_p_value_is_never_nothing() {
        let shown = [0.0, 1e-9, 0.00099, 0.001, 0.0312, 0.05, 1.0].map(p_value);
        assert_eq!(shown, ["< 0.001", "< 0.001", "< 0.001", "0.001", "0.031", "0.050", "1.000"]);
    }

    #[test]
    fn no_negative_zero() {
        assert_eq!(tenths(-0.04), "0.0");
        assert_eq!(signed(0.04), "0.0");
        assert_eq!(signed(-0.06), "-0.1");
        assert_eq!(signed(1.25), "+1.2");
    }

    #[test]
    fn average_needs_every_cell() {
        let cell = |value, stderr| Some(Accuracy { value, stderr });
        let mean = average(&[cell(0.5, 0.03), cell(0.7, 0.04)]).unwrap();
        assert!((mean.value - 0.6).abs() < 1e-12 && (mean.stderr - 0.025).abs() < 1e-12);
        assert_eq!(average(&[cell(0.5, 0.03), None]), None);
        assert_eq!(average(&[]), None);
        assert!((geometric_mean([2.0, 8.0].map(Some).into_iter()).unwrap() - 4.0).abs() < 1e-12);
    }
}
