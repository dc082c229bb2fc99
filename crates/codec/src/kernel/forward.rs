//! An activation to a block of its spectrum, or to all of it.

use std::rc::Rc;

use super::axis::Line;
use super::band::{Band, Block};
use super::row::RowPlan;
use super::token_axis::{Rows, SIDE, STRIP, WIDTH, up_to_middle, widths};
use super::work::{WORK, Work, pitch};
use crate::vector::{LANES, Vector, dispatch};

/// A complex coefficient.
pub type Complex32 = rustfft::num_complex::Complex<f32>;

/// The whole spectrum of an activation, not normalised. Rows beyond the middle come from conjugate symmetry.
pub struct Spectrum {
    tokens: usize,
    hidden: usize,
    /// The rows up to the middle, [`pitch`] lines apart.
    lines: Vec<Line>,
}

impl Drop for Spectrum {
    /// The buffer goes back to its thread.
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // During the end of a thread there is nothing to give it back to.
        let _ = WORK.try_with(|work| work.borrow_mut().spectrum = lines);
    }
}

impl Spectrum {
    /// S and D of the activation.
    pub fn shape(&self) -> (usize, usize) {
        (self.tokens, self.hidden)
    }

    /// Coefficient (u, v) of the full S x D spectrum.
    pub fn at(&self, u: usize, v: usize) -> Complex32 {
        if u < up_to_middle(self.tokens) {
            return coefficient(self.row(u), v);
        }
        coefficient(self.row(self.tokens - u), (self.hidden - v) % self.hidden).conj()
    }

    fn row(&self, u: usize) -> &[Line] {
        &self.lines[u * pitch(self.hidden)..][..self.hidden.div_ceil(LANES)]
    }

    /// Makes `out` the K_S x K_D block of a band, row-major, in the order of the packet: real and imaginary parts in turn.
    pub fn block(&self, band: Band, block: Block, out: &mut Vec<f32>) {
        out.resize(2 * block.ks * block.kd, 0.0);
        let part = Part { band, block, tokens: self.tokens, hidden: self.hidden };
        for u in 0..up_to_middle(self.tokens) {
            let row = self.row(u);
            dispatch!(gather(row, u, part, out));
        }
    }
}

fn coefficient(row: &[Line], v: usize) -> Complex32 {
    let line = &row[v / LANES];
    Complex32::new(line.re[v % LANES], line.im[v % LANES])
}

/// A block of a spectrum.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub band: Band,
    pub block: Block,
    /// S of the activation.
    pub tokens: usize,
    /// Its D.
    pub hidden: usize,
}

/// Puts what a block has of row frequency u, and of its mirror, into its places.
#[inline(always)]
fn gather<V: Vector>(row: &[Line], u: usize, part: Part, out: &mut [f32]) {
    let Part { band, block, tokens, hidden } = part;
    let width = 2 * block.kd;
    if let Some(i) = band.row(u, block.ks, tokens) {
        interleave::<V>(row, &mut out[i * width..][..width]);
    }
    if let Some(i) =
        (up_to_middle(tokens)..tokens).contains(&(tokens - u)).then(|| band.row(tokens - u, block.ks, tokens)).flatten()
    {
        for (v, to) in out[i * width..][..width].as_chunks_mut().0.iter_mut().enumerate() {
            let c = coefficient(row, (hidden - v) % hidden).conj();
            *to = [c.re, c.im];
        }
    }
}

/// Real and imaginary parts in turn, as many as there is room for.
#[inline(always)]
fn interleave<V: Vector>(lines: &[Line], row: &mut [f32]) {
    let (chunks, rest) = row.as_chunks_mut::<{ 2 * LANES }>();
    for (line, to) in lines.iter().zip(&mut *chunks) {
        let (low, high) = V::interleave(V::load(&line.re), V::load(&line.im));
        let (to_low, to_high) = to.split_at_mut(LANES);
        to_low.copy_from_slice(&low);
        to_high.copy_from_slice(&high);
    }
    for (lane, to) in rest.as_chunks_mut().0.iter_mut().enumerate() {
        let line = &lines[chunks.len()];
        *to = [line.re[lane], line.im[lane]];
    }
}

