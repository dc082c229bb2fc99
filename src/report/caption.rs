//! What a reader has to know beside the numbers: how the cells were made and how many are missing.

use super::view::{self, RowView, TableCut, distinct};
use super::{names, number};
use crate::clock::median;
use crate::record::Row;
use crate::score::{smallest_loss_seen, smallest_mean_seen};

/// How many cells a table or figure should have and how many it has.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Coverage {
    pub wanted: usize,
    pub failed: usize,
    pub absent: usize,
    /// Scored on one question, of which there is no standard error.
    pub single: usize,
    /// Whether cells are wanted only where they are, as in a search.
    searched: bool,
}

impl Coverage {
    /// Of nothing yet.
    pub fn of(view: &RowView) -> Self {
        Self { searched: view.searched, ..Self::default() }
    }

    /// Counts one cell of the grid.
    pub fn count(&mut self, cell: Option<&Row>) {
        if self.searched && cell.is_none() {
            return;
        }
        self.wanted += 1;
        match cell {
            None => self.absent += 1,
            Some(row) if view::accuracy(row).is_some() => {}
            Some(row) if row.err.is_none() && row.questions == 1 => self.single += 1,
            Some(_) => self.failed += 1,
        }
    }

    /// A sentence where something is missing.
    pub fn sentence(&self) -> Option<String> {
        let cells = format!("of {} cells", self.wanted);
        let of_cells = match (self.absent, self.failed) {
            (0, 0) => None,
            (0, failed) => Some(format!("{failed} {cells} failed and are left out.")),
            (absent, 0) => Some(format!("Partial: {absent} {cells} not run yet.")),
            (absent, failed) => Some(format!("Partial: {absent} {cells} not run yet, {failed} failed.")),
        };
        let single = (self.single > 0).then(|| {
            format!(
                "{} {cells} are of one question, of which there is no standard error, and are left out.",
                self.single
            )
        });
        of_cells.into_iter().chain(single).reduce(|a, b| a + " " + &b)
    }
}

/// `fc, split after layer 1, scope prompt+choice, ratios count elements`.
pub(super) fn cut(cut: &TableCut) -> String {
    let layer = cut.split_layer.map_or("no split".to_string(), |layer| format!("split after layer {layer}"));
    format!("{layer}, {}", counted(cut))
}

/// The same without the layer.
pub(super) fn counted(cut: &TableCut) -> String {
    let ratios = if cut.accounting.is_empty() { String::new() } else { format!(", ratios count {}", cut.accounting) };
    format!("scope {}{ratios}", cut.scope)
}

/// How small a loss cells can see, and means over data sets with these standard errors in points; nothing without a loss.
pub(super) fn power(cells: &[&Row], means: &[f64]) -> Option<String> {
    let flips = cells.iter().filter_map(|row| Some((row.lost?.saturating_add(row.gained?), row.questions)));
    let cells: Vec<f64> = flips
        .filter_map(|(changed, questions)| smallest_loss_seen(changed, questions))
        .map(|loss| 100.0 * loss)
        .collect();
    if cells.is_empty() {
        return None;
    }
    let means: Vec<f64> = means.iter().map(|stderr| smallest_mean_seen(*stderr)).filter(|loss| *loss > 0.0).collect();
    let mean = match means.is_empty() {
        true => String::new(),
        false => format!(", and one of {} points in the mean over the sets", number::tenths(median(&means))),
    };
    Some(format!(
        "Power: a loss of {} points in one cell{mean} is the smallest that a test at 5 % sees with 80 % probability (median; answers \
         changing as often as here).",
        number::tenths(median(&cells))
    ))
}

/// How a set of rows was made: types, metric, questions, data, version. One sentence each.
pub(super) fn provenance(view: &RowView, rows: &[&Row]) -> Vec<String> {
    let mut out = vec![format!("Arithmetic in f32, weights kept in {}.", list(rows, |row| row.dtype.clone()))];
    out.push(format!("Metric: {}.", by_dataset(view, rows, |row| row.metric.clone())));
    let done: Vec<&Row> = rows.iter().copied().filter(|row| row.questions > 0).collect();
    if !done.is_empty() {
        out.push(format!("Questions a set: {}.", by_dataset(view, &done, |row| row.questions.to_string())));
    }
    for limit in distinct(rows.iter().filter_map(|row| row.limit)) {
        out.push(format!("Limited to {limit} questions a set."));
    }
    let skipped =
        |row: &&Row| Some(format!("{} of {} ({})", row.skipped?, names::row_title(row), view.name(&row.model)));
    let skipped = distinct(rows.iter().copied().filter_map(|row| skipped(&row)));
    if !skipped.is_empty() {
        out.push(format!("Questions left out as longer than the model takes: {}.", skipped.join(", ")));
    }
    let mini = rows.iter().filter(|row| names::is_mini(&row.dataset)).count();
    out.push(match mini {
        0 => format!("Data: {}.", list(rows, |row| source(&row.data_source))),
        all if all == rows.len() => {
            "Data: the embedded mini sets, questions of this project and not the paper's.".into()
        }
        _ => "Data: partly the embedded mini sets (titles end in `mini`), which are not the paper's.".into(),
    });
    let changed = distinct(rows.iter().filter(|row| !row.data_verified).map(|row| names::row_title(row)));
    if !changed.is_empty() {
        out.push(format!("Rows differ from the registry's SHA-256: {}.", changed.join(", ")));
    }
    out.push(format!("splitbench {}.", list(rows, |row| row.version.clone())));
    out
}

