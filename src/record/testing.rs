//! Made-up rows for tests.

use super::row::Row;

/// A finished cell of `pocket` on ARC-Easy after layer 1: 100 questions, `acc` as given.
pub(crate) fn row(codec: &str, ratio: Option<f64>, acc: f64) -> Row {
    let baseline = codec == "baseline";
    Row {
        experiment: "test".into(),
        model: "pocket".into(),
        model_sha256: "m".into(),
        tokenizer_sha256: "t".into(),
        dataset: "arc_easy".into(),
        data_source: "embedded".into(),
        data_sha256: "d".into(),
        data_verified: true,
        prompt_version: 1,
        definition_sha256: None,
        dataset_title: None,
        split_layer: (!baseline).then_some(1),
        scope: "prompt+choice".into(),
        codec: codec.into(),
        ratio_requested: ratio,
        accounting: "elements".into(),
        ratio_elements: ratio,
        ratio_wire: ratio.map(|ratio| ratio / 2.0),
        wire_bytes_per_token: ratio.map(|ratio| 384.0 / ratio),
        rel_error: ratio.map(|_| 0.5),
        questions: 100,
        requests: 400,
        tokens: 6000,
        acc: Some(acc),
        acc_stderr: Some((acc * (1.0 - acc) / 99.0).sqrt()),
        acc_norm: Some(acc / 2.0),
        acc_norm_stderr: Some(0.04),
        chance: Some(0.25),
        metric: "acc".into(),
        lost: (!baseline).then_some(4),
        gained: (!baseline).then_some(2),
        mcnemar_p: (!baseline).then_some(0.6875),
        gold_loglik_change: (!baseline).then_some(-0.25),
        gold_loglik_change_stderr: (!baseline).then_some(0.05),
        positions: (!baseline).then_some(1500),
        kl_mean: (!baseline).then_some(0.02),
        kl_stderr: (!baseline).then_some(0.001),
        kl_median: (!baseline).then_some(0.01),
        kl_p90: (!baseline).then_some(0.05),
        kl_p99: (!baseline).then_some(0.2),
        kl_max: (!baseline).then_some(0.7),
        top1: (!baseline).then_some(0.93),
        top1_stderr: (!baseline).then_some(0.006),
        acceptance: (!baseline).then_some(0.95),
        ln_ppl_ratio: (!baseline).then_some(0.06),
        ln_ppl_ratio_stderr: (!baseline).then_some(0.01),
        dtype: "f32".into(),
        device: "cpu".into(),
        calibration: None,
        limit: None,
        skipped: None,
        version: "0.1.0 (test)".into(),
        err: None,
    }
}

/// The same cell on another data set.
pub(crate) fn on(dataset: &str, row: Row) -> Row {
    Row { dataset: dataset.into(), ..row }
}

/// Rows of a version that did not measure fidelity.
pub(crate) fn older(rows: &[Row]) -> Vec<Row> {
    let older = |row: &Row| Row { kl_mean: None, kl_stderr: None, top1: None, top1_stderr: None, ..row.clone() };
    rows.iter().map(older).collect()
}

/// The same cell, failed.
pub(crate) fn failed(row: Row, err: &str) -> Row {
    Row {
        ratio_elements: None,
        ratio_wire: None,
        wire_bytes_per_token: None,
        rel_error: None,
        questions: 0,
        acc: None,
        acc_stderr: None,
        acc_norm: None,
        acc_norm_stderr: None,
        chance: None,
        lost: None,
        gained: None,
        mcnemar_p: None,
        gold_loglik_change: None,
        gold_loglik_change_stderr: None,
        positions: None,
        kl_mean: None,
        kl_stderr: None,
        kl_median: None,
        kl_p90: None,
        kl_p99: None,
        kl_max: None,
        top1: None,
        top1_stderr: None,
        acceptance: None,
        ln_ppl_ratio: None,
        ln_ppl_ratio_stderr: None,
        err: Some(err.into()),
        ..row
    }
}

/// Two codecs on two sets, and one cell that failed.
pub(crate) fn two_codecs() -> Vec<Row> {
    vec![
        row("baseline", None, 0.7),
        row("fc", Some(8.0), 0.5),
        row("topk", Some(8.0), 0.6),
        on("piqa", row("baseline", None, 0.7)),
        on("piqa", row("fc", Some(8.0), 0.5)),
        on("piqa", failed(row("topk", Some(8.0), 0.0), "disk <full>")),
    ]
}
