//! The folders of a run: manifest, machine, journals, samples, rows, timings.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::indicators::Indicators;
use super::row::Row;
use super::shard::Shard;
use super::timing::Timing;
use super::{LiveRow, json_lines, rows, table_file};
use crate::file_name::file_name;
use crate::output::{self, Output};
use crate::save;

/// Where a run writes. While it is there, no other run of the same share writes to the same place.
pub struct RunFolder {
    /// `results/<experiment>/<run>`, the experiment as part of a file name.
    pub results: PathBuf,
    /// `plots/<experiment>/<run>`.
    pub plots: PathBuf,
    shard: Option<Shard>,
    /// Locked; the system lets go of it whatever way the program ends.
    _lock: Option<File>,
}

impl RunFolder {
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

    /// Where the samples of one model and data set lie.
    pub fn samples_path(&self, model: &str, dataset: &str) -> PathBuf {
        self.results.join("samples").join(format!("{}--{dataset}.jsonl", file_name(model)))
    }

    /// Removes samples of other models and data sets than these, of which the rows say nothing.
    pub fn remove_samples_but<'s>(&self, sets: impl Iterator<Item = (&'s str, &'s str)>) -> Result<()> {
        let wanted: Vec<PathBuf> = sets.map(|(model, dataset)| self.samples_path(model, dataset)).collect();
        let folder = self.results.join("samples");
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "jsonl") && !wanted.contains(&path) {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Name of a file that each shard has of its own.
    pub fn shard_file(&self, name: &str, kind: &str) -> String {
        format!("{}.{kind}", of_shard(name, self.shard))
    }

    /// A folder for results without samples or plots. Fails as `create` does.
    pub fn create_bare(results: PathBuf, read: &[PathBuf]) -> Result<Self> {
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
        save::replace(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Writes the rows known so far.
    pub fn rows(&self, rows: &[Row]) -> Result<()> {
        rows::write_parquet(&self.results.join("rows.parquet"), rows)?;
        table_file::write(&self.results, rows).map(drop)
    }

    /// Writes `layers.jsonl`: the indicators, a cell per line.
    pub fn indicators(&self, indicators: &[Indicators]) -> Result<()> {
        json_lines::write(&self.results.join("layers.jsonl"), indicators)
    }

    /// Writes `live.csv`.
    pub fn live(&self, rows: &[LiveRow]) -> Result<()> {
        table_file::write(&self.results, rows).map(drop)
    }

    /// Writes `timings.csv`.
    pub fn timings(&self, timings: &[Timing]) -> Result<()> {
        table_file::write(&self.results, timings).map(drop)
    }
}

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a file of this version", path.display()))
}

/// Reads `name.json` of a run's folder, or that of a shard; none where there is none.
pub fn find_json<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>> {
    let files = fs::read_dir(folder).with_context(|| format!("there is no run {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    paths.sort();
    let is_it = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".json"))
    };
    paths.into_iter().find(is_it).map(|path| read_json(&path)).transpose()
}

/// The name of a run that was given none: `<first>-<revision>-<hash of its settings>`. The same command of the same revision has the
/// same name, so that it goes on where it ended; a `first`, such as a date, tells apart what is always done anew.
pub fn run_name(first: Option<String>, settings: &impl Serialize) -> Result<String> {
    let digest = hex::encode(&Sha256::digest(serde_json::to_string(settings)?)[..3]);
    let revision = crate::VERSION.split('+').nth(1).unwrap_or(crate::VERSION);
    Ok(first.into_iter().chain([revision.to_string(), digest]).collect::<Vec<_>>().join("-"))
}

/// A name, and the shard it is of.
fn of_shard(name: &str, shard: Option<Shard>) -> String {
    shard.map_or(name.to_string(), |shard| format!("{name}.{shard}"))
}
