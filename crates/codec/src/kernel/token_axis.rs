//! The token axis. Few tokens are transformed by sums over cosines and sines, class by class ([`super::classes`]), and
//! only the wanted frequencies are computed. Many tokens are transformed by fast transforms, two real columns as one
//! complex column.

use std::f64::consts::TAU;
use std::iter::StepBy;
use std::ops::Range;
use std::rc::Rc;

use super::axis::{AxisPlan, Buffers, ComplexLine};
use super::classes::{self, Classes, RADICES, Strip};
use crate::vector::{LANES, Vector};

/// Channels at a time: two vectors.
pub(super) const WIDTH: usize = 2 * LANES;

/// A strip is this many times [`WIDTH`] channels of a row, read or written in one go: rows lie far apart in memory, and
/// a processor prefetches only where neighbours are read.
pub(super) const STRIP: usize = 8;

/// Outputs at a time: with two vectors of each part, their sums fill twelve of sixteen registers.
const OUTPUTS: usize = 3;

/// Lines of [`WIDTH`] channels.
pub(super) const SIDE: usize = WIDTH / LANES;

/// Most pairs of factors for sums, 8 bytes each; beyond them fast transforms are used.
const MOST_PRODUCTS: usize = 1 << 20;

/// Rows or terms of [`WIDTH`] channels among lines: number i is at `first + i * step`, and its second half beside it. The
/// real part goes with cosines, the imaginary part with sines.
#[derive(Debug, Clone, Copy)]
pub(super) struct AxisRows {
    pub first: usize,
    pub step: usize,
    pub count: usize,
}

impl AxisRows {
    /// Every `step`-th from number `first` on.
    fn every(self, step: usize, first: usize) -> Self {
        let count = self.count.saturating_sub(first).div_ceil(step);
        Self { first: self.first + first * self.step, step: self.step * step, count }
    }

    #[inline(always)]
    pub fn at(self, i: usize) -> usize {
        self.first + i * self.step
    }

    /// Whether all of them are among these lines.
    fn are_within(self, lines: &[ComplexLine]) -> bool {
        self.count == 0 || self.at(self.count - 1) + SIDE <= lines.len()
    }
}

/// Row frequencies up to the middle, S / 2 + 1: the others are their mirrors.
pub(super) fn up_to_middle(tokens: usize) -> usize {
    tokens / 2 + 1
}

/// What is computed once per number of tokens: the roots of unity and the fast transform.
pub(super) struct TokenPlan {
    roots: Vec<[f32; 2]>,
    axis: AxisPlan,
}

impl TokenPlan {
    pub fn new(tokens: usize) -> Self {
        Self { roots: roots(tokens), axis: AxisPlan::new(tokens) }
    }

    /// The classes for this number of row frequencies; `None` where fast transforms serve it better. The cost is
    /// counted in products of real numbers: to divide S tokens into R > 2 classes counts S (R/2 + 8); a step of a fast
    /// transform, which has S log2 S of them, counts ten, and one of the library's transform 24. Those were the times
    /// when they were last measured. A table of factors beyond the caches is neither fast nor small, whatever the
    /// count.
    fn classes(&self, rows: usize) -> Option<Classes> {
        let tokens = self.roots.len();
        let step = if self.axis.is_fast() { 10 } else { 24 };
        let classes = |radix: &usize| Classes { radix: *radix, apart: tokens / radix };
        let cost = |classes: &Classes| {
            let Classes { radix, .. } = *classes;
            // Radices 1 and 2 add and subtract only.
            let divided = if radix > 2 { tokens * (radix + 16) / 2 } else { 0 };
            let numbers =
                (0..3).map(|table| frequencies(*classes, rows, table).len() * [2, 2, 4 * classes::pairs(radix)][table]);
            divided + numbers.sum::<usize>() * classes.terms()
        };
        let divided = RADICES.iter().filter(|radix| tokens.is_multiple_of(**radix)).map(classes);
        let best = divided.min_by_key(cost)?;
        let factors = rows / best.radix * best.terms();
        (factors <= MOST_PRODUCTS && cost(&best) <= step * tokens * (tokens.ilog2() as usize + 1)).then_some(best)
    }
}