/// Row frequencies that a block of a band needs computed: none beyond the middle, which mirrors.
pub(super) fn needed(band: Band, block: Block, tokens: usize) -> usize {
    let most = match band {
        Band::Corner | Band::Mirrored => block.ks,
        Band::Centered => block.ks / 2 + 1,
    };
    most.min(up_to_middle(tokens))
}

/// Columns of the computed rows that a block of a band stands for: a row beyond the middle mirrors to their other end.
pub(super) fn columns(band: Band, block: Block, rows: usize, hidden: usize) -> usize {
    if band != Band::Centered && block.ks <= rows { block.kd } else { hidden }
}

/// Makes `out` the K_S x K_D block of a band, of the spectrum of row-major S x D `values`, each times `gain`; its order is that of
/// [`Spectrum::block`]. Gives the largest magnitude of the values; `None` where one is not finite, and the block means nothing.
pub fn forward(
    values: &[f32],
    tokens: usize,
    hidden: usize,
    band: Band,
    block: Block,
    gain: f32,
    out: &mut Vec<f32>,
) -> Option<f32> {
    assert_eq!(values.len(), tokens * hidden, "the values are not {tokens} x {hidden}");
    out.resize(2 * block.ks * block.kd, 0.0);
    let part = Part { band, block, tokens, hidden };
    WORK.with_borrow_mut(|work| finite(dispatch!(forward_with(work, values, part, gain, out))))
}

/// The whole spectrum of row-major S x D `values`, each times `gain`.
pub fn forward_all(values: &[f32], tokens: usize, hidden: usize, gain: f32) -> Spectrum {
    assert_eq!(values.len(), tokens * hidden, "the values are not {tokens} x {hidden}");
    let mut lines = WORK.with_borrow_mut(|work| std::mem::take(&mut work.spectrum));
    lines.resize(up_to_middle(tokens) * pitch(hidden), Line::default());
    WORK.with_borrow_mut(|work| dispatch!(all_with(work, values, hidden, gain, &mut lines)));
    Spectrum { tokens, hidden, lines }
}

/// The magnitude that these are the bits of, where it is finite.
pub(super) fn finite(bits: u32) -> Option<f32> {
    Some(f32::from_bits(bits)).filter(|top| top.is_finite())
}

/// Gives the bits of the values' largest magnitude.
#[inline(always)]
pub(super) fn forward_with<V: Vector>(work: &mut Work, values: &[f32], part: Part, gain: f32, out: &mut [f32]) -> u32 {
    let Part { band, block, tokens, hidden } = part;
    let rows = needed(band, block, tokens);
    let outputs = columns(band, block, rows, hidden);
    let (plan, top) = along_tokens::<V>(work, values, hidden, rows, gain);
    let Work { lines, row, scratch, .. } = work;
    for (u, line) in lines.chunks_exact(pitch(hidden)).enumerate() {
        plan.forward::<V>((line, hidden), (row, outputs), scratch);
        gather::<V>(row, u, part, out);
    }
    top
}

#[inline(always)]
fn all_with<V: Vector>(work: &mut Work, values: &[f32], hidden: usize, gain: f32, spectrum: &mut [Line]) {
    let pitch = pitch(hidden);
    let (plan, _) = along_tokens::<V>(work, values, hidden, spectrum.len() / pitch, gain);
    for (from, to) in work.lines.chunks_exact(pitch).zip(spectrum.chunks_exact_mut(pitch)) {
        plan.forward::<V>((from, hidden), (to, hidden), &mut work.scratch);
    }
}

/// Makes the lines of `work` the first row frequencies of each channel. Gives the plan of the hidden axis, and the bits of the
/// values' largest magnitude.
#[inline(always)]
fn along_tokens<V: Vector>(
    work: &mut Work,
    values: &[f32],
    hidden: usize,
    rows: usize,
    gain: f32,
) -> (Rc<RowPlan>, u32) {
    let plan = work.prepare(values.len() / hidden, hidden, rows, false);
    let Work { token_axis, lines, .. } = work;
    let mut top = V::zero();
    for strip in (0..hidden).step_by(STRIP * WIDTH) {
        top = top.larger_magnitude(token_axis.read::<V>(values, hidden, strip, gain));
        for (nth, first) in widths(hidden, strip) {
            token_axis.forward::<V>(nth, lines, Rows { first: first / WIDTH * SIDE, step: pitch(hidden), count: rows });
        }
    }
    (plan, top.top_bits())
}
