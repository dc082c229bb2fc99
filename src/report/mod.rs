//! Tables and figures. Reads rows, never computes a score.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::experiment::Row;

mod activation_figures;
mod bars;
mod beside;
mod by_ratio;
mod canvas;
mod caption;
mod codec_figures;
mod codecs;
pub mod compare;
mod fidelity;
mod figure;
mod heat_figures;
mod layer_figures;
pub mod layers;
mod legend;
mod names;
mod near_lossless;
mod number;
pub mod page;
mod paired;
pub mod paper;
mod perplexity;
mod picture;
mod pixels;
pub mod pooled;
mod response;
mod rows_io;
mod searched;
mod series;
pub mod simulation;
mod slim;
mod speed;
mod table;
mod table2;
mod table3;
pub mod table4;
#[cfg(test)]
pub(crate) mod testing;
mod times;
mod view;

pub use beside::Beside;
pub use fidelity::digits;
pub use heat_figures::Map;
pub use near_lossless::{NearLossless, Tried, near_lossless};
pub use number::p_value;
use paper::Place;
pub use perplexity::{TextReport, perplexity};
use picture::{Picture, Words};
pub use response::Response;
pub use rows_io::{read_rows, write_csv, write_parquet};
pub use searched::tried;
use times::Times;

/// What to make of the rows of an experiment: its `[report]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Table II: each codec by ratio, with the near-lossless ratio.
    pub table2: bool,
    /// Table III: methods side by side at each data set's ratio.
    pub table3: bool,
    /// Every codec at every budget: accuracy, KL, bytes, error and time; and figures of accuracy and of KL against bytes.
    pub codecs: bool,
    /// KL and lost accuracy by ratio, a row for each codec and scope.
    pub by_ratio: bool,
    /// Of no use: Table IV is made by `splitbench replay table4`. Manifests of older runs have it, as false.
    #[serde(skip_serializing)]
    pub table4: bool,
    /// Figures of accuracy against compression ratio.
    pub ratio_plot: bool,
    /// Figures of accuracy against split layer.
    pub layer_plot: bool,
    /// Indicators of each split layer, how errors grow behind it, and which layer each indicator would choose.
    pub layers: bool,
    /// Figure 2: heat maps, similarity of inputs, spectra and energy inside FC's block; needs them measured.
    pub activations: bool,
    /// Figure 6: shares of the response time, and bytes a generated token; needs the times of single requests.
    pub response: Option<Response>,
    /// `paired.csv`: each cell against the baseline on the same questions.
    pub paired: bool,
    /// The largest ratio that loses at most `near_lossless_points`, set by set, with its interval.
    pub near_lossless: bool,
    /// Loss in points that Table II and the search still call near-lossless.
    pub near_lossless_points: f64,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            table2: false,
            table3: false,
            codecs: false,
            by_ratio: false,
            table4: false,
            ratio_plot: false,
            layer_plot: false,
            layers: false,
            activations: false,
            response: None,
            paired: true,
            near_lossless: false,
            near_lossless_points: 0.3,
        }
    }
}

/// What a star means, for captions.
const STAR: &str = "*: differs from the baseline on the same questions, exact McNemar p < 0.05, not corrected for the number of cells.";

/// What to say where nothing of Figure 2 was measured: which command does.
const NO_ACTIVATIONS: &str = "activations: the run has no similarity.csv, energy.csv and heat.csv; `splitbench run figure2` measures them, and so does any experiment with `activations = true` in its report.\n";

/// First words about a run that has not come to its end.
const PARTIAL: &str = "Partial: the run has not finished.";

/// First line of generated Markdown.
const GENERATED: &str = "<!-- Written by splitbench from rows.parquet: change the experiment, not this file. -->\n\n";

/// A kind of table, once a cut and codec as it needs, and all of them as one CSV.
struct Rendered {
    tables: Vec<table::Table>,
    csv: String,
}

impl Rendered {
    fn markdown(&self) -> String {
        let tables: Vec<String> = self.tables.iter().map(table::Table::markdown).collect();
        format!("{GENERATED}{}", tables.join("\n"))
    }
}

/// Writes the rows as CSV, tables, `paired.csv` and figures, each file whole or not at all, and returns their paths.
pub fn write(results: &Path, plots: &Path, report: &Report, rows: &[Row], beside: &Beside) -> Result<Vec<PathBuf>> {
    let view = checked(report, rows)?;
    create(results)?;
    let mut written = vec![results.join("rows.csv")];
    write_csv(&written[0], rows)?;
    let mut put = |path: PathBuf, text: &str| {
        crate::save::replace(&path, text.as_bytes())?;
        written.push(path);
        anyhow::Ok(())
    };
    let sweeps = sweeps(report, rows, beside)?;
    for (name, rendered) in rendered(report, &view, beside, &sweeps, Place::Below) {
        put(results.join(format!("{name}.md")), &rendered.markdown())?;
        put(results.join(format!("{name}.csv")), &rendered.csv)?;
    }
    if report.paired {
        put(results.join("paired.csv"), &paired::csv(&view))?;
    }
    let drawn = figures(report, &view, &sweeps, beside, Words::Inside)?;
    if !drawn.is_empty() {
        create(plots)?;
    }
    for Picture { file, svg, .. } in drawn {
        put(plots.join(format!("{file}.svg")), &svg)?;
    }
    Ok(written)
}