/// Frequencies that a table of factors is for: those of class 0, of class R/2, and of the transforms of complex classes, where
/// k stands for R k + r and R k - r.
fn frequencies(Classes { radix, .. }: Classes, rows: usize, table: usize) -> StepBy<Range<usize>> {
    let end = match (table, classes::pairs(radix)) {
        (2, 0) => 0,
        (2, pairs) => rows + pairs,
        _ => rows,
    };
    let first = match table {
        1 if radix % 2 == 1 => end,
        1 => radix / 2,
        _ => 0,
    };
    (first.min(end)..end).step_by(radix)
}

/// The transform of a strip of channels, and its buffers.
#[derive(Default)]
pub(super) struct TokenAxis {
    plan: Option<Rc<TokenPlan>>,
    /// The classes, where sums are used; `None` for fast transforms.
    classes: Option<Classes>,
    /// The factors of the sums, a table for each kind of class that [`frequencies`] lists.
    tables: [Vec<f32>; 3],
    /// The terms of the streams, for each [`WIDTH`] channels in turn.
    terms: Vec<ComplexLine>,
    /// The two streams of a complex class, transformed or to be transformed.
    pair: Vec<ComplexLine>,
    /// For fast transforms: the tokens of each [`WIDTH`] channels, eight channels as real parts and eight as imaginary
    /// parts.
    columns: Vec<ComplexLine>,
    scratch: Buffers,
}

impl TokenAxis {
    /// Prepares transforms from S x D values to `rows` row frequencies, or, where `inverse`, back.
    pub fn prepare(&mut self, plan: Rc<TokenPlan>, hidden: usize, rows: usize, inverse: bool) {
        let tokens = plan.roots.len();
        // A narrow activation of many tokens has no whole strip.
        let strip = hidden.div_ceil(WIDTH).min(STRIP);
        self.classes = plan.classes(rows);
        match self.classes {
            None => self.columns.resize(strip * tokens, ComplexLine::default()),
            Some(classes) => {
                for (nth, table) in self.tables.iter_mut().enumerate() {
                    let (frequencies, terms) = (frequencies(classes, rows, nth), 0..classes.terms());
                    // The inverse multiplies frequencies into terms: the same factors, in the other order.
                    if inverse {
                        fill_table(table, &plan.roots, terms, frequencies);
                    } else {
                        fill_table(table, &plan.roots, frequencies, terms);
                    }
                }
                self.terms.resize(strip * classes.radix * classes.terms() * SIDE, ComplexLine::default());
                self.pair.resize(2 * frequencies(classes, rows, 2).len() * SIDE, ComplexLine::default());
            }
        }
        self.plan = Some(plan);
    }

    /// Reads a strip of row-major S x D `values`, each times `gain`. Gives the largest magnitudes, lane by lane.
    #[inline(always)]
    pub fn read<V: Vector>(&mut self, values: &[f32], hidden: usize, strip: usize, gain: f32) -> V {
        let mut top = V::zero();
        let Some(plan) = &self.plan else { return top };
        let tokens = plan.roots.len();
        if let Some(classes) = self.classes {
            let strip = Strip { hidden, first: strip, roots: &plan.roots };
            return classes::read::<V>(classes, &strip, values, gain, &mut self.terms);
        }
        let gain = V::splat(gain);
        for (s, row) in values.chunks_exact(hidden).enumerate() {
            for (nth, first) in widths(hidden, strip) {
                let [low, high] = channels::<V>(row, first);
                top = top.larger_magnitude(low).larger_magnitude(high);
                // Two real columns as the parts of one complex column: one transform serves both (Cooley, Lewis and
                // Welch 1970).
                let line = &mut self.columns[nth * tokens + s];
                low.mul(gain).store(&mut line.re);
                high.mul(gain).store(&mut line.im);
            }
        }
        top
    }

