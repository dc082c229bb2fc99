//! Fast transforms along an axis, eight at once: every operation is on a [`Line`], one number of each, so nothing is moved
//! between the lanes of a vector.
//!
//! n = n1 n2 is done in two steps of short transforms, each of which stays in the innermost cache (Bailey's four-step
//! method); a short transform is Stockham's, with radices 8, 6, 4, 2, 3, 5 and 7.

use std::f64::consts::TAU;
use std::sync::Arc;

use rustfft::{Fft, FftPlanner, num_complex::Complex32};

use crate::vector::{LANES, Vector};

/// Eight complex numbers: their real parts, then their imaginary parts; one cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Line {
    pub re: [f32; LANES],
    pub im: [f32; LANES],
}

/// The transform of one length.
pub(super) struct AxisPlan {
    /// Where input k lies.
    pub input: Vec<u32>,
    /// Where frequency k of the result lies.
    pub output: Vec<u32>,
    /// Lines that a transform takes.
    pub lines: usize,
    method: Method,
}

enum Method {
    Steps {
        /// n1: over inputs n2 apart.
        first: Short,
        /// n2: over neighbours.
        second: Short,
        /// Factors between the steps, powers of the root of unity: n1 for each place of a row.
        factors: Vec<[f32; 2]>,
    },
    /// A prime factor above 7: lane by lane.
    Library(Arc<dyn Fft<f32>>),
}

/// A short transform.
struct Short {
    size: usize,
    passes: Vec<Pass>,
}

/// One pass of Stockham's method: `groups` x `stride` butterflies.
struct Pass {
    radix: usize,
    groups: usize,
    stride: usize,
    /// Powers 1 .. radix - 1 of each group's root.
    twiddles: Vec<[f32; 2]>,
    /// Powers of the radix' root.
    roots: Vec<[f32; 2]>,
}

fn root(k: usize, n: usize) -> [f32; 2] {
    let (sin, cos) = (-TAU * (k % n) as f64 / n as f64).sin_cos();
    [cos as f32, sin as f32]
}

impl Short {
    /// None where a prime factor is above 7.
    fn new(size: usize) -> Option<Self> {
        let (mut left, mut stride, mut passes) = (size, 1, Vec::new());
        for radix in radices(size)? {
            let groups = left / radix;
            let twiddles = (0..groups).flat_map(|p| (1..radix).map(move |i| root(i * p, left))).collect();
            let roots = (0..radix).map(|k| root(k, radix)).collect();
            passes.push(Pass { radix, groups, stride, twiddles, roots });
            left = groups;
            stride *= radix;
        }
        Some(Self { size, passes })
    }
}

/// Few large radices whose product is `size`: each is a pass over all numbers.
fn radices(size: usize) -> Option<Vec<usize>> {
    let (mut left, mut out) = (size, Vec::new());
    for radix in [7, 5] {
        while left.is_multiple_of(radix) {
            (left, _) = (left / radix, out.push(radix));
        }
    }
    while left > 1 {
        let twos = left.trailing_zeros();
        let radix = match (twos, left % 3) {
            (2 | 4, 0) | (0, 0) => 3,
            (_, 0) => 6,
            (1, _) => 2,
            (2 | 4, _) => 4,
            (3.., _) => 8,
            _ => return None,
        };
        (left, _) = (left / radix, out.push(radix));
    }
    Some(out)
}

impl AxisPlan {
    pub fn new(length: usize) -> Self {
        let n1 = (1..=length.isqrt()).rev().find(|n| length.is_multiple_of(*n)).unwrap_or(1);
        let n2 = length / n1;
        let (Some(first), Some(second)) = (Short::new(n1), Short::new(n2)) else {
            let natural: Vec<u32> = (0..length as u32).collect();
            let method = Method::Library(FftPlanner::new().plan_fft_forward(length));
            return Self { input: natural.clone(), output: natural, lines: length, method };
        };
        // One line more a row keeps the columns of a power of two from all falling into the same set of the cache.
        let pitch = n2 + 1;
        Self {
            input: (0..length).map(|d| (d / n2 * pitch + d % n2) as u32).collect(),
            output: (0..length).map(|v| (v % n1 * pitch + v / n1) as u32).collect(),
            lines: n1 * pitch,
            method: Method::Steps {
                first,
                second,
                factors: (0..n2).flat_map(|n| (0..n1).map(move |k| root(n * k, length))).collect(),
            },
        }
    }

