//! `splitbench prepare`: an experiment's models and data sets, from the hub to this machine.

mod dataset;
mod files;
mod json;
mod model;
mod parquet;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::experiment::Needs;
use crate::hub::{self, Hub};

/// Where things go, and what to do about rows that are not those on record.
#[derive(Debug, Clone, Default)]
pub struct PrepareOptions {
    /// Models go to `hub` in it and data sets to `<dataset>` in it; the user's cache where it is `None`.
    pub dir: Option<PathBuf>,
    /// The experiment's file, where it is not part of the program.
    pub experiment: Option<PathBuf>,
    /// Whether rows that changed upstream are taken as they are.
    pub accept_changed: bool,
}

/// Prepares all of `needs`, telling a line a model and file. What fails is told at once and the rest goes on; the error at
/// the end names it again.
pub fn prepare(needs: &Needs, options: &PrepareOptions, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let hub = Hub::from_env(options.dir.as_deref())?;
    let folder = match &options.dir {
        Some(dir) => dir.clone(),
        None => hub::datasets_folder()?,
    };
    let mut failed = Vec::new();
    let mut settle = |name: &str, outcome: Result<()>| {
        if let Err(error) = outcome {
            tell!("failed: {name}: {error:#}");
            failed.push(name.to_string());
        }
    };
    for info in &needs.models {
        settle(&info.name, model::prepare(info, &hub, tell));
    }
    for info in &needs.datasets {
        settle(&info.name, dataset::prepare(info, &hub, &folder, options, tell));
    }
    if !failed.is_empty() {
        let all = needs.models.len() + needs.datasets.len();
        bail!("{} of {all} not prepared: {}; the reasons are above", failed.len(), failed.join(", "));
    }
    Ok(())
}
