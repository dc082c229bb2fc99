//! Table II: accuracy of one codec at each ratio, down to the near-lossless ratio of each data set. A codec of fixed rate
//! has one line.

use super::caption::{self, Coverage};
use super::near_lossless::{near_lossless, near_lossless_text};
use super::number::{self, MISSING};
use super::paper::NumberPlace;
use super::table::{Notes, Table, TableSection, stacked};
use super::view::{self, RowView, TableCut};
use super::{TableSet, fidelity, names, paper};
use crate::record::{Accuracy, Row, table_file};
use crate::score::Bound;

/// One codec at one cut.
struct RatioGroup<'v, 'a> {
    view: &'v RowView<'a>,
    cut: TableCut,
    codec: &'a str,
    rows: Vec<&'a Row>,
    ratios: Vec<f64>,
    points: f64,
    place: NumberPlace,
    /// Whether rows have KL, and so the table.
    measured: bool,
}

/// A row of the table: a ratio, none for a codec of fixed rate, or the baseline.
struct RatioLine<'a> {
    ratio: Option<f64>,
    baseline: bool,
    cells: Vec<Option<&'a Row>>,
}

impl RatioLine<'_> {
    fn label(&self) -> String {
        let otherwise = if self.baseline { "baseline" } else { "fixed" };
        self.ratio.map_or(otherwise.into(), number::ratio)
    }

    /// Geometric mean over the sets: over all, or in a search over those that were tried at this ratio.
    fn mean(&self, view: &RowView, what: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        let cells: Vec<Option<&Row>> =
            self.cells.iter().copied().filter(|cell| cell.is_some() || !view.searched).collect();
        view::geometric_mean(&cells, what)
    }
}

/// Table II for every codec and cut of the rows; `points` is the loss that still counts as near-lossless, `place` where the paper's
/// numbers stand.
pub(super) fn table2(view: &RowView, points: f64, place: NumberPlace) -> TableSet {
    let measured = fidelity::is_measured(view.rows);
    let mut groups = Vec::new();
    for (cut, rows) in view.cuts() {
        for codec in view::codecs(&rows) {
            let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.codec == codec).collect();
            groups.push(RatioGroup {
                view,
                cut: cut.clone(),
                codec,
                ratios: view::ratios(&rows),
                rows,
                points,
                place,
                measured,
            });
        }
    }
    let with_paper = groups.iter().any(|group| view.models.iter().any(|model| group.paper_model(model).is_some()));
    let mut csv = vec![header(view, with_paper, measured)];
    for group in &groups {
        group.csv(&mut csv, with_paper);
    }
    TableSet { tables: groups.iter().map(RatioGroup::table).collect(), csv: table_file::text(&csv) }
}

fn header(view: &RowView, with_paper: bool, measured: bool) -> Vec<String> {
    let mut columns = vec!["model".to_string(), "ratio".into()];
    columns.extend(view.datasets.iter().map(|name| name.to_string()));
    columns.push("avg".into());
    columns.extend(view.datasets.iter().map(|name| format!("{name}_se")));
    columns.extend(
        ["avg_se", "ratio_elements", "ratio_wire", "codec", "split_layer", "scope", "accounting"].map(String::from),
    );
    if with_paper {
        columns.extend(view.datasets.iter().map(|name| format!("{name}_paper")));
    }
    columns.extend(fidelity::CSV_COLUMNS.into_iter().filter(|_| measured).map(String::from));
    columns
}

