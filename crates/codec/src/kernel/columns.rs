//! Transforms of whole columns, sixteen channels at a time: eight as real and eight as imaginary parts (Cooley, Lewis and
//! Welch 1970). In place where the number of tokens has small factors, as a convolution with a chirp (Bluestein 1970)
//! where it has not.

use std::f64::consts::PI;

use rustfft::{FftPlanner, num_complex::Complex64};

use super::butterfly::ComplexRegisters;
use super::line_transform::{self, ComplexLine, LineTransform, Sink, Source, prefetch, prefetch_to_write};
use super::token_axis::{AxisRows, SIDE, WIDTH, up_to_middle};
use crate::vector::{LANES, Vector};

/// The transform of columns of S tokens.
pub(super) struct ColumnTransform {
    tokens: usize,
    method: ColumnMethod,
}

enum ColumnMethod {
    InPlace {
        transform: LineTransform,
        /// The result that lies at each place.
        results: Vec<u32>,
    },
    /// X_u = c_u sum of (x_s c_s) conj(c_(u - s)) with the chirp c_n = e^(-i pi n^2 / S), since 2 u s = u^2 + s^2 -
    /// (u - s)^2. Tokens and frequencies are counted from zero to both sides, so the convolution is as short as it can
    /// be, and its kernel, which is even, serves either direction.
    Chirp {
        /// c_n, n up to the middle.
        chirp: Vec<[f32; 2]>,
        /// Of the convolution.
        transform: LineTransform,
        /// The transform of the conjugate chirp, over its length.
        spectrum: Vec<[f32; 2]>,
    },
}

/// Sixteen channels of row-major values.
#[derive(Clone, Copy)]
struct ValueSource<V> {
    first: *const f32,
    hidden: usize,
    gain: V,
}

impl<V: Vector> Source<V> for ValueSource<V> {
    #[inline(always)]
    unsafe fn load(self, i: usize, top: &mut V) -> ComplexRegisters<V> {
        // SAFETY: the caller's.
        let [re, im] = unsafe { &*self.first.add(i * self.hidden).cast::<[[f32; LANES]; 2]>() };
        // The line beside it, which the next channels need: rows are pages apart, and no processor foresees that.
        prefetch(self.first.wrapping_add(i * self.hidden + WIDTH));
        let (re, im) = (V::load(re), V::load(im));
        *top = top.larger_magnitude(re).larger_magnitude(im);
        ComplexRegisters { re: re.mul(self.gain), im: im.mul(self.gain) }
    }
}

/// Sixteen channels of row-major values, whose parts come exchanged.
#[derive(Clone, Copy)]
struct ValueSink<'a> {
    first: *mut f32,
    hidden: usize,
    /// The token of each number.
    tokens: &'a [u32],
}

impl<V: Vector> Sink<V> for ValueSink<'_> {
    #[inline(always)]
    unsafe fn store(self, i: usize, x: ComplexRegisters<V>, top: &mut V) {
        *top = top.larger_magnitude(x.re).larger_magnitude(x.im);
        // SAFETY: the caller's.
        let [low, high] = unsafe {
            let token = *self.tokens.get_unchecked(i) as usize;
            prefetch_to_write(self.first.wrapping_add(token * self.hidden + WIDTH));
            &mut *self.first.add(token * self.hidden).cast::<[[f32; LANES]; 2]>()
        };
        x.im.store(low);
        x.re.store(high);
    }
}

/// Buffers of transforms of columns.
#[derive(Default)]
pub(super) struct ColumnBuffers {
    lines: Vec<ComplexLine>,
    convolved: Vec<ComplexLine>,
    /// The last channels of rows that are no multiple of sixteen.
    edge: Vec<f32>,
}

