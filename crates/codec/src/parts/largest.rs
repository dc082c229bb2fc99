//! Which k values are largest in magnitude.

use crate::bytes::buffers::Scratch;
use crate::vector::{LANES, Vector, dispatch};

/// Positions, ascending, of the `k` largest magnitudes; among equals the lower position wins. Linear in the number of
/// values: a sample tells which of them can be among the largest, and only those are searched exactly.
pub(crate) fn largest(values: &[f32], k: usize) -> Scratch<u32> {
    debug_assert!((1..=values.len()).contains(&k));
    let mut positions = Scratch::new(values.len());
    // As in SELECT (Floyd and Rivest 1975), a sample bounds the k-th magnitude from below, and one pass over the values
    // drops nearly all others.
    dispatch!(at_least(values, likely_least(values, k), &mut positions));
    // The sample misled, which only costs time: all are searched.
    if positions.len() < k {
        dispatch!(at_least(values, 0, &mut positions));
    }
    keep_largest(values, &mut positions, k);
    positions
}

/// Keeps the `k` of ascending positions whose magnitudes are largest; among equals the lower position wins.
pub(crate) fn keep_largest(values: &[f32], positions: &mut Vec<u32>, k: usize) {
    let magnitude = |at: &u32| values[*at as usize].to_bits() & 0x7fff_ffff;
    let mut magnitudes = Scratch::new(positions.len());
    magnitudes.extend(positions.iter().map(magnitude));
    // Selection takes linear time; nothing is sorted.
    let (larger, &mut threshold, _) = magnitudes.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    // Of those equal to the threshold, the lower positions fill up what is missing.
    let mut ties = k - larger.iter().filter(|m| **m > threshold).count();
    let mut kept = 0;
    for i in 0..positions.len() {
        let m = magnitude(&positions[i]);
        let is_tie = m == threshold && ties > 0;
        ties -= usize::from(is_tie);
        // Without a branch, which would be taken now and then.
        positions[kept] = positions[i];
        kept += usize::from(m > threshold || is_tie);
    }
    debug_assert_eq!(kept, k);
    positions.truncate(kept);
}

/// Values in a sample.
const SAMPLE: usize = 1024;

/// Bits of a magnitude that, as a sample says, most likely at least k values have, and not many more.
fn likely_least(values: &[f32], k: usize) -> u32 {
    let n = values.len();
    // So few values are searched as they are.
    if n < 8 * SAMPLE {
        return 0;
    }
    // Steps of the golden section fall evenly on any period, such as that of the channels.
    let at = |i: usize| (((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize * n) >> 32;
    let mut sample: [u32; SAMPLE] = std::array::from_fn(|i| values[at(i)].to_bits() & 0x7fff_ffff);
    let share = k as f64 / n as f64;
    let expected = share * SAMPLE as f64;
    // Four standard deviations beyond what is expected.
    let rank = (expected + 4.0 * (expected * (1.0 - share)).sqrt()) as usize + 4;
    if rank >= SAMPLE {
        return 0;
    }
    *sample.select_nth_unstable_by(rank, |a, b| b.cmp(a)).1
}

/// Positions, ascending, of magnitudes whose bits are at least `least`. `positions` has room for all.
#[inline(always)]
fn at_least<V: Vector>(values: &[f32], least: u32, positions: &mut Vec<u32>) {
    positions.clear();
    let (chunks, rest) = values.as_chunks::<{ 8 * LANES }>();
    for (nth, chunk) in chunks.iter().enumerate() {
        let mut mask = 0u64;
        for (i, eight) in chunk.as_chunks().0.iter().enumerate() {
            mask |= u64::from(V::load(eight).at_least(least)) << (i * LANES);
        }
        let first = (nth * 8 * LANES) as u32;
        // Few values pass, so most masks are empty.
        while mask != 0 {
            positions.push(first + mask.trailing_zeros());
            mask &= mask - 1;
        }
    }
    let first = values.len() - rest.len();
    let late = rest.iter().enumerate().filter(|(_, v)| v.to_bits() & 0x7fff_ffff >= least);
    positions.extend(late.map(|(i, _)| (first + i) as u32));
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// By sorting everything.
    fn control(values: &[f32], k: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|&a, &b| values[b as usize].abs().total_cmp(&values[a as usize].abs()).then(a.cmp(&b)));
        order.truncate(k);
        order.sort_unstable();
        order
    }

    #[test]
    fn selection_agrees_with_sorting() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for round in 0..200 {
            let n = rng.random_range(1..400);
            // Few distinct values, so that ties are common; every third round they are spread over 30 decades.
            let values: Vec<f32> = (0..n)
                .map(|_| match round % 3 {
                    0 => rng.random_range(-3..=3) as f32,
                    1 => rng.random_range(-1.0..1.0),
                    _ => rng.random_range(-1.0f32..1.0) * 10f32.powi(rng.random_range(-15..15)),
                })
                .collect();
            let k = rng.random_range(1..=n);
            assert_eq!(largest(&values, k)[..], control(&values, k), "n {n}, k {k}, round {round}");
        }
    }

    /// Enough values for a sample, among them some that it must mislead: all large ones in one channel, or few distinct ones.
    #[test]
    fn a_sample_changes_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let n = 9 * SAMPLE + 5;
        for round in 0..4 {
            let values: Vec<f32> = (0..n)
                .map(|i| match round {
                    0 => rng.random_range(-1.0..1.0),
                    1 => {
                        if i % 64 == 3 {
                            100.0 + i as f32
                        } else {
                            rng.random_range(-1.0..1.0)
                        }
                    }
                    2 => rng.random_range(-3..=3) as f32,
                    _ => {
                        if i < 700 {
                            1e3 - i as f32
                        } else {
                            0.0
                        }
                    }
                })
                .collect();
            for k in [1, 2, n / 64, n / 64 + 1, 700, n / 8, n - 1, n] {
                assert_eq!(largest(&values, k)[..], control(&values, k), "round {round}, k {k}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_position() {
        assert_eq!(largest(&[1.0, -2.0, 2.0, 2.0, -0.0], 2)[..], [1, 2]);
        assert_eq!(largest(&[0.0; 6], 3)[..], [0, 1, 2]);
    }
}
