//! The table of near-lossless ratios, each with what the questions cannot tell from it.

use super::number::{field, signed};
use super::table::{Table, TableSection};
use super::view::RowView;
use super::{TableSet, names};
use crate::record::{Row, table_file};
use crate::score::{Bound, Largest, RatioTrial, largest};

/// One model, data set, cut and codec.
struct RatioSearch<'a> {
    /// Any of its rows.
    row: &'a Row,
    tried: Vec<RatioTrial>,
}

impl RatioSearch<'_> {
    fn cut(&self) -> String {
        format!("{}, {}", self.row.split_layer.unwrap_or_default(), self.row.scope)
    }
}

fn searched<'a>(rows: &'a [Row]) -> Vec<RatioSearch<'a>> {
    let mut out: Vec<RatioSearch> = Vec::new();
    let place = |row: &'a Row| (&row.model, &row.dataset, row.split_layer, &row.scope, &row.codec, &row.accounting);
    for row in rows {
        let Some(one) = row.tried() else { continue };
        match out.iter_mut().find(|known| place(known.row) == place(row)) {
            Some(known) => known.tried.push(one),
            None => out.push(RatioSearch { row, tried: vec![one] }),
        }
    }
    out
}

/// A bound in words: what holds, or on which side of all ratios tried it lies.
fn words(bound: Bound) -> String {
    match (bound.holds, bound.fails) {
        (Some(holds), Some(_)) => holds.to_string(),
        (Some(holds), None) => format!("≥ {holds}"),
        (None, Some(fails)) => format!("< {fails}"),
        (None, None) => String::new(),
    }
}

pub(super) fn table(view: &RowView, points: f64) -> TableSet {
    let all = searched(view.rows);
    let mut csv = table_file::fields(
        "model,dataset,split_layer,scope,codec,accounting,points,ratio,ratio_above,sure,sure_above,possible,possible_above,\
         lost,gained,questions,ratios_tried",
    );
    let mut table = Table {
        title: format!("Near-lossless ratio: the largest that loses at most {points} points"),
        caption: vec![
            "ratio: the largest tried whose loss on these questions is no more; the search narrows it to 2 %, trusting that \
             losses grow with the ratio, and where they do not, the largest counts."
                .into(),
            "95 % interval: from the largest ratio at which the interval of the loss (Tango's score interval of the paired \
             difference) lies wholly within the points, to the largest at which any of it does. A lower end below all \
             ratios tried says that so few questions cannot show a loss to be that small."
                .into(),
            "loss: points at that ratio, and their interval.".into(),
        ],
        columns: ["model", "data set", "codec", "after layer", "counts", "ratio", "95 % interval", "loss", "questions", "tried"]
            .map(String::from)
            .to_vec(),
        ..Table::default()
    };
    for one in &all {
        let row = one.row;
        let Largest { measured, sure, possible } = largest(&one.tried, points);
        let held = one.tried.iter().find(|tried| Some(tried.ratio) == measured.holds);
        let loss = held.map_or(String::new(), |tried| {
            let [low, high] = tried.interval().map(|share| signed(100.0 * share));
            format!("{} ({low} to {high})", signed(100.0 * tried.loss()))
        });
        let cells = vec![
            names::row_title(row),
            row.codec.clone(),
            one.cut(),
            row.accounting.clone(),
            words(measured),
            format!("{} to {}", words(sure), words(possible)),
            loss,
            row.questions.to_string(),
            one.tried.len().to_string(),
        ];
        let name = view.name(&row.model);
        match table.sections.iter_mut().find(|section| section.name == name) {
            Some(section) => section.rows.push(cells),
            None => table.sections.push(TableSection { name, rows: vec![cells] }),
        }
        let mut fields = vec![
            row.model.clone(),
            row.dataset.clone(),
            row.split_layer.unwrap_or_default().to_string(),
            row.scope.clone(),
            row.codec.clone(),
            row.accounting.clone(),
            points.to_string(),
        ];
        fields.extend([measured, sure, possible].into_iter().flat_map(|b| [b.holds, b.fails]).map(field));
        fields.extend([field(held.map(|tried| tried.paired.lost)), field(held.map(|tried| tried.paired.gained))]);
        fields.extend([row.questions.to_string(), one.tried.len().to_string()]);
        csv.push(fields);
    }
    TableSet { tables: if all.is_empty() { Vec::new() } else { vec![table] }, csv: table_file::text(&csv) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::row;

    #[test]
    fn each_codec_of_each_set_has_its_ratio_and_interval() {
        let mut rows = Vec::new();
        for (ratio, lost) in [(1.0, 0), (2.0, 3), (2.5, 40), (4.0, 700)] {
            rows.push(Row {
                ratio_requested: Some(ratio),
                lost: Some(lost),
                gained: Some(0),
                mcnemar_p: Some(1.0),
                questions: 2376,
                ..row("fc", Some(1.0), 0.5)
            });
        }
        rows.push(Row { err: Some("x".into()), lost: None, ratio_requested: Some(9.0), ..row("fc", Some(1.0), 0.5) });
        let made = |rows: &[Row]| table(&RowView::new(rows).unwrap(), 0.3);
        let TableSet { tables, csv } = made(&rows);
        let text = tables[0].markdown();
        assert!(text.contains("| 2 | 1 to 2 |"), "{text}");
        assert!(csv.lines().nth(1).unwrap().contains(",0.3,2,2.5,1,2,2,2.5,3,0,2376,4"), "{csv}");
        assert!(made(&rows[..1]).tables[0].markdown().contains("≥ 1"));
        assert!(made(&rows[3..4]).tables[0].markdown().contains("| &lt; 4 |"));
        assert!(made(&[row("baseline", None, 0.5)]).tables.is_empty());
    }
}
