//! `sparse-rans`: integers with a zero point, those that are not zero in sparse form, entropy-coded (arXiv 2511.11664:
//! asymmetric integer quantisation, CSR of the reshaped matrix, rANS). docs/methodology/split-papers.md says what is
//! our reading.

use anyhow::{Context, Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::Scratch;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::ranges;
use crate::bytes::rans;
use crate::bytes::values::{EXPONENT_BYTES, ValueType};
use crate::grids::groups;
use crate::grids::quantiser::saturated;
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, NUMBER_BITS, raw_bytes};
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::vector::{Vector, dispatch};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "sparse-rans",
    summary: "Rounds to integers with a zero point per group; those that are not zero go in sparse form through rANS.",
    options: &[groups::GROUP, groups::SCALES],
    id: 14,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(SparseRans { spec: spec.clone() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    stated: |spec, a, packet| {
        let (bytes, scales) = (packet.as_bytes(), size_rule::scale_bytes(spec, a));
        let groups = (scales - 2) / if spec.option("scales") == Some("f32") { 4 } else { 2 };
        let coded = |at| size_rule::coded(bytes, at);
        let counts = 26 + scales + groups;
        Some(coded(if bytes[20] > 1 { coded(coded(counts)) } else { coded(counts) }))
    },
    ..SizeRule::ADAPTIVE
};

/// Own header: channels of a group 4, levels less one 1, places of a row 1, nonzero values 4, largest symbol 1.
const OWN_BYTES: usize = 11;

/// Most levels of a group, so that a level fits in a byte.
const MAX_LEVELS: usize = 256;

/// The step of a group is its range over a whole number of these parts of one: between 2 and 3 levels, or 3 and 4, the
/// bits of a value differ by half, and a budget would often be left half unused.
const PARTS: usize = 16;

/// Places of a row that are tried, beside the hidden size; at most [`MAX_PLACES`].
const PLACES: [usize; 4] = [1, 4, 16, 64];

/// So that the number of nonzero values of a row is a byte.
const MAX_PLACES: usize = 255;

struct SparseRans {
    spec: CodecSpec,
}

/// An activation quantised.
struct SparseCodes {
    levels: usize,
    /// A section of scales, then one zero point per group.
    groups: Vec<u8>,
    /// A symbol for each value, zero for zero.
    symbols: Scratch<u8>,
}

/// The sparse form of symbols, coded.
struct Sparse {
    places: usize,
    bytes: Vec<u8>,
}

/// 0, -1, 1, -2, .. as 0, 1, 2, 3, ...: the distance of an integer from its zero point, modulo 256. Levels number 256 at
/// most, so that zero point and distance give the integer back.
fn symbol(distance: u8) -> u8 {
    // The zigzag map of Protocol Buffers: small distances of either sign become small symbols, which are frequent and
    // take few bits.
    let distance = distance as i8;
    ((distance << 1) ^ (distance >> 7)) as u8
}

/// Undoes [`symbol`].
fn distance(symbol: u8) -> u8 {
    (symbol >> 1) ^ (symbol & 1).wrapping_neg()
}

/// Bits of a code before it is entropy-coded.
fn code_bits(levels: usize) -> u64 {
    levels.next_power_of_two().ilog2().into()
}

/// The kept numbers that the codes of the nonzero values count as.
fn elements(nonzero: usize, levels: usize) -> usize {
    ((nonzero as u64 * code_bits(levels)).div_ceil(NUMBER_BITS) as usize).max(1)
}

impl Codec for SparseRans {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        let channels = groups::channels(&self.spec, activation.hidden())?;
        let source = GroupedActivation::new(activation, channels, self.spec.typed(groups::SCALES.key)?);
        // A finer step takes more bits but for rare exceptions, which a bisection may pass by.
        let (mut fits, mut too_many) = (PARTS, (MAX_LEVELS - 1) * PARTS + 1);
        while fits + 1 < too_many {
            let parts = fits.midpoint(too_many);
            if self.fits(&source, steps(parts), budget)? { fits = parts } else { too_many = parts }
        }
        self.packet(&source, &source.quantise(steps(fits))?)
    }
}