/// Cost and length of the cheapest transform that is long enough: distances of tokens and wanted frequencies must not meet
/// modulo its length.
fn convolution_length(tokens: usize, rows: usize) -> (usize, usize) {
    let least = tokens + 2 * rows;
    // A power of two is always among them.
    let lengths = (least..=2 * least).filter_map(|n| Some((line_transform::cost(n)?, n)));
    lengths.min().expect("there is a power of two from any number to its double")
}

impl ColumnTransform {
    /// For frequencies within `rows` of zero. S must be above one: a transform of one number has no pass.
    pub fn new(tokens: usize, rows: usize) -> Self {
        let method = match LineTransform::new(tokens) {
            Some(transform) => {
                let mut results = vec![0; tokens];
                (0u32..).zip(&transform.order).for_each(|(k, at)| results[*at as usize] = k);
                ColumnMethod::InPlace { transform, results }
            }
            None => {
                // The square is taken modulo 2 S, so that its angle keeps all digits.
                let angle = |n: usize| PI * (n * n % (2 * tokens)) as f64 / tokens as f64;
                let (_, length) = convolution_length(tokens, rows);
                let mut kernel = vec![Complex64::default(); length];
                for n in 0..(tokens / 2 + rows).min(length / 2 + 1) {
                    kernel[n] = Complex64::from_polar(1.0 / length as f64, angle(n));
                    kernel[(length - n) % length] = kernel[n];
                }
                FftPlanner::new().plan_fft_forward(length).process(&mut kernel);
                ColumnMethod::Chirp {
                    chirp: (0..up_to_middle(tokens)).map(|n| [angle(n).cos() as f32, -angle(n).sin() as f32]).collect(),
                    transform: LineTransform::new(length).expect("a length was chosen that has small factors only"),
                    spectrum: kernel.iter().map(|c| [c.re as f32, c.im as f32]).collect(),
                }
            }
        };
        Self { tokens, method }
    }

    /// What a transform costs beside the products of sums: a token of a pass as much as five, in a convolution, with its
    /// two transforms and what is around them, as much as twelve. Those were the times of lengths up to 500 when they
    /// were last measured (AVX-512, D = 2048, rows for a ratio of eight).
    pub fn cost(tokens: usize, rows: usize) -> usize {
        match line_transform::cost(tokens) {
            Some(cost) => 5 * cost,
            None => 12 * convolution_length(tokens, rows).0,
        }
    }

