//! Classes of row frequencies: one step of decimation in frequency (Gentleman and Sande 1966), then plain sums. Of S =
//! R m tokens, the frequencies u = r modulo R are a transform of length m over sums of tokens m apart, each times a
//! twiddle. R and m need not be coprime, so this is no prime-factor (Good-Thomas) split.
//!
//! Of a transform of length m, tokens s and m - s meet the same cosine and opposite sines: their sum goes with the
//! cosines and their difference with the sines, which halves the products. Frequencies r and -r share their products in
//! the same way.
//!
//! A *stream* is a real sequence of such sums and differences: one for class 0; one for class R/2, whose angles lie halfway
//! between; two for each other class, its complex numbers' parts.

use super::line_transform::ComplexLine;
use super::token_axis::{AxisRows, SIDE, channels, put, widths};
use crate::vector::Vector;

/// Values of R that there is code for.
pub(super) const RADICES: [usize; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

/// Complex classes, one of each pair.
pub(super) const fn pairs(radix: usize) -> usize {
    (radix - 1) / 2
}

/// How S tokens are divided, and where the terms of their streams lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Classes {
    pub radix: usize,
    /// m.
    pub apart: usize,
}

impl Classes {
    /// Terms of a stream.
    pub fn terms(self) -> usize {
        self.apart / 2 + 1
    }

    /// The terms of a stream of the nth channels of a strip: stream 0 is class 0, stream 1 class R/2 where there is one.
    pub fn stream(self, nth: usize, stream: usize) -> AxisRows {
        AxisRows { first: (nth * self.radix + stream) * self.terms() * SIDE, step: SIDE, count: self.terms() }
    }

    /// The first of the two streams of complex class r.
    pub fn of_pair(self, r: usize) -> usize {
        2 * r - self.radix % 2
    }
}

/// A strip of rows, and the roots of unity of order S: cosine and negative sine.
pub(super) struct Strip<'a> {
    pub hidden: usize,
    pub first: usize,
    pub roots: &'a [[f32; 2]],
}

impl Strip<'_> {
    /// Powers of the root of order R: number j of class r is its power r j. They are looked up once, since a remainder takes as long as many products.
    #[inline(always)]
    fn class_roots(&self, m: usize) -> ClassRoots {
        std::array::from_fn(|r| std::array::from_fn(|j| self.roots[r * j * m % self.roots.len()]))
    }

    /// The twiddle of each class at token s, e^(-2 pi i r s / S).
    #[inline(always)]
    fn twiddles(&self, s: usize) -> [[f32; 2]; MOST_PAIRS + 1] {
        std::array::from_fn(|r| self.roots[r * s % self.roots.len()])
    }
}

/// Complex classes of the largest radix.
const MOST_PAIRS: usize = pairs(RADICES[RADICES.len() - 1]);

/// By class and number of the input, both up to the middle.
type ClassRoots = [[[f32; 2]; MOST_PAIRS + 1]; MOST_PAIRS + 1];

#[inline(always)]
fn both<V: Vector>([cos, minus_sin]: [f32; 2]) -> [V; 2] {
    [V::splat(cos), V::splat(minus_sin)]
}

/// Calls a function that is generic in R with the radix as its constant.
macro_rules! by_radix {
    ($radix:expr, $function:ident::<$vector:ty>($($argument:expr),*)) => {
        // One copy of each: inlined, all of them would be compiled wherever they are called.
        <$vector>::enter(
            #[inline(always)]
            || match $radix {
                1 => $function::<$vector, 1>($($argument),*),
                2 => $function::<$vector, 2>($($argument),*),
                3 => $function::<$vector, 3>($($argument),*),
                4 => $function::<$vector, 4>($($argument),*),
                5 => $function::<$vector, 5>($($argument),*),
                6 => $function::<$vector, 6>($($argument),*),
                7 => $function::<$vector, 7>($($argument),*),
                8 => $function::<$vector, 8>($($argument),*),
                _ => $function::<$vector, 9>($($argument),*),
            },
        )
    };
}

