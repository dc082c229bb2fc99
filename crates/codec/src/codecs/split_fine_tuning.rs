//! `split-fine-tuning`: the largest values, rounded at random without bias, through a lossless coder (after Zhang et al., 2025).

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::bits::{self, Coding};
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::rans;
use crate::bytes::values::{self, ValueType};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, wire_items};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::parts::largest::largest;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "split-fine-tuning",
    summary: "Keeps the values of largest magnitude, rounds them at random without bias, and codes them by frequency (after \
              Zhang et al., 2025).",
    options: &[OptionInfo {
        key: "bits",
        allowed: AllowedValues::Words(&[
            OptionWord { word: "2", meaning: "a sign and 2 magnitudes" },
            OptionWord { word: "4", meaning: "a sign and 8 magnitudes" },
            OptionWord { word: "8", meaning: "a sign and 128 magnitudes" },
        ]),
        default: "4",
        meaning: "bits of a kept value before it is coded",
    }],
    id: 63,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(SplitFineTuning { spec: spec.clone(), bits: spec.typed("bits")? })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// k values, entropy-coded, and where they are.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    stated: |_, a, packet| {
        let bytes = packet.as_bytes();
        let at = 25 + size_rule::count(bytes, 21) + 4 + 4 * a.tokens();
        let bits = usize::from(bytes[15] & 15);
        Some(if bytes[15] < 16 { at + (packet.elements() * bits).div_ceil(8) } else { size_rule::coded(bytes, at) })
    },
    elements: |_, [s, d], ratio| Some((((s * d) as f64 / ratio).floor() as usize).max(1)),
    ..SizeRule::ADAPTIVE
};

/// Own header: bits and coder 1, k 4, coding 1, bytes of positions 4.
const OWN_BYTES: usize = 10;

/// In the packet's first field, beside the bits: codes go through [`rans`].
const RANS: u8 = 16;

/// Bytes of the least kept magnitude, and of each token's largest.
const MAGNITUDE_BYTES: usize = 4;

/// Under `wire` the search ends where this share of the room is filled.
const FILLED: f64 = 0.995;

struct SplitFineTuning {
    spec: CodecSpec,
    bits: u32,
}

impl Codec for SplitFineTuning {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        let shape @ (tokens, hidden) = (activation.tokens(), activation.hidden());
        let n = tokens * hidden;
        let sent = match budget.accounting {
            Accounting::Elements => self.make(activation, ((n as f64 / budget.ratio).floor() as usize).max(1))?,
            Accounting::Wire => {
                let fixed = HEADER_BYTES + OWN_BYTES + MAGNITUDE_BYTES * (1 + tokens);
                self.fill(activation, wire_items(budget.ratio, shape, fixed, 1))?
            }
        };
        let body = OWN_BYTES + MAGNITUDE_BYTES * (1 + tokens) + sent.bytes();
        let mut bytes = Packet::begin(&INFO, ValueType::F32, shape, body)?;
        bytes.push(self.bits as u8 | sent.coder);
        put_u32(&mut bytes, sent.positions.len());
        bytes.push(sent.coding.id);
        put_u32(&mut bytes, sent.coding.bytes);
        bits::write(&mut bytes, &sent.positions, sent.coding);
        values::put_f32(&mut bytes, &[sent.least]);
        values::put_f32(&mut bytes, &sent.tops);
        bytes.extend_from_slice(&sent.codes);
        Packet::finish(&INFO, bytes)
    }
}

/// Kept values, ready for a packet.
struct RoundedValues {
    positions: Scratch<u32>,
    coding: Coding,
    least: f32,
    tops: Scratch<f32>,
    coder: u8,
    codes: Vec<u8>,
}

impl RoundedValues {
    /// Bytes of positions and codes.
    fn bytes(&self) -> usize {
        self.coding.bytes + self.codes.len()
    }
}

impl SplitFineTuning {
    /// The k values of largest magnitude.
    fn make(&self, activation: &Activation, k: usize) -> Result<RoundedValues> {
        let (all, hidden) = (activation.values(), activation.hidden());
        let positions = largest(all, k);
        let coding = bits::shortest(&positions, all.len());
        let least = positions.iter().map(|&at| all[at as usize].abs()).fold(f32::INFINITY, f32::min);
        let mut tops = Scratch::new(activation.tokens());
        tops.resize(activation.tokens(), 0.0);
        for &at in positions.iter() {
            let top: &mut f32 = &mut tops[at as usize / hidden];
            *top = top.max(all[at as usize].abs());
        }
        let mut codes = Scratch::new(k);
        codes.extend(positions.iter().map(|&at| {
            let range = MagnitudeRange::new(least, tops[at as usize / hidden], self.bits);
            range.code(all[at as usize], draw(at))
        }));
        let coded = rans::encode(&codes, 1 << self.bits)?;
        let plain = (k * self.bits as usize).div_ceil(8);
        // The table of frequencies may cost more than it saves.
        let (coder, codes) = if coded.len() < plain { (RANS, coded) } else { (0, pack(&codes, self.bits)) };
        Ok(RoundedValues { positions, coding, least, tops, coder, codes })
    }

