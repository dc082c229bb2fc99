//! `slicer`: the largest positive and negative values, split by magnitude into blocks of equal cardinality, each in bits of
//! its own (SLICER, arXiv 2511.11608: asymmetric top-K filtering, magnitude-splitting, adaptive bit quantisation).
//! docs/methodology/split-papers.md says what is our reading.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::bits::{self, Coding};
use crate::bytes::bitstream::{BitReader, BitWriter};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::ranges::{self, RangeBlock, WIDTH_BITS};
use crate::bytes::values::{EXPONENT_BYTES, ValueType};
use crate::grids::quantiser::saturated;
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, NUMBER_BITS, raw_bytes};
use crate::interface::info::{CodecInfo, Rate, RowScope, VALUES};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "slicer",
    summary: "SLICER: keeps the largest values of both signs, in blocks of like magnitude with a range and 0 to 15 bits each.",
    options: &[VALUES],
    id: 13,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Slicer { spec: spec.clone(), values: spec.values() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    stated: |spec, _, packet| {
        let bytes = packet.as_bytes();
        let blocks = usize::from(bytes[19]) + usize::from(bytes[20]);
        let bits = 4 * blocks + size_rule::count(bytes, 26);
        Some(30 + size_rule::count(bytes, 22) + 2 + 2 * blocks * size_rule::width(spec) + bits.div_ceil(8))
    },
    ..SizeRule::ADAPTIVE
};

/// Own header: k 4, positive blocks 1, negative blocks 1, coding 1, bytes of positions 4, bits of block numbers and codes 4.
const OWN_BYTES: usize = 15;

/// Numbers of blocks that are tried: powers of two, so that the number of a block is a whole number of bits.
const BLOCK_COUNTS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Most blocks of a packet.
const MAX_BLOCKS: usize = 64;

struct Slicer {
    spec: CodecSpec,
    values: ValueType,
}

/// The k largest magnitudes, split.
struct Slices {
    k: usize,
    coding: Coding,
    /// Members per block; the last block of each sign may have fewer.
    members: usize,
    /// Blocks of positive values, then of negative ones; the largest magnitudes first.
    blocks: Vec<RangeBlock>,
    positive: usize,
}

/// An activation, ready to be cut at any k.
struct SignedMagnitudes<'a> {
    all: &'a [f32],
    /// Positions by falling magnitude; the lower one first among equals.
    order: Vec<u32>,
}

impl<'a> SignedMagnitudes<'a> {
    fn new(all: &'a [f32]) -> Self {
        let mut order: Vec<u32> = (0..all.len() as u32).collect();
        // Sorted once and cut at every k that is tried. Magnitudes have the order of their bits, and the sort is
        // stable.
        order.sort_by_key(|&at| std::cmp::Reverse(all[at as usize].to_bits() & 0x7fff_ffff));
        Self { all, order }
    }

    /// Positions of the k largest, ascending.
    fn positions(&self, k: usize) -> Vec<u32> {
        let mut positions = self.order[..k].to_vec();
        positions.sort_unstable();
        positions
    }

    /// The k largest of each sign, by falling magnitude; a zero counts as positive.
    fn tails(&self, k: usize) -> [Vec<u32>; 2] {
        let (negative, positive) = self.order[..k].iter().partition(|&&at| self.all[at as usize] < 0.0);
        [positive, negative]
    }

    /// Splits into blocks of equal cardinality, at most `most` of them; `None` where both signs need a block and there
    /// is only one.
    fn split(&self, tails: &[Vec<u32>; 2], coding: Coding, most: usize) -> Option<Slices> {
        let k = tails[0].len() + tails[1].len();
        if tails.iter().filter(|tail| !tail.is_empty()).count() > most {
            return None;
        }
        let needed = |members: usize| tails.iter().map(|tail| tail.len().div_ceil(members)).sum::<usize>();
        // k / most members would do if both signs shared blocks; they do not, so a few more may be needed.
        let members = (k.div_ceil(most)..=k).find(|&members| needed(members) <= most)?;
        let magnitudes = |tail: &Vec<u32>| tail.iter().map(|&at| self.all[at as usize].abs()).collect::<Vec<f32>>();
        let blocks =
            tails.iter().flat_map(|tail| magnitudes(tail).chunks(members).map(RangeBlock::new).collect::<Vec<_>>());
        Some(Slices { k, coding, members, blocks: blocks.collect(), positive: tails[0].len().div_ceil(members) })
    }

