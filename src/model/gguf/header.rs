//! The header of a GGUF file: metadata and the list of tensors.
//!
//! Files come from strangers. Nothing is allocated by a number that the header claims before the bytes for it are known to be there,
//! and the limits below are far above those of published models.

use std::collections::HashSet;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use super::metadata::{Metadata, Value};
use super::tensor_type::TensorType;

/// Longest header that is read, bytes. A vocabulary of 262,144 tokens takes some 10 MB.
const MOST_BYTES: u64 = 32 << 20;
/// Most elements of an array. The largest published vocabularies have 262,144 tokens and 440,000 merges.
const MOST_ELEMENTS: u64 = 1 << 20;
/// Most keys, and most tensors.
const MOST_ENTRIES: u64 = 1 << 16;
/// Longest key or name of a tensor, bytes; ggml allows 63 for a tensor.
const MOST_NAME: u64 = 256;
/// Most dimensions of a tensor.
const MOST_DIMENSIONS: u32 = 4;
/// Arrays of numbers no longer than this are kept whatever their key.
const SHORT: u64 = 1024;
/// Longer arrays that are kept.
const KEPT: [&str; 4] =
    ["tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"];

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Rows first, as elsewhere here; GGUF writes the columns first.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub kind: TensorType,
    /// First byte in the file.
    pub start: u64,
    /// Size in the file, bytes.
    pub bytes: u64,
}

/// A header that was read and checked against the length of its file.
#[derive(Debug)]
pub struct GgufHeader {
    /// Keys and values.
    pub metadata: Metadata,
    /// Tensors, in the file's order.
    pub tensors: Vec<TensorInfo>,
}

impl GgufHeader {
    /// Reads the header of a file of `length` bytes.
    pub fn read(reader: impl Read, length: u64) -> Result<Self> {
        let mut bytes = Bytes { reader, at: 0, length };
        check_kind(&mut bytes)?;
        let (tensors, keys) = (bytes.u64()?, bytes.u64()?);
        for (what, count) in [("tensors", tensors), ("keys", keys)] {
            ensure!(count <= MOST_ENTRIES, "the header claims {count} {what}; at most {MOST_ENTRIES} are read");
        }
        let mut metadata = Metadata::default();
        for _ in 0..keys {
            let key = bytes.name("a key")?;
            let value = bytes.value(&key).with_context(|| format!("key {key:?}"))?;
            metadata.insert(key, value)?;
        }
        let alignment = metadata.count("general.alignment")?.unwrap_or(32);
        ensure!(
            alignment.is_power_of_two() && alignment <= 1 << 20,
            "general.alignment is {alignment}; expected a power of two up to 2^20"
        );
        let tensors = TensorListing { alignment, end: 0 }.read(&mut bytes, tensors)?;
        // Offsets count from the end of the header, rounded up.
        let start = bytes.at.next_multiple_of(alignment);
        let tensors: Vec<TensorInfo> =
            tensors.into_iter().map(|tensor| TensorInfo { start: start + tensor.start, ..tensor }).collect();
        if let Some(beyond) = tensors.iter().find(|tensor| tensor.start + tensor.bytes > length) {
            bail!(
                "tensor {} ends at byte {}, and the file has {length} bytes: it was cut short; fetch it again",
                beyond.name,
                beyond.start + beyond.bytes
            );
        }
        Ok(Self { metadata, tensors })
    }
}

fn check_kind(bytes: &mut Bytes<impl Read>) -> Result<()> {
    let (magic, version) = (bytes.array::<4>()?, bytes.u32()?);
    ensure!(&magic == b"GGUF", "it does not begin with the letters GGUF, so it is no GGUF file");
    let swapped = version.swap_bytes();
    ensure!(
        version <= u32::from(u16::MAX) || swapped > u32::from(u16::MAX),
        "it is big-endian GGUF (version {swapped}); only little-endian files are read: convert it with \
         `gguf-convert-endian FILE little` of the Python package gguf"
    );
    ensure!(
        version == 2 || version == 3,
        "it is GGUF version {version}; only versions 2 and 3 are read: fetch a newer file of the model or convert it again"
    );
    Ok(())
}

/// The list of tensors, which must lie one behind the other.
struct TensorListing {
    alignment: u64,
    end: u64,
}

