//! `best`: each row over its own size, each channel (or coefficient in the calibrated basis) by one step for all, entropy-coded
//! by the spread that calibration rows had in it.
//!
//! One step for all is reverse water-filling (Cover and Thomas, Elements of Information Theory, section 10.3.3): at a given
//! sum of squared errors no other division of the bits takes fewer, and what is smaller than the step costs next to nothing.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, ensure};

use crate::activation::Activation;
use crate::bytes::bell_rans::{self, BIT, BellChannels, STATE_BYTES, STEPS, WORD_BYTES};
use crate::bytes::bitstream::{BitReader, BitWriter};
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{ValueType, power_of_two};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, NUMBER_BITS, raw_bytes};
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
use crate::interface::shared::{self, DIGEST_BYTES, SharedNumbers};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::parts::low_rank;
use crate::parts::row_product::SquareMatrix;
use crate::vector::{Vector, dispatch};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "best",
    summary: "Rounds every channel by one step that fills the budget, and codes it by the spread calibration rows had in it.",
    options: &[
        OptionInfo {
            key: "basis",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "channels", meaning: "the channels themselves: fast" },
                OptionWord {
                    word: "klt",
                    meaning: "the eigenvectors of the calibration covariance: a D x D product per token, least bytes",
                },
            ]),
            default: "channels",
            meaning: "what is rounded",
        },
        OptionInfo {
            key: "rows",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "joint", meaning: "one step for all rows, which share the budget" },
                OptionWord {
                    word: "local",
                    meaning: "a step for each row, which keeps to its own share of the budget",
                },
            ]),
            default: "joint",
            meaning: "whether rows share the budget",
        },
    ],
    id: 64,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| Some(CalibrationNeed::Moments),
    build,
    layout,
    decode: |_| Err(shared::missing(INFO.name, INFO.name)),
    #[cfg(test)]
    size: SIZE,
};

#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    stated: |spec, a, packet| {
        let bytes = packet.as_bytes();
        let levels = if spec.option("rows") == Some("local") { a.tokens() } else { 1 };
        Some(36 + 2 * (levels - 1) + a.tokens() + size_rule::count(bytes, 15) + size_rule::count(bytes, 19))
    },
    ..SizeRule::ADAPTIVE
};

/// Own header, without the steps: coded bytes 4, plain bytes 4, digest, whether rows have steps of their own 1, size of the
/// smallest row 2.
const OWN_BYTES: usize = 8 + DIGEST_BYTES + 1 + 2;
/// Bytes of a step, and of a row's size.
const STEP_BYTES: usize = 2;
const SIZE_BYTES: usize = 1;

/// Sizes of rows per octave: a row's size is only what its step is relative to.
const SIZES: usize = 8;
/// The finest and the coarsest step, 2^-14 and 2^13 of a row's root mean square. Weighted channels reach 2^13 where there
/// are 2^20 of them.
const FINEST: i32 = -14 * STEPS as i32;
const COARSEST: i32 = 13 * STEPS as i32;
/// Every so many steps the tables' expectation is kept.
const EXPECTED_EVERY: i32 = STEPS as i32 / 32;
/// The least spread, as a share of the mean one: channels that no calibration row used.
const FLOOR: f64 = 1e-3;

/// Values that are counted to find the step. A longer packet is counted at places that are spread over rows and channels
/// alike, and coded again where that was more than [`NEAR`] off.
const COUNTED: usize = 1 << 14;
/// How near to its budget a packet comes: the search aims at the middle.
const NEAR: f64 = 0.01;
/// The same of a row that is only counted.
const NEAR_COUNTED: f64 = 0.004;
/// What coding may take beyond what was counted: a share, and bytes for the last word and the last bits.
const SLACK: f64 = 0.003;
const SLACK_BYTES: u64 = 5;

/// 2^(i / 256) for i below 256. By products and square roots alone: the same everywhere.
static FRACTIONS: LazyLock<[f64; STEPS]> = LazyLock::new(|| {
    let root = (0..STEPS.ilog2()).fold(2f64, |root, _| root.sqrt());
    let mut powers = [1f64; STEPS];
    (1..STEPS).for_each(|i| powers[i] = powers[i - 1] * root);
    powers
});