    /// The squares of what is not among the k largest.
    fn dropped(&self, k: usize) -> f64 {
        // Left out means zero: the error of a value is the value.
        self.order[k..].iter().map(|&at| f64::from(self.all[at as usize]).powi(2)).sum()
    }
}

impl Slices {
    /// Bits of the number of a block.
    fn number_bits(&self) -> u32 {
        number_bits(self.blocks.len())
    }

    /// The block of each position that is kept.
    fn block_of(&self, sorted: &SignedMagnitudes<'_>) -> Vec<u8> {
        let mut block_of = vec![0u8; sorted.all.len()];
        for (tail, first) in sorted.tails(self.k).iter().zip([0, self.positive]) {
            tail.iter().enumerate().for_each(|(i, &at)| block_of[at as usize] = (first + i / self.members) as u8);
        }
        block_of
    }

    /// Bits of codes there is room for; `None` where the rest alone is too much.
    fn room(&self, values: ValueType, budget: Budget, shape: (usize, usize)) -> Option<u64> {
        // Every kept value says which block it is in.
        let numbers = self.k as u64 * u64::from(self.number_bits());
        match budget.accounting {
            Accounting::Elements => {
                let allowed = ((shape.0 * shape.1) as f64 / budget.ratio).floor() as u64;
                (allowed * NUMBER_BITS).checked_sub(numbers)
            }
            Accounting::Wire => {
                let limit = (raw_bytes(shape.0, shape.1) as f64 / budget.ratio).floor() as u64;
                let fixed = HEADER_BYTES + OWN_BYTES + self.coding.bytes + range_bytes(values, self.blocks.len());
                let widths = self.blocks.len() as u64 * u64::from(WIDTH_BITS);
                (8 * limit).checked_sub(8 * fixed as u64 + widths + numbers)
            }
        }
    }
}

/// Bits that tell `blocks` blocks apart.
fn number_bits(blocks: usize) -> u32 {
    blocks.next_power_of_two().ilog2()
}

/// Bytes of the section of ranges.
fn range_bytes(values: ValueType, blocks: usize) -> usize {
    EXPONENT_BYTES + 2 * blocks * values.bytes()
}

/// The best found so far.
struct SlicerChoice {
    error: f64,
    slices: Slices,
    widths: Vec<u8>,
}

impl Codec for Slicer {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        let n = activation.values().len();
        let sorted = SignedMagnitudes::new(activation.values());
        let mut best = None;
        // Fewer values in more bits or more values in fewer: shares of S D that fall by about the root of a half, then
        // finer ones beside the best of them, in about as many blocks.
        let shares = (0..32).flat_map(|halvings| [n >> halvings, (n >> halvings) * 181 / 256]);
        let improve = |best: &mut Option<SlicerChoice>, k: usize, counts: &[usize]| {
            self.improve(best, &sorted, k, counts, activation, budget);
        };
        shares.take_while(|&k| k > 0).for_each(|k| improve(&mut best, k, &BLOCK_COUNTS));
        if let Some(SlicerChoice { slices, .. }) = &best {
            let (k, most) = (slices.k, slices.blocks.len().next_power_of_two());
            let counts: Vec<usize> =
                BLOCK_COUNTS.into_iter().filter(|count| (most / 2..=2 * most).contains(count)).collect();
            (12..=22).for_each(|share| improve(&mut best, (k * share / 16).clamp(1, n), &counts));
        }
        // Nothing fits: the smallest packet there is has the largest value alone.
        let smallest = || {
            let slices = slices(&sorted, 1, &BLOCK_COUNTS).next()?;
            Some(SlicerChoice { error: 0.0, slices, widths: vec![0] })
        };
        match best.or_else(smallest) {
            Some(SlicerChoice { slices, widths, .. }) => self.pack(activation, &sorted, &slices, &widths),
            None => anyhow::bail!("slicer: an activation without values"),
        }
    }
}

/// The k largest, split into about so many blocks each time.
fn slices<'a>(sorted: &'a SignedMagnitudes<'_>, k: usize, counts: &'a [usize]) -> impl Iterator<Item = Slices> + 'a {
    // Positions cost the same however the values are split.
    let coding = bits::shortest(&sorted.positions(k), sorted.all.len());
    let tails = sorted.tails(k);
    counts.iter().filter_map(move |&most| sorted.split(&tails, coding, most))
}

