//! The grid of int8, which coefficients are sent on as well.

use super::quantiser::{self, Grid};

/// Symmetric, so that -A is coded as the negative of A; -128 has no code.
pub(crate) struct Int8;

impl Grid for Int8 {
    const TOP: f64 = 127.0;
    const BITS: usize = 8;

    fn code(scaled: f64) -> u8 {
        quantiser::nearest(scaled.clamp(-Self::TOP, Self::TOP))
    }

    fn value(code: u8) -> f64 {
        let integer = f64::from(code as i8);
        if integer < -Self::TOP { f64::NAN } else { integer }
    }
}
