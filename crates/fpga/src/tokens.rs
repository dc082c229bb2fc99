//! The token axis: sums of four columns at a time against cosines and sines of period S, rows s and S - s together.

use super::fixed::{Complex, ROOT_BITS, normalise, round_shift};
use super::shape::COLUMNS;
use super::tables::{QUARTER_BITS, quarter};

/// Bits of a mantissa in the column buffer, with the sign.
pub(super) const MANTISSA_BITS: u32 = 17;

/// Bits below a mantissa that aligned words keep.
const GUARD_BITS: u32 = 6;

/// The exponent of a word of zeros.
pub(super) const ZERO: i32 = -128;

/// Four complex numbers with a common exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    /// Real and imaginary parts in turn.
    pub mantissas: [i64; 2 * COLUMNS],
    pub exponent: i32,
}

impl Word {
    pub const ZERO: Self = Self { mantissas: [0; 2 * COLUMNS], exponent: ZERO };

    /// Values over 2^`exponent`, as mantissas of `bits` bits; where there are none but zeros the exponent is [`ZERO`].
    pub fn new(values: [i64; 2 * COLUMNS], bits: u32, exponent: i32) -> Self {
        let (mantissas, shift) = normalise(values, bits);
        Self { mantissas, exponent: shift.map_or(ZERO, |shift| exponent + shift as i32) }
    }

    /// The values over 2^(`exponent` - `guard`).
    pub fn aligned(&self, exponent: i32, guard: u32) -> [i64; 2 * COLUMNS] {
        let shift = (exponent - self.exponent).min(31) as u32;
        self.mantissas.map(|m| round_shift(m << guard, shift))
    }
}

/// 2^bits / n, rounded.
pub(super) fn reciprocal(bits: u32, n: usize) -> i64 {
    ((1i64 << bits) + n as i64 / 2) / n as i64
}

/// Cosine and sine of k / S of a turn for all k in 0..S, in units of 2^-16: the nearest of 4096 angles, and the rest to
/// first order.
fn roots(tokens: usize) -> Vec<Complex> {
    // 2 pi in units of 2^-12.
    const TURN: i64 = 25_736;
    let step = reciprocal(32, tokens);
    let unit = |k: usize| {
        let phase = (k as i64 * step) & 0xffff_ffff;
        let nearest = (phase + (1 << 19)) >> 20;
        let rest = phase - (nearest << 20);
        let (cos, sin) = quarter((nearest & 1023) as usize);
        let (cos, sin) = match nearest >> 10 & 3 {
            0 => (cos, sin),
            1 => (-sin, cos),
            2 => (-cos, -sin),
            _ => (sin, -cos),
        };
        // In units of 2^-28.
        let angle = round_shift(rest * TURN, 16);
        let fine = 28 + QUARTER_BITS - ROOT_BITS;
        Complex::new(round_shift((cos << 28) - angle * sin, fine), round_shift((sin << 28) + angle * cos, fine))
    };
    (0..tokens).map(unit).collect()
}

/// The sums of a column of four, for one frequency p and its mirror S - p.
pub(super) struct Sums {
    /// Sum of x(q) e^(-2 pi i p q / S).
    pub minus: [i64; 2 * COLUMNS],
    /// Sum of x(q) e^(2 pi i p q / S).
    pub plus: [i64; 2 * COLUMNS],
}

/// Sums over pairs of words: q from 0 on, and S - q (zeros where there is no such word).
pub(super) struct TokenAxisModel {
    tokens: usize,
    roots: Vec<Complex>,
}

impl TokenAxisModel {
    pub fn new(tokens: usize) -> Self {
        Self { tokens, roots: roots(tokens) }
    }

    /// The sums for p in 0..`count`, over 2^(`exponent` - 6).
    pub fn sums(&self, pairs: &[(Word, Word)], exponent: i32, count: usize) -> Vec<Sums> {
        let folded: Vec<_> = pairs
            .iter()
            .map(|(a, b)| {
                let (a, b) = (a.aligned(exponent, GUARD_BITS), b.aligned(exponent, GUARD_BITS));
                let even: [i64; 2 * COLUMNS] = std::array::from_fn(|i| a[i] + b[i]);
                let odd: [i64; 2 * COLUMNS] = std::array::from_fn(|i| a[i] - b[i]);
                (even, odd)
            })
            .collect();
        let of = |p: usize| {
            let (mut cosines, mut sines) =
                ([1i64 << (ROOT_BITS - 1); 2 * COLUMNS], [1i64 << (ROOT_BITS - 1); 2 * COLUMNS]);
            for (q, (even, odd)) in folded.iter().enumerate() {
                let root = self.roots[p * q % self.tokens];
                for i in 0..2 * COLUMNS {
                    cosines[i] += even[i] * root.re;
                    sines[i] += odd[i] * root.im;
                }
            }
            let (c, s) = (cosines.map(|v| v >> ROOT_BITS), sines.map(|v| v >> ROOT_BITS));
            // Times i, a real part becomes an imaginary one.
            let turned: [i64; 2 * COLUMNS] = std::array::from_fn(|i| if i % 2 == 0 { -s[i + 1] } else { s[i - 1] });
            Sums { minus: std::array::from_fn(|i| c[i] - turned[i]), plus: std::array::from_fn(|i| c[i] + turned[i]) }
        };
        (0..count).map(of).collect()
    }
}

/// The exponent below a word's own at which [`TokenAxisModel::sums`] has its values.
pub(super) const GUARD: i32 = GUARD_BITS as i32;

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    #[test]
    fn roots_of_any_period_are_within_a_unit() {
        for tokens in 1..=512 {
            for (k, root) in roots(tokens).iter().enumerate() {
                let (sin, cos) = (TAU * k as f64 / tokens as f64).sin_cos();
                let error = (root.re as f64 - 65536.0 * cos).abs().max((root.im as f64 - 65536.0 * sin).abs());
                assert!(error < 0.7, "{k} of {tokens}: off by {error}");
            }
            let half = &roots(2 * tokens.min(256))[tokens.min(256)];
            assert_eq!((half.re, half.im), (-65536, 0));
        }
    }
}
