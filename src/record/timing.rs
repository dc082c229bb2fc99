//! Mean times of codecs: `timings.csv`. They stand apart from rows because no two runs agree on them.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::row::Row;
use super::table_file::{self, TableLine};

/// A line of `timings.csv`: mean times of one cell, one thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub dataset: String,
    /// The cut: after this layer, 1..=N.
    pub split_layer: u32,
    /// What was compressed.
    pub scope: String,
    /// Codec with its options.
    pub codec: String,
    /// Compression ratio asked for; none of a codec of fixed rate.
    pub ratio: Option<f64>,
    /// What the ratio counts; empty where none was asked for.
    pub accounting: String,
    /// Activations measured.
    pub activations: u64,
    /// Mean time to encode one, microseconds.
    pub encode_us: f64,
    /// Mean time to decode one.
    pub decode_us: f64,
}

impl TableLine for Timing {
    const FILE: &'static str = "timings.csv";
}

/// What `timings.csv` holds.
#[derive(Debug, Default)]
pub struct TimingTable(Vec<Timing>);

impl TimingTable {
    /// Reads `timings.csv` of a run's folder; nothing where there is none.
    pub fn read(folder: &Path) -> Result<Self> {
        table_file::read_optional(folder).map(Self)
    }

    /// Whether nothing was timed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of another run.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Encode and decode time of a row's cell.
    pub fn find(&self, row: &Row) -> Option<(f64, f64)> {
        let timing = self.0.iter().rfind(|t| {
            (&t.model, &t.dataset, &t.scope, &t.codec, &t.accounting)
                == (&row.model, &row.dataset, &row.scope, &row.codec, &row.accounting)
                && (Some(t.split_layer), t.ratio) == (row.split_layer, row.ratio_requested)
        })?;
        Some((timing.encode_us, timing.decode_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::row;

    fn read(results: &Path) -> Result<TimingTable> {
        TimingTable::read(results)
    }

    const HEADER: &str = "model,dataset,split_layer,scope,codec,ratio,accounting,activations,encode_us,decode_us\n";

    #[test]
    fn a_cell_is_found_by_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().find(&row("fc", Some(8.0), 0.5)).is_none());
        let text = format!(
            "{HEADER}\"pocket\",arc_easy,1,prompt+choice,\"fc:band=centered,values=f32\",8,elements,9,1.50,2.50\n\
             \"pocket\",arc_easy,1,prompt+choice,\"int8\",,,9,3.00,4.00\n"
        );
        std::fs::write(folder.path().join("timings.csv"), text).unwrap();
        let times = read(folder.path()).unwrap();
        let fc = row("fc:band=centered,values=f32", Some(8.0), 0.5);
        assert_eq!(times.find(&fc), Some((1.5, 2.5)));
        assert_eq!(times.find(&Row { accounting: "wire".into(), ..fc }), None);
        let fixed = Row { accounting: String::new(), ..row("int8", None, 0.5) };
        assert_eq!(times.find(&fixed), Some((3.0, 4.0)));
    }

    #[test]
    fn a_file_of_another_kind_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timings.csv");
        for text in ["model,dataset\na,b\n".to_string(), format!("{HEADER}m,d,1,s,c,8,wire,9,soon,2\n")] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", read(folder.path()).unwrap_err());
            assert!(error.contains("timings.csv"), "{error}");
        }
    }
}
