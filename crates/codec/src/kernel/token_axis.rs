//! The token axis: by sums over cosines and sines, class by class ([`super::classes`]), of wanted frequencies only, or by
//! transforms of whole columns ([`super::columns`]), whichever counts less.

use std::f64::consts::TAU;
use std::iter::StepBy;
use std::ops::Range;
use std::rc::Rc;

use super::classes::{self, Classes, RADICES, Strip};
use super::columns::{ColumnBuffers, ColumnTransform};
use super::line_transform::{ComplexLine, prefetch, prefetch_to_write};
use crate::vector::{LANES, Vector};

/// Channels at a time: two vectors.
pub(super) const WIDTH: usize = 2 * LANES;

/// A strip is this many times [`WIDTH`] channels of a row, read or written in one go: rows lie far apart in memory, and
/// a processor prefetches only where neighbours are read.
pub(super) const STRIP: usize = 4;

/// Outputs at a time: with two vectors of each part, their sums fill twelve of sixteen registers.
const OUTPUTS: usize = 3;

/// Tokens that are summed whatever the count says.
const FEW: usize = 8;

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

/// What is computed once per number of tokens and of wanted row frequencies.
pub(super) struct TokenPlan {
    rows: usize,
    method: TokenMethod,
}

/// How a strip of channels is transformed.
enum TokenMethod {
    Sums { classes: Classes, roots: Vec<[f32; 2]> },
    Columns(ColumnTransform),
}

impl TokenPlan {
    pub fn new(tokens: usize, rows: usize) -> Self {
        let method = match Self::classes(tokens, rows) {
            Some(classes) => TokenMethod::Sums { classes, roots: roots(tokens) },
            None => TokenMethod::Columns(ColumnTransform::new(tokens, rows)),
        };
        Self { rows, method }
    }

    /// The classes for this number of row frequencies; `None` where transforms of whole columns serve it better. The cost is
    /// counted in products of real numbers: to divide S tokens into R > 2 classes counts S (R/2 + 8). A table of factors
    /// beyond the caches is neither fast nor small, whatever the count.
    fn classes(tokens: usize, rows: usize) -> Option<Classes> {
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
        let few = tokens <= FEW;
        let cheap = factors <= MOST_PRODUCTS && cost(&best) <= ColumnTransform::cost(tokens, rows);
        (few || cheap).then_some(best)
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
    /// The factors of the sums, a table for each kind of class that [`frequencies`] lists.
    tables: [Vec<f32>; 3],
    /// The terms of the streams, for each [`WIDTH`] channels in turn.
    terms: Vec<ComplexLine>,
    /// The two streams of a complex class, transformed or to be transformed.
    pair: Vec<ComplexLine>,
    columns: ColumnBuffers,
}

impl TokenAxis {
    /// Prepares transforms from S x D values to the plan's row frequencies, or, where `inverse`, back.
    pub fn prepare(&mut self, plan: Rc<TokenPlan>, hidden: usize, inverse: bool) {
        let TokenPlan { rows, method } = &*plan;
        let rows = *rows;
        // A narrow activation of many tokens has no whole strip.
        let strip = hidden.div_ceil(WIDTH).min(STRIP);
        match method {
            TokenMethod::Columns(_) => {}
            TokenMethod::Sums { classes, roots } => {
                let classes = *classes;
                for (nth, table) in self.tables.iter_mut().enumerate() {
                    let (frequencies, terms) = (frequencies(classes, rows, nth), 0..classes.terms());
                    // The inverse multiplies frequencies into terms: the same factors, in the other order.
                    if inverse {
                        fill_table(table, roots, terms, frequencies);
                    } else {
                        fill_table(table, roots, frequencies, terms);
                    }
                }
                self.terms.resize(strip * classes.radix * classes.terms() * SIDE, ComplexLine::default());
                self.pair.resize(2 * frequencies(classes, rows, 2).len() * SIDE, ComplexLine::default());
            }
        }
        self.plan = Some(plan);
    }

    /// Makes `lines` the first row frequencies of a strip of channels of row-major S x D `values`, each times `gain`; `rows`
    /// says where those of a channel lie. Gives the largest magnitudes of the values, lane by lane.
    #[inline(always)]
    pub fn forward<V: Vector>(
        &mut self,
        (values, hidden, strip): (&[f32], usize, usize),
        gain: f32,
        lines: &mut [ComplexLine],
        rows: impl Fn(usize) -> AxisRows,
    ) -> V {
        let mut top = V::zero();
        let Some(plan) = self.plan.clone() else { return top };
        match &plan.method {
            TokenMethod::Columns(transform) => {
                for (_, first) in widths(hidden, strip) {
                    let to = (&mut *lines, rows(first));
                    let read = transform.forward::<V>((values, hidden, first), gain, to, &mut self.columns);
                    top = top.larger_magnitude(read);
                }
            }
            TokenMethod::Sums { classes, roots } => {
                let whole = Strip { hidden, first: strip, roots };
                top = classes::read::<V>(*classes, &whole, values, gain, &mut self.terms);
                for (nth, first) in widths(hidden, strip) {
                    self.sums_of_terms::<V>(*classes, nth, lines, rows(first));
                }
            }
        }
        top
    }

    /// Undoes `forward`: takes rows u and S - u as conjugates and computes the real part of what the rows alone stand for.
    /// Real and imaginary parts of the rows come exchanged.
    #[inline(always)]
    pub fn inverse<V: Vector>(
        &mut self,
        lines: &[ComplexLine],
        rows: impl Fn(usize) -> AxisRows,
        (values, hidden, strip): (&mut [f32], usize, usize),
    ) -> V {
        let mut top = V::zero();
        let Some(plan) = self.plan.clone() else { return top };
        match &plan.method {
            TokenMethod::Columns(transform) => {
                for (_, first) in widths(hidden, strip) {
                    let to = (&mut *values, hidden, first);
                    let written = transform.inverse::<V>((lines, rows(first)), to, &mut self.columns);
                    top = top.larger_magnitude(written);
                }
            }
            TokenMethod::Sums { classes, roots } => {
                for (nth, first) in widths(hidden, strip) {
                    self.terms_of_sums::<V>(*classes, nth, lines, rows(first));
                }
                let whole = Strip { hidden, first: strip, roots };
                top = classes::write::<V>(*classes, &whole, &self.terms, values);
            }
        }
        top
    }

    /// The nth channels of a strip: their terms to the first rows of their spectrum.
    #[inline(always)]
    fn sums_of_terms<V: Vector>(&mut self, classes: Classes, nth: usize, lines: &mut [ComplexLine], rows: AxisRows) {
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
    }

    /// Undoes `sums_of_terms`.
    #[inline(always)]
    fn terms_of_sums<V: Vector>(&mut self, classes: Classes, nth: usize, lines: &[ComplexLine], rows: AxisRows) {
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

/// The channels from `first` on of a row, zeros beyond its end. Those of the next strip are asked for.
#[inline(always)]
pub(super) fn channels<V: Vector>(row: &[f32], first: usize) -> [V; 2] {
    prefetch(row.as_ptr().wrapping_add(first + STRIP * WIDTH));
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
    prefetch_to_write(row.as_ptr().wrapping_add(first + STRIP * WIDTH));
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
