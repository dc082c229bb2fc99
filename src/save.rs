//! Replacing a file whole: a failed write leaves the old one as it was.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

/// Writes to a temporary name in the same folder, then renames over `path`.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_by(path, |file| file.write_all(bytes).with_context(|| cannot_write(path)))
}

/// As `replace`, for what is too large to be held in memory. Errors of `fill` stay as they are.
pub fn replace_by<T>(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<T>) -> Result<T> {
    path.file_name().with_context(|| format!("{} names no file", path.display()))?;
    let temporary = temporary(path.parent().unwrap_or(Path::new("")));
    let write = || -> Result<T> {
        let mut file = BufWriter::new(File::create(&temporary).with_context(|| cannot_write(path))?);
        let result = fill(&mut file)?;
        file.flush().with_context(|| cannot_write(path))?;
        fs::rename(&temporary, path).with_context(|| format!("cannot replace {}", path.display()))?;
        Ok(result)
    };
    write().inspect_err(|_| {
        // The error that matters is the one above.
        let _ = fs::remove_file(&temporary);
    })
}

/// Writes a little in a folder and removes it again. Fails where the folder, its file system or its user's share of that is full or
/// write-protected.
pub fn try_in(folder: &Path) -> std::io::Result<()> {
    let temporary = temporary(folder);
    let written = fs::write(&temporary, [0; 1 << 14]);
    let _ = fs::remove_file(&temporary);
    written
}

/// A name that no other process and thread takes; none that is too long where that of the file is not.
fn temporary(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    folder.join(format!(".{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}: is there space and permission?", path.display())
}

#[cfg(test)]
mod tests {
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