    /// As many values as fit, by the bytes that each took in the last trial: a few trials fill the room.
    fn fill(&self, activation: &Activation, room: usize) -> Result<RoundedValues> {
        let n = activation.values().len();
        let (mut held, mut too_many) = (1, n + 1);
        let mut best = self.make(activation, held)?;
        // Without coding, and with positions at a byte each.
        let mut next = (room as f64 / (1.0 + f64::from(self.bits) / 8.0)) as usize;
        while held + 1 < too_many && (best.bytes() as f64) < FILLED * room as f64 {
            let k = next.clamp(held + 1, too_many - 1);
            let made = self.make(activation, k)?;
            let bytes = made.bytes();
            // Between this and 1 the aim is just below the room, so that a trial that misses it misses upwards seldom.
            let aimed = k as f64 * 0.5 * (1.0 + FILLED) * room as f64 / bytes as f64;
            if bytes <= room {
                (held, best) = (k, made);
            } else {
                too_many = k;
            }
            // Proportion where it stays within the bounds, the middle where it does not.
            let within = (held as f64 + 1.0..too_many as f64).contains(&aimed);
            next = if within { aimed as usize } else { held.midpoint(too_many) };
        }
        Ok(best)
    }
}

/// The magnitudes that a code of a token may stand for: evenly spread from the least kept of the matrix to the largest of the token.
#[derive(Clone, Copy)]
struct MagnitudeRange {
    least: f64,
    step: f64,
    /// Half of the codes: one sign's.
    levels: u32,
}

impl MagnitudeRange {
    fn new(least: f32, top: f32, bits: u32) -> Self {
        let levels = 1u32 << (bits - 1);
        let (least, top) = (f64::from(least), f64::from(top));
        Self { least, step: (top - least) / f64::from(levels - 1), levels }
    }

    /// One of the two levels around a value: the upper where `draw`, from 0 to 1, is below the share of the way to it. Over draws
    /// the mean is the value itself (QSGD, Alistarh et al. 2017, whose levels go from zero).
    fn code(self, value: f32, draw: f64) -> u8 {
        let place = if self.step > 0.0 { (f64::from(value.abs()) - self.least) / self.step } else { 0.0 };
        let level = (place.floor() as u32 + u32::from(place.fract() > draw)).min(self.levels - 1);
        (level + if value < 0.0 { self.levels } else { 0 }) as u8
    }

    fn value(self, code: u8) -> f32 {
        let (level, sign) = (u32::from(code) % self.levels, if u32::from(code) < self.levels { 1.0 } else { -1.0 });
        (sign * (self.least + self.step * f64::from(level))) as f32
    }
}

/// A number from 0 to 1, 1 excluded, for a position: the same in every packet, so that encoding is deterministic. Splitmix64's
/// mixing of a counter (Steele, Lea and Flood 2014) begun at zero.
fn draw(position: u32) -> f64 {
    let mut x = (u64::from(position) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ x >> 31) >> 11) as f64 / (1u64 << 53) as f64
}

/// Codes of 2, 4 or 8 bits, the earlier in the lower bits of a byte.
fn pack(codes: &[u8], bits: u32) -> Vec<u8> {
    let byte = |codes: &[u8]| codes.iter().rev().fold(0u8, |byte, code| byte.unbounded_shl(bits) | code);
    codes.chunks(8 / bits as usize).map(byte).collect()
}

/// The own header.
struct RoundedHeader {
    bits: u32,
    is_coded: bool,
    k: usize,
    coding: Coding,
}

