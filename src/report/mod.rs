//! Tables and figures. Reads rows, never computes a score.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::experiment::ReportSpec;
use crate::record::{Row, table_file};

mod activation_figures;
pub mod advice;
mod bars;
mod by_ratio;
mod caption;
mod codec_figures;
mod codecs;
pub mod compare;
pub mod compare_text;
mod context;
mod fidelity;
mod figure;
mod heat_figures;
mod layer_figures;
pub mod layers;
mod legend;
pub mod live;
mod names;
mod near_lossless;
mod number;
pub mod page;
mod paired;
pub mod paper;
mod perplexity;
mod picture;
pub mod pooled;
pub mod profile;
mod response;
mod searched;
mod series;
pub mod simulation;
mod speed;
mod svg;
mod table;
mod table2;
mod table3;
pub mod table4;
mod view;

pub use context::ReportContext;
pub use fidelity::digits;
pub use heat_figures::HeatMap;
pub use number::p_value;
use paper::NumberPlace;
pub use perplexity::{TextReport, perplexity};
use picture::{Picture, TextPlace};

/// What a star means, for captions.
const STAR: &str = "Under an accuracy: points lost against the baseline on the same questions, with Tango's 95 % interval. *: they differ, exact \
    McNemar p < 0.05; **: also after Holm's correction for the cells of this table.";

/// What to say where nothing of Figure 2 was measured: which command does.
const NO_ACTIVATIONS: &str = "activations: the run has no similarity.csv, energy.csv and heat.csv; `splitbench run figure2` measures them, and so does any experiment with `activations = true` in its report.\n";

/// First words about a run that has not come to its end.
const PARTIAL: &str = "Partial: the run has not finished.";

/// First line of generated Markdown.
const GENERATED: &str = "<!-- Written by splitbench from rows.parquet: change the experiment, not this file. -->\n\n";

/// A kind of table, once a cut and codec as it needs, and all of them as one CSV.
struct TableSet {
    tables: Vec<table::Table>,
    csv: String,
}

impl TableSet {
    fn markdown(&self) -> String {
        let tables: Vec<String> = self.tables.iter().map(table::Table::markdown).collect();
        format!("{GENERATED}{}", tables.join("\n"))
    }
}

/// Writes the rows as CSV, tables, `paired.csv` and figures, each file whole or not at all, and returns their paths.
pub fn write(
    results: &Path,
    plots: &Path,
    report: &ReportSpec,
    rows: &[Row],
    context: &ReportContext,
) -> Result<Vec<PathBuf>> {
    let view = checked(report, rows)?;
    create(results)?;
    let mut written = vec![table_file::write(results, rows)?];
    let mut put = |path: PathBuf, text: &str| {
        crate::save::replace(&path, text.as_bytes())?;
        written.push(path);
        anyhow::Ok(())
    };
    let sweeps = sweeps(report, rows, context)?;
    for (name, rendered) in rendered(report, &view, context, &sweeps, NumberPlace::Below) {
        put(results.join(format!("{name}.md")), &rendered.markdown())?;
        put(results.join(format!("{name}.csv")), &rendered.csv)?;
    }
    if report.paired {
        put(results.join("paired.csv"), &paired::csv(&view))?;
    }
    let drawn = figures(report, &view, &sweeps, context, TextPlace::Inside)?;
    if !drawn.is_empty() {
        create(plots)?;
    }
    for Picture { file, svg, .. } in drawn {
        put(plots.join(format!("{file}.svg")), &svg)?;
    }
    Ok(written)
}

