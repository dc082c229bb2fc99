//! Numbers of which a budget says how many are sent: a section of them, or int8 codes with a step for every 32.

use anyhow::{Result, ensure};

use crate::bytes::buffers::Scratch;
use crate::bytes::fields::Reader;
use crate::bytes::rans;
use crate::bytes::values::{self, EXPONENT_BYTES, NumberSection, ValueType, power_of_two};
use crate::grids::groups;
use crate::grids::int8::Int8;
use crate::grids::quantiser::Grid;
use crate::interface::info::{AllowedValues, OptionInfo, OptionWord};
use crate::interface::packet::PacketView;
use crate::interface::spec::CodecSpec;

/// The option that says in which type the numbers are sent.
pub(crate) const VALUES: OptionInfo = OptionInfo {
    key: "values",
    allowed: AllowedValues::Words(&[
        OptionWord { word: "f16", meaning: "two bytes, 11 significant bits" },
        OptionWord { word: "f32", meaning: "four bytes, 24 significant bits" },
        OptionWord { word: "bf16", meaning: "two bytes, 8 significant bits" },
        OptionWord { word: "int8", meaning: "integers from -127 to 127 times an f16 step for every 32 in a row" },
    ]),
    default: "f16",
    meaning: "type of the numbers in the packet",
};

/// The option that says how int8 codes are sent.
pub(crate) const CODER: OptionInfo = OptionInfo {
    key: "coder",
    allowed: AllowedValues::Words(&[
        OptionWord { word: "none", meaning: "one number after another" },
        OptionWord { word: "rans", meaning: "int8 codes by their frequencies in the packet, where that is shorter" },
    ]),
    default: "none",
    meaning: "how the numbers are sent; rans needs values=int8",
};

/// Numbers that share a step: a step costs half a bit per number, and a large coefficient spoils few others.
const BLOCK: usize = 32;

/// In the packet's coder field: codes as they are, or [`rans`].
const PLAIN: u8 = 0;
const RANS: u8 = 1;

const SYMBOLS: usize = 1 << Int8::BITS;

/// How a codec sends its coefficients.
#[derive(Clone, Copy)]
pub(crate) struct Coefficients {
    pub kind: ValueType,
    /// Whether codes are entropy-coded, so that bytes depend on the numbers.
    pub coded: bool,
}

impl Coefficients {
    pub fn new(spec: &CodecSpec) -> Self {
        Self { kind: spec.values(), coded: spec.option(CODER.key) == Some("rans") }
    }

    /// Bytes of `count` numbers; the most they take where they are entropy-coded.
    pub fn bytes(self, count: usize) -> usize {
        plain_bytes(self.kind, count) as usize
    }

    /// The largest number of items of `numbers` each that certainly fit in so many bytes.
    pub fn certain(self, room: usize, numbers: usize) -> usize {
        let fits = |items: &usize| self.bytes(items * numbers) <= room;
        // By bisection: of int8, every 32 numbers have a step as well, so no single division gives the count.
        let (mut held, mut too_many) = (0, room / (numbers * self.kind.bytes()) + 1);
        while held + 1 < too_many {
            let items = held.midpoint(too_many);
            if fits(&items) { held = items } else { too_many = items }
        }
        held
    }

    /// The numbers as they go into a packet; `shift` is a power of two that they were already divided by.
    pub fn encode(self, numbers: &[f32], shift: i32) -> Result<Scratch<u8>> {
        let mut out = Scratch::new(self.bytes(numbers.len()));
        if self.kind != ValueType::Int8 {
            values::write_section(&mut out, self.kind, numbers, shift)?;
            return Ok(out);
        }
        // Steps are those of the numbers as they were before the shift.
        let gain = power_of_two(shift);
        let top = |block: &[f32]| block.iter().fold(0f64, |top, v| top.max(f64::from(v.abs()))) * gain;
        let mut tops = Scratch::new(numbers.len().div_ceil(BLOCK));
        tops.extend(numbers.chunks(BLOCK).map(top));
        // Replaced below where coding makes the codes shorter.
        out.push(PLAIN);
        let steps = groups::write(&mut out, ValueType::F16, &tops, Int8::TOP)?;
        let mut codes = Scratch::new(numbers.len());
        for (block, &step) in numbers.chunks(BLOCK).zip(&*steps) {
            // A block of zeros has no step.
            let step = if step == 0.0 { 1.0 } else { step };
            codes.extend(block.iter().map(|&v| Int8::code(f64::from(v) * gain / step)));
        }
        if self.coded {
            let coded = rans::encode(&codes, SYMBOLS)?;
            // The table of frequencies may cost more than it saves; then codes go as they are.
            if coded.len() < codes.len() {
                out[0] = RANS;
                codes = coded.into();
            }
        }
        out.extend_from_slice(&codes);
        Ok(out)
    }
}

/// Bytes of a section of `count` numbers, or of coder, steps and codes.
fn plain_bytes(kind: ValueType, count: usize) -> u64 {
    let numbers = (EXPONENT_BYTES + count * kind.bytes()) as u64;
    if kind == ValueType::Int8 { numbers + 1 + 2 * count.div_ceil(BLOCK) as u64 } else { numbers }
}

fn coder(reader: &mut Reader<'_>) -> Result<u8> {
    let coder = reader.u8("coder")?;
    ensure!(coder <= RANS, "packet field coder: {coder} is neither {PLAIN} (none) nor {RANS} (rans)");
    Ok(coder)
}

