//! Rows in a fixed order, found by what they are.

use std::collections::HashMap;

use anyhow::{Result, bail};

use super::{names, number};
use crate::record::{Accuracy, Row};

/// Where and how the model was cut; cells of one table or figure share it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TableCut {
    pub split_layer: Option<u32>,
    pub scope: String,
    pub accounting: String,
}

impl TableCut {
    fn new(row: &Row) -> Self {
        Self { split_layer: row.split_layer, scope: row.scope.clone(), accounting: row.accounting.clone() }
    }

    /// Whether the paper's Tables II and III are about this cut: after layer 1, everything that crosses, elements.
    pub fn is_papers(&self) -> bool {
        self.split_layer == Some(1) && self.scope == "prompt+choice" && self.accounting == "elements"
    }
}

/// All rows, with models and codecs in the order they came and data sets in the paper's order, then others as they came.
pub(super) struct RowView<'a> {
    pub rows: &'a [Row],
    pub models: Vec<&'a str>,
    pub datasets: Vec<&'a str>,
    /// Models that are shown beside these, by other runs of a page.
    beside: &'a [String],
    /// Whether each codec has ratios of its own, as a search tried them.
    pub searched: bool,
    baselines: HashMap<(&'a str, &'a str), &'a Row>,
}

impl<'a> RowView<'a> {
    pub fn new(rows: &'a [Row]) -> Result<Self> {
        if rows.is_empty() {
            bail!("there are no rows to report on: run the experiment first (`splitbench run EXPERIMENT`)");
        }
        let models = distinct(rows.iter().map(|row| row.model.as_str()));
        let mut datasets = distinct(rows.iter().map(|row| row.dataset.as_str()));
        datasets.sort_by_key(|name| names::paper_place(name).unwrap_or(usize::MAX));
        let baselines = rows
            .iter()
            .filter(|row| row.is_baseline())
            .map(|row| ((row.model.as_str(), row.dataset.as_str()), row))
            .collect();
        Ok(Self { rows, models, datasets, beside: &[], searched: false, baselines })
    }

    /// The same on a page that shows these models too.
    pub fn among(self, beside: &'a [String]) -> Self {
        Self { beside, ..self }
    }

    /// The same of a search, where a ratio that one codec tried is not wanted of another.
    pub fn searched(self, searched: bool) -> Self {
        Self { searched, ..self }
    }

    /// What a model is called where it is shown.
    pub fn name(&self, model: &str) -> String {
        crate::model::short_name(model, self.models.iter().copied().chain(self.beside.iter().map(String::as_str)))
    }

    /// What a data set is called where it is shown.
    pub fn title(&self, dataset: &str) -> String {
        let row = self.rows.iter().find(|row| row.dataset == dataset);
        row.map_or_else(|| names::title(dataset), names::row_title)
    }

    /// The unsplit run of a model on a data set.
    pub fn baseline(&self, model: &'a str, dataset: &'a str) -> Option<&'a Row> {
        self.baselines.get(&(model, dataset)).copied()
    }

    /// The rows of codecs, cut by cut: by layer, then in the order they came. A row of a codec of fixed rate, which has no
    /// accounting, belongs to each cut that agrees in the rest.
    pub fn cuts(&self) -> Vec<(TableCut, Vec<&'a Row>)> {
        let rows = || self.rows.iter().filter(|row| !row.is_baseline());
        let all = distinct(rows().map(TableCut::new));
        let among =
            |cut: &TableCut, one: &TableCut| *one == TableCut { accounting: one.accounting.clone(), ..cut.clone() };
        let has_budget = |cut: &TableCut| all.iter().any(|one| !one.accounting.is_empty() && among(cut, one));
        let mut cuts: Vec<(TableCut, Vec<&'a Row>)> = all
            .iter()
            .filter(|cut| !cut.accounting.is_empty() || !has_budget(cut))
            .map(|cut| {
                let is_shown = |row: &&Row| {
                    let own = TableCut::new(row);
                    own == *cut || own.accounting.is_empty() && among(cut, &own)
                };
                (cut.clone(), rows().filter(is_shown).collect())
            })
            .collect();
        cuts.sort_by_key(|(cut, _)| cut.split_layer);
        cuts
    }
}

