//! Table III: methods side by side, each data set at its own ratio.

use std::fmt;

use super::caption::{self, Coverage};
use super::number::{self, MISSING};
use super::paper::NumberPlace;
use super::table::{Notes, Table, TableSection, stacked};
use super::view::{self, RowView, TableCut};
use super::{TableSet, fidelity, names, paper};
use crate::record::{Accuracy, Row, table_file};

/// All methods at one cut.
struct MethodGroup<'v, 'a> {
    view: &'v RowView<'a>,
    cut: TableCut,
    rows: Vec<&'a Row>,
    methods: Vec<&'a str>,
    place: NumberPlace,
    /// Whether rows have KL and top-1, and so the table.
    measured: bool,
}

/// One method of one model; no method is the baseline.
struct MethodLine<'a> {
    method: Option<&'a str>,
    cells: Vec<Option<&'a Row>>,
}

impl MethodLine<'_> {
    fn wire(&self) -> Option<f64> {
        view::geometric_mean(&self.cells, |row| row.ratio_wire)
    }
}

/// What a method loses against the baseline, averaged over the sets both have.
pub(super) struct AccuracyDrop {
    /// Points, and their paired standard error.
    pub points: f64,
    pub stderr: Option<f64>,
    pub sets: usize,
}

/// Table III for every cut of the rows; `place` is where the paper's numbers stand.
pub(super) fn table3(view: &RowView, place: NumberPlace) -> TableSet {
    let measured = fidelity::is_measured(view.rows);
    let groups: Vec<MethodGroup> = view
        .cuts()
        .into_iter()
        .map(|(cut, rows)| MethodGroup { view, cut, methods: view::codecs(&rows), rows, place, measured })
        .collect();
    let mut header = ["model", "method"].map(String::from).to_vec();
    for (suffix, more) in [
        ("", &["avg"][..]),
        ("_se", &["avg_se"]),
        ("_ratio", &["drop", "drop_se", "drop_sets", "ratio_wire", "split_layer", "scope", "accounting"]),
    ] {
        header.extend(view.datasets.iter().map(|name| format!("{name}{suffix}")));
        header.extend(more.iter().map(|name| name.to_string()));
    }
    header.extend(fidelity::CSV_COLUMNS.into_iter().filter(|_| measured).map(String::from));
    let mut csv = vec![header];
    groups.iter().for_each(|group| group.csv(&mut csv));
    TableSet { tables: groups.iter().map(MethodGroup::table).collect(), csv: table_file::text(&csv) }
}

