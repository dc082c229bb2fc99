//! Every codec at every budget against its bytes on the wire, with the Pareto front: accuracy, KL, and both of several models.

use super::caption;
use super::codecs::{CodecLine, CodecPlace, NO_ACTIVATION, front, places};
use super::figure::{Axis, Figure, FigurePoint, Panel, ParetoCorner, Scale};
use super::legend::MARKERS;
use super::series::Drawing;
use super::view::{self, RowView};
use super::{fidelity, names, number, table3};
use crate::record::Row;

/// What lies on the y axis.
#[derive(Debug, Clone, Copy, PartialEq)]
enum FigureMeasure {
    Accuracy,
    Drop,
    Kl,
}

/// A KL below this is the rounding of logits in f32: it is drawn at the lower edge of a log axis, as 0 is.
const LEAST_KL: f64 = 1e-6;

/// Points that share a marker: codecs, or where they are more than there are markers, families of them.
struct Marks<'a> {
    names: Vec<String>,
    codecs: Vec<Vec<&'a str>>,
}

impl<'a> Marks<'a> {
    fn new(lines: &[&CodecLine<'a>]) -> Self {
        let codecs = view::distinct(lines.iter().map(|line| line.codec));
        if codecs.len() <= MARKERS.len() {
            return Self {
                names: codecs.iter().map(|codec| codec.to_string()).collect(),
                codecs: codecs.into_iter().map(|codec| vec![codec]).collect(),
            };
        }
        // All of them, so that a colour means the same in every figure.
        let members = |family| codecs.iter().copied().filter(|codec| names::family(codec) == family).collect();
        Self {
            names: names::FAMILIES.map(String::from).to_vec(),
            codecs: (0..names::FAMILIES.len()).map(members).collect(),
        }
    }
}

/// A place and what there is to draw of it.
struct CodecSheet<'p, 'v, 'a> {
    place: &'p CodecPlace<'v, 'a>,
    /// Lines that send an activation.
    lines: Vec<CodecLine<'a>>,
    /// The bytes of what sends none, far below all others, where it was run.
    no_activation: Option<f64>,
    baseline: Vec<Option<&'a Row>>,
}

/// The figures of every model and place, then those of several models side by side.
pub(super) fn figures(view: &RowView) -> Vec<Drawing> {
    let places = places(view);
    let sheets: Vec<CodecSheet> = places.iter().map(CodecSheet::new).collect();
    let mut out = Vec::new();
    for (shows, measure) in [("accuracy-vs-bytes", FigureMeasure::Accuracy), ("kl-vs-bytes", FigureMeasure::Kl)] {
        for sheet in &sheets {
            let mut file = shows.to_string();
            if places.len() > 1 {
                file += &names::cut_part(sheet.place.split_layer, &[sheet.place.scope]);
                file = names::figure_file(&file, Some(&sheet.place.name()));
            }
            out.extend(sheet.figure(measure).map(|figure| Drawing { file, figure }));
        }
    }
    let cut = |sheet: &CodecSheet| (sheet.place.split_layer, sheet.place.scope.to_string());
    let cuts = view::distinct(sheets.iter().map(cut));
    for (split_layer, scope) in &cuts {
        let models: Vec<&CodecSheet> = sheets
            .iter()
            .filter(|sheet| cut(sheet) == (*split_layer, scope.clone()))
            .filter(|sheet| [FigureMeasure::Kl, FigureMeasure::Drop].iter().all(|measure| sheet.has(*measure)))
            .collect();
        let part = if cuts.len() > 1 { names::cut_part(*split_layer, &[scope]) } else { String::new() };
        if models.len() > 1 {
            out.push(Drawing { file: format!("fidelity-vs-bytes{part}"), figure: side_by_side(&models) });
        }
    }
    out
}

