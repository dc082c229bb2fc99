//! Fields of a packet, one after another, each with a name for its errors.

use anyhow::{Result, bail};

use crate::shape::MAX_ELEMENTS;

/// Appends a count; all counts in a packet are bounded by [`MAX_ELEMENTS`].
pub(crate) fn put_u32(bytes: &mut Vec<u8>, value: usize) {
    debug_assert!(value <= MAX_ELEMENTS);
    bytes.extend_from_slice(&(value as u32).to_le_bytes());
}

/// Reads little-endian fields one after another; running out of bytes is an error that names the field.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn bytes(&mut self, count: usize, field: &str) -> Result<&'a [u8]> {
        // A stated count is checked against the bytes before anyone allocates by it.
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            bail!("packet field {field}: {count} bytes expected, {} left", self.rest.len());
        };
        self.rest = rest;
        Ok(taken)
    }

    pub fn u8(&mut self, field: &str) -> Result<u8> {
        Ok(self.bytes(1, field)?[0])
    }

    pub fn i16(&mut self, field: &str) -> Result<i16> {
        let b = self.bytes(2, field)?;
        Ok(i16::from_le_bytes([b[0], b[1]]))
    }

    pub fn u32(&mut self, field: &str) -> Result<u32> {
        let b = self.bytes(4, field)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
}
