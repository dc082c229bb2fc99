//! Where a command writes: never over what it reads, and tried before anything is computed.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::save;

/// A place to write to.
pub struct Output {
    /// The option that names it, for messages.
    option: &'static str,
    path: PathBuf,
    kind: OutputKind,
}

enum OutputKind {
    File,
    /// In which any file may be replaced, in folders in it too.
    Folder,
    /// In which these files may be replaced.
    Files(fn(&Path) -> bool),
}

impl Output {
    /// A file in a folder that is there.
    pub fn file(option: &'static str, path: &Path) -> Self {
        Self { option, path: path.to_path_buf(), kind: OutputKind::File }
    }

    /// A folder, made where it is not there yet, in which any file may be replaced.
    pub fn folder(option: &'static str, path: &Path) -> Self {
        Self { option, path: path.to_path_buf(), kind: OutputKind::Folder }
    }

    /// A folder, made where it is not there yet, in which only files that `is_written` takes may be replaced.
    pub fn files_in(option: &'static str, path: &Path, is_written: fn(&Path) -> bool) -> Self {
        Self { option, path: path.to_path_buf(), kind: OutputKind::Files(is_written) }
    }

    fn named(&self) -> String {
        format!("{} {}", self.option, self.path.display())
    }
}

/// Fails where an output is a file of `read` by any name, the place of another output, something else than a file or folder, or where
/// nothing can be written. Every command that writes asks this before it computes anything; it leaves nothing behind.
pub fn check(read: &[PathBuf], outputs: &[Output]) -> Result<()> {
    // A file that cannot be found is an error where it is read.
    let read: Vec<_> = read.iter().filter_map(|path| Some((identity(path)?, path))).collect();
    let refuse_read = |path: &Path| -> Result<()> {
        let Some(id) = identity(path) else { return Ok(()) };
        match read.iter().find(|(other, _)| *other == id) {
            Some((_, other)) if other.as_path() == path => {
                bail!("{} is a file that is read; give another name", path.display())
            }
            Some((_, other)) => {
                bail!("{} is {}, a file that is read; give another name", path.display(), other.display())
            }
            None => Ok(()),
        }
    };
    let mut taken = Vec::new();
    for output in outputs {
        let check = || match output.kind {
            OutputKind::File => {
                let place = file_place(&output.path)?;
                refuse_read(&output.path)?;
                Ok(Some(place))
            }
            OutputKind::Folder | OutputKind::Files(_) => {
                try_folder(&output.path)?;
                let (is_written, depth): (fn(&Path) -> bool, _) = match output.kind {
                    OutputKind::Files(is_written) => (is_written, 0),
                    _ => (|_| true, DEEPEST),
                };
                files_in(&output.path, is_written, depth)?.iter().try_for_each(|file| refuse_read(file))?;
                Ok(None)
            }
        };
        let place: Result<Option<PathBuf>> = check();
        let Some(place) = place.with_context(|| output.named())? else { continue };
        ensure!(!taken.contains(&place), "{}: this is the place of another result; give another name", output.named());
        taken.push(place);
    }
    Ok(())
}

/// What tells a file from others whatever it is called, by links of both kinds too.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// The path of a file that can be written, without links.
fn file_place(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().context("names no file")?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::metadata(path) {
        Ok(there) => {
            // Renaming over a device or a pipe would replace it.
            ensure!(there.is_file(), "there is something that is not a file");
            // Changes nothing, and tells of a file that is protected.
            OpenOptions::new().append(true).open(path).context("the file that is there cannot be written")?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).context("no file can be there"),
    }
    try_folder_that_is_there(folder)?;
    // Renaming replaces a link, not what it leads to.
    path.canonicalize().or_else(|_| Ok(folder.canonicalize()?.join(name)))
}

/// Fails where a folder is not there and cannot be made, or nothing can be written in it.
fn try_folder(path: &Path) -> Result<()> {
    let folder = path.ancestors().find(|folder| folder.as_os_str().is_empty() || fs::symlink_metadata(folder).is_ok());
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    try_folder_that_is_there(folder)
}

fn try_folder_that_is_there(folder: &Path) -> Result<()> {
    let metadata = fs::metadata(folder).with_context(|| format!("the folder {}", folder.display()))?;
    ensure!(metadata.is_dir(), "{} is not a folder", folder.display());
    save::try_in(folder)
        .with_context(|| format!("nothing can be written in {}: is there space and permission?", folder.display()))
}

