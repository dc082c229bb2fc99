//! Fast transforms along an axis, eight at once: every operation is on a [`Line`], one number of each, so nothing is moved
//! between the lanes of a vector.
//!
//! n = n1 n2 is done in two steps of short transforms, each of which stays in the innermost cache (Bailey's four-step
//! method); a short transform is Stockham's, with radices 4, 2, 3, 5 and 7.

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
        for radix in [4, 2, 3, 5, 7] {
            while left % radix == 0 {
                let groups = left / radix;
                let twiddles = (0..groups).flat_map(|p| (1..radix).map(move |i| root(i * p, left))).collect();
                let roots = (0..radix).map(|k| root(k, radix)).collect();
                passes.push(Pass { radix, groups, stride, twiddles, roots });
                left = groups;
                stride *= radix;
            }
        }
        (left == 1).then_some(Self { size, passes })
    }
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

    /// Transforms in place, e^-, not normalised: `input` tells where the inputs lie, `output` where the result does.
    #[inline(always)]
    pub fn forward<V: Vector>(&self, lines: &mut [Line], scratch: &mut Vec<Line>) {
        match &self.method {
            Method::Steps { first, second, factors } => {
                let pitch = second.size + 1;
                scratch.resize(2 * second.size, Line::default());
                for (first_line, factors) in factors.chunks_exact(first.size).enumerate() {
                    let places = Places { first: first_line, step: pitch };
                    short::<V>(first, lines, places, scratch, Some(factors));
                }
                for row in lines.chunks_exact_mut(pitch) {
                    short::<V>(second, row, NEIGHBOURS, scratch, None);
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

/// Transforms the lines at `places` in place; result k is then multiplied by factor k.
#[inline(always)]
fn short<V: Vector>(
    plan: &Short,
    lines: &mut [Line],
    places: Places,
    scratch: &mut [Line],
    factors: Option<&[[f32; 2]]>,
) {
    let (mut from, mut to) = scratch.split_at_mut(scratch.len() / 2);
    let Some((last, passes)) = plan.passes.split_last() else { return };
    if let Some((first, middle)) = passes.split_first() {
        pass::<V>(first, lines, places, from, NEIGHBOURS, None);
        for step in middle {
            pass::<V>(step, from, NEIGHBOURS, to, NEIGHBOURS, None);
            std::mem::swap(&mut from, &mut to);
        }
    } else {
        for k in 0..plan.size {
            from[k] = lines[places.at(k)];
        }
    }
    pass::<V>(last, from, NEIGHBOURS, lines, places, factors);
}

#[inline(always)]
fn pass<V: Vector>(
    pass: &Pass,
    from: &[Line],
    from_places: Places,
    to: &mut [Line],
    to_places: Places,
    factors: Option<&[[f32; 2]]>,
) {
    // One copy of all of it: there are many calls, and each would take its time to compile.
    V::enter(
        #[inline(always)]
        || match pass.radix {
            2 => radix::<V, 2>(pass, from, from_places, to, to_places, factors),
            3 => radix::<V, 3>(pass, from, from_places, to, to_places, factors),
            4 => radix::<V, 4>(pass, from, from_places, to, to_places, factors),
            5 => radix::<V, 5>(pass, from, from_places, to, to_places, factors),
            _ => radix::<V, 7>(pass, from, from_places, to, to_places, factors),
        },
    );
}

#[inline(always)]
fn radix<V: Vector, const R: usize>(
    pass: &Pass,
    from: &[Line],
    from_places: Places,
    to: &mut [Line],
    to_places: Places,
    factors: Option<&[[f32; 2]]>,
) {
    let Pass { groups, stride, .. } = *pass;
    for p in 0..groups {
        let twiddles = &pass.twiddles[p * (R - 1)..][..R - 1];
        for q in 0..stride {
            let mut x = [Eight::<V>::zero(); R];
            for (i, x) in x.iter_mut().enumerate() {
                *x = Eight::load(&from[from_places.at(q + stride * (p + i * groups))]);
            }
            match R {
                2 => two(&mut x),
                4 => four(&mut x),
                _ => odd(&mut x, &pass.roots),
            }
            for (i, mut x) in x.into_iter().enumerate() {
                if i > 0 && p > 0 {
                    x = x.times(twiddles[i - 1]);
                }
                let k = q + stride * (R * p + i);
                if let Some(factors) = factors {
                    x = x.times(factors[k]);
                }
                x.store(&mut to[to_places.at(k)]);
            }
        }
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