impl<'a> MethodGroup<'_, 'a> {
    fn lines(&self, model: &'a str) -> Vec<MethodLine<'a>> {
        let datasets = &self.view.datasets;
        let line = |method: &&'a str| {
            let rows: Vec<&Row> = self.rows.iter().copied().filter(|row| row.codec == *method).collect();
            MethodLine {
                method: Some(*method),
                cells: datasets.iter().map(|name| chosen(&rows, model, name)).collect(),
            }
        };
        let baseline =
            MethodLine { method: None, cells: datasets.iter().map(|name| self.view.baseline(model, name)).collect() };
        self.methods.iter().map(line).chain([baseline]).collect()
    }

    /// The rows that are its cells: of several ratios one is shown.
    fn shown(&self) -> Vec<&'a Row> {
        let lines = self.view.models.iter().flat_map(|model| self.lines(model));
        lines.filter(|line| line.method.is_some()).flat_map(|line| line.cells).flatten().collect()
    }

    fn table(&self) -> Table {
        let mut notes = Notes::with_cells(&self.shown());
        let mut coverage = Coverage::of(self.view);
        let mut sections = vec![self.ratios()];
        for &model in &self.view.models {
            let lines = self.lines(model);
            let baseline = lines.last().map(|line| line.cells.clone()).unwrap_or_default();
            let mut rows = Vec::new();
            for line in &lines {
                line.cells.iter().for_each(|cell| coverage.count(*cell));
                let row = self.row(line, &baseline, &mut notes);
                match (self.place, self.paper_row(model, line)) {
                    (NumberPlace::Below, paper) => rows.extend([row].into_iter().chain(paper)),
                    (NumberPlace::Inside, Some(paper)) => rows.push(stacked(row, paper, "paper ")),
                    (NumberPlace::Inside, None) if line.method.is_none() => rows.push(row),
                    (NumberPlace::Inside, None) => rows.push(stacked(row, self.losses(line, &baseline), "")),
                }
            }
            sections.push(TableSection { name: self.view.name(model), rows });
        }
        let mut columns = vec!["model".to_string(), "method".into()];
        columns.extend(self.view.datasets.iter().map(|name| self.view.title(name)));
        columns.extend(["avg", "drop"].map(String::from));
        columns.extend(fidelity::COLUMNS.into_iter().filter(|_| self.measured).map(String::from));
        columns.push("wire".into());
        let ratio = match view::ratios(&self.rows)[..] {
            [one] if self.view.datasets.len() > 1 => format!("ratio {}", number::ratio(one)),
            _ => "each data set's ratio".into(),
        };
        let title = format!("Table III: accuracy (%) of each method at {ratio}, {}", caption::cut(&self.cut));
        Table { title, caption: self.caption(coverage), columns, sections, notes, ..Table::default() }
    }

    /// The header row of ratios: one number a set, several where models or methods differ.
    fn ratios(&self) -> TableSection {
        let ratios_of = |name: &&str| {
            let models = &self.view.models;
            let rows = models.iter().flat_map(|model| self.lines(model)).flat_map(|line| line.cells).flatten();
            let rows: Vec<&Row> = rows.filter(|row| row.dataset == *name).collect();
            let mut ratios = view::ratios(&rows);
            ratios.reverse();
            ratios
        };
        let all: Vec<Vec<f64>> = self.view.datasets.iter().map(ratios_of).collect();
        let text = |ratios: &Vec<f64>| match ratios.is_empty() {
            true => MISSING.to_string(),
            false => ratios.iter().map(|ratio| number::ratio(*ratio)).collect::<Vec<_>>().join("/"),
        };
        let mean = number::mean(all.iter().map(|ratios| (ratios.len() == 1).then(|| ratios[0])));
        let mut row = vec!["ratio".to_string()];
        row.extend(all.iter().map(text));
        row.push(mean.map_or(String::new(), number::tenths));
        row.extend(self.blank());
        TableSection { name: "asked for".into(), rows: vec![row] }
    }

    /// Nothing in the columns behind the average.
    fn blank(&self) -> Vec<String> {
        vec![String::new(); if self.measured { 2 + fidelity::COLUMNS.len() } else { 2 }]
    }

    fn row(&self, line: &MethodLine, baseline: &[Option<&Row>], notes: &mut Notes) -> Vec<String> {
        let mut row = vec![line.method.unwrap_or("baseline").to_string()];
        row.extend(line.cells.iter().map(|cell| notes.accuracy_cell(*cell)));
        row.push(number::average(&view::accuracies(&line.cells)).map_or(MISSING.into(), number::percent));
        if line.method.is_none() {
            row.extend(self.blank());
            return row;
        }
        row.push(match drop(&line.cells, baseline) {
            None => MISSING.into(),
            Some(found) => {
                let sets = self.view.datasets.len();
                let partly = format!("over the {} of {sets} sets that both have", found.sets);
                let mark = if found.sets < sets { format!(" {}", notes.mark(&partly)) } else { String::new() };
                format!("{found}{mark}")
            }
        });
        if self.measured {
            row.extend([fidelity::kl(&line.cells), fidelity::top1(&line.cells)]);
        }
        row.push(line.wire().map_or(MISSING.into(), |wire| format!("{wire:.2}")));
        row
    }

    /// The paper's numbers of a method where it was measured at the paper's ratio of the set.
    fn paper_row(&self, model: &str, line: &MethodLine) -> Option<Vec<String>> {
        let model = paper::model(model).filter(|_| self.cut.is_papers())?;
        let method = line.method.unwrap_or("baseline");
        let value = |(name, cell): (&&str, &Option<&Row>)| {
            let same = line.method.is_none() || cell.is_none_or(|row| row.ratio_requested == paper::table3_ratio(name));
            paper::table3(model, method, name).filter(|_| same)
        };
        let papers: Vec<Option<f64>> = self.view.datasets.iter().zip(&line.cells).map(value).collect();
        if papers.iter().all(Option::is_none) {
            return None;
        }
        let mut row = vec![format!("{method}, paper")];
        row.extend(paper::with_difference(&papers, &view::accuracies(&line.cells)));
        row.extend(self.blank());
        Some(row)
    }

    /// What a method of a model that is none of the paper's loses, and what it loses in the paper at the same ratio.
    fn losses(&self, line: &MethodLine, baseline: &[Option<&Row>]) -> Vec<String> {
        let paper = |(name, cell): (&&str, &Option<&Row>)| {
            let place = names::paper_place(name).filter(|_| self.cut.is_papers())?;
            let same = cell.is_some_and(|row| row.ratio_requested == paper::table3_ratio(names::DATASETS[place].0));
            line.method.filter(|_| same).and_then(|method| paper::loss3(method, name))
        };
        let papers: Vec<Option<f64>> = self.view.datasets.iter().zip(&line.cells).map(paper).collect();
        let cells = paper::losses(&line.cells, baseline, &papers);
        [String::new()].into_iter().chain(cells).chain(self.blank()).collect()
    }

    fn caption(&self, coverage: Coverage) -> Vec<String> {
        let mut out = vec!["Accuracy in per cent ± 1 standard error.".to_string()];
        out.push("avg: mean over the data sets, where all have the cell.".into());
        out.push(
            "drop: baseline minus method in points, mean over the sets, ± 1 paired standard error; positive is a loss."
                .into(),
        );
        out.extend(self.measured.then(|| fidelity::SENTENCE.into()));
        out.push("wire: raw f16 bytes over packet bytes as measured, geometric mean over the sets.".into());
        out.push(super::STAR.into());
        out.extend(self.power());
        let models = self.view.models.iter().copied();
        let has_paper = |model: &&str| self.lines(model).iter().any(|line| self.paper_row(model, line).is_some());
        let papers = models.clone().filter(has_paper).count();
        if self.place == NumberPlace::Inside {
            out.extend(paper::inside_sentences(papers > 0, papers < models.clone().count()));
        }
        if self.place == NumberPlace::Below {
            out.push(match papers {
                0 => "The paper has no numbers to set beside these: it has other models, data sets or another cut.".into(),
                _ => "Rows marked paper: its number at the same ratio, and in brackets ours minus the paper's; its avg is the mean of those numbers.".into(),
            });
        }
        let several =
            |method: &&str| self.rows.iter().filter(|row| row.codec == **method).any(|row| self.ambiguous(row));
        let several: Vec<&str> = self.methods.iter().filter(|method| several(method)).copied().collect();
        if !several.is_empty() {
            out.push(format!(
                "Several ratios a set were run for {}: the paper's of Table III is shown where it is among them, else the largest.",
                several.join(", ")
            ));
        }
        out.extend(coverage.sentence());
        out.extend(caption::provenance(self.view, &self.rows));
        out
    }

    /// How small a loss the table can see.
    fn power(&self) -> Option<String> {
        let mut means = Vec::new();
        for &model in &self.view.models {
            let lines = self.lines(model);
            let Some((baseline, lines)) = lines.split_last() else { continue };
            means.extend(lines.iter().filter_map(|line| drop(&line.cells, &baseline.cells)?.stderr));
        }
        caption::power(&self.shown(), &means)
    }

    fn ambiguous(&self, row: &Row) -> bool {
        let same = |other: &&&Row| other.model == row.model && other.dataset == row.dataset && other.codec == row.codec;
        self.rows.iter().filter(same).any(|other| other.ratio_requested != row.ratio_requested)
    }

    fn csv(&self, out: &mut Vec<Vec<String>>) {
        for &model in &self.view.models {
            let lines = self.lines(model);
            let baseline = lines.last().map(|line| line.cells.clone()).unwrap_or_default();
            for line in &lines {
                let cells = view::accuracies(&line.cells);
                let average = number::average(&cells);
                let all: Vec<Option<Accuracy>> = cells.into_iter().chain([average]).collect();
                let mut fields = vec![model.to_string(), line.method.unwrap_or("baseline").into()];
                fields.extend(all.iter().map(|cell| number::csv_percent(cell.map(|cell| cell.value))));
                fields.extend(all.iter().map(|cell| number::csv_percent(cell.map(|cell| cell.stderr))));
                fields.extend(line.cells.iter().map(|cell| number::field(cell.and_then(|row| row.ratio_requested))));
                let drop = drop(&line.cells, &baseline).filter(|_| line.method.is_some());
                fields.extend([
                    number::field_to(drop.as_ref().map(|drop| drop.points), 2),
                    number::field_to(drop.as_ref().and_then(|drop| drop.stderr), 2),
                    number::field(drop.map(|drop| drop.sets)),
                    number::field_to(line.wire().filter(|_| line.method.is_some()), 3),
                    number::field(self.cut.split_layer),
                    self.cut.scope.clone(),
                    self.cut.accounting.clone(),
                ]);
                fields.extend(fidelity::csv_fields(&line.cells).into_iter().filter(|_| self.measured));
                out.push(fields);
            }
        }
    }
}

