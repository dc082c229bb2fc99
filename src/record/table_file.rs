//! Tables of measured numbers as CSV: a line a struct, a missing number empty.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// A line of a CSV file in a run's folder.
pub(crate) trait TableLine: Serialize + DeserializeOwned {
    /// Name of the file.
    const FILE: &'static str;
}

/// Writes a header and a line for each, and returns the file's path; the file appears whole or not at all.
pub(crate) fn write<T: TableLine>(folder: &Path, lines: &[T]) -> Result<PathBuf> {
    let path = folder.join(T::FILE);
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.serialize(line).with_context(|| format!("encoding {}", path.display()))?;
    }
    let bytes = writer.into_inner().with_context(|| format!("encoding {}", path.display()))?;
    crate::save::replace(&path, &bytes)?;
    Ok(path)
}

/// Writes lines in place of those of the file that are `old`. No file is made for no lines.
pub(crate) fn replace<T: TableLine>(folder: &Path, lines: Vec<T>, old: impl Fn(&T) -> bool) -> Result<()> {
    let mut all: Vec<T> = read_optional(folder)?;
    if all.is_empty() && lines.is_empty() {
        return Ok(());
    }
    all.retain(|line| !old(line));
    all.extend(lines);
    write(folder, &all).map(drop)
}

/// Reads what `write` wrote; nothing where there is no file.
pub(crate) fn read_optional<T: TableLine>(folder: &Path) -> Result<Vec<T>> {
    if folder.join(T::FILE).exists() { read(folder) } else { Ok(Vec::new()) }
}

/// A text table as CSV, its first line the header.
pub(crate) fn text(lines: &[Vec<String>]) -> String {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    // Memory takes all, and text is UTF-8.
    lines.iter().for_each(|line| writer.write_record(line).expect("fields are text"));
    String::from_utf8(writer.into_inner().expect("memory takes all")).expect("fields are text")
}

/// The fields of each line of such a table; a line that cannot be read is left out.
pub(crate) fn fields(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    reader.records().flatten().map(|line| line.iter().map(String::from).collect()).collect()
}

/// Reads what `write` wrote; fails, naming file, line and field, on anything else.
pub(crate) fn read<T: TableLine>(folder: &Path) -> Result<Vec<T>> {
    let path = folder.join(T::FILE);
    let mut reader = csv::Reader::from_path(&path).with_context(|| format!("opening {}", path.display()))?;
    let lines: csv::Result<Vec<T>> = reader.deserialize().collect();
    lines.with_context(|| format!("{} is not a file of this version", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Line {
        name: String,
        value: Option<f64>,
        count: u64,
    }

    impl TableLine for Line {
        const FILE: &'static str = "table.csv";
    }

    #[test]
    fn what_needs_it_is_quoted_and_comes_back() {
        let lines = [vec!["codec", "err"], vec!["asvd:alpha=0.5,x=1", "say \"no\""], vec!["plain", ""]];
        let lines = lines.map(|line| line.into_iter().map(String::from).collect::<Vec<_>>());
        let text = text(&lines);
        assert_eq!(text, "codec,err\n\"asvd:alpha=0.5,x=1\",\"say \"\"no\"\"\"\nplain,\n");
        assert_eq!(fields(&text), lines);
    }

    #[test]
    fn every_bit_comes_back_and_a_wrong_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let line = |name: &str, value| Line { name: name.into(), value, count: u64::MAX };
        let lines = [line("a,\"b\"\nc", Some(0.1 + 0.2)), line("", None), line("tiny", Some(5e-324))];
        let path = write(folder.path(), &lines).unwrap();
        assert_eq!(read::<Line>(folder.path()).unwrap(), lines);
        std::fs::write(&path, "name,value,count\na,soon,3\n").unwrap();
        let error = format!("{:#}", read::<Line>(folder.path()).unwrap_err());
        assert!(error.contains("table.csv") && error.contains("line: 2") && error.contains("field 1"), "{error}");
    }
}
