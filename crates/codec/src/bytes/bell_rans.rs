//! Entropy coding of rounded numbers whose spreads both sides know: a static range asymmetric numeral system (rANS, Duda
//! 2013) with one table of frequencies per quarter octave of spread, so that no table is sent.
//!
//! Tables follow Student's t with four degrees of freedom: rows of language models have heavier tails than a normal
//! distribution. Its distribution function has a closed form of sums, products, quotients and a square root, which IEEE
//! 754 rounds alike everywhere, so both sides have the same tables on any processor.

use std::sync::LazyLock;

use anyhow::{Result, ensure};

#[cfg(target_arch = "x86_64")]
use crate::bytes::bell_lanes;
use crate::bytes::bitstream::{BitReader, BitWriter};
use crate::bytes::buffers::Scratch;
use crate::vector::{Vector, dispatch};

/// Frequencies of a table sum to 2^12: the places of the tables in use stay in a level-two cache.
pub(crate) const PRECISION: u32 = 12;
pub(crate) const TOTAL: usize = 1 << PRECISION;

/// Integers with a code of their own: up to this magnitude.
const LARGEST: i32 = 63;
/// Integers without one come as bits beside the code of this symbol.
const ESCAPE: usize = 0;
pub(crate) const SYMBOLS: usize = 2 * LARGEST as usize + 2;
/// Symbols of all tables.
pub(crate) const CODES: usize = SYMBOLS * TABLES;
/// Places of all tables.
pub(crate) const PLACES: usize = TOTAL * TABLES;

/// Tables per octave of spread, the first for a spread of 2^-5 steps: below it, a table says no less than "zero".
const PER_OCTAVE: i32 = 4;
const FIRST: i32 = -5 * PER_OCTAVE;
const TABLES: usize = 32;

/// Sizes of steps and spreads per octave: one step more or less changes the bytes by two thousandths or so.
pub(crate) const STEPS: usize = 256;
/// Those for each of which there is a table.
const PER_TABLE: i32 = STEPS as i32 / PER_OCTAVE;

/// A number is rounded down in magnitude up to this far above an integer: a dead zone. Zero is the cheapest code.
const ROUND_DOWN: f64 = 0.6;

/// A state before the first integer is put on and after the last is taken off; between, it is no smaller.
pub(crate) const START: u32 = 1 << 15;
/// States of a vector.
pub(crate) const LANES: usize = 8;

/// Bytes of a state.
pub(crate) const STATE_BYTES: usize = 4;
/// Bytes of a word.
pub(crate) const WORD_BYTES: usize = 2;

/// Magnitudes stay below 2^24, which f32 holds.
const MAGNITUDE_BITS: u32 = 24;
const MOST: f32 = ((1u32 << MAGNITUDE_BITS) - 1) as f32;

/// Parts of a bit in which costs are counted.
pub(crate) const BIT: u64 = 256;

/// A symbol as the encoder wants it. An integer without a code of its own has that of the escape.
///
/// The state x becomes 4096 floor(x / f) + x mod f + start, by q = floor(x / f): x + q (4096 - f) + start. With s = ceil(log2
/// f), at least 1, q is the product with ceil(2^(31 + s) / f) without its lowest 31 + s bits (Granlund and Montgomery 1994),
/// exact where x is below 2^19 f. That number would be 2^32 for f = 1: one less makes q one less, which the start mends.
fn share(frequency: usize, start: usize) -> [u32; 2] {
    let shift = frequency.next_power_of_two().ilog2().max(1);
    let reciprocal = (1u64 << (31 + shift)).div_ceil(frequency as u64).min(u32::MAX.into());
    let bias = if frequency == 1 { start + TOTAL - 1 } else { start };
    [(frequency << 20 | ((shift - 1) << 13) as usize | bias) as u32, reciprocal as u32]
}

