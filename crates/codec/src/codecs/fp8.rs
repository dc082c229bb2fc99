//! `fp8`: 8-bit floating point (OCP e4m3fn or e5m2) times a scale.

use anyhow::Result;
use float8::{F8E4M3, F8E5M2};

use crate::grids::groups;
use crate::grids::quantiser::{self, CODER, Grid, Quantiser};
use crate::interface::Codec;
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "fp8",
    summary: "Rounds every value to an 8-bit floating-point number (e4m3fn or e5m2) times one scale per group.",
    options: &[FORMAT, groups::GROUP_OR_TENSOR, CODER, groups::SCALES],
    id: 10,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(built(spec)),
    layout,
    decode,
    #[cfg(test)]
    size: SizeRule::QUANTISER,
};

/// Which of the two grids of 256 codes.
const FORMAT: OptionInfo = OptionInfo {
    key: "format",
    allowed: AllowedValues::Words(&[
        OptionWord { word: "e4m3", meaning: "4 bits of exponent, 3 of mantissa, largest 448" },
        OptionWord { word: "e5m2", meaning: "5 bits of exponent, 2 of mantissa, largest 57344" },
    ]),
    default: "e4m3",
    meaning: "how the 8 bits are divided",
};

fn built(spec: &CodecSpec) -> Box<dyn Codec> {
    match spec.option(FORMAT.key) {
        Some("e5m2") => Box::new(Quantiser::<E5m2>::new(spec)),
        _ => Box::new(Quantiser::<E4m3>::new(spec)),
    }
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let e5m2 = quantiser::is_marked(view.body, E5m2::MARK);
    if e5m2 { quantiser::layout::<E5m2>(view) } else { quantiser::layout::<E4m3>(view) }
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let e5m2 = quantiser::is_marked(packet.view().body, E5m2::MARK);
    if e5m2 { quantiser::decode::<E5m2>(packet) } else { quantiser::decode::<E4m3>(packet) }
}

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

/// Sign, 5 bits of exponent with bias 15, 2 bits of mantissa: the upper byte of an f16, with its infinities and NaNs.
struct E5m2;

impl Grid for E5m2 {
    const TOP: f64 = 57344.0;
    const BITS: usize = 8;
    const MARK: u8 = 16;

    /// A scale rounded down leaves 57574 at most, which is nearest to 57344 as well.
    fn code(scaled: f64) -> u8 {
        F8E5M2::from_f64(scaled).to_bits()
    }

    /// Infinite codes stand for no number, as those of NaN.
    fn value(code: u8) -> f64 {
        let value = F8E5M2::from_bits(code).to_f64();
        if value.is_finite() { value } else { f64::NAN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition: sign, exponent and mantissa of each code of e5m2.
    fn control5(code: u8) -> f64 {
        let (exponent, mantissa) = (i32::from(code >> 2 & 31), f64::from(code & 3));
        let magnitude = match exponent {
            31 => f64::NAN,
            0 => mantissa / 4.0 * 2f64.powi(-14),
            _ => (1.0 + mantissa / 4.0) * 2f64.powi(exponent - 15),
        };
        if code < 128 { magnitude } else { -magnitude }
    }

    /// By the definition: sign, exponent and mantissa of each code of e4m3.
    fn control4(code: u8) -> f64 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7));
        let magnitude = match (exponent, code & 7) {
            (15, 7) => f64::NAN,
            (0, _) => mantissa / 8.0 * 2f64.powi(-6),
            _ => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
        };
        if code < 128 { magnitude } else { -magnitude }
    }

    fn every_code_and_every_tie<G: Grid>(control: fn(u8) -> f64, largest: u8) {
        for code in 0..=255u8 {
            let (found, expected) = (G::value(code), control(code));
            assert!(found == expected || (found.is_nan() && expected.is_nan()), "{code:#x}: {found} for {expected}");
        }
        for code in 0..largest {
            let (low, high) = (control(code), control(code + 1));
            let tie = low.midpoint(high);
            let even = code + code % 2;
            // As near to the tie as a quotient of two f32 can come.
            let near = tie * 2f64.powi(-30);
            for (scaled, expected) in
                [(low, code), (high, code + 1), (tie - near, code), (tie, even), (tie + near, code + 1)]
            {
                assert_eq!(G::code(scaled), expected, "{scaled:e}");
                assert_eq!(G::code(-scaled), expected | 128, "-{scaled:e}");
            }
        }
        // What a bf16 scale leaves, off by 2^-8 at most.
        assert_eq!((G::code(G::TOP * (1.0 + 2f64.powi(-8))), G::value(largest)), (largest, G::TOP));
    }

    #[test]
    fn codes_and_ties_of_both_formats() {
        every_code_and_every_tie::<E4m3>(control4, 0x7e);
        every_code_and_every_tie::<E5m2>(control5, 0x7b);
    }
}
