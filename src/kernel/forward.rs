//! An activation to the low rows of its spectrum.

use std::rc::Rc;

use super::axis::{AxisPlan, Line};
use super::band::{Band, Block};
use super::token_axis::{STRIP, WIDTH, pairs};
use super::work::{WORK, Work};
use crate::vector::{LANES, Vector, dispatch};

/// A complex coefficient.
pub type Complex32 = rustfft::num_complex::Complex<f32>;

/// The low rows of a spectrum, not normalised. Rows beyond the middle come from conjugate symmetry.
pub struct Spectrum {
    tokens: usize,
    hidden: usize,
    rows: usize,
    columns: usize,
    plan: Rc<AxisPlan>,
    /// Groups of eight rows.
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
        let line = &self.lines[u / LANES * self.plan.lines + self.plan.output[v] as usize];
        Complex32::new(line.re[u % LANES], line.im[u % LANES])
    }

    /// The K_S x K_D block of a band, row-major, in the order of the packet: real and imaginary parts in turn.
    pub fn block(&self, band: Band, block: Block, out: &mut Vec<f32>) {
        out.clear();
        out.resize(2 * block.ks * block.kd, 0.0);
        let mut rows = out.chunks_exact_mut(2 * block.kd);
        let mut i = 0;
        while i < block.ks {
            let u = band.frequency(i, block.ks, self.tokens);
            // Rows that lie in lanes as they do in the block go eight at a time.
            let run = (self.rows.saturating_sub(u)).min(block.ks - i).min(LANES - u % LANES);
            if run == 0 {
                for (v, to) in rows.by_ref().take(1).flat_map(|row| row.chunks_exact_mut(2)).enumerate() {
                    let c = self.at(u, v);
                    to.copy_from_slice(&[c.re, c.im]);
                }
                i += 1;
            } else {
                let lines = &self.lines[u / LANES * self.plan.lines..][..self.plan.lines];
                let mut to: [&mut [f32]; LANES] = std::array::from_fn(|_| [].as_mut_slice());
                to.iter_mut().zip(rows.by_ref().take(run)).for_each(|(to, row)| *to = row);
                dispatch!(gather(lines, &self.plan.output[..block.kd], u % LANES, &mut to[..run]));
                i += run;
            }
        }
    }
}

/// Rows `first_lane ..` of a group, one number after another, from lanes.
#[inline(always)]
fn gather<V: Vector>(lines: &[Line], places: &[u32], first_lane: usize, rows: &mut [&mut [f32]]) {
    let (chunks, rest) = places.as_chunks::<LANES>();
    for (nth, places) in chunks.iter().enumerate() {
        let (mut re, mut im) = ([V::zero(); LANES], [V::zero(); LANES]);
        for j in 0..LANES {
            let line = &lines[places[j] as usize];
            (re[j], im[j]) = (V::load(&line.re), V::load(&line.im));
        }
        let (re, im) = (V::transpose(re), V::transpose(im));
        for (lane, row) in (first_lane..).zip(rows.iter_mut()) {
            let (mut low, mut high) = ([0.0; LANES], [0.0; LANES]);
            re[lane].store(&mut low);
            im[lane].store(&mut high);
            let to = &mut row[nth * 2 * LANES..][..2 * LANES];
            for (to, (re, im)) in to.as_chunks_mut::<2>().0.iter_mut().zip(low.iter().zip(&high)) {
                *to = [*re, *im];
            }
        }
    }
    let done = places.len() - rest.len();
    for (nth, at) in rest.iter().enumerate() {
        let line = &lines[*at as usize];
        for (lane, row) in (first_lane..).zip(rows.iter_mut()) {
            row[2 * (done + nth)..][..2].copy_from_slice(&[line.re[lane], line.im[lane]]);
        }
    }
}

/// Row frequencies that a block of a band needs computed: none beyond the middle, which mirrors.
pub(super) fn needed(band: Band, block: Block, tokens: usize) -> usize {
    let most = match band {
        Band::Corner | Band::Mirrored => block.ks,
        Band::Centered => block.ks / 2 + 1,
    };
    most.min(pairs(tokens))
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
    forward_part(values, tokens, hidden, (pairs(tokens), hidden), gain)
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
    let Work { token_axis, rows: pairs, lines, scratch, .. } = work;
    for strip in (0..hidden).step_by(STRIP * WIDTH) {
        token_axis.read::<V>(values, hidden, strip, gain);
        for (nth, first) in (strip..hidden.min(strip + STRIP * WIDTH)).step_by(WIDTH).enumerate() {
            token_axis.forward::<V>(nth, &mut pairs[..rows]);
            let places = &plan.input[first..hidden.min(first + WIDTH)];
            for (lines, pairs) in lines.chunks_exact_mut(plan.lines).zip(pairs.as_chunks::<LANES>().0) {
                for (half, places) in places.chunks(LANES).enumerate() {
                    let (mut re, mut im) = ([V::zero(); LANES], [V::zero(); LANES]);
                    for j in 0..LANES {
                        (re[j], im[j]) = (V::load(&pairs[j].even[half]), V::load(&pairs[j].odd[half]));
                    }
                    let (re, im) = (V::transpose(re), V::transpose(im));
                    for (j, at) in places.iter().enumerate() {
                        let line = &mut lines[*at as usize];
                        re[j].store(&mut line.re);
                        im[j].store(&mut line.im);
                    }
                }
            }
        }
    }
    for lines in lines.chunks_exact_mut(plan.lines) {
        plan.forward::<V>(lines, scratch, hidden, columns);
    }
    Spectrum { tokens, hidden, rows, columns, lines: std::mem::take(lines), plan }
}