/// The largest n with 2^(n / per_octave) at most a positive number that is normal in f64.
fn octaves(value: f64, per_octave: usize) -> i32 {
    let bits = value.to_bits();
    let whole = (bits >> 52) as i32 - 1023;
    let fraction = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    let below = FRACTIONS.iter().step_by(STEPS / per_octave).filter(|power| **power <= fraction).count();
    whole * per_octave as i32 + below as i32 - 1
}

/// 2^(n / per_octave).
fn power(n: i32, per_octave: usize) -> f64 {
    let fraction = n.rem_euclid(per_octave as i32) as usize * (STEPS / per_octave);
    FRACTIONS[fraction] * power_of_two(n.div_euclid(per_octave as i32))
}

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let missing = || CalibrationNeed::Moments.missing(spec);
    let calibration = calibration.with_context(missing)?;
    let sample = calibration.sample().with_context(missing)?;
    let hidden = calibration.hidden();
    let basis = match spec.option("basis") {
        Some("klt") => Some(KltBasis::new(calibration.principal()?.with_context(missing)?, hidden)),
        _ => None,
    };
    let mut rows = Vec::with_capacity(sample.len());
    for row in sample.chunks_exact(hidden) {
        if let Some(size) = row_size(row) {
            let size = power(size, SIZES);
            rows.extend(row.iter().map(|v| v / size));
        }
    }
    ensure!(!rows.is_empty(), "codec {spec}: the calibration rows are zero in every channel");
    let rows = match &basis {
        Some(basis) => basis.forward.apply(&rows),
        None => Scratch::from(rows),
    };
    let count = (rows.len() / hidden) as f64;
    let mut means = vec![0f64; hidden];
    for row in rows.chunks_exact(hidden) {
        means.iter_mut().zip(row).for_each(|(mean, v)| *mean += v / count);
    }
    let mut spreads = vec![0f64; hidden];
    for row in rows.chunks_exact(hidden) {
        spreads.iter_mut().zip(row.iter().zip(&means)).for_each(|(spread, (v, m))| *spread += (v - m).abs() / count);
    }
    let mean = spreads.iter().sum::<f64>() / hidden as f64;
    ensure!(mean > 0.0, "codec {spec}: all calibration rows are alike");
    spreads.iter_mut().for_each(|spread| *spread = spread.max(FLOOR * mean));
    // A channel that is large in all rows is scaled down by the norm's weights of the next layer: its errors count less.
    // The fourth root is square roots, which every processor rounds alike.
    let weight = |spread: &f64| if basis.is_some() { 1.0 } else { 1.0 / (spread / mean).sqrt().sqrt() };
    let weights: Vec<f32> = spreads.iter().map(|spread| weight(spread) as f32).collect();
    let means: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
    let weighted = spreads.iter().zip(&weights).map(|(spread, weight)| spread * f64::from(*weight));
    let spreads: Vec<i32> = weighted.map(|spread| octaves(spread, STEPS)).collect();

    // A spread is a whole number below 2^24, which f32 holds; so is a byte of the basis' digest.
    let mut both: Vec<f32> = basis.iter().flat_map(|basis| basis.digest.map(f32::from)).collect();
    both.extend(means.iter().chain(&weights).copied().chain(spreads.iter().map(|&spread| spread as f32)));
    let mut best = Best {
        spec: spec.clone(),
        basis,
        inverse: weights.iter().map(|weight| 1.0 / weight).collect(),
        means,
        weights,
        spreads,
        expected: Vec::new(),
        digest: SharedNumbers::new(both),
    };
    let bits = |level: i32| best.spreads.iter().map(|&spread| bell_rans::entropy(spread, level)).sum();
    best.expected = (FINEST..=COARSEST).step_by(EXPECTED_EVERY as usize).map(bits).collect();
    Ok(Box::new(best))
}

/// The largest n for which 2^(n / 8) is at most the root mean square of a row; none of a row of zeros.
fn row_size<T: Copy + Into<f64>>(row: &[T]) -> Option<i32> {
    let squares = dispatch!(squares(row));
    (squares > 0.0).then(|| octaves((squares / row.len() as f64).sqrt(), SIZES))
}

