//! The list of codecs, and what goes by a codec's name or number: specs, packets, decoding.

use std::str::FromStr;

use anyhow::Result;

use crate::activation::Activation;
use crate::codecs::{
    agile_quant, asvd, atom, awq, best, cobla, dynamic_pruning, external, fc, fc_mask, fc_reading, fcanet, fp8, fwsvd,
    hadamard_int4, int4, int8, klt, noop, q4_0, q80, qr, qsparse8_v1, slicer, sparse_rans, sparse_v1, spinquant,
    split_fine_tuning, svd, svd_llm, threshold_split, token_ids, topk, zfp,
};
use crate::interface::calibration::Calibration;
use crate::interface::info::CodecInfo;
use crate::interface::packet::Packet;
use crate::interface::spec::CodecSpec;
use crate::interface::{Codec, received};

static REGISTERED: [&CodecInfo; 34] = [
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
    &awq::INFO,
    &spinquant::INFO,
    &atom::INFO,
    &agile_quant::INFO,
    &best::INFO,
    &threshold_split::INFO,
    &slicer::INFO,
    &sparse_rans::INFO,
    &external::INFO,
    &token_ids::INFO,
    &zfp::INFO,
    &q80::INFO,
    &q4_0::INFO,
    &sparse_v1::INFO,
    &qsparse8_v1::INFO,
    &fcanet::INFO,
    &dynamic_pruning::INFO,
    &cobla::INFO,
    &split_fine_tuning::INFO,
];

/// All codecs, in the order of listings.
pub fn registered() -> &'static [&'static CodecInfo] {
    &REGISTERED
}

/// Makes the codec a spec names. Fails where it needs calibration data that is missing.
pub fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    (spec.info().build)(spec, calibration)
}

/// Decodes a packet of whichever codec it names, without options. The allocation is bounded by [`MAX_ELEMENTS`](crate::MAX_ELEMENTS). Fails for a
/// packet that only [`Codec::decode`] can read: of `external`, which hands it to its program, and of codecs whose two sides
/// share a calibration; and for one of `token-ids`, which has no activation.
pub fn decode(packet: &Packet) -> Result<Activation> {
    received(packet, (packet.info().decode)(packet)?)
}

impl CodecSpec {
    /// Reads `name` or `name:key=value,key=value`; a command takes all that follows its `=`. An unknown name, key or value is
    /// an error that offers the nearest.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, options) = text.split_once(':').map_or((text, None), |(name, options)| (name, Some(options)));
        let Some(info) = registered().iter().find(|info| info.name == name).copied() else {
            return Err(crate::suggest::unknown("codec", name, registered().iter().map(|info| info.name)));
        };
        Self::read(info, text, options)
    }
}

/// Names of codecs that are separated by commas, where one may have options that are separated so too: a part that begins with `key=`
/// belongs to the codec before it. A codec's command takes all that follows.
pub fn split_codecs(text: &str) -> Vec<String> {
    let mut codecs: Vec<String> = Vec::new();
    for part in text.split(',') {
        let is_option = part.split_once('=').is_some_and(|(key, _)| !key.contains(':'));
        match codecs.last_mut() {
            Some(codec) if is_option || codec.contains(":cmd=") || codec.contains(",cmd=") => {
                *codec += &format!(",{part}")
            }
            _ => codecs.push(part.trim().to_string()),
        }
    }
    codecs
}

impl FromStr for CodecSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for CodecSpec {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl Packet {
    /// Takes bytes received; fails, naming the field, where header and length do not fit together. The payload's numbers
    /// are checked by [`decode`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::read(bytes, |id| registered().iter().find(|info| info.id == id).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::info::AllowedValues;

    #[test]
    fn commas_part_codecs_and_their_options() {
        let parse = |text: &str| -> Result<Vec<String>> {
            split_codecs(text).iter().map(|codec| Ok(CodecSpec::parse(codec)?.to_string())).collect()
        };
        let parsed = parse("int8,fc:band=centered,values=f32, topk").unwrap();
        assert_eq!(parsed, ["int8", "fc:band=centered,values=f32", "topk"]);
        assert_eq!(parse("noop,external:cmd=cat a,int8").unwrap(), ["noop", "external:cmd=cat a,int8"]);
        let limited = "external:timeout=5,cmd=cat a,int8";
        assert_eq!(parse(limited).unwrap(), [limited]);
        for bad in ["int8,", "int9", "values=f32", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

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
                    AllowedValues::Words(choices) => {
                        assert!(choices.iter().any(|c| c.word == option.default), "{}:{}", info.name, option.key);
                        assert!(choices.iter().all(|c| c.meaning.len() > 5), "{}:{}", info.name, option.key);
                    }
                    AllowedValues::Number { min, max } => {
                        let default: f64 = option.default.parse().unwrap();
                        assert!((*min..=*max).contains(&default), "{}:{}", info.name, option.key);
                    }
                    AllowedValues::Command => {
                        assert_eq!(info.options.last().unwrap().key, option.key, "{}", info.name);
                        assert_eq!(option.default, "", "{}:{}", info.name, option.key);
                    }
                }
            }
        }
    }
}
