//! Rows of several runs as of one, where they are of the same models, data and questions.

use anyhow::{Result, ensure};

use super::{ReportContext, ReportSpec};
use crate::record::Row;

/// A run by name, with what its folder holds.
pub struct PooledRun {
    /// As messages call it.
    pub name: String,
    /// What its tables are.
    pub report: ReportSpec,
    /// Its rows.
    pub rows: Vec<Row>,
    /// What lies beside them.
    pub context: ReportContext,
}

/// What is told apart by being another row: model, data set and cell.
fn key(row: &Row) -> impl PartialEq + '_ {
    (&row.model, &row.dataset, row.split_layer, &row.scope, &row.codec, row.ratio_requested, &row.accounting)
}

/// What two runs say of one row; by name where they may not differ.
fn facts(row: &Row) -> Vec<(&'static str, String)> {
    let number = |value: Option<f64>| value.map_or("unknown".into(), |value| value.to_string());
    let mut facts = vec![
        ("the hash of the model", row.model_sha256.clone()),
        ("the hash of the tokenizer", row.tokenizer_sha256.clone()),
        ("the hash of the data", row.data_sha256.clone()),
        ("the version of the prompts", row.prompt_version.to_string()),
        ("the definition of the data set", row.definition_sha256.clone().unwrap_or_default()),
        ("the metric", row.metric.clone()),
        ("the type of the weights", row.dtype.clone()),
    ];
    if row.err.is_none() {
        facts.extend([
            ("the number of questions", row.questions.to_string()),
            ("the number of questions left out", row.skipped.unwrap_or_default().to_string()),
            ("the accuracy", number(row.acc)),
            ("the accuracy by length", number(row.acc_norm)),
            ("bytes a token", number(row.wire_bytes_per_token)),
        ]);
    }
    facts
}

/// All rows, each once, and the tables that any of the runs has. Fails where two runs differ in a row that both have, as all runs of a
/// model on a data set have the unsplit model's. What lies beside the rows is left to each run's own report, but for the times of codecs.
pub fn pool(runs: Vec<PooledRun>) -> Result<PooledRun> {
    let name = runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(" and ");
    let mut all: Vec<(usize, Row)> = Vec::new();
    let mut report = ReportSpec { paired: false, ..ReportSpec::default() };
    let mut context = ReportContext::default();
    for (nth, run) in runs.iter().enumerate() {
        let wants = |report: &ReportSpec| report.table2 || report.near_lossless;
        let points = run.report.near_lossless_points;
        ensure!(
            !wants(&report) || !wants(&run.report) || points == report.near_lossless_points,
            "near_lossless_points is {} in {} and {points} in {}: their tables are apart; report on each alone",
            report.near_lossless_points,
            runs[0].name,
            run.name
        );
        if wants(&run.report) {
            report.near_lossless_points = points;
        }
        report.table2 |= run.report.table2;
        report.table3 |= run.report.table3;
        report.codecs |= run.report.codecs;
        report.by_ratio |= run.report.by_ratio;
        report.near_lossless |= run.report.near_lossless;
        report.paired |= run.report.paired;
        report.ratio_plot |= run.report.ratio_plot;
        report.layer_plot |= run.report.layer_plot;
        context.partial |= run.context.partial;
        context.times.extend(&run.context.times);
        for row in &run.rows {
            let Some((first, known)) = all.iter_mut().find(|(_, known)| key(known) == key(row)) else {
                all.push((nth, row.clone()));
                continue;
            };
            // A failed row has only some of the facts.
            for ((what, one), (_, other)) in facts(known).into_iter().zip(facts(row)) {
                ensure!(
                    one == other,
                    "{what} of {}, {}{} on {} is {one} in {} and {other} in {}: only runs of the same model, weights, data and \
                     questions share a table",
                    row.model,
                    row.codec,
                    row.ratio_requested.map(|ratio| format!(" at {ratio}")).unwrap_or_default(),
                    row.dataset,
                    runs[*first].name,
                    run.name
                );
            }
            if known.err.is_some() {
                (*first, *known) = (nth, row.clone());
            }
        }
    }
    let rows = all.into_iter().map(|(_, row)| row).collect();
    Ok(PooledRun { name, report, rows, context })
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::record::testing::{failed, on, row};

    fn run(name: &str, rows: &[Row]) -> PooledRun {
        let report = ReportSpec { codecs: true, ..ReportSpec::default() };
        PooledRun { name: name.into(), report, rows: rows.to_vec(), context: ReportContext::default() }
    }

    fn pooled(first: &[Row], second: &[Row]) -> Result<Vec<Row>> {
        pool(vec![run("one", first), run("two", second)]).map(|run| run.rows)
    }

    #[test]
    fn each_row_stands_once() {
        let base = row("baseline", None, 0.7);
        let (fc, topk) = (row("fc", Some(8.0), 0.5), row("topk", Some(4.0), 0.6));
        let other = |row: &Row| on("piqa", row.clone());
        let found =
            pooled(&[base.clone(), fc.clone()], &[base.clone(), topk.clone(), other(&base), fc.clone()]).unwrap();
        assert_eq!(found, [base.clone(), fc.clone(), topk, other(&base)]);
        // Another device and version are no other questions, and a cell that failed once is there if it did not fail elsewhere.
        let again = Row { device: "cuda:0".into(), version: "0.2.0".into(), ..base.clone() };
        let found = pooled(&[base.clone(), failed(fc.clone(), "no")], &[again, fc.clone()]).unwrap();
        assert_eq!(found, [base, fc]);
    }

    #[test]
    fn runs_of_other_questions_are_refused() {
        let base = row("baseline", None, 0.7);
        let refused = |other: Row, what: &str| {
            let message = pooled(from_ref(&base), &[other]).unwrap_err().to_string();
            assert!([what, "in one", "in two", "pocket"].iter().all(|part| message.contains(part)), "{message}");
        };
        refused(Row { questions: 50, ..base.clone() }, "number of questions");
        refused(Row { data_sha256: "e".into(), ..base.clone() }, "hash of the data");
        refused(Row { definition_sha256: Some("d".into()), ..base.clone() }, "definition of the data set");
        refused(Row { model_sha256: "n".into(), ..base.clone() }, "hash of the model");
        refused(Row { acc: Some(0.71), ..base.clone() }, "accuracy");
        let fc = row("fc", Some(8.0), 0.5);
        let message = pooled(from_ref(&fc), &[Row { acc: Some(0.25), ..fc.clone() }]).unwrap_err().to_string();
        assert!(message.contains("accuracy of pocket, fc at 8 on arc_easy is 0.5"), "{message}");
    }

    #[test]
    fn tables_of_any_run_are_made_but_not_at_two_limits() {
        let rows = [row("baseline", None, 0.7)];
        let mut second = run("two", &rows);
        (second.report.table2, second.report.near_lossless_points) = (true, 1.0);
        let found = pool(vec![run("one", &rows), second]).unwrap().report;
        assert!(found.codecs && found.table2 && found.near_lossless_points == 1.0);
        let [mut one, mut two] = ["one", "two"].map(|name| run(name, &rows));
        (one.report.table2, two.report.near_lossless, two.report.near_lossless_points) = (true, true, 1.0);
        assert!(
            pool(vec![one, two]).is_err_and(|error| error.to_string().contains("near_lossless_points is 0.3 in one"))
        );
    }
}
