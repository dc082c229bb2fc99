//! The token axis. Of few tokens, sums: tokens s and S - s meet the same cosine and opposite sines, so their sum goes with
//! the cosines and their difference with the sines, and only the wanted frequencies are computed. Where S is even, so do s
//! and S/2 - s, but for signs that even and odd frequencies see differently: half the products again. Of many tokens, fast
//! transforms, of two real columns as one complex one.

use std::f64::consts::TAU;
use std::rc::Rc;

use super::axis::{AxisPlan, Line, Scratch};
use crate::vector::{LANES, Vector};

/// Channels at a time: two vectors.
pub(super) const WIDTH: usize = 2 * LANES;

/// Times [`WIDTH`], how much of a row is read or written in one go: rows lie far apart, and a processor fetches ahead only
/// where neighbours are asked for.
pub(super) const STRIP: usize = 8;

/// Outputs at a time: with two vectors of each part, their sums fill twelve of sixteen registers.
const OUTPUTS: usize = 3;

/// Lines of [`WIDTH`] channels.
pub(super) const SIDE: usize = WIDTH / LANES;

/// The most products by sums: their factors take 8 bytes each.
const MOST_PRODUCTS: usize = 1 << 20;

/// Rows or terms of [`WIDTH`] channels among lines: number i is at `first + i * step`, and its second half beside it. The
/// real part goes with cosines, the imaginary part with sines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub first: usize,
    pub step: usize,
    pub count: usize,
}

impl Rows {
    /// Every `kinds`-th from number `kind` on.
    fn of_kind(self, kind: usize, kinds: usize) -> Self {
        let count = self.count.saturating_sub(kind).div_ceil(kinds);
        Self { first: self.first + kind * self.step, step: self.step * kinds, count }
    }

    #[inline(always)]
    fn at(self, i: usize) -> usize {
        self.first + i * self.step
    }

    /// Whether all of them are among these lines.
    fn are_within(self, lines: &[Line]) -> bool {
        self.count == 0 || self.at(self.count - 1) + SIDE <= lines.len()
    }
}

/// Pairs of tokens, or row frequencies up to the middle: S / 2 + 1.
pub(super) fn pairs(tokens: usize) -> usize {
    tokens / 2 + 1
}

/// Kinds of frequencies that have sums of their own: even and odd ones where S is even, else one.
fn kinds(tokens: usize) -> usize {
    if tokens.is_multiple_of(2) { 2 } else { 1 }
}

/// Terms of a sum.
fn terms(tokens: usize) -> usize {
    if kinds(tokens) == 2 { pairs(tokens / 2) } else { pairs(tokens) }
}

/// What is made once for a number of tokens.
pub(super) struct TokenPlan {
    roots: Vec<[f32; 2]>,
    axis: AxisPlan,
}

impl TokenPlan {
    pub fn new(tokens: usize) -> Self {
        Self { roots: roots(tokens), axis: AxisPlan::new(tokens) }
    }

    /// Whether fast transforms serve this number of row frequencies better than the sums do. Measured: a step (one of
    /// S log2 S) of a fast transform takes as long as about five products of a sum, and one that the library makes as
    /// long as twelve. A table of factors beyond the caches is neither fast nor small, whatever the number of steps.
    fn is_faster(&self, rows: usize) -> bool {
        let tokens = self.roots.len();
        let step = if self.axis.is_fast() { 5 } else { 12 };
        let products = rows * terms(tokens);
        products > MOST_PRODUCTS.min(step * tokens * (tokens.ilog2() as usize + 1))
    }
}

/// The transform of a strip of channels, and its buffers.
#[derive(Default)]
pub(super) struct TokenAxis {
    plan: Option<Rc<TokenPlan>>,
    fast: bool,
    /// By sums: the factors of each kind of frequencies.
    tables: [Vec<f32>; 2],
    /// Of each [`WIDTH`] channels, the terms for each kind.
    terms: Vec<Line>,
    /// By fast transforms: of each, the tokens, eight channels as real parts and eight as imaginary ones.
    columns: Vec<Line>,
    scratch: Scratch,
}

