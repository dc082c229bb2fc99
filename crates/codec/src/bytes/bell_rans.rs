//! Entropy coding of rounded numbers whose spreads both sides know: a static range asymmetric numeral system (rANS, Duda
//! 2013) with one table of frequencies per quarter octave of spread, so that no table is sent.
//!
//! Tables follow Student's t with four degrees of freedom: rows of language models have heavier tails than a normal
//! distribution. Its distribution function has a closed form of sums, products, quotients and a square root, which IEEE
//! 754 rounds alike everywhere, so both sides have the same tables on any processor.

use std::sync::LazyLock;

use anyhow::{Result, ensure};

use crate::bytes::bitstream::{BitReader, BitWriter};
use crate::bytes::buffers::Scratch;
use crate::vector::{Vector, dispatch};

/// Frequencies of a table sum to 2^12: the places of the tables in use stay in a level-two cache.
const PRECISION: u32 = 12;
const TOTAL: usize = 1 << PRECISION;

/// Integers with a code of their own: up to this magnitude.
const LARGEST: i32 = 63;
/// Integers without one come as bits beside the code of this symbol.
const ESCAPE: usize = 0;
const SYMBOLS: usize = 2 * LARGEST as usize + 2;
/// Symbols of all tables.
const CODES: usize = SYMBOLS * TABLES;
/// Places of all tables.
const PLACES: usize = TOTAL * TABLES;

/// Of the reciprocals: frequencies are below 2^12 and states below 2^20 frequencies, so 44 bits divide exactly, and products
/// stay below 2^64.
const DIVISION: u32 = 44;

/// Tables per octave of spread, the first for a spread of 2^-5 steps: below it, a table says no less than "zero".
const PER_OCTAVE: i32 = 4;
const FIRST: i32 = -5 * PER_OCTAVE;
const TABLES: usize = 32;

/// A number is rounded down in magnitude up to this far above an integer: a dead zone. Zero is the cheapest code.
const ROUND_DOWN: f64 = 0.6;

/// A state before the first integer is put on and after the last is taken off; between, it is no smaller.
const START: u32 = 1 << 16;

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
#[derive(Clone, Copy, Default)]
struct SymbolShare {
    /// 2^44 over the frequency, rounded up: a product with it divides a state exactly.
    reciprocal: u64,
    /// A state from here on gives a word away first.
    limit: u32,
    /// 4096 less the frequency.
    rest: u16,
    start: u16,
}

/// One of the 4096 places of a table, as the decoder wants it: one look-up.
#[derive(Clone, Copy, Default)]
struct BellPlace(u32);

impl BellPlace {
    /// Of a symbol with this frequency, so far behind the symbol's first place.
    fn new(symbol: usize, frequency: usize, offset: usize) -> Self {
        Self((symbol << (2 * PRECISION) | frequency << PRECISION | offset) as u32)
    }

    #[inline(always)]
    fn symbol(self) -> usize {
        (self.0 >> (2 * PRECISION)) as usize
    }

    #[inline(always)]
    fn frequency(self) -> u32 {
        self.0 >> PRECISION & (TOTAL as u32 - 1)
    }

    #[inline(always)]
    fn offset(self) -> u32 {
        self.0 & (TOTAL as u32 - 1)
    }
}

/// All tables one behind the other: a symbol's place in them is its code.
struct BellTables {
    shares: Box<[SymbolShare; CODES]>,
    /// In parts of a bit, without those beside an escape.
    costs: Box<[u16; CODES]>,
    /// What an integer comes back as: the mean of the numbers that were rounded to it.
    means: Box<[f32; CODES]>,
    /// Table after table.
    places: Box<[BellPlace; PLACES]>,
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
            shares: Box::new([SymbolShare::default(); CODES]),
            costs: Box::new([0; CODES]),
            means: Box::new([0.0; CODES]),
            places: vec![BellPlace::default(); PLACES].try_into().unwrap_or_else(|_| unreachable!("as many as were asked for")),
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
            self.shares[code(symbol)] = SymbolShare {
                reciprocal: (1u64 << DIVISION).div_ceil(frequency as u64),
                limit: (frequency as u32) << (32 - PRECISION),
                rest: (TOTAL - frequency) as u16,
                start: start as u16,
            };
            for offset in 0..frequency {
                self.places[at * TOTAL + start + offset] = BellPlace::new(symbol, frequency, offset);
            }
            start += frequency;
        }
    }
}

fn symbol(integer: i32) -> usize {
    (integer + LARGEST + 1) as usize
}

