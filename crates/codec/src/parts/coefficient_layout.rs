//! The independent coefficients of a real matrix, row by row: of a spectrum one of each conjugate pair, of a cosine transform all.

use std::ops::Range;

use crate::bytes::buffers;
use crate::kernel::{self, Band, Block, with_workspace};
use crate::parts::cosine;
use crate::parts::transform::{self, PlaneTransform, TransformedMatrix};
use crate::shape::Shape;

/// Positions of the independent coefficients of an S x D matrix. Of a spectrum row frequency u up to S/2 has columns 0 to D/2,
/// one beyond has those columns that are not their own mirrors. Of a cosine transform each row has all columns.
#[derive(Clone, Copy)]
pub(crate) struct CoefficientLayout {
    pub tokens: usize,
    pub hidden: usize,
    pub transform: PlaneTransform,
}

impl CoefficientLayout {
    /// How many rows have the columns that are their own mirrors; the rows beyond get these columns from their mirror
    /// rows.
    pub fn low_rows(self) -> usize {
        match self.transform {
            PlaneTransform::Fourier => self.tokens / 2 + 1,
            PlaneTransform::Cosine => self.tokens,
        }
    }

    /// Columns of the first row: D/2 + 1 of a spectrum.
    pub fn width(self) -> usize {
        match self.transform {
            PlaneTransform::Fourier => self.hidden / 2 + 1,
            PlaneTransform::Cosine => self.hidden,
        }
    }

    /// Columns of row u.
    pub fn columns(self, u: usize) -> Range<usize> {
        if u < self.low_rows() { 0..self.width() } else { 1..(self.hidden - 1) / 2 + 1 }
    }

    /// The position of row u's first column; of row S, the number of positions.
    pub fn start(self, u: usize) -> usize {
        let low = u.min(self.low_rows());
        low * self.width() + (u - low) * ((self.hidden - 1) / 2)
    }

    /// How many positions there are.
    pub fn count(self) -> usize {
        self.start(self.tokens)
    }

    /// Whether a column is its own mirror.
    pub fn is_edge(self, v: usize) -> bool {
        (2 * v).is_multiple_of(self.hidden)
    }

    /// Row and column of ascending positions.
    pub fn places(self, positions: &[u32]) -> impl Iterator<Item = (usize, usize)> {
        let mut u = 0;
        positions.iter().map(move |&position| {
            while self.start(u + 1) <= position as usize {
                u += 1;
            }
            (u, self.columns(u).start + position as usize - self.start(u))
        })
    }

    /// The energy of each position, and of its mirror where that is another position.
    pub fn energies(self, matrix: TransformedMatrix<'_>) -> Vec<f64> {
        let spectrum = match matrix {
            TransformedMatrix::Fourier(spectrum) => spectrum,
            TransformedMatrix::Cosine(values, _) => return values.iter().map(|&c| f64::from(c).powi(2)).collect(),
        };
        let mut out = Vec::with_capacity(self.count());
        for u in 0..self.tokens {
            for v in self.columns(u) {
                let c = spectrum.at(u, v);
                // A coefficient that is its own mirror counts once.
                let alone = (2 * u).is_multiple_of(self.tokens) && self.is_edge(v);
                let weight = if alone { 1.0 } else { 2.0 };
                out.push(weight * (f64::from(c.re).powi(2) + f64::from(c.im).powi(2)));
            }
        }
        out
    }

    /// Coefficients at positions; of a spectrum real and imaginary parts in turn.
    pub fn gather(self, matrix: TransformedMatrix<'_>, positions: &[u32]) -> Vec<f32> {
        match matrix {
            TransformedMatrix::Fourier(spectrum) => {
                self.places(positions).map(|(u, v)| spectrum.at(u, v)).flat_map(|c| [c.re, c.im]).collect()
            }
            // Every coefficient has a position, so positions are row-major.
            TransformedMatrix::Cosine(values, _) => positions.iter().map(|&at| values[at as usize]).collect(),
        }
    }

