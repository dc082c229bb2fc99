//! What is read again of a run's manifest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::spec::Spec;

/// Which experiment a run is of, with what the command line changed in it.
#[derive(Deserialize)]
pub struct Known {
    /// Its name.
    pub experiment: String,
    /// What it asks for.
    pub spec: Spec,
}

impl Known {
    /// Any of the folder's manifests, a shard's too: they are of the same command.
    pub fn of_run(folder: &Path) -> Result<Self> {
        let files = fs::read_dir(folder).with_context(|| format!("there is no run {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        paths.sort();
        let is_manifest = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("manifest.") && name.ends_with(".json")
        };
        let path = paths.into_iter().find(is_manifest);
        let path = path.with_context(|| format!("{} has no manifest.json: it is no run", folder.display()))?;
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no manifest of this version", path.display()))
    }
}