fn own_header(reader: &mut Reader<'_>, most: usize) -> Result<RoundedHeader> {
    let first = reader.u8("bits")?;
    let bits = u32::from(first & !RANS);
    ensure!([2, 4, 8].contains(&bits), "packet field bits: {bits} is none of 2, 4, 8");
    let k = reader.u32("k")? as usize;
    ensure!((1..=most).contains(&k), "packet field k: {k} is not in 1..={most}");
    let id = reader.u8("coding")?;
    let bytes = reader.u32("positions")? as usize;
    // A position takes a bit at least, while a code may take none: so nothing allocated by k is beyond the packet's size.
    ensure!(k <= 8 * bytes, "packet field positions: {k} of them in {bytes} bytes");
    Ok(RoundedHeader { bits, is_coded: first & RANS != 0, k, coding: Coding { id, bytes } })
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    ensure!(view.values == ValueType::F32, "packet field value type: {} sends f32, found {}", INFO.name, view.values);
    let mut reader = Reader::new(view.body);
    let own = own_header(&mut reader, view.tokens * view.hidden)?;
    let before = own.coding.bytes + MAGNITUDE_BYTES * (1 + view.tokens);
    let mut length = ((own.k * own.bits as usize).div_ceil(8)) as u64;
    if own.is_coded {
        reader.bytes(before, "length")?;
        length = rans::stated_len(&mut reader)?;
    }
    view.expect_len((OWN_BYTES + before) as u64 + length)?;
    Ok(own.k)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let (tokens, hidden) = (view.tokens, view.hidden);
    let mut reader = Reader::new(view.body);
    let own = own_header(&mut reader, tokens * hidden)?;
    let positions = bits::read(reader.bytes(own.coding.bytes, "positions")?, own.coding.id, own.k, tokens * hidden)?;
    let magnitudes = Scratch::from(values::get_f32(reader.bytes(MAGNITUDE_BYTES * (1 + tokens), "magnitudes")?));
    let (least, tops) = (magnitudes[0], &magnitudes[1..]);
    ensure!(least.is_finite() && least >= 0.0, "packet field magnitudes: the least is {least}");
    let codes = if own.is_coded {
        rans::decode(&mut reader, 1 << own.bits, own.k)?
    } else {
        let packed = reader.bytes((own.k * own.bits as usize).div_ceil(8), "codes")?;
        let per_byte = 8 / own.bits;
        let code = |i: usize| {
            let byte = packed[i / per_byte as usize];
            (byte >> (i as u32 % per_byte * own.bits)) & ((1u16 << own.bits) - 1) as u8
        };
        let spare = 8 * packed.len() - own.k * own.bits as usize;
        let is_zero = packed.last().is_none_or(|last| last.leading_zeros() as usize >= spare);
        ensure!(is_zero, "packet field codes: a spare bit is not zero");
        (0..own.k).map(code).collect()
    };
    let mut out = buffers::floats(tokens * hidden);
    out.fill(0.0);
    for (&at, &code) in positions.iter().zip(&codes) {
        let top = tops[at as usize / hidden];
        ensure!(
            top.is_finite() && top >= least,
            "packet field magnitudes: the largest of token {} is {top}, the least of all {least}",
            at as usize / hidden
        );
        out[at as usize] = MagnitudeRange::new(least, top, own.bits).value(code);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_rounding_has_no_bias() {
        let count = 100_000;
        let mean = |f: &dyn Fn(u32) -> f64| (0..count).map(f).sum::<f64>() / f64::from(count);
        // The mean of so many draws has a standard deviation of 0.0009, their mean square about as much.
        assert!((mean(&draw) - 0.5).abs() < 0.004);
        assert!((mean(&|at| draw(at).powi(2)) - 1.0 / 3.0).abs() < 0.004);
        assert!((mean(&|at| draw(at) * draw(at + 1)) - 0.25).abs() < 0.004);
        for bits in [2, 4, 8] {
            let range = MagnitudeRange::new(0.25, 2.0, bits);
            for value in [0.25f32, 0.3, -0.7, 1.9, -2.0] {
                let back = |at: u32| f64::from(range.value(range.code(value, draw(at))));
                let off = (mean(&back) - f64::from(value)).abs();
                // Half a step is the most that a draw's standard deviation can be: four of the mean's.
                assert!(off <= 4.0 * 0.5 * range.step / f64::from(count).sqrt(), "{bits} bits, {value}: off by {off}");
                assert!((0..99).all(|at| (back(at) - f64::from(value)).abs() <= range.step), "{bits} bits, {value}");
            }
        }
    }

    #[test]
    fn small_codes_are_packed_lowest_first() {
        assert_eq!(pack(&[1, 2, 3, 0, 2], 2), [0b00_11_10_01, 2]);
        assert_eq!(pack(&[1, 15, 7], 4), [0xf1, 7]);
        assert_eq!(pack(&[200, 3], 8), [200, 3]);
    }

    #[test]
    fn a_large_token_does_not_coarsen_the_others() {
        let value = |i: usize| ((i * i * 7 + 3 * i) % 29 + 1) as f32 * if i < 64 { 1000.0 } else { 1.0 };
        let a = Activation::new(4, 64, (0..256).map(value).collect()).unwrap();
        let codec = crate::registry::build(&CodecSpec::parse("split-fine-tuning:bits=8").unwrap(), None).unwrap();
        let back = codec.decode(&codec.encode(&a, Some(Budget::elements(1.0).unwrap())).unwrap()).unwrap();
        let close = |(v, r): (&f32, &f32)| (v - r).abs() <= 28.0 / 127.0 + 1e-4;
        assert!(a.values()[64..].iter().zip(&back.values()[64..]).all(close));
    }

    #[test]
    fn wire_budgets_are_filled() {
        let value = |i: usize| (((i * i) % 1009) as f32 / 504.0 - 1.0).powi(3);
        let a = Activation::new(40, 256, (0..40 * 256).map(value).collect()).unwrap();
        for bits in ["2", "4", "8"] {
            let spec = CodecSpec::parse(&format!("split-fine-tuning:bits={bits}")).unwrap();
            let codec = crate::registry::build(&spec, None).unwrap();
            for ratio in [4.0, 8.0, 16.0] {
                let packet = codec.encode(&a, Some(Budget::wire(ratio).unwrap())).unwrap();
                let filled = packet.len() as f64 / (2.0 * 40.0 * 256.0 / ratio);
                // At ratio 4 all values in 2 bits are less than the room.
                let all_there = packet.elements() == 40 * 256;
                assert!(filled <= 1.0 && (filled >= 0.98 || all_there), "{bits} bits, ratio {ratio}: {filled}");
                assert_eq!(all_there, (bits, ratio) == ("2", 4.0));
            }
        }
    }
}
