//! Which k values are largest in magnitude.

/// Positions, ascending, of the `k` largest magnitudes; among equals the lower position wins. Linear in the number of
/// values: a histogram over exponent and three bits of mantissa finds the bucket of the k-th largest, and only that
/// bucket is searched exactly.
pub(super) fn largest(values: &[f32], k: usize) -> Vec<u32> {
    debug_assert!((1..=values.len()).contains(&k));
    let magnitude = |v: &f32| v.to_bits() & 0x7fff_ffff;
    const SHIFT: u32 = 20;
    let mut counts = [0usize; 1 << (31 - SHIFT)];
    values.iter().for_each(|v| counts[(magnitude(v) >> SHIFT) as usize] += 1);
    let mut above = 0;
    let mut bucket = counts.len() - 1;
    while above + counts[bucket] < k {
        above += counts[bucket];
        bucket -= 1;
    }
    let mut inside: Vec<u32> = values.iter().map(magnitude).filter(|m| (m >> SHIFT) as usize == bucket).collect();
    let within = k - above - 1;
    let (larger, &mut threshold, _) = inside.select_nth_unstable_by(within, |a, b| b.cmp(a));
    let mut ties = k - above - larger.iter().filter(|m| **m > threshold).count();
    let mut positions = Vec::with_capacity(k);
    for (at, m) in values.iter().map(magnitude).enumerate() {
        if m > threshold {
            positions.push(at as u32);
        } else if m == threshold && ties > 0 {
            ties -= 1;
            positions.push(at as u32);
        }
    }
    debug_assert_eq!(positions.len(), k);
    positions
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
            assert_eq!(largest(&values, k), control(&values, k), "n {n}, k {k}, round {round}");
        }
    }

    #[test]
    fn ties_go_to_the_lower_position() {
        assert_eq!(largest(&[1.0, -2.0, 2.0, 2.0, -0.0], 2), [1, 2]);
        assert_eq!(largest(&[0.0; 6], 3), [0, 1, 2]);
    }
}
