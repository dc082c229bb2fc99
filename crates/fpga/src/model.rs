//! What the encoder and the decoder of `rtl/` compute, bit for bit.

use anyhow::{Result, ensure};

use super::fixed::{Complex, round_shift};
use super::float::{BlockFloat, COEFFICIENT_EXPONENTS, RAIL, ROW_EXPONENTS};
use super::hidden::transform;
use super::shape::{COLUMNS, CoreShape, LANES};
use super::tokens::{GUARD, MANTISSA_BITS, TokenAxisModel, Word, ZERO, reciprocal};

/// Bits that an activation's mantissas are shifted by on their way into the hidden transform: its words have 27, and a
/// complex number's magnitude takes one beside the sign.
const ENTRY_SHIFT: u32 = 10;

/// The same for the mantissas of the column buffer.
const WORD_ENTRY_SHIFT: u32 = 9;

/// Bits of a mantissa at the ports.
const PORT_BITS: u32 = 16;

/// What an encoder gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderOutput {
    /// In the order of the beats; [`CoreShape::unpack`] makes them a block.
    pub coefficients: BlockFloat,
    /// Mantissas of the activation at the largest magnitude, which stand for anything beyond.
    pub saturations: u64,
}

/// What a decoder gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderOutput {
    /// Row-major S x D, eight neighbours with one exponent.
    pub values: BlockFloat,
    /// Mantissas of -32768, which no encoder sends; they are taken as -32767.
    pub saturations: u64,
}

impl CoreShape {
    /// Fails where `rows` is not an activation of this shape that the encoder takes.
    pub(super) fn check_rows(&self, rows: &BlockFloat) -> Result<()> {
        rows.check("the activation", self.tokens(), self.hidden())?;
        let outside = rows.exponents.iter().position(|e| !ROW_EXPONENTS.contains(e));
        ensure!(outside.is_none(), "an exponent of the activation's rows is not in {ROW_EXPONENTS:?}");
        Ok(())
    }

    /// Fails where `coefficients` are not those of this shape, or not such as the decoder takes.
    pub(super) fn check_coefficients(&self, coefficients: &BlockFloat) -> Result<()> {
        coefficients.check("the coefficients", self.beats().len(), 2 * COLUMNS)?;
        let groups = coefficients.mantissas.chunks(2 * COLUMNS).zip(&coefficients.exponents);
        let fits = |(group, e): (&[i16], &i16)| {
            COEFFICIENT_EXPONENTS.contains(e) || i32::from(*e) == ZERO && group.iter().all(|m| *m == 0)
        };
        ensure!(
            groups.into_iter().all(fits),
            "an exponent of the coefficients is not in {COEFFICIENT_EXPONENTS:?} (or {ZERO} for zeros)"
        );
        Ok(())
    }
}

/// The coefficients of an activation, one exponent a row (paper, section III-C, steps 1 and 2).
pub fn encode(shape: &CoreShape, rows: &BlockFloat) -> Result<EncoderOutput> {
    shape.check_rows(rows)?;
    let saturations = rows.mantissas.iter().filter(|m| **m == RAIL || **m <= -RAIL).count() as u64;
    let tiles = shape.tiles();
    let mut buffer = Vec::with_capacity(shape.tokens() * tiles);
    for (row, exponent) in rows.mantissas.chunks(shape.hidden()).zip(&rows.exponents) {
        let row: Vec<Complex> = row.iter().map(|m| Complex::new(i64::from(*m) << ENTRY_SHIFT, 0)).collect();
        let spectrum = transform(&row);
        for tile in spectrum.chunks(COLUMNS).take(tiles) {
            buffer.push(Word::new(parts(tile), MANTISSA_BITS, (*exponent).into()));
        }
    }
    let token_axis = TokenAxisModel::new(shape.tokens());
    let mut beats = Vec::new();
    for tile in 0..tiles {
        let word = |s: usize| buffer[s * tiles + tile];
        let exponent = (0..shape.tokens()).map(|s| word(s).exponent).max().unwrap_or(ZERO);
        let pairs: Vec<_> = (0..=shape.tokens() / 2)
            .map(|q| {
                let mirror = q > 0 && 2 * q != shape.tokens();
                (word(q), if mirror { word(shape.tokens() - q) } else { Word::ZERO })
            })
            .collect();
        let out = exponent - GUARD - ENTRY_SHIFT as i32 + shape.hidden_scale() as i32;
        for (u, sums) in token_axis.sums(&pairs, exponent, shape.direct_rows()).into_iter().enumerate() {
            beats.push(Word::new(sums.minus, PORT_BITS, out));
            if shape.sends_mirror(u, tile) {
                beats.push(Word::new(sums.plus, PORT_BITS, out));
            }
        }
    }
    Ok(EncoderOutput { coefficients: gather(&beats), saturations })
}

