//! Block floating point at the ports: mantissas of 16 bits, a common exponent for each group of them.

use anyhow::{Result, bail, ensure};

use super::fixed::normalise;
use super::shape::{COLUMNS, CoreShape};
use super::tokens::ZERO;

/// Exponents that a core takes of an activation's rows: what is made of them on the way still fits in 8 bits.
pub(super) const ROW_EXPONENTS: std::ops::RangeInclusive<i16> = -100..=100;

/// Exponents that a core takes of coefficients that are not zero.
pub(super) const COEFFICIENT_EXPONENTS: std::ops::RangeInclusive<i16> = -110..=127;

/// At this magnitude a mantissa of an activation stands for anything beyond: [`quantise`] stays below.
pub(super) const RAIL: i16 = i16::MAX;

/// Numbers mantissa times 2^exponent, `group` neighbours with one exponent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockFloat {
    /// One a number.
    pub mantissas: Vec<i16>,
    /// One a group.
    pub exponents: Vec<i16>,
    /// Numbers of a group: D in an activation to be encoded, 8 in coefficients (four complex) and in a decoded activation.
    pub group: usize,
}

impl BlockFloat {
    /// The numbers, exact.
    pub fn to_f64(&self) -> Vec<f64> {
        let groups = self.mantissas.chunks(self.group).zip(&self.exponents);
        groups.flat_map(|(group, e)| group.iter().map(|m| f64::from(*m) * f64::from(*e).exp2())).collect()
    }

    /// The numbers, rounded to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.to_f64().into_iter().map(|v| v as f32).collect()
    }

    pub(super) fn check(&self, what: &str, groups: usize, group: usize) -> Result<()> {
        let found = (self.mantissas.len(), self.exponents.len(), self.group);
        ensure!(
            found == (groups * group, groups, group),
            "{what}: {} mantissas, {} exponents in groups of {}, but the shape takes {}, {groups} in groups of {group}",
            found.0,
            found.1,
            found.2,
            groups * group
        );
        Ok(())
    }
}

/// An activation for the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantisedRows {
    /// Row-major S x D, one exponent a row.
    pub rows: BlockFloat,
    /// Values that did not fit and were clipped; the encoder finds and counts the same.
    pub clipped: u64,
}

/// Row-major S x D values, each row with the least exponent that its largest value allows: nothing is clipped. Fails on
/// values that are not finite, or from 2^115 on.
pub fn quantise(values: &[f32], hidden: usize) -> Result<QuantisedRows> {
    let exponents = rows(values, hidden)?.map(|row| {
        let top = row.iter().fold(0f32, |top, v| top.max(v.abs()));
        (-100..=100).find(|e| (f64::from(top) * f64::from(-*e).exp2()).round() < f64::from(RAIL))
    });
    let Some(exponents) = exponents.collect::<Option<Vec<i32>>>() else {
        bail!("a value of the activation is beyond 2^115, which the FPGA core's exponents do not reach")
    };
    quantise_rows(values, hidden, &exponents)
}

/// The same with one exponent for all rows, known beforehand as in a stream without a look ahead: values beyond it are
/// clipped and counted.
pub fn quantise_at(values: &[f32], hidden: usize, exponent: i8) -> Result<QuantisedRows> {
    let count = rows(values, hidden)?.count();
    ensure!(ROW_EXPONENTS.contains(&exponent.into()), "the exponent {exponent} is not in {ROW_EXPONENTS:?}");
    quantise_rows(values, hidden, &vec![exponent.into(); count])
}

fn rows(values: &[f32], hidden: usize) -> Result<std::slice::ChunksExact<'_, f32>> {
    ensure!(hidden > 0 && values.len().is_multiple_of(hidden), "{} values are no rows of {hidden}", values.len());
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        bail!("row {}, channel {} of the activation is {}, not a finite number", at / hidden, at % hidden, values[at]);
    }
    Ok(values.chunks_exact(hidden))
}

