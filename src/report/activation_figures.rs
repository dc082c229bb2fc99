//! Figure 2(b) and the curves of 2(c): similarity of inputs against layer, and energy inside FC's block against its size.

use super::figure::{Axis, Figure, FigurePoint, Panel, Scale};
use super::series::Drawing;
use super::{names, view};
use crate::record::{Energy, Similarity};

/// Both of every model.
pub(super) fn figures(alike: &[Similarity], energies: &[Energy]) -> Vec<Drawing> {
    let models = view::distinct(
        alike.iter().map(|line| line.model.as_str()).chain(energies.iter().map(|line| line.model.as_str())),
    );
    let mut out = Vec::new();
    for model in &models {
        let name = crate::model::short_name(model, models.iter().copied());
        let file = |shows| names::figure_file(shows, (models.len() > 1).then_some(&name));
        let mine: Vec<&Similarity> = alike.iter().filter(|line| line.model == *model).collect();
        if !mine.is_empty() {
            out.push(Drawing { file: file("similarity"), figure: similarity(&name, &mine) });
        }
        let mine: Vec<&Energy> = energies.iter().filter(|line| line.model == *model).collect();
        if !mine.is_empty() {
            out.push(Drawing { file: file("energy"), figure: energy(&name, &mine) });
        }
    }
    out
}

/// `2 lines without a number are left out.`
fn left_out(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " 1 line without a finite number is left out.".into(),
        _ => format!(" {count} lines without a finite number are left out."),
    }
}

fn similarity(model: &str, lines: &[&Similarity]) -> Figure {
    let sets = view::distinct(lines.iter().map(|line| line.dataset.as_str()));
    let inputs = lines.iter().map(|line| line.inputs).max().unwrap_or(0);
    let panel = |measure: &str, title: &str| {
        let points = |set: &&str| {
            let measured = lines.iter().filter(|line| line.measure == measure && line.dataset == *set);
            let point = |line: &&&Similarity| {
                let stderr = line.stderr.filter(|stderr| stderr.is_finite()).unwrap_or(0.0);
                line.cosine.is_finite().then_some(FigurePoint { x: f64::from(line.layer), y: line.cosine, stderr })
            };
            measured.filter_map(|line| point(&line)).collect()
        };
        Panel {
            title: title.into(),
            scale: Scale::FREE,
            baseline: None,
            chance: None,
            series: sets.iter().map(points).collect(),
            front: Vec::new(),
            named: Vec::new(),
            bands: Vec::new(),
        }
    };
    Figure {
        title: format!("How alike the activations of different inputs are: {model}"),
        subtitle: format!(
            "Mean over all pairs of up to {inputs} inputs of a set. Left: cosine of the means over tokens. Right: cosine of the rows at equal positions, mean over positions. Error bars: 1 standard error, by leaving out one input at a time. Each panel has its own y axis.{}",
            left_out(lines.iter().filter(|line| !line.cosine.is_finite()).count())
        ),
        x_label: "after layer".into(),
        y_label: "cosine similarity".into(),
        axis: Axis::Values,
        series: sets.iter().map(|set| names::title(set)).collect(),
        panels: vec![panel("pooled", "means over tokens"), panel("aligned", "rows at equal positions")],
    }
}

fn energy(model: &str, lines: &[&Energy]) -> Figure {
    let sets = view::distinct(lines.iter().map(|line| line.dataset.as_str()));
    let mut layers = view::distinct(lines.iter().map(|line| line.layer));
    layers.sort_unstable();
    let readings = view::distinct(lines.iter().map(|line| line.reading.as_str()));
    let panel = |reading: &&str| {
        let mut ratios = view::distinct(lines.iter().map(|line| line.ratio));
        ratios.sort_by(|a, b| b.total_cmp(a));
        // Mean over the sets, where all have it; of noise over layers too, as it knows none.
        let mean = |of: &dyn Fn(&Energy) -> bool, wanted: usize, what: &dyn Fn(&Energy) -> f64| {
            let values: Vec<f64> =
                lines.iter().filter(|line| line.reading == *reading && of(line)).map(|l| what(l)).collect();
            let finite = values.len() == wanted && values.iter().all(|value| value.is_finite());
            finite.then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let layer = |layer: &u32| -> Vec<FigurePoint> {
            let point = |ratio: &f64| {
                let is_at = |line: &Energy| line.ratio == *ratio && line.layer == *layer;
                let (x, y) = (mean(&is_at, sets.len(), &|l| l.kept)?, mean(&is_at, sets.len(), &|l| l.share)?);
                Some(FigurePoint { x: 100.0 * x, y: 100.0 * y, stderr: 0.0 })
            };
            ratios.iter().filter_map(point).collect()
        };
        let noise = ratios.iter().filter_map(|ratio| {
            let is_at = |line: &Energy| line.ratio == *ratio;
            let wanted = sets.len() * layers.len();
            Some(FigurePoint {
                x: 100.0 * mean(&is_at, wanted, &|l| l.kept)?,
                y: 100.0 * mean(&is_at, wanted, &|l| l.noise)?,
                stderr: 0.0,
            })
        });
        let noise: Vec<FigurePoint> = noise.collect();
        let title = match *reading {
            "fc" => "fc: mirrored block".to_string(),
            "fc:band=centered" => "fc:band=centered: true low-pass".into(),
            "fc-mask" => "fc-mask: the largest, anywhere".into(),
            other => other.into(),
        };
        Panel {
            title,
            scale: Scale::PERCENT,
            baseline: None,
            chance: None,
            series: layers.iter().map(layer).chain([noise]).collect(),
            front: Vec::new(),
            named: Vec::new(),
            bands: Vec::new(),
        }
    };
    let inputs = lines.iter().map(|line| line.inputs).max().unwrap_or(0);
    let odd = lines.iter().filter(|line| !(line.share.is_finite() && line.kept.is_finite() && line.noise.is_finite()));
    Figure {
        title: format!("Energy inside the kept block against its size: {model}"),
        subtitle: format!(
            "Share of ||A||² that the kept coefficients restore, a conjugate counted with its coefficient; mean of {inputs} inputs a set and {} data sets. The last line is independent normal numbers of the same shape: what a block holds of nothing in particular.{}",
            sets.len(),
            left_out(odd.count())
        ),
        x_label: "coefficients kept (% of S D, log scale)".into(),
        y_label: "energy restored (%)".into(),
        axis: Axis::LogLines,
        series: layers.iter().map(|layer| format!("after layer {layer}")).chain(["independent noise".into()]).collect(),
        panels: readings.iter().map(panel).collect(),
    }
}

#[cfg(test)]
#[path = "activation_figures_tests.rs"]
mod tests;
