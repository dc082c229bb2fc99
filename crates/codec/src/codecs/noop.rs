//! `noop`: the activation itself, in f32 or in the two bytes of a value that machines exchange.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::Scratch;
use crate::bytes::fields::Reader;
use crate::bytes::rans;
use crate::bytes::values::{self, ValueType};
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope, VALUES};
use crate::interface::packet::{Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "noop",
    summary: "Sends every f32 as it is: the reference every other codec is compared with; or every value in f16 or bf16.",
    options: &[OptionInfo { key: VALUES.key, allowed: VALUES.allowed, default: "f32", meaning: VALUES.meaning }, CODER],
    id: 0,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Noop { spec: spec.clone() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// How the numbers are sent.
const CODER: OptionInfo = OptionInfo {
    key: "coder",
    allowed: AllowedValues::Words(&[
        OptionWord { word: "none", meaning: "one number after another" },
        OptionWord { word: "rans", meaning: "exponents by their frequencies in the packet, where that is shorter" },
    ]),
    default: "none",
    meaning: "how the numbers are sent; rans loses nothing and needs values=f16 or values=bf16",
};

/// All values; two-byte numbers have a coder before them, and where exponents are coded, the low bytes behind them.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, a, _| match spec.values() {
        ValueType::F32 => 4 * a.values().len(),
        _ => 1 + 2 * a.values().len(),
    },
    stated: |spec, a, packet| {
        let bytes = packet.as_bytes();
        let coded = spec.option("coder") == Some("rans") && bytes[15] == 1;
        coded.then(|| size_rule::coded(bytes, 16) + a.values().len())
    },
    ..SizeRule::WHOLE
};

/// In the packet's coder field: numbers as they are, or exponents through [`rans`].
const PLAIN: u8 = 0;
const RANS: u8 = 1;

const SYMBOLS: usize = 256;

struct Noop {
    spec: CodecSpec,
}

impl Codec for Noop {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, _: Option<Budget>) -> Result<Packet> {
        crate::interface::check_finite(activation)?;
        let (kind, all) = (self.spec.values(), activation.values());
        let shape = (activation.tokens(), activation.hidden());
        let mut bytes = Packet::begin(&INFO, kind, shape, 1 + kind.bytes() * all.len())?;
        if kind == ValueType::F32 {
            // Bit for bit, without a shared exponent: what comes back equals what was sent.
            values::put_f32(&mut bytes, all);
            return Packet::finish(&INFO, bytes);
        }
        let mut numbers = Scratch::new(kind.bytes() * all.len());
        values::put_plain(&mut numbers, kind, all);
        if self.spec.option(CODER.key) == Some("rans") {
            let (exponents, rest) = parted(&numbers);
            let coded = rans::encode(&exponents, SYMBOLS)?;
            if coded.len() < exponents.len() {
                bytes.push(RANS);
                bytes.extend_from_slice(&coded);
                bytes.extend_from_slice(&rest);
                return Packet::finish(&INFO, bytes);
            }
        }
        bytes.push(PLAIN);
        bytes.extend_from_slice(&numbers);
        Packet::finish(&INFO, bytes)
    }
}

/// The high and the low byte of each number, its bits turned by one so that the sign is the lowest. The high byte of a bf16
/// is then its exponent, which takes few values in an activation; of an f16 it is the exponent and three bits behind it.
fn parted(numbers: &[u8]) -> (Scratch<u8>, Scratch<u8>) {
    let turned = numbers.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair).rotate_left(1));
    let (mut high, mut low) = (Scratch::new(numbers.len() / 2), Scratch::new(numbers.len() / 2));
    high.extend(turned.clone().map(|bits| (bits >> 8) as u8));
    low.extend(turned.map(|bits| bits as u8));
    (high, low)
}

/// Undoes [`parted`].
fn joined(high: &[u8], low: &[u8]) -> Scratch<u8> {
    let mut numbers = Scratch::new(2 * high.len());
    numbers.resize(2 * high.len(), 0);
    for ((pair, &high), &low) in numbers.as_chunks_mut().0.iter_mut().zip(high).zip(low) {
        *pair = u16::from_be_bytes([high, low]).rotate_right(1).to_le_bytes();
    }
    numbers
}

fn coder(reader: &mut Reader<'_>) -> Result<u8> {
    let coder = reader.u8("coder")?;
    ensure!(coder <= RANS, "packet field coder: {coder} is neither {PLAIN} (none) nor {RANS} (rans)");
    Ok(coder)
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let elements = view.tokens * view.hidden;
    let whole = (view.values.bytes() * elements) as u64;
    if view.values == ValueType::F32 {
        view.expect_len(whole)?;
        return Ok(elements);
    }
    let mut reader = Reader::new(view.body);
    let coded = coder(&mut reader)? == RANS;
    view.expect_len(1 + if coded { rans::stated_len(&mut reader)? + elements as u64 } else { whole })?;
    Ok(elements)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let (kind, elements) = (packet.values(), packet.elements());
    let mut reader = Reader::new(packet.view().body);
    if kind != ValueType::F32 && coder(&mut reader)? == RANS {
        let exponents = rans::decode(&mut reader, SYMBOLS, elements)?;
        return Ok(values::get_plain(&joined(&exponents, reader.bytes(elements, "values")?), kind));
    }
    Ok(values::get_plain(reader.bytes(kind.bytes() * elements, "values")?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str, a: &Activation) -> Packet {
        let codec = crate::registry::build(&CodecSpec::parse(text).unwrap(), None).unwrap();
        codec.encode(a, None).unwrap()
    }

    #[test]
    fn coding_loses_nothing_and_is_left_out_where_it_would_be_longer() {
        let value = |i: usize| ((i * i + 31 * i) % 1009) as f32 / 100.0 - 5.0;
        let large = Activation::new(40, 96, (0..40 * 96).map(value).collect()).unwrap();
        let small = Activation::new(1, 3, vec![1e30, -1e-30, 0.0]).unwrap();
        for kind in ["f16", "bf16"] {
            let (plain, coded) = (format!("noop:values={kind}"), format!("noop:values={kind},coder=rans"));
            assert_eq!(sent(&plain, &small), sent(&coded, &small), "a table is longer than three numbers");
            let (plain, coded) = (sent(&plain, &large), sent(&coded, &large));
            assert_eq!((plain.len(), plain.as_bytes()[15]), (16 + 2 * 40 * 96, PLAIN));
            assert_eq!(coded.as_bytes()[15], RANS);
            // Exponents of three bits or so in place of eight; of f16, three bits beside.
            let most = if kind == "bf16" { 0.75 } else { 0.9 };
            assert!((coded.len() as f64) < most * plain.len() as f64, "{kind}: {} of {}", coded.len(), plain.len());
            assert_eq!(crate::registry::decode(&plain).unwrap(), crate::registry::decode(&coded).unwrap());
        }
    }
}
