//! Whether results can be written where they were asked for, before anything is computed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Fails where a place to write to is a file that is read, the place of another result, in no folder, or something else
/// than a file: renaming over a device or a pipe would replace it.
pub(super) fn check_places<'a>(
    read: impl Iterator<Item = &'a PathBuf>,
    written: &[(&str, &Option<PathBuf>)],
) -> Result<()> {
    // A file that cannot be found is an error where it is read.
    let mut taken: Vec<(PathBuf, &str)> =
        read.filter_map(|path| Some((path.canonicalize().ok()?, "a file that is read"))).collect();
    for (option, path) in written.iter().filter_map(|(option, path)| Some((*option, path.as_deref()?))) {
        let place = resolved(path).with_context(|| format!("{option} {}", path.display()))?;
        ensure!(
            !place.exists() || place.is_file(),
            "{option} {}: there is something that is not a file",
            path.display()
        );
        if let Some((_, what)) = taken.iter().find(|(other, _)| *other == place) {
            anyhow::bail!("{option} {}: this is {what}; give another name", path.display());
        }
        taken.push((place, "the place of another result"));
    }
    Ok(())
}

/// The path without links; the file itself need not exist, its folder must.
fn resolved(path: &Path) -> Result<PathBuf> {
    if let Ok(found) = path.canonicalize() {
        return Ok(found);
    }
    let name = path.file_name().context("names no file")?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(folder.canonicalize().with_context(|| format!("the folder {}", folder.display()))?.join(name))
}
