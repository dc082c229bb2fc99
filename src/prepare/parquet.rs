//! Rows of a Parquet file as JSON.
//!
//! Read by polars' Parquet reader into Arrow arrays, not into a data frame: structs in a frame need polars' `dtype-struct`,
//! which lengthens every build for the `choices` of four data sets.

use std::io::Cursor;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{Array, BooleanArray, ListArray, PrimitiveArray, StructArray, Utf8ViewArray};
use arrow::datatypes::{ArrowDataType, Field};
use arrow::types::NativeType;
use polars_parquet::read::{
    BasicDecompressor, PageReader, RowGroupMetadata, column_iter_to_arrays, infer_schema, read_metadata,
};
use serde_json::{Map, Value};

/// Most rows that a file may say it has, some hundred times what the largest set has: a few bytes can stand for any number of them.
const MOST_ROWS: usize = 10_000_000;

/// The rows of a file held in memory, in order, their fields in the file's order.
pub fn rows(bytes: Vec<u8>) -> Result<Vec<Value>> {
    let metadata = read_metadata(&mut Cursor::new(&bytes)).context("not a whole Parquet file")?;
    let schema = infer_schema(&metadata).context("its schema cannot be read")?;
    let fields: Vec<Field> = schema.iter_values().map(plain).collect::<Result<_>>()?;
    ensure!(!fields.is_empty(), "it has no columns");
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for group in &metadata.row_groups {
        let (start, count) = (rows.len(), group.num_rows());
        ensure!(count <= MOST_ROWS - start, "it says that it has more than {MOST_ROWS} rows");
        for field in &fields {
            let values = column(&bytes, group, field).with_context(|| format!("column {:?}", field.name.as_str()))?;
            ensure!(values.len() == count, "column {:?} has {} values, not {count}", field.name.as_str(), values.len());
            rows.resize_with(start + count, Map::new);
            for (row, value) in rows[start..].iter_mut().zip(values) {
                row.insert(field.name.to_string(), value);
            }
        }
    }
    Ok(rows.into_iter().map(Value::Object).collect())
}

/// A field as it is read: dictionaries, a matter of how values are kept, as the values themselves. Fails on what JSON Lines
/// have no form for before anything is read, of which polars' reader has cases that it does not return from.
fn plain(field: &Field) -> Result<Field> {
    use ArrowDataType as Type;
    let dtype = match field.dtype() {
        Type::Dictionary(_, values, _) => {
            return plain(&Field::new(field.name.clone(), *values.clone(), field.is_nullable));
        }
        Type::Extension(extension) => {
            return plain(&Field::new(field.name.clone(), extension.inner.clone(), field.is_nullable));
        }
        Type::Utf8 | Type::LargeUtf8 | Type::Utf8View => Type::Utf8View,
        Type::List(items) | Type::LargeList(items) | Type::FixedSizeList(items, _) => {
            Type::LargeList(Box::new(plain(items)?))
        }
        Type::Struct(fields) => Type::Struct(fields.iter().map(plain).collect::<Result<_>>()?),
        number @ (Type::Null
        | Type::Boolean
        | Type::Int8
        | Type::Int16
        | Type::Int32
        | Type::Int64
        | Type::UInt8
        | Type::UInt16
        | Type::UInt32
        | Type::UInt64
        | Type::Float32
        | Type::Float64) => number.clone(),
        other => bail!("column {:?}: values of type {other:?} have no form in JSON Lines here", field.name.as_str()),
    };
    Ok(Field::new(field.name.clone(), dtype, field.is_nullable))
}

fn column(bytes: &[u8], group: &RowGroupMetadata, field: &Field) -> Result<Vec<Value>> {
    let chunks = group.columns_under_root_iter(&field.name).context("no such column in a row group")?;
    let (mut pages, mut types) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let range = chunk.byte_range();
        let part = bytes.get(range.start as usize..range.end as usize).context("lies outside of the file")?;
        let reader = PageReader::new(Cursor::new(part.to_vec().into()), chunk, Vec::new(), usize::MAX);
        pages.push(BasicDecompressor::new(reader, Vec::new()));
        types.push(&chunk.descriptor().descriptor.primitive_type);
    }
    let (arrays, _) = column_iter_to_arrays(pages, types, field.clone(), None)?;
    let mut values = Vec::new();
    for array in arrays {
        for at in 0..array.len() {
            values.push(value(array.as_ref(), at)?);
        }
    }
    Ok(values)
}

fn value(array: &dyn Array, at: usize) -> Result<Value> {
    if array.is_null(at) {
        return Ok(Value::Null);
    }
    Ok(match array.dtype().to_storage() {
        ArrowDataType::Null => Value::Null,
        ArrowDataType::Boolean => downcast::<BooleanArray>(array)?.value(at).into(),
        ArrowDataType::Int8 => primitive::<i8>(array, at)?.into(),
        ArrowDataType::Int16 => primitive::<i16>(array, at)?.into(),
        ArrowDataType::Int32 => primitive::<i32>(array, at)?.into(),
        ArrowDataType::Int64 => primitive::<i64>(array, at)?.into(),
        ArrowDataType::UInt8 => primitive::<u8>(array, at)?.into(),
        ArrowDataType::UInt16 => primitive::<u16>(array, at)?.into(),
        ArrowDataType::UInt32 => primitive::<u32>(array, at)?.into(),
        ArrowDataType::UInt64 => primitive::<u64>(array, at)?.into(),
        ArrowDataType::Float32 => primitive::<f32>(array, at)?.into(),
        ArrowDataType::Float64 => primitive::<f64>(array, at)?.into(),
        ArrowDataType::Utf8View => downcast::<Utf8ViewArray>(array)?.value(at).into(),
        ArrowDataType::LargeList(_) => list(downcast::<ListArray<i64>>(array)?.value(at).as_ref())?,
        ArrowDataType::Struct(_) => {
            let array = downcast::<StructArray>(array)?;
            let fields = array.fields().iter().zip(array.values());
            let object: Result<Map<_, _>> =
                fields.map(|(field, values)| Ok((field.name.to_string(), value(values.as_ref(), at)?))).collect();
            Value::Object(object?)
        }
        other => bail!("values of type {other:?} were not asked for"),
    })
}

fn list(array: &dyn Array) -> Result<Value> {
    (0..array.len()).map(|at| value(array, at)).collect()
}

fn primitive<T: NativeType>(array: &dyn Array, at: usize) -> Result<T> {
    Ok(downcast::<PrimitiveArray<T>>(array)?.value(at))
}

fn downcast<A: 'static>(array: &dyn Array) -> Result<&A> {
    array
        .as_any()
        .downcast_ref()
        .with_context(|| format!("an array of {:?} is laid out as something else", array.dtype()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::json;

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/reference/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn dictionaries_are_a_way_to_keep_strings() {
        let rows = rows(file("parquet/dictionaries.parquet")).unwrap();
        assert_eq!(json::lines(&rows).unwrap(), file("rows/arc_easy.jsonl"));
    }

    #[test]
    fn what_json_has_no_form_for_is_refused_by_column() {
        let error = format!("{:#}", rows(file("parquet/dates.parquet")).unwrap_err());
        assert!(error.contains("column \"day\"") && error.contains("Date32"), "{error}");
    }
}
