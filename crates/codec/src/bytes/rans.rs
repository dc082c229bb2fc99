//! Entropy coding by frequencies: a static range asymmetric numeral system (rANS, Duda 2013), its frequencies in the
//! packet as integers.
//!
//! `constriction` turns symbols into words and back by integer arithmetic alone, given integer frequencies that sum to a
//! power of two; they are made and sent here, so no floating-point number has a part in what the decoder sees.

use anyhow::{Context, Result, anyhow, ensure};
use constriction::stream::Decode;
use constriction::stream::model::{ContiguousCategoricalEntropyModel, ContiguousLookupDecoderModel};
use constriction::stream::stack::DefaultAnsCoder;

use crate::bytes::bits::{self, Coding};
use crate::bytes::fields::{Reader, put_u32};

/// Frequencies sum to 2^14. A rare code takes at least 1/16384 of the whole from the others, 200 of them 1.2 %: 2^12 would
/// make that 5 %; and a table of 256 stays near 300 bytes.
const PRECISION: usize = 14;
const TOTAL: usize = 1 << PRECISION;

/// The state before the first code is put on and after the last is taken off: damage that changes what is read ends elsewhere.
const START: u64 = 1 << 32;

/// Bytes before the table: coding 1, bytes of the table 4, bytes of the words 4.
pub(crate) const HEADER_BYTES: u64 = 9;

/// Bytes of a coded word.
const WORD_BYTES: usize = 4;

type Encoder = ContiguousCategoricalEntropyModel<u16, Vec<u16>, PRECISION>;
type Decoder = ContiguousLookupDecoderModel<u16, Vec<u16>, Box<[u16]>, PRECISION>;

/// Codes below `symbols` as bytes: coding 1, bytes of the table 4, bytes of the words 4, table, words.
pub(crate) fn encode(codes: &[u8], symbols: usize) -> Result<Vec<u8>> {
    let frequencies = frequencies(&counts(codes, symbols));
    // The library's models take no frequency of zero, so codes are numbered among those that occur.
    let (present, index) = present(&frequencies);
    let model = Encoder::from_nonzero_fixed_point_probabilities(present.iter().map(|&s| frequencies[s] as u16), false)
        .map_err(|()| anyhow!("frequencies of codes do not sum to {TOTAL}"))?;
    let mut coder = DefaultAnsCoder::from_raw_parts(Vec::new(), START);
    // A stack: what was put on it last comes off first.
    coder
        .encode_iid_symbols_reverse(codes.iter().map(|&code| index[usize::from(code)]), &model)
        .map_err(|e| anyhow!("coding by frequencies: {e:?}"))?;
    let Ok(words) = coder.into_compressed();

    let (table, coding) = coded_table(&frequencies);
    let mut out = vec![coding.id];
    put_u32(&mut out, coding.bytes);
    put_u32(&mut out, words.len() * WORD_BYTES);
    bits::write(&mut out, &table, coding);
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    Ok(out)
}

/// The frequencies without the last: as gaps between positions they go through the coder of positions.
fn coded_table(frequencies: &[usize]) -> (Vec<u32>, Coding) {
    let table = cumulated(frequencies);
    let coding = bits::shortest(&table, table_positions(frequencies.len()));
    (table, coding)
}

/// The least and the most bytes that [`encode`] makes of codes that come `counts` times each; most often they are equal.
pub(crate) fn length_bounds(counts: &[usize]) -> (usize, usize) {
    let frequencies = frequencies(counts);
    let (_, coding) = coded_table(&frequencies);
    let information = |(&count, &f): (&usize, &usize)| count as f64 * (TOTAL as f64 / f as f64).log2();
    let bits: f64 = counts.iter().zip(&frequencies).filter(|(count, _)| **count > 0).map(information).sum();
    // A code of frequency f multiplies the state by 2^14/f. Before that the state is 2^18 f at least, so what is rounded
    // in a step, or cut off with a word, is at most 2^-18 of it either way: 1.45 times as much in bits, and some more for
    // the logarithms here.
    let n: usize = counts.iter().sum();
    let slack = (n as f64 + bits / 32.0) * 1.5 / f64::from(1u32 << 18) + 1e-3;
    // A word goes out for every 32 bits, and two are left in the state.
    let bytes = |bits: f64| HEADER_BYTES as usize + coding.bytes + ((bits / 32.0) as usize + 2) * WORD_BYTES;
    (bytes((bits - slack).max(0.0)), bytes(bits + slack))
}

