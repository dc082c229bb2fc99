//! The two-dimensional transform: real rows first, then only the columns that are kept.

use std::cell::RefCell;
use std::collections::HashSet;

use realfft::RealFftPlanner;
use rustfft::FftPlanner;

use super::block::{Band, Block};

/// A complex coefficient.
pub type Complex32 = rustfft::num_complex::Complex<f32>;

/// The factor of the inverse transform, 1 / (S * D) (paper, section III-C, the formula for A'). Neither direction of the
/// libraries is normalised; this is the only place where the factor is made.
pub fn normalisation(tokens: usize, hidden: usize) -> f64 {
    1.0 / (tokens as f64 * hidden as f64)
}

/// Most plan lengths a planner keeps, summed: those of every activation up to 700 tokens, and some 20 MB at most.
const PLANNED: usize = 1 << 18;

/// A planner remembers every plan it made. Packets state any shape in a few bytes, so one that meets many forgets all and
/// starts anew.
struct Plans<P> {
    planner: P,
    lengths: HashSet<usize>,
    planned: usize,
}

impl<P> Plans<P> {
    fn new(planner: P) -> Self {
        Self { planner, lengths: HashSet::new(), planned: 0 }
    }

    /// The planner, ready for one more length; `fresh` makes an empty one.
    fn prepare(&mut self, length: usize, fresh: impl Fn() -> P) -> &mut P {
        if !self.lengths.contains(&length) {
            if self.planned + length > PLANNED {
                *self = Self::new(fresh());
            }
            self.lengths.insert(length);
            self.planned += length;
        }
        &mut self.planner
    }
}

thread_local! {
    // One of each a thread needs no lock.
    static ROWS: RefCell<Plans<RealFftPlanner<f32>>> = RefCell::new(Plans::new(RealFftPlanner::new()));
    static COLUMNS: RefCell<Plans<FftPlanner<f32>>> = RefCell::new(Plans::new(FftPlanner::new()));
}

/// A plan for real rows.
fn plan_rows<T>(length: usize, plan: impl FnOnce(&mut RealFftPlanner<f32>) -> T) -> T {
    ROWS.with_borrow_mut(|plans| plan(plans.prepare(length, RealFftPlanner::new)))
}

/// A plan for complex columns.
fn plan_columns<T>(length: usize, plan: impl FnOnce(&mut FftPlanner<f32>) -> T) -> T {
    COLUMNS.with_borrow_mut(|plans| plan(plans.prepare(length, FftPlanner::new)))
}

/// The first columns of a half-spectrum, not normalised.
#[derive(Debug, Clone)]
pub struct Spectrum {
    tokens: usize,
    hidden: usize,
    /// Columns one after another, S coefficients each.
    columns: Vec<Complex32>,
}

impl Spectrum {
    /// S and D of the activation.
    pub fn shape(&self) -> (usize, usize) {
        (self.tokens, self.hidden)
    }

    /// Coefficient (u, v) of the full S x D spectrum; columns beyond D/2 come from conjugate symmetry. Panics where the
    /// column was not computed.
    pub fn at(&self, u: usize, v: usize) -> Complex32 {
        if v <= self.hidden / 2 {
            self.columns[v * self.tokens + u]
        } else {
            self.columns[(self.hidden - v) * self.tokens + (self.tokens - u) % self.tokens].conj()
        }
    }

    /// The K_S x K_D block of a band, row-major, in the order of the packet.
    pub fn block(&self, band: Band, block: Block) -> Vec<Complex32> {
        let mut out = Vec::with_capacity(block.ks * block.kd);
        for i in 0..block.ks {
            let u = band.frequency(i, block.ks, self.tokens);
            out.extend((0..block.kd).map(|v| self.at(u, v)));
        }
        out
    }
}

/// Moves `rows` x `columns` to `columns` x `rows` in tiles, so that both sides stay in cache.
fn transpose(from: &[Complex32], rows: usize, columns: usize, to: &mut [Complex32]) {
    const TILE: usize = 16;
    for r0 in (0..rows).step_by(TILE) {
        for c0 in (0..columns).step_by(TILE) {
            for r in r0..(r0 + TILE).min(rows) {
                for c in c0..(c0 + TILE).min(columns) {
                    to[c * rows + r] = from[r * columns + c];
                }
            }
        }
    }
}