impl Slicer {
    /// Takes the k largest, where that is better than the best so far.
    fn improve(
        &self,
        best: &mut Option<SlicerChoice>,
        sorted: &SignedMagnitudes<'_>,
        k: usize,
        counts: &[usize],
        activation: &Activation,
        budget: Budget,
    ) {
        let dropped = sorted.dropped(k);
        // What is dropped is the least error of this k, whatever the widths are.
        if best.as_ref().is_some_and(|best| dropped >= best.error) {
            return;
        }
        for slices in slices(sorted, k, counts) {
            let shape = (activation.tokens(), activation.hidden());
            let Some(room) = slices.room(self.values, budget, shape) else { continue };
            let widths = ranges::allocate(&slices.blocks, room);
            // Squared errors of values left out and of values sent add up, so any two choices compare.
            let error = dropped + ranges::error(&slices.blocks, &widths);
            if best.as_ref().is_none_or(|best| error < best.error) {
                *best = Some(SlicerChoice { error, slices, widths });
            }
        }
    }

    fn pack(
        &self,
        activation: &Activation,
        sorted: &SignedMagnitudes<'_>,
        slices: &Slices,
        widths: &[u8],
    ) -> Result<Packet> {
        let shape = (activation.tokens(), activation.hidden());
        let (all, blocks) = (activation.values(), &slices.blocks);
        let positions = sorted.positions(slices.k);
        let block_of = slices.block_of(sorted);
        let number_bits = slices.number_bits();
        let bits = slices.k as u64 * u64::from(number_bits) + ranges::code_bits(blocks, widths);
        let body = OWN_BYTES
            + slices.coding.bytes
            + range_bytes(self.values, blocks.len())
            + stream_bytes(blocks.len(), bits) as usize;
        let mut bytes = Packet::begin(&INFO, self.values, shape, body)?;
        put_u32(&mut bytes, slices.k);
        bytes.extend_from_slice(&[slices.positive as u8, (blocks.len() - slices.positive) as u8, slices.coding.id]);
        put_u32(&mut bytes, slices.coding.bytes);
        bytes.extend_from_slice(&(bits as u32).to_le_bytes());
        bits::write(&mut bytes, &positions, slices.coding);
        let ranges = ranges::write(&mut bytes, self.values, blocks, widths)?;
        let mut stream = BitWriter::new(&mut bytes);
        // Widths come first: a decoder needs them to tell where codes end.
        widths.iter().for_each(|&width| stream.put(width.into(), WIDTH_BITS));
        for &at in positions.iter() {
            let block = usize::from(block_of[at as usize]);
            stream.put(block as u32, number_bits);
            // The sign is the block's: a code is of the magnitude alone.
            stream.put(ranges[block].code(all[at as usize].abs().into(), widths[block]), widths[block].into());
        }
        stream.finish();
        Packet::finish(&INFO, bytes)
    }
}

/// Bytes of widths, block numbers and codes.
fn stream_bytes(blocks: usize, bits: u64) -> u64 {
    (blocks as u64 * u64::from(WIDTH_BITS) + bits).div_ceil(8)
}

/// The own header.
struct SlicerHeader {
    k: usize,
    positive: usize,
    blocks: usize,
    coding: Coding,
    bits: u64,
}

