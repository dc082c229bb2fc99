//! KL and lost accuracy by compression ratio, a row for each codec and scope: which of many readings would have to be true.

use super::TableSet;
use super::caption::{self, Coverage};
use super::codecs::{CodecLine, CodecPlace, places};
use super::fidelity::{digits, mean_kl};
use super::number::{self, MISSING};
use super::table::{Table, TableSection};
use super::table3;
use super::view::{self, RowView, distinct};
use crate::record::{Row, table_file};

/// KL, nats a position, that is called near-lossless here: what docs/perplexity-and-gate.md asks `splitbench gate` for.
const NEAR_LOSSLESS_KL: f64 = 0.01;

/// The mean of the ratios in the paper's Table III, at which rows are ordered and what was sent is shown.
const PAPER_MEAN: f64 = 7.6;

/// One codec under one scope, at every ratio.
struct Reading<'a> {
    codec: &'a str,
    scope: &'a str,
    lines: Vec<CodecLine<'a>>,
}

impl Reading<'_> {
    fn line_at(&self, ratio: f64) -> Option<&CodecLine<'_>> {
        self.lines.iter().find(|line| line.ratio == Some(ratio))
    }

    fn kl(&self, ratio: f64) -> Option<f64> {
        self.line_at(ratio)?.mean(|row| row.kl_mean)
    }

    /// The largest ratio of its own up to which the KL is near-lossless, or that it is not at the smallest; `ratios` ascend.
    fn near_lossless(&self, ratios: &[f64]) -> String {
        let mut tried =
            ratios.iter().filter(|ratio| self.line_at(**ratio).is_some()).map(|ratio| (*ratio, self.kl(*ratio)));
        let near = tried.clone().take_while(|(_, kl)| kl.is_some_and(|kl| kl <= NEAR_LOSSLESS_KL)).last();
        match (near, tried.next()) {
            (Some((ratio, _)), _) => number::ratio(ratio),
            (None, Some((smallest, Some(_)))) => format!("< {}", number::ratio(smallest)),
            _ => MISSING.into(),
        }
    }

    /// The ratio in elements that the activation itself was sent at.
    fn sent(&self, ratio: f64) -> Option<f64> {
        self.line_at(ratio)?.geometric_mean(|row| row.ratio_elements)
    }
}

/// A table of KL and one of lost points for each model, split layer and accounting.
pub(super) fn by_ratio(view: &RowView) -> TableSet {
    let places = places(view);
    let mut csv = table_file::fields(
        "model,split_layer,scope,codec,accounting,ratio,ratio_elements,ratio_wire,kl,kl_se,top1,drop,drop_se",
    );
    let mut tables = Vec::new();
    let key = |place: &CodecPlace| (place.model.to_string(), place.split_layer);
    for (model, split_layer) in distinct(places.iter().map(key)) {
        let cut: Vec<&CodecPlace> = places.iter().filter(|place| key(place) == (model.clone(), split_layer)).collect();
        let has_ratio = |place: &&&Row| !place.accounting.is_empty();
        let accountings = distinct(
            cut.iter().flat_map(|place| place.rows.iter().filter(has_ratio).map(|row| row.accounting.as_str())),
        );
        for accounting in accountings {
            tables.extend(pair(view, &cut, accounting, &mut csv));
        }
    }
    TableSet { tables, csv: table_file::text(&csv) }
}

