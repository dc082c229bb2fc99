//! The shards of a run, merged: rows, samples, tables and figures as of a run in one go.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::collect::{RunRecords, collect_into};
use super::journal::{Journal, JournalPlan};
use super::manifest::RecordedRun;
use super::run::{RunOutcome, finish};
use crate::file_name::file_name;
use crate::model::source::POCKET;
use crate::output::{self, Output};
use crate::record::RunFolder;
use crate::record::manifest::Manifest;
use splitbench_codec::suggest;

/// Merges the journals of run folders, which may come from several machines, and writes what they come to into the first. Where
/// `only` names data sets, the others are left out, finished or not.
pub fn merge(folders: &[PathBuf], only: &[String]) -> Result<RunOutcome> {
    let first = folders.first().context("no run was given")?;
    let first = first.canonicalize().with_context(|| format!("there is no run {}", first.display()))?;
    let known = RecordedRun::find(&first)?;
    let known = known.with_context(|| format!("{} has no manifest.json: it is no run", first.display()))?;
    let RecordedRun { experiment, spec, .. } = known;
    let (out, run) = split_run_path(&first, &experiment)
        .with_context(|| format!("{} is not .../results/{experiment}/RUN", first.display()))?;
    let mut journals: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let folder = folder.join("journal");
        let files = fs::read_dir(&folder).with_context(|| format!("there are no journals in {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|kind| kind == "journal"));
        paths.sort();
        journals.extend(paths);
    }
    let is_written = |path: &Path| path.extension().is_none_or(|kind| kind != "journal");
    let samples = Output::folder("the run", &first.join("samples"));
    output::check(&journals, &[Output::files_in("the run", &first, is_written), samples])?;
    let folder = RunFolder::create(out, &experiment, run, None, &[])?;
    let mut journals: Vec<Journal> = journals.iter().map(|path| Journal::read(path)).collect::<Result<_>>()?;
    let mut collected = RunRecords::default();
    // A journal without a line is of a data set that was not begun.
    journals.retain(|journal| journal.plan().is_some());
    let datasets = spec.dataset_infos()?;
    let names: Vec<&str> = datasets.iter().map(|info| info.name.as_str()).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(suggest::unknown("data set of this run", unknown, names));
    }
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    for model in &spec.models {
        for info in &datasets {
            // The embedded model is asked the mini set of the same name, unless the experiment has both.
            let mini = (model == POCKET).then(|| format!("{}-mini", info.name));
            let mini = mini.filter(|mini| datasets.iter().all(|info| info.name != *mini));
            let is_here = |plan: &JournalPlan| {
                let dataset = &plan.row.dataset;
                plan.row.model == *model && (*dataset == info.name || Some(dataset) == mini.as_ref())
            };
            let (mut here, others) =
                journals.into_iter().partition::<Vec<Journal>, _>(|journal| journal.plan().is_some_and(is_here));
            journals = others;
            if !is_wanted(&info.name) {
                continue;
            }
            let plan = here.first().and_then(Journal::plan);
            let dataset = plan.map(|plan| plan.row.dataset.clone());
            let dataset = dataset.with_context(|| {
                format!("model {model}, data set {}: no shard has begun it; give its command again", info.name)
            })?;
            collected.extend(collect_into(&folder, model, &dataset, &mut here)?);
        }
    }
    let strange: Vec<String> = journals.iter().map(|journal| journal.path().display().to_string()).collect();
    ensure!(strange.is_empty(), "not of this experiment: {}; remove them or give other runs", strange.join(", "));
    // Shards have manifests of their own, each closed by its run.
    let manifest = first.join("manifest.json");
    if only.is_empty() && manifest.is_file() {
        Manifest::finish(&manifest)?;
    }
    Ok(finish(folder, &spec.report, &collected))
}

/// The folder that holds results/, and the name of the run.
fn split_run_path<'a>(folder: &'a Path, experiment: &str) -> Option<(&'a Path, &'a str)> {
    let run = folder.file_name()?.to_str()?;
    let of_experiment = folder.parent()?;
    let results = of_experiment.parent()?;
    (of_experiment.file_name()? == file_name(experiment).as_str() && results.file_name()? == "results")
        .then_some((results.parent()?, run))
}