    /// The matrix, times `gain`, whose transform has these coefficients, their mirrors, and zeros elsewhere.
    pub fn restore(self, positions: &[u32], coefficients: &[f32], gain: f64) -> Vec<f32> {
        if self.transform == PlaneTransform::Cosine {
            let mut values = buffers::floats(self.count());
            values.fill(0.0);
            positions.iter().zip(coefficients).for_each(|(&at, &c)| values[at as usize] = c);
            cosine::inverse(&mut values, self.hidden);
            transform::times(&mut values, gain);
            return values;
        }
        let (s, w) = (self.tokens, self.width());
        // A block of all rows, in the order of the band.
        let mut block = vec![0f32; 2 * s * w];
        let mut put = |u: usize, v: usize, c: [f32; 2]| block[2 * ((u + s / 2) % s * w + v)..][..2].copy_from_slice(&c);
        for ((u, v), &[re, im]) in self.places(positions).zip(coefficients.as_chunks().0) {
            put(u, v, [re, im]);
            // A column that is its own mirror has both rows of a pair in the block, but only one among the positions.
            if self.is_edge(v) && u != (s - u) % s {
                put(s - u, v, [re, -im]);
            }
        }
        let mut out = buffers::floats(s * self.hidden);
        let (shape, kept) = (Shape { tokens: s, hidden: self.hidden }, Block { ks: s, kd: w });
        with_workspace(|workspace| {
            kernel::inverse(&block, shape, Band::Centered, kept, gain, &mut out, workspace);
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::kernel::Workspace;

    #[test]
    fn every_pair_is_there_once_and_its_energy_counts_for_both() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (s, d) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (4, 6), (5, 6), (6, 5), (7, 9), (24, 96), (33, 20)] {
            let layout = CoefficientLayout { tokens: s, hidden: d, transform: PlaneTransform::Fourier };
            let all: Vec<u32> = (0..layout.count() as u32).collect();
            let mut seen = vec![0; s * d];
            for (u, v) in layout.places(&all) {
                assert!(layout.columns(u).contains(&v));
                seen[u * d + v] += 1;
                if (u, v) != ((s - u) % s, (d - v) % d) {
                    seen[(s - u) % s * d + (d - v) % d] += 1;
                }
            }
            assert!(seen.iter().all(|n| *n == 1), "{s} x {d}: {seen:?}");

            let values: Vec<f32> = (0..s * d).map(|_| rng.random_range(-1.0..1.0)).collect();
            let mut workspace = Workspace::default();
            let spectrum = TransformedMatrix::Fourier(kernel::forward_all(
                &values,
                Shape { tokens: s, hidden: d },
                1.0,
                &mut workspace,
            ));
            let energy: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() * (s * d) as f64;
            let found: f64 = layout.energies(spectrum).iter().sum();
            assert!((found - energy).abs() < 1e-5 * energy, "{s} x {d}: {found} for {energy}");
            let back = layout.restore(&all, &layout.gather(spectrum, &all), 1.0);
            assert!(values.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-5), "{s} x {d}");
        }
    }

    #[test]
    fn what_is_left_out_is_the_error() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for (s, d) in [(4, 6), (5, 7), (9, 8)] {
            let layout = CoefficientLayout { tokens: s, hidden: d, transform: PlaneTransform::Fourier };
            let values: Vec<f32> = (0..s * d).map(|_| rng.random_range(-1.0..1.0)).collect();
            let mut workspace = Workspace::default();
            let spectrum = TransformedMatrix::Fourier(kernel::forward_all(
                &values,
                Shape { tokens: s, hidden: d },
                1.0,
                &mut workspace,
            ));
            let energies = layout.energies(spectrum);
            let kept: Vec<u32> = (0..layout.count() as u32).filter(|_| rng.random_bool(0.5)).collect();
            let back = layout.restore(&kept, &layout.gather(spectrum, &kept), 1.0);
            let error: f64 = values.iter().zip(&back).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let left: f64 = (0..layout.count()).filter(|i| !kept.contains(&(*i as u32))).map(|i| energies[i]).sum();
            assert!((error - left / (s * d) as f64).abs() < 1e-5, "{s} x {d}: {error}");
        }
    }
}