    /// Tokens, counted from zero to both sides, with their numbers in a convolution of some length and in the chirp.
    #[inline(always)]
    fn by_distance(&self, length: usize) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let tokens = self.tokens;
        let (after, before) = (up_to_middle(tokens), (tokens - 1) / 2);
        (0..after + before).map(
            #[inline(always)]
            move |i| {
                let n = (i + 1).saturating_sub(after);
                if n == 0 { (i, i, i) } else { (tokens - n, length - n, n) }
            },
        )
    }

    /// Makes `lines` the first row frequencies of sixteen channels of S x D `values`, from channel `first` on, each times
    /// `gain`. Gives the largest magnitudes of the values, lane by lane.
    #[inline(always)]
    pub fn forward<V: Vector>(
        &self,
        (values, hidden, first): (&[f32], usize, usize),
        gain: f32,
        (lines, rows): (&mut [ComplexLine], AxisRows),
        buffers: &mut ColumnBuffers,
    ) -> V {
        let tokens = self.tokens;
        // Half, since two columns come apart as half sums.
        let gain = V::splat(0.5 * gain);
        let ColumnBuffers { lines: columns, convolved, edge } = buffers;
        let source = if first + WIDTH <= hidden {
            assert_eq!(values.len(), tokens * hidden, "values of another shape");
            ValueSource { first: values[first..].as_ptr(), hidden, gain }
        } else {
            edge.resize(tokens * WIDTH, 0.0);
            for (to, row) in edge.chunks_exact_mut(WIDTH).zip(values.chunks_exact(hidden)) {
                to.fill(0.0);
                to[..hidden - first].copy_from_slice(&row[first..]);
            }
            ValueSource { first: edge.as_ptr(), hidden: WIDTH, gain }
        };
        let mut top = V::zero();
        // Rows lie apart, so no processor foresees where results go, and a store waits for its line.
        for u in 0..rows.count {
            prefetch_to_write(&raw const lines[rows.at(u)]);
            prefetch_to_write(&raw const lines[rows.at(u) + 1]);
        }
        match &self.method {
            ColumnMethod::InPlace { transform, .. } => {
                columns.resize(tokens, ComplexLine::default());
                // SAFETY: there are S rows of sixteen channels.
                unsafe { transform.run_from_source(source, usize::MAX, columns, &mut top) };
                for u in 0..rows.count {
                    let [z, w] = [u, (tokens - u) % tokens].map(
                        #[inline(always)]
                        |n| &columns[transform.order[n] as usize],
                    );
                    let (z, w) = (ComplexRegisters::load(z), ComplexRegisters::load(w));
                    separate::<V>([z, w], &mut lines[rows.at(u)..][..SIDE]);
                }
            }
            ColumnMethod::Chirp { chirp, transform, spectrum } => {
                let length = spectrum.len();
                columns.resize(length, ComplexLine::default());
                columns.fill(ComplexLine::default());
                for (token, to, n) in self.by_distance(length) {
                    // SAFETY: as above.
                    unsafe { source.load(token, &mut top) }.times(&chirp[n]).store(&mut columns[to]);
                }
                convolve::<V>(transform, spectrum, columns, convolved);
                for u in 0..rows.count {
                    let [z, w] = [u, (length - u) % length].map(
                        #[inline(always)]
                        |n| &convolved[transform.order[n] as usize],
                    );
                    let (z, w) = (ComplexRegisters::load(z), ComplexRegisters::load(w));
                    let z = z.exchanged().times(&chirp[u]);
                    separate::<V>([z, w.exchanged().times(&chirp[u])], &mut lines[rows.at(u)..][..SIDE]);
                }
            }
        }
        top
    }

    /// Undoes [`ColumnTransform::forward`]: takes rows u and S - u as conjugates and writes the real part of what `rows`
    /// alone stand for. Real and imaginary parts of the rows come exchanged.
    #[inline(always)]
    pub fn inverse<V: Vector>(
        &self,
        (lines, rows): (&[ComplexLine], AxisRows),
        (values, hidden, first): (&mut [f32], usize, usize),
        buffers: &mut ColumnBuffers,
    ) -> V {
        let tokens = self.tokens;
        let whole = first + WIDTH <= hidden;
        let ColumnBuffers { lines: columns, convolved, edge } = buffers;
        let (target, stride) = if whole {
            assert_eq!(values.len(), tokens * hidden, "values of another shape");
            (values[first..].as_mut_ptr(), hidden)
        } else {
            edge.resize(tokens * WIDTH, 0.0);
            (edge.as_mut_ptr(), WIDTH)
        };
        let mut top = V::zero();
        match &self.method {
            ColumnMethod::InPlace { transform, results } => {
                columns.resize(tokens, ComplexLine::default());
                columns[rows.count..(tokens - rows.count + 1).max(rows.count)].fill(ComplexLine::default());
                for u in 0..rows.count {
                    prefetch(lines.as_ptr().wrapping_add(rows.at(u) + SIDE));
                    prefetch(lines.as_ptr().wrapping_add(rows.at(u) + SIDE + 1));
                    let [own, mirror] = combine::<V>(&lines[rows.at(u)..][..SIDE]);
                    put_pair(columns, u, (tokens - u) % tokens, [own, mirror]);
                }
                let sink = ValueSink { first: target, hidden: stride, tokens: results };
                // SAFETY: there are S rows of sixteen channels.
                unsafe { transform.to_sink(columns, sink, &mut top) };
            }
            ColumnMethod::Chirp { chirp, transform, spectrum } => {
                let length = spectrum.len();
                columns.resize(length, ComplexLine::default());
                columns.fill(ComplexLine::default());
                for u in 0..rows.count {
                    prefetch(lines.as_ptr().wrapping_add(rows.at(u) + SIDE));
                    prefetch(lines.as_ptr().wrapping_add(rows.at(u) + SIDE + 1));
                    let [own, mirror] = combine::<V>(&lines[rows.at(u)..][..SIDE]);
                    let halves = [own.times(&chirp[u]), mirror.times(&chirp[u])];
                    // The middle frequency of an even S is its own mirror.
                    let mirror_at = if 2 * u == tokens { u } else { (length - u) % length };
                    put_pair(columns, u, mirror_at, halves);
                }
                convolve::<V>(transform, spectrum, columns, convolved);
                let numbers: [u32; 1] = [0];
                for (token, from, n) in self.by_distance(length) {
                    let x = ComplexRegisters::<V>::load(&convolved[transform.order[from] as usize]);
                    // SAFETY: as above.
                    unsafe {
                        let sink = ValueSink { first: target.add(token * stride), hidden: stride, tokens: &numbers };
                        sink.store(0, x.exchanged().times(&chirp[n]), &mut top);
                    }
                }
            }
        }
        if !whole {
            for (from, row) in edge.chunks_exact(WIDTH).zip(values.chunks_exact_mut(hidden)) {
                row[first..].copy_from_slice(&from[..hidden - first]);
            }
        }
        top
    }
}