/// The sum of the squares, by sixteen sums that take turns: the same bits on every processor.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn squares<V: Vector>(row: &[impl Copy + Into<f64>]) -> f64 {
    let mut sums = [0f64; 16];
    let (blocks, last) = row.as_chunks::<16>();
    for block in blocks {
        for i in 0..16 {
            sums[i] += block[i].into() * block[i].into();
        }
    }
    for i in 0..last.len() {
        sums[i] += last[i].into() * last[i].into();
    }
    sums.iter().sum()
}

/// 2^(n / 8) for the size of any f32 row, as a product: each factor is an f32, and so is a row over the first.
fn factors(n: i32) -> [f32; 2] {
    let whole = n.div_euclid(2 * SIZES as i32);
    [power_of_two(whole) as f32, power(n - whole * SIZES as i32, SIZES) as f32]
}

/// Values over their row's size, off the mean, weighted.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn scale<V: Vector>(row: &[f32], [a, b]: [f32; 2], means: &[f32], weights: &[f32], out: &mut [f32]) {
    let count = out.len();
    let (row, means, weights) = (&row[..count], &means[..count], &weights[..count]);
    for i in 0..count {
        out[i] = (row[i] * a * b - means[i]) * weights[i];
    }
}

/// Undoes [`scale`].
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn scale_back<V: Vector>(row: &mut [f32], step: f32, [a, b]: [f32; 2], means: &[f32], inverse: &[f32]) {
    let count = row.len();
    let (means, inverse) = (&means[..count], &inverse[..count]);
    for i in 0..count {
        row[i] = (row[i] * step * inverse[i] + means[i]) * a * b;
    }
}

/// The eigenvectors of the calibration covariance, both ways.
struct KltBasis {
    forward: SquareMatrix,
    back: SquareMatrix,
    digest: [u8; DIGEST_BYTES],
}

impl KltBasis {
    fn new(principal: Arc<SharedNumbers>, hidden: usize) -> Self {
        let element = |direction: usize, channel: usize| principal.numbers[direction * hidden + channel];
        Self {
            forward: SquareMatrix::new(hidden, |channel, direction| element(direction, channel)),
            back: SquareMatrix::new(hidden, element),
            digest: principal.digest,
        }
    }
}

struct Best {
    spec: CodecSpec,
    basis: Option<KltBasis>,
    /// Of calibration rows over their sizes, of each channel or coefficient.
    means: Vec<f32>,
    weights: Vec<f32>,
    /// One over the weights.
    inverse: Vec<f32>,
    /// The mean magnitude of each, weighted, off its mean: 2^(n / 256).
    spreads: Vec<i32>,
    /// Bits of a row at every eighth step from the finest on, as the tables have it.
    expected: Vec<f64>,
    digest: SharedNumbers,
}

/// Rows over their sizes.
struct SizedRows {
    /// Weighted, off the mean.
    values: Scratch<f32>,
    /// The size of the smallest row that is not zero.
    smallest: i32,
    /// Beyond that, from one on; zero of a row of zeros.
    sizes: Vec<u8>,
}

impl Best {
    /// The packet of rows coded at these steps.
    fn packet(&self, shape: (usize, usize), rows: &SizedRows, levels: &[i32], parts: [&[u8]; 2]) -> Result<Packet> {
        let [coded, plain] = parts;
        let body = STEP_BYTES * levels.len() + SIZE_BYTES * shape.0 + coded.len() + plain.len();
        let mut bytes = Packet::begin(&INFO, ValueType::F32, shape, OWN_BYTES + body)?;
        put_u32(&mut bytes, coded.len());
        put_u32(&mut bytes, plain.len());
        bytes.extend_from_slice(&self.digest.digest);
        bytes.push(u8::from(self.spec.rows() == RowScope::Local));
        bytes.extend_from_slice(&(rows.smallest as i16).to_le_bytes());
        levels.iter().for_each(|&level| bytes.extend_from_slice(&(level as i16).to_le_bytes()));
        bytes.extend_from_slice(&rows.sizes);
        bytes.extend_from_slice(coded);
        bytes.extend_from_slice(plain);
        Packet::finish(&INFO, bytes)
    }

