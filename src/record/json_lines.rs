//! Records as JSON Lines: one object per line.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// The text of a file with one line for each record.
pub fn text<T: Serialize>(records: &[T]) -> Result<String> {
    let lines: Vec<String> = records.iter().map(serde_json::to_string).collect::<serde_json::Result<_>>()?;
    Ok(lines.join("\n") + "\n")
}

/// Reads a file of records; `what` says in the error for another line what was expected.
pub fn read<T: DeserializeOwned>(path: &Path, what: &str) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let parse = |(at, line)| {
        serde_json::from_str(line).with_context(|| format!("{} line {}: not {what}", path.display(), at + 1))
    };
    text.lines().enumerate().map(parse).collect()
}
