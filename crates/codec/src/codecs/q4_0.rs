//! `q4_0`: GGML's Q4_0, 32 integers from -8 to 7 times an f16 scale, two per byte.

use crate::grids::blocks::{self, BLOCK, BlockCodec, BlockFormat};
use crate::interface::info::{CodecInfo, Rate, RowScope};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "q4_0",
    summary: "Rounds every value to 4 bits as GGML's Q4_0 does: blocks of 32 with an f16 scale.",
    options: &[],
    id: 23,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(BlockCodec::<Q40>::new(spec))),
    layout: blocks::layout::<Q40>,
    decode: blocks::decode::<Q40>,
    #[cfg(test)]
    size: SizeRule { bytes: |_, a, _| 18 * a.tokens() * a.hidden().div_ceil(32), ..SizeRule::WHOLE },
};

struct Q40;

impl BlockFormat for Q40 {
    const CODES: usize = BLOCK / 2;

    /// The value of largest magnitude, the first of equals, becomes -8: of the 16 codes none is left out.
    fn encode(values: &[f32; BLOCK], codes: &mut [u8]) -> f32 {
        let largest = values[1..].iter().fold(values[0], |top, &v| if v.abs() > top.abs() { v } else { top });
        let scale = largest / -8.0;
        let inverse = blocks::inverse(scale);
        // The sum rounds in f32, as GGML's does; a value of the other sign may reach 16.
        let code = |v: f32| ((v * inverse + 8.5) as u8).min(15);
        let (low, high) = values.split_at(BLOCK / 2);
        for ((code_pair, &low), &high) in codes.iter_mut().zip(low).zip(high) {
            *code_pair = code(low) | code(high) << 4;
        }
        scale
    }

    fn decode(codes: &[u8], scaled: &mut [f32; BLOCK]) {
        let (low, high) = scaled.split_at_mut(BLOCK / 2);
        for ((code_pair, low), high) in codes.iter().zip(low).zip(high) {
            *low = f32::from(code_pair & 15) - 8.0;
            *high = f32::from(code_pair >> 4) - 8.0;
        }
    }
}