/// The header's three fields.
fn own_header(reader: &mut Reader<'_>) -> Result<(Coding, usize)> {
    let id = reader.u8("table coding")?;
    let bytes = reader.u32("table bytes")? as usize;
    let words = reader.u32("coded bytes")? as usize;
    ensure!(words.is_multiple_of(WORD_BYTES), "packet field coded bytes: {words} is not a multiple of {WORD_BYTES}");
    Ok((Coding { id, bytes }, words))
}

/// How many bytes [`encode`] made, by its own header.
pub(crate) fn stated_len(reader: &mut Reader<'_>) -> Result<u64> {
    let (coding, words) = own_header(reader)?;
    Ok(HEADER_BYTES + coding.bytes as u64 + words as u64)
}

/// `count` codes below `symbols`; all words must be used up.
pub(crate) fn decode(reader: &mut Reader<'_>, symbols: usize, count: usize) -> Result<Vec<u8>> {
    let (coding, words) = own_header(reader)?;
    let table = bits::read(reader.bytes(coding.bytes, "table")?, coding.id, symbols - 1, table_positions(symbols))
        .context("packet field table")?;
    let frequencies = differences(&table);
    let words = reader.bytes(words, "coded words")?;
    let words: Vec<u32> =
        words.chunks_exact(WORD_BYTES).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let (present, _) = present(&frequencies);
    // A table of all 2^14 places finds a code by one look-up.
    let model = Decoder::from_nonzero_fixed_point_probabilities(present.iter().map(|&s| frequencies[s] as u16), false)
        .map_err(|()| anyhow!("packet field table: the frequencies do not sum to {TOTAL}"))?;
    let mut coder = DefaultAnsCoder::from_compressed(words)
        .map_err(|_| anyhow!("packet field coded words: the last one is zero"))?;
    let mut codes = Vec::with_capacity(count);
    for symbol in coder.decode_iid_symbols(count, &model) {
        let symbol = symbol.map_err(|e| anyhow!("packet field coded words: {e:?}"))?;
        codes.push(present[symbol] as u8);
    }
    // The state the encoder began with must be left, and no word: a check that costs no byte.
    let (left, state) = coder.into_raw_parts();
    ensure!(left.is_empty() && state == START, "packet field coded words: they do not end with the last code");
    Ok(codes)
}

/// How often each code comes.
fn counts(codes: &[u8], symbols: usize) -> Vec<usize> {
    let mut counts = vec![0usize; symbols];
    codes.iter().for_each(|&code| counts[usize::from(code)] += 1);
    counts
}

/// Frequencies that sum to [`TOTAL`], at least one for every code that occurs; integers only, so that the same codes make
/// the same packet everywhere.
fn frequencies(counts: &[usize]) -> Vec<usize> {
    let n: usize = counts.iter().sum();
    // A code that occurs keeps at least one part: without any it could not be coded.
    let share = |&count: &usize| if count == 0 { 0 } else { ((count * TOTAL + n / 2) / n).max(1) };
    let mut frequencies: Vec<usize> = counts.iter().map(share).collect();
    // What rounding left over or took too much goes to the most frequent codes, one by one: it costs least there.
    let mut sum: usize = frequencies.iter().sum();
    while sum != TOTAL {
        // The last of the largest.
        let Some((at, &largest)) = frequencies.iter().enumerate().max_by_key(|(_, f)| **f) else { break };
        if sum < TOTAL {
            frequencies[at] += TOTAL - sum;
            break;
        }
        // It stays the largest down to the next one, so as many can be taken at once.
        let others = frequencies.iter().enumerate().filter(|(other, _)| *other != at);
        let next = others.map(|(_, &f)| f).max().unwrap_or(0);
        let taken = (largest - next).clamp(1, sum - TOTAL);
        frequencies[at] -= taken;
        sum -= taken;
    }
    frequencies
}

/// Symbols whose frequency is not zero, and the place of each among them.
fn present(frequencies: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let present: Vec<usize> = (0..frequencies.len()).filter(|&s| frequencies[s] > 0).collect();
    let mut index = vec![0; frequencies.len()];
    present.iter().enumerate().for_each(|(at, &s)| index[s] = at);
    (present, index)
}

/// Places of a table, one more than its largest position.
fn table_positions(symbols: usize) -> usize {
    TOTAL + symbols - 1
}

/// Frequencies, without the last, as ascending positions whose gaps they are: what [`bits`] codes.
fn cumulated(frequencies: &[usize]) -> Vec<u32> {
    let mut next = 0;
    let mut place = |f: &usize| {
        next += f + 1;
        (next - 1) as u32
    };
    frequencies[..frequencies.len() - 1].iter().map(&mut place).collect()
}

