//! Prompts, token ids, accuracy and statistics against a second opinion: lm-evaluation-harness, NumPy and SciPy, as
//! `tests/reference/*.py` wrote it down, and against the real rows where they are at hand.

mod harness;
mod loglik;
mod own;
mod prompts;
mod real_rows;
mod statistics;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use splitbench::data::{Question, find, read_rows};

/// A path inside `tests/reference`.
fn reference(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(path)
}

fn json<T: DeserializeOwned>(path: &str) -> T {
    serde_json::from_slice(&std::fs::read(reference(path)).unwrap()).unwrap()
}

/// Our own rows for a data set.
fn own_rows(dataset: &str) -> Vec<Question> {
    let path = reference(&format!("rows/{dataset}.jsonl"));
    read_rows(find(dataset).unwrap(), dataset, &std::fs::read(path).unwrap(), None).unwrap()
}