/// The state with one more symbol on it, and whether its lowest word is to be sent for that.
#[inline(always)]
fn put([share, reciprocal]: [u32; 2], state: u32) -> (u32, bool) {
    let frequency = share >> 20;
    let away = state >= frequency << (31 - PRECISION);
    let state = if away { state >> 16 } else { state };
    let quotient = ((u64::from(state) * u64::from(reciprocal)) >> 32) as u32 >> (share >> 13 & 15);
    (quotient * (TOTAL as u32 - frequency) + state + (share & 0x1fff), away)
}

/// One of the 4096 places of a table, as the decoder wants it: the symbol, its frequency, and how far it is behind the
/// symbol's first place.
fn place(symbol: usize, frequency: usize, offset: usize) -> u32 {
    (symbol << (2 * PRECISION) | frequency << PRECISION | offset) as u32
}

/// The state before its last symbol was put on it, without a word that it gave away, and that symbol's code, of the table
/// whose code of zero this is.
#[inline(always)]
fn step(places: &[u32; PLACES], state: u32, zero: i32) -> (u32, u16) {
    let (table, field) = (zero as usize / SYMBOLS, TOTAL as u32 - 1);
    let place = places[(table * TOTAL + (state & field) as usize) % PLACES];
    let next = (place >> PRECISION & field) * (state >> PRECISION) + (place & field);
    (next, (table * SYMBOLS + (place >> (2 * PRECISION)) as usize) as u16)
}

/// All tables one behind the other: a symbol's place in them is its code.
struct BellTables {
    shares: Box<[[u32; 2]; CODES]>,
    /// In parts of a bit, without those beside an escape.
    costs: Box<[u16; CODES]>,
    /// What an integer comes back as: the mean of the numbers that were rounded to it.
    means: Box<[f32; CODES]>,
    /// Table after table.
    places: Box<[u32; PLACES]>,
    /// The largest magnitude with a code of its own.
    most: [i32; TABLES],
    /// Bits of an integer on average.
    entropies: [f64; TABLES],
}

static BELLS: LazyLock<BellTables> = LazyLock::new(BellTables::new);

/// The share of numbers below `t` of Student's t with four degrees of freedom.
fn below(t: f64) -> f64 {
    let x = t / (4.0 + t * t).sqrt();
    0.5 + 0.75 * (x - x * x * x / 3.0)
}

/// The sum of all numbers above `t`, t not negative, each by its share.
fn sum_above(t: f64) -> f64 {
    let u = 1.0 + t * t / 4.0;
    0.5 / (u * u.sqrt())
}

impl BellTables {
    fn new() -> Self {
        let mut tables = Self {
            shares: Box::new([[0; 2]; CODES]),
            costs: Box::new([0; CODES]),
            means: Box::new([0.0; CODES]),
            places: vec![0; PLACES].try_into().unwrap_or_else(|_| unreachable!("as many as were asked for")),
            most: [0; TABLES],
            entropies: [0.0; TABLES],
        };
        (0..TABLES).for_each(|table| tables.fill(table));
        tables
    }