impl TokenAxis {
    /// Makes ready for `rows` row frequencies of S x D values, from or to them.
    pub fn prepare(&mut self, plan: Rc<TokenPlan>, hidden: usize, rows: usize, inverse: bool) {
        let tokens = plan.roots.len();
        // A narrow activation of many tokens has no whole strip.
        let strip = hidden.div_ceil(WIDTH).min(STRIP);
        self.fast = plan.is_faster(rows);
        if self.fast {
            self.columns.resize(strip * tokens, Line::default());
        } else {
            let (kinds, terms) = (kinds(tokens), terms(tokens));
            for (kind, table) in self.tables.iter_mut().enumerate().take(kinds) {
                let frequencies = (kind..rows).step_by(kinds);
                if inverse {
                    fill_table(table, &plan.roots, 0..terms, frequencies);
                } else {
                    fill_table(table, &plan.roots, frequencies, 0..terms);
                }
            }
            self.terms.resize(strip * kinds * terms * SIDE, Line::default());
        }
        self.plan = Some(plan);
    }

    /// The terms of a kind of the nth channels of the strip.
    fn terms_of(tokens: usize, nth: usize, kind: usize) -> Rows {
        let count = terms(tokens);
        Rows { first: (nth * kinds(tokens) + kind) * count * SIDE, step: SIDE, count }
    }

    /// Reads a strip of row-major S x D `values`, each times `gain`.
    #[inline(always)]
    pub fn read<V: Vector>(&mut self, values: &[f32], hidden: usize, strip: usize, gain: f32) {
        let Some(plan) = &self.plan else { return };
        let tokens = plan.roots.len();
        if !self.fast {
            return match kinds(tokens) {
                2 => fold_even::<V>(values, hidden, strip, gain, &mut self.terms),
                _ => fold::<V>(values, hidden, strip, gain, &mut self.terms),
            };
        }
        let gain = V::splat(gain);
        for (s, row) in values.chunks_exact(hidden).enumerate() {
            for (nth, first) in widths(hidden, strip) {
                let [low, high] = channels::<V>(row, first);
                let line = &mut self.columns[nth * tokens + s];
                low.mul(gain).store(&mut line.re);
                high.mul(gain).store(&mut line.im);
            }
        }
    }

    /// The first rows of the spectrum of the nth channels of the strip.
    #[inline(always)]
    pub fn forward<V: Vector>(&mut self, nth: usize, lines: &mut [Line], rows: Rows) {
        let Some(plan) = &self.plan else { return };
        let tokens = plan.roots.len();
        if !self.fast {
            let kinds = kinds(tokens);
            for (kind, table) in self.tables.iter().enumerate().take(kinds) {
                let terms = Self::terms_of(tokens, nth, kind);
                sums::<V, false>(table, (&self.terms, terms), (lines, rows.of_kind(kind, kinds)));
            }
            return;
        }
        let columns = &mut self.columns[nth * tokens..][..tokens];
        plan.axis.forward::<V>(columns, &mut self.scratch);
        let half = V::splat(0.5);
        for u in 0..rows.count {
            let (z, w) = (&columns[u], &columns[(tokens - u) % tokens]);
            let (z_re, z_im, w_re, w_im) = (V::load(&z.re), V::load(&z.im), V::load(&w.re), V::load(&w.im));
            let row = &mut lines[rows.at(u)..][..SIDE];
            z_re.add(w_re).mul(half).store(&mut row[0].re);
            z_im.add(w_im).mul(half).store(&mut row[1].re);
            z_im.sub(w_im).mul(half).store(&mut row[0].im);
            w_re.sub(z_re).mul(half).store(&mut row[1].im);
        }
    }

