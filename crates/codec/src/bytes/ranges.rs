//! Blocks of numbers, each on a grid over its own range, in a number of bits of its own: what adaptive bit widths share.
//!
//! A block of width b has 2^b cells of equal size between its lowest and its highest number; a code is a cell, and stands
//! for the cell's middle. At the few bits of these codecs that beats a grid with a point at zero and points at both ends,
//! which takes one bit of two for the same step. A block of width 0 is its mean.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use anyhow::Result;

use crate::bytes::fields::Reader;
use crate::bytes::values::{self, ValueType, power_of_two};
use crate::vector::{Vector, dispatch};

/// The widest code of a block: four bits say the width.
pub(crate) const MAX_WIDTH: usize = 15;

/// Bits of a width in a packet.
pub(crate) const WIDTH_BITS: u32 = 4;

/// Up to this width the squared error is computed; beyond it, numbers are taken as spread evenly over their cells. To
/// compute it as well for ranges that an outlier stretches took twice the time and chose the same packets.
const EXACT_WIDTH: usize = 4;

/// The grid of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    low: f64,
    high: f64,
}

impl Range {
    /// The cell of a number; one outside of the range is in the nearest.
    pub fn code(self, value: f64, width: u8) -> u32 {
        let span = self.high - self.low;
        let cells = 1u32 << width;
        // The cast takes what lies below the range to the first cell, and the limit takes its upper end to the last.
        if span > 0.0 { (((value - self.low) / span * f64::from(cells)) as u32).min(cells - 1) } else { 0 }
    }

    /// The middle of a cell.
    pub fn value(self, code: u32, width: u8) -> f64 {
        self.low + (self.high - self.low) * (f64::from(code) + 0.5) / f64::from(1u32 << width)
    }
}

/// A block to be sent.
#[derive(Clone)]
pub(crate) struct RangeBlock {
    count: usize,
    low: f32,
    high: f32,
    mean: f32,
    /// Sum of squared errors at each width, weighted.
    errors: [f64; MAX_WIDTH + 1],
}

impl RangeBlock {
    pub fn new(numbers: &[f32]) -> Self {
        let count = numbers.len();
        let NumberSummary { low, high, sum } = dispatch!(summary(numbers));
        // In f64, and divided by one where the block is empty.
        let mean = (sum / count.max(1) as f64) as f32;
        let range = Range { low: low.into(), high: high.into() };
        let span = range.high - range.low;
        if span == 0.0 {
            return Self { count, low, high, mean, errors: [0.0; MAX_WIDTH + 1] };
        }
        let exact = dispatch!(exact_errors(numbers, range, mean.into()));
        let error = |width: usize| match width {
            0..=EXACT_WIDTH => exact[width],
            // The variance of a number spread evenly over a cell is the cell's square over 12.
            _ => count as f64 * (span / f64::from(1u32 << width)).powi(2) / 12.0,
        };
        Self { count, low, high, mean, errors: std::array::from_fn(error) }
    }