    fn fill(&mut self, at: usize) {
        // 2^(1/4) by square roots, which are exact to the last bit; powers of two besides.
        let quarter = 2f64.sqrt().sqrt();
        let octaves = at as i32 + FIRST;
        let spread = (0..octaves.rem_euclid(PER_OCTAVE)).fold(1.0, |product, _| product * quarter)
            * 2f64.powi(octaves.div_euclid(PER_OCTAVE));
        let from = |magnitude: i32| (f64::from(magnitude) - 1.0 + ROUND_DOWN) / spread;
        let code = |symbol: usize| at * SYMBOLS + symbol;
        let mut frequencies = [0usize; SYMBOLS];
        for magnitude in 1..=LARGEST {
            let (low, high) = (from(magnitude), from(magnitude + 1));
            let share = below(high) - below(low);
            // They fall with the magnitude: those without a code of their own lie outside the others.
            let frequency = (share * TOTAL as f64 + 0.5) as usize;
            if frequency > 0 {
                self.most[at] = magnitude;
            }
            // Far out the differences lose their bits; the middle is as good there.
            let mean = if share > 1e-9 { (sum_above(low) - sum_above(high)) / share * spread } else { 0.0 };
            let middle = f64::from(magnitude) - 0.5 + ROUND_DOWN;
            let inside = (mean - middle).abs() <= 0.5;
            let mean = if inside { mean } else { f64::from(magnitude) } as f32;
            for (symbol, mean) in [(symbol(magnitude), mean), (symbol(-magnitude), -mean)] {
                frequencies[symbol] = frequency;
                self.means[code(symbol)] = mean;
            }
        }
        // Rare integers have no code of their own and share the escape's.
        let coded: usize = frequencies.iter().sum();
        let zero = ((below(from(1)) - below(-from(1))) * TOTAL as f64) as usize;
        frequencies[ESCAPE] = TOTAL.saturating_sub(coded + zero).max(1);
        frequencies[symbol(0)] = TOTAL - coded - frequencies[ESCAPE];
        let mut start = 0;
        for (symbol, &frequency) in frequencies.iter().enumerate().filter(|(_, frequency)| **frequency > 0) {
            let bits = (TOTAL as f64 / frequency as f64).log2();
            let beside = if symbol == ESCAPE { f64::from(escape_cost(LARGEST as u32)) } else { 0.0 };
            self.entropies[at] += (bits + beside) * frequency as f64 / TOTAL as f64;
            self.costs[code(symbol)] = (bits * BIT as f64).round() as u16;
            self.shares[code(symbol)] = share(frequency, start);
            for offset in 0..frequency {
                self.places[at * TOTAL + start + offset] = place(symbol, frequency, offset);
            }
            start += frequency;
        }
    }
}

fn symbol(integer: i32) -> usize {
    (integer + LARGEST + 1) as usize
}

/// Whether a code is that of an escape.
fn is_escape(code: &u16) -> bool {
    usize::from(*code).is_multiple_of(SYMBOLS)
}

/// Bits beside an escape: sign, length, magnitude.
fn escape_cost(magnitude: u32) -> u32 {
    1 + 5 + (32 - magnitude.leading_zeros())
}

/// How the channels of a row are coded: by the spreads of what is rounded, in steps.
#[derive(Clone, Default)]
pub(crate) struct BellChannels {
    /// The table's first code, of zero.
    zeros: Vec<i32>,
    /// The largest magnitude with a code of its own.
    most: Vec<i32>,
    /// Lowest bits that are sent as they are.
    plain: Vec<u8>,
    /// Channels with such bits.
    with_plain: Vec<u32>,
    /// Such bits of a row.
    plain_bits: u64,
}

/// The table and the lowest bits that are plain, of a spread of 2^(spread / 256) and a step of 2^(step / 256).
#[inline(always)]
fn table(spread: i32, step: i32) -> (i32, i32) {
    let quarters = (spread - step + PER_TABLE / 2).div_euclid(PER_TABLE);
    // Beyond the last table the lowest bits are as good as random.
    let last = FIRST + TABLES as i32 - 1;
    let plain = ((quarters - last).max(0) + PER_OCTAVE - 1).div_euclid(PER_OCTAVE);
    ((quarters - PER_OCTAVE * plain).max(FIRST) - FIRST, plain.min(MAGNITUDE_BITS as i32))
}

/// Bits of an integer on average, of a spread of 2^(spread / 256) and a step of 2^(step / 256).
pub(crate) fn entropy(spread: i32, step: i32) -> f64 {
    let (table, plain) = table(spread, step);
    BELLS.entropies[table as usize] + f64::from(plain)
}

/// Of each channel the code of zero, the largest magnitude with a code, and the lowest bits that are plain.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn set_tables<V: Vector>(spreads: &[i32], step: i32, zeros: &mut [i32], most: &mut [i32], plain: &mut [u8]) {
    let magnitudes = &BELLS.most;
    let count = spreads.len();
    let (zeros, most, plain) = (&mut zeros[..count], &mut most[..count], &mut plain[..count]);
    for i in 0..count {
        let (table, bits) = table(spreads[i], step);
        zeros[i] = table * SYMBOLS as i32 + LARGEST + 1;
        plain[i] = bits as u8;
        most[i] = magnitudes[table as usize % TABLES];
    }
}