/// The cell of a method: at the paper's ratio of the set where several ratios were run, else at the largest.
fn chosen<'a>(rows: &[&'a Row], model: &str, dataset: &str) -> Option<&'a Row> {
    let cells: Vec<&Row> = rows.iter().copied().filter(|row| row.model == model && row.dataset == dataset).collect();
    let ratios = view::ratios(&cells);
    let paper = names::paper_place(dataset).and_then(|at| paper::table3_ratio(names::DATASETS[at].0));
    let ratio = paper.filter(|ratio| ratios.contains(ratio)).or(ratios.first().copied());
    view::cell(&cells, model, dataset, ratio)
}

impl fmt::Display for AccuracyDrop {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let stderr = self.stderr.map(|se| format!(" ± {}", number::tenths(se))).unwrap_or_default();
        write!(f, "{}{stderr}", number::tenths(self.points))
    }
}

impl AccuracyDrop {
    /// With its 95 % interval, as of a normal distribution.
    pub fn with_interval(&self) -> String {
        let ends = self.stderr.map(|se| [-1.96, 1.96].map(|z| number::tenths(self.points + z * se)));
        let interval = ends.map(|[low, high]| format!(" [{low}, {high}]")).unwrap_or_default();
        format!("{}{interval}", number::tenths(self.points))
    }
}

