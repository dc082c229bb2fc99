//! Rows to Parquet and back, by polars, and to CSV: `rows.parquet`, `rows.csv`.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use polars::prelude::{
    Column, DataFrame, ParquetCompression, ParquetReader, ParquetWriter, SerReader, StatisticsOptions,
};
use polars_parquet::write::ZstdLevel;

use super::row::Row;
use crate::caught::caught;

/// Writes the rows as Parquet, one column a field of `Row`, nullable where the field is optional.
pub fn write_parquet(path: &Path, rows: &[Row]) -> Result<()> {
    let mut frame = to_frame(rows)?;
    let mut bytes = Vec::new();
    // Rows are few and columns many: statistics and plain pages are nearly half of a file. Any reader opens Zstandard.
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Zstd(Some(ZstdLevel::try_new(19)?)))
        .with_statistics(StatisticsOptions::empty())
        .finish(&mut frame)
        .with_context(|| format!("cannot encode rows as Parquet for {}", path.display()))?;
    crate::save::replace(path, &bytes)
}

/// Reads rows that `write_parquet` wrote; every number comes back bit for bit.
pub fn read_rows(path: &Path) -> Result<Vec<Row>> {
    let file = File::open(path).with_context(|| format!("cannot open rows {}", path.display()))?;
    // polars panics at some that are damaged.
    let frame = caught(|| Ok(ParquetReader::new(file).finish()?)).with_context(|| {
        format!(
            "cannot read {} as Parquet; if it is a rows file, the command of its run makes it again from the journal",
            path.display()
        )
    })?;
    from_frame(&frame).with_context(|| format!("{} is not a rows file of this version", path.display()))
}

/// A field type of `Row` as a polars column.
trait Field: Sized {
    fn column(name: &str, values: Vec<Self>) -> Column;
    fn values(column: &Column) -> Result<Vec<Self>>;

    /// What a file without the column says in each of its rows; none where a row needs a value.
    fn absent() -> Option<Self> {
        None
    }
}

/// A column of a file; rows of an earlier version lack numbers that came later.
fn read<F: Field + Clone>(frame: &DataFrame, name: &str) -> Result<Vec<F>> {
    match (frame.column(name), F::absent()) {
        (Ok(column), _) => F::values(column),
        (Err(_), Some(absent)) => Ok(vec![absent; frame.height()]),
        (Err(error), None) => Err(error.into()),
    }
    .with_context(|| format!("column `{name}`"))
}

/// A field that must have a value in every row.
fn present<T>(values: Vec<Option<T>>) -> Result<Vec<T>> {
    let count = values.len();
    values
        .into_iter()
        .enumerate()
        .map(|(at, value)| value.with_context(|| format!("row {} of {count} has no value", at + 1)))
        .collect()
}

macro_rules! field {
    ($type:ty, $get:ident, $own:expr) => {
        impl Field for Option<$type> {
            fn column(name: &str, values: Vec<Self>) -> Column {
                Column::new(name.into(), values)
            }
            fn values(column: &Column) -> Result<Vec<Self>> {
                Ok(column.$get()?.iter().map(|value| value.map($own)).collect())
            }
            fn absent() -> Option<Self> {
                Some(None)
            }
        }
        impl Field for $type {
            fn column(name: &str, values: Vec<Self>) -> Column {
                Column::new(name.into(), values)
            }
            fn values(column: &Column) -> Result<Vec<Self>> {
                present(<Option<$type> as Field>::values(column)?)
            }
        }
    };
}
field!(String, str, |text: &str| text.to_string());
field!(u64, u64, |number| number);
field!(u32, u32, |number| number);
field!(f64, f64, |number| number);
field!(bool, bool, |flag| flag);