impl BellChannels {
    /// For channels with spreads of 2^(n / 256) and a step of 2^(step / 256).
    pub fn set(&mut self, spreads: &[i32], step: i32) {
        self.zeros.resize(spreads.len(), 0);
        self.most.resize(spreads.len(), 0);
        self.plain.resize(spreads.len(), 0);
        dispatch!(set_tables(spreads, step, &mut self.zeros, &mut self.most, &mut self.plain));
        self.with_plain.clear();
        places(&self.plain, |&plain| plain > 0, |channel| self.with_plain.push(channel as u32));
        self.plain_bits = self.with_plain.iter().map(|&channel| u64::from(self.plain[channel as usize])).sum();
    }

    /// The part of an integer that has a code, and its lowest bits.
    fn divide(&self, channel: usize, integer: i32) -> (i32, u32) {
        let plain = self.plain[channel];
        let moved = integer + ((1 << plain) >> 1);
        (moved >> plain, (moved & ((1 << plain) - 1)) as u32)
    }

    /// Rounds some values of a row, from channel `first` on, to codes. `inverse` is one over the step.
    pub fn round(&self, first: usize, values: &[f32], inverse: f32, codes: &mut [u16]) {
        let channels = first..first + values.len();
        let (zeros, most, plain) = (&self.zeros[channels.clone()], &self.most[channels.clone()], &self.plain[channels]);
        dispatch!(round_row(values, inverse, (zeros, most, plain), codes));
    }

    /// Parts of a bit that some values of a row take, from channel `first` on, without plain bits.
    pub fn cost(&self, first: usize, values: &[f32], inverse: f32, codes: &[u16]) -> u64 {
        let costs = &BELLS.costs;
        let mut sums = [0u64; 2];
        let (pairs, last) = codes.as_chunks::<2>();
        for pair in pairs {
            sums[0] += u64::from(costs[usize::from(pair[0]) % CODES]);
            sums[1] += u64::from(costs[usize::from(pair[1]) % CODES]);
        }
        last.iter().for_each(|&code| sums[0] += u64::from(costs[usize::from(code) % CODES]));
        places(codes, is_escape, |at| {
            let (high, _) = self.divide(first + at, integer(values[at], inverse));
            sums[1] += u64::from(escape_cost(high.unsigned_abs())) * BIT;
        });
        sums[0] + sums[1]
    }

    /// Parts of a bit of a row's plain bits.
    pub fn plain_cost(&self) -> u64 {
        self.plain_bits * BIT
    }

    /// Appends what a row has beside its codes.
    pub fn put_beside(&self, values: &[f32], inverse: f32, codes: &[u16], bits: &mut BitWriter<'_>) {
        places(codes, is_escape, |channel| {
            let (high, _) = self.divide(channel, integer(values[channel], inverse));
            let magnitude = high.unsigned_abs();
            let length = 32 - magnitude.leading_zeros();
            bits.put(u32::from(high < 0) | length << 1, 6);
            bits.put(magnitude, length);
        });
        for &channel in &self.with_plain {
            let channel = channel as usize;
            let (_, low) = self.divide(channel, integer(values[channel], inverse));
            bits.put(low, self.plain[channel].into());
        }
    }

    /// Appends what a row's codes come back as, in steps, with what they have beside them.
    pub fn take_row(&self, codes: &[u16], bits: &mut BitReader<'_>, out: &mut [f32]) -> Result<()> {
        let means = &BELLS.means;
        for (value, &code) in out.iter_mut().zip(codes) {
            *value = means[usize::from(code) % CODES];
        }
        let mut read = Ok(());
        places(codes, is_escape, |channel| {
            if read.is_ok() {
                read = escaped(bits).map(|integer| out[channel] = integer as f32);
            }
        });
        read?;
        for &channel in &self.with_plain {
            let channel = channel as usize;
            let plain = self.plain[channel];
            let code = codes[channel];
            let high =
                if is_escape(&code) { out[channel] as i64 } else { i64::from(code) - i64::from(self.zeros[channel]) };
            let whole = (high << plain) + bits.take(plain)? as i64 - ((1i64 << plain) >> 1);
            ensure!(whole.abs() <= 1 << (MAGNITUDE_BITS + 1), "packet field plain bits: {whole} steps in a value");
            out[channel] = whole as f32;
        }
        Ok(())
    }
}