/// Steps in the range of a group.
fn steps(parts: usize) -> f64 {
    parts as f64 / PARTS as f64
}

impl SparseRans {
    /// Whether the budget allows so many steps in the range of a group.
    fn fits(&self, source: &GroupedActivation<'_>, steps: f64, budget: Budget) -> Result<bool> {
        let activation = source.activation;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        let quantised = source.quantise(steps)?;
        let counts = symbol_counts(&quantised.symbols);
        let nonzero = quantised.symbols.len() - counts[0];
        if budget.accounting == Accounting::Elements {
            return Ok(elements(nonzero, quantised.levels) as f64 <= (tokens * hidden) as f64 / budget.ratio);
        }
        let limit = raw_bytes(tokens, hidden) as f64 / budget.ratio;
        // What rANS makes of numbers follows from their counts but for a word now and then.
        let largest = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        let values = rans::length_bounds(&counts[1..=alphabet(largest as u8)]);
        let fixed = HEADER_BYTES + OWN_BYTES + quantised.groups.len();
        let (least, most) = (fixed + values.0, fixed + values.1);
        let mut may_fit = false;
        for places in places(hidden) {
            if least as f64 > limit {
                break;
            }
            let rows = RowCounts::new(&quantised.symbols, places).length_bounds();
            if (most + rows.1) as f64 <= limit {
                return Ok(true);
            }
            may_fit |= (least + rows.0) as f64 <= limit;
        }
        // Too close to call: the packet itself tells.
        Ok(may_fit && self.packet(source, &quantised)?.len() as f64 <= limit)
    }

    fn packet(&self, source: &GroupedActivation<'_>, quantised: &SparseCodes) -> Result<Packet> {
        let shape = (source.activation.tokens(), source.activation.hidden());
        let sparse = shortest(&quantised.symbols, shape.1)?;
        let body = OWN_BYTES + quantised.groups.len() + sparse.bytes.len();
        let mut bytes = Packet::begin(&INFO, source.kind, shape, body)?;
        put_u32(&mut bytes, source.channels);
        bytes.extend_from_slice(&[(quantised.levels - 1) as u8, sparse.places as u8]);
        put_u32(&mut bytes, quantised.symbols.iter().filter(|&&s| s != 0).count());
        bytes.push(quantised.symbols.iter().copied().max().unwrap_or(0));
        bytes.extend_from_slice(&quantised.groups);
        bytes.extend_from_slice(&sparse.bytes);
        Packet::finish(&INFO, bytes)
    }
}

/// An activation, ready to be quantised at any number of steps.
struct GroupedActivation<'a> {
    activation: &'a Activation,
    channels: usize,
    kind: ValueType,
    /// The lowest number of each group, zero at most.
    lows: Vec<f64>,
    /// The range of each group, with zero in it.
    spans: Vec<f64>,
}

impl<'a> GroupedActivation<'a> {
    fn new(activation: &'a Activation, channels: usize, kind: ValueType) -> Self {
        let groups = groups::split(activation.values(), activation.hidden(), channels);
        let (lows, spans) = groups
            .map(|group| {
                let (low, high) = ranges::ends(group);
                let (low, high) = (f64::from(low.min(0.0)), f64::from(high.max(0.0)));
                (low, high - low)
            })
            .unzip();
        Self { activation, channels, kind, lows, spans }
    }

