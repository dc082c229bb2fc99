//! Each cell against the baseline on the same questions, as CSV.

use super::number::{csv_percent, field};
use super::view::{self, RowView};
use crate::record::table_file;
use crate::score::{holm, loss_interval};

/// One line a cell: accuracy here and there, answers lost and gained, McNemar p as it is and by Holm for all lines, the 95 % interval of
/// the points lost, change of the gold log-likelihood.
pub(super) fn csv(view: &RowView) -> String {
    let mut out = table_file::fields(
        "model,dataset,split_layer,scope,codec,ratio,accounting,questions,metric,baseline,accuracy,change,lost,gained,\
         mcnemar_p,holm_p,loss_low,loss_high,gold_loglik_change,err",
    );
    let cells: Vec<_> = view.rows.iter().filter(|row| !row.is_baseline()).collect();
    let tested: Vec<f64> = cells.iter().filter_map(|row| row.mcnemar_p).collect();
    let mut corrected = holm(&tested).into_iter();
    for row in cells {
        let baseline = view.baseline(&row.model, &row.dataset).and_then(view::accuracy).map(|cell| cell.value);
        let accuracy = view::accuracy(row).map(|cell| cell.value);
        let interval = row.lost.zip(row.gained).map(|(lost, gained)| loss_interval(lost, gained, row.questions));
        out.push(vec![
            row.model.clone(),
            row.dataset.clone(),
            field(row.split_layer),
            row.scope.clone(),
            row.codec.clone(),
            field(row.ratio_requested),
            row.accounting.clone(),
            row.questions.to_string(),
            row.metric.clone(),
            csv_percent(baseline),
            csv_percent(accuracy),
            csv_percent(accuracy.zip(baseline).map(|(here, there)| here - there)),
            field(row.lost),
            field(row.gained),
            field(row.mcnemar_p),
            field(row.mcnemar_p.and_then(|_| corrected.next())),
            csv_percent(interval.map(|[low, _]| low)),
            csv_percent(interval.map(|[_, high]| high)),
            field(row.gold_loglik_change),
            field(row.err.as_deref()),
        ]);
    }
    table_file::text(&out)
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
        let csv = csv(&RowView::new(&rows).unwrap());
        let lines: Vec<&str> = csv.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "pocket,arc_easy,1,prompt+choice,\"asvd:alpha=0.5,values=f32\",8,elements,100,acc,50.00,45.00,-5.00,7,2,0.1796875,0.1796875,-1.07,12.10,-0.5,",
                "pocket,arc_easy,1,prompt+choice,svd,8,elements,100,acc,50.00,,,,,,,,,,no convergence",
            ]
        );
        assert_eq!(csv.lines().next().unwrap().split(',').count(), lines[1].split(',').count());
    }
}
