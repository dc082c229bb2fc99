//! Chosen numbers of a list and where they are: what `topk` and `dynamic-pruning` send.

use anyhow::{Result, ensure};

use crate::bytes::bits::{self, Coding};
use crate::bytes::buffers::Scratch;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{NumberSection, ValueType};
use crate::grids::coefficients::{self, Coefficients};
use crate::interface::budget::{Accounting, Budget, largest_that_fits, wire_items};
use crate::interface::packet::HEADER_BYTES;
use crate::parts::largest::largest;

/// Bytes before the positions: k 4, coding 1, bytes of positions 4.
pub(crate) const SPARSE_BYTES: usize = 9;

/// The numbers of an activation of which some are to be sent.
pub(crate) struct SparseSource<'a> {
    /// Those of largest magnitude here are sent.
    pub ranks: &'a [f32],
    /// What is sent of them, divided by 2^`shift`.
    pub numbers: &'a [f32],
    pub shift: i32,
}

/// Chosen numbers, ready for a packet.
pub(crate) struct SparseNumbers {
    positions: Scratch<u32>,
    coding: Coding,
    payload: Scratch<u8>,
}

impl SparseSource<'_> {
    /// As many numbers as a budget has room for, in a packet with `own_bytes` more of the codec's own. Positions are free under
    /// `elements`, so the budget is a count; under `wire` they take their share.
    pub fn choose(
        &self,
        how: Coefficients,
        budget: Budget,
        shape: (usize, usize),
        own_bytes: usize,
    ) -> Result<SparseNumbers> {
        match budget.accounting {
            Accounting::Elements => self.make(how, ((self.ranks.len() as f64 / budget.ratio).floor() as usize).max(1)),
            Accounting::Wire => {
                self.largest_that_fit(how, wire_items(budget.ratio, shape, HEADER_BYTES + own_bytes + SPARSE_BYTES, 1))
            }
        }
    }

    fn make(&self, how: Coefficients, k: usize) -> Result<SparseNumbers> {
        let positions = largest(self.ranks, k);
        let coding = bits::shortest(&positions, self.ranks.len());
        let mut kept = Scratch::new(k);
        kept.extend(positions.iter().map(|&at| self.numbers[at as usize]));
        Ok(SparseNumbers { coding, payload: how.encode(&kept, self.shift)?, positions })
    }

    /// The largest k whose packet fits, by bisection: [`bits::shortest`] never shrinks as k grows.
    fn largest_that_fit(&self, how: Coefficients, room: usize) -> Result<SparseNumbers> {
        let all = self.ranks;
        let mut fits = 1;
        // Positions take room as well, so no more fit than without them.
        let mut too_many = how.certain(room, 1).min(all.len()) + 1;
        while fits + 1 < too_many {
            let k = fits.midpoint(too_many);
            let Coding { bytes, .. } = bits::shortest(&largest(all, k), all.len());
            if bytes + how.bytes(k) <= room {
                fits = k;
            } else {
                too_many = k;
            }
        }
        // Entropy-coded numbers are never longer, so at least as many fit.
        let most = if how.coded { all.len() } else { fits };
        largest_that_fits(fits, most, |k| self.make(how, k), |made| made.coding.bytes + made.payload.len() <= room)
    }
}

impl SparseNumbers {
    /// Bytes in a packet.
    pub fn bytes(&self) -> usize {
        SPARSE_BYTES + self.coding.bytes + self.payload.len()
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        put_u32(out, self.positions.len());
        out.push(self.coding.id);
        put_u32(out, self.coding.bytes);
        bits::write(out, &self.positions, self.coding);
        out.extend_from_slice(&self.payload);
    }
}

/// The fields before the positions: k, at most `most`, and how positions are coded.
pub(crate) fn header(reader: &mut Reader<'_>, most: usize) -> Result<(usize, Coding)> {
    let k = reader.u32("k")? as usize;
    ensure!((1..=most).contains(&k), "packet field k: {k} is not in 1..={most}");
    let id = reader.u8("coding")?;
    let bytes = reader.u32("positions")? as usize;
    Ok((k, Coding { id, bytes }))
}

/// The positions, of `n`, and the numbers there.
pub(crate) fn read(reader: &mut Reader<'_>, kind: ValueType, n: usize) -> Result<(Scratch<u32>, NumberSection)> {
    let (k, coding) = header(reader, n)?;
    let positions = bits::read(reader.bytes(coding.bytes, "positions")?, coding.id, k, n)?;
    Ok((positions, coefficients::read(reader, kind, k, "values")?))
}
