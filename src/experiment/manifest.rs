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
    /// When it ended; none of a run that has not.
    pub finished: Option<String>,
}

impl Known {
    /// Any of the folder's manifests, a shard's too: they are of the same command. None where there is none.
    pub fn of_run(folder: &Path) -> Result<Option<Self>> {
        let files = fs::read_dir(folder).with_context(|| format!("there is no run {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        paths.sort();
        let is_manifest = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("manifest.") && name.ends_with(".json")
        };
        let Some(path) = paths.into_iter().find(is_manifest) else { return Ok(None) };
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let known = serde_json::from_str(&text);
        known.with_context(|| format!("{} is no manifest of this version", path.display())).map(Some)
    }
}