    /// Whether it is made of short transforms.
    pub fn is_fast(&self) -> bool {
        matches!(self.method, Method::Steps { .. })
    }

    /// Lines that hold the first `inputs` inputs.
    pub fn lines_of(&self, inputs: usize) -> usize {
        match &self.method {
            Method::Steps { second, .. } => (inputs.div_ceil(second.size) * (second.size + 1)).min(self.lines),
            Method::Library(_) => self.lines,
        }
    }

    /// Transforms in place, e^-, not normalised: `input` tells where the inputs lie, `output` where the result does. Inputs
    /// from `inputs` on count as zeros, whatever lies beyond [`AxisPlan::lines_of`] them, and outputs from `outputs` on
    /// need not be there.
    #[inline(always)]
    pub fn forward<V: Vector>(&self, lines: &mut [Line], scratch: &mut Vec<Line>, inputs: usize, outputs: usize) {
        match &self.method {
            Method::Steps { first, second, factors } => {
                let pitch = second.size + 1;
                scratch.resize(2 * second.size, Line::default());
                let present = inputs.div_ceil(second.size);
                for (first_line, factors) in factors.chunks_exact(first.size).enumerate() {
                    let places = Places { first: first_line, step: pitch };
                    short::<V>(first, lines, places, scratch, Some(factors), present, first.size);
                }
                let wanted = outputs.div_ceil(first.size);
                for row in lines.chunks_exact_mut(pitch) {
                    short::<V>(second, row, NEIGHBOURS, scratch, None, second.size, wanted);
                }
            }
            Method::Library(fft) => by_lane(fft.as_ref(), lines),
        }
    }
}

/// One lane at a time by the library.
fn by_lane(fft: &dyn Fft<f32>, lines: &mut [Line]) {
    let mut row = vec![Complex32::default(); lines.len()];
    let mut scratch = vec![Complex32::default(); fft.get_inplace_scratch_len()];
    for lane in 0..LANES {
        for (value, line) in row.iter_mut().zip(&*lines) {
            *value = Complex32::new(line.re[lane], line.im[lane]);
        }
        fft.process_with_scratch(&mut row, &mut scratch);
        for (value, line) in row.iter().zip(&mut *lines) {
            (line.re[lane], line.im[lane]) = (value.re, value.im);
        }
    }
}

/// Eight complex numbers in registers.
#[derive(Clone, Copy)]
struct Eight<V> {
    re: V,
    im: V,
}

impl<V: Vector> Eight<V> {
    #[inline(always)]
    fn zero() -> Self {
        Self { re: V::zero(), im: V::zero() }
    }

    #[inline(always)]
    fn load(line: &Line) -> Self {
        Self { re: V::load(&line.re), im: V::load(&line.im) }
    }

    #[inline(always)]
    fn store(self, line: &mut Line) {
        self.re.store(&mut line.re);
        self.im.store(&mut line.im);
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self { re: self.re.add(other.re), im: self.im.add(other.im) }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self { re: self.re.sub(other.re), im: self.im.sub(other.im) }
    }

    /// Times -i.
    #[inline(always)]
    fn turned(self) -> Self {
        Self { re: self.im, im: V::zero().sub(self.re) }
    }

    #[inline(always)]
    fn times(self, factor: [f32; 2]) -> Self {
        let (re, im) = (V::splat(factor[0]), V::splat(factor[1]));
        Self { re: self.im.neg_mul_add(im, self.re.mul(re)), im: self.re.mul_add(im, self.im.mul(re)) }
    }
}