/// The integer behind an escape.
fn escaped(bits: &mut BitReader<'_>) -> Result<i32> {
    let head = bits.take(6)? as u32;
    let length = head >> 1;
    ensure!(length <= MAGNITUDE_BITS + 1, "packet field plain bits: a magnitude of {length} bits");
    let magnitude = bits.take(length as u8)? as i32;
    Ok(if head & 1 == 1 { -magnitude } else { magnitude })
}

/// Calls `each` with the places of what is rare: most blocks are passed over by one comparison of vectors.
#[inline(always)]
fn places<T>(all: &[T], is_rare: impl Fn(&T) -> bool, mut each: impl FnMut(usize)) {
    const BLOCK: usize = 32;
    for (block, all) in all.chunks(BLOCK).enumerate() {
        if all.iter().fold(false, |some, one| some | is_rare(one)) {
            (0..all.len()).filter(|&i| is_rare(&all[i])).for_each(|i| each(block * BLOCK + i));
        }
    }
}

/// A multiple of a step, of which those that are 0.6 above an integer or less are rounded down.
#[inline(always)]
fn integer(value: f32, inverse: f32) -> i32 {
    let scaled = value * inverse;
    let magnitude = scaled.abs() + (1.0 - ROUND_DOWN) as f32;
    let magnitude = if magnitude < MOST { magnitude } else { MOST };
    // SAFETY: it is between 0 and 2^24, and no NaN, which no comparison holds of.
    let magnitude: i32 = unsafe { magnitude.to_int_unchecked() };
    if scaled < 0.0 { -magnitude } else { magnitude }
}

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn round_row<V: Vector>(values: &[f32], inverse: f32, channels: (&[i32], &[i32], &[u8]), codes: &mut [u16]) {
    let (zeros, most, plain) = channels;
    let count = codes.len();
    let (values, zeros, most, plain) = (&values[..count], &zeros[..count], &most[..count], &plain[..count]);
    for i in 0..count {
        let plain = i32::from(plain[i]);
        let high = (integer(values[i], inverse) + ((1 << plain) >> 1)) >> plain;
        let symbol = if high.abs() > most[i] { -LARGEST - 1 } else { high };
        codes[i] = (zeros[i] + symbol) as u16;
    }
}

/// States that take turns, one of which is computed while others wait, where their bytes hardly count.
pub(crate) fn states(integers: usize) -> usize {
    match integers {
        0..1024 => 1,
        1024..8192 => 2,
        8192..16384 => 4,
        16384..65536 => LANES,
        _ => 2 * LANES,
    }
}

/// The states and words of codes.
pub(crate) fn encode(codes: &[u16]) -> Vec<u8> {
    match states(codes.len()) {
        1 => encode_turns::<1>(codes),
        2 => encode_turns::<2>(codes),
        4 => encode_turns::<4>(codes),
        LANES => encode_turns::<LANES>(codes),
        _ => encode_turns::<{ 2 * LANES }>(codes),
    }
}

