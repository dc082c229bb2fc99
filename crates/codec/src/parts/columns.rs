//! Which channels of all tokens are sent, and the mask that says so: the sparse formats of dnet.

use anyhow::{Result, ensure};

use crate::bytes::bits::{self, BITMAP, Coding};
use crate::bytes::buffers::Scratch;
use crate::bytes::fields::Reader;
use crate::interface::budget::Budget;

/// How many columns a ratio in elements keeps: what is left when the share 1 - 1 / ratio of them, rounded up, is dropped.
pub(crate) fn count(budget: Budget, hidden: usize) -> usize {
    ((hidden as f64 / budget.ratio).floor() as usize).max(1)
}

/// Columns by falling energy; of equal ones the lower column comes first.
pub(crate) fn by_energy(energies: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..energies.len() as u32).collect();
    let energy = |column: u32| energies[column as usize];
    // Stable, so equal columns stay in order.
    order.sort_by(|&a, &b| energy(b).total_cmp(&energy(a)));
    order
}

/// The sum of squares of each column of a row-major matrix, in f64.
pub(crate) fn energies(values: &[f32], hidden: usize) -> Scratch<f64> {
    let mut sums = Scratch::new(hidden);
    sums.resize(hidden, 0.0);
    for row in values.chunks_exact(hidden) {
        sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v) * f64::from(v));
    }
    sums
}

/// Bytes of a mask of so many bits.
pub(crate) fn mask_bytes(bits: usize) -> usize {
    bits.div_ceil(8)
}

/// Appends the mask: bit c mod 8 of byte floor(c / 8) is set where c is among the kept, which ascend.
pub(crate) fn write_mask(out: &mut Vec<u8>, kept: &[u32], bits: usize) {
    bits::write(out, kept, Coding { id: BITMAP, bytes: mask_bytes(bits) });
}

/// Reads a mask of so many bits: which are set, at least one of them.
pub(crate) fn read_mask(reader: &mut Reader<'_>, bits: usize) -> Result<Scratch<u32>> {
    let (bytes, kept) = mask(reader, bits)?;
    bits::read(bytes, BITMAP, kept, bits)
}

/// How many bits of a mask are set, without allocating.
pub(crate) fn count_mask(reader: &mut Reader<'_>, bits: usize) -> Result<usize> {
    mask(reader, bits).map(|(_, kept)| kept)
}

/// The bytes of a mask, and how many of its bits are set.
fn mask<'a>(reader: &mut Reader<'a>, bits: usize) -> Result<(&'a [u8], usize)> {
    let bytes = reader.bytes(mask_bytes(bits), "mask")?;
    let spare = 8 * bytes.len() - bits;
    let unused = bytes.last().is_none_or(|last| last.leading_zeros() as usize >= spare);
    ensure!(unused, "packet field mask: a bit behind the last of {bits} is set");
    let kept = bytes.iter().map(|byte| byte.count_ones() as usize).sum();
    ensure!(kept > 0, "packet field mask: nothing is kept");
    Ok((bytes, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fall_in_energy_and_equal_ones_stay_in_order() {
        let energies = energies(&[1.0, -3.0, 0.0, 1.0, 0.0, 2.0, 0.0, 0.0], 4);
        assert_eq!(energies[..], [1.0, 13.0, 0.0, 1.0]);
        assert_eq!(by_energy(&energies), [1, 0, 3, 2]);
    }

    #[test]
    fn a_ratio_keeps_what_dnets_percentage_leaves() {
        for hidden in [1usize, 7, 96, 2048] {
            for dropped in 0..100 {
                let ratio = 100.0 / f64::from(100 - dropped);
                let left = hidden as f64 - (hidden as f64 * (1.0 - 1.0 / ratio)).ceil();
                let kept = count(Budget::elements(ratio).unwrap(), hidden) as f64;
                // Where the share is a whole number of columns, rounding of the ratio may take one more or less.
                assert!((kept - left.max(1.0)).abs() <= 1.0, "{hidden}, {dropped}%: {kept} for {left}");
            }
        }
    }

    #[test]
    fn masks_return_and_spare_bits_are_refused() {
        let mut bytes = Vec::new();
        write_mask(&mut bytes, &[0, 3, 9], 10);
        assert_eq!(bytes, [0b1001, 0b10]);
        assert_eq!(read_mask(&mut Reader::new(&bytes), 10).unwrap()[..], [0, 3, 9]);
        assert_eq!(count_mask(&mut Reader::new(&bytes), 10).unwrap(), 3);
        for bytes in [[1, 4], [0, 0]] {
            for error in [read_mask(&mut Reader::new(&bytes), 10).err(), count_mask(&mut Reader::new(&bytes), 10).err()]
            {
                assert!(error.unwrap().to_string().starts_with("packet field"), "{bytes:?}");
            }
        }
    }
}
