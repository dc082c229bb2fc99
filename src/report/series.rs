//! From rows to figures: accuracy against ratio, against measured bytes, against split layer.

use super::caption::{self, Coverage};
use super::figure::{Axis, Figure, FigurePoint, Panel, Scale};
use super::view::{self, RowView, TableCut};
use super::{names, number};
use crate::record::Row;

/// What lies on the x axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum SeriesKind {
    Ratio,
    /// Measured bytes a token, at the ratios that were asked for.
    Bytes,
    Layer,
}

impl SeriesKind {
    /// File name of its figures, without what tells several apart.
    pub fn file(self) -> &'static str {
        match self {
            Self::Ratio => "accuracy-vs-ratio",
            Self::Bytes => "accuracy-vs-bytes-per-token",
            Self::Layer => "accuracy-vs-layer",
        }
    }
}

/// A figure and its file name without ending.
pub(super) struct Drawing {
    pub file: String,
    pub figure: Figure,
}

/// One line of a figure: a codec, at one ratio where several were run at the same layer.
#[derive(PartialEq)]
struct Key {
    codec: String,
    ratio: Option<f64>,
}

impl Key {
    fn label(&self) -> String {
        self.ratio.map_or(self.codec.clone(), |ratio| format!("{} at ratio {}", self.codec, number::ratio(ratio)))
    }

    fn holds(&self, row: &Row) -> bool {
        row.codec == self.codec && (self.ratio.is_none() || row.ratio_requested == self.ratio)
    }
}

/// Figures of all models and cuts: small multiples of the data sets, and the average alone.
pub(super) fn figures(view: &RowView, kind: SeriesKind) -> Vec<Drawing> {
    let cuts = groups(view, kind);
    let mut out = Vec::new();
    for &model in &view.models {
        for (cut, rows) in &cuts {
            let rows: Vec<&Row> =
                rows.iter().copied().filter(|row| row.model == model && row.split_layer.is_some()).collect();
            if !rows.iter().any(|row| view::accuracy(row).is_some()) {
                continue;
            }
            let mut shows = kind.file().to_string();
            if cuts.len() > 1 {
                shows += &names::cut_part(cut.split_layer, &[&cut.scope, &cut.accounting]);
            }
            let subject = (view.models.len() > 1).then(|| view.name(model));
            let subject = subject.as_deref();
            let sheet = SeriesSheet { view, kind, model, cut, keys: keys(kind, &rows), rows };
            let average = names::figure_file(&names::average(&shows), subject);
            out.push(Drawing { file: average, figure: sheet.figure(true) });
            out.push(Drawing { file: names::figure_file(&shows, subject), figure: sheet.figure(false) });
        }
    }
    out
}

/// Rows that share a figure: the split layer parts them only where it is not the x axis.
fn groups<'a>(view: &RowView<'a>, kind: SeriesKind) -> Vec<(TableCut, Vec<&'a Row>)> {
    if kind != SeriesKind::Layer {
        return view.cuts();
    }
    let mut out: Vec<(TableCut, Vec<&Row>)> = Vec::new();
    for (cut, rows) in view.cuts() {
        let cut = TableCut { split_layer: None, ..cut };
        match out.iter_mut().find(|(known, _)| *known == cut) {
            Some((_, known)) => known.extend(rows),
            None => out.push((cut, rows)),
        }
    }
    out
}

