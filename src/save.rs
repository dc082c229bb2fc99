//! Replacing a file whole: a failed write leaves the old one as it was.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Writes to a temporary file in the same folder, then puts it in the place of `path`, safe from a power cut.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_by(path, |file| file.write_all(bytes).with_context(|| cannot_write(path)))
}

/// As `replace`, for what is too large to be held in memory. Errors of `fill` stay as they are.
pub fn replace_by<T>(path: &Path, fill: impl FnOnce(&mut BufWriter<&File>) -> Result<T>) -> Result<T> {
    path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = temporary_in(folder).with_context(|| cannot_write(path))?;
    let mut file = BufWriter::new(temporary.as_file());
    let result = fill(&mut file)?;
    file.flush().and_then(|()| file.get_ref().sync_all()).with_context(|| cannot_write(path))?;
    drop(file);
    temporary
        .persist(path)
        .map_err(|error| error.error)
        .with_context(|| format!("cannot replace {}", path.display()))?;
    Ok(result)
}

/// Writes a little in a folder and removes it again. Fails where the folder, its file system or its user's share of that is full or
/// write-protected.
pub fn try_in(folder: &Path) -> std::io::Result<()> {
    temporary_in(folder)?.write_all(&[0; 1 << 14])
}

/// A file that goes when it is dropped, with the permissions of any new file: tempfile's own are for its owner alone.
fn temporary_in(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".splitbench-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// What is said of a path that could not be written to.
pub fn cannot_write(path: &Path) -> String {
    format!("cannot write {}: is there space and permission?", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn replaces_whole_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        replace(&path, b"old, and longer").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        // A folder that is not empty cannot be renamed over.
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "kept").unwrap();
        let message = format!("{:#}", replace(&path, b"new").unwrap_err());
        assert!(message.contains("taken"), "{message}");
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "temporary file left behind");
    }
}
