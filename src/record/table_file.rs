//! Tables of measured numbers as CSV: a line a struct, a missing number empty.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Writes a header and a line for each; the file appears whole or not at all.
pub(crate) fn write<T: Serialize>(path: &Path, lines: &[T]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.serialize(line).with_context(|| format!("encoding {}", path.display()))?;
    }
    let bytes = writer.into_inner().with_context(|| format!("encoding {}", path.display()))?;
    crate::save::replace(path, &bytes)
}

/// Reads what `write` wrote; fails, naming file, line and field, on anything else.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("opening {}", path.display()))?;
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

    #[test]
    fn every_bit_comes_back_and_a_wrong_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        let line = |name: &str, value| Line { name: name.into(), value, count: u64::MAX };
        let lines = [line("a,\"b\"\nc", Some(0.1 + 0.2)), line("", None), line("tiny", Some(5e-324))];
        write(&path, &lines).unwrap();
        assert_eq!(read::<Line>(&path).unwrap(), lines);
        std::fs::write(&path, "name,value,count\na,soon,3\n").unwrap();
        let error = format!("{:#}", read::<Line>(&path).unwrap_err());
        assert!(error.contains("table.csv") && error.contains("line: 2") && error.contains("field 1"), "{error}");
    }
}
