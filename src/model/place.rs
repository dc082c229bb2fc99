//! What a model is called on the command line, and where that is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::gguf;
use super::source::{ModelFiles, ModelInfo, POCKET, folder, known, registry};
use crate::hub;

/// Divides a GGUF model from a tokenizer.json in place of its own.
pub(crate) const TOKENIZER: &str = "+tokenizer=";

/// The name of a model with a tokenizer.json in place of its own.
pub fn with_tokenizer(model: &str, tokenizer: &Path) -> String {
    format!("{model}{TOKENIZER}{}", tokenizer.display())
}

/// A repository of the hub, and which of its GGUF models is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// As it was asked for.
    pub name: String,
    /// `owner/name`.
    pub hub: String,
    /// A file's name or a part of it; without it the files of a registered model, or the only GGUF model there is.
    pub pattern: Option<String>,
    /// Whether its licence must be accepted there first.
    pub gated: bool,
}

impl HubModel {
    /// A model by its registered name, or `owner/name` with or without `:PATTERN` where no folder is called so.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(ModelInfo { name, hub, gated, .. }) = known(name) {
            return Some(Self { name: name.to_string(), hub: hub.clone(), pattern: None, gated: *gated });
        }
        let place = name.split_once(TOKENIZER).map_or(name, |(place, _)| place);
        let (hub, pattern) = match place.split_once(':') {
            Some((hub, pattern)) => (hub, Some(pattern.to_string()).filter(|p| !p.is_empty())),
            None => (place, None),
        };
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let (owner, repository) = hub.split_once('/')?;
        let repo = plain(owner) && plain(repository) && !gguf::is_gguf(repository);
        // A path is a path, be it misspelt: what its first folder holds is no hub's.
        (repo && !Path::new(owner).exists()).then(|| Self {
            name: place.to_string(),
            hub: hub.to_string(),
            pattern,
            gated: false,
        })
    }

    /// Its files in the hub's cache.
    pub fn locate(&self) -> Result<ModelFiles> {
        let place = format!("the hub cache of {}", self.hub);
        let found = match hub::kept_files(&self.hub)? {
            None => Err(anyhow!("the hub's cache {} has no {}", hub::cache()?.path().display(), self.hub)),
            Some((snapshot, files)) if self.chooses_gguf(&files) => {
                match gguf::choose(&files, self.pattern.as_deref(), &self.hub) {
                    Ok(chosen) => Ok(ModelFiles::gguf(chosen.iter().map(|file| snapshot.join(file)).collect(), place)),
                    // Fetching makes it no clearer.
                    Err(error) if error.is::<gguf::Ambiguous>() => return Err(error),
                    Err(error) => Err(error),
                }
            }
            Some((snapshot, _)) => folder(|file| Some(snapshot.join(file)).filter(|p| p.is_file()), &place),
        };
        found.with_context(|| {
            let gate = if self.gated { " after accepting its licence there," } else { "" };
            let name = &self.name;
            format!(
                "model {name} is not on this machine; fetch it with `splitbench prepare --model {name}`,{gate} or pass the folder of its \
                 config.json, model.safetensors and tokenizer.json, or a GGUF file, as --model"
            )
        })
    }

    /// Whether it has to be fetched first.
    pub fn is_missing(&self) -> bool {
        self.locate().is_err_and(|error| !error.is::<gguf::Ambiguous>())
    }

    /// Whether a GGUF model of a repository with these files is meant.
    pub fn chooses_gguf(&self, files: &[String]) -> bool {
        let whole = ["model.safetensors", "model.safetensors.index.json"];
        self.pattern.is_some()
            || (files.iter().any(|f| gguf::is_gguf(f)) && !files.iter().any(|f| whole.contains(&f.as_str())))
    }
}

/// Finds the files of a model: `pocket`, a registered name, a folder, a GGUF file, a folder or a repository of the hub with GGUF files,
/// from which `:PATTERN` chooses.
pub fn locate(name: &str) -> Result<ModelFiles> {
    let Some((place, tokenizer)) = name.split_once(TOKENIZER) else { return locate_place(name) };
    let mut files = locate_place(place)?;
    let ModelFiles::Gguf { tokenizer: own, .. } = &mut files else {
        bail!("model {place} has a tokenizer.json of its own; --tokenizer is for GGUF files");
    };
    let path = PathBuf::from(tokenizer);
    ensure!(path.is_file(), "--tokenizer {tokenizer}: no such file");
    *own = Some(path);
    Ok(files)
}

fn locate_place(name: &str) -> Result<ModelFiles> {
    if name == POCKET {
        return Ok(ModelFiles::Embedded);
    }
    let path = Path::new(name);
    if path.is_dir() && known(name).is_none() {
        let path = &hub::snapshot_in(path)?;
        return match list(path)? {
            files if files.iter().any(|f| f == "config.json") || !files.iter().any(|f| gguf::is_gguf(f)) => {
                folder(|file| Some(path.join(file)).filter(|p| p.is_file()), &path.display().to_string())
            }
            files => chosen(path, &files, None, name),
        };
    }
    if gguf::is_gguf(name) && path.is_file() {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return chosen(parent, &list(parent)?, Some(&file), name);
    }
    if let Some((place, pattern)) = name.rsplit_once(':').filter(|(place, _)| Path::new(place).is_dir()) {
        return chosen(Path::new(place), &list(Path::new(place))?, Some(pattern), place);
    }
    if let Some(model) = HubModel::parse(name) {
        return model.locate();
    }
    ensure!(
        !name.contains("://"),
        "model {name} is an address; expected a folder, a GGUF file, or a model of the hub as owner/name"
    );
    if name.contains(['/', '\\']) || path.exists() || gguf::is_gguf(name) {
        bail!("model {name} does not exist or is neither a folder nor a .gguf file");
    }
    let known = registry().iter().map(|m| m.name.as_str()).chain([POCKET]);
    Err(splitbench_codec::suggest::unknown("model", name, known)
        .context("a model is a known name, a folder, a GGUF file or a repository owner/name of the hub"))
}

fn chosen(folder: &Path, files: &[String], pattern: Option<&str>, place: &str) -> Result<ModelFiles> {
    let files = gguf::choose(files, pattern, place)?;
    Ok(ModelFiles::gguf(files.iter().map(|file| folder.join(file)).collect(), place.to_string()))
}

/// Names of the files of a folder.
fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading the folder {}", folder.display()))?;
    Ok(entries.flatten().filter(|e| e.path().is_file()).filter_map(|e| e.file_name().into_string().ok()).collect())
}