/// Two columns that were transformed as one come apart by symmetry: the first's spectrum is half the sum of Z[u] and the
/// conjugate of Z[S - u], the second's is half their difference over i. The halves were taken before.
#[inline(always)]
fn separate<V: Vector>([z, w]: [ComplexRegisters<V>; 2], row: &mut [ComplexLine]) {
    z.re.add(w.re).store(&mut row[0].re);
    z.im.add(w.im).store(&mut row[1].re);
    z.im.sub(w.im).store(&mut row[0].im);
    w.re.sub(z.re).store(&mut row[1].im);
}

/// Half of a row to either side of zero, the second columns times i; parts exchanged, as for every inverse here.
#[inline(always)]
fn combine<V: Vector>(row: &[ComplexLine]) -> [ComplexRegisters<V>; 2] {
    let half = V::splat(0.5);
    let (re, im) = (V::load(&row[0].im).mul(half), V::load(&row[0].re).mul(half));
    let (other_re, other_im) = (V::load(&row[1].im).mul(half), V::load(&row[1].re).mul(half));
    [
        ComplexRegisters { re: im.add(other_re), im: re.sub(other_im) },
        ComplexRegisters { re: other_re.sub(im), im: re.add(other_im) },
    ]
}

/// Writes a row's halves, or their sum where both belong to one place.
#[inline(always)]
fn put_pair<V: Vector>(columns: &mut [ComplexLine], own: usize, mirror: usize, [x, y]: [ComplexRegisters<V>; 2]) {
    if own == mirror {
        x.add(y).store(&mut columns[own]);
    } else {
        x.store(&mut columns[own]);
        y.store(&mut columns[mirror]);
    }
}

/// Makes `to` the convolution of `lines` with the kernel of this spectrum, in the order of the transform, parts exchanged.
#[inline(always)]
fn convolve<V: Vector>(
    transform: &LineTransform,
    spectrum: &[[f32; 2]],
    lines: &mut [ComplexLine],
    to: &mut Vec<ComplexLine>,
) {
    to.resize(lines.len(), ComplexLine::default());
    transform.in_place::<V>(lines);
    for ((to, at), factor) in to.iter_mut().zip(&transform.order).zip(spectrum) {
        // Parts change places before and after: the transform between is then the inverse.
        ComplexRegisters::<V>::load(&lines[*at as usize]).times(factor).exchanged().store(to);
    }
    transform.in_place::<V>(to);
}