fn quantise_rows(values: &[f32], hidden: usize, exponents: &[i32]) -> Result<QuantisedRows> {
    let mut clipped = 0;
    let rail = f64::from(RAIL);
    let mantissas = values.chunks_exact(hidden).zip(exponents).flat_map(|(row, e)| row.iter().map(move |v| (v, e)));
    let mantissas = mantissas.map(|(v, e)| {
        let scaled = (f64::from(*v) * f64::from(-e).exp2()).round();
        clipped += u64::from(scaled.abs() >= rail);
        scaled.clamp(-rail, rail) as i16
    });
    let mantissas = mantissas.collect();
    let exponents = exponents.iter().map(|e| *e as i16).collect();
    Ok(QuantisedRows { rows: BlockFloat { mantissas, exponents, group: hidden }, clipped })
}

impl CoreShape {
    /// The K_S x K_D block of coefficients that the encoder's beats stand for, row-major, real and imaginary parts in turn,
    /// as `kernel::Spectrum::block` has it for the band `mirrored`.
    pub fn unpack(&self, coefficients: &BlockFloat) -> Result<Vec<f32>> {
        let beats = self.beats();
        coefficients.check("the coefficients", beats.len(), 2 * COLUMNS)?;
        let mut at = vec![usize::MAX; self.tokens() * self.tiles()];
        beats.iter().enumerate().for_each(|(i, beat)| at[beat.row * self.tiles() + beat.tile] = i);
        let values = coefficients.to_f32();
        let block = self.block();
        let mut out = Vec::with_capacity(2 * block.ks * block.kd);
        for (u, v) in (0..block.ks).flat_map(|u| (0..block.kd).map(move |v| (u, v))) {
            let past_middle = v > self.hidden() / 2;
            let (row, column) = if past_middle { self.mirror(u, v) } else { (u, v) };
            let first = 2 * (COLUMNS * at[row * self.tiles() + column / COLUMNS] + column % COLUMNS);
            let sign = if past_middle { -1.0 } else { 1.0 };
            out.extend([values[first], sign * values[first + 1]]);
        }
        Ok(out)
    }

    /// A block as [`Self::unpack`] gives it, or as a packet had it, for the decoder. A position and its mirror that are both in
    /// the block go as their conjugate mean.
    pub fn pack(&self, block: &[f32]) -> Result<BlockFloat> {
        let kd = self.block().kd;
        let expected = 2 * self.block().ks * kd;
        ensure!(block.len() == expected, "the block has {} numbers, not the {expected} of its shape", block.len());
        if let Some(at) = block.iter().position(|v| !v.is_finite()) {
            bail!("coefficient ({}, {}) of the block is not finite", at / 2 / kd, at / 2 % kd);
        }
        let at = |u: usize, v: usize| {
            let first = 2 * (u * kd + v);
            self.holds(u, v).then(|| [f64::from(block[first]), f64::from(block[first + 1])])
        };
        let value = |u: usize, v: usize| {
            if v > self.hidden() / 2 {
                return [0.0; 2];
            }
            // Both of these columns' halves are sent, and the core weighs them.
            let own_mirror = v == 0 || 2 * v == self.hidden();
            let (mu, mv) = self.mirror(u, v);
            let mirror = if own_mirror { None } else { at(mu, mv).map(|[re, im]| [re, -im]) };
            match (at(u, v), mirror) {
                (Some(a), Some(b)) => [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0],
                (a, b) => a.or(b).unwrap_or_default(),
            }
        };
        let beats = self.beats();
        let mut packed = BlockFloat { mantissas: Vec::new(), exponents: Vec::new(), group: 2 * COLUMNS };
        for beat in &beats {
            let values: [[f64; 2]; COLUMNS] = std::array::from_fn(|i| value(beat.row, COLUMNS * beat.tile + i));
            let (mantissas, exponent) = beat_of(values);
            packed.mantissas.extend(mantissas);
            packed.exponents.push(exponent);
        }
        Ok(packed)
    }
}