/// Every `step`-th line from `first` on.
#[derive(Clone, Copy)]
struct Places {
    first: usize,
    step: usize,
}

const NEIGHBOURS: Places = Places { first: 0, step: 1 };

impl Places {
    #[inline(always)]
    fn at(self, k: usize) -> usize {
        self.first + k * self.step
    }
}

/// Transforms the first `present` lines at `places`, and zeros for the rest, in place; the first `wanted` results, of which
/// result k is then multiplied by factor k.
#[inline(always)]
fn short<V: Vector>(
    plan: &Short,
    lines: &mut [Line],
    places: Places,
    scratch: &mut [Line],
    factors: Option<&[[f32; 2]]>,
    present: usize,
    wanted: usize,
) {
    let (mut from, mut to) = scratch.split_at_mut(scratch.len() / 2);
    let Some((last, passes)) = plan.passes.split_last() else { return };
    if let Some((first, middle)) = passes.split_first() {
        pass::<V>(first, lines, places, from, NEIGHBOURS, None, present, plan.size);
        for step in middle {
            pass::<V>(step, from, NEIGHBOURS, to, NEIGHBOURS, None, plan.size, plan.size);
            std::mem::swap(&mut from, &mut to);
        }
    } else {
        for k in 0..plan.size {
            from[k] = if k < present { lines[places.at(k)] } else { Line::default() };
        }
    }
    pass::<V>(last, from, NEIGHBOURS, lines, places, factors, plan.size, wanted);
}

#[inline(always)]
#[expect(clippy::too_many_arguments)] // All of it belongs to one pass.
fn pass<V: Vector>(
    pass: &Pass,
    from: &[Line],
    from_places: Places,
    to: &mut [Line],
    to_places: Places,
    factors: Option<&[[f32; 2]]>,
    present: usize,
    wanted: usize,
) {
    // One copy of all of it: there are many calls, and each would take its time to compile.
    V::enter(
        #[inline(always)]
        || match pass.radix {
            2 => radix::<V, 2>(pass, from, from_places, to, to_places, factors, present, wanted),
            3 => radix::<V, 3>(pass, from, from_places, to, to_places, factors, present, wanted),
            4 => radix::<V, 4>(pass, from, from_places, to, to_places, factors, present, wanted),
            5 => radix::<V, 5>(pass, from, from_places, to, to_places, factors, present, wanted),
            6 => radix::<V, 6>(pass, from, from_places, to, to_places, factors, present, wanted),
            8 => radix::<V, 8>(pass, from, from_places, to, to_places, factors, present, wanted),
            _ => radix::<V, 7>(pass, from, from_places, to, to_places, factors, present, wanted),
        },
    );
}

#[inline(always)]
#[expect(clippy::too_many_arguments)]
fn radix<V: Vector, const R: usize>(
    pass: &Pass,
    from: &[Line],
    from_places: Places,
    to: &mut [Line],
    to_places: Places,
    factors: Option<&[[f32; 2]]>,
    present: usize,
    wanted: usize,
) {
    let Pass { groups, stride, .. } = *pass;
    let last = R * groups * stride - 1;
    assert!(from_places.at(last) < from.len() && to_places.at(last) < to.len());
    assert!(factors.is_none_or(|factors| last < factors.len()));
    for p in 0..groups {
        let twiddles = &pass.twiddles[p * (R - 1)..][..R - 1];
        for q in 0..stride {
            let mut x = [Eight::<V>::zero(); R];
            for (i, x) in x.iter_mut().enumerate() {
                let k = q + stride * (p + i * groups);
                if k < present {
                    // SAFETY: k is `last` at most, whose place was just checked.
                    *x = Eight::load(unsafe { from.get_unchecked(from_places.at(k)) });
                }
            }
            butterfly(&mut x, &pass.roots);
            for (i, mut x) in x.into_iter().enumerate() {
                if i > 0 && p > 0 {
                    x = x.times(twiddles[i - 1]);
                }
                let k = q + stride * (R * p + i);
                if k >= wanted {
                    break;
                }
                // SAFETY: k is `last` at most, see above.
                unsafe {
                    if let Some(factors) = factors {
                        x = x.times(*factors.get_unchecked(k));
                    }
                    x.store(to.get_unchecked_mut(to_places.at(k)));
                }
            }
        }
    }
}

