//! An activation to the low rows of its spectrum.

use super::axis::Line;
use super::band::{Band, Block};
use super::token_axis::{Rows, SIDE, STRIP, WIDTH, up_to_middle, widths};
use super::work::{WORK, Work, pitch};
use crate::vector::{LANES, Vector, dispatch};

/// A complex coefficient.
pub type Complex32 = rustfft::num_complex::Complex<f32>;

/// The low rows of a spectrum, not normalised. Rows beyond the middle come from conjugate symmetry.
pub struct Spectrum {
    tokens: usize,
    hidden: usize,
    rows: usize,
    columns: usize,
    /// The rows, [`pitch`] lines apart.
    lines: Vec<Line>,
}

impl Drop for Spectrum {
    /// The buffer goes back to its thread.
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // During the end of a thread there is nothing to give it back to.
        let _ = WORK.try_with(|work| work.borrow_mut().lines = lines);
    }
}

impl Spectrum {
    /// S and D of the activation.
    pub fn shape(&self) -> (usize, usize) {
        (self.tokens, self.hidden)
    }

    /// Coefficient (u, v) of the full S x D spectrum. Panics where neither it nor its mirror was computed.
    pub fn at(&self, u: usize, v: usize) -> Complex32 {
        if u < self.rows {
            return self.computed(u, v);
        }
        self.computed(self.tokens - u, (self.hidden - v) % self.hidden).conj()
    }

    fn computed(&self, u: usize, v: usize) -> Complex32 {
        assert!(u < self.rows && v < self.columns, "({u}, {v}) of the spectrum was not computed");
        let line = &self.row(u)[v / LANES];
        Complex32::new(line.re[v % LANES], line.im[v % LANES])
    }

    fn row(&self, u: usize) -> &[Line] {
        &self.lines[u * pitch(self.hidden)..][..self.hidden.div_ceil(LANES)]
    }

    /// The K_S x K_D block of a band, row-major, in the order of the packet: real and imaginary parts in turn.
    pub fn block(&self, band: Band, block: Block, out: &mut Vec<f32>) {
        out.resize(2 * block.ks * block.kd, 0.0);
        for (i, row) in out.chunks_exact_mut(2 * block.kd).enumerate() {
            let u = band.frequency(i, block.ks, self.tokens);
            if u < self.rows {
                assert!(block.kd <= self.columns, "{} columns of the spectrum were not computed", block.kd);
                let lines = self.row(u);
                dispatch!(interleave(lines, row));
            } else {
                for (v, to) in row.as_chunks_mut().0.iter_mut().enumerate() {
                    let c = self.at(u, v);
                    *to = [c.re, c.im];
                }
            }
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

/// The part of the spectrum of row-major S x D `values`, each times `gain`, that a block of a band needs.
pub fn forward(values: &[f32], tokens: usize, hidden: usize, band: Band, block: Block, gain: f32) -> Spectrum {
    let rows = needed(band, block, tokens);
    forward_part(values, tokens, hidden, (rows, columns(band, block, rows, hidden)), gain)
}

/// The whole spectrum.
pub fn forward_all(values: &[f32], tokens: usize, hidden: usize, gain: f32) -> Spectrum {
    forward_part(values, tokens, hidden, (up_to_middle(tokens), hidden), gain)
}

fn forward_part(values: &[f32], tokens: usize, hidden: usize, part: (usize, usize), gain: f32) -> Spectrum {
    assert_eq!(values.len(), tokens * hidden, "the values are not {tokens} x {hidden}");
    WORK.with_borrow_mut(|work| dispatch!(forward_with(work, values, hidden, part, gain)))
}

#[inline(always)]
pub(super) fn forward_with<V: Vector>(
    work: &mut Work,
    values: &[f32],
    hidden: usize,
    (rows, columns): (usize, usize),
    gain: f32,
) -> Spectrum {
    let tokens = values.len() / hidden;
    let plan = work.prepare(tokens, hidden, rows, false);
    let Work { token_axis, lines, scratch, .. } = work;
    let pitch = pitch(hidden);
    for strip in (0..hidden).step_by(STRIP * WIDTH) {
        token_axis.read::<V>(values, hidden, strip, gain);
        for (nth, first) in widths(hidden, strip) {
            token_axis.forward::<V>(nth, lines, Rows { first: first / WIDTH * SIDE, step: pitch, count: rows });
        }
    }
    for row in lines.chunks_exact_mut(pitch) {
        plan.forward::<V>(row, scratch, hidden, columns);
    }
    Spectrum { tokens, hidden, rows, columns, lines: std::mem::take(lines) }
}
