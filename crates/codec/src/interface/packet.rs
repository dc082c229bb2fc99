//! A packet: the bytes that cross the cut.

use anyhow::{Result, bail, ensure};

use crate::bytes::buffers;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::ValueType;
use crate::interface::info::CodecInfo;
use crate::shape::{MAX_ELEMENTS, MAX_SIDE, Shape};

/// First bytes of every packet.
const MAGIC: &[u8; 4] = b"SPLB";
/// Version of the layout.
const VERSION: u8 = 1;

/// Bytes before the codec's own part: magic 4, version 1, codec 1, value type 1, S 4, D 4.
pub(crate) const HEADER_BYTES: usize = 15;

/// One compressed activation, as bytes whose layout has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    bytes: Vec<u8>,
    info: &'static CodecInfo,
    values: ValueType,
    tokens: usize,
    hidden: usize,
    elements: usize,
}

impl Drop for Packet {
    /// Gives the buffer back, for the thread's next packet.
    fn drop(&mut self) {
        buffers::give(std::mem::take(&mut self.bytes));
    }
}

impl Packet {
    /// Starts a packet of `shape` (S, D), with room for `body` more bytes; the codec appends its own part and calls
    /// [`Packet::finish`].
    pub(crate) fn begin(info: &CodecInfo, values: ValueType, shape: (usize, usize), body: usize) -> Result<Vec<u8>> {
        let (tokens, hidden) = shape;
        ensure!(
            tokens <= MAX_SIDE && hidden <= MAX_SIDE && tokens * hidden <= MAX_ELEMENTS,
            "an activation of {tokens} x {hidden} does not fit in a packet: at most {MAX_SIDE} on a side and {MAX_ELEMENTS} \
             numbers"
        );
        let mut bytes = buffers::empty(HEADER_BYTES + body);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[VERSION, info.id, values.id()]);
        put_u32(&mut bytes, tokens);
        put_u32(&mut bytes, hidden);
        Ok(bytes)
    }

    /// The packet of `info`'s codec in bytes that began with [`Packet::begin`].
    pub(crate) fn finish(info: &'static CodecInfo, bytes: Vec<u8>) -> Result<Self> {
        Self::read(bytes, |id| Some(info).filter(|info| info.id == id))
    }

    /// Checks bytes; `codec` gives the codec of a number.
    pub(crate) fn read(bytes: Vec<u8>, codec: impl FnOnce(u8) -> Option<&'static CodecInfo>) -> Result<Self> {
        let mut reader = Reader::new(&bytes);
        let magic = reader.bytes(4, "magic")?;
        ensure!(magic == MAGIC, "packet field magic: expected {MAGIC:?}, found {magic:?}: not a splitbench packet");
        let version = reader.u8("version")?;
        ensure!(version == VERSION, "packet field version: this program reads version {VERSION}, found {version}");
        let id = reader.u8("codec")?;
        let Some(info) = codec(id) else {
            bail!("packet field codec: no codec has the number {id}");
        };
        let values = ValueType::from_id(reader.u8("value type")?)?;
        ensure!(
            values != ValueType::Int8 || info.sends_int8(),
            "packet field value type: {} has no int8 numbers",
            info.name
        );
        let tokens = side(reader.u32("tokens")?, "tokens")?;
        let hidden = side(reader.u32("hidden")?, "hidden")?;
        ensure!(
            tokens * hidden <= MAX_ELEMENTS,
            "packet fields tokens, hidden: {tokens} x {hidden} is more than {MAX_ELEMENTS} numbers"
        );
        let view = PacketView { tokens, hidden, values, body: &bytes[HEADER_BYTES..] };
        // The codec checks its own header against the length, so decoding may trust both.
        let elements = (info.layout)(&view)?;
        Ok(Self { bytes, info, values, tokens, hidden, elements })
    }

    /// All bytes, header included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes, header included, by value.
    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Bytes on the wire, header included.
    #[allow(clippy::len_without_is_empty)] // A packet has a header: it is never empty.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Name of the codec that wrote it.
    pub fn codec(&self) -> &'static str {
        self.info.name
    }

    /// Type of the numbers in the payload.
    pub fn values(&self) -> ValueType {
        self.values
    }

    /// Rows of the activation, S.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Columns of the activation, D.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// S and D.
    pub fn shape(&self) -> Shape {
        Shape { tokens: self.tokens, hidden: self.hidden }
    }

    /// Kept numbers by the paper's accounting: K_S * K_D complex coefficients, k values, r * (S + D), or S * D; where codes
    /// have widths of their own, 16 bits of them are one number.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// S * D over [`Packet::elements`].
    pub fn ratio_elements(&self) -> f64 {
        (self.tokens * self.hidden) as f64 / self.elements as f64
    }

    /// 2 * S * D, the raw activation in f16, over [`Packet::len`].
    pub fn ratio_wire(&self) -> f64 {
        super::budget::raw_bytes(self.tokens, self.hidden) as f64 / self.len() as f64
    }

    pub(crate) fn info(&self) -> &'static CodecInfo {
        self.info
    }

    pub(crate) fn view(&self) -> PacketView<'_> {
        PacketView { tokens: self.tokens, hidden: self.hidden, values: self.values, body: &self.bytes[HEADER_BYTES..] }
    }
}

fn side(stated: u32, field: &str) -> Result<usize> {
    let stated = stated as usize;
    ensure!((1..=MAX_SIDE).contains(&stated), "packet field {field}: {stated} is not in 1..={MAX_SIDE}");
    Ok(stated)
}

/// A packet's common header, read, and the codec's own part.
pub(crate) struct PacketView<'a> {
    /// Rows of the activation, S.
    pub tokens: usize,
    /// Columns of the activation, D.
    pub hidden: usize,
    /// Type of the numbers in the body.
    pub values: ValueType,
    /// The codec's own header and payload.
    pub body: &'a [u8],
}

impl PacketView<'_> {
    /// Fails unless the body has exactly `expected` bytes.
    pub fn expect_len(&self, expected: u64) -> Result<()> {
        let found = self.body.len() as u64;
        ensure!(
            found == expected,
            "packet field length: the header asks for {} bytes, {} are there",
            HEADER_BYTES as u64 + expected,
            HEADER_BYTES as u64 + found
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noop_packet() -> Vec<u8> {
        let mut bytes = b"SPLB\x01\x00\x01\x01\x00\x00\x00\x02\x00\x00\x00".to_vec();
        bytes.extend_from_slice(&1f32.to_le_bytes());
        bytes.extend_from_slice(&2f32.to_le_bytes());
        bytes
    }

    #[test]
    fn reads_its_header() {
        let packet = Packet::from_bytes(noop_packet()).unwrap();
        assert_eq!((packet.codec(), packet.tokens(), packet.hidden(), packet.elements()), ("noop", 1, 2, 2));
        assert_eq!((packet.len(), packet.values()), (23, ValueType::F32));
    }

    #[test]
    fn errors_name_the_field() {
        for (at, value, field) in [
            (0, b'X', "magic"),
            (4, 2, "version"),
            (5, 200, "codec"),
            (6, 9, "value type"),
            (7, 0, "tokens"),
            (10, 1, "tokens"),
            (13, 255, "hidden"),
            (11, 3, "length"),
        ] {
            let mut bytes = noop_packet();
            bytes[at] = value;
            let error = Packet::from_bytes(bytes).unwrap_err().to_string();
            assert!(error.starts_with("packet field") && error.contains(field), "byte {at}: {error}");
        }
        let mut long = noop_packet();
        long.push(0);
        assert!(Packet::from_bytes(long).unwrap_err().to_string().contains("length"));
    }
}
