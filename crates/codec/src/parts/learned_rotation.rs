//! A rotation of the channels learned on calibration rows, so that rows have small largest values after it: SpinQuant
//! (Liu et al., ICLR 2025), whose rotations are learned by Cayley SGD from a Hadamard start as well.

use faer::{Mat, MatRef};

use crate::linalg;
use crate::parts::hadamard;

/// Steps, each on the next [`BATCH`] rows of the sample. The paper takes 100 over batches of whole sequences.
const STEPS: usize = 200;
const BATCH: usize = 64;

/// The first step turns the channels by so much, in radians, root mean square; later ones by less, along a cosine to zero.
/// 0.01 to 0.1 end within 6 % of each other on rows of SmolLM2 that it did not see.
const ANGLE: f64 = 0.05;

/// The norm that stands for the largest magnitude. The step of a quantiser is that over seven, and the error is even over a
/// step, so the squared error grows as its square. Of the largest magnitude itself only one channel of a row would get a
/// gradient: after 100 steps the pocket model's rows have an error of 0.093 with it, and of 0.086 with the 8-norm.
const NORM: i32 = 8;

/// The D x D rotation R, row-major, that makes x R easy to quantise for rows x like the sample's (rows x D, row-major).
///
/// It makes the mean of `(|x R|_8 / |x|)^2` small. Each step is the Cayley transform `(I + a/2 A)^-1 (I - a/2 A) R` with the
/// skew `A = G R^T - R G^T`, G the gradient: it keeps R orthonormal to rounding. As A is a product of D x 128 and 128 x D,
/// the inverse is that of a 128 x 128 matrix (Wen and Yin 2013, lemma 4).
pub(crate) fn learn(sample: &[f64], hidden: usize) -> Vec<f32> {
    let rows: Vec<Vec<f64>> = sample.chunks_exact(hidden).filter_map(unit).collect();
    let mut start: Vec<f64> = (0..hidden * hidden).map(|i| f64::from(u8::from(i % (hidden + 1) == 0))).collect();
    hadamard::rotate(&mut start, hidden);
    let mut rotation = MatRef::from_row_major_slice(&start, hidden, hidden).to_owned();
    if !rows.is_empty() {
        for step in 0..STEPS {
            let next = (step * BATCH..).take(BATCH).map(|i| &rows[i % rows.len()]);
            let batch: Vec<f64> = next.flatten().copied().collect();
            let cosine = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / STEPS as f64).cos());
            turn(&mut rotation, MatRef::from_row_major_slice(&batch, BATCH, hidden), ANGLE * cosine);
        }
    }
    (0..hidden * hidden).map(|i| rotation[(i / hidden, i % hidden)] as f32).collect()
}

/// A row at length one, so that each token counts alike, as the layers normalise each; none of a row of zeros.
fn unit(row: &[f64]) -> Option<Vec<f64>> {
    let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
    (length > 0.0).then(|| row.iter().map(|v| v / length).collect())
}

/// One step down the gradient on these rows.
fn turn(rotation: &mut Mat<f64>, x: MatRef<'_, f64>, angle: f64) {
    let hidden = rotation.nrows();
    let y = linalg::product(x, rotation.as_ref());
    let e = gradient(y.as_ref());
    // A = X^T P - P^T X = U V with U = [X^T, P^T] and V = [P; -X].
    let p = linalg::product(e.as_ref(), rotation.transpose());
    let (xx, pp) = (linalg::product(x, x.transpose()), linalg::product(p.as_ref(), p.transpose()));
    let px = linalg::product(p.as_ref(), x.transpose());
    let mut squares = 0.0;
    for i in 0..BATCH {
        for j in 0..BATCH {
            squares += 2.0 * (xx[(i, j)] * pp[(i, j)] - px[(i, j)] * px[(j, i)]);
        }
    }
    // |A| of Frobenius; nothing is left to gain where it is zero.
    if squares <= 0.0 {
        return;
    }
    let a = angle * (hidden as f64 / squares).sqrt();
    let small = Mat::from_fn(2 * BATCH, 2 * BATCH, |i, j| {
        let one = f64::from(u8::from(i == j));
        let (row, column) = (i % BATCH, j % BATCH);
        one + a / 2.0
            * match (i < BATCH, j < BATCH) {
                (true, true) => px[(row, column)],
                (true, false) => pp[(row, column)],
                (false, true) => -xx[(row, column)],
                (false, false) => -px[(column, row)],
            }
    });
    let pr = linalg::product(p.as_ref(), rotation.as_ref());
    let right = Mat::from_fn(2 * BATCH, hidden, |i, j| if i < BATCH { pr[(i, j)] } else { -y[(i - BATCH, j)] });
    let solved = linalg::solve(small.as_ref(), right);
    let left = Mat::from_fn(hidden, 2 * BATCH, |i, j| if j < BATCH { x[(j, i)] } else { p[(j - BATCH, i)] });
    linalg::add_product(rotation.as_mut(), left.as_ref(), solved.as_ref(), -a);
}