impl TensorListing {
    fn read(mut self, bytes: &mut Bytes<impl Read>, count: u64) -> Result<Vec<TensorInfo>> {
        let (mut tensors, mut names) = (Vec::new(), HashSet::new());
        for _ in 0..count {
            let name = bytes.name("a tensor")?;
            let tensor = self.one(bytes, name.clone()).with_context(|| format!("tensor {name:?}"))?;
            ensure!(names.insert(name), "tensor {:?} stands in the header twice", tensor.name);
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    fn one(&mut self, bytes: &mut Bytes<impl Read>, name: String) -> Result<TensorInfo> {
        let dimensions = bytes.u32()?;
        ensure!(
            (1..=MOST_DIMENSIONS).contains(&dimensions),
            "it has {dimensions} dimensions; expected 1 to {MOST_DIMENSIONS}"
        );
        let mut shape = Vec::new();
        let mut values = 1u64;
        for _ in 0..dimensions {
            let size = bytes.u64()?;
            // Bounded, so that no product of bytes overflows.
            let product = values.checked_mul(size).filter(|values| (1..=1 << 48).contains(values));
            values = product.with_context(|| format!("its dimensions {shape:?} and {size} are no size of a tensor"))?;
            shape.insert(0, size as usize);
        }
        let kind = TensorType::from_number(bytes.u32()?)?;
        let columns = shape[shape.len() - 1];
        ensure!(
            columns.is_multiple_of(kind.block()),
            "its rows of {columns} values do not divide into {}'s blocks of {}",
            kind.name(),
            kind.block()
        );
        let (offset, expected) = (bytes.u64()?, self.end.next_multiple_of(self.alignment));
        ensure!(
            offset == expected,
            "it lies at offset {offset}; expected {expected}, behind the tensor before it: the file is damaged; fetch it again"
        );
        let size = values / kind.block() as u64 * kind.block_bytes() as u64;
        self.end = offset.checked_add(size).filter(|end| *end <= 1 << 60).context("it ends beyond any file")?;
        Ok(TensorInfo { name, shape, kind, start: offset, bytes: size })
    }
}

/// Reads little-endian values and keeps count.
struct Bytes<R> {
    reader: R,
    at: u64,
    /// Of the file.
    length: u64,
}

impl<R: Read> Bytes<R> {
    /// Fails where fewer than `count` bytes are left.
    fn need(&self, count: u64) -> Result<()> {
        let end = self.at.saturating_add(count);
        ensure!(
            end <= self.length,
            "the header goes on to byte {end} and the file has {} bytes: it was cut short or is damaged; fetch it again",
            self.length
        );
        ensure!(end <= MOST_BYTES, "the header goes on to byte {end}; at most {MOST_BYTES} are read");
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.need(buffer.len() as u64)?;
        self.reader.read_exact(buffer).context("reading the header")?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A string of at most `most` bytes.
    fn string(&mut self, most: u64) -> Result<Vec<u8>> {
        let length = self.u64()?;
        ensure!(length <= most, "a string claims {length} bytes; at most {most} are read");
        self.need(length)?;
        let mut text = vec![0; length as usize];
        self.fill(&mut text)?;
        Ok(text)
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let name = self.string(MOST_NAME).with_context(|| format!("the name of {what}"))?;
        String::from_utf8(name).with_context(|| format!("the name of {what} is not UTF-8"))
    }

    fn value(&mut self, key: &str) -> Result<Value> {
        match self.u32()? {
            // Texts about a model need not be UTF-8 to be read.
            8 => Ok(Value::Text(String::from_utf8_lossy(&self.string(MOST_BYTES)?).into_owned())),
            9 => self.elements(key),
            kind => self.scalar(kind),
        }
    }

    fn scalar(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => match self.array()? {
                [0] => Value::Flag(false),
                [1] => Value::Flag(true),
                [other] => bail!("a boolean is {other}; expected 0 or 1"),
            },
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => bail!("its type has number {other}; known are 0 to 12"),
        })
    }

    fn elements(&mut self, key: &str) -> Result<Value> {
        let (kind, count) = (self.u32()?, self.u64()?);
        ensure!(count <= MOST_ELEMENTS, "an array claims {count} elements; at most {MOST_ELEMENTS} are read");
        let kept = KEPT.contains(&key);
        match kind {
            8 if kept => {
                let text =
                    |bytes: Vec<u8>, i| String::from_utf8(bytes).with_context(|| format!("element {i} is not UTF-8"));
                Ok(Value::Texts((0..count).map(|i| text(self.string(MOST_BYTES)?, i)).collect::<Result<_>>()?))
            }
            8 => {
                for _ in 0..count {
                    self.string(MOST_BYTES)?;
                }
                Ok(Value::Skipped)
            }
            9 => bail!("arrays of arrays are not supported"),
            _ => {
                let keep = kept || count <= SHORT;
                let mut numbers = Vec::new();
                for _ in 0..count {
                    let number = match self.scalar(kind)? {
                        Value::Integer(value) => value as f64,
                        Value::Float(value) => value,
                        value => f64::from(u8::from(value == Value::Flag(true))),
                    };
                    if keep {
                        numbers.push(number);
                    }
                }
                Ok(if keep { Value::Numbers(numbers) } else { Value::Skipped })
            }
        }
    }
}
