//! The list of codecs, and what each says about itself.

use anyhow::Result;

use super::calibration::{Calibration, CalibrationNeed};
use super::packet::{Frame, Packet};
use super::spec::CodecSpec;
use super::{
    Codec, asvd, external, fc, fc_mask, fc_reading, fp8, fwsvd, hadamard_int4, int4, int8, klt, noop, qr, slicer,
    sparse_rans, svd, svd_llm, threshold_split, token_ids, topk, zfp,
};

/// What a codec says about itself: enough to list it, parse its options, build it and read its packets.
#[derive(Debug)]
pub struct CodecInfo {
    /// The name in specs, tables and rows.
    pub name: &'static str,
    /// One sentence on what it keeps.
    pub summary: &'static str,
    /// Its options, in the order of the canonical name.
    pub options: &'static [OptionInfo],
    /// The codec's number in a packet; never reused.
    pub(super) id: u8,
    /// Whether a budget says how much it sends.
    pub rate: Rate,
    /// Which calibration data a spec asks for.
    pub(super) needs: fn(&CodecSpec) -> Option<CalibrationNeed>,
    /// Makes the codec.
    pub(super) build: BuildCodec,
    /// Checks that a packet's body has the length its own header asks for; returns the kept numbers.
    pub(super) layout: fn(&Frame<'_>) -> Result<usize>,
    /// Decodes the S * D values of a packet that passed `layout`.
    pub(super) decode: fn(&Packet) -> Result<Vec<f32>>,
}

/// What decides how much a codec sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// The ratio asked for.
    Budget,
    /// The codec's format and the activation alone: a budget is ignored, and a sweep over ratios has one cell of it.
    Fixed,
}

/// What [`super::build`] calls.
pub(super) type BuildCodec = fn(&CodecSpec, Option<&Calibration>) -> Result<Box<dyn Codec>>;

impl PartialEq for CodecInfo {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// One option of a codec.
#[derive(Debug)]
pub struct OptionInfo {
    /// The key, as in `key=value`.
    pub key: &'static str,
    /// Which values it takes.
    pub allowed: Allowed,
    /// The value meant where the option is left out; empty where it must be given.
    pub default: &'static str,
    /// One sentence on what it chooses.
    pub meaning: &'static str,
}

/// The values an option takes.
#[derive(Debug)]
pub enum Allowed {
    /// One of a few words.
    Words(&'static [Choice]),
    /// A decimal number between two bounds, both included.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// A program and its arguments, which takes the rest of the text, commas and all: the last option of its codec.
    Command,
}

/// One word an option takes.
#[derive(Debug)]
pub struct Choice {
    /// The word, as in `key=word`.
    pub word: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// The option every codec has that sends chosen numbers.
pub(super) const VALUES: OptionInfo = OptionInfo {
    key: "values",
    allowed: Allowed::Words(&[
        Choice { word: "f16", meaning: "two bytes, 11 significant bits" },
        Choice { word: "f32", meaning: "four bytes, 24 significant bits" },
        Choice { word: "bf16", meaning: "two bytes, 8 significant bits" },
    ]),
    default: "f16",
    meaning: "type of the numbers in the packet",
};

static REGISTERED: [&CodecInfo; 21] = [
    &noop::INFO,
    &fc::INFO,
    &fc_mask::INFO,
    &fc_reading::INFO,
    &topk::INFO,
    &qr::INFO,
    &svd::INFO,
    &fwsvd::INFO,
    &asvd::INFO,
    &svd_llm::INFO,
    &klt::INFO,
    &int8::INFO,
    &int4::INFO,
    &fp8::INFO,
    &hadamard_int4::INFO,
    &threshold_split::INFO,
    &slicer::INFO,
    &sparse_rans::INFO,
    &external::INFO,
    &token_ids::INFO,
    &zfp::INFO,
];

/// All codecs, in the order of listings.
pub fn registered() -> &'static [&'static CodecInfo] {
    &REGISTERED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_everything_is_documented() {
        for (i, info) in registered().iter().enumerate() {
            for other in &registered()[..i] {
                assert_ne!(info.name, other.name);
                assert_ne!(info.id, other.id, "{} and {}", info.name, other.name);
            }
            assert!(info.summary.ends_with('.') && info.summary.len() > 20, "{}", info.name);
            for option in info.options {
                assert!(option.meaning.len() > 10, "{}:{}", info.name, option.key);
                match &option.allowed {
                    Allowed::Words(choices) => {
                        assert!(choices.iter().any(|c| c.word == option.default), "{}:{}", info.name, option.key);
                        assert!(choices.iter().all(|c| c.meaning.len() > 5), "{}:{}", info.name, option.key);
                    }
                    Allowed::Number { min, max } => {
                        let default: f64 = option.default.parse().unwrap();
                        assert!((*min..=*max).contains(&default), "{}:{}", info.name, option.key);
                    }
                    Allowed::Command => {
                        assert_eq!(info.options.last().unwrap().key, option.key, "{}", info.name);
                        assert_eq!(option.default, "", "{}:{}", info.name, option.key);
                    }
                }
            }
        }
    }
}