fn encode_turns<const TURNS: usize>(codes: &[u16]) -> Vec<u8> {
    let shares = &BELLS.shares;
    let mut words = Scratch::new(codes.len() + LANES);
    words.resize(codes.len() + LANES, 0u16);
    let mut count = 0;
    let mut state = [START; TURNS];
    let mut one = |x: &mut u32, code: u16| {
        // The word is written in any case, and counts where the state gave it away: no branch that could be foreseen wrong.
        words[count] = *x as u16;
        let (next, away) = put(shares[usize::from(code) % CODES], *x);
        count += usize::from(away);
        *x = next;
    };
    // A stack: what was put on it last comes off first.
    let (turns, last) = codes.as_chunks::<TURNS>();
    state.iter_mut().zip(last).rev().for_each(|(x, &code)| one(x, code));
    #[cfg(target_arch = "x86_64")]
    let turns = match TURNS / LANES {
        vectors @ (1 | 2) if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") => {
            let (turns, words) = (turns.as_flattened().as_chunks().0, &mut words[count..]);
            let state = state.as_chunks_mut().0;
            // SAFETY: the processor was just asked.
            count += unsafe {
                match vectors {
                    1 => bell_lanes::encode(shares, turns.as_chunks::<1>().0, one_chunk(state), words),
                    _ => bell_lanes::encode(shares, turns.as_chunks::<2>().0, one_chunk(state), words),
                }
            };
            &[]
        }
        _ => turns,
    };
    for turn in turns.iter().rev() {
        for i in (0..TURNS).rev() {
            words[count] = state[i] as u16;
            let (next, away) = put(shares[usize::from(turn[i]) % CODES], state[i]);
            count += usize::from(away);
            state[i] = next;
        }
    }
    let mut coded = Vec::with_capacity(STATE_BYTES * TURNS + WORD_BYTES * count);
    state.iter().for_each(|x| coded.extend_from_slice(&x.to_le_bytes()));
    words[..count].iter().for_each(|word| coded.extend_from_slice(&word.to_le_bytes()));
    coded
}

/// A slice of as many as an array has.
#[cfg(target_arch = "x86_64")]
fn one_chunk<T, const COUNT: usize>(all: &mut [T]) -> &mut [T; COUNT] {
    all.first_chunk_mut().expect("as many as there are states")
}

/// Undoes [`encode`]: `set` says how the channels of a row are coded, where they are not as in the row before, and `take` gets
/// its codes. All words must be used up.
pub(crate) fn decode(
    coded: &[u8],
    (rows, hidden): (usize, usize),
    set: impl FnMut(usize, &mut BellChannels),
    take: impl FnMut(usize, &BellChannels, &[u16]) -> Result<()>,
) -> Result<()> {
    match states(rows * hidden) {
        1 => decode_turns::<1>(coded, (rows, hidden), set, take),
        2 => decode_turns::<2>(coded, (rows, hidden), set, take),
        4 => decode_turns::<4>(coded, (rows, hidden), set, take),
        LANES => decode_turns::<LANES>(coded, (rows, hidden), set, take),
        _ => decode_turns::<{ 2 * LANES }>(coded, (rows, hidden), set, take),
    }
}

