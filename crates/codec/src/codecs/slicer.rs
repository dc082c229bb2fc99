//! `slicer`: the largest positive and negative values, split by magnitude into blocks of equal cardinality, each in bits of
//! its own (SLICER, arXiv 2511.11608: asymmetric top-K filtering, magnitude-splitting, adaptive bit quantisation).
//! docs/methodology/split-papers.md says what is our reading.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::bits::{self, Coding};
use crate::bytes::bitstream::{BitReader, BitWriter};
use crate::bytes::buffers::Scratch;
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
    /// How many magnitudes come before that of each position: by falling magnitude, the lower position first among
    /// equals.
    ranks: Vec<u32>,
    /// Ranks of the positive values, then of the negative ones, ascending; a zero counts as positive.
    tail_ranks: [Vec<u32>; 2],
    /// Their magnitudes.
    tails: [Vec<f32>; 2],
    /// The squares of what is not among the k largest, for each k.
    dropped: Vec<f64>,
}

impl<'a> SignedMagnitudes<'a> {
    fn new(all: &'a [f32]) -> Self {
        let order = order(all);
        let mut ranks = vec![0; all.len()];
        let (mut tail_ranks, mut tails) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for (rank, &at) in order.iter().enumerate() {
            let v = all[at as usize];
            ranks[at as usize] = rank as u32;
            let sign = usize::from(v < 0.0);
            tail_ranks[sign].push(rank as u32);
            tails[sign].push(v.abs());
        }
        let mut dropped = vec![0.0; all.len() + 1];
        for (k, &at) in order.iter().enumerate().rev() {
            // Left out means zero: the error of a value is the value.
            dropped[k] = dropped[k + 1] + f64::from(all[at as usize]).powi(2);
        }
        Self { all, ranks, tail_ranks, tails, dropped }
    }

    /// Positions of the k largest, ascending.
    fn positions(&self, k: usize) -> Vec<u32> {
        self.keep((0..self.all.len() as u32).collect(), k)
    }

    /// Those of ascending positions that are among the k largest.
    fn keep(&self, mut positions: Vec<u32>, k: usize) -> Vec<u32> {
        let mut kept = 0;
        for i in 0..positions.len() {
            let at = positions[i];
            // Without a branch, which no processor could foresee.
            positions[kept] = at;
            kept += usize::from((self.ranks[at as usize] as usize) < k);
        }
        positions.truncate(kept);
        positions
    }

    /// Magnitudes of the k largest of each sign, falling.
    fn tails(&self, k: usize) -> [&[f32]; 2] {
        let positive = self.tail_ranks[0].partition_point(|&rank| (rank as usize) < k);
        [&self.tails[0][..positive], &self.tails[1][..k - positive]]
    }

    /// How many values of the k largest go into a block so that there are at most `most`; `None` where both signs need a
    /// block and there is only one.
    fn members(&self, k: usize, most: usize) -> Option<usize> {
        let tails = self.tails(k);
        if tails.iter().filter(|tail| !tail.is_empty()).count() > most {
            return None;
        }
        // k / most members would do if both signs shared blocks; they do not, so a few more may be needed.
        (k.div_ceil(most)..=k).find(|&members| block_counts(tails, members).iter().sum::<usize>() <= most)
    }

    /// Splits the k largest into blocks of equal cardinality.
    fn split(&self, k: usize, members: usize, coding: Coding) -> Slices {
        let tails = self.tails(k);
        let blocks = tails.iter().flat_map(|tail| tail.chunks(members)).map(RangeBlock::new).collect();
        Slices { k, coding, members, blocks, positive: block_counts(tails, members)[0] }
    }
}

/// Blocks of each sign.
fn block_counts(tails: [&[f32]; 2], members: usize) -> [usize; 2] {
    tails.map(|tail| tail.len().div_ceil(members))
}