    /// Integers from zero on, `steps` of them in the range of each group with zero in it; zero itself is one of them.
    fn quantise(&self, steps: f64) -> Result<SparseCodes> {
        let (all, hidden) = (self.activation.values(), self.activation.hidden());
        // Steps may be a fraction, levels not: the last level may lie beyond the range.
        let most = steps.ceil();
        let mut groups = Vec::with_capacity(EXPONENT_BYTES + (self.kind.bytes() + 1) * self.spans.len());
        let scales = groups::write(&mut groups, self.kind, &self.spans, steps)?;
        let mut symbols = Scratch::new(all.len());
        symbols.resize(all.len(), 0);
        let mut rest = &mut symbols[..];
        for ((group, &scale), low) in groups::split(all, hidden, self.channels).zip(&*scales).zip(&self.lows) {
            // A group of zeros has no scale.
            let scale = if scale == 0.0 { 1.0 } else { scale };
            // The zero point is an integer, so zero comes back as exactly zero and stays out of the sparse form.
            let zero = (-low / scale).round_ties_even().min(most);
            groups.push(zero as u8);
            let (own, left) = std::mem::take(&mut rest).split_at_mut(group.len());
            dispatch!(put_symbols(group, scale, zero, most, own));
            rest = left;
        }
        Ok(SparseCodes { levels: most as usize + 1, groups, symbols })
    }
}

/// The symbols of a group's values.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn put_symbols<V: Vector>(group: &[f32], scale: f64, zero: f64, most: f64, symbols: &mut [u8]) {
    // Adding 1.5 * 2^52 rounds to an integer, ties to even, and leaves its lowest bits in those of the sum;
    // `round_ties_even` is a function call on plain x86-64. Quotients are 2^9 at most.
    const ROUND: f64 = 1.5 * (1u64 << 52) as f64;
    for (to, &v) in symbols.iter_mut().zip(group) {
        // A quotient, not a product with a reciprocal: a tie stays one.
        let integer = (f64::from(v) / scale + ROUND) - ROUND + zero;
        let integer = if integer < 0.0 { 0.0 } else { integer };
        let integer = if integer > most { most } else { integer };
        *to = symbol((integer - zero + ROUND).to_bits() as u8);
    }
}

/// How often each symbol comes.
fn symbol_counts(symbols: &[u8]) -> [usize; 256] {
    // Four tables by turns: a count need not wait for the one before it.
    let mut tables = [[0u32; 256]; 4];
    let (chunks, rest) = symbols.as_chunks::<4>();
    for chunk in chunks {
        tables.iter_mut().zip(chunk).for_each(|(table, &symbol)| table[usize::from(symbol)] += 1);
    }
    rest.iter().for_each(|&symbol| tables[0][usize::from(symbol)] += 1);
    std::array::from_fn(|symbol| tables.iter().map(|table| table[symbol] as usize).sum())
}

/// Places of a row that are tried, the first of the shortest taken.
fn places(hidden: usize) -> impl Iterator<Item = usize> {
    PLACES.into_iter().chain((hidden <= MAX_PLACES).then_some(hidden))
}

/// What the sparse form of symbols in rows of so many places is made of, counted.
struct RowCounts {
    /// Rows by their number of nonzero values.
    counts: Vec<usize>,
    /// Nonzero values by column.
    columns: Vec<usize>,
}

impl RowCounts {
    fn new(symbols: &[u8], places: usize) -> Self {
        let (mut counts, mut columns) = (vec![0; places + 1], vec![0; places]);
        match places {
            1 => count_rows::<1>(symbols, &mut counts, &mut columns),
            4 => count_rows::<4>(symbols, &mut counts, &mut columns),
            16 => count_rows::<16>(symbols, &mut counts, &mut columns),
            64 => count_rows::<64>(symbols, &mut counts, &mut columns),
            _ => symbols.chunks(places).for_each(|row| count_row(row, &mut counts, &mut columns)),
        }
        Self { counts, columns }
    }

    /// The least and the most bytes of the counts and columns of rows.
    fn length_bounds(&self) -> (usize, usize) {
        let counts = rans::length_bounds(&self.counts);
        // Rows of one place need no columns.
        let columns = if self.columns.len() > 1 { rans::length_bounds(&self.columns) } else { (0, 0) };
        (counts.0 + columns.0, counts.1 + columns.1)
    }
}

