//! Integer arithmetic that both the model and the cores do: rounding, normalising, complex products.

/// A complex integer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Complex {
    pub re: i64,
    pub im: i64,
}

impl Complex {
    pub fn new(re: i64, im: i64) -> Self {
        Self { re, im }
    }

    pub fn plus(self, other: Self) -> Self {
        Self::new(self.re + other.re, self.im + other.im)
    }

    pub fn minus(self, other: Self) -> Self {
        Self::new(self.re - other.re, self.im - other.im)
    }

    /// Both parts over 2^by.
    pub fn scaled(self, by: u32) -> Self {
        Self::new(round_shift(self.re, by), round_shift(self.im, by))
    }

    /// Times -i.
    pub fn minus_i(self) -> Self {
        Self::new(self.im, -self.re)
    }

    /// Times a root of unity in units of 2^-16.
    pub fn rotated(self, root: Self) -> Self {
        Self::new(self.re * root.re - self.im * root.im, self.re * root.im + self.im * root.re).scaled(ROOT_BITS)
    }
}

/// Fraction bits of cosines and sines; 1.0 is exact and they fit in 18 bits with the sign.
pub(super) const ROOT_BITS: u32 = 16;

/// x / 2^by, halves upwards.
pub(super) fn round_shift(x: i64, by: u32) -> i64 {
    if by == 0 { x } else { (x + (1 << (by - 1))) >> by }
}

/// Mantissas of `bits` bits and what they are to be shifted by; `None` where all values are zero. The shift leaves the
/// largest magnitude `bits - 1` bits; what rounds beyond is the largest mantissa.
pub(super) fn normalise<const N: usize>(values: [i64; N], bits: u32) -> ([i64; N], Option<u32>) {
    let magnitudes = values.iter().fold(0, |all, v| all | (v ^ (v >> 63)));
    let zero = values.iter().all(|v| *v == 0);
    let significant = 64 - magnitudes.leading_zeros();
    let shift = significant.saturating_sub(bits - 1);
    let most = (1 << (bits - 1)) - 1;
    (values.map(|v| round_shift(v, shift).clamp(-most, most)), (!zero).then_some(shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_and_halves_go_up() {
        for (x, by, rounded) in [(5, 1, 3), (-5, 1, -2), (7, 2, 2), (6, 2, 2), (-6, 2, -1), (-7, 2, -2), (9, 0, 9)] {
            assert_eq!(round_shift(x, by), rounded, "{x} / 2^{by}");
        }
    }

    #[test]
    fn normalising_keeps_the_largest_within_the_word() {
        assert_eq!(normalise([0, 0], 16), ([0, 0], None));
        assert_eq!(normalise([32767, -5], 16), ([32767, -5], Some(0)));
        assert_eq!(normalise([32768, -6], 16), ([16384, -3], Some(1)));
        assert_eq!(normalise([65535, -65536], 16), ([32767, -32767], Some(1)));
        assert_eq!(normalise([-1, 0], 16), ([-1, 0], Some(0)));
    }
}
