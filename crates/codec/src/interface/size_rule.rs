//! How much a codec's packets hold, written down from the text of the wire format and of the ratio rules, and not from the
//! codec's code: what the suite of all codecs (`suite.rs`) checks them by. For tests.

use super::budget::Accounting;
use super::packet::Packet;
use super::spec::CodecSpec;
use crate::activation::Activation;
use crate::bytes::values::ValueType;

/// What the suite must know of a codec; it stands beside the codec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SizeRule {
    /// What decides a packet's length.
    pub amount: Amount,
    /// Bytes behind the common header, of so many elements; asked of [`Amount::Counted`] alone.
    pub bytes: fn(&CodecSpec, &Activation, usize) -> usize,
    /// Bytes of the whole packet by the lengths it states itself, where its codes are entropy-coded or have widths of their own.
    pub stated: fn(&CodecSpec, &Activation, &Packet) -> Option<usize>,
    /// Elements of an S x D activation at a ratio in elements; none where they depend on the values.
    pub elements: fn(&CodecSpec, [usize; 2], f64) -> Option<usize>,
    /// The fewest elements, whatever the ratio.
    pub least: fn(&CodecSpec, [usize; 2], Accounting) -> usize,
    /// More elements than `kept` that a larger budget would have given.
    pub more: fn(&CodecSpec, [usize; 2], usize) -> usize,
}

/// What decides a packet's length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Amount {
    /// The number of elements.
    Counted,
    /// The packet tells which coefficients it has, in bytes that follow the activation.
    Indexed,
    /// Bits follow the activation: there are as many as there is room for, and 16 bits are an element.
    Adaptive,
}

impl SizeRule {
    /// Every number of the activation, at any ratio.
    pub const WHOLE: Self = Self {
        amount: Amount::Counted,
        bytes: |_, a, _| 4 * a.values().len(),
        stated: |_, _, _| None,
        elements: |_, [s, d], _| Some(s * d),
        least: |_, [s, d], _| s * d,
        more: |_, [s, d], _| s * d,
    };

    /// A quantiser of 8 bits: group, coder, scales, codes.
    pub const QUANTISER: Self = Self {
        bytes: |spec, a, _| 4 + 1 + digest_bytes(spec) + scale_bytes(spec, a) + a.values().len(),
        stated: |spec, a, packet| {
            let bytes = packet.as_bytes();
            let at = 20 + digest_bytes(spec) + scale_bytes(spec, a);
            (spec.option("coder") == Some("rans") && bytes[19] & 1 == 1).then(|| coded(bytes, at))
        },
        ..Self::WHOLE
    };

    /// A quantiser of 4 bits.
    pub const QUANTISER4: Self = Self {
        bytes: |spec, a, _| 4 + 1 + digest_bytes(spec) + scale_bytes(spec, a) + a.values().len().div_ceil(2),
        ..Self::QUANTISER
    };

    /// Two factors of rank r, S x r and r x D.
    pub const LOW_RANK: Self = Self {
        amount: Amount::Counted,
        bytes: |spec, _, kept| 4 + 2 + 2 + kept * width(spec),
        stated: |_, _, _| None,
        elements: |_, [s, d], ratio| {
            let rank = ((s * d) as f64 / (ratio * (s + d) as f64)).floor() as usize;
            Some(rank.max(1) * (s + d))
        },
        least: |_, [s, d], _| s + d,
        more: |_, [s, d], kept| kept + s + d,
    };

    /// As many bits as there is room for.
    pub const ADAPTIVE: Self = Self {
        amount: Amount::Adaptive,
        bytes: |_, _, _| 0,
        stated: |_, _, _| None,
        elements: |_, _, _| None,
        least: |_, _, _| 1,
        more: |_, _, kept| kept,
    };
}

/// Bytes of one number.
pub(crate) fn width(spec: &CodecSpec) -> usize {
    match spec.values() {
        ValueType::F32 => 4,
        ValueType::F16 | ValueType::Bf16 => 2,
        ValueType::Int8 => 1,
    }
}

/// Bytes of `count` coefficients: a section, or int8 codes with coder, exponent and steps of blocks of 32.
pub(crate) fn coefficient_bytes(spec: &CodecSpec, count: usize) -> usize {
    match spec.values() {
        ValueType::Int8 => 1 + 2 + 2 * count.div_ceil(32) + count,
        _ => 2 + count * width(spec),
    }
}

/// What tells which calibration both sides need.
pub(crate) fn digest_bytes(spec: &CodecSpec) -> usize {
    let shared = spec.option("rotate") == Some("whiten") || spec.option("mean") == Some("calibrated");
    if ["klt", "awq", "spinquant", "atom"].contains(&spec.name()) || shared { 8 } else { 0 }
}

/// A quantiser's section of scales.
pub(crate) fn scale_bytes(spec: &CodecSpec, a: &Activation) -> usize {
    let group = spec.option("group").and_then(|group| group.parse().ok()).unwrap_or(a.hidden());
    let groups = if spec.option("group") == Some("tensor") { 1 } else { a.tokens() * a.hidden().div_ceil(group) };
    2 + scale_width(spec) * groups
}

/// Bytes of one scale.
pub(crate) fn scale_width(spec: &CodecSpec) -> usize {
    if spec.option("scales") == Some("f32") { 4 } else { 2 }
}

/// A count in a packet.
pub(crate) fn count(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Where entropy-coded codes end that begin at a place.
pub(crate) fn coded(bytes: &[u8], at: usize) -> usize {
    at + 9 + count(bytes, at + 1) + count(bytes, at + 5)
}

/// Where entropy-coded coefficients end that begin at a place; none where they are sent plain.
pub(crate) fn coded_coefficients(spec: &CodecSpec, bytes: &[u8], at: usize, numbers: usize) -> Option<usize> {
    let coded_here = spec.values() == ValueType::Int8 && bytes[at] == 1;
    coded_here.then(|| coded(bytes, at + 3 + 2 * numbers.div_ceil(32)))
}
