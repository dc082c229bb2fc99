//! Each cell against the baseline on the same questions, as CSV.

use super::number::{csv_field, csv_percent};
use super::view::{self, View};

/// One line a cell: accuracy here and there, answers lost and gained, McNemar p, change of the gold log-likelihood.
pub(super) fn csv(view: &View) -> String {
    let mut out = String::from(
        "model,dataset,split_layer,scope,codec,ratio,accounting,questions,metric,baseline,accuracy,change,lost,gained,\
         mcnemar_p,gold_loglik_change,err\n",
    );
    for row in view.rows.iter().filter(|row| !row.is_baseline()) {
        let baseline = view.baseline(&row.model, &row.dataset).and_then(view::accuracy).map(|cell| cell.value);
        let accuracy = view::accuracy(row).map(|cell| cell.value);
        let fields = [
            csv_field(&row.model),
            csv_field(&row.dataset),
            optional(row.split_layer),
            csv_field(&row.scope),
            csv_field(&row.codec),
            optional(row.ratio_requested),
            csv_field(&row.accounting),
            row.questions.to_string(),
            csv_field(&row.metric),
            csv_percent(baseline),
            csv_percent(accuracy),
            csv_percent(accuracy.zip(baseline).map(|(here, there)| here - there)),
            optional(row.lost),
            optional(row.gained),
            optional(row.mcnemar_p),
            optional(row.gold_loglik_change),
            csv_field(row.err.as_deref().unwrap_or_default()),
        ];
        out += &(fields.join(",") + "\n");
    }
    out
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::row;

    #[test]
    fn one_line_a_cell() {
        let mut cell = row("asvd:alpha=0.5,values=f32", Some(8.0), 0.45);
        (cell.lost, cell.gained, cell.mcnemar_p, cell.gold_loglik_change) =
            (Some(7), Some(2), Some(0.1796875), Some(-0.5));
        let mut failed = row("svd", Some(8.0), 0.5);
        (failed.acc, failed.lost, failed.err) = (None, None, Some("no convergence".into()));
        (failed.gained, failed.mcnemar_p, failed.gold_loglik_change) = (None, None, None);
        let rows = [row("baseline", None, 0.5), cell, failed];
        let csv = csv(&View::new(&rows).unwrap());
        let lines: Vec<&str> = csv.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "pocket,arc_easy,1,prompt+choice,\"asvd:alpha=0.5,values=f32\",8,elements,100,acc,50.00,45.00,-5.00,7,2,0.1796875,-0.5,",
                "pocket,arc_easy,1,prompt+choice,svd,8,elements,100,acc,50.00,,,,,,,no convergence",
            ]
        );
        assert_eq!(csv.lines().next().unwrap().split(',').count(), lines[1].split(',').count());
    }
}