/// The activation that coefficients stand for (paper, section III-C, step 3), normalised.
pub fn decode(shape: &CoreShape, coefficients: &BlockFloat) -> Result<DecoderOutput> {
    shape.check_coefficients(coefficients)?;
    let saturations = coefficients.mantissas.iter().filter(|m| **m == i16::MIN).count() as u64;
    let (tokens, tiles) = (shape.tokens(), shape.tiles());
    let mut beats = coefficients
        .mantissas
        .as_chunks()
        .0
        .iter()
        .zip(&coefficients.exponents)
        .map(|(beat, e)| Word { mantissas: beat.map(|m| i64::from(m.max(-i16::MAX))), exponent: (*e).into() });
    let token_axis = TokenAxisModel::new(tokens);
    let mut buffer = vec![Word::ZERO; tokens * tiles];
    for tile in 0..tiles {
        let pairs: Vec<_> = (0..shape.direct_rows())
            .map(|u| {
                let direct = beats.next().unwrap_or(Word::ZERO);
                let sent = shape.sends_mirror(u, tile);
                let mirror = if sent { beats.next().unwrap_or(Word::ZERO) } else { Word::ZERO };
                (weighed(shape, u, tile, direct), weighed(shape, u, tile, mirror))
            })
            .collect();
        let exponent = pairs.iter().map(|(a, b)| a.exponent.max(b.exponent)).max().unwrap_or(ZERO);
        for (s, sums) in token_axis.sums(&pairs, exponent, tokens / 2 + 1).into_iter().enumerate() {
            // Sixteen below, so that exponents stay within 8 bits.
            let mut put =
                |row: usize, values| buffer[row * tiles + tile] = Word::new(values, MANTISSA_BITS, exponent - 16);
            put(s, sums.plus);
            if s > 0 && 2 * s != tokens {
                put(tokens - s, sums.minus);
            }
        }
    }
    let divisor = tokens * shape.odd_factor();
    let factor = reciprocal(16 + divisor.ilog2(), divisor);
    let below = GUARD - 16 + WORD_ENTRY_SHIFT as i32 + shape.hidden().trailing_zeros() as i32 + divisor.ilog2() as i32;
    let mut groups = Vec::with_capacity(tokens * shape.hidden() / LANES);
    for words in buffer.chunks(tiles) {
        let exponent = words.iter().map(|word| word.exponent).max().unwrap_or(ZERO);
        let mut row = vec![Complex::default(); shape.hidden()];
        let values = words.iter().flat_map(|word| word.aligned(exponent, WORD_ENTRY_SHIFT)).collect::<Vec<_>>();
        // The conjugate's forward transform has the real part that the inverse has.
        row.iter_mut().zip(values.as_chunks().0).for_each(|(to, [re, im])| *to = Complex::new(*re, -im));
        let out = exponent + shape.hidden_scale() as i32 - below;
        for eight in transform(&row).as_chunks::<LANES>().0 {
            groups.push(Word::new(eight.map(|v| round_shift(v.re * factor, 16)), PORT_BITS, out));
        }
    }
    Ok(DecoderOutput { values: gather(&groups), saturations })
}

/// A word of coefficients, doubled where they stand for their mirrors too.
fn weighed(shape: &CoreShape, u: usize, tile: usize, word: Word) -> Word {
    let alone = u > 0 && 2 * u != shape.tokens() && shape.tokens() - u >= shape.block().ks;
    let doubled = |i: usize| {
        let column = COLUMNS * tile + i / 2;
        alone || !(column == 0 || 2 * column == shape.hidden())
    };
    Word { mantissas: std::array::from_fn(|i| word.mantissas[i] << u32::from(doubled(i))), ..word }
}

fn parts(tile: &[Complex]) -> [i64; 2 * COLUMNS] {
    std::array::from_fn(|i| if i % 2 == 0 { tile[i / 2].re } else { tile[i / 2].im })
}

fn gather(words: &[Word]) -> BlockFloat {
    BlockFloat {
        mantissas: words.iter().flat_map(|word| word.mantissas.map(|m| m as i16)).collect(),
        exponents: words.iter().map(|word| word.exponent as i16).collect(),
        group: 2 * COLUMNS,
    }
}