fn own_header(reader: &mut Reader<'_>, n: usize) -> Result<SlicerHeader> {
    let k = reader.u32("k")? as usize;
    ensure!((1..=n).contains(&k), "packet field k: {k} is not in 1..={n}");
    let positive = usize::from(reader.u8("positive blocks")?);
    let blocks = positive + usize::from(reader.u8("negative blocks")?);
    ensure!((1..=MAX_BLOCKS).contains(&blocks), "packet field blocks: {blocks} is not in 1..={MAX_BLOCKS}");
    let id = reader.u8("coding")?;
    let bytes = reader.u32("positions")? as usize;
    Ok(SlicerHeader { k, positive, blocks, coding: Coding { id, bytes }, bits: reader.u32("code bits")?.into() })
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let own = own_header(&mut Reader::new(view.body), view.tokens * view.hidden)?;
    // A position takes at least one bit, so the packet's size bounds the memory.
    ensure!(
        own.k <= own.coding.bytes.saturating_mul(8),
        "packet field k: {} positions in {} bytes",
        own.k,
        own.coding.bytes
    );
    let fixed = (OWN_BYTES + range_bytes(view.values, own.blocks)) as u64 + own.coding.bytes as u64;
    view.expect_len(fixed + stream_bytes(own.blocks, own.bits))?;
    // 16 bits of codes and block numbers count as one number; positions and ranges are free, as all indices and
    // headers.
    Ok((own.bits.div_ceil(NUMBER_BITS) as usize).max(1))
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let n = view.tokens * view.hidden;
    let own = own_header(&mut reader, n)?;
    let positions = bits::read(reader.bytes(own.coding.bytes, "positions")?, own.coding.id, own.k, n)?;
    let ranges = ranges::read(&mut reader, view.values, own.blocks)?;
    let rest = reader.bytes(stream_bytes(own.blocks, own.bits) as usize, "codes")?;
    let mut stream = BitReader::new(rest, "codes");
    let widths = (0..own.blocks).map(|_| Ok(stream.take(WIDTH_BITS as u8)? as u8)).collect::<Result<Vec<u8>>>()?;
    let number_bits = number_bits(own.blocks) as u8;
    let mut out = vec![0f32; n];
    for &at in positions.iter() {
        let block = stream.take(number_bits)? as usize;
        ensure!(block < own.blocks, "packet field codes: block {block} of {}", own.blocks);
        let magnitude = ranges[block].value(stream.take(widths[block])? as u32, widths[block]);
        out[at as usize] = saturated(if block < own.positive { magnitude } else { -magnitude });
    }
    ensure!(stream.only_padding_left(), "packet field codes: bits left over");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_one_sign_and_equal_cardinality() {
        let all: Vec<f32> = (0..40).map(|i| if i % 4 == 0 { -(i as f32) } else { i as f32 + 0.5 }).collect();
        let sorted = SignedMagnitudes::new(&all);
        let tails = sorted.tails(30);
        assert_eq!(tails.each_ref().map(Vec::len), [23, 7]);
        let coding = bits::shortest(&sorted.positions(30), 40);
        assert!(sorted.split(&tails, coding, 1).is_none());
        // 30 / 16 gives 2 members, and 12 + 4 blocks of them.
        let slices = sorted.split(&tails, coding, 16).unwrap();
        assert_eq!((slices.members, slices.blocks.len(), slices.positive), (2, 16, 12));
        assert!(slices.blocks[..11].iter().chain(&slices.blocks[12..15]).all(|block| block.count() == 2));
        assert_eq!(slices.blocks.iter().map(RangeBlock::count).sum::<usize>(), 30);
        assert_eq!(slices.number_bits(), 4);
    }

    /// `tests/reference/adaptive.py`: which block each kept value is in.
    #[test]
    fn blocks_are_those_of_numpy() {
        let mut compared = 0;
        for (a, case) in crate::codecs::adaptive_reference::cases() {
            let sorted = SignedMagnitudes::new(a.values());
            for expected in case["slices"].as_array().unwrap() {
                let number = |key: &str| expected[key].as_u64().unwrap() as usize;
                let (k, most) = (number("k"), number("most"));
                let coding = bits::shortest(&sorted.positions(k), a.values().len());
                let Some(slices) = sorted.split(&sorted.tails(k), coding, most) else {
                    assert!(expected["blocks"].is_null(), "{k} values in {most} blocks");
                    continue;
                };
                let block_of = slices.block_of(&sorted);
                let found: Vec<u64> = sorted.positions(k).iter().map(|&at| block_of[at as usize].into()).collect();
                let expected: Vec<u64> =
                    expected["blocks"].as_array().unwrap().iter().map(|b| b.as_u64().unwrap()).collect();
                assert_eq!(found, expected, "{k} values in {most} blocks");
                compared += k;
            }
        }
        assert!(compared > 500, "{compared}");
    }

    #[test]
    fn one_value_is_kept_where_nothing_fits() {
        let a = Activation::new(2, 3, vec![1.0, -7.0, 2.0, 0.0, 3.0, 4.0]).unwrap();
        let codec = crate::registry::build(&CodecSpec::parse("slicer").unwrap(), None).unwrap();
        let packet = codec.encode(&a, Some(Budget::wire(1e6).unwrap())).unwrap();
        assert_eq!(decode(&packet).unwrap(), [0.0, -7.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(packet.elements(), 1);
    }
}
