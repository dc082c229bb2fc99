//! The Walsh-Hadamard rotation of rows.

/// Rotates each row in place by the orthonormal Walsh-Hadamard matrix in Sylvester's order, block by block of the largest
/// power of two that divides `hidden`: 1536 channels are three blocks of 512, an odd number stays as it is. The rotation
/// is its own inverse.
///
/// In f64: the sums of up to 2^20 f32 neither overflow nor, for values within 2^9 of each other, round.
pub(crate) fn rotate(rows: &mut [f64], hidden: usize) {
    let n = 1usize << hidden.trailing_zeros();
    let norm = (n as f64).sqrt();
    // Blocks divide rows, so the matrix is cut as one.
    for block in rows.chunks_exact_mut(n) {
        let mut half = 1;
        // The fast Walsh-Hadamard transform: log2 n passes of sums and differences.
        while half < n {
            for pair in block.chunks_exact_mut(2 * half) {
                let (low, high) = pair.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
        block.iter_mut().for_each(|v| *v /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Element (i, j) is -1 where i and j share an odd number of bits, by the definition.
    fn control(row: &[f64], n: usize) -> Vec<f64> {
        let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
        row.chunks(n)
            .flat_map(|block| {
                (0..n).map(move |i| {
                    block.iter().enumerate().map(|(j, v)| sign(i, j) * v).sum::<f64>() / (n as f64).sqrt()
                })
            })
            .collect()
    }

    #[test]
    fn the_matrix_by_its_definition_and_its_own_inverse() {
        for (hidden, n) in [(1, 1), (2, 2), (7, 1), (12, 4), (48, 16), (64, 64), (96, 32)] {
            let values: Vec<f64> = (0..3 * hidden).map(|i| ((i * i) % 23) as f64 - 11.0).collect();
            let mut rotated = values.clone();
            rotate(&mut rotated, hidden);
            assert_eq!(rotated, control(&values, n), "D = {hidden}");
            rotate(&mut rotated, hidden);
            let worst = rotated.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-13, "D = {hidden}: {worst:e}");
        }
    }
}