/// Counts whole rows of P places and what is left.
#[inline(always)]
fn count_rows<const P: usize>(symbols: &[u8], counts: &mut [usize], columns: &mut [usize]) {
    let (rows, rest) = symbols.as_chunks::<P>();
    // Bytes overflow after 255 rows.
    for rows in rows.chunks(255) {
        let mut tally = [0u8; P];
        for row in rows {
            let mut nonzero = 0u8;
            for (tally, &symbol) in tally.iter_mut().zip(row) {
                *tally += u8::from(symbol != 0);
                nonzero += u8::from(symbol != 0);
            }
            counts[usize::from(nonzero)] += 1;
        }
        columns.iter_mut().zip(tally).for_each(|(column, tally)| *column += usize::from(tally));
    }
    if !rest.is_empty() {
        count_row(rest, counts, columns);
    }
}

/// Counts one row.
fn count_row(row: &[u8], counts: &mut [usize], columns: &mut [usize]) {
    let kept = row.iter().zip(columns).map(|(&symbol, column)| {
        *column += usize::from(symbol != 0);
        usize::from(symbol != 0)
    });
    counts[kept.sum::<usize>()] += 1;
}

/// The reshaping whose coded form is shortest.
fn shortest(symbols: &[u8], hidden: usize) -> Result<Sparse> {
    let bounds: Vec<(usize, (usize, usize))> =
        places(hidden).map(|places| (places, RowCounts::new(symbols, places).length_bounds())).collect();
    let most = bounds.iter().map(|(_, (_, most))| *most).min().context("no reshaping was tried")?;
    let mut best: Option<Sparse> = None;
    // Most often one alone can be the shortest.
    for (places, _) in bounds.into_iter().filter(|(_, (least, _))| *least <= most) {
        // CSR of the numbers taken as rows of `places`: a count per row and a column per value.
        let rows = || symbols.chunks(places);
        let counts: Vec<u8> = rows().map(|row| row.iter().filter(|&&s| s != 0).count() as u8).collect();
        let mut bytes = rans::encode(&counts, places + 1)?;
        if places > 1 {
            let columns: Vec<u8> =
                rows().flat_map(|row| (0..row.len()).filter(|&at| row[at] != 0)).map(|at| at as u8).collect();
            bytes.extend(rans::encode(&columns, places)?);
        }
        if best.as_ref().is_none_or(|best| bytes.len() < best.bytes.len()) {
            best = Some(Sparse { places, bytes });
        }
    }
    let mut best = best.context("no reshaping was tried")?;
    // The nonzero values come in the same order in every reshaping.
    let kept: Vec<u8> = symbols.iter().filter(|&&s| s != 0).map(|s| s - 1).collect();
    best.bytes.extend(rans::encode(&kept, alphabet(kept.iter().copied().max().map_or(0, |last| last + 1)))?);
    Ok(best)
}

/// Symbols of the values' coder, where the largest of all is `largest`.
fn alphabet(largest: u8) -> usize {
    usize::from(largest).max(2)
}

/// The own header.
struct SparseHeader {
    channels: usize,
    levels: usize,
    places: usize,
    nonzero: usize,
    largest: u8,
}

