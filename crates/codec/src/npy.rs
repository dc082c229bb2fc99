//! NumPy's `.npy` files: a matrix of floating-point numbers in, an activation out, and back.
//!
//! Own code and not a crate: npyz and ndarray-npy bring pest and big integers for all of Python's literals, where three
//! entries are wanted and a wrong one is to be named.
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::f16;

use crate::activation::Activation;
use crate::shape::{MAX_ELEMENTS, MAX_SIDE};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Bytes a header may have; NumPy refuses longer ones too (its `max_header_size`).
const MAX_HEADER: usize = 10_000;

/// Reads a 2-D array of f2, f4 or f8 in either order of bytes and of axes, rows as tokens. f64 is rounded to f32.
///
/// Fails, naming file and field, on anything else and where bytes are missing or left over; and, naming row and column,
/// where a value is NaN, infinite or beyond f32.
pub fn read(path: &Path) -> Result<Activation> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    read_from(file).with_context(|| path.display().to_string())
}

/// The same from bytes that are read to their end.
pub fn read_from(mut source: impl Read) -> Result<Activation> {
    let NpyHeader { number, big_endian, fortran, rows, columns } = NpyHeader::read(&mut source)?;
    let expected = rows * columns * number.bytes();
    let mut data = Vec::new();
    // One byte more tells a file that goes on.
    source.take(expected as u64 + 1).read_to_end(&mut data).context("npy field data")?;
    ensure!(
        data.len() >= expected,
        "npy field data: {rows} x {columns} numbers take {expected} bytes, the file ends after {}",
        data.len()
    );
    ensure!(data.len() == expected, "npy field data: the file goes on after the {expected} bytes of its shape");
    if big_endian {
        data.chunks_exact_mut(number.bytes()).for_each(<[u8]>::reverse);
    }
    let place = |i: usize| if fortran { (i % rows, i / rows) } else { (i / columns, i % columns) };
    let values = match number {
        NpyType::F2 => narrow(&data, place, |b| f16::from_le_bytes(b).to_f64()),
        NpyType::F4 => narrow(&data, place, |b| f64::from(f32::from_le_bytes(b))),
        NpyType::F8 => narrow(&data, place, f64::from_le_bytes),
    }?;
    let values = match fortran {
        true => (0..values.len()).map(|i| values[i % columns * rows + i / columns]).collect(),
        false => values,
    };
    Activation::new(rows, columns, values)
}

/// Numbers of N bytes as f32, in the order of the file; `place` gives row and column of the i-th.
fn narrow<const N: usize>(
    data: &[u8],
    place: impl Fn(usize) -> (usize, usize),
    widen: impl Fn([u8; N]) -> f64,
) -> Result<Vec<f32>> {
    let (numbers, _) = data.as_chunks::<N>();
    let narrowed = numbers.iter().enumerate().map(|(i, &bytes)| {
        let wide = widen(bytes);
        let value = wide as f32;
        if !value.is_finite() {
            let (row, column) = place(i);
            let why = if wide.is_finite() { "beyond the range of f32" } else { "not a finite number" };
            bail!("npy field data: row {row}, column {column} is {wide:e}, {why}");
        }
        Ok(value)
    });
    narrowed.collect()
}

