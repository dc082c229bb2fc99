//! How numbers lie in a packet: a type, and sections of numbers that share a power of two.

use anyhow::{Result, bail, ensure};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use strum::VariantNames;

use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::Reader;
use crate::vector::{Vector, dispatch};

/// The type of the numbers in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = anyhow::Error, parse_err_fn = unknown)]
pub enum ValueType {
    /// IEEE half precision, 11 significant bits: two bytes. The default.
    F16,
    /// IEEE single precision, 24 significant bits: four bytes.
    F32,
    /// The upper half of single precision, 8 significant bits: two bytes.
    Bf16,
    /// Integers from -127 to 127 with a step of their own for every few of them: one byte and a share of the step.
    Int8,
}

fn unknown(text: &str) -> anyhow::Error {
    crate::suggest::unknown("value type", text, ValueType::VARIANTS.iter().copied())
}

impl ValueType {
    /// Bytes of one number; of int8, without its share of the step.
    pub fn bytes(self) -> usize {
        match self {
            Self::Int8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    pub(crate) fn id(self) -> u8 {
        match self {
            Self::F16 => 0,
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 3,
        }
    }

    pub(crate) fn from_id(id: u8) -> Result<Self> {
        Ok(match id {
            0 => Self::F16,
            1 => Self::F32,
            2 => Self::Bf16,
            3 => Self::Int8,
            _ => bail!("packet field value type: {id} is none of 0 (f16), 1 (f32), 2 (bf16), 3 (int8)"),
        })
    }
}

/// Bytes of a section's exponent.
pub(crate) const EXPONENT_BYTES: usize = 2;

/// The largest magnitude of a section is stored in `[2^14, 2^15)`: below f16's largest, 65504, with room for rounding
/// up, and 2^28 above its smallest normal number, so that small values beside a huge one keep their 11 bits.
const STORED_TOP: i32 = 14;

/// No finite f32, and no sum over [`crate::shape::MAX_ELEMENTS`] of them, needs an exponent beyond this.
const EXPONENT_LIMIT: i32 = 300;

/// `floor(log2(|value|))` of a finite number that is normal in f64; `None` for zero.
pub(crate) fn exponent(value: impl Into<f64>) -> Option<i32> {
    let magnitude = value.into().abs();
    // Every f32, subnormals too, is a normal f64, so the exponent field is exact.
    (magnitude > 0.0).then(|| ((magnitude.to_bits() >> 52) as i32) - 1023)
}

/// Exactly `2^exponent`, for exponents of normal f64 numbers.
pub(crate) fn power_of_two(exponent: i32) -> f64 {
    debug_assert!((-1022..=1023).contains(&exponent));
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The power of two to divide by before sums of `terms` numbers up to a magnitude of the given [`exponent`] are made in f32:
/// zero for ordinary activations; otherwise the one that keeps the sums finite and the smallest away from the subnormals.
pub(crate) fn shift_for_f32(top: Option<i32>, terms: usize) -> i32 {
    match top {
        Some(e) if e + terms.ilog2() as i32 >= 120 || e < -60 => e.max(-126),
        _ => 0,
    }
}

/// Largest magnitude; `None` where a value is not finite.
pub(crate) fn max_magnitude(values: &[f32]) -> Option<f32> {
    let bits = dispatch!(max_bits(values));
    // From these bits on are infinity and NaN.
    (bits < 0x7f80_0000).then(|| f32::from_bits(bits))
}

/// Magnitudes are ordered as their bits are, which keeps the loop free of branches and sees NaN as the largest.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn max_bits<V: Vector>(values: &[f32]) -> u32 {
    let mut top = 0;
    for value in values {
        top = top.max(value.to_bits() & 0x7fff_ffff);
    }
    top
}

/// Appends a section: the exponent e as i16, then each value as `value * 2^-e` in `kind`. `extra` is a power of two that
/// the values were already divided by.
pub(crate) fn write_section(out: &mut Vec<u8>, kind: ValueType, values: &[f32], extra: i32) -> Result<()> {
    ensure!(kind != ValueType::Int8, "a section holds floating-point numbers, not int8");
    let Some(top) = max_magnitude(values) else { bail!("a value to be sent is not finite") };
    let own = exponent(top).map_or(0, |e| e - STORED_TOP);
    // Zeros are stored alike, whatever they were divided by.
    let stored = own + if top == 0.0 { 0 } else { extra };
    out.extend_from_slice(&(stored as i16).to_le_bytes());
    out.reserve(values.len() * kind.bytes());
    // Scaled and converted chunk by chunk, so that no second copy of all values is made.
    let mut scaled = [0f32; CHUNK];
    for values in values.chunks(CHUNK) {
        let scaled = &mut scaled[..values.len()];
        scale(values, -own, scaled);
        put_converted(out, kind, scaled);
    }
    Ok(())
}

/// Appends at most [`CHUNK`] numbers, rounded to nearest even.
fn put_converted(out: &mut Vec<u8>, kind: ValueType, values: &[f32]) {
    match kind {
        ValueType::F16 => {
            let mut halves = [f16::ZERO; CHUNK];
            halves[..values.len()].convert_from_f32_slice(values);
            put(out, &halves[..values.len()], f16::to_le_bytes);
        }
        ValueType::Bf16 => {
            let mut halves = [bf16::ZERO; CHUNK];
            halves[..values.len()].convert_from_f32_slice(values);
            put(out, &halves[..values.len()], bf16::to_le_bytes);
        }
        ValueType::F32 | ValueType::Int8 => put_f32(out, values),
    }
}

/// Values converted at a time: they stay in the innermost cache.
const CHUNK: usize = 512;

/// Each value times `2^exponent`, rounded once.
fn scale(values: &[f32], exponent: i32, out: &mut [f32]) {
    let gain = power_of_two(exponent);
    let narrow = gain as f32;
    // A product by a power of two is rounded only where f32's range ends, and then once: the same in f32 and in f64.
    if narrow.is_normal() {
        out.iter_mut().zip(values).for_each(|(out, v)| *out = v * narrow);
    } else {
        out.iter_mut().zip(values).for_each(|(out, v)| *out = (f64::from(*v) * gain) as f32);
    }
}

/// Appends numbers in place; growing the vector number by number is several times slower.
fn put<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    let start = out.len();
    out.resize(start + N * values.len(), 0);
    for (to, v) in out[start..].chunks_exact_mut(N).zip(values) {
        to.copy_from_slice(&bytes(*v));
    }
}

/// Appends f32 numbers, bit for bit.
pub(crate) fn put_f32(out: &mut Vec<u8>, values: &[f32]) {
    put(out, values, f32::to_le_bytes);
}

/// Reads f32 numbers, bit for bit.
pub(crate) fn get_f32(bytes: &[u8]) -> Vec<f32> {
    let mut out = buffers::empty(bytes.len() / 4);
    out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
    out
}

/// Appends numbers one by one as `kind` has them, without a shared exponent, rounded to nearest even; what is beyond the
/// type's largest number is that number. Not for int8.
pub(crate) fn put_plain(out: &mut Vec<u8>, kind: ValueType, values: &[f32]) {
    out.reserve(values.len() * kind.bytes());
    let top = largest(kind);
    let mut clamped = [0f32; CHUNK];
    for values in values.chunks(CHUNK) {
        let clamped = &mut clamped[..values.len()];
        clamped.iter_mut().zip(values).for_each(|(to, v)| *to = v.clamp(-top, top));
        put_converted(out, kind, clamped);
    }
}

/// The largest number of a floating-point type.
fn largest(kind: ValueType) -> f32 {
    match kind {
        ValueType::F16 => f16::MAX.to_f32(),
        ValueType::Bf16 => bf16::MAX.to_f32(),
        ValueType::F32 | ValueType::Int8 => f32::MAX,
    }
}

/// Reads what [`put_plain`] wrote.
pub(crate) fn get_plain(bytes: &[u8], kind: ValueType) -> Vec<f32> {
    match kind {
        ValueType::F16 => widened(bytes, f16::from_le_bytes, |halves, out| halves.convert_to_f32_slice(out)),
        ValueType::Bf16 => widened(bytes, bf16::from_le_bytes, |halves, out| halves.convert_to_f32_slice(out)),
        ValueType::F32 | ValueType::Int8 => get_f32(bytes),
    }
}

/// A section as read: each number is `stored * 2^exponent`.
pub(crate) struct NumberSection {
    pub stored: Scratch<f32>,
    pub exponent: i32,
}

impl NumberSection {
    /// The numbers themselves, where f32 holds them.
    pub fn into_values(mut self) -> Scratch<f32> {
        let gain = power_of_two(self.exponent);
        for v in self.stored.iter_mut() {
            *v = (f64::from(*v) * gain) as f32;
        }
        self.stored
    }
}

/// Numbers of two bytes as f32.
fn widened<T: Copy + Default>(bytes: &[u8], read: fn([u8; 2]) -> T, widen: fn(&[T], &mut [f32])) -> Vec<f32> {
    let mut out = buffers::floats(bytes.len() / 2);
    let mut halves = [T::default(); CHUNK];
    for (out, bytes) in out.chunks_mut(CHUNK).zip(bytes.chunks(2 * CHUNK)) {
        let halves = &mut halves[..out.len()];
        halves.iter_mut().zip(bytes.as_chunks().0).for_each(|(half, bytes)| *half = read(*bytes));
        widen(halves, out);
    }
    out
}

/// Reads a section of `count` numbers; its bytes are claimed before anything is allocated.
pub(crate) fn read_section(
    reader: &mut Reader<'_>,
    kind: ValueType,
    count: usize,
    field: &str,
) -> Result<NumberSection> {
    let exponent = i32::from(reader.i16(field)?);
    ensure!(
        exponent.abs() <= EXPONENT_LIMIT,
        "packet field {field}: the exponent {exponent} is beyond {EXPONENT_LIMIT}"
    );
    let Some(length) = count.checked_mul(kind.bytes()) else { bail!("packet field {field}: {count} numbers overflow") };
    ensure!(kind != ValueType::Int8, "packet field {field}: a section holds floating-point numbers, not int8");
    let stored = get_plain(reader.bytes(length, field)?, kind);
    // The encoder refuses such values, so the packet is damaged.
    if max_magnitude(&stored).is_none() {
        bail!("packet field {field}: a number is not finite");
    }
    Ok(NumberSection { stored: stored.into(), exponent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(kind: ValueType, values: &[f32]) -> Vec<f32> {
        let mut bytes = Vec::new();
        write_section(&mut bytes, kind, values, 0).unwrap();
        assert_eq!(bytes.len(), EXPONENT_BYTES + values.len() * kind.bytes());
        read_section(&mut Reader::new(&bytes), kind, values.len(), "test").unwrap().into_values().to_vec()
    }

    #[test]
    fn magnitudes_keep_their_precision_from_huge_to_tiny() {
        for top in [1e-30f32, 1e-7, 1.0, 65504.0, 65519.9, 1e9, 3e38] {
            let values = [top, -top / 3.0, top / 1e3, top / 1e7, 0.0];
            for (kind, bound) in [(ValueType::F16, 4.9e-4), (ValueType::Bf16, 4e-3), (ValueType::F32, 1e-7)] {
                for (a, b) in values.iter().zip(round_trip(kind, &values)) {
                    assert!((a - b).abs() <= bound * a.abs(), "{kind} {top:e}: {a:e} became {b:e}");
                }
            }
        }
    }

    #[test]
    fn zeros_and_subnormals() {
        assert_eq!(round_trip(ValueType::F16, &[0.0, 0.0]), [0.0, 0.0]);
        let tiny = f32::from_bits(1);
        assert_eq!(round_trip(ValueType::F16, &[tiny, -tiny]), [tiny, -tiny]);
        assert_eq!(exponent(tiny), Some(-149));
        assert_eq!(exponent(1.5), Some(0));
        assert_eq!(exponent(0.0), None);
    }

    #[test]
    fn plain_numbers_are_rounded_to_even_and_end_at_the_largest_of_their_type() {
        let one_and = |bits: i32| 1.0 + 2f32.powi(-bits);
        for (kind, sent, expected) in [
            (ValueType::F16, one_and(11), 1.0),
            (ValueType::F16, one_and(10) + 2f32.powi(-11), 1.0 + 2f32.powi(-9)),
            (ValueType::F16, -1e6, -65504.0),
            (ValueType::F16, 2f32.powi(-24), 2f32.powi(-24)),
            (ValueType::Bf16, one_and(8), 1.0),
            (ValueType::Bf16, one_and(7) + 2f32.powi(-8), 1.0 + 2f32.powi(-6)),
            (ValueType::Bf16, f32::MAX, f32::from_bits(0x7f7f_0000)),
            (ValueType::F32, f32::MAX, f32::MAX),
        ] {
            let mut bytes = Vec::new();
            put_plain(&mut bytes, kind, &[sent, -0.0]);
            assert_eq!(get_plain(&bytes, kind), [expected, 0.0], "{kind}: {sent:e}");
        }
    }

    #[test]
    fn not_finite_is_refused_on_both_sides() {
        assert!(write_section(&mut Vec::new(), ValueType::F32, &[1.0, f32::NAN], 0).is_err());
        let mut bytes = vec![0, 0];
        bytes.extend_from_slice(&f16::INFINITY.to_le_bytes());
        let error = read_section(&mut Reader::new(&bytes), ValueType::F16, 1, "levels").err().unwrap().to_string();
        assert!(error.contains("levels"), "{error}");
    }
}