fn own_header(reader: &mut Reader<'_>, view: &PacketView<'_>) -> Result<SparseHeader> {
    let channels = reader.u32("group")? as usize;
    ensure!((1..=view.hidden).contains(&channels), "packet field group: {channels} is not in 1..={}", view.hidden);
    let levels = usize::from(reader.u8("levels")?) + 1;
    ensure!(levels > 1, "packet field levels: one level has no number but zero");
    let places = usize::from(reader.u8("places")?);
    ensure!(places > 0, "packet field places: a row has none");
    let (nonzero, most) = (reader.u32("nonzero")? as usize, view.tokens * view.hidden);
    ensure!(nonzero <= most, "packet field nonzero: {nonzero} is more than the activation's {most} values");
    Ok(SparseHeader { channels, levels, places, nonzero, largest: reader.u8("largest symbol")? })
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let mut reader = Reader::new(view.body);
    let own = own_header(&mut reader, view)?;
    let groups = groups::count(view.tokens, view.hidden, own.channels);
    let fixed = EXPONENT_BYTES + groups * (view.values.bytes() + 1);
    reader.bytes(fixed, "scales")?;
    let mut length = (OWN_BYTES + fixed) as u64;
    // Counts, columns and values; rows of one place need no columns.
    for _ in 0..if own.places > 1 { 3 } else { 2 } {
        let coded = rans::stated_len(&mut reader)?;
        reader.bytes((coded - rans::HEADER_BYTES) as usize, "length")?;
        length += coded;
    }
    view.expect_len(length)?;
    Ok(elements(own.nonzero, own.levels))
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let own = own_header(&mut reader, &view)?;
    let groups = groups::count(view.tokens, view.hidden, own.channels);
    let scales = groups::read(&mut reader, view.values, groups)?;
    let zeros = reader.bytes(groups, "zero points")?;
    let symbols = dense(&mut reader, &own, view.tokens * view.hidden)?;
    let mut out = Vec::with_capacity(symbols.len());
    for ((group, &scale), &zero) in groups::split(&symbols, view.hidden, own.channels).zip(&*scales).zip(zeros) {
        ensure!(usize::from(zero) < own.levels, "packet field zero points: {zero} of {} levels", own.levels);
        for &symbol in group {
            // Modulo 256, as the encoder subtracted it.
            let integer = zero.wrapping_add(distance(symbol));
            ensure!(usize::from(integer) < own.levels, "packet field values: level {integer} of {}", own.levels);
            out.push(saturated((f64::from(integer) - f64::from(zero)) * scale));
        }
    }
    Ok(out)
}

