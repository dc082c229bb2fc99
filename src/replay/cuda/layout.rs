//! What the kernels of `kernels.cu` are told of a shape.

use anyhow::{Result, ensure};

use splitbench_codec::kernel::{Band, Block};

/// Channels up to which the fused kernel runs: two rows of complex numbers in the 48 KiB of shared memory that every GPU has.
#[cfg(feature = "cuda-kernel")]
pub(super) const MOST_FUSED: usize = 48 * 1024 / 16;

/// Sides up to which indices stay within 32 bits.
const MOST_SIDE: usize = 1 << 15;

/// Tables of one shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    /// S and D.
    pub shape: (usize, usize),
    /// The kept block.
    pub block: Block,
    /// Row frequency of each row of the block.
    pub frequency: Vec<i32>,
    /// Row of the block of each row frequency, or -1.
    pub place: Vec<i32>,
    /// Whether the block has the mirror of each of its rows.
    pub mirror: Vec<i32>,
    /// Factors of D, in the order in which they are transformed.
    pub factors: Vec<i32>,
    /// How often a coefficient counts whose mirror was not kept, in the real part of the inverse.
    pub alone: f32,
    /// Its share of the restored spectrum's two positions.
    pub single: f32,
}

impl Layout {
    /// Fails, naming the side, where the block does not fit the shape or the shape is beyond the kernels' limits.
    pub fn new((tokens, hidden): (usize, usize), band: Band, block: Block) -> Result<Self> {
        for (name, side) in [("S", tokens), ("D", hidden)] {
            ensure!((1..=MOST_SIDE).contains(&side), "{name} is {side}: the CUDA kernels take 1..={MOST_SIDE}");
        }
        block.check(band, splitbench_codec::Shape { tokens, hidden })?;
        let frequencies: Vec<usize> = (0..block.ks).map(|i| band.frequency(i, block.ks, tokens)).collect();
        let mut place = vec![-1; tokens];
        frequencies.iter().enumerate().for_each(|(i, &u)| place[u] = i as i32);
        Ok(Self {
            shape: (tokens, hidden),
            block,
            mirror: frequencies.iter().map(|&u| i32::from(place[(tokens - u) % tokens] >= 0)).collect(),
            frequency: frequencies.iter().map(|&u| u as i32).collect(),
            place,
            factors: factors(hidden),
            alone: if band == Band::Corner { 1.0 } else { 2.0 },
            single: if band == Band::Corner { 0.5 } else { 1.0 },
        })
    }
}

/// The factors of n, fours first: fewer passes over shared memory than twos at the same arithmetic.
fn factors(n: usize) -> Vec<i32> {
    let (mut rest, mut out) = (n, Vec::new());
    for factor in std::iter::once(4).chain(2..) {
        while rest % factor == 0 && rest > 1 {
            out.push(factor as i32);
            rest /= factor;
        }
        if rest == 1 {
            break;
        }
    }
    out
}

/// exp(-2 pi i k / n) for k in 0..n, real and imaginary parts in turn.
#[cfg(feature = "cuda-kernel")]
pub(super) fn roots(n: usize) -> Vec<f32> {
    let angle = |k: usize| -std::f64::consts::TAU * k as f64 / n as f64;
    (0..n).flat_map(|k| [angle(k).cos() as f32, angle(k).sin() as f32]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_by_hand() {
        let made = Layout::new((6, 3072), Band::Centered, Block { ks: 3, kd: 7 }).unwrap();
        assert_eq!(made.frequency, [5, 0, 1]);
        assert_eq!((made.place, made.mirror), (vec![1, 2, -1, -1, -1, 0], vec![1, 1, 1]));
        assert_eq!(made.factors, [4, 4, 4, 4, 4, 3]);
        let made = Layout::new((6, 14), Band::Mirrored, Block { ks: 2, kd: 14 }).unwrap();
        assert_eq!((made.frequency, made.mirror, made.factors), (vec![0, 1], vec![1, 0], vec![2, 7]));
        assert_eq!(factors(1), Vec::<i32>::new());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |shape, ks, kd| Layout::new(shape, Band::Mirrored, Block { ks, kd }).unwrap_err().to_string();
        assert!(error((4, 8), 5, 1).contains("K_S is 5"));
        assert!(error((4, 8), 0, 1).contains("K_S is 0"));
        assert!(error((4, 8), 4, 9).contains("K_D is 9"));
        assert!(error((4, MOST_SIDE + 1), 1, 1).contains("D is 32769"));
        assert!(error((0, 8), 1, 1).contains("S is 0"));
    }
}
