//! Codec times of a run, beside its rows.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use polars::prelude::{CsvReadOptions, DataFrame, DataType, SerReader};

use super::Report;
use crate::experiment::Row;

/// Mean time of one cell to encode and to decode one activation, microseconds, one thread.
#[derive(Debug, Clone, PartialEq)]
struct Time {
    model: String,
    dataset: String,
    split_layer: Option<u32>,
    scope: String,
    codec: String,
    ratio: Option<f64>,
    accounting: String,
    encode_us: f64,
    decode_us: f64,
}

/// What `timings.csv` holds.
#[derive(Debug, Default)]
pub struct Times(Vec<Time>);

impl Times {
    /// Whether nothing was timed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `timings.csv` of a run's folder; nothing where there is none, or where no table wants it.
    pub fn of_run(results: &Path, report: &Report) -> Result<Self> {
        let path = results.join("timings.csv");
        if !report.codecs || !path.exists() {
            return Ok(Self::default());
        }
        let read = || -> Result<Self> {
            // Every column as text, so that a column of empty fields is not taken for another type.
            let frame = CsvReadOptions::default()
                .with_infer_schema_length(Some(0))
                .try_into_reader_with_file_path(Some(path.clone()))?
                .finish()?;
            Self::from_frame(&frame)
        };
        read().with_context(|| format!("{} is not a timings file of this version", path.display()))
    }

    fn from_frame(frame: &DataFrame) -> Result<Self> {
        let column = |name: &str| -> Result<Vec<String>> {
            let column = frame.column(name)?;
            ensure!(column.dtype() == &DataType::String, "column {name} is {}, not text", column.dtype());
            Ok(column.str()?.iter().map(|field| field.unwrap_or_default().to_string()).collect())
        };
        let names =
            ["model", "dataset", "split_layer", "scope", "codec", "ratio", "accounting", "encode_us", "decode_us"];
        let columns: Vec<Vec<String>> = names.into_iter().map(column).collect::<Result<_>>()?;
        let time = |at: usize| -> Result<Time> {
            let field = |nth: usize| columns[nth][at].clone();
            let number = |nth: usize| -> Result<f64> {
                field(nth).parse().with_context(|| format!("line {}: {} is {:?}", at + 2, names[nth], field(nth)))
            };
            Ok(Time {
                model: field(0),
                dataset: field(1),
                split_layer: Some(number(2)? as u32),
                scope: field(3),
                codec: field(4),
                ratio: if field(5).is_empty() { None } else { Some(number(5)?) },
                accounting: field(6),
                encode_us: number(7)?,
                decode_us: number(8)?,
            })
        };
        (0..frame.height()).map(time).collect::<Result<_>>().map(Self)
    }

    /// Adds those of another run.
    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Encode and decode time of a cell.
    pub(super) fn of(&self, row: &Row) -> Option<(f64, f64)> {
        let found = self.0.iter().rfind(|t| {
            (&t.model, &t.dataset, &t.scope, &t.codec, &t.accounting)
                == (&row.model, &row.dataset, &row.scope, &row.codec, &row.accounting)
                && (t.split_layer, t.ratio) == (row.split_layer, row.ratio_requested)
        })?;
        Some((found.encode_us, found.decode_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::row;

    fn read(results: &Path) -> Result<Times> {
        Times::of_run(results, &Report { codecs: true, ..Report::default() })
    }

    const HEADER: &str = "model,dataset,split_layer,scope,codec,ratio,accounting,activations,encode_us,decode_us\n";

    #[test]
    fn a_cell_is_found_by_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().of(&row("fc", Some(8.0), 0.5)).is_none());
        let text = format!(
            "{HEADER}\"pocket\",arc_easy,1,prompt+choice,\"fc:band=centered,values=f32\",8,elements,9,1.50,2.50\n\
             \"pocket\",arc_easy,1,prompt+choice,\"int8\",,,9,3.00,4.00\n"
        );
        std::fs::write(folder.path().join("timings.csv"), text).unwrap();
        let times = read(folder.path()).unwrap();
        let fc = row("fc:band=centered,values=f32", Some(8.0), 0.5);
        assert_eq!(times.of(&fc), Some((1.5, 2.5)));
        assert_eq!(times.of(&Row { accounting: "wire".into(), ..fc }), None);
        let fixed = Row { accounting: String::new(), ..row("int8", None, 0.5) };
        assert_eq!(times.of(&fixed), Some((3.0, 4.0)));
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