/// Both directions from one list; a field of `Row` left out of it does not compile.
macro_rules! row_columns {
    ($($field:ident),+ $(,)?) => {
        fn to_frame(rows: &[Row]) -> Result<DataFrame> {
            let columns = vec![
                $(Field::column(stringify!($field), rows.iter().map(|row| row.$field.clone()).collect::<Vec<_>>())),+
            ];
            Ok(DataFrame::new(rows.len(), columns)?)
        }

        fn from_frame(frame: &DataFrame) -> Result<Vec<Row>> {
            $(
                let mut $field = read(frame, stringify!($field))?.into_iter();
            )+
            let missing = || anyhow::anyhow!("columns differ in length");
            (0..frame.height()).map(|_| Ok(Row { $($field: $field.next().ok_or_else(missing)?),+ })).collect()
        }
    };
}
row_columns!(
    experiment,
    model,
    model_sha256,
    tokenizer_sha256,
    dataset,
    dataset_title,
    data_source,
    data_sha256,
    data_verified,
    prompt_version,
    definition_sha256,
    split_layer,
    scope,
    codec,
    ratio_requested,
    accounting,
    ratio_elements,
    ratio_wire,
    wire_bytes_per_token,
    rel_error,
    questions,
    requests,
    tokens,
    acc,
    acc_stderr,
    acc_norm,
    acc_norm_stderr,
    chance,
    metric,
    lost,
    gained,
    mcnemar_p,
    gold_loglik_change,
    gold_loglik_change_stderr,
    positions,
    kl_mean,
    kl_stderr,
    kl_median,
    kl_p90,
    kl_p99,
    kl_max,
    top1,
    top1_stderr,
    acceptance,
    ln_ppl_ratio,
    ln_ppl_ratio_stderr,
    dtype,
    device,
    calibration,
    limit,
    skipped,
    version,
    err,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::table_file;
    use crate::record::testing::row;

    fn awkward() -> Vec<Row> {
        let mut first = row("fc", Some(10.0), 0.1 + 0.2);
        first.rel_error = Some(f64::MIN_POSITIVE / 3.0);
        first.gold_loglik_change = Some(-0.0);
        first.wire_bytes_per_token = Some(1.0 / 3.0);
        first.tokens = u64::MAX;
        let mut failed = row("svd,\"x\"", Some(6.0), 0.5);
        failed.err = Some("two\nlines, a comma and \"quotes\"".into());
        (failed.acc, failed.lost, failed.calibration, failed.limit) = (None, None, Some(String::new()), Some(50));
        vec![first, failed, row("baseline", None, 0.7)]
    }

    #[test]
    fn parquet_returns_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let rows = awkward();
        write_parquet(&path, &rows).unwrap();
        let back = read_rows(&path).unwrap();
        assert_eq!(back, rows);
        // PartialEq takes -0.0 for 0.0.
        assert_eq!(back[0].gold_loglik_change.unwrap().to_bits(), (-0.0f64).to_bits());
        write_parquet(&path, &[]).unwrap();
        assert_eq!(read_rows(&path).unwrap(), vec![]);
    }

    #[test]
    fn columns_are_the_fields_in_order() {
        let frame = to_frame(&awkward()).unwrap();
        let fields = serde_json::to_value(&awkward()[0]).unwrap();
        let fields: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
        let columns: Vec<&str> = frame.columns().iter().map(|column| column.name().as_str()).collect();
        assert_eq!(columns, fields);
    }

    #[test]
    fn csv_keeps_f64_exact_and_missing_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = table_file::write(folder.path(), &awkward()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let names: Vec<&str> = text.lines().next().unwrap().split(',').collect();
        let acc = names.iter().position(|name| *name == "acc").unwrap();
        let cells: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
        assert_eq!(cells[acc].parse::<f64>().unwrap(), 0.1 + 0.2);
        assert!(text.contains("\"two\nlines, a comma and \"\"quotes\"\"\""), "{text}");
        let baseline: Vec<&str> = text.lines().last().unwrap().split(',').collect();
        let ratio = names.iter().position(|name| *name == "ratio_requested").unwrap();
        assert_eq!(baseline[ratio], "");
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        assert!(format!("{:#}", read_rows(&path).unwrap_err()).contains("rows.parquet"));
        std::fs::write(&path, "not parquet").unwrap();
        assert!(format!("{:#}", read_rows(&path).unwrap_err()).contains("rows.parquet"));
        let mut other = polars::df!("experiment" => ["a"]).unwrap();
        ParquetWriter::new(File::create(&path).unwrap()).finish(&mut other).unwrap();
        let message = format!("{:#}", read_rows(&path).unwrap_err());
        assert!(message.contains("rows.parquet") && message.contains("column `model`"), "{message}");
        let error = table_file::write(&folder.path().join("absent"), &awkward()).unwrap_err();
        assert!(format!("{error:#}").contains("absent"));
    }
}
