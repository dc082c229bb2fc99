//! Entropy coding of rounded numbers whose spreads both sides know: a static range asymmetric numeral system (rANS, Duda
//! 2013) with one table of frequencies per quarter octave of spread, so that no table is sent.
//!
//! Tables follow Student's t with four degrees of freedom: rows of language models have heavier tails than a normal
//! distribution. Its distribution function has a closed form of sums, products, quotients and a square root, which IEEE
//! 754 rounds alike everywhere, so both sides have the same tables on any processor.

use std::sync::LazyLock;

use anyhow::{Result, ensure};

use crate::bytes::bitstream::{BitReader, BitWriter};

/// Frequencies of a table sum to 2^12: a look-up of 4096 places for each of 32 tables stays in a level-two cache.
const PRECISION: u32 = 12;
const TOTAL: usize = 1 << PRECISION;

/// Integers with a code of their own: up to this magnitude.
const LARGEST: i32 = 63;
/// Integers without one come as bits beside the code of this symbol.
const ESCAPE: usize = 0;
const SYMBOLS: usize = 2 * LARGEST as usize + 2;

/// Tables per octave of spread, the first for a spread of 2^-5 steps: below it, a table says no less than "zero".
const PER_OCTAVE: i32 = 4;
const FIRST: i32 = -5 * PER_OCTAVE;
const TABLES: usize = 32;

/// A number is rounded down in magnitude up to this far above an integer: a dead zone. Zero is the cheapest code.
pub(crate) const ROUND_DOWN: f64 = 0.6;

/// A state before the first integer is put on and after the last is taken off; between, it is no smaller.
const START: u32 = 1 << 16;

/// Bytes of a state.
pub(crate) const STATE_BYTES: usize = 4;
/// Bytes of a word.
pub(crate) const WORD_BYTES: usize = 2;

/// Magnitudes stay below 2^24, which f32 holds.
const MAGNITUDE_BITS: u32 = 24;
pub(crate) const MOST: f32 = ((1u32 << MAGNITUDE_BITS) - 1) as f32;

/// Parts of a bit in which costs are counted.
pub(crate) const BIT: u64 = 256;

/// A symbol as the encoder wants it.
#[derive(Clone, Copy, Default)]
struct SymbolShare {
    /// 2^63 over the frequency, rounded up: a product with it divides a state exactly.
    reciprocal: u64,
    /// Of 4096; zero where the symbol is an escape's.
    frequency: u16,
    start: u16,
}

/// What one spread needs.
struct BellTable {
    shares: [SymbolShare; SYMBOLS],
    /// In parts of a bit, those beside an escape included.
    costs: [u16; SYMBOLS],
    /// The symbol at each of 4096 places.
    places: Vec<u8>,
    /// What a magnitude comes back as: the mean of the numbers that were rounded to it.
    means: [f32; LARGEST as usize + 1],
    /// Bits of an integer on average.
    entropy: f64,
}

static BELLS: LazyLock<Vec<BellTable>> = LazyLock::new(|| (0..TABLES).map(bell_table).collect());

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