/// Tables, figures and page of a run whose records are on disk, and the tables as text. Where a file cannot be written, the text
/// comes with the reason.
pub fn publish(results: &Path, plots: &Path, spec: &ReportSpec, rows: &[Row]) -> Result<ReportFiles> {
    let context = ReportContext::read(results, spec)?;
    let text = terminal(spec, rows, &context, WIDTH)?;
    let files = || -> Result<Vec<PathBuf>> {
        let mut files = write(results, plots, spec, rows, &context)?;
        files.extend(
            page::write(&[results.to_path_buf()], results, Some(plots)).context("writing the page of the run")?,
        );
        Ok(files)
    };
    let (files, failure) = match files() {
        Ok(files) => (files, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    Ok(ReportFiles { text, files, failure })
}

/// What [`publish`] made.
pub struct ReportFiles {
    /// Tables for the terminal.
    pub text: String,
    /// Files written.
    pub files: Vec<PathBuf>,
    /// Why not all was written, where that is so.
    pub failure: Option<anyhow::Error>,
}

/// Columns of a terminal's tables.
pub const WIDTH: usize = 160;

/// The tables as aligned plain text in at most `width` columns, a caption's sentence only where it comes first, and a line for each figure that has nothing to show.
pub fn terminal(report: &ReportSpec, rows: &[Row], context: &ReportContext, width: usize) -> Result<String> {
    let view = checked(report, rows)?;
    let tables = rendered(report, &view, context, &sweeps(report, rows, context)?, NumberPlace::Below);
    let mut said = Vec::new();
    let mut parts: Vec<String> =
        tables.iter().flat_map(|(_, made)| &made.tables).map(|table| table.text(width, &mut said)).collect();
    parts.extend(
        tables
            .iter()
            .filter(|(_, made)| made.tables.is_empty())
            .map(|(name, _)| format!("{name}: no row of a codec for it, so it has only a header.\n")),
    );
    parts.extend(missing(report, &view, context));
    Ok(parts.join("\n"))
}

/// A line for each figure that is wanted and has nothing to show, with the command that would make it.
fn missing(report: &ReportSpec, view: &view::RowView, context: &ReportContext) -> Vec<String> {
    let mut out = Vec::new();
    for (wanted, kind) in
        [(report.ratio_plot, series::SeriesKind::Ratio), (report.layer_plot, series::SeriesKind::Layer)]
    {
        if wanted && series::figures(view, kind).is_empty() {
            out.push(format!("{}: no finished cell to draw, so there is no figure.\n", kind.file()));
        }
    }
    if report.activations && context.similarity.is_empty() {
        out.push(NO_ACTIVATIONS.into());
    }
    if report.response.is_some() && context.service.is_empty() {
        out.push(response::NO_TIMES.into());
    }
    out
}

fn checked<'a>(report: &ReportSpec, rows: &'a [Row]) -> Result<view::RowView<'a>> {
    report.check()?;
    Ok(view::RowView::new(rows)?.searched(report.near_lossless))
}

fn sweeps<'a>(report: &ReportSpec, rows: &'a [Row], context: &'a ReportContext) -> Result<Vec<layers::Sweep<'a>>> {
    if report.layers { layers::sweeps(rows, &context.indicators) } else { Ok(Vec::new()) }
}

fn rendered(
    report: &ReportSpec,
    view: &view::RowView,
    context: &ReportContext,
    sweeps: &[layers::Sweep],
    place: NumberPlace,
) -> Vec<(&'static str, TableSet)> {
    let mut out = Vec::new();
    if report.table2 {
        out.push(("table2", table2::table2(view, report.near_lossless_points, place)));
    }
    if report.table3 {
        out.push(("table3", table3::table3(view, place)));
    }
    if report.codecs {
        out.push(("codecs", codecs::codecs(view, &context.times)));
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
        out.extend(response::tables(&context.service, response));
    }
    if context.partial {
        let tables = out.iter_mut().flat_map(|(_, made)| &mut made.tables);
        tables.for_each(|table| table.caption.insert(0, PARTIAL.into()));
    }
    out
}

/// All figures of a run, the ones that say most first.
fn figures(
    report: &ReportSpec,
    view: &view::RowView,
    sweeps: &[layers::Sweep],
    context: &ReportContext,
    words: TextPlace,
) -> Result<Vec<Picture>> {
    let mut out = Vec::new();
    if report.ratio_plot {
        out.extend(series::figures(view, series::SeriesKind::Ratio));
        out.extend(series::figures(view, series::SeriesKind::Bytes));
    }
    if report.layer_plot {
        out.extend(series::figures(view, series::SeriesKind::Layer));
    }
    if report.codecs {
        out.extend(codec_figures::figures(view));
    }
    out.extend(layer_figures::figures(view, sweeps));
    out.extend(activation_figures::figures(&context.similarity, &context.energy));
    if context.partial {
        out.iter_mut().for_each(|drawing| drawing.figure.subtitle.insert_str(0, &format!("{PARTIAL} ")));
    }
    let mut out: Vec<Picture> =
        out.into_iter().map(|drawing| drawing.figure.picture(drawing.file, words)).collect::<Result<_>>()?;
    out.extend(heat_figures::figures(&context.maps, words)?);
    if let Some(response) = &report.response {
        for (file, bars) in response::figures(&context.service, response) {
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
