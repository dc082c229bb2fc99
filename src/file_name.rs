//! Names of models, experiments and the like as parts of file names.

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

/// Bytes of the readable part at most: with data set, shard and endings a name stays below the 255 that file systems take.
const MOST: usize = 80;

/// Hexadecimal digits of the hash.
const DIGITS: usize = 12;

/// A name as part of a file name. One of small letters, digits, dots, underscores and single dashes stays as it is; of another what can
/// be read stays, and a short hash of the whole name follows. So two names that differ never share a file, not where a file system takes
/// capital and small letters for the same either, no file is hidden, and none has two dashes in a row, which part it from what follows.
pub fn file_name(name: &str) -> String {
    let mut readable = String::new();
    for letter in name.chars() {
        if letter.is_alphanumeric() || "._".contains(letter) {
            readable.push(letter);
        } else if !readable.ends_with('-') {
            readable.push('-');
        }
    }
    // Of a path its end says most.
    let from = (readable.len().saturating_sub(MOST)..).find(|&at| readable.is_char_boundary(at)).unwrap_or_default();
    let readable = readable[from..].trim_matches(['-', '.']);
    let plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"._-".contains(&letter);
    // What ends like a hash gets one too, or it could be another name with its hash.
    let last = readable.rsplit('-').next().unwrap_or_default();
    let hashed = last.len() == DIGITS && last.bytes().all(|letter| letter.is_ascii_hexdigit());
    if readable == name && readable.bytes().all(plain) && !hashed && !readable.is_empty() {
        return name.to_string();
    }
    let hash = hex::encode(Sha256::digest(name));
    let hash = &hash[..DIGITS];
    if readable.is_empty() { hash.to_string() } else { format!("{readable}-{hash}") }
}

/// Fails on a name of a run that is no name of a folder, or one that listings hide.
pub fn check_run_name(run: &str) -> Result<()> {
    let plain = !run.is_empty() && !run.starts_with('.') && !run.contains(['/', '\\', '\0']);
    ensure!(plain, "run name {run:?} must be a plain folder name that does not begin with a dot");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_loses_nothing_stays() {
        for name in ["pocket", "qwen2.5-1.5b", "arc_easy-mini", "2026-11-27-abc1234", "a.b_c-d"] {
            assert_eq!(file_name(name), name);
        }
        assert!(file_name("../Llama 3.2--1B/").starts_with("Llama-3.2-1B-"));
        assert!(file_name("模型/甲").starts_with("模型-甲-"));
    }

    #[test]
    fn names_that_differ_have_files_that_differ() {
        let long = "x/".repeat(400);
        let mut names: Vec<String> = [
            "m",
            "M",
            "./m",
            "m/",
            "/m",
            ".m",
            "m.",
            "-m",
            "m-",
            "a/b",
            "a-b",
            "a--b",
            "a_b",
            "a b",
            "a+b",
            "ckpt/step_100",
            "ckpt/step-100",
            "模型",
            "模型2",
            "모델",
            "é",
            "e\u{301}",
            "É",
            "",
            ".",
            "..",
            "/",
            "-",
            "a\0b",
            "con:",
            "a,b",
        ]
        .map(String::from)
        .to_vec();
        names.extend([format!("{long}a"), format!("{long}b"), "語".repeat(200), "語".repeat(201)]);
        // Names that are what others become.
        let made: Vec<String> = names.iter().map(|name| file_name(name)).collect();
        names.extend(made);
        let names: HashSet<String> = names.into_iter().collect();
        let files: HashSet<String> = names.iter().map(|name| file_name(name).to_lowercase()).collect();
        assert_eq!(files.len(), names.len());
        for file in names.iter().map(|name| file_name(name)) {
            assert!(!file.is_empty() && file.len() < 120, "{file}");
            assert!(!file.starts_with(['.', '-']) && !file.ends_with('.') && !file.contains("--"), "{file}");
            assert!(!file.contains(['/', '\\', ':', '\0', ' ', ',', '*', '?', '"', '<', '>', '|']), "{file}");
        }
    }

    #[test]
    fn a_run_is_a_folder_that_is_seen() {
        assert!(["a", "2026-01-01", "My run"].iter().all(|run| check_run_name(run).is_ok()));
        assert!(["", ".", "..", ".a", "a/b", "a\\b"].iter().all(|run| check_run_name(run).is_err()));
    }
}