fn bell_table(at: usize) -> BellTable {
    // 2^(1/4) by square roots, which are exact to the last bit; powers of two besides.
    let quarter = 2f64.sqrt().sqrt();
    let octaves = at as i32 + FIRST;
    let spread = (0..octaves.rem_euclid(PER_OCTAVE)).fold(1.0, |product, _| product * quarter)
        * 2f64.powi(octaves.div_euclid(PER_OCTAVE));
    let from = |magnitude: i32| (f64::from(magnitude) - 1.0 + ROUND_DOWN) / spread;
    let mut frequencies = [0usize; SYMBOLS];
    let mut means = [0f32; LARGEST as usize + 1];
    for magnitude in 1..=LARGEST {
        let (low, high) = (from(magnitude), from(magnitude + 1));
        let share = below(high) - below(low);
        let frequency = (share * TOTAL as f64 + 0.5) as usize;
        frequencies[symbol(magnitude)] = frequency;
        frequencies[symbol(-magnitude)] = frequency;
        // Far out the differences lose their bits; the middle is as good there.
        let mean = if share > 1e-9 { (sum_above(low) - sum_above(high)) / share * spread } else { 0.0 };
        let middle = f64::from(magnitude) - 0.5 + ROUND_DOWN;
        let inside = (mean - middle).abs() <= 0.5;
        means[magnitude as usize] = if inside { mean } else { f64::from(magnitude) } as f32;
    }
    // Rare integers have no code of their own and share the escape's.
    let coded: usize = frequencies.iter().sum();
    let zero = ((below(from(1)) - below(-from(1))) * TOTAL as f64) as usize;
    frequencies[ESCAPE] = TOTAL.saturating_sub(coded + zero).max(1);
    frequencies[symbol(0)] = TOTAL - coded - frequencies[ESCAPE];
    let mut table = BellTable {
        shares: [SymbolShare::default(); SYMBOLS],
        costs: [0; SYMBOLS],
        places: Vec::with_capacity(TOTAL),
        means,
        entropy: 0.0,
    };
    let escape_bits = (TOTAL as f64 / frequencies[ESCAPE] as f64).log2();
    for (symbol, &frequency) in frequencies.iter().enumerate() {
        let magnitude = (symbol as i32 - LARGEST - 1).unsigned_abs();
        let bits = match frequency {
            // By the escape's code, and beside it.
            0 => escape_bits + f64::from(escape_cost(magnitude)),
            _ => (TOTAL as f64 / frequency as f64).log2(),
        };
        table.costs[symbol] = (bits * BIT as f64).round() as u16;
        let beside = if symbol == ESCAPE { f64::from(escape_cost(LARGEST as u32)) } else { 0.0 };
        table.entropy += (bits + beside) * frequency as f64 / TOTAL as f64;
        if frequency > 0 {
            table.shares[symbol] = SymbolShare {
                reciprocal: (1u64 << 63).div_ceil(frequency as u64),
                frequency: frequency as u16,
                start: table.places.len() as u16,
            };
            table.places.extend(std::iter::repeat_n(symbol as u8, frequency));
        }
    }
    table
}

fn symbol(integer: i32) -> usize {
    (integer + LARGEST + 1) as usize
}

/// Bits beside an escape: sign, length, magnitude.
fn escape_cost(magnitude: u32) -> u32 {
    1 + 5 + (32 - magnitude.leading_zeros())
}

/// How the integers of one channel are coded: by the spread of what is rounded, in steps.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spread {
    table: u8,
    /// Lowest bits that are sent as they are.
    plain: u8,
}

impl Spread {
    /// Of 2^(quarters / 4) steps.
    pub fn new(quarters: i32) -> Self {
        // Beyond the last table the lowest bits are as good as random.
        let last = FIRST + TABLES as i32 - 1;
        let plain = ((quarters - last).max(0) + PER_OCTAVE - 1) / PER_OCTAVE;
        let table = (quarters - PER_OCTAVE * plain).max(FIRST) - FIRST;
        Self { table: table as u8, plain: plain.min(MAGNITUDE_BITS as i32) as u8 }
    }

    /// Bits of an integer on average.
    pub fn entropy(self) -> f64 {
        BELLS[usize::from(self.table)].entropy + f64::from(self.plain)
    }

    /// The part of an integer that has a code, and its lowest bits.
    fn divide(self, integer: i32) -> (i32, u32) {
        let moved = integer + ((1 << self.plain) >> 1);
        (moved >> self.plain, (moved & ((1 << self.plain) - 1)) as u32)
    }

    /// What an integer comes back as, in steps.
    pub fn value(self, integer: i32) -> f32 {
        let magnitude = integer.unsigned_abs() as usize;
        if self.plain > 0 || magnitude > LARGEST as usize {
            return integer as f32;
        }
        let mean = BELLS[usize::from(self.table)].means[magnitude];
        if integer < 0 { -mean } else { mean }
    }
}

/// Parts of a bit that a row of integers takes.
pub(crate) fn cost(integers: &[i32], spreads: &[Spread]) -> u64 {
    let bells = &*BELLS;
    let mut sum = 0u64;
    for (&integer, &spread) in integers.iter().zip(spreads) {
        let (high, _) = spread.divide(integer);
        let table = &bells[usize::from(spread.table)];
        sum += u64::from(spread.plain) * BIT;
        sum += if high.abs() <= LARGEST {
            u64::from(table.costs[symbol(high)])
        } else {
            u64::from(table.costs[ESCAPE]) + u64::from(escape_cost(high.unsigned_abs())) * BIT
        };
    }
    sum
}