    /// The step at which the tables expect a row to take so many bits.
    fn expected_level(&self, bits: f64) -> i32 {
        // Bits fall as steps grow.
        let after = self.expected.partition_point(|expected| *expected > bits);
        let Some(before) = after.checked_sub(1) else { return FINEST };
        let Some(next) = self.expected.get(after) else { return COARSEST };
        let share = (self.expected[before] - bits) / (self.expected[before] - next);
        FINEST + before as i32 * EXPECTED_EVERY + (share * f64::from(EXPECTED_EVERY)) as i32
    }

    /// What the tables expect of a row at a step.
    fn expected_bits(&self, level: i32) -> f64 {
        let (whole, rest) = ((level - FINEST) / EXPECTED_EVERY, (level - FINEST) % EXPECTED_EVERY);
        let at = |i: i32| self.expected[(whole as usize + i as usize).min(self.expected.len() - 1)];
        at(0) + (at(1) - at(0)) * f64::from(rest) / f64::from(EXPECTED_EVERY)
    }

    fn sized(&self, activation: &Activation) -> SizedRows {
        let hidden = activation.hidden();
        let all: Vec<Option<i32>> = activation.values().chunks_exact(hidden).map(row_size).collect();
        let largest = all.iter().flatten().max().copied().unwrap_or(0);
        // Rows 2^31 below the largest have the size of one there.
        let least = largest - i32::from(u8::MAX) + 1;
        let smallest = all.iter().flatten().min().copied().unwrap_or(0).max(least);
        let code = |size: &Option<i32>| size.map_or(0, |size| (size.max(smallest) - smallest + 1) as u8);
        let sizes: Vec<u8> = all.iter().map(code).collect();
        let rotated = self.basis.as_ref().map(|basis| basis.forward.apply(activation.values()));
        let mut values = Scratch::new(activation.values().len());
        values.resize(activation.values().len(), 0f32);
        for (row, (&size, out)) in sizes.iter().zip(values.chunks_exact_mut(hidden)).enumerate() {
            let size = smallest + i32::from(size.max(1)) - 1;
            let place = row * hidden..(row + 1) * hidden;
            match &rotated {
                _ if sizes[row] == 0 => out.fill(0.0),
                Some(rotated) => {
                    let inverse = power(-size, SIZES);
                    let both = self.means.iter().zip(&self.weights);
                    for ((out, v), (mean, weight)) in out.iter_mut().zip(&rotated[place]).zip(both) {
                        *out = ((v * inverse) as f32 - mean) * weight;
                    }
                }
                None => {
                    let row = &activation.values()[place];
                    dispatch!(scale(row, factors(-size), &self.means, &self.weights, out));
                }
            }
        }
        SizedRows { values, smallest, sizes }
    }

    /// Parts of a bit that rows take at a step, by what one channel in `every` takes, others in each row.
    fn count(&self, rows: &[f32], every: usize, level: i32, channels: &mut BellChannels, codes: &mut [u16]) -> u64 {
        let hidden = self.means.len();
        channels.set(&self.spreads, level);
        let inverse = inverse_step(level);
        let (mut sum, mut counted) = (0, 0);
        for (row, (values, codes)) in rows.chunks_exact(hidden).zip(codes.chunks_exact_mut(hidden)).enumerate() {
            let place = row % every * hidden / every..(row % every + 1) * hidden / every;
            counted += place.len();
            let (first, values, codes) = (place.start, &values[place.clone()], &mut codes[place]);
            channels.round(first, values, inverse, codes);
            sum += channels.cost(first, values, inverse, codes);
        }
        let plain = channels.plain_cost() * (rows.len() / hidden) as u64;
        (sum as f64 * rows.len() as f64 / counted.max(1) as f64) as u64 + plain
    }
}

fn inverse_step(level: i32) -> f32 {
    power(-level, STEPS) as f32
}

/// The search for the finest step that fits: the step at which the tables expect the budget to be filled, corrected by what
/// the rows take there.
struct StepSearch<'a> {
    best: &'a Best,
    /// All coarser ones fit, all up to this one do not, as far as is known.
    fits: i32,
    too_fine: i32,
    level: i32,
}

impl<'a> StepSearch<'a> {
    fn new(best: &'a Best, level: i32) -> Self {
        Self { best, fits: COARSEST, too_fine: FINEST - 1, level: level.clamp(FINEST, COARSEST) }
    }

