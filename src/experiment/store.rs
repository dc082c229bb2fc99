//! The folders of a run: manifest, machine, journals, samples, rows, timings.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::cell::CellKey;
use super::collect::{Collected, collect};
use super::indicators::Indicators;
use super::journal::Journal;
use super::row::Row;
use super::shard::Shard;
use crate::file_name::file_name;
use crate::output::{self, Output};
use crate::report;
use crate::save;
use crate::score::Sample;

/// Where a run writes. While it is there, no other run of the same share writes to the same place.
pub struct Store {
    /// `results/<experiment>/<run>`, the experiment as [`file_name`] writes it.
    pub results: PathBuf,
    /// `plots/<experiment>/<run>`.
    pub plots: PathBuf,
    shard: Option<Shard>,
    /// Locked; the system lets go of it whatever way the program ends.
    _lock: Option<File>,
}

/// A line of `samples/*.jsonl`: the cell, then the question.
#[derive(Serialize)]
struct Line<'a> {
    split_layer: Option<usize>,
    scope: &'a str,
    codec: &'a str,
    ratio: Option<f64>,
    accounting: Option<&'a str>,
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
    pub cell: CellKey,
    /// Activations measured.
    pub activations: usize,
    /// Mean time to encode one, microseconds, one thread.
    pub encode_us: f64,
    /// Mean time to decode one.
    pub decode_us: f64,
}

impl Store {
    /// Makes the folders, so that a place that cannot be written to is known before anything is computed. Fails where a file of
    /// `read`, what the run is computed of, lies there, or another program is at work.
    pub fn create(out: &Path, experiment: &str, run: &str, shard: Option<Shard>, read: &[PathBuf]) -> Result<Self> {
        let [results, plots] = ["results", "plots"].map(|kind| out.join(kind).join(file_name(experiment)).join(run));
        output::check(read, &[&results, &plots].map(|folder| Output::folder("--out", folder)))?;
        for folder in [&results.join("samples"), &results.join("journal"), &plots] {
            fs::create_dir_all(folder).with_context(|| {
                format!("cannot make the folder {}; choose another place with --out DIR", folder.display())
            })?;
        }
        let path = results.join("journal").join(of_shard("lock", shard));
        // What is there is not cut off: it may have another name elsewhere.
        let lock = OpenOptions::new().create(true).append(true).open(&path);
        let lock =
            lock.with_context(|| format!("cannot write {}; choose another place with --out DIR", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => bail!(
                "another splitbench is writing to {}; wait until it is done, or give this one a --run NAME of its own",
                results.display()
            ),
            // Some network file systems know no locks.
            Err(fs::TryLockError::Error(error)) => {
                tell!("note: {} cannot be locked ({error}): see that no other run writes there", path.display());
            }
        }
        Ok(Self { results, plots, shard, _lock: Some(lock) })
    }

    /// Where the journal of one model and data set lies.
    pub fn journal_path(&self, model: &str, dataset: &str) -> PathBuf {
        let name = of_shard(&format!("{}--{dataset}", file_name(model)), self.shard);
        self.results.join("journal").join(format!("{name}.journal"))
    }

    /// Name of a file that each shard has of its own.
    pub fn own(&self, name: &str, kind: &str) -> String {
        format!("{}.{kind}", of_shard(name, self.shard))
    }

    /// A folder for results without samples or plots. Fails as `create` does.
    pub fn at(results: PathBuf, read: &[PathBuf]) -> Result<Self> {
        output::check(read, &[Output::folder("--out", &results)])?;
        fs::create_dir_all(&results).with_context(|| {
            format!("cannot make the folder {}; choose another place with --out DIR", results.display())
        })?;
        Ok(Self { plots: results.clone(), results, shard: None, _lock: None })
    }

    /// Writes a JSON file of the run.
    pub fn json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        self.text(name, &(serde_json::to_string_pretty(value)? + "\n")).map(drop)
    }

    /// Writes a text file of the run and returns its path.
    pub fn text(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.results.join(name);
        write_whole(&path, |file| file.write_all(text.as_bytes()).with_context(|| writing(&path)))?;
        Ok(path)
    }

    /// Writes the samples of one model and data set, the baseline's, then each cell's, and gives what the journals come to.
    pub fn collect(&self, model: &str, dataset: &str, journals: &mut [Journal]) -> Result<Collected> {
        let path = self.results.join("samples").join(format!("{}--{dataset}.jsonl", file_name(model)));
        write_whole(&path, |file| {
            collect(journals, |cell, samples| {
                let mut write = |sample| -> io::Result<()> {
                    let line = Line {
                        split_layer: cell.map(|c| c.split_layer),
                        scope: cell.map_or("", |c| &c.scope),
                        codec: cell.map_or("baseline", |c| &c.codec),
                        ratio: cell.and_then(CellKey::ratio),
                        accounting: cell.and_then(|c| c.accounting.as_deref()),
                        sample,
                    };
                    serde_json::to_writer(&mut *file, &line)?;
                    file.write_all(b"\n")
                };
                samples.iter().try_for_each(&mut write).with_context(|| writing(&path))
            })
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
        let mut text =
            "model,dataset,split_layer,scope,codec,ratio,accounting,activations,encode_us,decode_us\n".to_string();
        for t in timings {
            let (cell, split) = (&t.cell, t.cell.split_layer);
            let asked = |part: &Option<String>| part.clone().unwrap_or_default();
            let budget = format!("{},{}", asked(&cell.ratio), asked(&cell.accounting));
            let [model, codec] = [&t.model, &cell.codec].map(|name| name.replace('"', "\"\""));
            text += &format!(
                "\"{model}\",{},{split},{},\"{codec}\",{budget},{},{:.2},{:.2}\n",
                t.dataset, cell.scope, t.activations, t.encode_us, t.decode_us
            );
        }
        self.text("timings.csv", &text).map(drop)
    }
}

/// A name, and the shard it is of.
fn of_shard(name: &str, shard: Option<Shard>) -> String {
    shard.map_or(name.to_string(), |shard| format!("{name}.{shard}"))
}

/// What was being done when a file could not be written.
fn writing(path: &Path) -> String {
    format!("writing {}", path.display())
}

/// Writes a file whole, safe from a power cut.
fn write_whole<T>(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<T>) -> Result<T> {
    save::replace_by(path, |file| {
        let result = fill(file)?;
        file.flush().and_then(|()| file.get_ref().sync_all()).with_context(|| writing(path))?;
        Ok(result)
    })
}