/// The bytes of a file that holds the activation as `<f4` in C order, as NumPy writes them.
pub fn to_bytes(activation: &Activation) -> Vec<u8> {
    let (rows, columns) = (activation.tokens(), activation.hidden());
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Magic, version, length and header fill multiples of 64 bytes, and a newline ends them.
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', padded - before - header.len() - 1));
    header.push('\n');
    let mut bytes = Vec::with_capacity(padded + 4 * activation.values().len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(activation.values().iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

/// Bytes of the longest file that [`read`] takes for a matrix of this shape: f64 and the longest header.
pub(crate) fn longest(rows: usize, columns: usize) -> usize {
    MAGIC.len() + 6 + MAX_HEADER + 8 * rows * columns
}

#[derive(Debug, Clone, Copy)]
enum NpyType {
    F2,
    F4,
    F8,
}

impl NpyType {
    fn bytes(self) -> usize {
        match self {
            Self::F2 => 2,
            Self::F4 => 4,
            Self::F8 => 8,
        }
    }

    /// The type and whether its bytes are big-endian, by any of NumPy's names for it: `<f4`, `f4`, `=f`, `float32`.
    fn from_descr(text: &str) -> Result<(Self, bool)> {
        let Some(descr) = unquoted(text) else {
            bail!("npy field descr: {text} is a structured type; one of '<f2', '<f4', '<f8' is read");
        };
        // `=`, `|` or nothing: as on the machine that reads.
        let big_endian = descr.starts_with('>') || (!descr.starts_with('<') && cfg!(target_endian = "big"));
        let number = match descr.strip_prefix(['<', '>', '=', '|']).unwrap_or(descr) {
            "f2" | "e" | "float16" | "half" => Self::F2,
            "f4" | "f" | "float32" | "single" => Self::F4,
            "f8" | "d" | "float64" | "double" | "float" => Self::F8,
            "O" => bail!("npy field descr: '{descr}' holds pickled Python objects, which are never read"),
            _ => bail!("npy field descr: '{descr}' is none of 'f2', 'f4', 'f8'; save a.astype('<f4')"),
        };
        Ok((number, big_endian))
    }
}

struct NpyHeader {
    number: NpyType,
    big_endian: bool,
    fortran: bool,
    rows: usize,
    columns: usize,
}

impl NpyHeader {
    fn read(source: &mut impl Read) -> Result<Self> {
        let magic: [u8; 6] = take(source, "magic")?;
        ensure!(magic == *MAGIC, "npy field magic: found {magic:?}: not a .npy file");
        let [major, minor] = take(source, "version")?;
        let length = match (major, minor) {
            (1, 0) => usize::from(u16::from_le_bytes(take(source, "header length")?)),
            (2 | 3, 0) => u32::from_le_bytes(take(source, "header length")?) as usize,
            _ => bail!("npy field version: {major}.{minor} is none of 1.0, 2.0, 3.0"),
        };
        ensure!(length <= MAX_HEADER, "npy field header length: {length} bytes, more than {MAX_HEADER}");
        let mut bytes = vec![0; length];
        source.read_exact(&mut bytes).context("npy field header")?;
        Self::parse(std::str::from_utf8(&bytes).context("npy field header")?)
    }

    /// Reads the Python dictionary: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
    fn parse(text: &str) -> Result<Self> {
        let inside = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        let inside = inside.context("npy field header: not a dictionary of descr, fortran_order and shape")?;
        let mut found = [("descr", None), ("fortran_order", None), ("shape", None)];
        for entry in split(inside, ',') {
            let (key, value) = match split(entry, ':')[..] {
                [key, value] => (unquoted(key).unwrap_or(key), value),
                _ => bail!("npy field header: {entry:?} is not an entry of a dictionary"),
            };
            let slot = found.iter_mut().find(|(name, _)| *name == key);
            let (_, slot) = slot.with_context(|| format!("npy field header: unknown entry {key:?}"))?;
            ensure!(slot.replace(value).is_none(), "npy field header: {key} is there twice");
        }
        let [descr, order, shape] =
            found.map(|(name, value)| value.with_context(|| format!("npy field {name}: missing in the header")));
        let (number, big_endian) = NpyType::from_descr(descr?)?;
        let fortran = match order? {
            "True" => true,
            "False" => false,
            other => bail!("npy field fortran_order: {other} is neither True nor False"),
        };
        let (rows, columns) = matrix(shape?)?;
        Ok(Self { number, big_endian, fortran, rows, columns })
    }
}

/// Rows and columns of a shape such as `(2, 3)`, or `(2L, 3L)` where Python 2 wrote it.
fn matrix(shape: &str) -> Result<(usize, usize)> {
    let inside = shape.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    let length = |side: &str| side.strip_suffix('L').unwrap_or(side).parse().ok();
    let sides: Option<Vec<usize>> = inside.and_then(|t| split(t, ',').into_iter().map(length).collect());
    let sides = sides.with_context(|| format!("npy field shape: {shape} is not a tuple of lengths"))?;
    let [rows, columns] = sides[..] else {
        bail!("npy field shape: {shape} has {} dimensions; 2 are read, tokens x channels", sides.len());
    };
    ensure!(
        (1..=MAX_SIDE).contains(&rows) && (1..=MAX_SIDE).contains(&columns) && rows * columns <= MAX_ELEMENTS,
        "npy field shape: {shape} is outside 1 to {MAX_SIDE} on a side and {MAX_ELEMENTS} numbers"
    );
    Ok((rows, columns))
}

/// The parts between separators that stand outside quotes and brackets, trimmed, without an empty last one.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth -= 1,
            (None, _) if c == separator && depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts
}

/// The text inside Python's quotes, with or without Python 2's `u` before them.
fn unquoted(text: &str) -> Option<&str> {
    let text = text.strip_prefix('u').unwrap_or(text);
    ['\'', '"'].iter().find_map(|&quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

fn take<const N: usize>(source: &mut impl Read, field: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes).with_context(|| format!("npy field {field}"))?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