/// Mantissas and exponent of four coefficients of f32's range.
fn beat_of(values: [[f64; 2]; COLUMNS]) -> ([i16; 2 * COLUMNS], i16) {
    let top = values.iter().flatten().fold(0f64, |top, v| top.max(v.abs()));
    if top == 0.0 {
        return ([0; 2 * COLUMNS], ZERO as i16);
    }
    // 40 bits of the largest, of which the core's own rounding leaves 15.
    let lowest = i32::from(*COEFFICIENT_EXPONENTS.start());
    let fine = (top.log2().floor() as i32 - 40).max(lowest);
    let exact = values.as_flattened().iter().map(|v| (v * f64::from(-fine).exp2()).round() as i64);
    let mut integers = [0; 2 * COLUMNS];
    integers.iter_mut().zip(exact).for_each(|(to, v)| *to = v);
    let (mantissas, shift) = normalise(integers, 16);
    let exponent = shift.map_or(ZERO, |shift| fine + shift as i32);
    (mantissas.map(|m| m as i16), exponent as i16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use splitbench_codec::kernel::Block;

    #[test]
    fn rows_have_exponents_of_their_own_and_none_is_clipped() {
        let values = [1.0, -0.25, 0.0, 1e30, -1e30, 3.0, 0.0, 0.0, 0.0];
        let QuantisedRows { rows, clipped } = quantise(&values, 3).unwrap();
        assert_eq!((clipped, rows.exponents[0], rows.mantissas[0], rows.mantissas[1]), (0, -14, 16384, -4096));
        assert!(rows.to_f32().iter().zip(values).all(|(a, b)| (a - b).abs() <= b.abs().max(1e25) * 1e-4));
        // Just below a power of two the next exponent is taken, so that the largest mantissa stays free.
        assert_eq!(quantise(&[32766.9], 1).unwrap().rows.mantissas, [16383]);
        assert_eq!(quantise(&[32766.4], 1).unwrap().rows.mantissas, [32766]);
    }

    #[test]
    fn what_a_given_exponent_does_not_reach_is_clipped_and_counted() {
        let QuantisedRows { rows, clipped } = quantise_at(&[40000.0, -32767.0, 32766.0, -1e9], 4, 0).unwrap();
        assert_eq!((rows.mantissas, clipped), (vec![32767, -32767, 32766, -32767], 3));
    }

    #[test]
    fn bad_values_are_named() {
        for (values, part) in [
            (vec![0.0, f32::NAN, 0.0, 0.0], "row 0, channel 1 of the activation is NaN"),
            (vec![0.0, 0.0, f32::INFINITY, 0.0], "row 1, channel 0 of the activation is inf"),
            (vec![0.0; 3], "3 values are no rows of 2"),
            (vec![1e38, 0.0], "beyond 2^115"),
        ] {
            let error = quantise(&values, 2).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(quantise_at(&[0.0], 1, 101).is_err());
        let shape = CoreShape::new(2, 192, Block { ks: 1, kd: 2 }).unwrap();
        assert!(shape.pack(&[0.0; 3]).unwrap_err().to_string().contains("not the 4"));
        let error = shape.pack(&[0.0, 0.0, 0.0, f32::NAN]).unwrap_err().to_string();
        assert!(error.contains("coefficient (0, 1)"), "{error}");
    }

    /// What was packed comes back, within the rounding of mantissas; both halves of a pair as their mean.
    #[test]
    fn blocks_go_through_beats() {
        for (tokens, ks, kd) in [(5, 2, 7), (6, 6, 192), (6, 4, 150), (1, 1, 97), (7, 5, 96)] {
            let shape = CoreShape::new(tokens, 192, Block { ks, kd }).unwrap();
            let block: Vec<f32> = (0..2 * ks * kd).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
            let back = shape.unpack(&shape.pack(&block).unwrap()).unwrap();
            for (u, v) in (0..ks).flat_map(|u| (0..kd).map(move |v| (u, v))) {
                let (mu, mv) = shape.mirror(u, v);
                for part in 0..2 {
                    let at = |u, v| block[2 * (u * kd + v) + part];
                    let own_mirror = v == 0 || 2 * v == 192;
                    let both = !own_mirror && shape.holds(mu, mv);
                    let sign = if part == 0 { 1.0 } else { -1.0 };
                    let expected = if both { (at(u, v) + sign * at(mu, mv)) / 2.0 } else { at(u, v) };
                    let found = back[2 * (u * kd + v) + part];
                    assert!((found - expected).abs() < 0.002, "{shape:?} ({u}, {v}): {found}, not {expected}");
                }
            }
        }
    }
}
