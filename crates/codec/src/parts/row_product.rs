//! Rows times a square matrix that is used many times, in f32, row by row the same bits whatever rows stand beside.
//!
//! A general matrix product chooses its order of sums by the shape, so one token alone would be rotated to other bits than
//! the same token in its prompt. Here every number is one sum in the order of the channels.

use crate::bytes::buffers::Scratch;
use crate::bytes::values::{exponent, power_of_two};
use crate::vector::{LANES, Vector, dispatch};

/// Columns of a tile: two vectors, which with [`ROWS`] rows are eight sums at a time, as many as it takes to keep two units
/// with a latency of four cycles busy.
const TILE: usize = 2 * LANES;
/// Rows at a time.
const ROWS: usize = 4;

/// A D x D matrix, cut into tiles of columns.
pub(crate) struct SquareMatrix {
    side: usize,
    /// Tile after tile, each D x [`TILE`]; the last is filled up with zeros.
    tiles: Vec<f32>,
}

impl SquareMatrix {
    /// The matrix with these elements by row and column.
    pub fn new(side: usize, element: impl Fn(usize, usize) -> f32) -> Self {
        let mut tiles = Vec::with_capacity(side * side.next_multiple_of(TILE));
        for tile in 0..side.div_ceil(TILE) {
            for row in 0..side {
                let column = |lane| tile * TILE + lane;
                tiles.extend((0..TILE).map(|lane| if column(lane) < side { element(row, column(lane)) } else { 0.0 }));
            }
        }
        Self { side, tiles }
    }

    /// Each row times the matrix; rows of one activation, row-major.
    pub fn apply<T: Copy + Into<f64>>(&self, rows: &[T]) -> Scratch<f64> {
        let side = self.side;
        let (mut small, mut exponents) = (Scratch::new(rows.len()), Vec::with_capacity(rows.len() / side));
        for row in rows.chunks_exact(side) {
            // By a power of two of its own, no row leaves f32, and none depends on another.
            let top = row.iter().fold(0f64, |top, &v| top.max(v.into().abs()));
            let own = exponent(top).unwrap_or(0);
            let gain = power_of_two(-own);
            small.extend(row.iter().map(|&v| (v.into() * gain) as f32));
            exponents.push(own);
        }
        let mut products = Scratch::new(rows.len());
        products.resize(rows.len(), 0f32);
        dispatch!(multiply(&small, &self.tiles, side, &mut products));
        let mut out = Scratch::new(rows.len());
        for (row, own) in products.chunks_exact(side).zip(exponents) {
            let gain = power_of_two(own);
            out.extend(row.iter().map(|&v| f64::from(v) * gain));
        }
        out
    }
}

#[inline(always)]
fn multiply<V: Vector>(rows: &[f32], tiles: &[f32], side: usize, out: &mut [f32]) {
    let whole = rows.len() / side / ROWS * ROWS * side;
    // A tile stays in the cache while all rows pass.
    for (at, tile) in tiles.chunks_exact(side * TILE).enumerate() {
        let at = at * TILE;
        for start in (0..whole).step_by(ROWS * side) {
            columns::<V, ROWS>(&rows[start..], tile, side, &mut out[start..], at);
        }
        for start in (whole..rows.len()).step_by(side) {
            columns::<V, 1>(&rows[start..], tile, side, &mut out[start..], at);
        }
    }
}

/// A tile's columns, from `at` on, of the product of `R` rows.
#[inline(always)]
fn columns<V: Vector, const R: usize>(rows: &[f32], tile: &[f32], side: usize, out: &mut [f32], at: usize) {
    let mut sums = [[V::zero(); 2]; R];
    let rows: [&[f32]; R] = std::array::from_fn(|r| &rows[r * side..][..side]);
    let (pairs, _) = tile.as_chunks::<TILE>();
    for (channel, pair) in pairs.iter().enumerate() {
        let (halves, _) = pair.as_chunks::<LANES>();
        let (low, high) = (V::load(&halves[0]), V::load(&halves[1]));
        for (sums, row) in sums.iter_mut().zip(rows) {
            let value = V::splat(row[channel]);
            sums[0] = low.mul_add(value, sums[0]);
            sums[1] = high.mul_add(value, sums[1]);
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        let mut numbers = [[0.0; LANES]; 2];
        sums[0].store(&mut numbers[0]);
        sums[1].store(&mut numbers[1]);
        let inside = TILE.min(side - at);
        out[r * side + at..][..inside].copy_from_slice(&numbers.as_flattened()[..inside]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_definition_and_the_same_bits_alone() {
        for (side, count) in [(1, 1), (7, 5), (16, 4), (33, 9), (130, 6)] {
            let element = |i: usize, j: usize| ((i * 7 + j * j * 3) % 19) as f32 / 8.0 - 1.0;
            let matrix = SquareMatrix::new(side, element);
            let rows: Vec<f64> =
                (0..side * count).map(|i| ((i * i) % 23) as f64 * 2f64.powi(i as i32 % 90) - 3.0).collect();
            let out = matrix.apply(&rows);
            for (r, row) in rows.chunks(side).enumerate() {
                let top = row.iter().fold(0f64, |top, v| top.max(v.abs()));
                for j in 0..side {
                    let expected: f64 = row.iter().enumerate().map(|(i, v)| v * f64::from(element(i, j))).sum();
                    let off = (out[r * side + j] - expected).abs();
                    assert!(off <= 1e-6 * side as f64 * top, "{side}: {off:e}");
                }
                assert_eq!(*matrix.apply(row), out[r * side..][..side], "row {r} of {count} x {side}");
            }
        }
    }
}