/// All symbols, from their sparse form.
fn dense(reader: &mut Reader<'_>, own: &SparseHeader, n: usize) -> Result<Vec<u8>> {
    let counts = rans::decode(reader, own.places + 1, n.div_ceil(own.places))?;
    let stated: usize = counts.iter().map(|&count| usize::from(count)).sum();
    ensure!(stated == own.nonzero, "packet field counts: {stated} values in the rows, {} in all", own.nonzero);
    let columns = if own.places > 1 { rans::decode(reader, own.places, own.nonzero)? } else { vec![0; own.nonzero] };
    let values = rans::decode(reader, alphabet(own.largest), own.nonzero)?;
    let mut symbols = vec![0u8; n];
    let mut kept = columns.into_iter().zip(values);
    for (row, count) in symbols.chunks_mut(own.places).zip(counts) {
        let mut next = 0;
        for (column, value) in kept.by_ref().take(count.into()) {
            let column = usize::from(column);
            // Columns ascend within a row; a place that comes twice is damage.
            ensure!((next..row.len()).contains(&column), "packet field columns: {column} out of order or of its row");
            ensure!(value < own.largest, "packet field values: symbol {value} is beyond the largest");
            row[column] = value + 1;
            next = column + 1;
        }
    }
    Ok(symbols)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn symbols_stand_for_distances() {
        for at in 0..=255u8 {
            assert_eq!(distance(symbol(at)), at);
        }
        assert_eq!([0u8, 255, 1, 254, 2].map(symbol), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn zero_is_exact_and_others_are_within_a_step() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (low, high) in [(-1.0f32, 1.0), (0.0, 2.0), (-3.0, -1.0), (-0.1, 5.0)] {
            let values: Vec<f32> =
                (0..96).map(|i| if i % 3 == 0 { 0.0 } else { rng.random_range(low..high) }).collect();
            let a = Activation::new(3, 32, values).unwrap();
            for levels in [2, 3, 16, 129, 200, 256] {
                let codec = SparseRans { spec: CodecSpec::parse("sparse-rans:scales=f32").unwrap() };
                let source = GroupedActivation::new(&a, 32, ValueType::F32);
                let quantised = source.quantise((levels - 1) as f64).unwrap();
                let back = decode(&codec.packet(&source, &quantised).unwrap()).unwrap();
                let step = (high.max(0.0) - low.min(0.0)) / (levels - 1) as f32;
                for (&v, &r) in a.values().iter().zip(&back) {
                    // The zero point is rounded, so the end of a range may be half a step off beside the rounding.
                    assert!((v - r).abs() <= 1.001 * step && (v != 0.0 || r == 0.0), "{levels} levels: {v} as {r}");
                }
            }
        }
    }

    /// `tests/reference/adaptive.py`.
    #[test]
    fn integers_and_values_are_those_of_numpy() {
        let mut compared = 0;
        for (a, case) in crate::codecs::adaptive_reference::cases() {
            for expected in case["integers"].as_array().unwrap() {
                let list = |key: &str| expected[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
                let number = |key: &str| expected[key].as_u64().unwrap() as usize;
                let (group, levels) = (number("group"), number("levels"));
                let source = GroupedActivation::new(&a, group, ValueType::F16);
                let quantised = source.quantise((levels - 1) as f64).unwrap();
                let groups = groups::count(a.tokens(), a.hidden(), group);
                let zeros = &quantised.groups[quantised.groups.len() - groups..];
                assert!(list("zeros").eq(zeros.iter().map(|&z| f64::from(z))), "{levels} levels");
                let of = |at: usize| at / a.hidden() * a.hidden().div_ceil(group) + at % a.hidden() / group;
                let integer = |(at, &s): (usize, &u8)| f64::from(zeros[of(at)].wrapping_add(distance(s)));
                assert!(list("integers").eq(quantised.symbols.iter().enumerate().map(integer)), "{levels} levels");
                let spec = if group == 32 { "sparse-rans:group=32" } else { "sparse-rans" };
                let codec = SparseRans { spec: CodecSpec::parse(spec).unwrap() };
                let back = decode(&codec.packet(&source, &quantised).unwrap()).unwrap();
                for (found, expected) in back.iter().map(|&v| f64::from(v)).zip(list("values")) {
                    assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found:e} for {expected:e}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 1000, "{compared}");
    }

    /// What is counted of a packet and what it is.
    #[test]
    fn a_packet_fits_where_its_counts_say_so() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let values =
            (0..30 * 100).map(|i| rng.random_range(-1.0f32..1.0).powi(5) * if i % 100 == 7 { 50.0 } else { 1.0 });
        let a = Activation::new(30, 100, values.collect()).unwrap();
        let codec = SparseRans { spec: CodecSpec::parse("sparse-rans").unwrap() };
        let source = GroupedActivation::new(&a, 100, ValueType::F16);
        for parts in (16..2000).step_by(61) {
            let packet = codec.packet(&source, &source.quantise(steps(parts)).unwrap()).unwrap();
            // A budget of just as many bytes, and of a few less or more.
            for bytes in packet.len() - 5..=packet.len() + 5 {
                let budget = Budget::wire(6000.0 / (bytes as f64 + 0.5)).unwrap();
                let fits = codec.fits(&source, steps(parts), budget).unwrap();
                assert_eq!(fits, packet.len() <= bytes, "{parts} parts: {} bytes in {bytes}", packet.len());
            }
        }
    }

    #[test]
    fn clustered_values_go_in_longer_rows() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut symbols = vec![0u8; 640 * 100];
        // Two channels of 100, as the outliers of a language model.
        symbols.iter_mut().skip(7).step_by(100).for_each(|s| *s = rng.random_range(1..4));
        symbols.iter_mut().skip(40).step_by(100).for_each(|s| *s = rng.random_range(1..4));
        let sparse = shortest(&symbols, 100).unwrap();
        assert_eq!(sparse.places, 100);
        assert!(shortest(&symbols, 300).unwrap().bytes.len() > sparse.bytes.len());
    }
}