/// The tables as aligned plain text in at most `width` columns, a caption's sentence only where it comes first, and a line for each figure that has nothing to show.
pub fn terminal(report: &Report, rows: &[Row], beside: &Beside, width: usize) -> Result<String> {
    let view = checked(report, rows)?;
    let tables = rendered(report, &view, beside, &sweeps(report, rows, beside)?, Place::Below);
    let mut said = Vec::new();
    let mut parts: Vec<String> =
        tables.iter().flat_map(|(_, made)| &made.tables).map(|table| table.text(width, &mut said)).collect();
    parts.extend(
        tables
            .iter()
            .filter(|(_, made)| made.tables.is_empty())
            .map(|(name, _)| format!("{name}: no row of a codec for it, so it has only a header.\n")),
    );
    parts.extend(missing(report, &view, beside));
    Ok(parts.join("\n"))
}

/// A line for each figure that is wanted and has nothing to show, with the command that would make it.
fn missing(report: &Report, view: &view::View, beside: &Beside) -> Vec<String> {
    let mut out = Vec::new();
    for (wanted, kind) in [(report.ratio_plot, series::Kind::Ratio), (report.layer_plot, series::Kind::Layer)] {
        if wanted && series::figures(view, kind).is_empty() {
            out.push(format!("{}: no finished cell to draw, so there is no figure.\n", kind.file()));
        }
    }
    if report.activations && beside.similarity.is_empty() {
        out.push(NO_ACTIVATIONS.into());
    }
    if report.response.is_some() && beside.service.is_empty() {
        out.push(response::NO_TIMES.into());
    }
    out
}

fn checked<'a>(report: &Report, rows: &'a [Row]) -> Result<view::View<'a>> {
    let points = report.near_lossless_points;
    ensure!(points.is_finite() && points >= 0.0, "near_lossless_points is {points}: it must be 0 or more");
    report.response.as_ref().map_or(Ok(()), Response::check)?;
    view::View::new(rows)
}

fn sweeps<'a>(report: &Report, rows: &'a [Row], beside: &'a Beside) -> Result<Vec<layers::Sweep<'a>>> {
    if report.layers { layers::sweeps(rows, &beside.indicators) } else { Ok(Vec::new()) }
}

fn rendered(
    report: &Report,
    view: &view::View,
    beside: &Beside,
    sweeps: &[layers::Sweep],
    place: Place,
) -> Vec<(&'static str, Rendered)> {
    let mut out = Vec::new();
    if report.table2 {
        out.push(("table2", table2::table2(view, report.near_lossless_points, place)));
    }
    if report.table3 {
        out.push(("table3", table3::table3(view, place)));
    }
    if report.codecs {
        out.push(("codecs", codecs::codecs(view, &beside.times)));
    }
    if report.by_ratio {
        out.push(("by-ratio", by_ratio::by_ratio(view)));
    }
    if (report.table2 || report.table3 || report.codecs) && fidelity::is_measured(view.rows) {
        out.push(("fidelity", fidelity::fidelity(view)));
    }
    if report.layers {
        out.extend(layers::tables(view, sweeps));
    }
    if report.near_lossless {
        out.push(("near-lossless", searched::table(view, report.near_lossless_points)));
    }
    if let Some(response) = &report.response {
        out.extend(response::tables(&beside.service, response));
    }
    if beside.partial {
        let tables = out.iter_mut().flat_map(|(_, made)| &mut made.tables);
        tables.for_each(|table| table.caption.insert(0, PARTIAL.into()));
    }
    out
}

/// All figures of a run, the ones that say most first.
fn figures(
    report: &Report,
    view: &view::View,
    sweeps: &[layers::Sweep],
    beside: &Beside,
    words: Words,
) -> Result<Vec<Picture>> {
    let mut out = Vec::new();
    if report.ratio_plot {
        out.extend(series::figures(view, series::Kind::Ratio));
        out.extend(series::figures(view, series::Kind::Bytes));
    }
    if report.layer_plot {
        out.extend(series::figures(view, series::Kind::Layer));
    }
    if report.codecs {
        out.extend(codec_figures::figures(view));
    }
    out.extend(layer_figures::figures(view, sweeps));
    out.extend(activation_figures::figures(&beside.similarity, &beside.energy));
    if beside.partial {
        out.iter_mut().for_each(|drawing| drawing.figure.subtitle.insert_str(0, &format!("{PARTIAL} ")));
    }
    let mut out: Vec<Picture> =
        out.into_iter().map(|drawing| drawing.figure.picture(drawing.file, words)).collect::<Result<_>>()?;
    out.extend(heat_figures::figures(&beside.maps, words)?);
    if let Some(response) = &report.response {
        for (file, bars) in response::figures(&beside.service, response) {
            out.push(bars.picture(file, words)?);
        }
    }
    Ok(out)
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))
}

#[cfg(test)]
mod tests;
