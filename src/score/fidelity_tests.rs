use serde::Deserialize;

use super::*;
use crate::model::{LogSumExp, divergence};

#[derive(Deserialize)]
struct Reference {
    rows: Vec<Row>,
    summary: Summary,
}

#[derive(Deserialize)]
struct Row {
    p: Vec<f32>,
    q: Vec<f32>,
    kl: f64,
    same_top: bool,
    acceptance: f64,
}

#[derive(Deserialize)]
struct Summary {
    questions: Vec<Vec<f32>>,
    same_top: Vec<usize>,
    kl_mean: f64,
    kl_stderr: f64,
    percentiles: [f64; 4],
    top1: f64,
    top1_stderr: f64,
}

/// `tests/reference/fidelity.py`: NumPy in f64.
fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/reference/fidelity.json")).unwrap()
}

fn of(p: &[f32], q: &[f32]) -> Divergence {
    divergence((p, LogSumExp::new(p)), (q, LogSumExp::new(q)))
}

#[test]
fn divergences_are_numpys() {
    let rows = reference().rows;
    assert!(rows.len() >= 7 && rows.iter().any(|row| row.kl < 1e-7));
    for Row { p, q, kl, same_top, acceptance } in rows {
        let found = of(&p, &q);
        assert!((found.kl - kl).abs() <= 1e-6 * kl + 1e-15, "{} and {kl}", found.kl);
        assert!((found.acceptance - acceptance).abs() < 1e-6, "{} and {acceptance}", found.acceptance);
        assert_eq!(found.same_top, same_top);
    }
}

#[test]
fn the_same_logits_have_no_divergence_at_all() {
    let logits: Vec<f32> = (0..1000).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.3).collect();
    let found = of(&logits, &logits);
    assert_eq!((found.kl, found.same_top), (0.0, true));
    assert!((found.acceptance - 1.0).abs() < 1e-6);
    // A constant added to all logits changes nothing but rounding, which enters squared.
    let shifted: Vec<f32> = logits.iter().map(|logit| logit + 0.37).collect();
    let found = of(&logits, &shifted);
    assert!((0.0..1e-12).contains(&found.kl), "{}", found.kl);
}

#[test]
fn what_has_no_share_adds_nothing_and_nan_is_seen() {
    let found = of(&[0.0, 0.0, f32::NEG_INFINITY], &[0.0, 0.0, 0.0]);
    assert!((found.kl - 1.5f64.ln()).abs() < 1e-6 && (found.acceptance - 2.0 / 3.0).abs() < 1e-6, "{found:?}");
    assert!(of(&[0.0, f32::NAN], &[0.0, 0.0]).kl.is_nan());
    assert!(of(&[0.0, 0.0], &[0.0, f32::NAN]).kl.is_nan());
}

#[test]
fn means_errors_and_percentiles_are_numpys() {
    let Summary { questions, same_top, kl_mean, kl_stderr, percentiles, top1, top1_stderr } = reference().summary;
    let positions: Vec<PositionFidelity> = (questions.into_iter().zip(same_top))
        .map(|(kl, same_top)| PositionFidelity { acceptance: kl.len() as f64 / 2.0, kl, same_top })
        .collect();
    let found = fidelity(&positions).unwrap();
    let pairs = [
        (found.kl_mean, kl_mean),
        (found.kl_stderr.unwrap(), kl_stderr),
        (found.kl_median, percentiles[0]),
        (found.kl_p90, percentiles[1]),
        (found.kl_p99, percentiles[2]),
        (found.kl_max, percentiles[3]),
        (found.top1, top1),
        (found.top1_stderr.unwrap(), top1_stderr),
        (found.acceptance, 0.5),
    ];
    for (nth, (found, expected)) in pairs.into_iter().enumerate() {
        assert!((found - expected).abs() <= 1e-12 * expected.abs(), "number {nth}: {found} and {expected}");
    }
    assert_eq!((found.positions, fidelity(&[]), fidelity(&[PositionFidelity::default()])), (24, None, None));
    assert_eq!(fidelity(&positions[..1]).unwrap().kl_stderr, None);
}
