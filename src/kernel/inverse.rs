//! A kept block back to the values it stands for.

use super::axis::{AxisPlan, Line};
use super::band::{Band, Block};
use super::forward::{columns, needed};
use super::token_axis::{STRIP, WIDTH};
use super::work::{WORK, Work};
use crate::vector::{LANES, Vector, dispatch};

/// The factor of the inverse transform, 1 / (S * D) (paper, section III-C, the formula for A'). Neither direction is
/// normalised but by this.
pub fn normalisation(tokens: usize, hidden: usize) -> f64 {
    1.0 / (tokens as f64 * hidden as f64)
}

/// Coefficients of a packet are below 2^16 unless their type has f32's range, and never more than 2^27 in number: a gain up
/// to this keeps their sums within f32, and one down to its reciprocal keeps all that f16 tells apart.
const MODERATE: f64 = (1u64 << 60) as f64;

/// A block as it was sent.
pub(super) struct Kept<'a> {
    /// In the order of [`super::Spectrum::block`].
    pub values: &'a [f32],
    pub band: Band,
    pub block: Block,
    /// S of the activation.
    pub tokens: usize,
}

/// The values that a kept block stands for, row-major S x D, each times `gain`, a power of two, and normalised. `kept` has the order of
/// [`super::Spectrum::block`].
///
/// The spectrum restored is zero outside the block and its mirror positions. Where a position and its mirror
/// (S - u, D - v) were both kept, or are the same, their conjugate mean is used: that is what the real part of the inverse
/// leaves. Where one was kept, `mirrored` and `centered` give the other its conjugate and `corner` halves both.
pub fn inverse(kept: &[f32], band: Band, block: Block, tokens: usize, hidden: usize, gain: f64) -> Vec<f32> {
    assert_eq!(kept.len(), 2 * block.ks * block.kd, "the coefficients are not {} x {}", block.ks, block.kd);
    let kept = Kept { values: kept, band, block, tokens };
    let mut out = vec![0f32; tokens * hidden];
    // A power of two changes no digit, wherever it comes in, but where the range of f32 ends.
    let within = (MODERATE.recip()..=MODERATE).contains(&gain);
    let (early, late) = if within { (gain, 1.0) } else { (1.0, gain) };
    let factor = (normalisation(tokens, hidden) * early) as f32;
    WORK.with_borrow_mut(|work| dispatch!(inverse_with(work, &kept, hidden, factor, &mut out)));
    if late != 1.0 {
        out.iter_mut().for_each(|v| *v = (f64::from(*v) * late) as f32);
    }
    out
}

#[inline(always)]
pub(super) fn inverse_with<V: Vector>(work: &mut Work, kept: &Kept<'_>, hidden: usize, factor: f32, out: &mut [f32]) {
    let rows = needed(kept.band, kept.block, kept.tokens);
    let plan = work.prepare(kept.tokens, hidden, rows, true);
    let inputs = columns(kept.band, kept.block, rows, hidden);
    for lines in work.lines.chunks_exact_mut(plan.lines) {
        lines[..plan.lines_of(inputs)].fill(Line::default());
    }
    spread::<V>(&mut work.lines, &plan, kept, rows, factor);
    for lines in work.lines.chunks_exact_mut(plan.lines) {
        plan.forward::<V>(lines, &mut work.scratch, inputs, hidden);
    }
    let Work { token_axis, rows: pairs, lines, .. } = work;
    for strip in (0..hidden).step_by(STRIP * WIDTH) {
        for (nth, first) in (strip..hidden.min(strip + STRIP * WIDTH)).step_by(WIDTH).enumerate() {
            let places = &plan.output[first..hidden.min(first + WIDTH)];
            for (lines, pairs) in lines.chunks_exact(plan.lines).zip(pairs.as_chunks_mut::<LANES>().0) {
                for (half, places) in places.chunks(LANES).enumerate() {
                    let (mut re, mut im) = ([V::zero(); LANES], [V::zero(); LANES]);
                    for (j, at) in places.iter().enumerate() {
                        let line = &lines[*at as usize];
                        (re[j], im[j]) = (V::load(&line.im), V::load(&line.re));
                    }
                    let (re, im) = (V::transpose(re), V::transpose(im));
                    for j in 0..LANES {
                        re[j].store(&mut pairs[j].even[half]);
                        im[j].store(&mut pairs[j].odd[half]);
                    }
                }
            }
            token_axis.inverse::<V>(nth, &pairs[..rows]);
        }
        token_axis.write::<V>(out, hidden, strip);
    }
}

