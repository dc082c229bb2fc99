//! Which of n positions are kept, in few bits: a bitmap, or gaps in Rice codes (Rice 1979: Golomb's codes of 1966 with
//! a power of two as parameter).
//!
//! At density p the entropy is H(p)/p bits per kept position: 4.3 at p = 1/8, where a bitmap takes 8, plain 17-bit
//! indices 17 and Rice codes 4.5. Charging Top-k more than it needs would flatter the others under the `wire`
//! accounting.

use anyhow::{Result, ensure};

use crate::bytes::bitstream::{BitReader, BitWriter};
use crate::bytes::buffers::Scratch;

/// Marks a bitmap in the packet's coding field; any smaller number is a Rice parameter.
pub(crate) const BITMAP: u8 = 255;

/// Largest Rice parameter: positions are below 2^27.
const MAX_RICE: u8 = 27;

/// How positions are coded, and how many bytes that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coding {
    pub id: u8,
    pub bytes: usize,
}

/// Gaps between ascending positions: the number of positions skipped before each.
fn gaps(positions: &[u32]) -> impl Iterator<Item = u32> + '_ {
    let mut next = 0;
    positions.iter().map(move |&at| {
        let gap = at - next;
        next = at + 1;
        gap
    })
}

/// The shortest coding of ascending `positions` below `n`; ties go to the bitmap, then to the smaller parameter.
///
/// Keeping one position more never shortens it: splitting a gap g in two costs `1 + b` bits and saves at most one unary
/// bit, for every parameter b. Searches over k rely on that.
pub(crate) fn shortest(positions: &[u32], n: usize) -> Coding {
    let mut all = Scratch::new(positions.len());
    all.extend(gaps(positions));
    let gaps = &all[..];
    let bits = |b: u8| gaps.iter().map(|g| u64::from(g >> b)).sum::<u64>() + gaps.len() as u64 * (1 + u64::from(b));
    // From b to b + 1 the unary part shrinks by the sum of ceil((g >> b) / 2), less at every step: the cost is convex,
    // so walking downhill from log2 of the mean gap ends at the minimum.
    let mut b = ((n / gaps.len().max(1)).max(1).ilog2() as u8).min(MAX_RICE);
    let mut cost = bits(b);
    while b > 0 && bits(b - 1) <= cost {
        b -= 1;
        cost = bits(b);
    }
    while b < MAX_RICE && bits(b + 1) < cost {
        b += 1;
        cost = bits(b);
    }
    let (rice, bitmap) = (cost.div_ceil(8) as usize, n.div_ceil(8));
    if rice < bitmap { Coding { id: b, bytes: rice } } else { Coding { id: BITMAP, bytes: bitmap } }
}

/// Appends the coded positions, exactly `coding.bytes` bytes.
pub(crate) fn write(out: &mut Vec<u8>, positions: &[u32], coding: Coding) {
    let start = out.len();
    if coding.id == BITMAP {
        // Bit p mod 8 of byte p / 8 is position p.
        out.resize(start + coding.bytes, 0);
        positions.iter().for_each(|&at| out[start + at as usize / 8] |= 1 << (at % 8));
        return;
    }
    let mut writer = BitWriter::new(out);
    for gap in gaps(positions) {
        // A unary quotient of ones closed by a zero, then the remainder, lowest bit first.
        let mut quotient = gap >> coding.id;
        let remainder = gap & ((1u32 << coding.id) - 1);
        // Nearly every code is this short, and written in one go.
        if quotient + u32::from(coding.id) < 31 {
            let ones = (1u32 << quotient) - 1;
            writer.put(ones | remainder << (quotient + 1), quotient + 1 + u32::from(coding.id));
            continue;
        }
        // A gap far beyond the mean: its ones go out in words of 32.
        while quotient >= 32 {
            writer.put(u32::MAX, 32);
            quotient -= 32;
        }
        writer.put((1u32 << quotient) - 1, quotient);
        writer.put(0, 1);
        writer.put(remainder, u32::from(coding.id));
    }
    writer.finish();
    debug_assert_eq!(out.len() - start, coding.bytes);
}