fn pair(view: &RowView, places: &[&CodecPlace], accounting: &str, csv: &mut Vec<Vec<String>>) -> Vec<Table> {
    let Some(first) = places.first() else { return Vec::new() };
    let mut readings: Vec<Reading> = Vec::new();
    for place in places {
        for line in place.lines().into_iter().filter(|line| line.accounting == accounting) {
            match readings.iter_mut().find(|one| (one.codec, one.scope) == (line.codec, place.scope)) {
                Some(reading) => reading.lines.push(line),
                None => readings.push(Reading { codec: line.codec, scope: place.scope, lines: vec![line] }),
            }
        }
    }
    let mut ratios = distinct(readings.iter().flat_map(|reading| &reading.lines).filter_map(|line| line.ratio));
    ratios.sort_by(f64::total_cmp);
    let nearest = |a: &f64, b: &f64| (a / PAPER_MEAN).ln().abs().total_cmp(&(b / PAPER_MEAN).ln().abs());
    let Some(paper) = ratios.iter().copied().min_by(nearest) else { return Vec::new() };
    let order = |reading: &Reading| reading.kl(paper).unwrap_or(f64::INFINITY);
    readings.sort_by(|a, b| order(a).total_cmp(&order(b)));

    let baseline = first.baseline();
    let mut coverage = Coverage::of(view);
    let (mut of_kl, mut of_drop) = (Vec::new(), Vec::new());
    for reading in &readings {
        let label = || vec![reading.codec.to_string(), reading.scope.to_string()];
        let (mut kl_row, mut drop_row) = (label(), label());
        for &ratio in &ratios {
            let line = reading.line_at(ratio);
            let cells = line.map_or_else(|| vec![None; view.datasets.len()], |line| line.cells.clone());
            cells.iter().for_each(|cell| coverage.count(*cell));
            let kl = mean_kl(&cells);
            kl_row.push(kl.map_or(MISSING.into(), |kl| digits(kl.value)));
            let drop = table3::drop(&cells, &baseline).filter(|drop| drop.sets == cells.len());
            drop_row.push(drop.as_ref().map_or(MISSING.into(), |drop| drop.to_string()));
            let text = |value: Option<f64>| number::field(value.map(|v| format!("{v:e}")));
            let wire = view::geometric_mean(&cells, |row| row.ratio_wire);
            csv.push(vec![
                first.model.into(),
                number::field(first.split_layer),
                reading.scope.into(),
                reading.codec.into(),
                accounting.to_string(),
                number::ratio(ratio),
                text(reading.sent(ratio)),
                text(wire),
                text(kl.map(|kl| kl.value)),
                text(kl.and_then(|kl| kl.stderr)),
                text(line.and_then(|line| line.mean(|row| row.top1))),
                text(drop.as_ref().map(|drop| drop.points)),
                text(drop.and_then(|drop| drop.stderr)),
            ]);
        }
        kl_row.push(reading.near_lossless(&ratios));
        kl_row.push(reading.sent(paper).map_or(MISSING.into(), |ratio| format!("{ratio:.2}")));
        of_kl.push(kl_row);
        of_drop.push(drop_row);
    }
    let cut = first.split_layer.map_or("no split".to_string(), |layer| format!("split after layer {layer}"));
    let provenance = || -> Vec<String> {
        let rows: Vec<&Row> = places.iter().flat_map(|place| place.rows.iter().copied()).collect();
        coverage.sentence().into_iter().chain(caption::provenance(view, &rows)).collect()
    };
    let name = first.name();
    let table = |what: &str, about: String, more: &[String], rows: Vec<Vec<String>>| {
        let head = ["model", "codec", "scope"].map(String::from);
        Table {
            title: format!("{what} of {name} by ratio, {cut}, ratios count {accounting}"),
            caption: std::iter::once(about).chain(provenance()).collect(),
            columns: head
                .into_iter()
                .chain(ratios.iter().map(|r| number::ratio(*r)))
                .chain(more.iter().cloned())
                .collect(),
            // The scope.
            keys: 1,
            sections: vec![TableSection { name: name.clone(), rows }],
            ..Table::default()
        }
    };
    let paper_text = number::ratio(paper);
    let about_kl = format!(
        "Mean of KL(unsplit || codec) per scored position, nats, over the data sets, each weighing alike; rows in the order of \
         their KL at {paper_text}. near-lossless: the largest ratio up to which it is at most {NEAR_LOSSLESS_KL}. sent at \
         {paper_text}: numbers of the activation over numbers in the packet, as measured."
    );
    let about_drop = "Baseline minus codec in points of accuracy, mean over the data sets, ± 1 paired standard error; positive is a \
                      loss. Rows in the order of the table before."
        .to_string();
    vec![
        table("KL", about_kl, &["near-lossless".into(), format!("sent at {paper_text}")], of_kl),
        table("Lost accuracy", about_drop, &[], of_drop),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::row;

    #[test]
    fn rows_are_ordered_and_the_last_near_lossless_ratio_is_told() {
        let sized = |codec: &str, scope: &str, ratio: f64, kl: f64| Row {
            kl_mean: Some(kl),
            kl_stderr: Some(0.001),
            scope: scope.into(),
            ratio_elements: Some(ratio / 2.0),
            ..row(codec, Some(ratio), 0.5)
        };
        let rows = [
            row("baseline", None, 0.7),
            sized("fc", "prompt", 2.0, 0.004),
            sized("fc", "prompt", 4.0, 0.02),
            sized("fc", "prompt", 7.6, 2.0),
            sized("fc", "question", 2.0, 0.002),
            sized("fc", "question", 4.0, 0.01),
            sized("fc", "question", 7.6, 0.5),
            sized("topk", "prompt", 2.0, 0.5),
            sized("topk", "prompt", 4.0, 0.001),
            sized("topk", "prompt", 7.6, 1.0),
        ];
        let rendered = by_ratio(&RowView::new(&rows).unwrap());
        let table = |nth: usize| &rendered.tables[nth].sections[0].rows;
        let labels: Vec<[&str; 2]> = table(0).iter().map(|row| [row[0].as_str(), row[1].as_str()]).collect();
        assert_eq!(labels, [["fc", "question"], ["topk", "prompt"], ["fc", "prompt"]]);
        assert_eq!(table(0)[0][2..], ["0.00200", "0.0100", "0.500", "4", "3.80"]);
        // What is near again after it was not does not count.
        assert_eq!(table(0)[1][5], "< 2");
        assert_eq!(table(0)[2][5], "2");
        assert!(table(1)[0][2].starts_with("20.0"), "{:?}", table(1)[0]);
        assert_eq!(rendered.csv.lines().count(), 1 + 9);
    }

    #[test]
    fn a_ratio_that_was_not_run_is_not_one_that_was_lost() {
        let sized = |codec: &str, ratio: f64, kl: Option<f64>| Row { kl_mean: kl, ..row(codec, Some(ratio), 0.5) };
        let rows = [
            row("baseline", None, 0.7),
            sized("topk", 2.0, Some(0.5)),
            sized("topk", 8.0, Some(0.9)),
            sized("int", 4.0, Some(0.001)),
            sized("int", 8.0, Some(0.02)),
            sized("qr", 4.0, Some(0.2)),
            sized("svd", 4.0, None),
            sized("svd", 8.0, Some(0.001)),
        ];
        let rendered = by_ratio(&RowView::new(&rows).unwrap());
        let found: Vec<(&str, &str)> =
            rendered.tables[0].sections[0].rows.iter().map(|row| (row[0].as_str(), row[5].as_str())).collect();
        assert_eq!(found, [("svd", "–"), ("int", "4"), ("topk", "< 2"), ("qr", "< 4")]);
    }
}