impl<'a> RatioGroup<'_, 'a> {
    /// The paper's name of a model whose numbers belong beside this table: FC at the paper's cut, on sets it has.
    fn paper_model(&self, model: &str) -> Option<&'static str> {
        let comparable = self.cut.is_papers() && names::codec_base(self.codec) == "fc";
        let named = paper::model(model).filter(|_| comparable)?;
        self.view.datasets.iter().any(|name| paper::table2(named, None, name).is_some()).then_some(named)
    }

    fn lines(&self, model: &'a str) -> Vec<RatioLine<'a>> {
        let datasets = &self.view.datasets;
        let at = |ratio: Option<f64>| RatioLine {
            ratio,
            baseline: false,
            cells: datasets.iter().map(|name| view::cell(&self.rows, model, name, ratio)).collect(),
        };
        let cells = datasets.iter().map(|name| self.view.baseline(model, name)).collect();
        let baseline = RatioLine { ratio: None, baseline: true, cells };
        let ratios = self.ratios.iter().copied().map(Some);
        let fixed = self.ratios.is_empty().then_some(None);
        ratios.chain(fixed).map(at).chain([baseline]).collect()
    }

    /// The near-lossless ratio of every data set, then of the average.
    fn near_lossless(&self, lines: &[RatioLine]) -> Vec<Option<Bound>> {
        let columns: Vec<(&RatioLine, Vec<Option<Accuracy>>)> = lines
            .iter()
            .map(|line| {
                let cells = view::accuracies(&line.cells);
                let average = number::average(&cells);
                (line, cells.into_iter().chain([average]).collect())
            })
            .collect();
        (0..=self.view.datasets.len())
            .map(|at| {
                let percent = |cells: &[Option<Accuracy>]| cells[at].map(|cell| 100.0 * cell.value);
                let baseline = columns.iter().find(|(line, _)| line.baseline).and_then(|(_, cells)| percent(cells))?;
                let tried = columns.iter().filter_map(|(line, cells)| Some((line.ratio?, percent(cells)?)));
                near_lossless(baseline, &tried.collect::<Vec<_>>(), self.points)
            })
            .collect()
    }

    fn table(&self) -> Table {
        let mut notes = Notes::with_cells(&self.rows);
        let mut coverage = Coverage::of(self.view);
        let mut sections = Vec::new();
        let mut all_near: Vec<Vec<Option<Bound>>> = Vec::new();
        for &model in &self.view.models {
            let lines = self.lines(model);
            let mut rows = Vec::new();
            for line in &lines {
                line.cells.iter().for_each(|cell| coverage.count(*cell));
                let row = self.row(line, &mut notes);
                match (self.place, self.paper_row(model, line)) {
                    (NumberPlace::Below, paper) => rows.extend([row].into_iter().chain(paper)),
                    (NumberPlace::Inside, Some(paper)) => rows.push(stacked(row, paper, "paper ")),
                    (NumberPlace::Inside, None) if line.baseline => rows.push(row),
                    (NumberPlace::Inside, None) => rows.push(stacked(row, self.losses(model, line), "")),
                }
            }
            rows.push(self.chance_row(model));
            let near = self.near_lossless(&lines);
            let text = |found: &Option<Bound>| found.map_or(MISSING.to_string(), near_lossless_text);
            rows.push(
                ["near-lossless".to_string()].into_iter().chain(near.iter().map(text)).chain(self.blank()).collect(),
            );
            sections.push(TableSection { name: self.view.name(model), rows });
            all_near.push(near);
        }
        if all_near.len() > 1 {
            sections.push(self.models_section(&all_near));
        }
        let mut columns = vec!["model".to_string(), "ratio".into()];
        columns.extend(self.view.datasets.iter().map(|name| self.view.title(name)));
        columns.push("avg".into());
        columns.extend(self.measured.then(|| fidelity::COLUMNS[0].into()));
        columns.push("wire".into());
        let title =
            format!("Table II: accuracy (%) of {} by compression ratio, {}", self.codec, caption::cut(&self.cut));
        Table { title, caption: self.caption(coverage), columns, sections, notes, ..Table::default() }
    }

    /// Nothing in the columns behind the average.
    fn blank(&self) -> Vec<String> {
        vec![String::new(); 1 + usize::from(self.measured)]
    }

    fn row(&self, line: &RatioLine, notes: &mut Notes) -> Vec<String> {
        let mut row = vec![line.label()];
        row.extend(line.cells.iter().map(|cell| notes.accuracy_cell(*cell)));
        row.push(number::average(&view::accuracies(&line.cells)).map_or(MISSING.into(), number::percent));
        if self.measured {
            row.push(if line.baseline { String::new() } else { fidelity::kl(&line.cells) });
        }
        row.push(match line.baseline {
            true => String::new(),
            false => line.mean(self.view, |row| row.ratio_wire).map_or(MISSING.into(), |wire| format!("{wire:.2}")),
        });
        row
    }

    /// The paper's numbers of a line, with ours minus the paper's in brackets.
    fn paper_row(&self, model: &str, line: &RatioLine) -> Option<Vec<String>> {
        let model = self.paper_model(model)?;
        let papers: Vec<Option<f64>> =
            self.view.datasets.iter().map(|name| paper::table2(model, line.ratio, name)).collect();
        if papers.iter().all(Option::is_none) {
            return None;
        }
        let mut row = vec![format!("{}, paper", line.label())];
        row.extend(paper::with_difference(&papers, &view::accuracies(&line.cells)));
        row.extend(self.blank());
        Some(row)
    }

    /// What a line of a model that is none of the paper's loses, and what FC loses there in the paper.
    fn losses(&self, model: &'a str, line: &RatioLine) -> Vec<String> {
        let datasets = &self.view.datasets;
        let baseline: Vec<Option<&Row>> = datasets.iter().map(|name| self.view.baseline(model, name)).collect();
        let comparable = self.cut.is_papers() && names::codec_base(self.codec) == "fc";
        let paper = |name: &&str| line.ratio.filter(|_| comparable).and_then(|ratio| paper::loss2(ratio, name));
        let papers: Vec<Option<f64>> = datasets.iter().map(paper).collect();
        let cells = paper::losses(&line.cells, &baseline, &papers);
        [String::new()].into_iter().chain(cells).chain(self.blank()).collect()
    }

    fn chance_row(&self, model: &str) -> Vec<String> {
        let chance = |name: &&str| {
            let rows = self.view.baseline(model, name).into_iter();
            rows.chain(view::cell(&self.rows, model, name, None)).find_map(|row| row.chance)
        };
        let chances: Vec<Option<f64>> = self.view.datasets.iter().map(chance).collect();
        let text = |chance: Option<f64>| chance.map_or(MISSING.into(), |chance| number::tenths(100.0 * chance));
        let mean = chances.iter().copied().sum::<Option<f64>>().map(|sum| sum / chances.len() as f64);
        ["chance".to_string()]
            .into_iter()
            .chain(chances.iter().copied().chain([mean]).map(text))
            .chain(self.blank())
            .collect()
    }

    /// The near-lossless ratio averaged over models, and the paper's beside it where one of its models is here.
    fn models_section(&self, all: &[Vec<Option<Bound>>]) -> TableSection {
        let mean = |at: usize| {
            let mean = number::mean(all.iter().map(|model| model[at].and_then(|bound| bound.holds)));
            mean.map_or(MISSING.into(), |mean| format!("{mean:.1}"))
        };
        let sets = self.view.datasets.len();
        let line = |label: &str, cells: Vec<String>| [label.to_string()].into_iter().chain(cells).collect::<Vec<_>>();
        let mut rows = vec![line("near-lossless", (0..=sets).map(mean).chain(self.blank()).collect())];
        if self.view.models.iter().any(|model| self.paper_model(model).is_some()) {
            let paper =
                self.view.datasets.iter().map(|name| paper::near_lossless(name).map_or(MISSING.into(), number::tenths));
            rows.push(line("near-lossless, paper", paper.chain([String::new()]).chain(self.blank()).collect()));
        }
        TableSection { name: "mean over models".into(), rows }
    }

    fn caption(&self, coverage: Coverage) -> Vec<String> {
        let mut out = vec!["Accuracy in per cent ± 1 standard error.".to_string()];
        out.push("avg: mean over the data sets, where all have the cell.".into());
        out.extend(self.measured.then(|| fidelity::SENTENCE_OF_KL.into()));
        let sets = if self.view.searched { "the sets that were tried at this ratio" } else { "the sets" };
        out.push(format!("wire: raw f16 bytes over packet bytes as measured, geometric mean over {sets}."));
        out.push(super::STAR.into());
        out.extend(caption::power(&self.rows, &[]));
        out.push(format!(
            "near-lossless: largest ratio tried that loses at most {} points; smaller ones need not.",
            self.points
        ));
        let smallest = self.rows.iter().map(|row| row.questions).filter(|n| *n > 0).min();
        if smallest.is_some_and(|questions| self.points * questions as f64 / 100.0 < 1.0) {
            out.push(format!("With so few questions {} points are less than one question.", self.points));
        }
        if self.ratios.is_empty() {
            out.push("fixed: this codec's rate is not chosen, so ratios are ignored and it has one cell.".into());
        }
        let papers = self.view.models.iter().filter(|model| self.paper_model(model).is_some()).count();
        match self.place {
            NumberPlace::Inside => out.extend(paper::inside_sentences(papers > 0, papers < self.view.models.len())),
            NumberPlace::Below if names::codec_base(self.codec) == "fc" => out.push(self.paper_sentence()),
            NumberPlace::Below => {}
        }
        out.extend(coverage.sentence());
        out.extend(caption::provenance(self.view, &self.rows));
        out
    }

    fn paper_sentence(&self) -> String {
        if self.view.models.iter().any(|model| self.paper_model(model).is_some()) {
            return "Rows marked paper: its number, and in brackets ours minus the paper's; its avg is the mean of those numbers.".into();
        }
        "The paper has no numbers to set beside these: it has other models, data sets or another cut.".into()
    }

    fn csv(&self, out: &mut Vec<Vec<String>>, with_paper: bool) {
        let sets = self.view.datasets.len();
        let layer = number::field(self.cut.split_layer);
        let tail = [self.codec, &layer, &self.cut.scope, &self.cut.accounting].map(String::from);
        for &model in &self.view.models {
            let lines = self.lines(model);
            for line in &lines {
                let cells = view::accuracies(&line.cells);
                let average = number::average(&cells);
                let all: Vec<Option<Accuracy>> = cells.into_iter().chain([average]).collect();
                let mut fields = vec![model.to_string(), line.label()];
                fields.extend(all.iter().map(|cell| number::csv_percent(cell.map(|cell| cell.value))));
                fields.extend(all.iter().map(|cell| number::csv_percent(cell.map(|cell| cell.stderr))));
                let mean = |value: Option<f64>| number::field_to(value.filter(|_| !line.baseline), 3);
                fields.push(mean(line.mean(self.view, |row| row.ratio_elements)));
                fields.push(mean(line.mean(self.view, |row| row.ratio_wire)));
                fields.extend(tail.iter().cloned());
                if with_paper {
                    let named = self.paper_model(model);
                    let value = |name: &&str| named.and_then(|named| paper::table2(named, line.ratio, name));
                    fields.extend(
                        self.view.datasets.iter().map(|name| value(name).map_or(String::new(), number::tenths)),
                    );
                }
                fields.extend(fidelity::csv_fields(&line.cells).into_iter().filter(|_| self.measured));
                out.push(fields);
            }
            let near = self.near_lossless(&lines);
            let mut fields = vec![model.to_string(), "near-lossless".into()];
            fields.extend(near.iter().map(|found| found.map(near_lossless_text).unwrap_or_default()));
            fields.extend(vec![String::new(); sets + 3]);
            fields.extend(tail.iter().cloned());
            if with_paper {
                fields.extend(vec![String::new(); sets]);
            }
            fields.extend(fidelity::csv_fields(&[]).into_iter().filter(|_| self.measured));
            out.push(fields);
        }
    }
}

#[cfg(test)]
#[path = "table2_tests.rs"]
mod tests;