/// Reads `count` ascending positions below `n`; all of `bytes` must be used, and unused bits must be zero. Memory is
/// bounded by `count`, which the caller has checked against the payload.
pub(crate) fn read(bytes: &[u8], id: u8, count: usize, n: usize) -> Result<Scratch<u32>> {
    let mut positions = Scratch::new(count);
    if id == BITMAP {
        ensure!(bytes.len() == n.div_ceil(8), "packet field positions: a bitmap of {n} bits has {} bytes", bytes.len());
        for (i, &byte) in bytes.iter().enumerate() {
            let mut rest = byte;
            // From the lowest bit on, so that positions ascend.
            while rest != 0 {
                // Before the push: the buffer was made for `count`.
                ensure!(positions.len() < count, "packet field positions: more than the {count} announced");
                positions.push(i as u32 * 8 + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        ensure!(positions.len() == count, "packet field positions: {} instead of {count}", positions.len());
        ensure!(positions.last().is_none_or(|&p| (p as usize) < n), "packet field positions: beyond the activation");
        return Ok(positions);
    }
    ensure!(id <= MAX_RICE, "packet field coding: {id} is neither {BITMAP} nor at most {MAX_RICE}");
    let mut reader = BitReader::new(bytes, "positions");
    let mut next = 0u64;
    for _ in 0..count {
        let (quotient, remainder) = reader.unary_and(id)?;
        let at = next + (quotient << id | remainder);
        ensure!(at < n as u64, "packet field positions: {at} is beyond the activation's {n} values");
        positions.push(at as u32);
        next = at + 1;
    }
    ensure!(reader.only_padding_left(), "packet field positions: bits left over");
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn round_trip(positions: &[u32], n: usize, coding: Coding) {
        let mut bytes = Vec::new();
        write(&mut bytes, positions, coding);
        assert_eq!(bytes.len(), coding.bytes);
        assert_eq!(read(&bytes, coding.id, positions.len(), n).unwrap()[..], *positions, "{coding:?}");
        for cut in 0..bytes.len().min(40) {
            assert!(read(&bytes[..cut], coding.id, positions.len(), n).is_err());
        }
        bytes.push(0);
        assert!(read(&bytes, coding.id, positions.len(), n).is_err());
    }

    #[test]
    fn every_density_returns_and_none_beats_the_best() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let n = 5000;
        for (density, last) in
            [(0.0002, n), (0.01, n), (0.1, n), (0.125, 500), (0.3, n), (0.5, 500), (0.9, n), (1.0, 300)]
        {
            let mut positions: Vec<u32> = (0..last as u32).filter(|_| rng.random_bool(density)).collect();
            if positions.is_empty() {
                positions.push(4999);
            }
            let best = shortest(&positions, n);
            round_trip(&positions, n, best);
            round_trip(&positions, n, Coding { id: BITMAP, bytes: n.div_ceil(8) });
            for b in 0..=MAX_RICE {
                let bits: u64 = gaps(&positions).map(|g| u64::from(g >> b) + 1 + u64::from(b)).sum();
                assert!(best.bytes as u64 <= bits.div_ceil(8), "density {density}: parameter {b} is shorter");
                if bits < 100_000 {
                    round_trip(&positions, n, Coding { id: b, bytes: bits.div_ceil(8) as usize });
                }
            }
        }
    }

    #[test]
    fn near_the_entropy_at_one_in_eight() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let n = 64 * 2048;
        let positions: Vec<u32> = (0..n as u32).filter(|_| rng.random_bool(0.125)).collect();
        let bits = 8.0 * shortest(&positions, n).bytes as f64 / positions.len() as f64;
        assert!((4.3..4.6).contains(&bits), "{bits} bits a position");
    }
}