/// Undoes [`cumulated`]; the last frequency is what is missing from [`TOTAL`]. Positions below [`table_positions`] leave
/// it at zero or more.
fn differences(table: &[u32]) -> Vec<usize> {
    let mut next = 0;
    let gap = |&at: &u32| {
        let frequency = at as usize - next;
        next = at as usize + 1;
        frequency
    };
    let mut frequencies: Vec<usize> = table.iter().map(gap).collect();
    frequencies.push(TOTAL - frequencies.iter().sum::<usize>());
    frequencies
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn round_trip(codes: &[u8], symbols: usize) -> usize {
        let bytes = encode(codes, symbols).unwrap();
        let (least, most) = length_bounds(&counts(codes, symbols));
        assert!((least..=most).contains(&bytes.len()), "{} is not in {least}..={most}", bytes.len());
        assert!(most - least <= WORD_BYTES, "{least}..={most} for {} codes", codes.len());
        assert_eq!(stated_len(&mut Reader::new(&bytes)).unwrap(), bytes.len() as u64);
        assert_eq!(decode(&mut Reader::new(&bytes), symbols, codes.len()).unwrap(), codes);
        for count in [codes.len() - 1, codes.len() + 1] {
            let alike = codes.iter().all(|code| *code == codes[0]);
            assert!(alike || decode(&mut Reader::new(&bytes), symbols, count).is_err());
        }
        bytes.len()
    }

    /// Bits of the codes at their own frequencies.
    fn entropy_bytes(codes: &[u8]) -> f64 {
        let n = codes.len() as f64;
        let count = |code: u8| codes.iter().filter(|&&c| c == code).count() as f64;
        (0..=255).map(count).filter(|c| *c > 0.0).map(|c| c * (n / c).log2()).sum::<f64>() / 8.0
    }

    /// Integers near zero, of deviation `spread`, and now and then any at all.
    fn bell(n: usize, symbols: usize, spread: f64, seed: u64) -> Vec<u8> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = || {
            if rng.random_bool(0.001) {
                return rng.random_range(0..symbols) as u8;
            }
            let sum: f64 = (0..12).map(|_| rng.random_range(-0.5..0.5)).sum();
            ((sum * spread).round() as i64).rem_euclid(symbols as i64) as u8
        };
        (0..n).map(|_| draw()).collect()
    }

    #[test]
    fn codes_return_within_a_hundredth_of_their_entropy_and_a_table() {
        for (symbols, spread) in [(256, 30.0), (256, 3.0), (16, 1.5), (16, 0.2)] {
            for n in [1, 2, 17, 3000, 100_000] {
                let codes = bell(n, symbols, spread, n as u64);
                let bytes = round_trip(&codes, symbols) as f64;
                let bound = entropy_bytes(&codes) * 1.01 + if symbols == 256 { 420.0 } else { 60.0 };
                assert!(
                    bytes <= bound,
                    "{symbols} symbols, {n} codes of spread {spread}: {bytes} bytes, bound {bound}"
                );
            }
        }
    }

    #[test]
    fn one_symbol_only_and_all_alike() {
        for symbols in [16, 256] {
            for code in [0, 5, symbols - 1] {
                round_trip(&vec![code as u8; 1000], symbols);
            }
            round_trip(&(0..4 * symbols).map(|i| (i % symbols) as u8).collect::<Vec<u8>>(), symbols);
        }
    }

    #[test]
    fn frequencies_sum_up_and_forget_no_code() {
        let mut codes = vec![3u8; 1_000_000];
        codes.extend(0..=255u8);
        for codes in [&codes[..], &codes[1_000_000..], &codes[999_999..]] {
            let made = frequencies(&counts(codes, 256));
            assert_eq!(made.iter().sum::<usize>(), TOTAL);
            assert!(made.iter().all(|f| *f > 0));
            assert_eq!(differences(&cumulated(&made)), made);
        }
    }

    #[test]
    fn damage_is_an_error_or_other_codes_and_never_a_panic() {
        let codes = bell(3000, 256, 20.0, 9);
        let good = encode(&codes, 256).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(10);
        let mut refused = 0;
        for _ in 0..3000 {
            let mut bytes = good.clone();
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            refused += u32::from(decode(&mut Reader::new(&bytes), 256, codes.len()).is_err());
        }
        assert!(refused > 2900, "{refused} of 3000 flipped bits were noticed");
    }
}
