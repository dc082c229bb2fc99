//! `fp8`: 8-bit floating point (OCP e4m3fn) times a scale.

use float8::F8E4M3;

use crate::grids::quantiser::{self, Grid, OPTIONS, Quantiser};
use crate::interface::info::{CodecInfo, Rate, RowScope};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "fp8",
    summary: "Rounds every value to an 8-bit floating-point number (e4m3fn, largest 448) times one scale per group.",
    options: OPTIONS,
    id: 10,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Quantiser::<E4m3>::new(spec))),
    layout: quantiser::layout::<E4m3>,
    decode: quantiser::decode::<E4m3>,
    #[cfg(test)]
    size: SizeRule::QUANTISER,
};

/// Sign, 4 bits of exponent with bias 7, 3 bits of mantissa; subnormal down to 2^-9, no infinity, two codes of NaN.
struct E4m3;

impl Grid for E4m3 {
    const TOP: f64 = 448.0;
    const BITS: usize = 8;

    /// A scale rounded down leaves 448.3 at most (449.8 for a bf16 scale), which is nearest to 448 as well.
    fn code(scaled: f64) -> u8 {
        F8E4M3::from_f64(scaled).to_bits()
    }

    fn value(code: u8) -> f64 {
        F8E4M3::from_bits(code).to_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition: sign, exponent and mantissa of each code.
    fn control(code: u8) -> f64 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7));
        let magnitude = match (exponent, code & 7) {
            (15, 7) => f64::NAN,
            (0, _) => mantissa / 8.0 * 2f64.powi(-6),
            _ => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
        };
        if code < 128 { magnitude } else { -magnitude }
    }

    #[test]
    fn every_code_and_every_tie_between_two() {
        for code in 0..=255u8 {
            let (found, expected) = (E4m3::value(code), control(code));
            assert!(found == expected || (found.is_nan() && expected.is_nan()), "{code:#x}: {found} for {expected}");
        }
        for code in 0..0x7e_u8 {
            let (low, high) = (control(code), control(code + 1));
            let tie = low.midpoint(high);
            let even = code + code % 2;
            // As near to the tie as a quotient of two f32 can come.
            let near = tie * 2f64.powi(-30);
            for (scaled, expected) in
                [(low, code), (high, code + 1), (tie - near, code), (tie, even), (tie + near, code + 1)]
            {
                assert_eq!(E4m3::code(scaled), expected, "{scaled:e}");
                assert_eq!(E4m3::code(-scaled), expected | 128, "-{scaled:e}");
            }
        }
        assert_eq!((E4m3::code(449.8), E4m3::value(0x7e)), (0x7e, E4m3::TOP));
    }
}
