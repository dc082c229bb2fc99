//! A kept block back to the values it stands for.

use super::axis::Line;
use super::band::{Band, Block};
use super::forward::{columns, needed};
use super::row::RowPlan;
use super::token_axis::{Rows, SIDE, STRIP, WIDTH, widths};
use super::work::{WORK, Work, pitch};
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

/// Makes `out` the values that a kept block stands for, row-major S x D, each times `gain`, a power of two, and normalised.
/// `kept` has the order of [`super::Spectrum::block`].
///
/// The spectrum restored is zero outside the block and its mirror positions. Where a position and its mirror
/// (S - u, D - v) were both kept, or are the same, their conjugate mean is used: that is what the real part of the inverse
/// leaves. Where one was kept, `mirrored` and `centered` give the other its conjugate and `corner` halves both.
pub fn inverse(kept: &[f32], band: Band, block: Block, tokens: usize, hidden: usize, gain: f64, out: &mut Vec<f32>) {
    assert_eq!(kept.len(), 2 * block.ks * block.kd, "the coefficients are not {} x {}", block.ks, block.kd);
    let kept = Kept { values: kept, band, block, tokens };
    out.resize(tokens * hidden, 0.0);
    // A power of two changes no digit, wherever it comes in, but where the range of f32 ends.
    let within = (MODERATE.recip()..=MODERATE).contains(&gain);
    let (early, late) = if within { (gain, 1.0) } else { (1.0, gain) };
    let factor = (normalisation(tokens, hidden) * early) as f32;
    WORK.with_borrow_mut(|work| dispatch!(inverse_with(work, &kept, hidden, factor, out)));
    if late != 1.0 {
        out.iter_mut().for_each(|v| *v = (f64::from(*v) * late) as f32);
    }
}

#[inline(always)]
pub(super) fn inverse_with<V: Vector>(work: &mut Work, kept: &Kept<'_>, hidden: usize, factor: f32, out: &mut [f32]) {
    let rows = needed(kept.band, kept.block, kept.tokens);
    let plan = work.prepare(kept.tokens, hidden, rows, true);
    let inputs = columns(kept.band, kept.block, rows, hidden);
    let pitch = pitch(hidden);
    spread::<V>(&mut work.lines, &plan, kept, inputs, factor);
    for row in work.lines.chunks_exact_mut(pitch) {
        plan.forward::<V>(row, &mut work.scratch, inputs, hidden);
    }
    let Work { token_axis, lines, .. } = work;
    for strip in (0..hidden).step_by(STRIP * WIDTH) {
        for (nth, first) in widths(hidden, strip) {
            token_axis.inverse::<V>(nth, lines, Rows { first: first / WIDTH * SIDE, step: pitch, count: rows });
        }
        token_axis.write::<V>(out, hidden, strip);
    }
}

/// Puts the kept coefficients, weighed and times `norm`, into the rows of a spectrum that is zero elsewhere, so that its
/// inverse has the wanted real part. Real and imaginary parts change places: a forward transform between two such exchanges
/// is the inverse.
#[inline(always)]
fn spread<V: Vector>(lines: &mut [Line], plan: &RowPlan, kept: &Kept<'_>, inputs: usize, norm: f32) {
    let Kept { values: kept, band, block, tokens } = *kept;
    let (hidden, width, pitch) = (plan.length, 2 * block.kd, pitch(plan.length));
    let rows = lines.len() / pitch;
    let alone = if band == Band::Corner { norm } else { 2.0 * norm };
    let frequency = |i: usize| band.frequency(i, block.ks, tokens);
    // Rows up to the middle stand in the block one after another, from row 0 on.
    let first = (0..block.ks).find(|i| frequency(*i) == 0).unwrap_or(0);
    let computed = rows.min(block.ks - first);
    let read = plan.lines_read(inputs);
    for (u, lines) in lines.chunks_exact_mut(pitch).enumerate() {
        let present = kept[first * width..].chunks_exact(width).take(computed).nth(u).unwrap_or_default();
        separate::<V>(&mut lines[..read], present, alone);
    }
    // Where the mirror is kept too, or is the same, each counts once.
    for u in (0..computed).filter(|u| band != Band::Corner && band.holds_row((tokens - u) % tokens, block.ks, tokens)) {
        for v in (0..1).chain((hidden + 1).saturating_sub(block.kd).max(1)..block.kd) {
            let line = &mut lines[u * pitch + v / LANES];
            line.re[v % LANES] *= 0.5;
            line.im[v % LANES] *= 0.5;
        }
    }
    for i in (0..block.ks).filter(|i| !(first..first + computed).contains(i)) {
        let u = frequency(i);
        let mirror = tokens - u;
        let mirror_held = band.holds_row(mirror, block.ks, tokens);
        let lines = &mut lines[mirror * pitch..][..pitch];
        for (v, [re, im]) in kept[i * width..][..width].as_chunks::<2>().0.iter().enumerate() {
            let mirror_v = if v == 0 { 0 } else { hidden - v };
            let weight = if mirror_held && mirror_v < block.kd { norm } else { alone };
            let line = &mut lines[mirror_v / LANES];
            line.im[mirror_v % LANES] += weight * re;
            line.re[mirror_v % LANES] -= weight * im;
        }
    }
}

/// The opposite of `interleave`, each number times `weight`, parts exchanged; zeros in lines beyond the row.
#[inline(always)]
fn separate<V: Vector>(lines: &mut [Line], row: &[f32], weight: f32) {
    let weights = V::splat(weight);
    let (chunks, rest) = row.as_chunks::<{ 2 * LANES }>();
    let (whole, beyond) = lines.split_at_mut(chunks.len());
    for (line, from) in whole.iter_mut().zip(chunks) {
        let (mut re, mut im) = ([0.0; LANES], [0.0; LANES]);
        for (lane, [real, imaginary]) in from.as_chunks::<2>().0.iter().enumerate() {
            (re[lane], im[lane]) = (*real, *imaginary);
        }
        V::load(&im).mul(weights).store(&mut line.re);
        V::load(&re).mul(weights).store(&mut line.im);
    }
    beyond.fill(Line::default());
    for (lane, [re, im]) in rest.as_chunks::<2>().0.iter().enumerate() {
        (beyond[0].im[lane], beyond[0].re[lane]) = (weight * re, weight * im);
    }
}
