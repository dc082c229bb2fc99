//! Rows as the registry's SHA-256 counts them: Python's `json.dumps(row, ensure_ascii=False)` and a newline.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// The rows in their order, one a line. Floats are written as serde_json does, which is Python's form but for exponents; no
/// data set of the registry has floats.
pub fn lines(rows: &[Value]) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    for row in rows {
        row.serialize(&mut Serializer::with_formatter(&mut out, Python))?;
        out.push(b'\n');
    }
    Ok(out)
}

/// A blank after every comma and colon.
struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_as_python_does() {
        // The right side is what Python 3 prints for these values.
        for (row, python) in [
            (
                r#"{"b":1,"a":["x","y"],"c":{"d":null,"e":true}}"#,
                r#"{"b": 1, "a": ["x", "y"], "c": {"d": null, "e": true}}"#,
            ),
            (r#"{"a":[],"b":{}}"#, r#"{"a": [], "b": {}}"#),
            (
                r#"{"a":"é \u4e2d \"q\" \\ \/ \n\t\r\b\f \u001f \u007f"}"#,
                "{\"a\": \"é 中 \\\"q\\\" \\\\ / \\n\\t\\r\\b\\f \\u001f \u{7f}\"}",
            ),
        ] {
            let row: Value = serde_json::from_str(row).unwrap();
            assert_eq!(String::from_utf8(lines(&[row]).unwrap()).unwrap(), format!("{python}\n"));
        }
    }
}