/// A folder or file by its last part only: where it lay is no matter of the table.
fn source(data_source: &str) -> String {
    if data_source == "embedded" {
        return "embedded".into();
    }
    let last = data_source.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or(data_source);
    let kind = if last.ends_with(".jsonl") { "file" } else { "folder" };
    format!("{kind} `{last}`")
}

fn list(rows: &[&Row], what: impl Fn(&Row) -> String) -> String {
    distinct(rows.iter().map(|row| what(row))).join(", ")
}

/// One value when all share it, else `value (set, set), value (set)`; by model where each model has one value.
fn by_dataset(view: &RowView, rows: &[&Row], what: impl Fn(&Row) -> String) -> String {
    let values = distinct(rows.iter().map(|row| what(row)));
    if let [only] = values.as_slice() {
        return only.clone();
    }
    let pairs = distinct(rows.iter().map(|row| (row.model.as_str(), what(row))));
    let by_model = pairs.len() == distinct(pairs.iter().map(|pair| pair.0)).len();
    let label = |row: &Row| if by_model { view.name(&row.model) } else { names::row_title(row) };
    let parts = values.iter().map(|value| {
        let labels = distinct(rows.iter().filter(|row| what(row) == *value).map(|row| label(row)));
        format!("{value} ({})", labels.join(", "))
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::row;

    #[test]
    fn says_what_differs_between_sets() {
        let mut first = row("fc", Some(8.0), 0.5);
        first.data_source = "/home/somebody/datasets/".into();
        let mut second = first.clone();
        (second.dataset, second.metric, second.questions) = ("piqa".into(), "acc_norm".into(), 50);
        (second.data_verified, second.limit, second.skipped) = (false, Some(50), Some(3));
        let rows = [first.clone(), second.clone()];
        let view = RowView::new(&rows).unwrap();
        let text = provenance(&view, &[&first, &second]).join(" ");
        assert_eq!(
            text,
            "Arithmetic in f32, weights kept in f32. Metric: acc (ARC-Easy), acc_norm (PIQA). Questions a set: 100 (ARC-Easy), \
             50 (PIQA). Limited to 50 questions a set. Questions left out as longer than the model takes: 3 of PIQA (pocket). \
             Data: folder `datasets`. Rows differ from the registry's SHA-256: PIQA. \
             splitbench 0.1.0 (test)."
        );
        let other = Row { model: "/m/other.gguf".into(), questions: 50, ..first.clone() };
        let rows = [first.clone(), other];
        let text = provenance(&RowView::new(&rows).unwrap(), &[&rows[0], &rows[1]]).join(" ");
        assert!(text.contains("Questions a set: 100 (pocket), 50 (other)."), "{text}");
        first.dataset = "arc_easy-mini".into();
        assert!(provenance(&view, &[&first]).join(" ").contains("embedded mini sets, questions of this project"));
    }

    #[test]
    fn coverage_counts() {
        let good = row("fc", Some(8.0), 0.5);
        let mut failed = good.clone();
        (failed.acc, failed.err) = (None, Some("no".into()));
        let mut coverage = Coverage::default();
        coverage.count(Some(&good));
        assert_eq!(coverage.sentence(), None);
        coverage.count(Some(&failed));
        assert_eq!(coverage.sentence().unwrap(), "1 of 2 cells failed and are left out.");
        coverage.count(None);
        assert_eq!(coverage.sentence().unwrap(), "Partial: 1 of 3 cells not run yet, 1 failed.");
        let single = Row { questions: 1, acc_stderr: None, ..good };
        let mut coverage = Coverage::default();
        coverage.count(Some(&single));
        assert!(coverage.sentence().unwrap().starts_with("1 of 1 cells are of one question"));
    }
}