/// Positions by falling magnitude; the lower one first among equals.
fn order(all: &[f32]) -> Scratch<u32> {
    // Magnitudes have the order of their 31 bits. A radix sort (least digit first, which is stable) takes three passes.
    const DIGITS: [u32; 3] = [0, 11, 22];
    const MASK: u32 = (1 << 11) - 1;
    let falling = |v: f32| !v.to_bits() & 0x7fff_ffff;
    let mut starts = [[0u32; MASK as usize + 1]; DIGITS.len()];
    for &v in all {
        let key = falling(v);
        starts.iter_mut().zip(DIGITS).for_each(|(starts, shift)| starts[(key >> shift & MASK) as usize] += 1);
    }
    let (mut order, mut sorted) = (Scratch::new(all.len()), Scratch::new(all.len()));
    order.extend(0..all.len() as u32);
    sorted.resize(all.len(), 0);
    for (starts, shift) in starts.iter_mut().zip(DIGITS) {
        let mut next = 0;
        starts.iter_mut().for_each(|start| next += std::mem::replace(start, next));
        for &at in order.iter() {
            let start = &mut starts[(falling(all[at as usize]) >> shift & MASK) as usize];
            sorted[*start as usize] = at;
            *start += 1;
        }
        std::mem::swap(&mut order, &mut sorted);
    }
    order
}

impl Slices {
    /// Bits of the number of a block.
    fn number_bits(&self) -> u32 {
        number_bits(self.blocks.len())
    }

    /// The block of each position that is kept, by position.
    fn block_of(&self, sorted: &SignedMagnitudes<'_>) -> Vec<u8> {
        let mut by_rank = vec![0u8; self.k];
        for (ranks, first) in sorted.tail_ranks.iter().zip([0, self.positive]) {
            let kept = ranks.iter().take_while(|&&rank| (rank as usize) < self.k);
            kept.enumerate().for_each(|(i, &rank)| by_rank[rank as usize] = (first + i / self.members) as u8);
        }
        sorted.ranks.iter().map(|&rank| by_rank.get(rank as usize).copied().unwrap_or(0)).collect()
    }
}

/// Bits of codes there is room for beside the numbers of `blocks` blocks; `None` where the rest alone is too much.
fn room(
    (k, blocks): (usize, usize),
    coding: Coding,
    values: ValueType,
    budget: Budget,
    shape: (usize, usize),
) -> Option<u64> {
    // Every kept value says which block it is in.
    let numbers = k as u64 * u64::from(number_bits(blocks));
    match budget.accounting {
        Accounting::Elements => {
            let allowed = ((shape.0 * shape.1) as f64 / budget.ratio).floor() as u64;
            (allowed * NUMBER_BITS).checked_sub(numbers)
        }
        Accounting::Wire => {
            let limit = (raw_bytes(shape.0, shape.1) as f64 / budget.ratio).floor() as u64;
            let fixed = HEADER_BYTES + OWN_BYTES + coding.bytes + range_bytes(values, blocks);
            let widths = blocks as u64 * u64::from(WIDTH_BITS);
            (8 * limit).checked_sub(8 * fixed as u64 + widths + numbers)
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
        let mut search = SlicerSearch { codec: self, activation, sorted: &sorted, budget, best: None };
        // Fewer values in more bits or more values in fewer: shares of S D that fall by about the root of a half, then
        // finer ones beside the best of them, in about as many blocks.
        let mut positions: Vec<u32> = (0..n as u32).collect();
        let shares = (0..32).flat_map(|halvings| [n >> halvings, (n >> halvings) * 181 / 256]);
        for k in shares.take_while(|&k| k > 0) {
            // What fewer values drop is more, so none of them can be better.
            if search.is_hopeless(k) {
                break;
            }
            positions = sorted.keep(positions, k);
            search.improve(&positions, &BLOCK_COUNTS);
        }
        if let Some(SlicerChoice { slices, .. }) = &search.best {
            let (k, most) = (slices.k, slices.blocks.len().next_power_of_two());
            let counts: Vec<usize> =
                BLOCK_COUNTS.into_iter().filter(|count| (most / 2..=2 * most).contains(count)).collect();
            let finer = |share: usize| (k * share / 16).clamp(1, n);
            let around = sorted.positions(finer(22));
            for k in (12..=22).map(finer) {
                if !search.is_hopeless(k) {
                    search.improve(&sorted.keep(around.clone(), k), &counts);
                }
            }
        }
        // Nothing fits: the smallest packet there is has the largest value alone.
        let smallest = || {
            let members = BLOCK_COUNTS.iter().find_map(|&most| sorted.members(1, most))?;
            let coding = bits::shortest(&sorted.positions(1), n);
            Some(SlicerChoice { error: 0.0, slices: sorted.split(1, members, coding), widths: vec![0] })
        };
        match search.best.or_else(smallest) {
            Some(SlicerChoice { slices, widths, .. }) => self.pack(activation, &sorted, &slices, &widths),
            None => anyhow::bail!("slicer: an activation without values"),
        }
    }
}

/// A search for the k and the number of blocks of least squared error.
struct SlicerSearch<'a> {
    codec: &'a Slicer,
    activation: &'a Activation,
    sorted: &'a SignedMagnitudes<'a>,
    budget: Budget,
    best: Option<SlicerChoice>,
}