/// The gradient of each row's squared norm, but for a factor.
fn gradient(y: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(y.nrows(), y.ncols());
    for i in 0..y.nrows() {
        let top = (0..y.ncols()).fold(0f64, |top, j| top.max(y[(i, j)].abs()));
        // Relative to the largest, so that no power leaves f64.
        let share = |j: usize| y[(i, j)] / top;
        let sum: f64 = (0..y.ncols()).map(|j| share(j).powi(NORM)).sum();
        let gain = top * sum.powf(2.0 / f64::from(NORM) - 1.0);
        (0..y.ncols()).for_each(|j| out[(i, j)] = gain * share(j).powi(NORM - 1));
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Rows with two large channels and others that are sums of a few directions.
    fn rows(count: usize, hidden: usize) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mixed: Vec<f64> = (0..hidden * 6).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mut out = Vec::new();
        for _ in 0..count {
            let weights: Vec<f64> = (0..6).map(|_| rng.random_range(-1.0..1.0)).collect();
            let row = (0..hidden).map(|d| (0..6).map(|k| weights[k] * mixed[k * hidden + d]).sum::<f64>());
            out.extend(row.enumerate().map(|(d, v)| if d < 2 { v + 20.0 } else { v }));
        }
        out
    }

    /// The mean over rows of the squared largest value at unit length after the rotation.
    fn peak(rows: &[f64], rotation: &[f32], hidden: usize) -> f64 {
        let peaks = rows.chunks(hidden).map(|row| {
            let length: f64 = row.iter().map(|v| v * v).sum();
            let turned = |j: usize| row.iter().enumerate().map(|(i, v)| v * f64::from(rotation[i * hidden + j])).sum();
            (0..hidden).map(turned).fold(0f64, |top, v: f64| top.max(v * v)) / length
        });
        peaks.sum::<f64>() / (rows.len() / hidden) as f64
    }

    #[test]
    fn it_stays_orthonormal_and_rows_it_never_saw_have_smaller_peaks() {
        let hidden = 48;
        let all = rows(300, hidden);
        let (seen, unseen) = all.split_at(200 * hidden);
        let learned = learn(seen, hidden);
        for i in 0..hidden {
            for j in 0..hidden {
                let dot: f64 = (0..hidden).map(|k| f64::from(learned[i * hidden + k] * learned[j * hidden + k])).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-6, "{i}, {j}: {dot}");
            }
        }
        let mut hadamard: Vec<f64> = (0..hidden * hidden).map(|i| f64::from(u8::from(i % (hidden + 1) == 0))).collect();
        hadamard::rotate(&mut hadamard, hidden);
        let start: Vec<f32> = hadamard.iter().map(|&v| v as f32).collect();
        let (before, after) = (peak(unseen, &start, hidden), peak(unseen, &learned, hidden));
        assert!(after < 0.7 * before, "{after} after, {before} before");
        assert_eq!(learn(seen, hidden), learned);
    }

    #[test]
    fn rows_of_zeros_teach_nothing() {
        let learned = learn(&[0.0; 16], 8);
        assert!(learned.iter().all(|v| (v.abs() - 8f32.sqrt().recip()).abs() < 1e-7));
    }
}
