//! The sides of the kept block: the option `aspect`.

use std::ops::Range;

use strum::VariantNames;

use crate::kernel::{Band, Block};
use crate::parts::transform::TransformedMatrix;
use crate::shape::Shape;

/// The shape of the kept block at a given number of coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = anyhow::Error, parse_err_fn = unknown)]
pub enum Aspect {
    /// K_S : S as K_D : D.
    Proportional,
    /// All token frequencies, few hidden ones.
    Tokens,
    /// All hidden frequencies, few token ones.
    Hidden,
    /// The pair that restores the most energy of this activation.
    Adaptive,
}

fn unknown(text: &str) -> anyhow::Error {
    crate::suggest::unknown("aspect", text, Aspect::VARIANTS.iter().copied())
}

/// How many coefficients may be kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Allowance {
    /// S * D over this ratio: the `elements` accounting.
    Ratio(f64),
    /// At most this number, at least 1: the `wire` accounting.
    Count(usize),
}

impl Allowance {
    fn ratio(self, elements: f64) -> f64 {
        match self {
            Self::Ratio(ratio) => ratio,
            Self::Count(count) => elements / count as f64,
        }
    }

    /// The allowed number over `side`, rounded down; an integer count is divided as an integer.
    fn over(self, side: usize, elements: f64) -> usize {
        match self {
            Self::Ratio(ratio) => (elements / (ratio * side as f64)).floor() as usize,
            Self::Count(count) => count / side,
        }
    }
}

/// The block of an aspect other than `adaptive`. A `Count` is never exceeded; a `Ratio` follows the written rule, whose
/// lower clamps keep at least one row and one column.
pub(crate) fn choose(aspect: Aspect, band: Band, shape: (usize, usize), allowance: Allowance) -> Block {
    let (tokens, hidden) = shape;
    let elements = (tokens * hidden) as f64;
    let cap = band.max_kd(hidden);
    let (ks, kd) = match aspect {
        Aspect::Proportional | Aspect::Adaptive => {
            // Both sides shrink by the root of the ratio.
            let ks = ((tokens as f64 / allowance.ratio(elements).sqrt()).round() as usize).clamp(1, tokens);
            let kd = allowance.over(ks, elements).max(1);
            // The half-spectrum ends at D/2 + 1: what the columns cannot use goes to the rows.
            if kd > cap { (allowance.over(cap, elements).clamp(1, tokens), cap) } else { (ks, kd) }
        }
        Aspect::Tokens => (tokens, allowance.over(tokens, elements).clamp(1, cap)),
        Aspect::Hidden => (allowance.over(cap, elements).clamp(1, tokens), cap),
    };
    match allowance {
        // The clamps round up, and a count is all that fits.
        Allowance::Count(count) if ks * kd > count => {
            let kd = (count / ks).max(1);
            Block { ks: ks.min(count / kd), kd }
        }
        _ => Block { ks, kd },
    }
}

/// The block that `fc` keeps of an S x D activation at a ratio in elements by aspect `proportional`.
pub fn proportional(band: Band, shape: Shape, ratio: f64) -> Block {
    choose(Aspect::Proportional, band, (shape.tokens, shape.hidden), Allowance::Ratio(ratio))
}

/// The block of `adaptive`: of all K_S with the largest K_D allowed beside it, the pair whose reconstruction restores
/// the most energy; ties go to the smaller K_S.
pub(crate) fn most_energy(matrix: TransformedMatrix<'_>, band: Band, allowance: Allowance) -> Block {
    let Shape { tokens, hidden } = matrix.shape();
    let elements = (tokens * hidden) as f64;
    let energies = Energies::new(matrix);
    let mut best: Option<(f64, Block)> = None;
    for ks in 1..=tokens {
        // The widest block for this K_S: a block inside another never restores more.
        let kd = allowance.over(ks, elements).min(band.max_kd(hidden));
        if kd == 0 {
            break;
        }
        let block = Block { ks, kd };
        let restored = match matrix {
            TransformedMatrix::Fourier(_) => energies.restored(band, block),
            // Each coefficient stands for itself alone.
            TransformedMatrix::Cosine(..) => energies.sum(&[0..ks, 0..0], &[0..kd, 0..0]),
        };
        // Sums of the same energies in another order differ in the last bits; that must not decide a tie.
        if best.is_none_or(|(most, _)| restored > most * (1.0 + 1e-12)) {
            best = Some((restored, block));
        }
    }
    best.map_or(Block { ks: 1, kd: 1 }, |(_, block)| block)
}

/// Energies of all coefficients, summed over rectangles in constant time.
struct Energies {
    tokens: usize,
    hidden: usize,
    /// (S + 1) x (D + 1) sums over all rows and columns before a position.
    sums: Vec<f64>,
}