impl SlicerSearch<'_> {
    /// Whether the k largest cannot be better than the best so far: what is dropped is the least error, whatever the
    /// widths are.
    fn is_hopeless(&self, k: usize) -> bool {
        self.best.as_ref().is_some_and(|best| self.sorted.dropped[k] >= best.error)
    }

    /// Takes these positions, the largest, where that is better than the best so far.
    fn improve(&mut self, positions: &[u32], counts: &[usize]) {
        let (sorted, k) = (self.sorted, positions.len());
        let shape = (self.activation.tokens(), self.activation.hidden());
        // Positions cost the same however the values are split.
        let coding = bits::shortest(positions, sorted.all.len());
        for &most in counts {
            let Some(members) = sorted.members(k, most) else { continue };
            let blocks = block_counts(sorted.tails(k), members).iter().sum();
            let Some(room) = room((k, blocks), coding, self.codec.values, self.budget, shape) else { continue };
            let slices = sorted.split(k, members, coding);
            let least = self.best.as_ref().map_or(f64::INFINITY, |best| best.error);
            let Some(widths) = ranges::allocate(&slices.blocks, room, least - sorted.dropped[k]) else { continue };
            // Squared errors of values left out and of values sent add up, so any two choices compare.
            let error = sorted.dropped[k] + ranges::error(&slices.blocks, &widths);
            if self.best.is_none() || error < least {
                self.best = Some(SlicerChoice { error, slices, widths });
            }
        }
    }
}

impl Slicer {
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
        assert_eq!(sorted.tails(30).map(<[f32]>::len), [23, 7]);
        let coding = bits::shortest(&sorted.positions(30), 40);
        assert!(sorted.members(30, 1).is_none());
        // 30 / 16 gives 2 members, and 12 + 4 blocks of them.
        let slices = sorted.split(30, sorted.members(30, 16).unwrap(), coding);
        assert_eq!((slices.members, slices.blocks.len(), slices.positive), (2, 16, 12));
        assert!(slices.blocks[..11].iter().chain(&slices.blocks[12..15]).all(|block| block.count() == 2));
        assert_eq!(slices.blocks.iter().map(RangeBlock::count).sum::<usize>(), 30);
        assert_eq!(slices.number_bits(), 4);
    }

    #[test]
    fn radix_sort_is_a_stable_sort_of_magnitudes() {
        let all: Vec<f32> = (0..999u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9)) % 1e30).collect();
        let all: Vec<f32> =
            all.into_iter().map(|v| if v.is_finite() { v } else { -3.0 }).chain([0.0, -0.0, 3.0]).collect();
        let mut expected: Vec<u32> = (0..all.len() as u32).collect();
        expected.sort_by(|&a, &b| all[b as usize].abs().total_cmp(&all[a as usize].abs()));
        assert_eq!(order(&all)[..], expected);
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
                let Some(members) = sorted.members(k, most) else {
                    assert!(expected["blocks"].is_null(), "{k} values in {most} blocks");
                    continue;
                };
                let slices = sorted.split(k, members, coding);
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
