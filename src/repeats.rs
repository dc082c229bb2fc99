//! What stands twice in a list would be counted twice, under whatever spelling.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

/// Fails, naming both, where two of a list are the same thing; `identity` says what tells one from others.
pub fn refuse_repeats<T: Display, K: PartialEq>(what: &str, list: &[T], identity: impl Fn(&T) -> K) -> Result<()> {
    let known: Vec<K> = list.iter().map(identity).collect();
    for (at, one) in list.iter().enumerate() {
        let Some(first) = known[..at].iter().position(|other| *other == known[at]) else { continue };
        let (first, again) = (list[first].to_string(), one.to_string());
        ensure!(first != again, "{what} {again} is listed twice");
        bail!("{what} {first} is listed twice, the second time as {again}");
    }
    Ok(())
}

/// What tells a file or folder from others however its path is spelled; the path itself where there is none.
pub fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_named() {
        let check = |list: &[&str]| refuse_repeats("model", list, |one| one.trim_end_matches('/').to_string());
        assert!(check(&["a", "b"]).is_ok());
        assert_eq!(check(&["a", "b", "a"]).unwrap_err().to_string(), "model a is listed twice");
        assert_eq!(check(&["a", "b", "a/"]).unwrap_err().to_string(), "model a is listed twice, the second time as a/");
    }

    #[test]
    fn a_folder_is_itself_under_every_spelling() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(real_path(&folder.path().join(".")), real_path(folder.path()));
        assert_eq!(real_path(Path::new("no/such/folder")), Path::new("no/such/folder"));
    }
}
