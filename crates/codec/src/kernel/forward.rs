//! An activation to a block of its spectrum, or to all of it.

use std::rc::Rc;

use super::band::{Band, Block};
use super::line_transform::ComplexLine;
use super::row::RowPlan;
use super::token_axis::{AxisRows, SIDE, STRIP, WIDTH, up_to_middle};
use super::work::{Workspace, pitch};
use crate::shape::Shape;
use crate::vector::{LANES, Vector, dispatch};

/// A complex coefficient.
pub type Complex32 = rustfft::num_complex::Complex<f32>;

/// The whole spectrum of an activation, not normalised. Rows beyond the middle come from conjugate symmetry.
#[derive(Default)]
pub struct Spectrum {
    shape: Shape,
    /// The rows up to the middle, [`pitch`] lines apart.
    lines: Vec<ComplexLine>,
}

impl Spectrum {
    /// S and D of the activation.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Coefficient (u, v) of the full S x D spectrum.
    pub fn at(&self, u: usize, v: usize) -> Complex32 {
        let Shape { tokens, hidden } = self.shape;
        if u < up_to_middle(tokens) {
            return coefficient(self.row(u), v);
        }
        // The values are real: coefficient (u, v) is the conjugate of (S - u, D - v).
        coefficient(self.row(tokens - u), (hidden - v) % hidden).conj()
    }

    fn row(&self, u: usize) -> &[ComplexLine] {
        &self.lines[u * pitch(self.shape.hidden)..][..self.shape.hidden.div_ceil(LANES)]
    }

    /// Makes `out` the K_S x K_D block of a band, row-major, in the order of the packet: real and imaginary parts in turn.
    pub fn block(&self, band: Band, block: Block, out: &mut Vec<f32>) {
        out.resize(2 * block.ks * block.kd, 0.0);
        let part = SpectrumBlock { band, block, shape: self.shape };
        for u in 0..up_to_middle(self.shape.tokens) {
            let row = self.row(u);
            dispatch!(gather(row, u, part, out));
        }
    }
}

fn coefficient(row: &[ComplexLine], v: usize) -> Complex32 {
    let line = &row[v / LANES];
    Complex32::new(line.re[v % LANES], line.im[v % LANES])
}

/// A block of a spectrum.
#[derive(Clone, Copy)]
pub(super) struct SpectrumBlock {
    pub band: Band,
    pub block: Block,
    /// Of the activation.
    pub shape: Shape,
}

/// Writes row frequency u and its mirror to their places in a block, as far as the block has them.
#[inline(always)]
fn gather<V: Vector>(row: &[ComplexLine], u: usize, part: SpectrumBlock, out: &mut [f32]) {
    let SpectrumBlock { band, block, shape: Shape { tokens, hidden } } = part;
    let width = 2 * block.kd;
    if let Some(i) = band.row(u, block.ks, tokens) {
        interleave::<V>(row, &mut out[i * width..][..width]);
    }
    // Row 0 is its own mirror, and so is the middle one of an even S.
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
fn interleave<V: Vector>(lines: &[ComplexLine], row: &mut [f32]) {
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

/// How many row frequencies have to be computed for a block: none beyond the middle, since those are mirrors.
pub(super) fn needed(band: Band, block: Block, tokens: usize) -> usize {
    let most = match band {
        Band::Corner | Band::Mirrored => block.ks,
        // Frequencies from -K_S/2 on: none is farther from zero than that.
        Band::Centered => block.ks / 2 + 1,
    };
    most.min(up_to_middle(tokens))
}

/// How many columns of the computed rows belong to a block: all of them where it has rows beyond the middle, whose
/// mirrors lie at the other end.
pub(super) fn columns(band: Band, block: Block, rows: usize, hidden: usize) -> usize {
    if band != Band::Centered && block.ks <= rows { block.kd } else { hidden }
}

/// Makes `out` the K_S x K_D block of a band of the spectrum of row-major S x D `values`, each times `gain`, in the
/// order of [`Spectrum::block`]. Returns the largest magnitude of the values; `None` where one is not finite, and then
/// the block means nothing.
///
/// Panics where the values are not of the shape.
pub fn forward(
    values: &[f32],
    shape: Shape,
    band: Band,
    block: Block,
    gain: f64,
    out: &mut Vec<f32>,
    workspace: &mut Workspace,
) -> Option<f32> {
    shape.assert_holds(values);
    out.resize(2 * block.ks * block.kd, 0.0);
    let part = SpectrumBlock { band, block, shape };
    finite(dispatch!(forward_with(workspace, values, part, gain as f32, out)))
}

/// The whole spectrum of row-major S x D `values`, each times `gain`; it lies in the workspace.
///
/// Panics where the values are not of the shape.
pub fn forward_all<'a>(values: &[f32], shape: Shape, gain: f64, workspace: &'a mut Workspace) -> &'a Spectrum {
    shape.assert_holds(values);
    let mut lines = std::mem::take(&mut workspace.spectrum.lines);
    lines.resize(up_to_middle(shape.tokens) * pitch(shape.hidden), ComplexLine::default());
    dispatch!(all_with(workspace, values, shape, gain as f32, &mut lines));
    workspace.spectrum = Spectrum { shape, lines };
    &workspace.spectrum
}