/// KL above, drop below, a column a model.
fn side_by_side(sheets: &[&CodecSheet]) -> Figure {
    let marks = Marks::new(&sheets.iter().flat_map(|sheet| &sheet.lines).collect::<Vec<_>>());
    let row = |measure: FigureMeasure, what: &str| -> Vec<Panel> {
        let title = |sheet: &CodecSheet| format!("{}: {what}", sheet.place.name());
        sheets.iter().map(|sheet| sheet.panel(&marks, measure, title(sheet))).collect()
    };
    let mut panels = row(FigureMeasure::Kl, "KL, nats (log scale)");
    let scale = kl_scale(panels.iter().flat_map(|panel| &panel.series));
    panels.iter_mut().for_each(|panel| panel.scale = scale);
    panels.extend(row(FigureMeasure::Drop, "drop, points"));
    let no_activation = sheets.iter().find_map(|sheet| sheet.no_activation);
    let rows: Vec<&Row> = sheets.iter().flat_map(|sheet| &sheet.place.rows).copied().collect();
    let edges = sheets.iter().filter_map(|sheet| Some(format!("{}: {}", sheet.place.name(), sheet.at_the_edge()?)));
    let edges = edges.collect::<Vec<_>>().join("; ");
    let view = sheets[0].place.view;
    Figure {
        title: "KL and loss of accuracy against bytes on the wire".into(),
        subtitle: format!(
            "Each codec at each budget asked for, {}; means over the data sets. KL: KL(unsplit || codec) of the next token a scored position; drop: accuracy of the unsplit model minus that with the codec. Error bars: 1 standard error. {FRONT_OF_KL}{}{} {}",
            sheets[0].place.cut(),
            edge_sentence(&edges),
            no_activation_sentence(no_activation),
            caption::provenance(view, &rows).join(" ")
        ),
        x_label: BYTES.into(),
        y_label: String::new(),
        axis: Axis::Log,
        series: marks.names.clone(),
        panels,
    }
}

const BYTES: &str = "packet bytes a token (log scale)";
/// The codec that the paper is about is named wherever it stands.
const NAMED: &str = "fc";

const FRONT: &str = "Grey, and named with the ratio asked for: the Pareto front; fc is named too.";
const FRONT_OF_KL: &str = "Grey, and named with the ratio asked for: the Pareto front by KL; fc is named too.";

/// A log scale for the KLs that are not too small for one.
fn kl_scale<'s>(series: impl Iterator<Item = &'s Vec<FigurePoint>> + Clone) -> Scale {
    let shown = || series.clone().flatten().map(|point| point.y).filter(|kl| *kl >= LEAST_KL);
    let low = shown().fold(1.0, f64::min);
    Scale::log(low, shown().fold(low, f64::max))
}

/// What is said where a codec is left out as it sends no activation.
fn no_activation_sentence(bytes: Option<f64>) -> String {
    bytes
        .map_or(String::new(), |bytes| format!(" Not drawn: {NO_ACTIVATION}, {bytes:.1} bytes a token, no activation."))
}

/// What is said of lines whose KL is too small for a log axis.
fn edge_sentence(edge: &str) -> String {
    if edge.is_empty() {
        return String::new();
    }
    format!(" At the lower edge, with a KL under {LEAST_KL:e} that is rounding or 0: {edge}.")
}

impl<'p, 'v, 'a> CodecSheet<'p, 'v, 'a> {
    fn new(place: &'p CodecPlace<'v, 'a>) -> Self {
        let (none, lines): (Vec<CodecLine>, Vec<CodecLine>) =
            place.lines().into_iter().partition(|line| line.codec == NO_ACTIVATION);
        let no_activation = none.first().and_then(CodecLine::bytes);
        Self { place, lines, no_activation, baseline: place.baseline() }
    }

    fn point(&self, line: &CodecLine, measure: FigureMeasure) -> Option<FigurePoint> {
        let x = line.bytes().filter(|bytes| *bytes > 0.0)?;
        let (y, stderr) = match measure {
            FigureMeasure::Accuracy => line.accuracy().map(|cell| (100.0 * cell.value, 100.0 * cell.stderr))?,
            FigureMeasure::Kl => fidelity::mean_kl(&line.cells).map(|mean| (mean.value, mean.stderr.unwrap_or(0.0)))?,
            FigureMeasure::Drop => table3::drop(&line.cells, &self.baseline)
                .filter(|found| found.sets == self.baseline.len())
                .map(|found| (found.points, found.stderr.unwrap_or(0.0)))?,
        };
        Some(FigurePoint { x, y, stderr })
    }

    fn has(&self, measure: FigureMeasure) -> bool {
        self.lines.iter().any(|line| self.point(line, measure).is_some())
    }

