//! `q80`: GGML's Q8_0, 32 integers from -127 to 127 times an f16 scale, as distributed-llama sends activations.

use crate::grids::blocks::{self, BLOCK, BlockCodec, BlockFormat};
use crate::interface::info::{CodecInfo, Rate, RowScope};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "q80",
    summary: "Rounds every value to 8 bits as GGML's Q8_0 does: blocks of 32 with an f16 scale.",
    options: &[],
    id: 22,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(BlockCodec::<Q80>::new(spec))),
    layout: blocks::layout::<Q80>,
    decode: blocks::decode::<Q80>,
    #[cfg(test)]
    size: SizeRule { bytes: |_, a, _| 34 * a.tokens() * a.hidden().div_ceil(32), ..SizeRule::WHOLE },
};

struct Q80;

impl BlockFormat for Q80 {
    const CODES: usize = BLOCK;

    fn encode(values: &[f32; BLOCK], codes: &mut [u8]) -> f32 {
        let scale = values.iter().fold(0f32, |top, v| top.max(v.abs())) / 127.0;
        let inverse = blocks::inverse(scale);
        for (code, v) in codes.iter_mut().zip(values) {
            // C's roundf, halves away from zero: the sum is exact in f64, and a conversion cuts off the fraction.
            let scaled = f64::from(v * inverse);
            *code = (scaled + 0.5f64.copysign(scaled)) as i32 as u8;
        }
        scale
    }

    fn decode(codes: &[u8], scaled: &mut [f32; BLOCK]) {
        scaled.iter_mut().zip(codes).for_each(|(v, code)| *v = f32::from(*code as i8));
    }
}