/// Transforms row-major S x D `values`, each times `gain`, and keeps what a block of `kd` columns needs: the first
/// min(kd, D/2 + 1) columns of the half-spectrum. Not normalised.
pub fn forward(values: &[f32], tokens: usize, hidden: usize, kd: usize, gain: f32) -> Spectrum {
    assert_eq!(values.len(), tokens * hidden, "the values are not {tokens} x {hidden}");
    let kept = kd.min(hidden / 2 + 1);
    let row_plan = plan_rows(hidden, |planner| planner.plan_fft_forward(hidden));
    let mut row = row_plan.make_input_vec();
    let mut row_out = row_plan.make_output_vec();
    let mut scratch = row_plan.make_scratch_vec();
    let mut by_row = Vec::with_capacity(tokens * kept);
    for token in values.chunks_exact(hidden) {
        row.iter_mut().zip(token).for_each(|(to, from)| *to = from * gain);
        row_plan.process_with_scratch(&mut row, &mut row_out, &mut scratch).expect("buffers come from the plan");
        by_row.extend_from_slice(&row_out[..kept]);
    }
    let mut columns = vec![Complex32::default(); tokens * kept];
    transpose(&by_row, tokens, kept, &mut columns);
    // One call transforms every column: they lie one after another.
    plan_columns(tokens, |planner| planner.plan_fft_forward(tokens)).process(&mut columns);
    Spectrum { tokens, hidden, columns }
}

/// The values that a kept block stands for, row-major S x D, each times `gain` and normalised.
///
/// The spectrum restored is zero outside the block and its mirror positions. Where a position and its mirror
/// (S - u, D - v) were both kept, or are the same, their conjugate mean is used: that is what the real part of the inverse
/// leaves. Where one was kept, `mirrored` and `centered` give the other its conjugate and `corner` halves both.
pub fn inverse(kept: &[Complex32], band: Band, block: Block, tokens: usize, hidden: usize, gain: f64) -> Vec<f32> {
    assert_eq!(kept.len(), block.ks * block.kd, "the coefficients are not {} x {}", block.ks, block.kd);
    let half = hidden / 2;
    let active = block.kd.min(half + 1);
    let mut columns = vec![Complex32::default(); tokens * active];
    let alone = if band == Band::Corner { 0.5 } else { 1.0 };
    for (i, row) in kept.chunks_exact(block.kd).enumerate() {
        let u = band.frequency(i, block.ks, tokens);
        let mirror_u = (tokens - u) % tokens;
        let row_held = band.holds_row(mirror_u, block.ks, tokens);
        for (v, &c) in row.iter().enumerate() {
            let mirror_v = if v == 0 { 0 } else { hidden - v };
            let weight = if row_held && mirror_v < block.kd { 0.5 } else { alone };
            if v <= half {
                columns[v * tokens + u] += c * weight;
            }
            if mirror_v <= half {
                columns[mirror_v * tokens + mirror_u] += c.conj() * weight;
            }
        }
    }
    plan_columns(tokens, |planner| planner.plan_fft_inverse(tokens)).process(&mut columns);
    let mut by_row = vec![Complex32::default(); tokens * active];
    transpose(&columns, active, tokens, &mut by_row);

    let row_plan = plan_rows(hidden, |planner| planner.plan_fft_inverse(hidden));
    let mut row = row_plan.make_input_vec();
    let mut scratch = row_plan.make_scratch_vec();
    let mut out = vec![0f32; tokens * hidden];
    let scale = normalisation(tokens, hidden) * gain;
    for (from, to) in by_row.chunks_exact(active).zip(out.chunks_exact_mut(hidden)) {
        // The plan uses its input as scratch: the zeros are written anew for every row.
        row[..active].copy_from_slice(from);
        row[active..].fill(Complex32::default());
        // Real by symmetry, up to rounding; the plan refuses anything but zero.
        row[0].im = 0.0;
        if hidden.is_multiple_of(2) {
            row[half].im = 0.0;
        }
        row_plan.process_with_scratch(&mut row, to, &mut scratch).expect("buffers come from the plan");
        to.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
    }
    out
}
