//! McNemar's test, standard error and log-softmax against SciPy and NumPy.

use serde::Deserialize;
use splitbench::model::LogSumExp;
use splitbench::score::{mcnemar_exact, mean, standard_error};

use crate::json;

#[derive(Deserialize)]
struct Reference {
    mcnemar: Vec<(u64, u64, f64)>,
    stderr: Vec<Stderr>,
    log_softmax: Vec<LogSoftmax>,
}

#[derive(Deserialize)]
struct Stderr {
    values: String,
    mean: f64,
    stderr: f64,
}

#[derive(Deserialize)]
struct LogSoftmax {
    logits: Vec<f32>,
    target: u32,
    value: f64,
}

#[test]
fn mcnemar_is_scipy_s_binomtest() {
    let Reference { mcnemar, .. } = json("metrics.json");
    for (lost, gained, want) in mcnemar {
        let got = mcnemar_exact(lost, gained);
        // 1e-300: what SciPy gives as 0 is too small for an f64.
        assert!((got - want).abs() <= 1e-9 * want + 1e-300, "{lost} {gained}: {got:e}, SciPy {want:e}");
        assert_eq!(got, mcnemar_exact(gained, lost));
    }
}

#[test]
fn mean_and_standard_error_are_numpy_s() {
    let Reference { stderr, .. } = json("metrics.json");
    for expected in stderr {
        let right: Vec<bool> = expected.values.bytes().map(|b| b == b'1').collect();
        assert!((mean(&right).unwrap() - expected.mean).abs() < 1e-14);
        assert!((standard_error(&right).unwrap() - expected.stderr).abs() < 1e-14);
    }
}

#[test]
fn log_softmax_is_scipy_s() {
    let Reference { log_softmax, .. } = json("metrics.json");
    for LogSoftmax { logits, target, value } in log_softmax {
        let got = LogSumExp::new(&logits).log_probability(logits[target as usize]);
        assert!((got - value).abs() < 5e-7, "{} logits: {got}, SciPy {value}", logits.len());
    }
}
