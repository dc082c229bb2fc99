//! What a method gives in exact arithmetic, as near as f64 comes: the second opinion on its numbers.

use std::f64::consts::TAU;

use anyhow::{Context, Result};
use faer::{Mat, MatRef};

use splitbench_codec::Activation;
use splitbench_codec::kernel::{Band, Block};

/// cos and sin of -2 pi k / n for k in 0..n, by the index modulo n.
fn roots(n: usize) -> Vec<(f64, f64)> {
    (0..n).map(|k| (TAU * k as f64 / n as f64).cos()).zip((0..n).map(|k| -(TAU * k as f64 / n as f64).sin())).collect()
}

/// The K_S x K_D block of a band of the unnormalised 2-D DFT, by the sums themselves in f64, row-major: real and imaginary
/// parts in turn, in the order of a packet.
pub fn coefficients(a: &Activation, band: Band, block: Block) -> Vec<f64> {
    let (tokens, hidden) = (a.tokens(), a.hidden());
    let (along_tokens, along_hidden) = (roots(tokens), roots(hidden));
    let mut out = Vec::with_capacity(2 * block.ks * block.kd);
    for i in 0..block.ks {
        let u = band.frequency(i, block.ks, tokens);
        let mut row = vec![(0f64, 0f64); hidden];
        for s in 0..tokens {
            let (re, im) = along_tokens[u * s % tokens];
            for (sum, &value) in row.iter_mut().zip(a.row(s)) {
                sum.0 += re * f64::from(value);
                sum.1 += im * f64::from(value);
            }
        }
        for v in 0..block.kd {
            let (mut re, mut im, mut at) = (0.0, 0.0, 0);
            for value in &row {
                let root = along_hidden[at];
                re += value.0 * root.0 - value.1 * root.1;
                im += value.0 * root.1 + value.1 * root.0;
                at += v;
                if at >= hidden {
                    at -= hidden;
                }
            }
            out.extend([re, im]);
        }
    }
    out
}

/// What a kept block stands for, S x D row-major: the real part of the inverse sum over the block and, but for `corner`, its
/// mirror positions; a position that both give has their mean.
pub fn restored(kept: &[f64], band: Band, block: Block, (tokens, hidden): (usize, usize)) -> Vec<f64> {
    let (along_tokens, along_hidden) = (roots(tokens), roots(hidden));
    let rows: Vec<usize> = (0..block.ks).map(|i| band.frequency(i, block.ks, tokens)).collect();
    let held: Vec<bool> = (0..tokens).map(|u| rows.contains(&u)).collect();
    let mut out = vec![0f64; tokens * hidden];
    for (i, &u) in rows.iter().enumerate() {
        // The row's own inverse along D, the mirror's share put into the weight: both have the same real part.
        let mut row = vec![(0f64, 0f64); hidden];
        for v in 0..block.kd {
            let mirrored_too = held[(tokens - u) % tokens] && (hidden - v) % hidden < block.kd;
            let weight = if band == Band::Corner || mirrored_too { 1.0 } else { 2.0 };
            let (re, im) = (weight * kept[2 * (i * block.kd + v)], weight * kept[2 * (i * block.kd + v) + 1]);
            let mut at = 0;
            for sum in &mut row {
                let (cos, minus_sin) = along_hidden[at];
                sum.0 += re * cos + im * minus_sin;
                sum.1 += im * cos - re * minus_sin;
                at += v;
                if at >= hidden {
                    at -= hidden;
                }
            }
        }
        for s in 0..tokens {
            let (cos, minus_sin) = along_tokens[u * s % tokens];
            for (to, (re, im)) in out[s * hidden..][..hidden].iter_mut().zip(&row) {
                *to += re * cos + im * minus_sin;
            }
        }
    }
    let norm = splitbench_codec::kernel::normalisation(splitbench_codec::Shape { tokens, hidden });
    out.iter_mut().for_each(|v| *v *= norm);
    out
}

