//! The token axis. Of few tokens, sums: tokens s and S - s meet the same cosine and opposite sines, so their sum goes with
//! the cosines and their difference with the sines, and only the wanted frequencies are computed. Where S is even, so do s
//! and S/2 - s, but for signs that even and odd frequencies see differently: half the products again. Of many tokens, fast
//! transforms, of two real columns as one complex one.

use std::f64::consts::TAU;
use std::rc::Rc;

use super::axis::{AxisPlan, Line};
use crate::vector::{LANES, Vector};

/// Channels at a time: two vectors.
pub(super) const WIDTH: usize = 2 * LANES;

/// Times [`WIDTH`], how much of a row is read or written in one go: rows lie far apart, and a processor fetches ahead only
/// where neighbours are asked for.
pub(super) const STRIP: usize = 8;

/// Outputs at a time: with two vectors of each part, their sums fill twelve of sixteen registers.
const OUTPUTS: usize = 3;

/// The most products by sums: their factors take 8 bytes each.
const MOST_PRODUCTS: usize = 1 << 20;

/// Of [`WIDTH`] channels the part that goes with cosines and the part that goes with sines: real and imaginary part of a
/// row of the spectrum.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Pair {
    pub even: [[f32; LANES]; 2],
    pub odd: [[f32; LANES]; 2],
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
    pairs: Vec<Pair>,
    /// By fast transforms: of each, the tokens, eight channels as real parts and eight as imaginary ones.
    columns: Vec<Line>,
    scratch: Vec<Line>,
}

impl TokenAxis {
    /// Makes ready for `rows` row frequencies of S x D values, from or to them.
    pub fn prepare(&mut self, plan: Rc<TokenPlan>, hidden: usize, rows: usize, inverse: bool) {
        let tokens = plan.roots.len();
        // A narrow activation of many tokens has no whole strip.
        let strip = hidden.div_ceil(WIDTH).min(STRIP);
        self.fast = plan.is_faster(rows);
        if self.fast {
            self.columns.resize(strip * plan.axis.lines, Line::default());
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
            self.pairs.resize(strip * kinds * terms, Pair::default());
        }
        self.plan = Some(plan);
    }

    /// Reads a strip of row-major S x D `values`, each times `gain`.
    #[inline(always)]
    pub fn read<V: Vector>(&mut self, values: &[f32], hidden: usize, strip: usize, gain: f32) {
        let Some(plan) = &self.plan else { return };
        if !self.fast {
            return match kinds(plan.roots.len()) {
                2 => fold_even::<V>(values, hidden, strip, gain, &mut self.pairs),
                _ => fold::<V>(values, hidden, strip, gain, &mut self.pairs),
            };
        }
        let gain = V::splat(gain);
        for (row, place) in values.chunks_exact(hidden).zip(&plan.axis.input) {
            for (nth, first) in widths(hidden, strip) {
                let [low, high] = channels::<V>(row, first);
                let line = &mut self.columns[nth * plan.axis.lines + *place as usize];
                low.mul(gain).store(&mut line.re);
                high.mul(gain).store(&mut line.im);
            }
        }
    }

    /// The first rows of the spectrum of the nth channels of the strip.
    #[inline(always)]
    pub fn forward<V: Vector>(&mut self, nth: usize, rows: &mut [Pair]) {
        let Some(plan) = &self.plan else { return };
        if !self.fast {
            let (kinds, terms) = (kinds(plan.roots.len()), terms(plan.roots.len()));
            let pairs = self.pairs[nth * kinds * terms..].chunks_exact(terms);
            for (kind, (table, pairs)) in self.tables.iter().zip(pairs).enumerate().take(kinds) {
                sums::<V>(table, pairs, 1, rows.get_mut(kind..).unwrap_or_default(), kinds);
            }
            return;
        }
        let AxisPlan { output, lines, .. } = &plan.axis;
        let columns = &mut self.columns[nth * lines..][..*lines];
        plan.axis.forward::<V>(columns, &mut self.scratch, plan.roots.len(), plan.roots.len());
        let half = V::splat(0.5);
        for (u, row) in rows.iter_mut().enumerate() {
            let mirror = if u == 0 { 0 } else { output.len() - u };
            let (z, w) = (&columns[output[u] as usize], &columns[output[mirror] as usize]);
            let (z_re, z_im, w_re, w_im) = (V::load(&z.re), V::load(&z.im), V::load(&w.re), V::load(&w.im));
            z_re.add(w_re).mul(half).store(&mut row.even[0]);
            z_im.add(w_im).mul(half).store(&mut row.even[1]);
            z_im.sub(w_im).mul(half).store(&mut row.odd[0]);
            w_re.sub(z_re).mul(half).store(&mut row.odd[1]);
        }
    }