    /// The same block with its errors counted `weight` times.
    pub fn weighted(mut self, weight: f64) -> Self {
        self.errors.iter_mut().for_each(|error| *error *= weight);
        self
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn error(&self, width: u8) -> f64 {
        self.errors[usize::from(width)]
    }

    /// The step from `width` to a wider code below `limit` that takes most error off for a bit.
    fn step(&self, block: usize, width: u8, limit: u8) -> Option<Step> {
        let gain = |to: u8| (self.error(width) - self.error(to)) / (self.count * usize::from(to - width)) as f64;
        let (mut best, mut before): (Option<Step>, f64) = (None, f64::NEG_INFINITY);
        // All wider codes are looked at, not only the next: two bits together may take more off per bit than the first.
        for to in width + 1..limit {
            let gain = gain(to);
            if gain > best.as_ref().map_or(0.0, |best| best.gain) {
                best = Some(Step { gain, block, to });
            }
            // Beyond the widths whose error is computed each bit takes off less than the last: once gains fall, they fall on.
            if usize::from(to) > EXACT_WIDTH + 1 && gain <= before {
                break;
            }
            before = gain;
        }
        best
    }
}

/// What one pass over the numbers of a block tells.
struct NumberSummary {
    low: f32,
    high: f32,
    sum: f64,
}

/// Sums that run side by side: additions then need not wait for one another. Their number is the same on every processor,
/// and so are the rounding and the packets.
const SUMS: usize = 8;

/// Adds up side-by-side sums, always in the same order.
fn total(sums: [f64; SUMS]) -> f64 {
    sums.iter().sum()
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn summary<V: Vector>(numbers: &[f32]) -> NumberSummary {
    let first = numbers.first().copied().unwrap_or(0.0);
    let (mut low, mut high, mut sums) = ([first; SUMS], [first; SUMS], [0f64; SUMS]);
    let (chunks, rest) = numbers.as_chunks::<SUMS>();
    for chunk in chunks {
        for (i, &v) in chunk.iter().enumerate() {
            low[i] = if v < low[i] { v } else { low[i] };
            high[i] = if v > high[i] { v } else { high[i] };
            sums[i] += f64::from(v);
        }
    }
    for (i, &v) in rest.iter().enumerate() {
        low[i] = low[i].min(v);
        high[i] = high[i].max(v);
        sums[i] += f64::from(v);
    }
    let low = low.into_iter().fold(first, f32::min);
    NumberSummary { low, high: high.into_iter().fold(first, f32::max), sum: total(sums) }
}

/// The lowest and the highest number; zeros of none.
pub(crate) fn ends(numbers: &[f32]) -> (f32, f32) {
    let NumberSummary { low, high, .. } = dispatch!(summary(numbers));
    (low, high)
}

/// The sum of squares.
pub(crate) fn energy(numbers: &[f32]) -> f64 {
    dispatch!(squares(numbers))
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn squares<V: Vector>(numbers: &[f32]) -> f64 {
    let mut sums = [0f64; SUMS];
    let (chunks, rest) = numbers.as_chunks::<SUMS>();
    for chunk in chunks {
        for (i, &v) in chunk.iter().enumerate() {
            sums[i] += f64::from(v) * f64::from(v);
        }
    }
    for (i, &v) in rest.iter().enumerate() {
        sums[i] += f64::from(v) * f64::from(v);
    }
    total(sums)
}

/// Squared errors at widths from 0, the mean, to [`EXACT_WIDTH`].
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn exact_errors<V: Vector>(numbers: &[f32], range: Range, mean: f64) -> [f64; EXACT_WIDTH + 1] {
    let span = range.high - range.low;
    // Cells of width w per unit; the span of an f32 block is no subnormal of f64, so the quotients are finite.
    let cells: [f64; EXACT_WIDTH] = std::array::from_fn(|i| f64::from(2u32 << i) / span);
    let mut sums = [[0f64; LANES]; EXACT_WIDTH + 1];
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    for chunk in chunks {
        add_errors(&mut sums, chunk, range.low, &cells, mean);
    }
    // What fills up the last chunk adds nothing to the sums of the lanes that count.
    if !rest.is_empty() {
        let mut last = [0f32; LANES];
        last[..rest.len()].copy_from_slice(rest);
        let mut added = [[0f64; LANES]; EXACT_WIDTH + 1];
        add_errors(&mut added, &last, range.low, &cells, mean);
        for (sums, added) in sums.iter_mut().zip(added) {
            sums.iter_mut().zip(added).take(rest.len()).for_each(|(sum, added)| *sum += added);
        }
    }
    std::array::from_fn(|width| {
        let cell = if width == 0 { 1.0 } else { span / f64::from(1u32 << width) };
        sums[width].iter().sum::<f64>() * cell * cell
    })
}

/// Numbers that [`exact_errors`] takes at a time: their sums of all widths fit in the registers.
const LANES: usize = 4;

#[inline(always)]
fn add_errors(
    sums: &mut [[f64; LANES]; EXACT_WIDTH + 1],
    numbers: &[f32; LANES],
    low: f64,
    cells: &[f64; EXACT_WIDTH],
    mean: f64,
) {
    // Adding and subtracting 1.5 * 2^52 rounds to an integer; `round_ties_even` is a function call on plain x86-64.
    const ROUND: f64 = 1.5 * (1u64 << 52) as f64;
    for i in 0..LANES {
        let v = f64::from(numbers[i]);
        sums[0][i] += (v - mean) * (v - mean);
        for width in 0..EXACT_WIDTH {
            // Middles of cells lie at halves, so without a half the nearest integer is the cell. At the edge of two cells
            // either gives the same square, and so does the upper end of the last cell.
            let place = (v - low) * cells[width] - 0.5;
            let off = place - ((place + ROUND) - ROUND);
            sums[width + 1][i] += off * off;
        }
    }
}

/// A block's code made wider.
struct Step {
    /// Squared error taken off by each bit.
    gain: f64,
    block: usize,
    to: u8,
}

impl Ord for Step {
    /// The largest gain first; ties go to the first block, then to the narrower code.
    fn cmp(&self, other: &Self) -> Ordering {
        let ties = (other.block, other.to).cmp(&(self.block, self.to));
        self.gain.total_cmp(&other.gain).then(ties)
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Step {}

/// The steps of one block from no bits to the widest code, each where a bit takes off most error: gains fall.
struct BlockSteps {
    gains: [f64; MAX_WIDTH],
    to: [u8; MAX_WIDTH],
    taken: usize,
}

impl BlockSteps {
    fn new(block: &RangeBlock) -> Self {
        let mut steps = Self { gains: [0.0; MAX_WIDTH], to: [0; MAX_WIDTH], taken: 0 };
        let mut width = 0;
        while let Some(step) = block.step(0, width, ALL_WIDTHS) {
            (steps.gains[steps.taken], steps.to[steps.taken]) = (step.gain, step.to);
            steps.taken += 1;
            width = step.to;
        }
        steps
    }

    /// The width after all steps that gain more than `least`.
    fn width(&self, least: f64) -> u8 {
        let steps = self.gains.iter().take_while(|&&gain| gain > least).count();
        if steps == 0 { 0 } else { self.to[steps - 1] }
    }
}

/// One more than the widest code.
const ALL_WIDTHS: u8 = MAX_WIDTH as u8 + 1;

/// The width of each block's codes, so that all of them take at most `bits`: each step goes where a bit takes off most
/// of the squared error (marginal analysis, Fox 1966). The error is the least there is wherever errors fall ever more
/// slowly with the bits. `None` where any widths within `bits` have more error than `most`.
pub(crate) fn allocate(blocks: &[RangeBlock], bits: u64, most: f64) -> Option<Vec<u8>> {
    let steps: Vec<BlockSteps> = blocks.iter().map(BlockSteps::new).collect();
    // Taking steps one by one, by falling gain, first takes all that gain more than some number. That number is bisected,
    // among the bits of positive f64, which have the order of the numbers; few steps are then left to be taken one by one.
    let gains =
        || steps.iter().filter(|steps| steps.taken > 0).map(|steps| (steps.gains[0], steps.gains[steps.taken - 1]));
    let mut too_many = gains().map(|(_, last)| last).fold(f64::INFINITY, f64::min).next_down().to_bits();
    let mut fits = gains().map(|(first, _)| first).fold(0.0, f64::max).to_bits();
    while fits > too_many + BISECTED {
        let least = f64::from_bits(too_many.midpoint(fits));
        let (mut taken, mut left) = (0u64, 0.0);
        for (block, steps) in blocks.iter().zip(&steps) {
            let width = steps.width(least);
            taken += block.count as u64 * u64::from(width);
            left += block.error(width);
        }
        // Every bit beyond these takes off `least` at most, and every bit less costs as much (Everett 1963). The bound
        // is rounded, so it must be beaten clearly.
        if (left + least * (taken as f64 - bits as f64)) * (1.0 - 1e-9) > most {
            return None;
        }
        if taken <= bits { fits = least.to_bits() } else { too_many = least.to_bits() }
    }
    let mut widths: Vec<u8> = steps.iter().map(|steps| steps.width(f64::from_bits(fits))).collect();
    let left = bits - code_bits(blocks, &widths);
    allocate_rest(blocks, &mut widths, left);
    Some(widths)
}

/// How far the bisection of gains goes: to a 32nd of a power of two.
const BISECTED: u64 = 1 << 47;

/// Takes steps one by one, by falling gain, as long as any fits.
fn allocate_rest(blocks: &[RangeBlock], widths: &mut [u8], mut bits: u64) {
    let first =
        |(at, b): (usize, &RangeBlock)| if b.count as u64 <= bits { b.step(at, widths[at], ALL_WIDTHS) } else { None };
    // The heap holds one step per block: when it is taken or refused, the block's next one replaces it.
    let mut steps: BinaryHeap<Step> = blocks.iter().enumerate().filter_map(first).collect();
    while let Some(Step { block, to, .. }) = steps.pop() {
        let count = blocks[block].count as u64;
        let cost = count * u64::from(to - widths[block]);
        let limit = if cost <= bits {
            bits -= cost;
            widths[block] = to;
            ALL_WIDTHS
        } else {
            // It does not fit; a narrower one may.
            to
        };
        // Any step of a block takes a bit for each of its numbers.
        if count <= bits {
            steps.extend(blocks[block].step(block, widths[block], limit));
        }
    }
}

/// Bits of all codes.
pub(crate) fn code_bits(blocks: &[RangeBlock], widths: &[u8]) -> u64 {
    blocks.iter().zip(widths).map(|(block, &width)| block.count as u64 * u64::from(width)).sum()
}

/// The sum of squared errors.
pub(crate) fn error(blocks: &[RangeBlock], widths: &[u8]) -> f64 {
    blocks.iter().zip(widths).map(|(block, &width)| block.error(width)).sum()
}

/// Appends lowest and highest number of each block; those of a block of width 0 are its mean. Returns the ranges as the
/// decoder will read them.
pub(crate) fn write(out: &mut Vec<u8>, kind: ValueType, blocks: &[RangeBlock], widths: &[u8]) -> Result<Vec<Range>> {
    let ends = |(block, &width): (&RangeBlock, &u8)| if width == 0 { [block.mean; 2] } else { [block.low, block.high] };
    let ends: Vec<f32> = blocks.iter().zip(widths).flat_map(ends).collect();
    // Written, then read back: codes are made with the rounded ends.
    let start = out.len();
    values::write_section(out, kind, &ends, 0)?;
    read(&mut Reader::new(&out[start..]), kind, blocks.len())
}

/// Reads the ranges of `count` blocks.
pub(crate) fn read(reader: &mut Reader<'_>, kind: ValueType, count: usize) -> Result<Vec<Range>> {
    let section = values::read_section(reader, kind, 2 * count, "ranges")?;
    let gain = power_of_two(section.exponent);
    let range = |ends: &[f32]| Range { low: f64::from(ends[0]) * gain, high: f64::from(ends[1]) * gain };
    Ok(section.stored.chunks_exact(2).map(range).collect())
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_number_is_half_a_cell_from_its_middle_at_most() {
        let range = Range { low: -1.0, high: 3.0 };
        for width in 0..=MAX_WIDTH as u8 {
            for i in 0..=1000 {
                let v = -1.0 + 4.0 * f64::from(i) / 1000.0;
                let back = range.value(range.code(v, width), width);
                assert!((v - back).abs() <= 2.0 / f64::from(1u32 << width) + 1e-12, "{v} in {width} bits: {back}");
            }
        }
        assert_eq!((range.code(-9.0, 3), range.code(9.0, 3)), (0, 7));
        assert_eq!(Range { low: 2.0, high: 2.0 }.value(0, 0), 2.0);
    }

    /// Beyond [`EXACT_WIDTH`] numbers are taken as even over their cells; activations look more like these.
    #[test]
    fn errors_are_those_of_the_grid() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let normal = |()| (0..12).map(|_| rng.random_range(-0.5f32..0.5)).sum();
        let numbers: Vec<f32> = [(); 4000].map(normal).into();
        let block = RangeBlock::new(&numbers);
        let range = Range { low: block.low.into(), high: block.high.into() };
        for width in 1..=MAX_WIDTH as u8 {
            let off = |&v: &f32| (f64::from(v) - range.value(range.code(v.into(), width), width)).powi(2);
            let error: f64 = numbers.iter().map(off).sum();
            assert!((block.error(width) / error - 1.0).abs() < 0.06, "{width}: {} for {error}", block.error(width));
        }
    }

    /// `tests/reference/adaptive.py`: each row of each matrix as a block.
    #[test]
    fn codes_values_and_errors_are_those_of_numpy() {
        let mut compared = 0;
        for (a, case) in crate::codecs::adaptive_reference::cases() {
            for (token, expected) in case["ranges"].as_array().unwrap().iter().enumerate() {
                let blocks = [RangeBlock::new(a.row(token))];
                let close = |found: f64, expected: &Value, what: &str| {
                    let expected = expected.as_f64().unwrap();
                    assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{what}: {found:e} for {expected:e}");
                };
                close(blocks[0].mean.into(), &expected["mean"], "mean");
                close(blocks[0].error(0), &expected["error"], "error of the mean");
                for expected in expected["widths"].as_array().unwrap() {
                    let width = expected["width"].as_u64().unwrap() as u8;
                    if usize::from(width) <= EXACT_WIDTH {
                        close(blocks[0].error(width), &expected["error"], "error");
                    }
                    let range = write(&mut Vec::new(), ValueType::F16, &blocks, &[width]).unwrap()[0];
                    for (at, &v) in a.row(token).iter().enumerate() {
                        let code = range.code(v.into(), width);
                        assert_eq!(u64::from(code), expected["codes"][at].as_u64().unwrap(), "{v} in {width} bits");
                        close(range.value(code, width), &expected["values"][at], "value");
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 500, "{compared}");
    }

    /// Steps that are bisected and steps taken one by one end at the same widths, and a bound ends no search that could
    /// have gone below it.
    #[test]
    fn bisection_changes_no_width() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for round in 0..40 {
            // Some blocks alike, some of one number, some with two numbers far apart.
            let blocks: Vec<RangeBlock> = (0..30)
                .map(|i| {
                    let spread = [1.0, 1.0, 10f32.powi(i % 7 - 3), 0.0][i as usize % 4];
                    let count = rng.random_range(1..40);
                    let numbers = (0..count)
                        .map(|at| if i % 4 == 1 { (at % 2) as f32 } else { spread * rng.random_range(-1.0..1.0) });
                    RangeBlock::new(&numbers.collect::<Vec<f32>>())
                })
                .collect();
            let bits = rng.random_range(0..4000) * (round % 3);
            let mut one_by_one = vec![0; blocks.len()];
            allocate_rest(&blocks, &mut one_by_one, bits);
            assert_eq!(allocate(&blocks, bits, f64::INFINITY).unwrap(), one_by_one, "{bits} bits");
            let least = error(&blocks, &one_by_one);
            assert_eq!(allocate(&blocks, bits, least).unwrap(), one_by_one, "{bits} bits");
            assert!(least == 0.0 || bits == 0 || allocate(&blocks, bits, least / 2.0).is_none(), "{bits} bits");
        }
    }

    /// Against all combinations of widths.
    #[test]
    fn allocation_is_near_the_best_and_fits() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let spread = [0.1f32, 1.0, 8.0];
        let blocks: Vec<RangeBlock> =
            spread.map(|s| RangeBlock::new(&[(); 20].map(|()| s * rng.random_range(-1.0f32..1.0)))).into();
        for bits in [0, 19, 20, 60, 130, 200, 300] {
            let widths = allocate(&blocks, bits, f64::INFINITY).unwrap();
            assert!(code_bits(&blocks, &widths) <= bits);
            let mut best = f64::INFINITY;
            for i in 0..16u32.pow(3) {
                let widths = [(i % 16) as u8, (i / 16 % 16) as u8, (i / 256) as u8];
                if code_bits(&blocks, &widths) <= bits {
                    best = best.min(error(&blocks, &widths));
                }
            }
            assert!(error(&blocks, &widths) <= 1.3 * best, "{bits}: {} for {best}", error(&blocks, &widths));
        }
    }
}