/// Accuracy of a finished cell; none where it failed or the number is not finite.
pub(super) fn accuracy(row: &Row) -> Option<Accuracy> {
    row.accuracy().filter(|cell| row.err.is_none() && cell.value.is_finite() && cell.stderr.is_finite())
}

/// Mean over cells, each weighing alike; none where one lacks it.
pub(super) fn mean(cells: &[Option<&Row>], value: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
    number::mean(cells.iter().map(|cell| cell.and_then(&value)))
}

/// Geometric mean over cells; none where one lacks it.
pub(super) fn geometric_mean(cells: &[Option<&Row>], value: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
    number::geometric_mean(cells.iter().map(|cell| cell.and_then(&value)))
}

/// Accuracies of cells, as [`accuracy`] has them.
pub(super) fn accuracies(cells: &[Option<&Row>]) -> Vec<Option<Accuracy>> {
    cells.iter().map(|cell| cell.and_then(accuracy)).collect()
}

/// Values without repeats, in the order they came.
pub(super) fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// Codecs of some rows, in the order they came.
pub(super) fn codecs<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
    distinct(rows.iter().map(|row| row.codec.as_str()))
}

/// Ratios asked for in some rows, largest first.
pub(super) fn ratios(rows: &[&Row]) -> Vec<f64> {
    let mut ratios = distinct(rows.iter().filter_map(|row| row.ratio_requested));
    ratios.sort_by(|a, b| b.total_cmp(a));
    ratios
}

/// The cell of a model and data set among some rows; a cell that came twice (a failed one run again) counts as it came last.
pub(super) fn cell<'a>(rows: &[&'a Row], model: &str, dataset: &str, ratio: Option<f64>) -> Option<&'a Row> {
    rows.iter()
        .rfind(|row| row.model == model && row.dataset == dataset && (ratio.is_none() || row.ratio_requested == ratio))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::row;

    #[test]
    fn only_finite_numbers_of_finished_cells_count() {
        let good = row("fc", Some(8.0), 0.5);
        assert!(accuracy(&good).is_some());
        assert_eq!(accuracy(&Row { err: Some("late".into()), ..good.clone() }), None);
        assert_eq!(accuracy(&Row { acc: Some(f64::NAN), ..good.clone() }), None);
        assert_eq!(accuracy(&Row { acc_stderr: Some(f64::INFINITY), ..good }), None);
    }

    #[test]
    fn order_and_last_of_a_repeated_cell() {
        let mut rows = vec![row("fc", Some(8.0), 0.1), row("baseline", None, 0.9), row("fc", Some(8.0), 0.2)];
        let mut own = row("topk", Some(6.0), 0.3);
        own.dataset = "own".into();
        own.split_layer = None;
        own.dataset_title = Some("My own".into());
        rows.insert(0, own);
        let view = RowView::new(&rows).unwrap();
        assert_eq!(view.datasets, ["arc_easy", "own"]);
        assert_eq!(["arc_easy", "own", "other"].map(|name| view.title(name)), ["ARC-Easy", "My own", "other"]);
        let cuts = view.cuts();
        assert_eq!(cuts.iter().map(|(cut, _)| cut.split_layer).collect::<Vec<_>>(), [None, Some(1)]);
        let fc = &cuts[1].1;
        assert_eq!(ratios(fc), [8.0]);
        assert_eq!(cell(fc, "pocket", "arc_easy", Some(8.0)).unwrap().acc, Some(0.2));
        assert!(cell(fc, "pocket", "own", Some(8.0)).is_none());
        assert_eq!(view.baseline("pocket", "arc_easy").unwrap().acc, Some(0.9));
        assert!(RowView::new(&[]).is_err());
    }
}
