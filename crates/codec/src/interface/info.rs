//! What a codec says about itself.

use anyhow::Result;

use super::Codec;
use super::calibration::{Calibration, CalibrationNeed};
use super::packet::{Packet, PacketView};
use super::spec::CodecSpec;

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
    pub(crate) id: u8,
    /// Whether a budget says how much it sends.
    pub rate: Rate,
    /// Whether a row depends on the rows beside it, of a spec that says nothing else ([`CodecSpec::rows`]).
    pub rows: RowScope,
    /// Which calibration data a spec asks for.
    pub(crate) needs: fn(&CodecSpec) -> Option<CalibrationNeed>,
    /// Makes the codec.
    pub(crate) build: BuildCodec,
    /// Checks that a packet's body has the length its own header asks for; returns the kept numbers.
    pub(crate) layout: fn(&PacketView<'_>) -> Result<usize>,
    /// Decodes the S * D values of a packet that passed `layout`.
    pub(crate) decode: fn(&Packet) -> Result<Vec<f32>>,
    /// How much its packets hold, for the suite of all codecs.
    #[cfg(test)]
    pub(crate) size: super::size_rule::SizeRule,
}

/// What decides how much a codec sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// The ratio asked for.
    Budget,
    /// The codec's format and the activation alone: a budget is ignored, and a sweep over ratios has one cell of it.
    Fixed,
}

/// What a row of A' depends on. Of a local codec, chunks of a sequence may be sent one after another, as in generation with a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum RowScope {
    /// That row of A alone, at any budget: alone, in a chunk or in the whole matrix it comes back the same to the bit. Scales of
    /// quantisers reach 2^28 down from the largest of their matrix; a group below that has the step of one there.
    Local,
    /// Other rows too, or the number of rows.
    Joint,
}

/// What [`crate::build`] calls.
pub(crate) type BuildCodec = fn(&CodecSpec, Option<&Calibration>) -> Result<Box<dyn Codec>>;

impl CodecInfo {
    /// Whether its packets may hold numbers as int8: one of its `values`.
    pub(crate) fn sends_int8(&self) -> bool {
        let int8 = |allowed: &AllowedValues| matches!(allowed, AllowedValues::Words(words) if words.iter().any(|w| w.word == "int8"));
        self.options.iter().any(|option| option.key == VALUES.key && int8(&option.allowed))
    }
}

impl PartialEq for CodecInfo {
    fn eq(&self, other: &Self) -> bool {
        // A codec is known by its name, which the registry has once.
        self.name == other.name
    }
}

/// One option of a codec.
#[derive(Debug)]
pub struct OptionInfo {
    /// The key, as in `key=value`.
    pub key: &'static str,
    /// Which values it takes.
    pub allowed: AllowedValues,
    /// The value meant where the option is left out; empty where it must be given.
    pub default: &'static str,
    /// One sentence on what it chooses.
    pub meaning: &'static str,
}

/// The values an option takes.
#[derive(Debug)]
pub enum AllowedValues {
    /// One of a few words.
    Words(&'static [OptionWord]),
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
pub struct OptionWord {
    /// The word, as in `key=word`.
    pub word: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// The option every codec has that sends chosen numbers.
pub(crate) const VALUES: OptionInfo = OptionInfo {
    key: "values",
    allowed: AllowedValues::Words(&[
        OptionWord { word: "f16", meaning: "two bytes, 11 significant bits" },
        OptionWord { word: "f32", meaning: "four bytes, 24 significant bits" },
        OptionWord { word: "bf16", meaning: "two bytes, 8 significant bits" },
    ]),
    default: "f16",
    meaning: "type of the numbers in the packet",
};
