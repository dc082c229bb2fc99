//! The folders of a run: manifest, machine, samples, rows, timings.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::cell::Cell;
use super::indicators::Indicators;
use super::row::Row;
use crate::report;
use crate::score::Sample;

/// Where a run writes.
pub struct Store {
    /// `results/<experiment>/<run>`.
    pub results: PathBuf,
    /// `plots/<experiment>/<run>`.
    pub plots: PathBuf,
}

/// A line of `samples/*.jsonl`: the cell, then the question.
#[derive(Serialize)]
struct Line<'a> {
    split_layer: Option<usize>,
    scope: String,
    codec: String,
    ratio: Option<f64>,
    accounting: Option<String>,
    #[serde(flatten)]
    sample: &'a Sample,
}

/// Mean times of one cell.
pub struct Timing {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub dataset: String,
    /// The cell.
    pub cell: Cell,
    /// Activations measured.
    pub activations: usize,
    /// Mean time to encode one, microseconds, one thread.
    pub encode_us: f64,
    /// Mean time to decode one.
    pub decode_us: f64,
}

impl Store {
    /// Makes the folders, so that a place that cannot be written to is known before anything is computed.
    pub fn create(out: &Path, experiment: &str, run: &str) -> Result<Self> {
        let results = out.join("results").join(experiment).join(run);
        let plots = out.join("plots").join(experiment).join(run);
        for folder in [&results.join("samples"), &plots] {
            fs::create_dir_all(folder).with_context(|| {
                format!("cannot make the folder {}; choose another place with --out DIR", folder.display())
            })?;
        }
        Ok(Self { results, plots })
    }

    /// A folder for results without samples or plots.
    pub fn at(results: PathBuf) -> Result<Self> {
        fs::create_dir_all(&results).with_context(|| {
            format!("cannot make the folder {}; choose another place with --out DIR", results.display())
        })?;
        Ok(Self { plots: results.clone(), results })
    }

    /// Writes a JSON file of the run.
    pub fn json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        self.text(name, &(serde_json::to_string_pretty(value)? + "\n")).map(drop)
    }

    /// Writes a text file of the run and returns its path.
    pub fn text(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.results.join(name);
        write_whole(&path, |file| Ok(file.write_all(text.as_bytes())?))?;
        Ok(path)
    }

    /// Writes the samples of one model and data set: the baseline's, then each cell's.
    pub fn samples(&self, model: &str, dataset: &str, cells: &[(Option<&Cell>, &[Sample])]) -> Result<()> {
        let path = self.results.join("samples").join(format!("{}--{dataset}.jsonl", file_name(model)));
        write_whole(&path, |file| {
            for (cell, samples) in cells {
                for sample in *samples {
                    let line = Line {
                        split_layer: cell.map(|c| c.split.after_layer),
                        scope: cell.map(|c| c.scope.to_string()).unwrap_or_default(),
                        codec: cell.map_or("baseline".to_string(), |c| c.codec.to_string()),
                        ratio: cell.and_then(|c| c.budget).map(|b| b.ratio),
                        accounting: cell.and_then(|c| c.budget).map(|b| b.accounting.to_string()),
                        sample,
                    };
                    serde_json::to_writer(&mut *file, &line)?;
                    file.write_all(b"\n")?;
                }
            }
            Ok(())
        })
    }

    /// Writes the rows known so far.
    pub fn rows(&self, rows: &[Row]) -> Result<()> {
        report::write_parquet(&self.results.join("rows.parquet"), rows)?;
        report::write_csv(&self.results.join("rows.csv"), rows)
    }

    /// Writes `layers.jsonl`: the indicators, a cell a line.
    pub fn indicators(&self, indicators: &[Indicators]) -> Result<()> {
        let lines: Vec<String> = indicators.iter().map(serde_json::to_string).collect::<serde_json::Result<_>>()?;
        self.text("layers.jsonl", &(lines.join("\n") + "\n")).map(drop)
    }

    /// Writes `timings.csv`. Times stand apart from rows because no two runs agree on them.
    pub fn timings(&self, timings: &[Timing]) -> Result<()> {
        write_whole(&self.results.join("timings.csv"), |file| {
            writeln!(file, "model,dataset,split_layer,scope,codec,ratio,accounting,activations,encode_us,decode_us")?;
            for t in timings {
                let budget = t.cell.budget.map(|b| format!("{},{}", b.ratio, b.accounting)).unwrap_or(",".into());
                let (cell, split) = (&t.cell, t.cell.split.after_layer);
                let codec = cell.codec.to_string().replace('"', "\"\"");
                writeln!(
                    file,
                    "\"{}\",{},{split},{},\"{}\",{budget},{},{:.2},{:.2}",
                    t.model, t.dataset, cell.scope, codec, t.activations, t.encode_us, t.decode_us
                )?;
            }
            Ok(())
        })
    }
}

/// A name with nothing in it that a path would trip over.
pub fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// Writes beside the file and renames: a full disk never costs what was there before.
fn write_whole(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let partial = path.with_extension("partial");
    let write = || -> Result<()> {
        let mut file = BufWriter::new(File::create(&partial)?);
        fill(&mut file)?;
        file.into_inner().map_err(|e| e.into_error())?.sync_all()?;
        Ok(fs::rename(&partial, path)?)
    };
    write().with_context(|| format!("writing {}", path.display())).inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })
}
