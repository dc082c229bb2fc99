//! The order of the rooms (docs/architecture.md), and names that are there once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src`, top down. A file imports from rooms below its own, and from no other of its own line.
const ROOMS: [&[&str]; 11] = [
    &["cmd"],
    &["report", "prepare"],
    &["advise"],
    &["experiment", "replay", "simulate", "live"],
    &["record"],
    &["score"],
    &["model"],
    &["data"],
    &["hub"],
    &["output"],
    &["caught", "clock", "cuda_libraries", "embedded", "emulated", "exact", "file_name", "progress", "repeats", "save"],
];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            out.push(path);
        }
    }
    out.sort();
}

/// The code of a file, without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |code, line| code + line + "\n")
}

#[test]
fn an_import_only_goes_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let level = |room: &str| ROOMS.iter().position(|line| line.contains(&room));
    let mut wrong = Vec::new();
    for path in &files {
        let place = path.strip_prefix(&src).unwrap();
        let room = place.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if ["main", "lib"].contains(&room) {
            continue;
        }
        let own = level(room).unwrap_or_else(|| panic!("{room} has no place in ROOMS"));
        // `use crate::{a, b}` is two imports.
        let code = code(path).replace("crate::{", "crate::");
        for import in code.split("crate::").skip(1) {
            let name: String = import.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name != room && level(&name).is_some_and(|other| other <= own) {
                wrong.push(format!("{}: crate::{name}", place.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go up or sideways:\n{}", wrong.join("\n"));
}

/// Names that more than one type has, and why.
const SHARED_NAMES: [(&str, &str); 3] = [
    ("Args", "what clap reads for a subcommand: one in each file of `cmd`"),
    ("EndSignal", "the signals that end a relay, and their place on systems that have none"),
    ("Program", "a running process, and its place on systems that have none"),
];

#[test]
fn a_type_has_a_name_of_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in
        ["src", "crates/codec/src", "crates/fpga/src", "crates/planner/src", "crates/python/src", "tools/pocket/src"]
    {
        sources(&root.join(folder), &mut files);
    }
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files.iter().filter(|path| !path.to_string_lossy().ends_with("tests.rs")) {
        let code = code(path);
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in code.lines() {
            let words: Vec<&str> = line.split_whitespace().skip_while(|word| word.starts_with("pub")).collect();
            if let ["struct" | "enum" | "trait", name, ..] = words[..] {
                let name: String = name.chars().take_while(|c| c.is_alphanumeric()).collect();
                places.entry(name).or_default().push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let exceptions = SHARED_NAMES.map(|(name, _)| name);
    let twice: Vec<String> = (places.iter())
        .filter(|(name, places)| places.len() > 1 && !exceptions.contains(&name.as_str()))
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert!(twice.is_empty(), "types that share a name:\n{}", twice.join("\n"));
    assert!(places.len() > 300, "{} types: the search finds too few", places.len());
}