/// Paired on the same questions: a set's variance follows from the answers lost and gained.
pub(super) fn drop(cells: &[Option<&Row>], baseline: &[Option<&Row>]) -> Option<AccuracyDrop> {
    let mut points = 0.0;
    let mut variance = Some(0.0);
    let mut sets = 0usize;
    for (cell, base) in cells.iter().zip(baseline) {
        let (Some(cell), Some(base)) = (cell, base) else { continue };
        let (Some(ours), Some(theirs)) = (view::accuracy(cell), view::accuracy(base)) else { continue };
        sets += 1;
        points += 100.0 * (theirs.value - ours.value);
        variance = variance.zip(paired_variance(cell)).map(|(sum, one)| sum + one);
    }
    let count = sets as f64;
    (sets > 0).then(|| AccuracyDrop {
        points: points / count,
        stderr: variance.map(|sum| 100.0 * sum.sqrt() / count),
        sets,
    })
}

/// Variance of the mean change of one set, each question changing by -1, 0 or 1.
pub(super) fn paired_variance(row: &Row) -> Option<f64> {
    let (lost, gained, n) = (row.lost? as f64, row.gained? as f64, row.questions as f64);
    (n > 1.0).then(|| ((lost + gained) / n - ((lost - gained) / n).powi(2)) / (n - 1.0))
}

#[cfg(test)]
#[path = "table3_tests.rs"]
mod tests;
