//! One scale per group of channels: the factor by which a quantiser's grid is stretched.

use anyhow::Result;

use crate::bytes::buffers::Scratch;
use crate::bytes::fields::Reader;
use crate::bytes::values::{self, ValueType, power_of_two};
use crate::interface::info::{AllowedValues, OptionInfo, OptionWord, VALUES};
use crate::interface::spec::CodecSpec;

/// Which values share a scale; the last word is for the quantisers alone.
const WORDS: &[OptionWord] = &[
    OptionWord { word: "token", meaning: "all channels of a token" },
    OptionWord { word: "32", meaning: "32 consecutive channels of a token" },
    OptionWord { word: "64", meaning: "64 consecutive channels of a token" },
    OptionWord { word: "128", meaning: "128 consecutive channels of a token" },
    OptionWord { word: "tensor", meaning: "the whole matrix; rows then depend on one another" },
];

/// Which values of a token share a scale.
pub(crate) const GROUP: OptionInfo = OptionInfo {
    key: "group",
    allowed: AllowedValues::Words(WORDS.split_at(4).0),
    default: "token",
    meaning: "which values share one scale",
};

/// Which values share a scale, where that may be all of them.
pub(crate) const GROUP_OR_TENSOR: OptionInfo = OptionInfo { allowed: AllowedValues::Words(WORDS), ..GROUP };

/// In place of a number of channels: one scale for the whole matrix.
pub(crate) const TENSOR: usize = 0;

/// The option that says in which type scales are sent.
pub(crate) const SCALES: OptionInfo =
    OptionInfo { key: "scales", allowed: VALUES.allowed, default: "f16", meaning: "type of the scales in the packet" };

/// Every scale of a group that is not all zero is at least this much of the largest: f16's smallest normal number beside
/// a largest in `[2^14, 2^15)`, where sections put it. So no scale becomes zero or loses bits, and a group that is
/// smaller still is off by 2^-29 of the largest group's step at most.
const LEAST_SHARE: f64 = 1.0 / (1u64 << 28) as f64;

/// How many channels of a row of `hidden` share a scale, or [`TENSOR`].
pub(crate) fn channels(spec: &CodecSpec, hidden: usize) -> Result<usize> {
    match spec.option(GROUP.key) {
        Some("token") => Ok(hidden),
        Some("tensor") => Ok(TENSOR),
        // A row narrower than a group is one group.
        _ => Ok(spec.typed::<usize>(GROUP.key)?.min(hidden)),
    }
}

/// How many groups a matrix has; the last of a row may be shorter.
pub(crate) fn count(tokens: usize, hidden: usize, channels: usize) -> usize {
    if channels == TENSOR { 1 } else { tokens * hidden.div_ceil(channels) }
}

/// The groups of a row-major matrix, row by row.
pub(crate) fn split<T>(values: &[T], hidden: usize, channels: usize) -> impl Iterator<Item = &[T]> {
    let (hidden, channels) = if channels == TENSOR { (values.len(), values.len()) } else { (hidden, channels) };
    values.chunks_exact(hidden).flat_map(move |row| row.chunks(channels))
}

/// Appends one scale for each group's largest magnitude, so that it falls on `grid_top`. Returns the scales as the
/// decoder will read them: quantising by these, and not by the unrounded ones, keeps every value within half a step.
pub(crate) fn write(out: &mut Vec<u8>, kind: ValueType, tops: &[f64], grid_top: f64) -> Result<Scratch<f64>> {
    let most = tops.iter().copied().fold(0.0, f64::max);
    // Scales are brought around one, where neither the quotients nor the sums of a rotation leave f32.
    let shared = values::exponent(most).unwrap_or(0);
    let gain = power_of_two(-shared);
    let scale = |top: f64| if top == 0.0 { 0.0 } else { (top.max(most * LEAST_SHARE) / grid_top * gain) as f32 };
    let mut scales = Scratch::new(tops.len());
    scales.extend(tops.iter().map(|&top| scale(top)));
    // Written, then read back: codes are made with the rounded scales.
    let start = out.len();
    values::write_section(out, kind, &scales, shared)?;
    read(&mut Reader::new(&out[start..]), kind, scales.len())
}

/// Reads `count` scales.
pub(crate) fn read(reader: &mut Reader<'_>, kind: ValueType, count: usize) -> Result<Scratch<f64>> {
    let section = values::read_section(reader, kind, count, "scales")?;
    let gain = power_of_two(section.exponent);
    let mut scales = Scratch::new(count);
    scales.extend(section.stored.iter().map(|&stored| f64::from(stored) * gain));
    Ok(scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_end_with_their_row() {
        let values: Vec<usize> = (0..10).collect();
        let parts: Vec<&[usize]> = split(&values, 5, 2).collect();
        assert_eq!(parts, [&[0, 1][..], &[2, 3], &[4], &[5, 6], &[7, 8], &[9]]);
        assert_eq!(count(2, 5, 2), parts.len());
        assert_eq!(count(2, 5, 5), 2);
        assert_eq!(split(&values, 5, TENSOR).collect::<Vec<_>>(), [&values[..]]);
        assert_eq!(count(2, 5, TENSOR), 1);
    }

    #[test]
    fn scales_are_close_and_never_zero_or_infinite_beside_a_group_that_is_not_zero() {
        let smallest = f64::from(f32::from_bits(1));
        for (kind, bound) in [(ValueType::F16, 4.9e-4), (ValueType::Bf16, 4e-3), (ValueType::F32, 1e-7)] {
            for tops in [vec![f64::from(f32::MAX), 1.0, smallest, 0.0], vec![smallest, 0.0], vec![3.0, 1e-7, 2e-8]] {
                for grid_top in [7.0, 127.0, 448.0] {
                    let scales = write(&mut Vec::new(), kind, &tops, grid_top).unwrap();
                    for (&top, &scale) in tops.iter().zip(&*scales) {
                        assert_eq!(top == 0.0, scale == 0.0);
                        let exact = if top == 0.0 { 0.0 } else { top.max(tops[0] / 2f64.powi(28)) / grid_top };
                        assert!((scale - exact).abs() <= bound * exact, "{kind}, {top:e}: {scale:e} for {exact:e}");
                    }
                }
            }
        }
    }
}