    /// The opposite of `forward`, where rows u and S - u are conjugate: the real part of what `rows` alone stand for.
    #[inline(always)]
    pub fn inverse<V: Vector>(&mut self, nth: usize, rows: &[Pair]) {
        let Some(plan) = &self.plan else { return };
        if !self.fast {
            let (kinds, terms) = (kinds(plan.roots.len()), terms(plan.roots.len()));
            let pairs = self.pairs[nth * kinds * terms..].chunks_exact_mut(terms);
            for (kind, (table, pairs)) in self.tables.iter().zip(pairs).enumerate().take(kinds) {
                sums::<V>(table, rows.get(kind..).unwrap_or_default(), kinds, pairs, 1);
            }
            return;
        }
        let AxisPlan { input, lines, .. } = &plan.axis;
        let columns = &mut self.columns[nth * lines..][..*lines];
        columns.fill(Line::default());
        let half = V::splat(0.5);
        for (u, row) in rows.iter().enumerate() {
            let mirror = if u == 0 { 0 } else { input.len() - u };
            let (re, im) = (V::load(&row.even[0]).mul(half), V::load(&row.odd[0]).mul(half));
            let (other_re, other_im) = (V::load(&row.even[1]).mul(half), V::load(&row.odd[1]).mul(half));
            // Half of each to either side, the second columns times i; parts exchanged, as for every inverse here.
            add(&mut columns[input[u] as usize], re.sub(other_im), im.add(other_re));
            add(&mut columns[input[mirror] as usize], re.add(other_im), other_re.sub(im));
        }
        plan.axis.forward::<V>(columns, &mut self.scratch, plan.roots.len(), plan.roots.len());
    }