fn decode_turns<const TURNS: usize>(
    coded: &[u8],
    (rows, hidden): (usize, usize),
    mut set: impl FnMut(usize, &mut BellChannels),
    mut take: impl FnMut(usize, &BellChannels, &[u16]) -> Result<()>,
) -> Result<()> {
    let places = &BELLS.places;
    let (heads, words) = coded.split_at(STATE_BYTES * TURNS);
    let mut state = [START; TURNS];
    for (x, head) in state.iter_mut().zip(heads.as_chunks::<STATE_BYTES>().0) {
        *x = u32::from_le_bytes(*head);
        let states = START..START << 16;
        ensure!(states.contains(x), "packet field states: {x} is not in {states:?}");
    }
    let (words, _) = words.as_chunks::<WORD_BYTES>();
    let mut left = words.len();
    let mut short = false;
    let mut channels = BellChannels::default();
    let mut codes = Scratch::new(hidden);
    codes.resize(hidden, 0u16);
    for row in 0..rows {
        set(row, &mut channels);
        let zeros = &channels.zeros[..hidden];
        let (turns, last) = codes.as_chunks_mut::<TURNS>();
        let (zero_turns, zero_last) = zeros.as_chunks::<TURNS>();
        let mut done = 0;
        #[cfg(target_arch = "x86_64")]
        if TURNS >= LANES && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
            let (lanes, zeros) = (turns.as_flattened_mut().as_chunks_mut().0, zero_turns.as_flattened().as_chunks().0);
            let state = state.as_chunks_mut().0;
            // SAFETY: the processor was just asked.
            done = unsafe {
                match state.len() {
                    1 => {
                        let (lanes, zeros) = (lanes.as_chunks_mut::<1>().0, zeros.as_chunks::<1>().0);
                        bell_lanes::decode(places, lanes, zeros, one_chunk(state), words, &mut left)
                    }
                    _ => {
                        let (lanes, zeros) = (lanes.as_chunks_mut::<2>().0, zeros.as_chunks::<2>().0);
                        bell_lanes::decode(places, lanes, zeros, one_chunk(state), words, &mut left)
                    }
                }
            };
        }
        let mut turn = state;
        for (codes, zeros) in turns.iter_mut().zip(zero_turns).skip(done) {
            // Words of this turn, the last one first; behind the first word come zeros, with which states stay too small.
            let mut window = [[0; WORD_BYTES]; TURNS];
            match words[..left].last_chunk::<TURNS>() {
                Some(last) => window = *last,
                None => window[TURNS - left..].copy_from_slice(&words[..left]),
            }
            let mut used = 0;
            for i in 0..TURNS {
                let (next, code) = step(places, turn[i], zeros[i]);
                let wants = next < START;
                let word = u16::from_le_bytes(window[(TURNS - 1 - used) % TURNS]);
                turn[i] = if wants { next << 16 | u32::from(word) } else { next };
                used += usize::from(wants);
                codes[i] = code;
            }
            short |= used > left;
            left = left.saturating_sub(used);
        }
        for (i, (code, &zero)) in last.iter_mut().zip(zero_last).enumerate() {
            let (next, own) = step(places, turn[i], zero);
            *code = own;
            turn[i] = next;
            if next < START {
                short |= left == 0;
                left = left.saturating_sub(1);
                let word = words.get(left).copied().unwrap_or_default();
                turn[i] = next << 16 | u32::from(u16::from_le_bytes(word));
            }
        }
        state = turn;
        // The state whose turn it is comes first in the next row.
        state.rotate_left(hidden % TURNS);
        take(row, &channels, &codes)?;
    }
    ensure!(!short, "packet field coded words: they end early");
    ensure!(
        left == 0 && state.iter().all(|x| *x == START),
        "packet field coded words: they do not end with the last value"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn tables_sum_up_and_means_lie_where_numbers_do() {
        let bells = &*BELLS;
        for table in 0..TABLES {
            let shares = &bells.shares[table * SYMBOLS..][..SYMBOLS];
            let frequency = |symbol: usize| shares[symbol][0] as usize >> 20;
            assert_eq!((0..SYMBOLS).map(frequency).sum::<usize>(), TOTAL, "table {table}");
            assert!(frequency(ESCAPE) > 0 && frequency(symbol(0)) > 0, "table {table}");
            for magnitude in 1..=LARGEST {
                // Codes of their own have those up to the largest, and no others.
                let coded = frequency(symbol(magnitude)) > 0;
                assert_eq!(coded, magnitude <= bells.most[table], "table {table}, {magnitude}");
                // Means lie where the numbers do that are rounded to them.
                let off = f64::from(bells.means[table * SYMBOLS + symbol(magnitude)]) - f64::from(magnitude);
                assert!(
                    (ROUND_DOWN - 1.0 - 1e-6..=ROUND_DOWN + 1e-6).contains(&off),
                    "table {table}, {magnitude}: {off}"
                );
            }
        }
        assert!((below(1.0) - 0.81305).abs() < 1e-4 && (below(-2.0) - 0.05806).abs() < 1e-4);
    }

    #[test]
    fn states_are_those_of_a_division() {
        for frequency in 1..TOTAL as u32 {
            for start in [0, TOTAL as u32 - frequency] {
                let share = share(frequency as usize, start as usize);
                let top = frequency << (31 - PRECISION);
                for state in [START, START + 1, top / 3, top - 1, top, top + 77_777, (START << 16) - 1] {
                    let rest = if state >= top { state >> 16 } else { state };
                    let expected = rest / frequency * TOTAL as u32 + rest % frequency + start;
                    assert_eq!(put(share, state.max(1)), (expected, state >= top), "{state} by {frequency}");
                }
            }
        }
    }

    /// As the wire format says it.
    fn one_after_another(codes: &[u16]) -> Vec<u8> {
        let turns = states(codes.len());
        let (mut states, mut words) = (vec![START; turns], Vec::new());
        for (i, &code) in codes.iter().enumerate().rev() {
            let x = &mut states[i % turns];
            let (next, away) = put(BELLS.shares[usize::from(code)], *x);
            words.extend(away.then_some(*x as u16));
            *x = next;
        }
        let words = words.into_iter().flat_map(u16::to_le_bytes);
        states.into_iter().flat_map(u32::to_le_bytes).chain(words).collect()
    }

    #[test]
    fn integers_return_and_take_what_was_counted() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (rows, hidden) in
            [(1, 1), (1, 300), (3, 40), (1, 1030), (40, 251), (100, 201), (100, 208), (330, 201), (330, 208)]
        {
            let spreads: Vec<i32> =
                (0..hidden).map(|_| rng.random_range(-15 * STEPS as i32..15 * STEPS as i32)).collect();
            let mut channels = BellChannels::default();
            channels.set(&spreads, 0);
            let mut draw = |at: usize| {
                let spread = 2f64.powf(f64::from(spreads[at % hidden]) / STEPS as f64);
                let far = if rng.random_bool(0.01) { 100.0 } else { 1.0 };
                (rng.random_range(-2.0..2.0) * spread * far) as f32
            };
            let values: Vec<f32> = (0..rows * hidden).map(&mut draw).collect();
            let (mut codes, mut beside) = (vec![0; values.len()], Vec::new());
            let mut bits = BitWriter::new(&mut beside);
            let mut counted = 0;
            for (values, codes) in values.chunks(hidden).zip(codes.chunks_mut(hidden)) {
                channels.round(0, values, 1.0, codes);
                channels.put_beside(values, 1.0, codes, &mut bits);
                counted += channels.cost(0, values, 1.0, codes) + channels.plain_cost();
            }
            bits.finish();
            let coded = encode(&codes);
            assert!(coded == one_after_another(&codes), "{rows} x {hidden}");
            let read = |coded: &[u8], beside: &[u8]| {
                let (mut back, mut bits) = (vec![0f32; values.len()], BitReader::new(beside, "plain bits"));
                let set = |_: usize, own: &mut BellChannels| own.clone_from(&channels);
                decode(coded, (rows, hidden), set, |row, channels, codes| {
                    channels.take_row(codes, &mut bits, &mut back[row * hidden..][..hidden])
                })?;
                ensure!(bits.only_padding_left(), "bits are left");
                Ok(back)
            };
            let back = read(&coded, &beside).unwrap();
            for (at, (&back, &value)) in back.iter().zip(&values).enumerate() {
                let sent = integer(value, 1.0);
                // Small ones come back as a mean, at most 0.6 away.
                assert!((back - sent as f32).abs() <= 0.601 && (sent != 0 || back == 0.0), "{at}: {value} as {back}");
            }
            let (counted, sent) = (counted as f64 / BIT as f64 / 8.0, (coded.len() + beside.len()) as f64);
            let heads = (STATE_BYTES * states(values.len())) as f64;
            assert!((sent - counted).abs() <= 0.003 * counted + heads + 5.0, "{sent} bytes, {counted} counted");
            if coded.len() > STATE_BYTES * states(values.len()) {
                assert!(read(&coded[..coded.len() - 2], &beside).is_err());
            }
            if !beside.is_empty() {
                assert!(read(&coded, &beside[..beside.len() / 2]).is_err());
            }
        }
    }
}