    /// Transforms the nth channels of the strip to the first rows of their spectrum.
    #[inline(always)]
    pub fn forward<V: Vector>(&mut self, nth: usize, lines: &mut [ComplexLine], rows: AxisRows) {
        let Some(plan) = &self.plan else { return };
        let tokens = plan.roots.len();
        if let Some(classes) = self.classes {
            let Classes { radix, .. } = classes;
            let [whole, halfway, complex] = &self.tables;
            sums::<V, false>(whole, (&self.terms, classes.stream(nth, 0)), (&mut *lines, rows.every(radix, 0)));
            if radix.is_multiple_of(2) {
                let to = (&mut *lines, rows.every(radix, radix / 2));
                sums::<V, false>(halfway, (&self.terms, classes.stream(nth, 1)), to);
            }
            let [first, second] = halves(&self.pair);
            for r in 1..=classes::pairs(radix) {
                let stream = classes.of_pair(r);
                sums::<V, false>(complex, (&self.terms, classes.stream(nth, stream)), (&mut self.pair, first));
                sums::<V, false>(complex, (&self.terms, classes.stream(nth, stream + 1)), (&mut self.pair, second));
                for k in 0..first.count {
                    for half in 0..SIDE {
                        let (a, b) = (&self.pair[first.at(k) + half], &self.pair[second.at(k) + half]);
                        // Frequencies R k + r and R k - r share these four sums; those of the sines change their sign
                        // between the two.
                        let (even_re, odd_im) = (V::load(&a.re), V::load(&a.im));
                        let (even_im, odd_re) = (V::load(&b.re), V::load(&b.im));
                        if radix * k + r < rows.count {
                            let row = &mut lines[rows.at(radix * k + r) + half];
                            even_re.sub(odd_im).store(&mut row.re);
                            even_im.add(odd_re).store(&mut row.im);
                        }
                        // The conjugate of its mirror.
                        if k > 0 && radix * k - r < rows.count {
                            let row = &mut lines[rows.at(radix * k - r) + half];
                            even_re.add(odd_im).store(&mut row.re);
                            odd_re.sub(even_im).store(&mut row.im);
                        }
                    }
                }
            }
            return;
        }
        let columns = &mut self.columns[nth * tokens..][..tokens];
        plan.axis.forward::<V>(columns, &mut self.scratch);
        let half = V::splat(0.5);
        for u in 0..rows.count {
            // The two columns come apart by symmetry: the first's spectrum is half the sum of Z[u] and the conjugate of
            // Z[S - u], the second's is half their difference over i.
            let (z, w) = (&columns[u], &columns[(tokens - u) % tokens]);
            let (z_re, z_im, w_re, w_im) = (V::load(&z.re), V::load(&z.im), V::load(&w.re), V::load(&w.im));
            let row = &mut lines[rows.at(u)..][..SIDE];
            z_re.add(w_re).mul(half).store(&mut row[0].re);
            z_im.add(w_im).mul(half).store(&mut row[1].re);
            z_im.sub(w_im).mul(half).store(&mut row[0].im);
            w_re.sub(z_re).mul(half).store(&mut row[1].im);
        }
    }

    /// Undoes `forward`: takes rows u and S - u as conjugates and computes the real part of what `rows` alone stand
    /// for. Real and imaginary parts of the rows come exchanged.
    #[inline(always)]
    pub fn inverse<V: Vector>(&mut self, nth: usize, lines: &[ComplexLine], rows: AxisRows) {
        let Some(plan) = &self.plan else { return };
        let tokens = plan.roots.len();
        if let Some(classes) = self.classes {
            let Classes { radix, .. } = classes;
            let [whole, halfway, complex] = &self.tables;
            sums::<V, true>(whole, (lines, rows.every(radix, 0)), (&mut self.terms, classes.stream(nth, 0)));
            if radix.is_multiple_of(2) {
                let from = (lines, rows.every(radix, radix / 2));
                sums::<V, true>(halfway, from, (&mut self.terms, classes.stream(nth, 1)));
            }
            let [first, second] = halves(&self.pair);
            for r in 1..=classes::pairs(radix) {
                for k in 0..first.count {
                    for half in 0..SIDE {
                        // Row R k - r is the conjugate of frequency r - R k: their sums and differences go through the
                        // tables once for both.
                        let [re, im] = part::<V>(lines, rows, Some(radix * k + r), half);
                        let [mirror_re, mirror_im] = part::<V>(lines, rows, (radix * k).checked_sub(r), half);
                        let (a, b) = (first.at(k) + half, second.at(k) + half);
                        re.add(mirror_re).store(&mut self.pair[a].re);
                        im.add(mirror_im).store(&mut self.pair[a].im);
                        im.sub(mirror_im).store(&mut self.pair[b].re);
                        re.sub(mirror_re).store(&mut self.pair[b].im);
                    }
                }
                let stream = classes.of_pair(r);
                sums::<V, false>(complex, (&self.pair, first), (&mut self.terms, classes.stream(nth, stream)));
                sums::<V, false>(complex, (&self.pair, second), (&mut self.terms, classes.stream(nth, stream + 1)));
            }
            return;
        }
        let columns = &mut self.columns[nth * tokens..][..tokens];
        columns.fill(ComplexLine::default());
        let half = V::splat(0.5);
        for u in 0..rows.count {
            let row = &lines[rows.at(u)..][..SIDE];
            let (re, im) = (V::load(&row[0].im).mul(half), V::load(&row[0].re).mul(half));
            let (other_re, other_im) = (V::load(&row[1].im).mul(half), V::load(&row[1].re).mul(half));
            // Half of each to either side, the second columns times i; parts exchanged, as for every inverse here.
            add(&mut columns[u], re.sub(other_im), im.add(other_re));
            add(&mut columns[(tokens - u) % tokens], re.add(other_im), other_re.sub(im));
        }
        plan.axis.forward::<V>(columns, &mut self.scratch);
    }