/// Fails unless `count` numbers come after the first bytes of the body, `before` in number, and nothing comes after them.
pub(crate) fn expect(view: &PacketView<'_>, before: usize, count: usize) -> Result<()> {
    let mut length = plain_bytes(view.values, count);
    // The length of int8 numbers depends on their coder, which the body names.
    if view.values == ValueType::Int8 {
        let mut reader = Reader::new(view.body);
        reader.bytes(before, "length")?;
        if coder(&mut reader)? == RANS {
            let steps = EXPONENT_BYTES + 2 * count.div_ceil(BLOCK);
            // The steps must be there, as codes may take no bytes at all: each byte of steps stands for at most 16
            // codes.
            reader.bytes(steps, "steps")?;
            length = (1 + steps) as u64 + rans::stated_len(&mut reader)?;
        }
    }
    view.expect_len(before as u64 + length)
}

/// Reads `count` numbers; as of a section, each is `stored * 2^exponent`.
pub(crate) fn read(reader: &mut Reader<'_>, kind: ValueType, count: usize, field: &str) -> Result<NumberSection> {
    if kind != ValueType::Int8 {
        return values::read_section(reader, kind, count, field);
    }
    let coder = coder(reader)?;
    let NumberSection { stored: steps, exponent } =
        values::read_section(reader, ValueType::F16, count.div_ceil(BLOCK), "steps")?;
    let coded;
    let codes = if coder == RANS {
        coded = rans::decode(reader, SYMBOLS, count)?;
        &coded
    } else {
        reader.bytes(count, field)?
    };
    let mut stored = Scratch::new(count);
    for (block, step) in codes.chunks(BLOCK).zip(&*steps) {
        ensure!(!block.contains(&0x80), "packet field {field}: -128 is no code");
        // 7 bits times 11: exact.
        stored.extend(block.iter().map(|&code| Int8::value(code) as f32 * step));
    }
    Ok(NumberSection { stored, exponent })
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const INT8: Coefficients = Coefficients { kind: ValueType::Int8, coded: false };
    const CODED: Coefficients = Coefficients { kind: ValueType::Int8, coded: true };

    fn round_trip(how: Coefficients, numbers: &[f32], shift: i32) -> (Vec<f32>, usize) {
        let bytes = how.encode(numbers, shift).unwrap();
        expect(&PacketView { tokens: 1, hidden: 1, values: how.kind, body: &bytes }, 0, numbers.len()).unwrap();
        let read = read(&mut Reader::new(&bytes), how.kind, numbers.len(), "test").unwrap();
        (read.into_values().to_vec(), bytes.len())
    }

    #[test]
    fn every_number_is_within_half_a_step_of_its_block() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for n in [1, 31, 32, 33, 500] {
            for size in [1e-30f32, 1.0, 1e30] {
                let mut numbers: Vec<f32> = (0..n).map(|_| size * rng.random_range(-1.0..1.0)).collect();
                numbers[0] *= 1e4;
                for how in [INT8, CODED] {
                    let (back, bytes) = round_trip(how, &numbers, 0);
                    assert!(bytes <= how.bytes(n));
                    for (block, back) in numbers.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                        let top = block.iter().fold(0f32, |top, v| top.max(v.abs()));
                        // A step in f16 is off by 2^-11 at most.
                        assert!(block.iter().zip(back).all(|(a, b)| (a - b).abs() <= 0.5005 * top / 127.0 + 1e-44));
                    }
                }
            }
        }
    }

    #[test]
    fn a_shift_comes_back_and_zeros_stay() {
        let numbers = [1.0, -0.5, 0.25, 127.0 / 128.0];
        let (plain, _) = round_trip(INT8, &numbers, 0);
        let (shifted, _) = round_trip(INT8, &numbers, 20);
        assert!(plain.iter().zip(&shifted).all(|(a, b)| a * 1048576.0 == *b), "{plain:?} {shifted:?}");
        assert_eq!(round_trip(CODED, &[0.0; 40], 7).0, [0.0; 40]);
    }

    #[test]
    fn coding_loses_nothing_and_is_shorter_where_codes_are_small() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let draw = |i: usize| if i.is_multiple_of(BLOCK) { 1.0 } else { rng.random_range(-0.1f32..0.1) };
        let numbers: Vec<f32> = (0..6400).map(draw).collect();
        let ((plain, long), (coded, short)) = (round_trip(INT8, &numbers, 0), round_trip(CODED, &numbers, 0));
        assert_eq!(plain, coded);
        assert_eq!(long, INT8.bytes(numbers.len()));
        assert!(short < long * 3 / 4, "{short} of {long} bytes");
    }

    #[test]
    fn certain_counts_fill_the_room() {
        for kind in [ValueType::F16, ValueType::F32, ValueType::Bf16, ValueType::Int8] {
            let how = Coefficients { kind, coded: false };
            for room in 0..400 {
                for numbers in [1, 2, 7] {
                    let items = how.certain(room, numbers);
                    assert!(items == 0 || how.bytes(items * numbers) <= room, "{kind}, {room}");
                    assert!(how.bytes((items + 1) * numbers) > room, "{kind}, {room}");
                }
            }
        }
    }

    #[test]
    fn damage_is_named() {
        let good = INT8.encode(&[1.0; 3], 0).unwrap();
        for (at, byte, name) in [(0, 2, "coder"), (2, 0x7f, "steps"), (4, 0x7c, "steps"), (6, 0x80, "-128")] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            let error = read(&mut Reader::new(&bytes), ValueType::Int8, 3, "test").err().unwrap().to_string();
            assert!(error.starts_with("packet field") && error.contains(name), "{error}");
        }
    }
}
