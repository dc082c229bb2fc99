//! `int4`: the integers -7..=7 times a scale, two per byte.

use crate::grids::quantiser::{self, Grid, OPTIONS, Quantiser};
use crate::interface::info::{CodecInfo, Rate, RowScope};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "int4",
    summary: "Rounds every value to an integer from -7 to 7 times one scale per group.",
    options: OPTIONS,
    id: 9,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Quantiser::<Int4>::new(spec))),
    layout: quantiser::layout::<Int4>,
    decode: quantiser::decode::<Int4>,
    #[cfg(test)]
    size: SizeRule::QUANTISER4,
};

/// Symmetric, so that -A is coded as the negative of A; -8 has no code.
pub(crate) struct Int4;

impl Grid for Int4 {
    const TOP: f64 = 7.0;
    const BITS: usize = 4;

    fn code(scaled: f64) -> u8 {
        quantiser::nearest(scaled.clamp(-Self::TOP, Self::TOP)) & 15
    }

    fn value(code: u8) -> f64 {
        // Shifted up and back down, so that the sign bit of the half byte is copied.
        let integer = f64::from((code << 4) as i8 >> 4);
        if integer < -Self::TOP { f64::NAN } else { integer }
    }
}
