//! Both directions of the transform, over the buffers of a thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::axis::AxisPlan;
use super::token_axis::{Pair, STRIP, TokenAxis, TokenPlan, WIDTH, pairs};
use super::vector::{LANES, Line, Plain, Vector};
use crate::codec::{Band, Block};

/// A complex coefficient.
pub type Complex32 = rustfft::num_complex::Complex<f32>;

/// The factor of the inverse transform, 1 / (S * D) (paper, section III-C, the formula for A'). Neither direction is
/// normalised but by this.
pub fn normalisation(tokens: usize, hidden: usize) -> f64 {
    1.0 / (tokens as f64 * hidden as f64)
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

/// Plans and buffers that a thread keeps: after the first call of a shape nothing is allocated.
#[derive(Default)]
struct Work {
    plans: HashMap<usize, Rc<AxisPlan>>,
    token_plans: HashMap<usize, Rc<TokenPlan>>,
    token_axis: TokenAxis,
    /// The rows of some channels.
    rows: Vec<Pair>,
    lines: Vec<Line>,
    scratch: Vec<Line>,
}

/// Values of S, and of D, that plans are kept for add up to this at most: hostile packets may ask for many.
const MOST_KEPT: usize = 1 << 18;

/// What the map holds for a length, made where it is missing.
fn cached<T>(map: &mut HashMap<usize, Rc<T>>, length: usize, make: impl FnOnce() -> T) -> Rc<T> {
    if !map.contains_key(&length) && map.keys().sum::<usize>() + length > MOST_KEPT {
        map.clear();
    }
    map.entry(length).or_insert_with(|| Rc::new(make())).clone()
}

/// Calls a function of the vector type with the best one this processor has.
macro_rules! dispatch {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn with_avx<R>(call: impl FnOnce() -> R) -> R {
                call()
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor was just asked.
                unsafe { with_avx(#[inline(always)] || $function::<super::vector::Avx>($($argument),*)) }
            } else {
                $function::<Plain>($($argument),*)
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        $function::<Plain>($($argument),*)
    }};
}
/// The low rows of a spectrum, not normalised. Rows beyond the middle come from conjugate symmetry.
pub struct Spectrum {
    tokens: usize,
    hidden: usize,
    rows: usize,
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

    /// Coefficient (u, v) of the full S x D spectrum. Panics where neither the row nor its mirror was computed.
    pub fn at(&self, u: usize, v: usize) -> Complex32 {
        if u < self.rows {
            return self.computed(u, v);
        }
        self.computed(self.tokens - u, (self.hidden - v) % self.hidden).conj()
    }

    fn computed(&self, u: usize, v: usize) -> Complex32 {
        assert!(u < self.rows, "row {u} of the spectrum was not computed");
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
fn needed(band: Band, block: Block, tokens: usize) -> usize {
    let most = match band {
        Band::Corner | Band::Mirrored => block.ks,
        Band::Centered => block.ks / 2 + 1,
    };
    most.min(pairs(tokens))
}

/// The part of the spectrum of row-major S x D `values`, each times `gain`, that a block of a band needs.
pub fn forward(values: &[f32], tokens: usize, hidden: usize, band: Band, block: Block, gain: f32) -> Spectrum {
    forward_rows(values, tokens, hidden, needed(band, block, tokens), gain)
}

/// The whole spectrum.
pub fn forward_all(values: &[f32], tokens: usize, hidden: usize, gain: f32) -> Spectrum {
    forward_rows(values, tokens, hidden, pairs(tokens), gain)
}

fn forward_rows(values: &[f32], tokens: usize, hidden: usize, rows: usize, gain: f32) -> Spectrum {
    assert_eq!(values.len(), tokens * hidden, "the values are not {tokens} x {hidden}");
    WORK.with_borrow_mut(|work| {
        let plan = cached(&mut work.plans, hidden, || AxisPlan::new(hidden));
        let token_plan = cached(&mut work.token_plans, tokens, || TokenPlan::new(tokens));
        work.token_axis.prepare(token_plan, rows, false);
        let groups = rows.div_ceil(LANES);
        work.rows.clear();
        work.rows.resize(groups * LANES, Pair::default());
        work.lines.resize(groups * plan.lines, Line::default());
        dispatch!(forward_with(work, &plan, values, rows, gain));
        Spectrum { tokens, hidden, rows, plan, lines: std::mem::take(&mut work.lines) }
    })
}

#[inline(always)]
fn forward_with<V: Vector>(work: &mut Work, plan: &AxisPlan, values: &[f32], rows: usize, gain: f32) {
    let hidden = plan.input.len();
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
        plan.forward::<V>(lines, scratch);
    }
}

/// The values that a kept block stands for, row-major S x D, each times `gain` and normalised. `kept` has the order of
/// [`Spectrum::block`].
///
/// The spectrum restored is zero outside the block and its mirror positions. Where a position and its mirror
/// (S - u, D - v) were both kept, or are the same, their conjugate mean is used: that is what the real part of the inverse
/// leaves. Where one was kept, `mirrored` and `centered` give the other its conjugate and `corner` halves both.
pub fn inverse(kept: &[f32], band: Band, block: Block, tokens: usize, hidden: usize, gain: f64) -> Vec<f32> {
    assert_eq!(kept.len(), 2 * block.ks * block.kd, "the coefficients are not {} x {}", block.ks, block.kd);
    let mut out = vec![0f32; tokens * hidden];
    WORK.with_borrow_mut(|work| {
        let plan = cached(&mut work.plans, hidden, || AxisPlan::new(hidden));
        let token_plan = cached(&mut work.token_plans, tokens, || TokenPlan::new(tokens));
        let rows = needed(band, block, tokens);
        work.token_axis.prepare(token_plan, rows, true);
        let groups = rows.div_ceil(LANES);
        work.rows.clear();
        work.rows.resize(groups * LANES, Pair::default());
        work.lines.clear();
        work.lines.resize(groups * plan.lines, Line::default());
        dispatch!(inverse_with(work, &plan, kept, band, block, tokens, rows, &mut out));
    });
    let gain32 = gain as f32;
    if gain32.is_normal() && f64::from(gain32) == gain {
        if gain != 1.0 {
            out.iter_mut().for_each(|v| *v *= gain32);
        }
    } else {
        out.iter_mut().for_each(|v| *v = (f64::from(*v) * gain) as f32);
    }
    out
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn inverse_with<V: Vector>(
    work: &mut Work,
    plan: &AxisPlan,
    kept: &[f32],
    band: Band,
    block: Block,
    tokens: usize,
    rows: usize,
    out: &mut [f32],
) {
    spread::<V>(&mut work.lines, plan, kept, band, block, tokens, rows);
    for lines in work.lines.chunks_exact_mut(plan.lines) {
        plan.forward::<V>(lines, &mut work.scratch);
    }
    let hidden = plan.input.len();
    let Work { token_axis, rows: pairs, lines, .. } = work;
    for strip in (0..hidden).step_by(STRIP * WIDTH) {
        for (nth, first) in (strip..hidden.min(strip + STRIP * WIDTH)).step_by(WIDTH).enumerate() {
            let places = &plan.output[first..hidden.min(first + WIDTH)];
            for (lines, pairs) in lines.chunks_exact(plan.lines).zip(pairs.as_chunks_mut::<LANES>().0) {
                for (half, places) in places.chunks(LANES).enumerate() {
                    let (mut re, mut im) = ([V::zero(); LANES], [V::zero(); LANES]);
                    for (j, at) in places.iter().enumerate() {
                        let line = &lines[*at as usize];
                        (re[j], im[j]) = (V::load(&line.im), V::load(&line.re));
                    }
                    let (re, im) = (V::transpose(re), V::transpose(im));
                    for j in 0..LANES {
                        re[j].store(&mut pairs[j].even[half]);
                        im[j].store(&mut pairs[j].odd[half]);
                    }
                }
            }
            token_axis.inverse::<V>(nth, &pairs[..rows]);
        }
        token_axis.write::<V>(out, hidden, strip);
    }
}

/// Puts the kept coefficients, weighed and normalised, into rows 0 .. `rows` of a spectrum of zeros, so that its inverse
/// has the wanted real part. Real and imaginary parts change places: a forward transform between two such exchanges is
/// the inverse.
#[inline(always)]
fn spread<V: Vector>(
    lines: &mut [Line],
    plan: &AxisPlan,
    kept: &[f32],
    band: Band,
    block: Block,
    tokens: usize,
    rows: usize,
) {
    let (hidden, width) = (plan.input.len(), 2 * block.kd);
    let norm = normalisation(tokens, hidden) as f32;
    let alone = if band == Band::Corner { norm } else { 2.0 * norm };
    let frequency = |i: usize| band.frequency(i, block.ks, tokens);
    // Rows up to the middle stand in the block one after another, from row 0 on.
    let first = (0..block.ks).find(|i| frequency(*i) == 0).unwrap_or(0);
    let computed = rows.min(block.ks - first);
    let direct = &kept[first * width..][..computed * width];
    for (lines, group) in lines.chunks_exact_mut(plan.lines).zip(direct.chunks(LANES * width)) {
        scatter::<V>(lines, &plan.input[..block.kd], group, alone);
    }
    // Where the mirror is kept too, or is the same, each counts once.
    for u in (0..computed).filter(|u| band != Band::Corner && band.holds_row((tokens - u) % tokens, block.ks, tokens)) {
        for v in (0..1).chain((hidden + 1).saturating_sub(block.kd).max(1)..block.kd) {
            let line = &mut lines[u / LANES * plan.lines + plan.input[v] as usize];
            line.re[u % LANES] *= 0.5;
            line.im[u % LANES] *= 0.5;
        }
    }
    for i in (0..block.ks).filter(|i| !(first..first + computed).contains(i)) {
        let u = frequency(i);
        let mirror = tokens - u;
        let mirror_held = band.holds_row(mirror, block.ks, tokens);
        let lines = &mut lines[mirror / LANES * plan.lines..][..plan.lines];
        for (v, [re, im]) in kept[i * width..][..width].as_chunks::<2>().0.iter().enumerate() {
            let mirror_v = if v == 0 { 0 } else { hidden - v };
            let weight = if mirror_held && mirror_v < block.kd { norm } else { alone };
            let line = &mut lines[plan.input[mirror_v] as usize];
            line.im[mirror % LANES] += weight * re;
            line.re[mirror % LANES] -= weight * im;
        }
    }
}

/// The opposite of [`gather`] for up to eight rows from lane 0 on, each number times `weight`, parts exchanged.
#[inline(always)]
fn scatter<V: Vector>(lines: &mut [Line], places: &[u32], rows: &[f32], weight: f32) {
    let width = 2 * places.len();
    let (chunks, rest) = places.as_chunks::<LANES>();
    let weights = V::splat(weight);
    for (nth, places) in chunks.iter().enumerate() {
        let (mut re, mut im) = ([[0.0; LANES]; LANES], [[0.0; LANES]; LANES]);
        for ((re, im), row) in re.iter_mut().zip(&mut im).zip(rows.chunks_exact(width)) {
            let pairs = row[nth * 2 * LANES..][..2 * LANES].as_chunks::<2>().0;
            for ((re, im), pair) in re.iter_mut().zip(im).zip(pairs) {
                [*re, *im] = *pair;
            }
        }
        let (mut by_row, mut by_row_im) = ([V::zero(); LANES], [V::zero(); LANES]);
        for j in 0..LANES {
            (by_row[j], by_row_im[j]) = (V::load(&re[j]), V::load(&im[j]));
        }
        let (re, im) = (V::transpose(by_row), V::transpose(by_row_im));
        for j in 0..LANES {
            let line = &mut lines[places[j] as usize];
            im[j].mul(weights).store(&mut line.re);
            re[j].mul(weights).store(&mut line.im);
        }
    }
    let done = places.len() - rest.len();
    for (nth, at) in rest.iter().enumerate() {
        for (lane, row) in rows.chunks_exact(width).enumerate() {
            let pair = &row[2 * (done + nth)..];
            lines[*at as usize].im[lane] = weight * pair[0];
            lines[*at as usize].re[lane] = weight * pair[1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of one direction and the values of the other, by one vector type.
    fn both<V: Vector>(tokens: usize, hidden: usize, block: Block) -> (Vec<Complex32>, Vec<f32>) {
        let values: Vec<f32> = (0..tokens * hidden).map(|i| ((i * i + 7 * i) % 1013) as f32 / 500.0 - 1.0).collect();
        let plan = Rc::new(AxisPlan::new(hidden));
        let rows = needed(Band::Mirrored, block, tokens);
        let groups = rows.div_ceil(LANES);
        let mut work = Work { rows: vec![Pair::default(); groups * LANES], ..Work::default() };
        work.lines = vec![Line::default(); groups * plan.lines];
        work.token_axis.prepare(Rc::new(TokenPlan::new(tokens)), rows, false);
        forward_with::<V>(&mut work, &plan, &values, rows, 1.0);
        let spectrum = Spectrum { tokens, hidden, rows, plan: plan.clone(), lines: std::mem::take(&mut work.lines) };
        let kept: Vec<Complex32> =
            (0..block.ks).flat_map(|u| (0..block.kd).map(move |v| (u, v))).map(|(u, v)| spectrum.at(u, v)).collect();
        let flat: Vec<f32> = kept.iter().flat_map(|c| [c.re, c.im]).collect();
        let mut out = vec![0.0; tokens * hidden];
        work.lines = vec![Line::default(); groups * plan.lines];
        work.token_axis.prepare(Rc::new(TokenPlan::new(tokens)), rows, true);
        inverse_with::<V>(&mut work, &plan, &flat, Band::Mirrored, block, tokens, rows, &mut out);
        (kept, out)
    }

    /// What runs where the processor lacks AVX2, against what runs here; the codec's tests check the latter.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn plain_arrays_give_what_vectors_give() {
        if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
            return println!("skipped: no AVX2");
        }
        for (tokens, hidden, ks, kd) in [(5, 19, 3, 7), (54, 192, 20, 70), (200, 96, 72, 34), (331, 40, 9, 20)] {
            let block = Block { ks, kd };
            let (kept, values) = both::<Plain>(tokens, hidden, block);
            let (kept_avx, values_avx) = both::<super::super::vector::Avx>(tokens, hidden, block);
            let top = kept.iter().map(|c| c.norm()).fold(0.0, f32::max);
            assert!(kept.iter().zip(&kept_avx).all(|(a, b)| (a - b).norm() <= 1e-5 * top), "{tokens} x {hidden}");
            assert!(values.iter().zip(&values_avx).all(|(a, b)| (a - b).abs() <= 1e-4), "{tokens} x {hidden}");
        }
    }
}