/// Whether a code is that of an escape.
fn is_escape(code: u16) -> bool {
    usize::from(code).is_multiple_of(SYMBOLS)
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

/// The table and the lowest bits that are plain, of a spread of 2^(quarters / 4) steps.
#[inline(always)]
fn table(quarters: i32) -> (i32, i32) {
    // Beyond the last table the lowest bits are as good as random.
    let last = FIRST + TABLES as i32 - 1;
    let plain = ((quarters - last).max(0) + PER_OCTAVE - 1) / PER_OCTAVE;
    ((quarters - PER_OCTAVE * plain).max(FIRST) - FIRST, plain.min(MAGNITUDE_BITS as i32))
}

/// Bits of an integer on average, of a spread of 2^(quarters / 4) steps.
pub(crate) fn entropy(quarters: i32) -> f64 {
    let (table, plain) = table(quarters);
    BELLS.entropies[table as usize] + f64::from(plain)
}

impl BellChannels {
    /// For channels with spreads of 2^(quarters / 4) steps.
    pub fn set(&mut self, quarters: impl ExactSizeIterator<Item = i32>) {
        let bells = &*BELLS;
        self.zeros.clear();
        self.plain.clear();
        for quarters in quarters {
            let (table, plain) = table(quarters);
            self.zeros.push(table * SYMBOLS as i32 + symbol(0) as i32);
            self.plain.push(plain as u8);
        }
        self.most.clear();
        self.most.extend(self.zeros.iter().map(|&zero| bells.most[zero as usize / SYMBOLS % TABLES]));
        self.with_plain.clear();
        self.plain_bits = 0;
        for (channel, &plain) in self.plain.iter().enumerate().filter(|(_, plain)| **plain > 0) {
            self.with_plain.push(channel as u32);
            self.plain_bits += u64::from(plain);
        }
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
        let (zeros, most, plain) =
            (&self.zeros[channels.clone()], &self.most[channels.clone()], &self.plain[channels]);
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
        escapes(codes, |at| {
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
        escapes(codes, |channel| {
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
        escapes(codes, |channel| {
            if read.is_ok() {
                read = escaped(bits).map(|integer| out[channel] = integer as f32);
            }
        });
        read?;
        for &channel in &self.with_plain {
            let channel = channel as usize;
            let plain = self.plain[channel];
            let code = codes[channel];
            let high = if is_escape(code) { out[channel] as i64 } else { i64::from(code) - i64::from(self.zeros[channel]) };
            let whole = (high << plain) + bits.take(plain)? as i64 - ((1i64 << plain) >> 1);
            ensure!(whole.abs() <= 1 << (MAGNITUDE_BITS + 1), "packet field plain bits: {whole} steps in a value");
            out[channel] = whole as f32;
        }
        Ok(())
    }
}

impl BellTables {
    /// The state before its last code was put on it, without a word that it gave away, and that code: of the table whose code
    /// of zero this is.
    #[inline(always)]
    fn step(&self, state: u32, zero: i32) -> (u32, u16) {
        let table = zero as usize / SYMBOLS;
        let place = self.places[(table * TOTAL + state as usize % TOTAL) % PLACES];
        (place.frequency() * (state >> PRECISION) + place.offset(), (table * SYMBOLS + place.symbol()) as u16)
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

/// Calls `each` with the places of escapes.
#[inline(always)]
fn escapes(codes: &[u16], mut each: impl FnMut(usize)) {
    // They are rare: most blocks are passed over by one comparison of vectors.
    const BLOCK: usize = 32;
    for (block, codes) in codes.chunks(BLOCK).enumerate() {
        if codes.iter().fold(false, |some, &code| some | is_escape(code)) {
            (0..codes.len()).filter(|&i| is_escape(codes[i])).for_each(|i| each(block * BLOCK + i));
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
        _ => 4,
    }
}

/// The states and words of codes.
pub(crate) fn encode(codes: &[u16]) -> Vec<u8> {
    match states(codes.len()) {
        1 => encode_turns::<1>(codes),
        2 => encode_turns::<2>(codes),
        _ => encode_turns::<4>(codes),
    }
}

fn encode_turns<const TURNS: usize>(codes: &[u16]) -> Vec<u8> {
    let shares = &BELLS.shares;
    let mut words = Scratch::new(codes.len());
    words.resize(codes.len(), 0u16);
    let mut count = 0;
    let mut state = [START; TURNS];
    let mut put = |x: u32, code: u16| {
        let share = &shares[usize::from(code) % CODES];
        // The word is written in any case, and counts where the state gave it away: no branch that could be foreseen wrong.
        // SAFETY: so far fewer were counted than codes were put, of which there are as many as words.
        unsafe { *words.get_unchecked_mut(count) = x as u16 };
        let away = x >= share.limit;
        count += usize::from(away);
        let rest = if away { x >> 16 } else { x };
        // Division by multiplication (Granlund and Montgomery 1994): exact where the state is below 2^20 frequencies.
        let quotient = ((u64::from(rest) * share.reciprocal) >> DIVISION) as u32;
        quotient * u32::from(share.rest) + rest + u32::from(share.start)
    };
    // A stack: what was put on it last comes off first.
    let (turns, last) = codes.as_chunks::<TURNS>();
    for (x, &code) in state.iter_mut().zip(last).rev() {
        *x = put(*x, code);
    }
    for turn in turns.iter().rev() {
        for i in (0..TURNS).rev() {
            state[i] = put(state[i], turn[i]);
        }
    }
    let mut coded = Vec::with_capacity(STATE_BYTES * TURNS + WORD_BYTES * count);
    state.iter().for_each(|x| coded.extend_from_slice(&x.to_le_bytes()));
    words[..count].iter().for_each(|word| coded.extend_from_slice(&word.to_le_bytes()));
    coded
}

/// Undoes [`encode`], of rows with these channels: hands each row's codes to `take`. All words must be used up.
pub(crate) fn decode<'a>(
    coded: &[u8],
    (rows, hidden): (usize, usize),
    channels: impl Fn(usize) -> &'a BellChannels,
    take: impl FnMut(usize, &[u16]) -> Result<()>,
) -> Result<()> {
    match states(rows * hidden) {
        1 => decode_turns::<1>(coded, (rows, hidden), channels, take),
        2 => decode_turns::<2>(coded, (rows, hidden), channels, take),
        _ => decode_turns::<4>(coded, (rows, hidden), channels, take),
    }
}

fn decode_turns<'a, const TURNS: usize>(
    coded: &[u8],
    (rows, hidden): (usize, usize),
    channels: impl Fn(usize) -> &'a BellChannels,
    mut take: impl FnMut(usize, &[u16]) -> Result<()>,
) -> Result<()> {
    let bells = &*BELLS;
    let (heads, words) = coded.split_at(STATE_BYTES * TURNS);
    let mut state = [START; TURNS];
    for (x, head) in state.iter_mut().zip(heads.as_chunks::<STATE_BYTES>().0) {
        *x = u32::from_le_bytes(*head);
        ensure!(*x >= START, "packet field states: {x} is below {START}");
    }
    let (words, _) = words.as_chunks::<WORD_BYTES>();
    let mut left = words.len();
    let mut short = false;
    let mut codes = Scratch::new(hidden);
    codes.resize(hidden, 0u16);
    for row in 0..rows {
        let zeros = &channels(row).zeros[..hidden];
        let (turns, last) = codes.as_chunks_mut::<TURNS>();
        let (zero_turns, zero_last) = zeros.as_chunks::<TURNS>();
        let mut turn = state;
        for (codes, zeros) in turns.iter_mut().zip(zero_turns) {
            // Words of this turn, the last one first; behind the first word come zeros, with which states stay too small.
            let mut window = [[0; WORD_BYTES]; TURNS];
            match words[..left].last_chunk::<TURNS>() {
                Some(last) => window = *last,
                None => window[TURNS - left..].copy_from_slice(&words[..left]),
            }
            let mut used = 0;
            for i in 0..TURNS {
                let (next, code) = bells.step(turn[i], zeros[i]);
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
            let (next, own) = bells.step(turn[i], zero);
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
        take(row, &codes)?;
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
            let frequency = |symbol: usize| shares[symbol].limit as usize >> (32 - PRECISION);
            assert_eq!((0..SYMBOLS).map(frequency).sum::<usize>(), TOTAL, "table {table}");
            assert!(frequency(ESCAPE) > 0 && frequency(symbol(0)) > 0, "table {table}");
            for magnitude in 1..=LARGEST {
                // Codes of their own have those up to the largest, and no others.
                let coded = frequency(symbol(magnitude)) > 0;
                assert_eq!(coded, magnitude <= bells.most[table], "table {table}, {magnitude}");
                // Means lie where the numbers do that are rounded to them.
                let off = f64::from(bells.means[table * SYMBOLS + symbol(magnitude)]) - f64::from(magnitude);
                assert!((ROUND_DOWN - 1.0 - 1e-6..=ROUND_DOWN + 1e-6).contains(&off), "table {table}, {magnitude}: {off}");
            }
        }
        assert!((below(1.0) - 0.81305).abs() < 1e-4 && (below(-2.0) - 0.05806).abs() < 1e-4);
    }

    /// Where a state is below 2^20 frequencies.
    #[test]
    fn products_with_reciprocals_divide() {
        for share in BELLS.shares.iter().filter(|share| share.limit > 0) {
            let frequency = u64::from(share.limit >> (32 - PRECISION));
            for state in [1, frequency - 1, frequency, frequency * 77_777, u64::from(share.limit) - 1] {
                for state in [state.saturating_sub(1), state] {
                    assert_eq!(state * share.reciprocal >> DIVISION, state / frequency, "{state} by {frequency}");
                }
            }
        }
    }

    #[test]
    fn integers_return_and_take_what_was_counted() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (rows, hidden) in [(1, 1), (1, 300), (3, 40), (1, 1030), (5, 301), (40, 251), (40, 252)] {
            let quarters: Vec<i32> = (0..hidden).map(|_| rng.random_range(-60..60)).collect();
            let mut channels = BellChannels::default();
            channels.set(quarters.iter().copied());
            let mut draw = |at: usize| {
                let spread = 2f64.powf(f64::from(quarters[at % hidden]) / 4.0);
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
            let read = |coded: &[u8], beside: &[u8]| {
                let (mut back, mut bits) = (vec![0f32; values.len()], BitReader::new(beside, "plain bits"));
                decode(coded, (rows, hidden), |_| &channels, |row, codes| {
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