/// Makes `terms` those of all streams of a strip of row-major S x D `values`, each times `gain`. Returns the largest
/// magnitudes of the values, lane by lane.
#[inline(always)]
pub(super) fn read<V: Vector>(
    classes: Classes,
    strip: &Strip<'_>,
    values: &[f32],
    gain: f32,
    terms: &mut [ComplexLine],
) -> V {
    by_radix!(classes.radix, read_with::<V>(classes, strip, values, gain, terms))
}

/// Undoes [`read`].
#[inline(always)]
pub(super) fn write<V: Vector>(classes: Classes, strip: &Strip<'_>, terms: &[ComplexLine], values: &mut [f32]) -> V {
    by_radix!(classes.radix, write_with::<V>(classes, strip, terms, values))
}

#[inline(always)]
fn read_with<V: Vector, const R: usize>(
    classes: Classes,
    strip: &Strip<'_>,
    values: &[f32],
    gain: f32,
    terms: &mut [ComplexLine],
) -> V {
    let m = classes.apart;
    let gain = V::splat(gain);
    let mut top = V::zero();
    let roots = strip.class_roots(m);
    for s in 0..classes.terms() {
        let (own, others) = (strip.twiddles(s), strip.twiddles(m - s));
        // Tokens s and m - s go together; the first token has no partner, nor has the middle one where m is even.
        let alone = s == 0 || 2 * s == m;
        for (nth, first) in widths(strip.hidden, strip.first) {
            let here = class_sums::<V, R>(strip, values, m, (s, first), (&roots, &own), gain, &mut top);
            let there = if alone {
                [[[V::zero(); SIDE]; 2]; R]
            } else {
                class_sums::<V, R>(strip, values, m, (m - s, first), (&roots, &others), gain, &mut top)
            };
            let at = |stream: usize| classes.stream(nth, stream).at(s);
            // Where s has no partner its difference meets a sine of zero, and halfway angles of m/2 a cosine of zero.
            put_term(
                terms,
                at(0),
                sum(here[0][0], there[0][0]),
                if alone { here[0][1] } else { difference(here[0][0], there[0][0]) },
            );
            if R.is_multiple_of(2) {
                let (z, w) = (here[R / 2][0], there[R / 2][0]);
                let zero = [V::zero(); SIDE];
                // Angles lie halfway between here: from s to m - s the cosine changes its sign and the sine stays, so
                // sum and difference change places.
                match (s == 0, alone) {
                    (true, _) => put_term(terms, at(1), z, zero),
                    (_, true) => put_term(terms, at(1), zero, z),
                    _ => put_term(terms, at(1), difference(z, w), sum(z, w)),
                }
            }
            for r in 1..=pairs(R) {
                // The real part at k takes sums of re by cosines and differences of im by sines, the imaginary part the
                // other two. At -k the sines change their sign, so the same products serve both.
                let ([re, im], [other_re, other_im]) = (here[r], there[r]);
                let stream = classes.of_pair(r);
                put_term(terms, at(stream), sum(re, other_re), difference(im, other_im));
                put_term(terms, at(stream + 1), sum(im, other_im), difference(re, other_re));
            }
        }
    }
    top
}