    /// Takes what is needed at the current step, and says whether that is the one: at most `room`, and `near` it as a share.
    fn is_done(&mut self, taken: f64, room: f64, near: f64) -> bool {
        if taken <= room {
            self.fits = self.level;
        } else {
            self.too_fine = self.level;
        }
        let close = taken <= room && taken >= (1.0 - near) * room;
        if close || self.level == COARSEST && taken > room {
            return true;
        }
        if self.fits - self.too_fine <= 1 {
            let done = self.level == self.fits;
            self.level = self.fits;
            return done;
        }
        // Rows that take more than expected here take as much more there.
        let aim = self.best.expected_bits(self.level) * (1.0 - near / 2.0) * room / taken.max(1e-3);
        self.level = self.best.expected_level(aim).clamp(self.too_fine + 1, self.fits - 1);
        false
    }
}

impl Codec for Best {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        low_rank::check_hidden(INFO.name, self.means.len(), hidden)?;
        let rows = self.sized(activation);
        let local = self.spec.rows() == RowScope::Local;
        let fixed = HEADER_BYTES + OWN_BYTES;
        // Bytes for codes, states and plain bits of so many rows.
        let room = |count: usize| match budget.accounting {
            Accounting::Elements => {
                let bytes = (count * hidden) as u64 * NUMBER_BITS / 8;
                (bytes as f64 / budget.ratio) as u64 + (STATE_BYTES * bell_rans::states(count * hidden)) as u64
            }
            Accounting::Wire => {
                let steps = STEP_BYTES * if local { count } else { 1 };
                let limit = (raw_bytes(count, hidden) as f64 / budget.ratio) as usize;
                limit.saturating_sub(fixed + steps + SIZE_BYTES * count) as u64
            }
        };
        let mut channels = BellChannels::default();
        let mut codes = Scratch::new(rows.values.len());
        codes.resize(rows.values.len(), 0u16);
        let mut plain = Scratch::new(0);
        let (levels, coded) = if local {
            // A row of a packet of its own has room for that packet's headers, and the same step beside others.
            let bytes = room(1).saturating_sub((STATE_BYTES * bell_rans::states(hidden)) as u64 + SLACK_BYTES);
            let countable = ((bytes * 8 * BIT) as f64 * (1.0 - SLACK)).max(1.0);
            let first = self.expected_level(countable / BIT as f64);
            let mut levels = Vec::with_capacity(tokens);
            let mut bits = BitWriter::new(&mut plain);
            for (row, codes) in rows.values.chunks_exact(hidden).zip(codes.chunks_exact_mut(hidden)) {
                let mut search = StepSearch::new(self, first);
                loop {
                    let taken = self.count(row, 1, search.level, &mut channels, codes);
                    if search.is_done(taken as f64, countable, NEAR_COUNTED) {
                        break;
                    }
                }
                channels.put_beside(row, inverse_step(search.level), codes, &mut bits);
                levels.push(search.level);
            }
            bits.finish();
            (levels, bell_rans::encode(&codes))
        } else {
            let every = (rows.values.len() / COUNTED).clamp(1, tokens);
            // A state of four bytes holds one byte of what was counted, on average.
            let heads = ((STATE_BYTES - 1) * bell_rans::states(rows.values.len())) as u64;
            let countable = ((room(tokens).saturating_sub(heads) * 8 * BIT) as f64).max(1.0);
            // A word more or less is as near as any.
            let near = NEAR + WORD_BYTES as f64 / room(tokens).max(1) as f64;
            let mut search = StepSearch::new(self, self.expected_level(countable / (tokens as u64 * BIT) as f64));
            loop {
                let taken = self.count(&rows.values, every, search.level, &mut channels, &mut codes);
                if search.is_done(taken as f64, countable, near) {
                    break;
                }
            }
            let mut counted = every == 1;
            search = StepSearch::new(self, search.level);
            loop {
                let inverse = inverse_step(search.level);
                if !counted {
                    channels.set(&self.spreads, search.level);
                }
                plain.clear();
                let mut bits = BitWriter::new(&mut plain);
                for (row, codes) in rows.values.chunks_exact(hidden).zip(codes.chunks_exact_mut(hidden)) {
                    if !counted {
                        channels.round(0, row, inverse, codes);
                    }
                    channels.put_beside(row, inverse, codes, &mut bits);
                }
                bits.finish();
                let coded = bell_rans::encode(&codes);
                let level = search.level;
                if search.is_done((coded.len() + plain.len()) as f64, room(tokens) as f64, near) {
                    break (vec![level], coded);
                }
                counted = false;
            }
        };
        self.packet((tokens, hidden), &rows, &levels, [&coded, &plain])
    }

    fn decode(&self, packet: &Packet) -> Result<Activation> {
        crate::interface::check_codec(&self.spec, packet)?;
        let (tokens, hidden) = (packet.tokens(), packet.hidden());
        shared::check_hidden(INFO.name, self.means.len(), hidden)?;
        let mut reader = Reader::new(packet.view().body);
        let own = own_header(&mut reader, tokens)?;
        self.digest.check(own.digest, INFO.name)?;
        let mut levels = Vec::with_capacity(own.levels);
        for _ in 0..own.levels {
            let level = i32::from(reader.i16("step")?);
            ensure!((FINEST..=COARSEST).contains(&level), "packet field step: {level} is not in {FINEST}..={COARSEST}");
            levels.push(level);
        }
        let sizes = reader.bytes(SIZE_BYTES * tokens, "sizes")?;
        let (coded, plain) = (reader.bytes(own.coded, "coded words")?, reader.bytes(own.plain, "plain bits")?);
        let level = |row: usize| levels[if levels.len() == 1 { 0 } else { row }];
        // Hostile sizes are bounded by 2^4096 before they are multiplied.
        let bound = 1000 * SIZES as i32;
        let size = |row: usize| (own.smallest + i32::from(sizes[row]) - 1).clamp(-bound, bound);
        let mut values = buffers::floats(tokens * hidden);
        let mut bits = BitReader::new(plain, "plain bits");
        bell_rans::decode(
            coded,
            (tokens, hidden),
            |row, channels| {
                if row == 0 || levels.len() > 1 {
                    channels.set(&self.spreads, level(row));
                }
            },
            |row, channels, codes| {
                let out = &mut values[row * hidden..][..hidden];
                channels.take_row(codes, &mut bits, out)?;
                let step = power(level(row), STEPS) as f32;
                let size = match () {
                    _ if sizes[row] == 0 => [0.0; 2],
                    _ if self.basis.is_some() => [1.0; 2],
                    () => factors(size(row)),
                };
                dispatch!(scale_back(out, step, size, &self.means, &self.inverse));
                Ok(())
            },
        )?;
        ensure!(bits.only_padding_left(), "packet field plain bits: they do not end with the last value");
        if let Some(basis) = &self.basis {
            let rotated = basis.back.apply(&values);
            for (row, (out, rotated)) in values.chunks_exact_mut(hidden).zip(rotated.chunks_exact(hidden)).enumerate() {
                let size = power(size(row), SIZES);
                out.iter_mut().zip(rotated).for_each(|(out, v)| *out = (v * size) as f32);
            }
        }
        crate::interface::received(packet, values)
    }
}