fn keys(kind: SeriesKind, rows: &[&Row]) -> Vec<Key> {
    let whole = |codec: &str| Key { codec: codec.to_string(), ratio: None };
    let codecs = view::codecs(rows);
    if kind != SeriesKind::Layer {
        return codecs.into_iter().map(whole).collect();
    }
    let several = |codec: &str| {
        let sets = view::distinct(rows.iter().map(|row| row.dataset.as_str()));
        sets.into_iter().any(|set| {
            let cells: Vec<&Row> =
                rows.iter().copied().filter(|row| row.codec == codec && row.dataset == set).collect();
            view::ratios(&cells).len() > 1
        })
    };
    let mut out = Vec::new();
    for codec in codecs {
        if several(codec) {
            let cells: Vec<&Row> = rows.iter().copied().filter(|row| row.codec == codec).collect();
            out.extend(view::ratios(&cells).into_iter().map(|ratio| Key { codec: codec.into(), ratio: Some(ratio) }));
        } else {
            out.push(whole(codec));
        }
    }
    out
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What one figure is drawn from.
struct SeriesSheet<'v, 'a> {
    view: &'v RowView<'a>,
    kind: SeriesKind,
    model: &'a str,
    cut: &'v TableCut,
    keys: Vec<Key>,
    rows: Vec<&'a Row>,
}

impl SeriesSheet<'_, '_> {
    fn figure(&self, only_average: bool) -> Figure {
        let mut panels = Vec::new();
        if !only_average {
            panels.extend(self.view.datasets.iter().map(|name| self.panel(&[*name], self.view.title(name))));
        }
        let sets = &self.view.datasets;
        match sets.as_slice() {
            [one] if only_average => panels.push(self.panel(&[*one], self.view.title(one))),
            [_] => {}
            _ => panels.push(self.panel(sets, format!("average of {} data sets", sets.len()))),
        }
        let against = match self.kind {
            SeriesKind::Ratio => "compression ratio",
            SeriesKind::Bytes => "bytes on the wire",
            SeriesKind::Layer => "split layer",
        };
        let x_label = match self.kind {
            SeriesKind::Ratio if self.cut.accounting == "wire" => {
                "ratio asked for: raw bytes / packet bytes (×)".into()
            }
            SeriesKind::Ratio => "ratio asked for: raw numbers / kept numbers (×)".into(),
            SeriesKind::Bytes => "packet bytes a token (log scale)".into(),
            SeriesKind::Layer => "split after layer".to_string(),
        };
        Figure {
            title: format!("Accuracy against {against}: {}", self.view.name(self.model)),
            subtitle: self.subtitle(only_average),
            x_label,
            y_label: "accuracy (%)".into(),
            axis: if self.kind == SeriesKind::Bytes { Axis::LogLines } else { Axis::Values },
            series: self.keys.iter().map(Key::label).collect(),
            panels,
        }
    }

    /// The mean of some sets, at each x that all of them have; of one set, its own cells.
    fn panel(&self, sets: &[&str], title: String) -> Panel {
        let mean = |what: &dyn Fn(&Row) -> Option<f64>| {
            let values = sets.iter().map(|set| what(self.view.baseline(self.model, set)?));
            number::mean(values).map(|mean| 100.0 * mean)
        };
        Panel {
            title,
            scale: Scale::PERCENT,
            baseline: mean(&|row| view::accuracy(row).map(|cell| cell.value)),
            chance: mean(&|row| row.chance),
            series: self.keys.iter().map(|key| self.points(key, sets)).collect(),
            front: Vec::new(),
            named: Vec::new(),
            bands: Vec::new(),
        }
    }

    /// Where a row stands. One of a codec of fixed rate was asked for no ratio.
    fn x(&self, row: &Row) -> Option<f64> {
        match self.kind {
            SeriesKind::Ratio | SeriesKind::Bytes => row.ratio_requested.or_else(|| self.measured(&row.codec)),
            SeriesKind::Layer => row.split_layer.map(f64::from),
        }
    }

    /// The measured ratio of a codec of fixed rate, to hundredths: the geometric mean over the sets, so that they share a
    /// point whose lengths, and so bytes, differ a little.
    fn measured(&self, codec: &str) -> Option<f64> {
        let wire = self.cut.accounting == "wire";
        let rows = self.rows.iter().filter(|row| row.codec == codec && row.ratio_requested.is_none());
        let sent = rows.filter_map(|row| if wire { row.ratio_wire } else { row.ratio_elements });
        let mean = number::geometric_mean(sent.map(Some));
        mean.map(|mean| (100.0 * mean).round() / 100.0)
    }

    fn points(&self, key: &Key, sets: &[&str]) -> Vec<FigurePoint> {
        let rows: Vec<&Row> = self.rows.iter().copied().filter(|row| key.holds(row)).collect();
        let mut xs = view::distinct(rows.iter().filter_map(|row| self.x(row)));
        xs.sort_by(f64::total_cmp);
        let at = |x: f64| {
            let find = |set: &&str| {
                let row = rows.iter().rfind(|row| row.dataset == **set && self.x(row) == Some(x));
                row.copied().filter(|row| view::accuracy(row).is_some())
            };
            let cells: Vec<Option<&Row>> = sets.iter().map(find).collect();
            let cell = number::average(&view::accuracies(&cells))?;
            let bytes = || view::mean(&cells, |row| row.wire_bytes_per_token.filter(|bytes| *bytes > 0.0));
            let x = if self.kind == SeriesKind::Bytes { bytes()? } else { x };
            Some(FigurePoint { x, y: 100.0 * cell.value, stderr: 100.0 * cell.stderr })
        };
        let mut points: Vec<FigurePoint> = xs.into_iter().filter_map(at).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        points
    }

    fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::of(self.view);
        let one_cell = |row: &Row| self.kind != SeriesKind::Layer && row.ratio_requested.is_none();
        let swept = self.rows.iter().filter(|row| !one_cell(row));
        let xs: Vec<Option<f64>> = view::distinct(swept.map(|row| self.x(row)));
        for key in &self.keys {
            // With a ratio of its own for each set, a set is not expected at another set's ratio.
            let rows: Vec<&Row> = self.rows.iter().copied().filter(|row| key.holds(row)).collect();
            let xs = if rows.iter().all(|row| one_cell(row)) { &[None][..] } else { &xs[..] };
            for set in &self.view.datasets {
                for x in xs {
                    let is_cell = |row: &&&Row| row.dataset == *set && (x.is_none() || self.x(row) == *x);
                    coverage.count(rows.iter().rfind(is_cell).copied());
                }
            }
        }
        coverage
    }

    fn subtitle(&self, only_average: bool) -> String {
        let mut out = match self.kind {
            SeriesKind::Ratio => format!("{}.", capital(&caption::cut(self.cut))),
            SeriesKind::Bytes => format!(
                "{}. Bytes as measured, header and all, mean over the sets; a line joins the ratios asked for.",
                capital(&caption::cut(self.cut))
            ),
            SeriesKind::Layer => format!("{}{}.", capital(&caption::counted(self.cut)), self.ratios()),
        };
        out += " Error bars: 1 standard error.";
        if !only_average && self.view.datasets.len() > 1 {
            out += " Each panel has its own y axis.";
        }
        if self.view.datasets.len() > 1 {
            out += " The average is drawn where all data sets have the cell.";
        }
        if self.rows.iter().any(|row| row.ratio_requested.is_none()) {
            out += match self.kind {
                SeriesKind::Ratio if self.cut.accounting == "wire" => {
                    " A codec of fixed rate is a point at its measured ratio."
                }
                SeriesKind::Ratio => {
                    " A codec of fixed rate is a point at its measured ratio: 1 where every number is kept, however few its bits."
                }
                SeriesKind::Bytes => " A codec of fixed rate is a point.",
                SeriesKind::Layer => " Codecs of fixed rate ignore ratios.",
            };
        }
        if let Some(sentence) = self.coverage().sentence() {
            out += &format!(" {sentence}");
        }
        let lacks = |set: &&&str| self.view.baseline(self.model, set).and_then(view::accuracy).is_none();
        let lacking: Vec<String> = self.view.datasets.iter().filter(lacks).map(|set| self.view.title(set)).collect();
        if !lacking.is_empty() {
            out += &format!(" No baseline for {}.", lacking.join(", "));
        }
        for sentence in caption::provenance(self.view, &self.rows) {
            out += &format!(" {sentence}");
        }
        out
    }

    /// The one ratio of a layer sweep, or each data set's.
    fn ratios(&self) -> String {
        if self.keys.iter().any(|key| key.ratio.is_some()) {
            return String::new();
        }
        match view::ratios(&self.rows).as_slice() {
            [] => String::new(),
            [one] => format!(", ratio {}", number::ratio(*one)),
            _ => {
                let ratios_of = |set: &&str| {
                    let rows: Vec<&Row> = self.rows.iter().copied().filter(|row| row.dataset == *set).collect();
                    let ratios: Vec<String> = view::ratios(&rows).into_iter().map(number::ratio).collect();
                    format!("{} {}", self.view.title(set), ratios.join("/"))
                };
                format!(", ratio {}", self.view.datasets.iter().map(ratios_of).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