/// States that take turns: two, of which one is computed while the other waits, where their bytes hardly count.
pub(crate) fn states(integers: usize) -> usize {
    if integers < 4096 { 1 } else { 2 }
}

/// Rows of integers, each row by the spreads of its channels: states and words, and the bits beside them.
pub(crate) fn encode<'a>(integers: &[i32], hidden: usize, spreads: impl Fn(usize) -> &'a [Spread]) -> [Vec<u8>; 2] {
    let bells = &*BELLS;
    let mut beside = Vec::new();
    let mut bits = BitWriter::new(&mut beside);
    for (row, integers) in integers.chunks_exact(hidden).enumerate() {
        for (&integer, &spread) in integers.iter().zip(spreads(row)) {
            let (high, low) = spread.divide(integer);
            if high.abs() > LARGEST || bells[usize::from(spread.table)].shares[symbol(high)].frequency == 0 {
                let magnitude = high.unsigned_abs();
                let length = 32 - magnitude.leading_zeros();
                bits.put(u32::from(high < 0) | length << 1, 6);
                bits.put(magnitude, length);
            }
            if spread.plain > 0 {
                bits.put(low, spread.plain.into());
            }
        }
    }
    bits.finish();

    let mut words: Vec<u16> = Vec::with_capacity(integers.len() / 4);
    let turns = states(integers.len());
    let mut state = [START; 2];
    // A stack: what was put on it last comes off first.
    for (row, integers) in integers.chunks_exact(hidden).enumerate().rev() {
        let spreads = spreads(row);
        for channel in (0..hidden).rev() {
            let (high, _) = spreads[channel].divide(integers[channel]);
            let table = &bells[usize::from(spreads[channel].table)];
            let mut share = table.shares[if high.abs() <= LARGEST { symbol(high) } else { ESCAPE }];
            if share.frequency == 0 {
                share = table.shares[ESCAPE];
            }
            let x = &mut state[(row * hidden + channel) & (turns - 1)];
            if *x >= u32::from(share.frequency) << (32 - PRECISION) {
                words.push(*x as u16);
                *x >>= 16;
            }
            // Division by multiplication (Granlund and Montgomery 1994), exact for 32 bits by 12.
            let quotient = ((u128::from(*x) * 2 * u128::from(share.reciprocal)) >> 64) as u32;
            *x = (quotient << PRECISION) + (*x - quotient * u32::from(share.frequency)) + u32::from(share.start);
        }
    }
    let mut coded = Vec::with_capacity(STATE_BYTES * turns + WORD_BYTES * words.len());
    state[..turns].iter().for_each(|x| coded.extend_from_slice(&x.to_le_bytes()));
    words.iter().for_each(|word| coded.extend_from_slice(&word.to_le_bytes()));
    [coded, beside]
}