/// The magnitude that these are the bits of, where it is finite.
pub(super) fn finite(bits: u32) -> Option<f32> {
    Some(f32::from_bits(bits)).filter(|top| top.is_finite())
}

/// Gives the bits of the values' largest magnitude.
#[inline(always)]
pub(super) fn forward_with<V: Vector>(
    work: &mut Workspace,
    values: &[f32],
    part: SpectrumBlock,
    gain: f32,
    out: &mut [f32],
) -> u32 {
    let SpectrumBlock { band, block, shape } = part;
    let hidden = shape.hidden;
    let rows = needed(band, block, shape.tokens);
    let outputs = columns(band, block, rows, hidden);
    // Tokens first: the hidden axis then transforms only the row frequencies that are kept.
    let (plan, top) = along_tokens::<V>(work, values, shape, rows, gain);
    let Workspace { lines, row, scratch, .. } = work;
    for (u, line) in lines.chunks_exact(pitch(hidden)).enumerate() {
        plan.forward::<V>((line, hidden), (row, outputs), scratch);
        gather::<V>(row, u, part, out);
    }
    top
}

#[inline(always)]
fn all_with<V: Vector>(work: &mut Workspace, values: &[f32], shape: Shape, gain: f32, spectrum: &mut [ComplexLine]) {
    let hidden = shape.hidden;
    let pitch = pitch(hidden);
    let (plan, _) = along_tokens::<V>(work, values, shape, spectrum.len() / pitch, gain);
    for (from, to) in work.lines.chunks_exact(pitch).zip(spectrum.chunks_exact_mut(pitch)) {
        plan.forward::<V>((from, hidden), (to, hidden), &mut work.scratch);
    }
}

/// Makes the lines of `work` the first row frequencies of each channel. Returns the plan of the hidden axis and the
/// bits of the largest magnitude of the values.
#[inline(always)]
fn along_tokens<V: Vector>(
    work: &mut Workspace,
    values: &[f32],
    shape: Shape,
    rows: usize,
    gain: f32,
) -> (Rc<RowPlan>, u32) {
    let hidden = shape.hidden;
    let plan = work.prepare(shape, rows, false);
    let Workspace { token_axis, lines, .. } = work;
    let mut top = V::zero();
    for strip in (0..hidden).step_by(STRIP * WIDTH) {
        let at = |first: usize| AxisRows { first: first / WIDTH * SIDE, step: pitch(hidden), count: rows };
        top = top.larger_magnitude(token_axis.forward::<V>((values, hidden, strip), gain, lines, at));
    }
    (plan, top.top_bits())
}
