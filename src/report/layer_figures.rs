//! Figures of split layers: each number against the layer, and how errors grow behind each cut.

use super::caption;
use super::figure::{Axis, Figure, FigurePoint, Panel, Scale};
use super::layers::{INDICATORS, LayerLine, Sweep};
use super::series::Drawing;
use super::view::{self, RowView};
use super::{names, number};

/// Two figures of every model and scope.
pub(super) fn figures(view: &RowView, sweeps: &[Sweep]) -> Vec<Drawing> {
    let places = view::distinct(sweeps.iter().map(|sweep| (sweep.model, sweep.scope)));
    let several = places.len() > 1;
    let drawn = |(model, scope): (&str, &str)| {
        let shown: Vec<&Sweep> = sweeps.iter().filter(|sweep| (sweep.model, sweep.scope) == (model, scope)).collect();
        let file = |shows: &str| match several {
            true => {
                names::figure_file(&(shows.to_string() + &names::cut_part(None, &[scope])), Some(&view.name(model)))
            }
            false => shows.to_string(),
        };
        let rows: Vec<_> = shown.iter().flat_map(|sweep| sweep.rows()).collect();
        let sets = view.datasets.len();
        let mean = if sets > 1 { format!(" Mean of {sets} data sets.") } else { String::new() };
        let about = |text: &str| format!("Scope {scope}. {text}{mean} {}", caption::provenance(view, &rows).join(" "));
        [
            Drawing { file: file("layers"), figure: layers(view, model, &shown, &about) },
            Drawing { file: file("growth"), figure: growth(&view.name(model), &shown, &about) },
        ]
    };
    places.into_iter().flat_map(drawn).collect()
}

fn layers(view: &RowView, model: &str, sweeps: &[&Sweep], about: &dyn Fn(&str) -> String) -> Figure {
    let points = |of: &dyn Fn(&LayerLine) -> Option<f64>, stderr: &dyn Fn(&LayerLine) -> Option<f64>| {
        let point = |line: &LayerLine| {
            Some(FigurePoint { x: f64::from(line.split_layer), y: of(line)?, stderr: stderr(line).unwrap_or(0.0) })
        };
        sweeps.iter().map(|sweep| sweep.layers.iter().filter_map(point).collect()).collect::<Vec<Vec<FigurePoint>>>()
    };
    let unsplit: Vec<_> = view.datasets.iter().map(|name| view.baseline(model, name)).collect();
    let accuracy = Panel {
        title: "accuracy (%)".into(),
        scale: Scale::PERCENT,
        baseline: number::average(&view::accuracies(&unsplit)).map(|cell| 100.0 * cell.value),
        chance: view::mean(&unsplit, |row| row.chance).map(|mean| 100.0 * mean),
        series: points(&|line| line.accuracy, &|line| line.accuracy_se),
        front: Vec::new(),
        named: Vec::new(),
        bands: Vec::new(),
    };
    let indicators = INDICATORS.iter().map(|indicator| Panel {
        title: indicator.name.into(),
        scale: Scale::FREE,
        baseline: None,
        chance: None,
        series: points(&indicator.of, &|_| None),
        front: Vec::new(),
        named: Vec::new(),
        bands: Vec::new(),
    });
    Figure {
        title: format!("Split layers and what may tell them apart: {}", view.name(model)),
        subtitle: about(
            "Error bars of the accuracy: 1 standard error. Each panel has its own y axis. What does not depend on the codec lies under the last codec's line.",
        ),
        x_label: "split after layer".into(),
        y_label: String::new(),
        axis: Axis::Values,
        series: sweeps.iter().map(|sweep| sweep.label()).collect(),
        panels: [accuracy].into_iter().chain(indicators).collect(),
    }
}

fn growth(model: &str, sweeps: &[&Sweep], about: &dyn Fn(&str) -> String) -> Figure {
    let mut cuts = view::distinct(sweeps.iter().flat_map(|sweep| &sweep.layers).map(|line| line.split_layer));
    cuts.sort_unstable();
    let panel = |sweep: &&Sweep| {
        let points = |cut: &u32| {
            let line = sweep.layers.iter().find(|line| line.split_layer == *cut);
            let errors = line.map(|line| line.errors.as_slice()).unwrap_or_default();
            let point = |(layer, error): (u32, &f64)| FigurePoint { x: f64::from(layer), y: *error, stderr: 0.0 };
            (*cut..).zip(errors).map(point).collect()
        };
        Panel {
            title: sweep.label(),
            scale: Scale::FREE,
            baseline: None,
            chance: None,
            series: cuts.iter().map(points).collect(),
            front: Vec::new(),
            named: Vec::new(),
            bands: Vec::new(),
        }
    };
    Figure {
        title: format!("Error behind the cut: {model}"),
        subtitle: about(
            "||H - H'||_F / ||H||_F against the uncompressed run; the first point of a line is the cut. Each panel has its own y axis.",
        ),
        x_label: "after layer".into(),
        y_label: "relative error of the hidden state".into(),
        axis: Axis::Values,
        series: cuts.iter().map(|cut| format!("cut after layer {cut}")).collect(),
        panels: sweeps.iter().map(panel).collect(),
    }
}