/// The own header.
struct BestHeader<'a> {
    coded: usize,
    plain: usize,
    digest: &'a [u8],
    /// Steps: one, or one per row.
    levels: usize,
    smallest: i32,
}

fn own_header<'a>(reader: &mut Reader<'a>, tokens: usize) -> Result<BestHeader<'a>> {
    let coded = reader.u32("coded bytes")? as usize;
    let plain = reader.u32("plain bytes")? as usize;
    let digest = reader.bytes(DIGEST_BYTES, "digest")?;
    let local = reader.u8("rows")?;
    ensure!(local <= 1, "packet field rows: {local} is neither 0 (joint) nor 1 (local)");
    let levels = if local == 1 { tokens } else { 1 };
    Ok(BestHeader { coded, plain, digest, levels, smallest: reader.i16("smallest size")?.into() })
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let own = own_header(&mut Reader::new(view.body), view.tokens)?;
    let states = STATE_BYTES * bell_rans::states(view.tokens * view.hidden);
    let words = own.coded.checked_sub(states).filter(|words| words.is_multiple_of(WORD_BYTES));
    let words = words.with_context(|| {
        format!("packet field coded bytes: {} are not {states} of states and words of {WORD_BYTES}", own.coded)
    })?;
    let fixed = OWN_BYTES + STEP_BYTES * own.levels + SIZE_BYTES * view.tokens;
    view.expect_len(fixed as u64 + own.coded as u64 + own.plain as u64)?;
    Ok((((words + own.plain) as u64 * 8).div_ceil(NUMBER_BITS) as usize).max(1))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::interface::calibration::CalibrationBuilder;

    fn numbers(list: &Value) -> Vec<f32> {
        list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
    }

    fn best(spec: &str, rows: Vec<f32>, hidden: usize) -> Box<dyn Codec> {
        let mut builder = CalibrationBuilder::new(hidden);
        builder.push_activation(&Activation::new(rows.len() / hidden, hidden, rows).unwrap()).unwrap();
        crate::registry::build(&CodecSpec::parse(spec).unwrap(), Some(&builder.finish().unwrap())).unwrap()
    }

    /// `tests/reference/best.py`, which rounds by the step that the packet states.
    #[test]
    fn values_are_those_of_numpy() {
        let reference: Value = serde_json::from_str(include_str!("../../../../tests/reference/best.json")).unwrap();
        let (mut compared, mut steps) = (0, Vec::new());
        for case in reference["cases"].as_array().unwrap() {
            let number = |key: &str| case[key].as_u64().unwrap() as usize;
            let (tokens, hidden) = (number("tokens"), number("hidden"));
            let a = Activation::new(tokens, hidden, numbers(&case["values"])).unwrap();
            for expected in case["decoded"].as_array().unwrap() {
                let codec = best(expected["codec"].as_str().unwrap(), numbers(&case["calibration"]), hidden);
                let budget = Budget::elements(expected["ratio"].as_f64().unwrap()).unwrap();
                let packet = codec.encode(&a, Some(budget)).unwrap();
                let step = i64::from(i16::from_le_bytes(packet.as_bytes()[34..36].try_into().unwrap()));
                if step != expected["step"].as_i64().unwrap() {
                    steps.push(format!("\"{} {hidden} {}\": {step}", codec.spec(), expected["ratio"]));
                    continue;
                }
                let error = Activation::new(tokens, hidden, numbers(&expected["values"]))
                    .unwrap()
                    .rel_error(&codec.decode(&packet).unwrap());
                assert!(error < 1e-5, "{}: {error:e}", expected["codec"]);
                compared += 1;
            }
        }
        // These belong into "steps" of best.json, from which best.py makes the rest.
        assert!(steps.is_empty(), "{}", steps.join(", "));
        assert_eq!(compared, 8);
    }

    #[test]
    fn sizes_and_steps_are_powers_of_two() {
        for n in -300..300 {
            assert_eq!(octaves(power(n, STEPS), STEPS), n);
            assert_eq!(octaves(power(n, SIZES) * 1.001, SIZES), n);
        }
        let octave = STEPS as i32;
        assert_eq!([power(-2 * octave, STEPS), power(octave, STEPS), power(-8, SIZES)], [0.25, 2.0, 0.5]);
    }

    #[test]
    fn budgets_are_met_within_a_fiftieth() {
        // Channels of many sizes, as in trained models.
        let value = |i: usize| ((i * i * 7 + i * 13) % 101) as f32 / 50.0 - 1.0;
        let size = |i: usize| ((i % 192) as f32 / 16.0).exp2() / 64.0;
        let rows =
            |count: usize, from: usize| -> Vec<f32> { (0..count * 192).map(|i| value(i + from) * size(i)).collect() };
        for spec in ["best", "best:basis=klt"] {
            let codec = best(spec, rows(300, 0), 192);
            let a = Activation::new(60, 192, rows(60, 777)).unwrap();
            for ratio in [3.0, 4.0, 8.0, 16.0] {
                let packet = codec.encode(&a, Some(Budget::wire(ratio).unwrap())).unwrap();
                let share = packet.len() as f64 * ratio / raw_bytes(60, 192) as f64;
                assert!((0.98..=1.0).contains(&share), "{spec}, ratio {ratio}: {share}");
            }
        }
    }
}
