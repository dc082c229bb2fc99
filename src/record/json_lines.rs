//! Records as JSON Lines: one object per line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Writes a file with one line for each record; it appears whole or not at all.
pub fn write<T: Serialize>(path: &Path, records: &[T]) -> Result<()> {
    crate::save::replace_by(path, |file| {
        let mut lines = records.iter().map(|record| write_line(file, record));
        lines.try_for_each(|line| line).with_context(|| crate::save::cannot_write(path))
    })
}

/// Writes one record.
pub fn write_line(file: &mut impl Write, record: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *file, record)?;
    file.write_all(b"\n")
}

/// Reads a file of records; `what` says in the error for another line what was expected.
pub fn read<T: DeserializeOwned>(path: &Path, what: &str) -> Result<Vec<T>> {
    lines(path, what)?.collect()
}

/// The records of a file, read one after another.
pub fn lines<T: DeserializeOwned>(path: &Path, what: &str) -> Result<impl Iterator<Item = Result<T>>> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let parse = move |(nth, line): (usize, io::Result<String>)| {
        let place = || format!("{} line {}", path.display(), nth + 1);
        serde_json::from_str(&line.with_context(place)?).with_context(|| format!("{}: not {what}", place()))
    };
    Ok(BufReader::new(file).lines().enumerate().map(parse))
}