    /// Writes a strip of row-major S x D `values`.
    #[inline(always)]
    pub fn write<V: Vector>(&self, values: &mut [f32], hidden: usize, strip: usize) {
        let Some(plan) = &self.plan else { return };
        if !self.fast {
            return match kinds(plan.roots.len()) {
                2 => unfold_even::<V>(&self.pairs, values, hidden, strip),
                _ => unfold::<V>(&self.pairs, values, hidden, strip),
            };
        }
        for (row, place) in values.chunks_exact_mut(hidden).zip(&plan.axis.output) {
            for (nth, first) in widths(hidden, strip) {
                let line = &self.columns[nth * plan.axis.lines + *place as usize];
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

/// Every `to`-th of `outputs` has `even` become the sum of `even` of every `from`-th of `inputs` times cosine, and `odd`
/// that of `odd` times the negative sine.
#[inline(always)]
fn sums<V: Vector>(table: &[f32], inputs: &[Pair], from: usize, outputs: &mut [Pair], to: usize) {
    let count = inputs.len().div_ceil(from);
    if count == 0 {
        return outputs.iter_mut().step_by(to).for_each(|output| *output = Pair::default());
    }
    let blocks = table.chunks_exact(2 * OUTPUTS * count);
    for (block, outputs) in blocks.zip(outputs.chunks_mut(OUTPUTS * to)) {
        let mut even = [[V::zero(); 2]; OUTPUTS];
        let mut odd = [[V::zero(); 2]; OUTPUTS];
        for (input, factors) in inputs.iter().step_by(from).zip(block.as_chunks::<{ 2 * OUTPUTS }>().0) {
            let [low, high] = [V::load(&input.even[0]), V::load(&input.even[1])];
            for j in 0..OUTPUTS {
                let factor = V::splat(factors[j]);
                even[j] = [factor.mul_add(low, even[j][0]), factor.mul_add(high, even[j][1])];
            }
            let [low, high] = [V::load(&input.odd[0]), V::load(&input.odd[1])];
            for j in 0..OUTPUTS {
                let factor = V::splat(factors[OUTPUTS + j]);
                odd[j] = [factor.mul_add(low, odd[j][0]), factor.mul_add(high, odd[j][1])];
            }
        }
        for ((output, even), odd) in outputs.iter_mut().step_by(to).zip(even).zip(odd) {
            for half in 0..2 {
                even[half].store(&mut output.even[half]);
                odd[half].store(&mut output.odd[half]);
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
fn widths(hidden: usize, strip: usize) -> impl Iterator<Item = (usize, usize)> {
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

/// The terms of a strip of channels of row-major S x D, S odd: those of its first [`WIDTH`] channels, then of the next.
#[inline(always)]
fn fold<V: Vector>(values: &[f32], hidden: usize, strip: usize, gain: f32, folded: &mut [Pair]) {
    let count = terms(values.len() / hidden);
    let gain = V::splat(gain);
    for s in 0..count {
        for (nth, first) in widths(hidden, strip) {
            let [even, odd] = fold_one(values, hidden, s, first, gain);
            let pair = &mut folded[nth * count + s];
            for half in 0..2 {
                even[half].store(&mut pair.even[half]);
                odd[half].store(&mut pair.odd[half]);
            }
        }
    }
}

/// The same for an even S: terms of the even frequencies, then of the odd ones.
#[inline(always)]
fn fold_even<V: Vector>(values: &[f32], hidden: usize, strip: usize, gain: f32, folded: &mut [Pair]) {
    let tokens = values.len() / hidden;
    let count = terms(tokens);
    let gain = V::splat(gain);
    for s in 0..count {
        let other = tokens / 2 - s;
        for (nth, first) in widths(hidden, strip) {
            let [even, odd] = fold_one(values, hidden, s, first, gain);
            let [other_even, other_odd] =
                if other == s { [[V::zero(); 2]; 2] } else { fold_one(values, hidden, other, first, gain) };
            let (of_even, of_odd) = folded[2 * nth * count..].split_at_mut(count);
            let (of_even, of_odd) = (&mut of_even[s], &mut of_odd[s]);
            for half in 0..2 {
                even[half].add(other_even[half]).store(&mut of_even.even[half]);
                odd[half].sub(other_odd[half]).store(&mut of_even.odd[half]);
                even[half].sub(other_even[half]).store(&mut of_odd.even[half]);
                odd[half].add(other_odd[half]).store(&mut of_odd.odd[half]);
            }
        }
    }
}

/// The opposite of [`fold`].
#[inline(always)]
fn unfold<V: Vector>(folded: &[Pair], values: &mut [f32], hidden: usize, strip: usize) {
    let count = terms(values.len() / hidden);
    for s in 0..count {
        for (nth, first) in widths(hidden, strip) {
            let pair = &folded[nth * count + s];
            let even = [V::load(&pair.even[0]), V::load(&pair.even[1])];
            let odd = [V::load(&pair.odd[0]), V::load(&pair.odd[1])];
            unfold_one(values, hidden, s, first, [even, odd]);
        }
    }
}

/// The opposite of [`fold_even`].
#[inline(always)]
fn unfold_even<V: Vector>(folded: &[Pair], values: &mut [f32], hidden: usize, strip: usize) {
    let tokens = values.len() / hidden;
    let count = terms(tokens);
    for s in 0..count {
        let other = tokens / 2 - s;
        for (nth, first) in widths(hidden, strip) {
            let (of_even, of_odd) = (&folded[2 * nth * count + s], &folded[(2 * nth + 1) * count + s]);
            let (mut even, mut odd) = ([V::zero(); 2], [V::zero(); 2]);
            let (mut other_even, mut other_odd) = (even, odd);
            for half in 0..2 {
                let (a, b) = (V::load(&of_even.even[half]), V::load(&of_odd.even[half]));
                (even[half], other_even[half]) = (a.add(b), a.sub(b));
                let (a, b) = (V::load(&of_even.odd[half]), V::load(&of_odd.odd[half]));
                (odd[half], other_odd[half]) = (a.add(b), b.sub(a));
            }
            unfold_one(values, hidden, s, first, [even, odd]);
            if other != s {
                unfold_one(values, hidden, other, first, [other_even, other_odd]);
            }
        }
    }
}