/// Undoes [`encode`]: hands each integer to `take`, in order. All words and bits must be used up.
pub(crate) fn decode<'a>(
    [coded, beside]: [&[u8]; 2],
    (rows, hidden): (usize, usize),
    spreads: impl Fn(usize) -> &'a [Spread],
    mut take: impl FnMut(usize, usize, i32),
) -> Result<()> {
    let bells = &*BELLS;
    let turns = states(rows * hidden);
    let (heads, words) = coded.split_at(STATE_BYTES * turns);
    let mut state = [START; 2];
    for (x, head) in state.iter_mut().zip(heads.chunks_exact(STATE_BYTES)) {
        *x = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        ensure!(*x >= START, "packet field states: {x} is below {START}");
    }
    let mut words = words.chunks_exact(WORD_BYTES).rev();
    let mut bits = BitReader::new(beside, "plain bits");
    for row in 0..rows {
        for (channel, &spread) in spreads(row).iter().enumerate() {
            let table = &bells[usize::from(spread.table)];
            let x = &mut state[(row * hidden + channel) & (turns - 1)];
            let place = *x & (TOTAL as u32 - 1);
            let symbol = usize::from(table.places[place as usize]);
            let share = table.shares[symbol];
            *x = u32::from(share.frequency) * (*x >> PRECISION) + place - u32::from(share.start);
            if *x < START {
                let Some(word) = words.next() else { anyhow::bail!("packet field coded words: they end early") };
                *x = *x << 16 | u32::from(u16::from_le_bytes([word[0], word[1]]));
            }
            let mut integer = symbol as i32 - LARGEST - 1;
            if symbol == ESCAPE {
                let head = bits.take(6)? as u32;
                let length = head >> 1;
                ensure!(length <= MAGNITUDE_BITS + 1, "packet field plain bits: a magnitude of {length} bits");
                let magnitude = bits.take(length as u8)? as i32;
                integer = if head & 1 == 1 { -magnitude } else { magnitude };
            }
            if spread.plain > 0 {
                let low = bits.take(spread.plain)? as i64;
                let whole = (i64::from(integer) << spread.plain) + low - ((1i64 << spread.plain) >> 1);
                ensure!(whole.abs() <= 1 << (MAGNITUDE_BITS + 1), "packet field plain bits: {whole} steps in a value");
                integer = whole as i32;
            }
            take(row, channel, integer);
        }
    }
    ensure!(
        words.next().is_none() && state[..turns].iter().all(|x| *x == START),
        "packet field coded words: they do not end with the last value"
    );
    ensure!(bits.only_padding_left(), "packet field plain bits: they do not end with the last value");
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn tables_sum_up_and_lose_little_on_their_own_distribution() {
        for (at, table) in BELLS.iter().enumerate() {
            assert_eq!(table.places.len(), TOTAL, "table {at}");
            assert!(table.shares[ESCAPE].frequency > 0 && table.shares[symbol(0)].frequency > 0, "table {at}");
            // Means lie where the numbers do that are rounded to them.
            for magnitude in 1..=LARGEST as usize {
                let off = f64::from(table.means[magnitude]) - magnitude as f64;
                assert!((ROUND_DOWN - 1.0 - 1e-6..=ROUND_DOWN + 1e-6).contains(&off), "table {at}, {magnitude}: {off}");
            }
        }
        assert!((below(1.0) - 0.81305).abs() < 1e-4 && (below(-2.0) - 0.05806).abs() < 1e-4);
    }

    #[test]
    fn integers_return_and_take_what_was_counted() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (rows, hidden) in [(1, 1), (1, 300), (3, 40), (40, 150)] {
            let quarters: Vec<i32> = (0..hidden).map(|_| rng.random_range(-60..60)).collect();
            let spreads: Vec<Spread> = quarters.iter().map(|&q| Spread::new(q)).collect();
            let draw = |at: usize| {
                let spread = 2f64.powf(f64::from(quarters[at % hidden]) / 4.0);
                let far = if rng.random_bool(0.01) { 100.0 } else { 1.0 };
                (rng.random_range(-2.0..2.0) * spread * far) as i32
            };
            let integers: Vec<i32> = (0..rows * hidden).map(draw).collect();
            let [coded, beside] = encode(&integers, hidden, |_| &spreads);
            let mut back = vec![0; integers.len()];
            decode([&coded, &beside], (rows, hidden), |_| &spreads, |s, d, v| back[s * hidden + d] = v).unwrap();
            assert_eq!(back, integers);
            let counted = integers.chunks(hidden).map(|row| cost(row, &spreads)).sum::<u64>() as f64 / BIT as f64 / 8.0;
            let sent = (coded.len() + beside.len()) as f64;
            assert!((sent - counted).abs() <= 0.003 * counted + 9.0, "{sent} bytes, {counted} counted");
            for damaged in [[&coded[..coded.len() - 2], &beside[..]], [&coded[..], &beside[..beside.len() / 2]]] {
                let shorter = damaged[0].len() >= STATE_BYTES * states(rows * hidden);
                let whole = damaged[1].len() == beside.len() && damaged[0].len() == coded.len();
                assert!(!shorter || whole || decode(damaged, (rows, hidden), |_| &spreads, |_, _, _| ()).is_err());
            }
        }
    }
}