    /// Codecs whose KL is too small for a log axis; none where there are none.
    fn at_the_edge(&self) -> Option<String> {
        let small = |line: &&CodecLine| self.point(line, FigureMeasure::Kl).is_some_and(|point| point.y < LEAST_KL);
        let codecs = view::distinct(self.lines.iter().filter(small).map(|line| line.codec));
        (!codecs.is_empty()).then(|| codecs.join(", "))
    }

    fn panel(&self, marks: &Marks, measure: FigureMeasure, title: String) -> Panel {
        let points = |codecs: &Vec<&str>| {
            let lines = self.lines.iter().filter(|line| codecs.contains(&line.codec));
            lines.filter_map(|line| self.point(line, measure)).collect::<Vec<FigurePoint>>()
        };
        let series: Vec<Vec<FigurePoint>> = marks.codecs.iter().map(points).collect();
        let (baseline, chance) = match measure {
            FigureMeasure::Accuracy => (
                number::average(&view::accuracies(&self.baseline)).map(|cell| 100.0 * cell.value),
                view::mean(&self.baseline, |row| row.chance).map(|mean| 100.0 * mean),
            ),
            FigureMeasure::Drop => (Some(0.0), None),
            FigureMeasure::Kl => (None, None),
        };
        let scale = match measure {
            FigureMeasure::Accuracy => Scale::PERCENT,
            FigureMeasure::Drop => Scale::FREE,
            FigureMeasure::Kl => kl_scale(series.iter()),
        };
        let better = |line: &CodecLine| {
            let y = self.point(line, measure)?.y;
            Some(if measure == FigureMeasure::Accuracy { y } else { -y })
        };
        let accountings = view::distinct(self.lines.iter().map(|line| line.accounting).filter(|one| !one.is_empty()));
        let corner = |at: usize| {
            let line = &self.lines[at];
            let ratio = line.ratio.map(|ratio| format!("@{}", number::ratio(ratio))).unwrap_or_default();
            let counts = if accountings.len() > 1 && line.ratio.is_some() { line.accounting } else { "" };
            let label = format!("{}{ratio} {counts}", line.codec).trim_end().to_string();
            self.point(line, measure).map(|FigurePoint { x, y, .. }| ParetoCorner { x, y, label })
        };
        // Differences of a few questions would make a front of noise.
        let front = match measure {
            FigureMeasure::Drop => Vec::new(),
            FigureMeasure::Accuracy | FigureMeasure::Kl => front(&self.lines, better),
        };
        let named = (0..self.lines.len()).filter(|at| self.lines[*at].codec == NAMED && !front.contains(at));
        let named = named.filter_map(corner).collect();
        let front = front.into_iter().filter_map(corner).collect();
        Panel { title, scale, baseline, chance, series, front, named, bands: Vec::new() }
    }

    fn figure(&self, measure: FigureMeasure) -> Option<Figure> {
        if !self.has(measure) {
            return None;
        }
        let marks = Marks::new(&self.lines.iter().collect::<Vec<_>>());
        let sets = &self.place.view.datasets;
        let panel_title = if sets.len() == 1 {
            self.place.view.title(sets[0])
        } else {
            format!("average of {} data sets", sets.len())
        };
        let (what, y_label, edge) = match measure {
            FigureMeasure::Kl => (
                "KL",
                "KL(unsplit || codec), nats a position (log scale)",
                edge_sentence(&self.at_the_edge().unwrap_or_default()),
            ),
            _ => ("Accuracy", "accuracy (%)", String::new()),
        };
        let subtitle = format!(
            "{}, {}. Each codec at each budget asked for. {FRONT}{edge}{} Error bars: 1 standard error. {}",
            self.place.name(),
            self.place.cut(),
            no_activation_sentence(self.no_activation),
            caption::provenance(self.place.view, &self.place.rows).join(" ")
        );
        Some(Figure {
            title: format!("{what} against bytes on the wire: {}", self.place.name()),
            subtitle,
            x_label: BYTES.into(),
            y_label: y_label.into(),
            axis: Axis::Log,
            panels: vec![self.panel(&marks, measure, panel_title)],
            series: marks.names,
        })
    }
}

#[cfg(test)]
#[path = "codec_figures_tests.rs"]
mod tests;
