//! The experiments that are part of the program: `experiments/*.toml`.

use include_dir::{Dir, include_dir};

static EXPERIMENTS: Dir = include_dir!("$CARGO_MANIFEST_DIR/experiments");

/// Their names, in alphabetical order.
pub fn experiments() -> Vec<&'static str> {
    let mut names: Vec<_> = EXPERIMENTS
        .files()
        .filter(|f| f.path().extension().is_some_and(|e| e == "toml"))
        .filter_map(|f| f.path().file_stem()?.to_str())
        .collect();
    names.sort_unstable();
    names
}

/// The text of one of them.
pub fn experiment_text(name: &str) -> Option<&'static str> {
    EXPERIMENTS.get_file(format!("{name}.toml"))?.contents_utf8()
}