/// The parts of tokens s, s + m, ... in each class r up to R/2, real and imaginary; those of class r are multiplied by
/// the root's power r s.
#[inline(always)]
fn class_sums<V: Vector, const R: usize>(
    strip: &Strip<'_>,
    values: &[f32],
    m: usize,
    (s, first): (usize, usize),
    (roots, twiddles): (&ClassRoots, &[[f32; 2]; MOST_PAIRS + 1]),
    gain: V,
    top: &mut V,
) -> [[[V; SIDE]; 2]; R] {
    let mut x = [[V::zero(); SIDE]; R];
    for (j, x) in x.iter_mut().enumerate() {
        let row = &values[(s + j * m) * strip.hidden..][..strip.hidden];
        let [low, high] = channels::<V>(row, first);
        *top = top.larger_magnitude(low).larger_magnitude(high);
        *x = [low.mul(gain), high.mul(gain)];
    }
    let mut out = [[[V::zero(); SIDE]; 2]; R];
    // Class 0 is the plain sum: no twiddle, and real.
    out[0][0] = x[0];
    for x in &x[1..] {
        out[0][0] = sum(out[0][0], *x);
    }
    if R.is_multiple_of(2) {
        // The roots of class R/2 are 1 and -1, so it stays real. Its twiddle is not multiplied on but left to the sums,
        // whose angles lie halfway between those of class 0.
        out[R / 2][0] = x[0];
        for (j, x) in (1usize..).zip(&x[1..]) {
            let total = out[R / 2][0];
            out[R / 2][0] = if j.is_multiple_of(2) { sum(total, *x) } else { difference(total, *x) };
        }
    }
    for (r, out) in (1usize..).zip(&mut out[1..=pairs(R)]) {
        // Inputs j and R - j have conjugate roots: their sum takes the cosine, their difference the sine. Classes above
        // R/2 are the conjugates of these, since the values are real.
        let (mut re, mut im) = (x[0], [V::zero(); SIDE]);
        if R.is_multiple_of(2) {
            re = if r.is_multiple_of(2) { sum(re, x[R / 2]) } else { difference(re, x[R / 2]) };
        }
        for j in 1..=pairs(R) {
            let [cos, minus_sin] = both::<V>(roots[r][j]);
            re = add_scaled(re, sum(x[j], x[R - j]), cos);
            im = add_scaled(im, difference(x[j], x[R - j]), minus_sin);
        }
        let [cos, minus_sin] = both::<V>(twiddles[r]);
        for half in 0..SIDE {
            let (a, b) = (re[half], im[half]);
            out[0][half] = b.neg_mul_add(minus_sin, a.mul(cos));
            out[1][half] = b.mul_add(cos, a.mul(minus_sin));
        }
    }
    out
}

#[inline(always)]
fn write_with<V: Vector, const R: usize>(
    classes: Classes,
    strip: &Strip<'_>,
    terms: &[ComplexLine],
    values: &mut [f32],
) -> V {
    let m = classes.apart;
    let mut top = V::zero();
    let roots = strip.class_roots(m);
    for s in 0..classes.terms() {
        let (own, others) = (strip.twiddles(s), strip.twiddles(m - s));
        for (nth, first) in widths(strip.hidden, strip.first) {
            let at = |stream: usize| classes.stream(nth, stream).at(s);
            let (mut here, mut there) = ([[[V::zero(); SIDE]; 2]; R], [[[V::zero(); SIDE]; 2]; R]);
            // What met a cosine is the same at s and m - s, what met a sine is the opposite.
            let [even, odd] = term::<V>(terms, at(0));
            (here[0][0], there[0][0]) = (sum(even, odd), difference(even, odd));
            if R.is_multiple_of(2) {
                let [even, odd] = term::<V>(terms, at(1));
                (here[R / 2][0], there[R / 2][0]) = (sum(even, odd), difference(odd, even));
            }
            for r in 1..=pairs(R) {
                let stream = classes.of_pair(r);
                let ([even_re, odd_im], [even_im, odd_re]) =
                    (term::<V>(terms, at(stream)), term::<V>(terms, at(stream + 1)));
                here[r] = [sum(even_re, odd_im), difference(even_im, odd_re)];
                there[r] = [difference(even_re, odd_im), sum(even_im, odd_re)];
            }
            spread::<V, R>(strip, values, m, (s, first), (&roots, &own), here, &mut top);
            if s > 0 && 2 * s != m {
                spread::<V, R>(strip, values, m, (m - s, first), (&roots, &others), there, &mut top);
            }
        }
    }
    top
}