/// A with all but its k largest magnitudes zero, ties to the lower position, by a full sort.
pub fn largest(a: &Activation, k: usize) -> Vec<f64> {
    let values = a.values();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[j].abs().total_cmp(&values[i].abs()).then(i.cmp(&j)));
    let mut out = vec![0f64; values.len()];
    order[..k].iter().for_each(|&i| out[i] = f64::from(values[i]));
    out
}

fn matrix(a: &Activation) -> Mat<f64> {
    Mat::from_fn(a.tokens(), a.hidden(), |i, j| f64::from(a.row(i)[j]))
}

/// Q Q^T A for orthonormal Q, row-major.
fn projected(q: MatRef<'_, f64>, a: MatRef<'_, f64>) -> Vec<f64> {
    let back = q * (q.transpose() * a);
    (0..back.nrows()).flat_map(|i| (0..back.ncols()).map(move |j| (i, j))).map(|at| back[at]).collect()
}

/// Q Q^T A with Q the r leading left singular vectors of A W, W the weight of each channel, by faer's thin SVD in f64.
pub fn truncated(a: &Activation, weights: Option<&[f64]>, rank: usize) -> Result<Vec<f64>> {
    let a = matrix(a);
    let weighted = Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] * weights.map_or(1.0, |w| w[j]));
    let svd = weighted.thin_svd().ok().context("the reference SVD did not converge")?;
    Ok(projected(svd.U().subcols(0, rank), a.as_ref()))
}

/// Q Q^T A with Q the first r columns of faer's column-pivoted Householder QR in f64.
pub fn pivoted(a: &Activation, rank: usize) -> Vec<f64> {
    let a = matrix(a);
    let q = a.col_piv_qr().compute_thin_Q();
    projected(q.subcols(0, rank), a.as_ref())
}

/// `||found - reference||_F / ||reference||_F`; 0 where both are zero.
pub fn rel_error(found: impl Iterator<Item = f64>, reference: &[f64]) -> f64 {
    let (mut error, mut norm) = (0.0, 0.0);
    for (found, reference) in found.zip(reference) {
        error += (found - reference).powi(2);
        norm += reference.powi(2);
    }
    if error == 0.0 { 0.0 } else { (error / norm).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The block of everything restores everything, and a pure wave has one coefficient where it belongs.
    #[test]
    fn sums_by_hand() {
        let (tokens, hidden) = (5, 8);
        let wave =
            |s: usize, d: usize| (TAU * (2.0 * s as f64 / tokens as f64 + 3.0 * d as f64 / hidden as f64)).cos() as f32;
        let values = (0..tokens * hidden).map(|i| wave(i / hidden, i % hidden)).collect();
        let a = Activation::new(tokens, hidden, values).unwrap();
        let all = Block { ks: tokens, kd: hidden };
        let found = coefficients(&a, Band::Corner, all);
        for (at, pair) in found.chunks_exact(2).enumerate() {
            let expected = if at == 2 * hidden + 3 || at == 3 * hidden + 5 { 20.0 } else { 0.0 };
            assert!((pair[0] - expected).abs() < 1e-5 && pair[1].abs() < 1e-5, "{at}: {pair:?}");
        }
        for band in [Band::Corner, Band::Mirrored] {
            let back = restored(&found, band, all, (tokens, hidden));
            assert!(rel_error(a.values().iter().map(|&v| f64::from(v)), &back) < 1e-6, "{band:?}");
        }
        // One of the two only: mirrored brings the wave back whole, corner at half.
        let block = Block { ks: 3, kd: 4 };
        let kept = coefficients(&a, Band::Mirrored, block);
        let whole = restored(&kept, Band::Mirrored, block, (tokens, hidden));
        let half = restored(&kept, Band::Corner, block, (tokens, hidden));
        for (i, value) in a.values().iter().enumerate() {
            assert!((whole[i] - f64::from(*value)).abs() < 1e-6 && (2.0 * half[i] - whole[i]).abs() < 1e-9, "{i}");
        }
        let centered = coefficients(&a, Band::Centered, Block { ks: 5, kd: 5 });
        let back = restored(&centered, Band::Centered, Block { ks: 5, kd: 5 }, (tokens, hidden));
        assert!(rel_error(a.values().iter().map(|&v| f64::from(v)), &back) < 1e-6);
    }
}