    /// The opposite of `forward`, where rows u and S - u are conjugate: the real part of what `rows` alone stand for, whose
    /// real and imaginary parts have changed places.
    #[inline(always)]
    pub fn inverse<V: Vector>(&mut self, nth: usize, lines: &[Line], rows: Rows) {
        let Some(plan) = &self.plan else { return };
        let tokens = plan.roots.len();
        if !self.fast {
            let kinds = kinds(tokens);
            for (kind, table) in self.tables.iter().enumerate().take(kinds) {
                let terms = Self::terms_of(tokens, nth, kind);
                sums::<V, true>(table, (lines, rows.of_kind(kind, kinds)), (&mut self.terms, terms));
            }
            return;
        }
        let columns = &mut self.columns[nth * tokens..][..tokens];
        columns.fill(Line::default());
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

    /// Writes a strip of row-major S x D `values`.
    #[inline(always)]
    pub fn write<V: Vector>(&self, values: &mut [f32], hidden: usize, strip: usize) {
        let Some(plan) = &self.plan else { return };
        let tokens = plan.roots.len();
        if !self.fast {
            return match kinds(tokens) {
                2 => unfold_even::<V>(&self.terms, values, hidden, strip),
                _ => unfold::<V>(&self.terms, values, hidden, strip),
            };
        }
        for (s, row) in values.chunks_exact_mut(hidden).enumerate() {
            for (nth, first) in widths(hidden, strip) {
                let line = &self.columns[nth * tokens + s];
                put(row, first, [V::load(&line.im), V::load(&line.re)]);
            }
        }
    }
}

/// Adds to a line of exchanged parts.
#[inline(always)]
fn add<V: Vector>(line: &mut Line, re: V, im: V) {
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

/// Real parts of the outputs become the sums of those of the inputs times cosines, imaginary parts of theirs times negative
/// sines. The parts of the inputs may have changed places.
#[inline(always)]
fn sums<V: Vector, const EXCHANGED: bool>(
    table: &[f32],
    (inputs, from): (&[Line], Rows),
    (outputs, to): (&mut [Line], Rows),
) {
    assert!(from.are_within(inputs) && to.are_within(outputs));
    if from.count == 0 {
        return (0..to.count).for_each(|i| outputs[to.at(i)..][..SIDE].fill(Line::default()));
    }
    for (block, first) in table.chunks_exact(2 * OUTPUTS * from.count).zip((0..to.count).step_by(OUTPUTS)) {
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
fn channels<V: Vector>(row: &[f32], first: usize) -> [V; 2] {
    if let Some(chunk) = row.get(first..first + WIDTH) {
        let (halves, _) = chunk.as_chunks::<LANES>();
        return [V::load(&halves[0]), V::load(&halves[1])];
    }
    let mut padded = [[0.0; LANES]; 2];
    padded.as_flattened_mut()[..row.len() - first].copy_from_slice(&row[first..]);
    [V::load(&padded[0]), V::load(&padded[1])]
}

/// Writes them back; what lies beyond the end of the row is dropped.
#[inline(always)]
fn put<V: Vector>(row: &mut [f32], first: usize, channels: [V; 2]) {
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

/// Firsts of the [`WIDTH`] channels of a strip.
pub(super) fn widths(hidden: usize, strip: usize) -> impl Iterator<Item = (usize, usize)> {
    (strip..hidden.min(strip + STRIP * WIDTH)).step_by(WIDTH).enumerate()
}

/// Sum and difference of tokens s and S - s, each times `gain`, of the channels from `first` on of row-major S x D.
#[inline(always)]
fn fold_one<V: Vector>(values: &[f32], hidden: usize, s: usize, first: usize, gain: V) -> [[V; 2]; 2] {
    let tokens = values.len() / hidden;
    let low = channels::<V>(&values[s * hidden..][..hidden], first).map(
        #[inline(always)]
        |v| v.mul(gain),
    );
    if s == 0 || 2 * s == tokens {
        return [low, [V::zero(); 2]];
    }
    let high = channels::<V>(&values[(tokens - s) * hidden..][..hidden], first);
    // Each times the gain before they meet: their sum may be beyond f32.
    let sum = [high[0].mul_add(gain, low[0]), high[1].mul_add(gain, low[1])];
    [sum, [high[0].neg_mul_add(gain, low[0]), high[1].neg_mul_add(gain, low[1])]]
}

/// The opposite of [`fold_one`].
#[inline(always)]
fn unfold_one<V: Vector>(values: &mut [f32], hidden: usize, s: usize, first: usize, [even, odd]: [[V; 2]; 2]) {
    let tokens = values.len() / hidden;
    put(&mut values[s * hidden..][..hidden], first, [even[0].add(odd[0]), even[1].add(odd[1])]);
    if s > 0 && 2 * s != tokens {
        let row = &mut values[(tokens - s) * hidden..][..hidden];
        put(row, first, [even[0].sub(odd[0]), even[1].sub(odd[1])]);
    }
}

/// Writes a term.
#[inline(always)]
fn put_term<V: Vector>(lines: &mut [Line], at: usize, even: [V; SIDE], odd: [V; SIDE]) {
    let term = &mut lines[at..][..SIDE];
    for half in 0..SIDE {
        even[half].store(&mut term[half].re);
        odd[half].store(&mut term[half].im);
    }
}

/// Reads a term: the part that goes with cosines and the part that goes with sines.
#[inline(always)]
fn term<V: Vector>(lines: &[Line], at: usize) -> [[V; SIDE]; 2] {
    let term = &lines[at..][..SIDE];
    [[V::load(&term[0].re), V::load(&term[1].re)], [V::load(&term[0].im), V::load(&term[1].im)]]
}

/// The terms of a strip of channels of row-major S x D, S odd: those of its first [`WIDTH`] channels, then of the next.
#[inline(always)]
fn fold<V: Vector>(values: &[f32], hidden: usize, strip: usize, gain: f32, lines: &mut [Line]) {
    let tokens = values.len() / hidden;
    let gain = V::splat(gain);
    for s in 0..terms(tokens) {
        for (nth, first) in widths(hidden, strip) {
            let [even, odd] = fold_one(values, hidden, s, first, gain);
            put_term(lines, TokenAxis::terms_of(tokens, nth, 0).at(s), even, odd);
        }
    }
}

/// The same for an even S: terms of the even frequencies, then of the odd ones.
#[inline(always)]
fn fold_even<V: Vector>(values: &[f32], hidden: usize, strip: usize, gain: f32, lines: &mut [Line]) {
    let tokens = values.len() / hidden;
    let gain = V::splat(gain);
    for s in 0..terms(tokens) {
        let other = tokens / 2 - s;
        for (nth, first) in widths(hidden, strip) {
            let [even, odd] = fold_one(values, hidden, s, first, gain);
            let [other_even, other_odd] =
                if other == s { [[V::zero(); SIDE]; 2] } else { fold_one(values, hidden, other, first, gain) };
            let (sum, difference) = (
                [even[0].add(other_even[0]), even[1].add(other_even[1])],
                [odd[0].sub(other_odd[0]), odd[1].sub(other_odd[1])],
            );
            put_term(lines, TokenAxis::terms_of(tokens, nth, 0).at(s), sum, difference);
            let (difference, sum) = (
                [even[0].sub(other_even[0]), even[1].sub(other_even[1])],
                [odd[0].add(other_odd[0]), odd[1].add(other_odd[1])],
            );
            put_term(lines, TokenAxis::terms_of(tokens, nth, 1).at(s), difference, sum);
        }
    }
}

/// The opposite of [`fold`].
#[inline(always)]
fn unfold<V: Vector>(lines: &[Line], values: &mut [f32], hidden: usize, strip: usize) {
    let tokens = values.len() / hidden;
    for s in 0..terms(tokens) {
        for (nth, first) in widths(hidden, strip) {
            let term = term::<V>(lines, TokenAxis::terms_of(tokens, nth, 0).at(s));
            unfold_one(values, hidden, s, first, term);
        }
    }
}

/// The opposite of [`fold_even`].
#[inline(always)]
fn unfold_even<V: Vector>(lines: &[Line], values: &mut [f32], hidden: usize, strip: usize) {
    let tokens = values.len() / hidden;
    for s in 0..terms(tokens) {
        let other = tokens / 2 - s;
        for (nth, first) in widths(hidden, strip) {
            let [a, c] = term::<V>(lines, TokenAxis::terms_of(tokens, nth, 0).at(s));
            let [b, d] = term::<V>(lines, TokenAxis::terms_of(tokens, nth, 1).at(s));
            let (even, odd) = ([a[0].add(b[0]), a[1].add(b[1])], [c[0].add(d[0]), c[1].add(d[1])]);
            unfold_one(values, hidden, s, first, [even, odd]);
            if other != s {
                let (even, odd) = ([a[0].sub(b[0]), a[1].sub(b[1])], [d[0].sub(c[0]), d[1].sub(c[1])]);
                unfold_one(values, hidden, other, first, [even, odd]);
            }
        }
    }
}