/// Puts the kept coefficients, weighed and times `norm`, into rows 0 .. `rows` of a spectrum of zeros, so that its inverse
/// has the wanted real part. Real and imaginary parts change places: a forward transform between two such exchanges is
/// the inverse.
#[inline(always)]
fn spread<V: Vector>(lines: &mut [Line], plan: &AxisPlan, kept: &Kept<'_>, rows: usize, norm: f32) {
    let Kept { values: kept, band, block, tokens } = *kept;
    let (hidden, width) = (plan.input.len(), 2 * block.kd);
    let alone = if band == Band::Corner { norm } else { 2.0 * norm };
    let frequency = |i: usize| band.frequency(i, block.ks, tokens);
    // Rows up to the middle stand in the block one after another, from row 0 on.
    let first = (0..block.ks).find(|i| frequency(*i) == 0).unwrap_or(0);
    let computed = rows.min(block.ks - first);
    let direct = &kept[first * width..][..computed * width];
    for (lines, group) in lines.chunks_exact_mut(plan.lines).zip(direct.chunks(LANES * width)) {
        scatter::<V>(lines, &plan.input[..block.kd], group, alone);
    }
    // Where the mirror is kept too, or is the same, each counts once.
    for u in (0..computed).filter(|u| band != Band::Corner && band.holds_row((tokens - u) % tokens, block.ks, tokens)) {
        for v in (0..1).chain((hidden + 1).saturating_sub(block.kd).max(1)..block.kd) {
            let line = &mut lines[u / LANES * plan.lines + plan.input[v] as usize];
            line.re[u % LANES] *= 0.5;
            line.im[u % LANES] *= 0.5;
        }
    }
    for i in (0..block.ks).filter(|i| !(first..first + computed).contains(i)) {
        let u = frequency(i);
        let mirror = tokens - u;
        let mirror_held = band.holds_row(mirror, block.ks, tokens);
        let lines = &mut lines[mirror / LANES * plan.lines..][..plan.lines];
        for (v, [re, im]) in kept[i * width..][..width].as_chunks::<2>().0.iter().enumerate() {
            let mirror_v = if v == 0 { 0 } else { hidden - v };
            let weight = if mirror_held && mirror_v < block.kd { norm } else { alone };
            let line = &mut lines[plan.input[mirror_v] as usize];
            line.im[mirror % LANES] += weight * re;
            line.re[mirror % LANES] -= weight * im;
        }
    }
}

/// The opposite of `gather` for up to eight rows from lane 0 on, each number times `weight`, parts exchanged.
#[inline(always)]
fn scatter<V: Vector>(lines: &mut [Line], places: &[u32], rows: &[f32], weight: f32) {
    let width = 2 * places.len();
    let (chunks, rest) = places.as_chunks::<LANES>();
    let weights = V::splat(weight);
    for (nth, places) in chunks.iter().enumerate() {
        let (mut re, mut im) = ([[0.0; LANES]; LANES], [[0.0; LANES]; LANES]);
        for ((re, im), row) in re.iter_mut().zip(&mut im).zip(rows.chunks_exact(width)) {
            let pairs = row[nth * 2 * LANES..][..2 * LANES].as_chunks::<2>().0;
            for ((re, im), pair) in re.iter_mut().zip(im).zip(pairs) {
                [*re, *im] = *pair;
            }
        }
        let (mut by_row, mut by_row_im) = ([V::zero(); LANES], [V::zero(); LANES]);
        for j in 0..LANES {
            (by_row[j], by_row_im[j]) = (V::load(&re[j]), V::load(&im[j]));
        }
        let (re, im) = (V::transpose(by_row), V::transpose(by_row_im));
        for j in 0..LANES {
            let line = &mut lines[places[j] as usize];
            im[j].mul(weights).store(&mut line.re);
            re[j].mul(weights).store(&mut line.im);
        }
    }
    let done = places.len() - rest.len();
    for (nth, at) in rest.iter().enumerate() {
        for (lane, row) in rows.chunks_exact(width).enumerate() {
            let pair = &row[2 * (done + nth)..];
            lines[*at as usize].im[lane] = weight * pair[0];
            lines[*at as usize].re[lane] = weight * pair[1];
        }
    }
}