/// The transform of R numbers, in place.
#[inline(always)]
fn butterfly<V: Vector, const R: usize>(x: &mut [Eight<V>; R], roots: &[[f32; 2]]) {
    match R {
        2 => two(x),
        4 => four(x),
        6 => six(x, roots),
        8 => eight(x),
        _ => odd(x, roots),
    }
}

#[inline(always)]
fn two<V: Vector>(x: &mut [Eight<V>]) {
    let (a, b) = (x[0], x[1]);
    x[0] = a.add(b);
    x[1] = a.sub(b);
}

#[inline(always)]
fn four<V: Vector>(x: &mut [Eight<V>]) {
    let (sum, difference) = (x[0].add(x[2]), x[0].sub(x[2]));
    let (other, turned) = (x[1].add(x[3]), x[1].sub(x[3]).turned());
    x[0] = sum.add(other);
    x[1] = difference.add(turned);
    x[2] = sum.sub(other);
    x[3] = difference.sub(turned);
}

/// Two of four.
#[inline(always)]
fn eight<V: Vector>(x: &mut [Eight<V>]) {
    let mut even = [x[0], x[2], x[4], x[6]];
    let mut odd = [x[1], x[3], x[5], x[7]];
    four(&mut even);
    four(&mut odd);
    let half = V::splat(std::f32::consts::FRAC_1_SQRT_2);
    // Times the first and third power of the root, (1 - i) and (-1 - i) over the root of two.
    let (a, b) = (odd[1], odd[3]);
    odd[1] = Eight { re: a.re.add(a.im).mul(half), im: a.im.sub(a.re).mul(half) };
    odd[2] = odd[2].turned();
    odd[3] = Eight { re: b.im.sub(b.re).mul(half), im: V::zero().sub(b.re.add(b.im)).mul(half) };
    for k in 0..4 {
        x[k] = even[k].add(odd[k]);
        x[k + 4] = even[k].sub(odd[k]);
    }
}

/// Two of three; `roots` are those of six.
#[inline(always)]
fn six<V: Vector>(x: &mut [Eight<V>], roots: &[[f32; 2]]) {
    let thirds = [roots[0], roots[2], roots[4]];
    let mut even = [x[0], x[2], x[4]];
    let mut odd_ones = [x[1], x[3], x[5]];
    odd(&mut even, &thirds);
    odd(&mut odd_ones, &thirds);
    for k in 0..3 {
        let turned = if k == 0 { odd_ones[0] } else { odd_ones[k].times(roots[k]) };
        x[k] = even[k].add(turned);
        x[k + 3] = even[k].sub(turned);
    }
}

/// Odd R by sums and differences of the inputs i and R - i.
#[inline(always)]
fn odd<V: Vector, const R: usize>(x: &mut [Eight<V>; R], roots: &[[f32; 2]]) {
    let inputs = *x;
    for input in &inputs[1..] {
        x[0] = x[0].add(*input);
    }
    for k in 1..=R / 2 {
        let mut even = inputs[0];
        let mut odd = Eight::zero();
        for i in 1..=R / 2 {
            let (sum, difference) = (inputs[i].add(inputs[R - i]), inputs[i].sub(inputs[R - i]).turned());
            let root = roots[i * k % R];
            let (cos, minus_sin) = (V::splat(root[0]), V::splat(root[1]));
            even = Eight { re: sum.re.mul_add(cos, even.re), im: sum.im.mul_add(cos, even.im) };
            odd.re = difference.re.neg_mul_add(minus_sin, odd.re);
            odd.im = difference.im.neg_mul_add(minus_sin, odd.im);
        }
        x[k] = even.add(odd);
        x[R - k] = even.sub(odd);
    }
}