impl Energies {
    fn new(matrix: TransformedMatrix<'_>) -> Self {
        let Shape { tokens, hidden } = matrix.shape();
        // A summed-area table (Crow 1984): built once, it gives any rectangle in four look-ups.
        let mut sums = vec![0f64; (tokens + 1) * (hidden + 1)];
        for u in 0..tokens {
            let mut row = 0.0;
            for v in 0..hidden {
                row += matrix.energy(u, v);
                sums[(u + 1) * (hidden + 1) + v + 1] = sums[u * (hidden + 1) + v + 1] + row;
            }
        }
        Self { tokens, hidden, sums }
    }

    fn sum(&self, rows: &[Range<usize>], columns: &[Range<usize>]) -> f64 {
        let at = |u: usize, v: usize| self.sums[u * (self.hidden + 1) + v];
        let mut total = 0.0;
        for r in rows.iter().filter(|r| r.start < r.end) {
            for c in columns.iter().filter(|c| c.start < c.end) {
                total += at(r.end, c.end) - at(r.start, c.end) - at(r.end, c.start) + at(r.start, c.start);
            }
        }
        total
    }

    /// The energy of A less the energy of the error, times S * D. A kept coefficient restores its mirror too; where only
    /// one of the two was kept, `corner` brings both back at half, which leaves a quarter of each as error.
    fn restored(&self, band: Band, block: Block) -> f64 {
        let (s, d, Block { ks, kd }) = (self.tokens, self.hidden, block);
        let half = ks / 2;
        let (rows, both_rows) = match band {
            Band::Corner | Band::Mirrored => ([0..ks, 0..0], [0..1, (s + 1 - ks).max(1)..ks]),
            // An even K_S keeps -K_S/2 without its mirror, unless that is the row S/2, its own mirror.
            Band::Centered if ks % 2 == 0 && ks < s => ([s - half..s, 0..half], [s - half + 1..s, 0..half]),
            Band::Centered => ([s - half..s, 0..ks - half], [s - half..s, 0..ks - half]),
        };
        let kept = self.sum(&rows, &[0..kd, 0..0]);
        let both = self.sum(&both_rows, &[0..1, (d + 1 - kd).max(1)..kd]);
        match band {
            // A pair of which one was kept counts 2 - 1/2 instead of 2; where both were kept, the energy counts as it
            // is.
            Band::Corner => 1.5 * kept - 0.5 * both,
            Band::Mirrored | Band::Centered => 2.0 * kept - both,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S64_D2048: (usize, usize) = (64, 2048);

    fn block(aspect: Aspect, band: Band, shape: (usize, usize), ratio: f64) -> (usize, usize) {
        let Block { ks, kd } = choose(aspect, band, shape, Allowance::Ratio(ratio));
        (ks, kd)
    }

    #[test]
    fn rules_by_hand() {
        use Aspect::{Hidden, Proportional, Tokens};
        use Band::{Centered, Corner, Mirrored};
        // 64 / sqrt(10) = 20.2; 131072 / 200 = 655.4.
        assert_eq!(block(Proportional, Mirrored, S64_D2048, 10.0), (20, 655));
        assert_eq!(block(Proportional, Corner, S64_D2048, 1.0), (64, 2048));
        // 3 / 2 = 1.5 rounds away from zero.
        assert_eq!(block(Proportional, Mirrored, (3, 100), 4.0), (2, 37));
        assert_eq!(block(Tokens, Mirrored, S64_D2048, 10.0), (64, 204));
        assert_eq!(block(Hidden, Mirrored, S64_D2048, 10.0), (6, 2048));
        assert_eq!(block(Hidden, Centered, S64_D2048, 10.0), (12, 1025));
        assert_eq!(block(Proportional, Centered, S64_D2048, 10.0), (20, 655));
        // At ratio 2 the half-spectrum is too narrow for 45 x 1456: the rows take what is left.
        assert_eq!(block(Proportional, Centered, S64_D2048, 2.0), (63, 1025));
        assert_eq!(block(Proportional, Centered, S64_D2048, 1.0), (64, 1025));
        // Short and tiny activations.
        assert_eq!(block(Proportional, Mirrored, (1, 2048), 8.0), (1, 256));
        assert_eq!(block(Proportional, Mirrored, (2, 2048), 8.0), (1, 512));
        assert_eq!(block(Proportional, Mirrored, (3, 2048), 8.0), (1, 768));
        assert_eq!(block(Proportional, Mirrored, (2, 3), 100.0), (1, 1));
    }

    #[test]
    fn a_count_is_never_exceeded() {
        for aspect in [Aspect::Proportional, Aspect::Tokens, Aspect::Hidden] {
            for band in [Band::Corner, Band::Mirrored, Band::Centered] {
                for shape in [(1, 1), (1, 9), (7, 5), (30, 8), (8, 30)] {
                    for count in 1..=shape.0 * shape.1 {
                        let b = choose(aspect, band, shape, Allowance::Count(count));
                        let ok = b.ks >= 1 && b.kd >= 1 && b.ks <= shape.0 && b.kd <= band.max_kd(shape.1);
                        assert!(ok && b.ks * b.kd <= count, "{aspect:?} {band:?} {shape:?} {count}: {b:?}");
                    }
                }
            }
        }
    }
}
