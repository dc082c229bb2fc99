//! The hidden axis: eight interleaved lanes, each a pipeline of one radix-3 and some radix-2 stages, then eight points
//! across the lanes.

use super::fixed::{Complex, round_shift};
use super::shape::LANES;
use super::tables::root;

/// Square root of 3/4 in units of 2^-17.
const SINE_THIRD: i64 = 113_512;

/// Transforms a row of D complex numbers; each becomes the sum over 2^[`super::CoreShape::hidden_scale`].
pub(super) fn transform(row: &[Complex]) -> Vec<Complex> {
    let (hidden, length) = (row.len(), row.len() / LANES);
    let lanes: Vec<Vec<Complex>> =
        (0..LANES).map(|j| lane(row.iter().skip(j).step_by(LANES).copied().collect())).collect();
    let mut out = vec![Complex::default(); hidden];
    (0..length).for_each(|position| {
        let frequency = frequency(position, length);
        let points = std::array::from_fn(|j| lanes[j][position].rotated(root(j * frequency, hidden)));
        for (r, value) in across(points).into_iter().enumerate() {
            out[frequency + length * r] = value;
        }
    });
    out
}

/// The frequency at a position of a lane's output.
fn frequency(position: usize, length: usize) -> usize {
    let radix = if length.is_multiple_of(3) { 3 } else { 1 };
    let twos = length / radix;
    let reversed = (position % twos).reverse_bits() >> (usize::BITS - twos.trailing_zeros());
    position / twos + radix * reversed
}

/// One lane, decimated in frequency: first thirds where there are, then halves.
fn lane(mut x: Vec<Complex>) -> Vec<Complex> {
    let length = x.len();
    let mut part = length;
    if length.is_multiple_of(3) {
        part = length / 3;
        for n in 0..part {
            let thirds = three([x[n], x[part + n], x[2 * part + n]]);
            for (k, value) in thirds.into_iter().enumerate() {
                x[k * part + n] = value.rotated(root(k * n, length));
            }
        }
    }
    while part > 1 {
        for block in x.chunks_exact_mut(part) {
            let (low, high) = block.split_at_mut(part / 2);
            for (n, (a, b)) in low.iter_mut().zip(high).enumerate() {
                (*a, *b) = (a.plus(*b).scaled(1), a.minus(*b).scaled(1).rotated(root(n, part)));
            }
        }
        part /= 2;
    }
    x
}

/// Three points, over 4.
fn three([a, b, c]: [Complex; 3]) -> [Complex; 3] {
    let (sum, half) = (b.plus(c), b.minus(c).scaled(1));
    let middle = Complex::new(2 * a.re - sum.re, 2 * a.im - sum.im);
    let part = |middle: i64, turned: i64| round_shift((middle << 15) + SINE_THIRD * turned, 18);
    [
        a.plus(sum).scaled(2),
        Complex::new(part(middle.re, half.im), part(middle.im, -half.re)),
        Complex::new(part(middle.re, -half.im), part(middle.im, half.re)),
    ]
}

/// Eight points, over 8, in the order of their frequencies.
fn across(y: [Complex; LANES]) -> [Complex; LANES] {
    let sums = std::array::from_fn(|j| y[j].plus(y[j + 4]).scaled(1));
    let differences: [Complex; 4] = std::array::from_fn(|j| y[j].minus(y[j + 4]).scaled(1));
    let [d0, d1, d2, d3] = differences;
    let even = four(sums);
    let odd = four([d0, d1.rotated(root(1, 8)), d2.minus_i(), d3.rotated(root(3, 8))]);
    std::array::from_fn(|r| if r % 2 == 0 { even[r / 2] } else { odd[r / 2] })
}

fn four([a, b, c, d]: [Complex; 4]) -> [Complex; 4] {
    let (even, odd) = (a.plus(c).scaled(1), b.plus(d).scaled(1));
    let (even_less, odd_less) = (a.minus(c).scaled(1), b.minus(d).scaled(1).minus_i());
    [even.plus(odd), even_less.plus(odd_less), even.minus(odd), even_less.minus(odd_less)].map(|v| v.scaled(1))
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// Within a few units of the last place of the sum itself.
    #[test]
    fn a_row_is_its_discrete_fourier_transform() {
        for (hidden, scale) in [(192, 8), (1536, 11), (2048, 11), (3072, 12)] {
            let noise = |i: usize| ((i * i * 7919 + i * 104_729) % 65_521) as i64 * 1024 - (32_760 << 10);
            let row: Vec<Complex> = (0..hidden).map(|i| Complex::new(noise(i), noise(i + 5000))).collect();
            let out = transform(&row);
            for v in (0..hidden).step_by(7) {
                let (mut re, mut im) = (0.0, 0.0);
                for (d, x) in row.iter().enumerate() {
                    let (sin, cos) = (-TAU * (v * d % hidden) as f64 / hidden as f64).sin_cos();
                    re += x.re as f64 * cos - x.im as f64 * sin;
                    im += x.re as f64 * sin + x.im as f64 * cos;
                }
                let unit = f64::from(1u32 << scale);
                let error = (re / unit - out[v].re as f64).hypot(im / unit - out[v].im as f64);
                assert!(error < 12.0 + 3e-5 * (re / unit).hypot(im / unit), "D {hidden}, {v}: off by {error}");
            }
        }
    }
}
