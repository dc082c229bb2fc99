//! A kept block back to the values it stands for.

use super::band::{Band, Block};
use super::forward::{SpectrumBlock, columns, finite, needed};
use super::line_transform::ComplexLine;
use super::token_axis::{AxisRows, SIDE, STRIP, WIDTH, up_to_middle};
use super::work::{Workspace, pitch};
use crate::shape::Shape;
use crate::vector::{LANES, Vector, dispatch};

/// The factor of the inverse transform, 1 / (S * D) (paper, section III-C, the formula for A'). It is the only
/// normalisation in either direction.
pub fn normalisation(shape: Shape) -> f64 {
    1.0 / (shape.tokens as f64 * shape.hidden as f64)
}

/// Coefficients of a packet are below 2^16 unless their type has f32's range, and never more than 2^27 in number: a gain up
/// to this keeps their sums within f32, and one down to its reciprocal keeps all that f16 tells apart.
const MODERATE: f64 = (1u64 << 60) as f64;

/// Makes `out` the values that a kept block stands for, row-major S x D, each times `gain`, a power of two, and normalised.
/// `kept` has the order of [`super::Spectrum::block`]. Gives their largest magnitude; `None` where one is not finite.
///
/// The spectrum restored is zero outside the block and its mirror positions. Where a position and its mirror
/// (S - u, D - v) were both kept, or are the same, their conjugate mean is used: that is what the real part of the inverse
/// leaves. Where one was kept, `mirrored` and `centered` give the other its conjugate and `corner` halves both.
///
/// Panics where the coefficients are not those of the block.
pub fn inverse(
    kept: &[f32],
    shape: Shape,
    band: Band,
    block: Block,
    gain: f64,
    out: &mut Vec<f32>,
    workspace: &mut Workspace,
) -> Option<f32> {
    assert_eq!(kept.len(), 2 * block.ks * block.kd, "the coefficients are not {} x {}", block.ks, block.kd);
    let part = SpectrumBlock { band, block, shape };
    out.resize(shape.elements(), 0.0);
    // A power of two changes no digit, wherever it comes in, but where the range of f32 ends.
    let within = (MODERATE.recip()..=MODERATE).contains(&gain);
    let (early, late) = if within { (gain, 1.0) } else { (1.0, gain) };
    let factor = (normalisation(shape) * early) as f32;
    let top = finite(dispatch!(inverse_with(workspace, kept, part, factor, out)))?;
    if late == 1.0 {
        return Some(top);
    }
    out.iter_mut().for_each(|v| *v = (f64::from(*v) * late) as f32);
    finite(((f64::from(top) * late) as f32).to_bits())
}

/// Gives the bits of the values' largest magnitude.
#[inline(always)]
pub(super) fn inverse_with<V: Vector>(
    work: &mut Workspace,
    kept: &[f32],
    part: SpectrumBlock,
    factor: f32,
    out: &mut [f32],
) -> u32 {
    let SpectrumBlock { band, block, shape } = part;
    let hidden = shape.hidden;
    let rows = needed(band, block, shape.tokens);
    let plan = work.prepare(shape, rows, true);
    let inputs = columns(band, block, rows, hidden);
    let pitch = pitch(hidden);
    let Workspace { token_axis, lines, row, scratch, .. } = work;
    // Lines beyond these count as zeros whatever they hold, so no others are written.
    let read = plan.lines_read(inputs);
    for (u, line) in lines.chunks_exact_mut(pitch).enumerate() {
        spread::<V>(&mut row[..read], kept, part, u, factor);
        // The token axis takes sixteen channels together, in pairs that become one complex number. Lanes beyond D must be
        // zeros: what an earlier, wider transform left there would spoil its partner's digits.
        line[hidden / LANES..].fill(ComplexLine::default());
        plan.forward::<V>((row, inputs), (line, hidden), scratch);
    }
    let mut top = V::zero();
    for strip in (0..hidden).step_by(STRIP * WIDTH) {
        let at = |first: usize| AxisRows { first: first / WIDTH * SIDE, step: pitch, count: rows };
        top = top.larger_magnitude(token_axis.inverse::<V>(lines, at, (&mut *out, hidden, strip)));
    }
    top.top_bits()
}

/// Makes a row that of frequency u, up to the middle, of a spectrum that is zero but for the kept coefficients, weighed
/// and times `norm` so that its inverse has the wanted real part. Real and imaginary parts change places: a forward
/// transform between two such exchanges is the inverse (Duhamel, Piron and Etcheto 1988).
#[inline(always)]
fn spread<V: Vector>(row: &mut [ComplexLine], kept: &[f32], part: SpectrumBlock, u: usize, norm: f32) {
    let SpectrumBlock { band, block, shape: Shape { tokens, hidden } } = part;
    let width = 2 * block.kd;
    // The real part of twice a coefficient's wave is that wave and its mirror's together; `corner` restores no mirrors.
    let alone = if band == Band::Corner { norm } else { 2.0 * norm };
    let kept_row = |u: usize| band.row(u, block.ks, tokens).map(|i| &kept[i * width..][..width]);
    let own = kept_row(u);
    let mirror = tokens - u;
    separate::<V>(row, own.unwrap_or_default(), alone);
    // Where the mirror is kept too, or is the same, each counts once.
    if band != Band::Corner && own.is_some() && kept_row(mirror % tokens).is_some() {
        // Both v and D - v are kept where D - v < K_D; column 0 is its own mirror.
        for v in (0..1).chain((hidden + 1).saturating_sub(block.kd).max(1)..block.kd) {
            let line = &mut row[v / LANES];
            line.re[v % LANES] *= 0.5;
            line.im[v % LANES] *= 0.5;
        }
    }
    if let Some(beyond) = kept_row(mirror).filter(|_| (up_to_middle(tokens)..tokens).contains(&mirror)) {
        for (v, [re, im]) in beyond.as_chunks::<2>().0.iter().enumerate() {
            // A row beyond the middle is stored as its mirror: the conjugate, at column D - v.
            let mirror_v = if v == 0 { 0 } else { hidden - v };
            let weight = if own.is_some() && mirror_v < block.kd { norm } else { alone };
            let line = &mut row[mirror_v / LANES];
            line.im[mirror_v % LANES] += weight * re;
            line.re[mirror_v % LANES] -= weight * im;
        }
    }
}

/// Undoes `interleave`: each number times `weight`, parts exchanged; lines beyond the row become zeros.
#[inline(always)]
fn separate<V: Vector>(lines: &mut [ComplexLine], row: &[f32], weight: f32) {
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
    beyond.fill(ComplexLine::default());
    for (lane, [re, im]) in rest.as_chunks::<2>().0.iter().enumerate() {
        (beyond[0].im[lane], beyond[0].re[lane]) = (weight * re, weight * im);
    }
}