/// Folders in folders that are looked at: links may lead around in circles.
const DEEPEST: usize = 6;

/// The files in a folder, and in `depth` levels of folders in it, that `is_written` takes. Fails where there is a folder in the place of such a file.
fn files_in(folder: &Path, is_written: fn(&Path) -> bool, depth: usize) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    let entries = fs::read_dir(folder).with_context(|| format!("reading the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("reading the folder {}", folder.display()))?.path();
        if path.is_dir() {
            let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
            ensure!(
                !(is_written(&path) && WRITTEN.contains(&kind)),
                "{} is a folder where a file is to be; move it away",
                path.display()
            );
            if depth > 0 {
                files.extend(files_in(&path, is_written, depth - 1)?);
            }
        } else if is_written(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

/// What names of files that this program writes end in.
const WRITTEN: [&str; 11] =
    ["csv", "html", "journal", "json", "jsonl", "md", "npy", "parquet", "safetensors", "svg", "txt"];

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<()>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    /// A folder with `read.json`, and the names of all that is in it after the test.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let read = folder.path().join("read.json");
        fs::write(&read, "kept").unwrap();
        (folder, read)
    }

    #[test]
    fn a_file_that_is_read_is_refused_by_any_name() {
        let (folder, read) = folder();
        let at = |name: &str| folder.path().join(name);
        fs::hard_link(&read, at("hard.json")).unwrap();
        fs::create_dir(at("in")).unwrap();
        let mut names = vec![read.clone(), at("hard.json"), at("in/../read.json"), at("./read.json")];
        #[cfg(unix)]
        for (link, to) in [("link.json", at("read.json")), ("in/relative.json", "../read.json".into())] {
            std::os::unix::fs::symlink(to, at(link)).unwrap();
            names.push(at(link));
        }
        for name in names {
            let said = message(check(std::slice::from_ref(&read), &[Output::file("--output", &name)]));
            assert!(said.contains("--output") && said.contains("a file that is read"), "{said}");
            assert!(
                message(check(std::slice::from_ref(&name), &[Output::file("--output", &read)])).contains("is read"),
                "{said}"
            );
        }
        // Anywhere in a folder that is written to, but not beside it.
        fs::create_dir_all(at("run/samples")).unwrap();
        check(std::slice::from_ref(&read), &[Output::folder("--out", &at("run"))]).unwrap();
        fs::hard_link(&read, at("run/samples/a.jsonl")).unwrap();
        let said = message(check(std::slice::from_ref(&read), &[Output::folder("--out", &at("run"))]));
        assert!(said.contains("a.jsonl is ") && said.contains("read.json, a file that is read"), "{said}");
        let figures = Output::files_in("--plots", &at("run"), |path| path.extension().is_some_and(|e| e == "svg"));
        check(std::slice::from_ref(&read), &[figures]).unwrap();
        assert_eq!(fs::read(read).unwrap(), b"kept");
    }

    #[test]
    fn places_are_tried_and_nothing_is_left() {
        let (folder, read) = folder();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("run/rows.csv")).unwrap();
        let long = "a".repeat(300);
        for (output, part) in [
            (Output::file("--samples", &at("no/such/s.jsonl")), "no/such"),
            (Output::file("--samples", &at("run")), "not a file"),
            (Output::file("--samples", Path::new("..")), "names no file"),
            (Output::file("--samples", Path::new("/proc/s.jsonl")), "/proc"),
            (Output::file("--samples", Path::new("/dev/full")), "not a file"),
            (Output::file("--samples", &at("read.json/s.jsonl")), "no file can be there"),
            (Output::file("--samples", &at(&long)), "no file can be there"),
            (Output::folder("--out", &at("run")), "rows.csv is a folder"),
            (Output::folder("--out", &at("read.json/results")), "read.json is not a folder"),
            (Output::folder("--out", Path::new("/proc/results/a")), "/proc"),
        ] {
            let said = message(check(&[], &[output]));
            assert!(said.contains(part), "{said}: no {part}");
        }
        let outputs = [Output::file("--output", &at("b.npy")), Output::file("--packet", &at("run/../b.npy"))];
        assert!(message(check(&[], &outputs)).contains("another result"));
        check(&[read], &[Output::file("--output", &at("b.npy")), Output::folder("--out", &at("new/results"))]).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something was left behind");
    }
}
