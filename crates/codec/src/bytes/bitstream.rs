//! Numbers of a few bits each, one after another, lowest bit of a byte first.

use anyhow::{Result, ensure};

/// Appends bits to bytes.
pub(crate) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    filled: u32,
}

impl<'a> BitWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, pending: 0, filled: 0 }
    }

    /// Appends the lowest `count` bits of `bits`, at most 32; the others must be zero.
    pub fn put(&mut self, bits: u32, count: u32) {
        debug_assert!(count == 32 || bits < 1 << count);
        self.pending |= u64::from(bits) << self.filled;
        self.filled += count;
        // Less than 32 bits stay pending, so the next 32 always fit.
        if self.filled >= 32 {
            self.out.extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.filled -= 32;
        }
    }

    /// Fills the last byte with zeros.
    pub fn finish(self) {
        let bytes = self.filled.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.pending.to_le_bytes()[..bytes]);
    }
}

/// Reads them back; running out of bits is an error that names the packet's field.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
    field: &'static str,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8], field: &'static str) -> Self {
        Self { bytes, at: 0, field }
    }

    /// Up to 64 - 7 bits from the current place, zeros past the end.
    fn peek(&self) -> u64 {
        let first = self.at / 8;
        // One load of eight bytes, except near the end.
        if let Some(window) = self.bytes[first..].first_chunk() {
            return u64::from_le_bytes(*window) >> (self.at % 8);
        }
        // The zeros past the end close any run of ones; what is really there, `left` tells.
        let mut window = [0u8; 8];
        let there = self.bytes.len().saturating_sub(first).min(8);
        window[..there].copy_from_slice(&self.bytes[first..first + there]);
        u64::from_le_bytes(window) >> (self.at % 8)
    }

    fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    /// Number of ones before the next zero, which is consumed too.
    pub fn unary(&mut self) -> Result<u64> {
        let mut ones = 0;
        loop {
            // A window has at least 57 bits; a run of 56 ones may go on in the next.
            let run = (self.peek().trailing_ones() as usize).min(56);
            ensure!(run < self.left(), "packet field {}: the bits end early", self.field);
            ones += run as u64;
            self.at += run;
            if run < 56 {
                self.at += 1;
                return Ok(ones);
            }
        }
    }

    /// A number of ones and the zero behind them, then `count` bits as a number, at most 28.
    pub fn unary_and(&mut self, count: u8) -> Result<(u64, u64)> {
        let window = self.peek();
        let (ones, whole) = (window.trailing_ones(), usize::from(count) + 1);
        // Both parts from one window: 24 ones, a zero and 28 bits are 53 of the 57 that it has.
        if ones > 24 || self.left() < ones as usize + whole {
            return Ok((self.unary()?, self.take(count)?));
        }
        self.at += ones as usize + whole;
        Ok((u64::from(ones), (window >> (ones + 1)) & ((1 << count) - 1)))
    }

    /// The next `count` bits, at most 56, as a number.
    pub fn take(&mut self, count: u8) -> Result<u64> {
        ensure!(usize::from(count) <= self.left(), "packet field {}: the bits end early", self.field);
        let bits = self.peek() & ((1u64 << count) - 1);
        self.at += usize::from(count);
        Ok(bits)
    }

    /// Whether nothing is left but less than a byte of zeros.
    pub fn only_padding_left(&self) -> bool {
        self.left() < 8 && self.peek() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_taken_and_no_more() {
        let numbers = [(5u32, 3u32), (0, 0), (1, 1), (u32::MAX, 32), (77, 7), (0x7fff, 15)];
        let mut bytes = Vec::new();
        let mut writer = BitWriter::new(&mut bytes);
        numbers.iter().for_each(|&(bits, count)| writer.put(bits, count));
        writer.finish();
        let mut reader = BitReader::new(&bytes, "test");
        for (bits, count) in numbers {
            assert_eq!(reader.take(count as u8).unwrap(), u64::from(bits));
        }
        assert!(reader.only_padding_left());
        assert!(reader.take(8).unwrap_err().to_string().contains("test"));
    }
}
