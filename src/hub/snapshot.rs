//! Which files are meant by a folder of the hub's cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The folder of a model's files that `folder` stands for: itself, or where it is a repository of the hub's cache
/// (`models--owner--name`, or `snapshots` in it) the snapshot of its branch `main`, else its only one.
pub fn snapshot_in(folder: &Path) -> Result<PathBuf> {
    // `.`, `..` and links have no name of their own.
    let Ok(place) = fs::canonicalize(folder) else { return Ok(folder.to_path_buf()) };
    let is_repository = |path: &Path| name(path).starts_with("models--");
    let repository = match place.parent() {
        _ if is_repository(&place) => place.as_path(),
        Some(parent) if is_repository(parent) => parent,
        _ => {
            let models: Vec<String> = folders(&place).iter().filter(|f| is_repository(f)).map(|f| name(f)).collect();
            if !models.is_empty() && !place.join("config.json").is_file() {
                bail!("{} is the hub's cache; give one of its models: {}", folder.display(), models.join(", "));
            }
            return Ok(folder.to_path_buf());
        }
    };
    let snapshots = folders(&repository.join("snapshots"));
    let main = fs::read_to_string(repository.join("refs/main")).unwrap_or_default();
    let kept = snapshots.iter().find(|snapshot| name(snapshot) == main.trim());
    match (kept, &snapshots[..]) {
        (Some(snapshot), _) | (None, [snapshot]) => Ok(snapshot.clone()),
        (None, []) => bail!("{} holds no snapshot: fetch the model again", repository.display()),
        (None, several) => {
            let several: Vec<String> = several.iter().map(|s| s.display().to_string()).collect();
            bail!("{} holds several snapshots; give one of: {}", repository.display(), several.join(", "))
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folders in a folder, ascending.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_the_cache_stands_for_its_main_snapshot() {
        let cache = tempfile::tempdir().unwrap();
        let cache = fs::canonicalize(cache.path()).unwrap();
        let model = cache.join("models--a--b");
        let snapshot = |commit: &str| model.join("snapshots").join(commit);
        let meant = |folder: &Path| snapshot_in(folder).map_err(|e| e.to_string());
        fs::create_dir_all(model.join("refs")).unwrap();
        assert!(meant(&model).unwrap_err().contains("no snapshot"));
        fs::create_dir_all(snapshot("c0")).unwrap();
        for folder in ["", "snapshots", "refs", "snapshots/.."] {
            assert_eq!(meant(&model.join(folder)), Ok(snapshot("c0")), "{folder}");
        }
        fs::create_dir_all(snapshot("c1")).unwrap();
        let error = meant(&model).unwrap_err();
        assert!(error.contains("several") && error.contains("c0, ") && error.contains("c1"), "{error}");
        fs::write(model.join("refs/main"), "c1\n").unwrap();
        assert_eq!(meant(&model), Ok(snapshot("c1")));
        assert_eq!(meant(&snapshot("c0")), Ok(snapshot("c0")), "what is named is taken");
        let error = meant(&cache).unwrap_err();
        assert!(error.contains("is the hub's cache") && error.contains("models--a--b"), "{error}");
        let plain = cache.join("plain");
        assert_eq!(meant(&plain), Ok(plain));
    }
}