    /// Writes a strip of row-major S x D `values`. Gives the largest magnitudes, lane by lane.
    #[inline(always)]
    pub fn write<V: Vector>(&self, values: &mut [f32], hidden: usize, strip: usize) -> V {
        let mut top = V::zero();
        let Some(plan) = &self.plan else { return top };
        let tokens = plan.roots.len();
        if let Some(classes) = self.classes {
            let strip = Strip { hidden, first: strip, roots: &plan.roots };
            return classes::write::<V>(classes, &strip, &self.terms, values);
        }
        for (s, row) in values.chunks_exact_mut(hidden).enumerate() {
            for (nth, first) in widths(hidden, strip) {
                let line = &self.columns[nth * tokens + s];
                let [low, high] = [V::load(&line.im), V::load(&line.re)];
                top = top.larger_magnitude(low).larger_magnitude(high);
                put(row, first, [low, high]);
            }
        }
        top
    }
}

/// Half of a row whose parts have changed places; zeros where it is not there.
#[inline(always)]
fn part<V: Vector>(lines: &[ComplexLine], rows: AxisRows, u: Option<usize>, half: usize) -> [V; 2] {
    match u.filter(|u| *u < rows.count) {
        Some(u) => {
            let row = &lines[rows.at(u) + half];
            [V::load(&row.im), V::load(&row.re)]
        }
        None => [V::zero(); 2],
    }
}

/// The two streams of a complex class.
fn halves(pair: &[ComplexLine]) -> [AxisRows; 2] {
    let count = pair.len() / SIDE / 2;
    [0, count].map(|before| AxisRows { first: before * SIDE, step: SIDE, count })
}

/// Adds to a line of exchanged parts.
#[inline(always)]
fn add<V: Vector>(line: &mut ComplexLine, re: V, im: V) {
    V::load(&line.im).add(re).store(&mut line.im);
    V::load(&line.re).add(im).store(&mut line.re);
}

/// Cosine and negative sine of 2 pi i / S, i in 0..S.
fn roots(tokens: usize) -> Vec<[f32; 2]> {
    (0..tokens)
        .map(|i| {
            let (sin, cos) = (TAU * i as f64 / tokens as f64).sin_cos();
            [cos as f32, -sin as f32]
        })
        .collect()
}

/// The factors of `sums` in the order it reads them: for three outputs at a time, for each input, three cosines and three
/// negative sines of 2 pi output input / S.
fn fill_table(
    table: &mut Vec<f32>,
    roots: &[[f32; 2]],
    mut outputs: impl Iterator<Item = usize>,
    inputs: impl Iterator<Item = usize> + Clone,
) {
    table.clear();
    while let Some(first) = outputs.next() {
        // Where there are fewer than three, the last one again.
        let second = outputs.next().unwrap_or(first);
        let third = outputs.next().unwrap_or(second);
        for input in inputs.clone() {
            let roots = [first, second, third].map(|output| roots[output * input % roots.len()]);
            table.extend(roots.map(|root| root[0]));
            table.extend(roots.map(|root| root[1]));
        }
    }
}