/// Undoes [`class_sums`]: tokens s, s + m, ... from their parts in each class.
#[inline(always)]
fn spread<V: Vector, const R: usize>(
    strip: &Strip<'_>,
    values: &mut [f32],
    m: usize,
    (s, first): (usize, usize),
    (roots, twiddles): (&ClassRoots, &[[f32; 2]; MOST_PAIRS + 1]),
    mut classes: [[[V; SIDE]; 2]; R],
    top: &mut V,
) {
    for (r, [re, im]) in (1usize..).zip(&mut classes[1..=pairs(R)]) {
        let [cos, minus_sin] = both::<V>(twiddles[r]);
        for (re, im) in re.iter_mut().zip(im) {
            // Times the conjugate of the twiddle that the forward step multiplied on.
            (*re, *im) = (im.mul_add(minus_sin, re.mul(cos)), re.neg_mul_add(minus_sin, im.mul(cos)));
        }
    }
    #[expect(clippy::needless_range_loop, reason = "j is a number of tokens, and indexes the second side only")]
    for j in 0..=R / 2 {
        // Only the real part is wanted: re meets cosines and im meets sines. Tokens j and R - j differ in the sign of
        // the sines, so both come from one pair of sums.
        let (mut even, mut odd) = (classes[0][0], [V::zero(); SIDE]);
        if R.is_multiple_of(2) {
            even = if j.is_multiple_of(2) { sum(even, classes[R / 2][0]) } else { difference(even, classes[R / 2][0]) };
        }
        for (r, [re, im]) in (1usize..).zip(&classes[1..=pairs(R)]) {
            let [cos, minus_sin] = both::<V>(roots[r][j]);
            even = add_scaled(even, *re, cos);
            odd = add_scaled(odd, *im, minus_sin);
        }
        put_token(strip, values, s + j * m, first, sum(even, odd), top);
        if j > 0 && 2 * j != R {
            put_token(strip, values, s + (R - j) * m, first, difference(even, odd), top);
        }
    }
}

#[inline(always)]
fn put_token<V: Vector>(
    strip: &Strip<'_>,
    values: &mut [f32],
    token: usize,
    first: usize,
    channels: [V; SIDE],
    top: &mut V,
) {
    *top = top.larger_magnitude(channels[0]).larger_magnitude(channels[1]);
    put(&mut values[token * strip.hidden..][..strip.hidden], first, channels);
}

/// Writes a term.
#[inline(always)]
fn put_term<V: Vector>(lines: &mut [ComplexLine], at: usize, even: [V; SIDE], odd: [V; SIDE]) {
    let term = &mut lines[at..][..SIDE];
    for half in 0..SIDE {
        even[half].store(&mut term[half].re);
        odd[half].store(&mut term[half].im);
    }
}

/// Reads a term: what goes with cosines and what goes with sines.
#[inline(always)]
fn term<V: Vector>(lines: &[ComplexLine], at: usize) -> [[V; SIDE]; 2] {
    let term = &lines[at..][..SIDE];
    [[V::load(&term[0].re), V::load(&term[1].re)], [V::load(&term[0].im), V::load(&term[1].im)]]
}

#[inline(always)]
fn sum<V: Vector>(a: [V; SIDE], b: [V; SIDE]) -> [V; SIDE] {
    [a[0].add(b[0]), a[1].add(b[1])]
}

#[inline(always)]
fn difference<V: Vector>(a: [V; SIDE], b: [V; SIDE]) -> [V; SIDE] {
    [a[0].sub(b[0]), a[1].sub(b[1])]
}

#[inline(always)]
fn add_scaled<V: Vector>(a: [V; SIDE], b: [V; SIDE], factor: V) -> [V; SIDE] {
    [b[0].mul_add(factor, a[0]), b[1].mul_add(factor, a[1])]
}