/// Real parts of the outputs become sums of the inputs' real parts times cosines, imaginary parts become sums of their
/// imaginary parts times negative sines. The parts of the inputs may come exchanged.
#[inline(always)]
fn sums<V: Vector, const EXCHANGED: bool>(
    table: &[f32],
    (inputs, from): (&[ComplexLine], AxisRows),
    (outputs, to): (&mut [ComplexLine], AxisRows),
) {
    assert!(from.are_within(inputs) && to.are_within(outputs));
    if from.count == 0 {
        return (0..to.count).for_each(|i| outputs[to.at(i)..][..SIDE].fill(ComplexLine::default()));
    }
    for (block, first) in table.chunks_exact(2 * OUTPUTS * from.count).zip((0..to.count).step_by(OUTPUTS)) {
        // Twelve running sums, so that each input is loaded once per three outputs.
        let mut even = [[V::zero(); SIDE]; OUTPUTS];
        let mut odd = [[V::zero(); SIDE]; OUTPUTS];
        for (i, factors) in block.as_chunks::<{ 2 * OUTPUTS }>().0.iter().enumerate() {
            // SAFETY: there are `from.count` of them, all within the lines.
            let [low, high] = unsafe { [inputs.get_unchecked(from.at(i)), inputs.get_unchecked(from.at(i) + 1)] };
            let halves = if EXCHANGED { [&low.im, &high.im] } else { [&low.re, &high.re] }.map(
                #[inline(always)]
                |part| V::load(part),
            );
            for j in 0..OUTPUTS {
                let factor = V::splat(factors[j]);
                even[j] = [factor.mul_add(halves[0], even[j][0]), factor.mul_add(halves[1], even[j][1])];
            }
            let halves = if EXCHANGED { [&low.re, &high.re] } else { [&low.im, &high.im] }.map(
                #[inline(always)]
                |part| V::load(part),
            );
            for j in 0..OUTPUTS {
                let factor = V::splat(factors[OUTPUTS + j]);
                odd[j] = [factor.mul_add(halves[0], odd[j][0]), factor.mul_add(halves[1], odd[j][1])];
            }
        }
        for j in 0..OUTPUTS.min(to.count - first) {
            let output = &mut outputs[to.at(first + j)..][..SIDE];
            for half in 0..SIDE {
                even[j][half].store(&mut output[half].re);
                odd[j][half].store(&mut output[half].im);
            }
        }
    }
}

/// The channels from `first` on of a row, zeros beyond its end.
#[inline(always)]
pub(super) fn channels<V: Vector>(row: &[f32], first: usize) -> [V; 2] {
    if let Some(chunk) = row.get(first..first + WIDTH) {
        let (halves, _) = chunk.as_chunks::<LANES>();
        return [V::load(&halves[0]), V::load(&halves[1])];
    }
    let mut padded = [[0.0; LANES]; 2];
    padded.as_flattened_mut()[..row.len() - first].copy_from_slice(&row[first..]);
    [V::load(&padded[0]), V::load(&padded[1])]
}

/// Writes channels back into a row; what lies beyond its end is dropped.
#[inline(always)]
pub(super) fn put<V: Vector>(row: &mut [f32], first: usize, channels: [V; 2]) {
    if let Some(chunk) = row.get_mut(first..first + WIDTH) {
        let (halves, _) = chunk.as_chunks_mut::<LANES>();
        channels[0].store(&mut halves[0]);
        channels[1].store(&mut halves[1]);
        return;
    }
    let mut padded = [[0.0; LANES]; 2];
    channels[0].store(&mut padded[0]);
    channels[1].store(&mut padded[1]);
    let rest = &mut row[first..];
    rest.copy_from_slice(&padded.as_flattened()[..rest.len()]);
}

/// The [`WIDTH`] channels of a strip in turn: their number, and the first of them.
pub(super) fn widths(hidden: usize, strip: usize) -> impl Iterator<Item = (usize, usize)> {
    (strip..hidden.min(strip + STRIP * WIDTH)).step_by(WIDTH).enumerate()
}
