//! Fast transforms of lines, in place: decimation in frequency (Gentleman and Sande 1966) with radices 8, 6, 4, 2, 3, 5 and
//! 7. A line holds one number of each of eight transforms, so nothing moves between the lanes of a vector.

use std::f64::consts::TAU;

use super::butterfly::{ComplexRegisters, butterfly};
use crate::vector::{LANES, Vector};

/// Eight complex numbers: their real parts, then their imaginary parts; one cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct ComplexLine {
    pub re: [f32; LANES],
    pub im: [f32; LANES],
}

/// Power k of the root of unity of order n.
pub(super) fn root(k: usize, n: usize) -> [f32; 2] {
    let (sin, cos) = (-TAU * (k % n) as f64 / n as f64).sin_cos();
    [cos as f32, sin as f32]
}

/// Where a pass reads. The largest magnitudes of what was read are kept, lane by lane, where somebody asks for them.
pub(super) trait Source<V>: Copy {
    /// SAFETY: number i must be there.
    unsafe fn load(self, i: usize, top: &mut V) -> ComplexRegisters<V>;
}

/// Asks for the cache line of an address before it is read; nothing happens where there is none.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T) {
    // SAFETY: a prefetch changes nothing, and does not fail where no memory is.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// [`prefetch`] for a line that will be written.
#[inline(always)]
pub(super) fn prefetch_to_write<T>(address: *const T) {
    // SAFETY: as above.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Where a pass writes, as [`Source`].
pub(super) trait Sink<V>: Copy {
    /// SAFETY: number i must be there.
    unsafe fn store(self, i: usize, x: ComplexRegisters<V>, top: &mut V);
}

impl<V: Vector> Source<V> for *const ComplexLine {
    #[inline(always)]
    unsafe fn load(self, i: usize, _: &mut V) -> ComplexRegisters<V> {
        // SAFETY: the caller's.
        ComplexRegisters::load(unsafe { &*self.add(i) })
    }
}

impl<V: Vector> Sink<V> for *mut ComplexLine {
    #[inline(always)]
    unsafe fn store(self, i: usize, x: ComplexRegisters<V>, _: &mut V) {
        // SAFETY: the caller's.
        x.store(unsafe { &mut *self.add(i) });
    }
}

/// The transform of a number of lines.
pub(super) struct LineTransform {
    passes: Vec<Pass>,
    /// Where result k lies: no pass permutes, so whoever reads the results does.
    pub order: Vec<u32>,
}

/// Butterflies over inputs that lie apart in blocks of `radix * apart` lines.
struct Pass {
    radix: usize,
    apart: usize,
    /// Powers 1 .. radix - 1 of the root of each butterfly of a block.
    twiddles: Vec<[f32; 2]>,
    /// Powers of the radix' root.
    roots: Vec<[f32; 2]>,
}

/// Few large radices whose product is `size`, the largest first: each radix is a pass over all numbers. None where a
/// prime factor is above 7.
fn radices(size: usize) -> Option<Vec<usize>> {
    let (mut left, mut out) = (size, Vec::new());
    for radix in [7, 5] {
        while left.is_multiple_of(radix) {
            (left, _) = (left / radix, out.push(radix));
        }
    }
    // A pass of radix 2 does least for its loads and stores: 16 is 4 x 4 rather than 8 x 2, and a single two beside a
    // three becomes a 6.
    while left > 1 {
        let twos = left.trailing_zeros();
        let radix = match (twos, left % 3) {
            (3.., 0) if twos != 3 => 8,
            (_, 0) if twos % 3 == 1 => 6,
            (_, 0) => 3,
            (1, _) => 2,
            (2 | 4, _) => 4,
            (3.., _) => 8,
            _ => return None,
        };
        (left, _) = (left / radix, out.push(radix));
    }
    out.sort_unstable_by(|a, b| b.cmp(a));
    Some(out)
}

/// Numbers that the passes of a transform go over. None where a prime factor is above 7.
pub(super) fn cost(size: usize) -> Option<usize> {
    Some(size * radices(size)?.len())
}

/// How many inputs a butterfly reads where those from `inputs` on are zeros: the least number that there is code for.
fn reads(radix: usize, inputs: usize) -> usize {
    match (radix, inputs) {
        (8, ..=3) => 3,
        (8, 4) => 4,
        (4, ..=2) => 2,
        _ => radix,
    }
}

impl LineTransform {
    /// None where a prime factor is above 7.
    pub fn new(size: usize) -> Option<Self> {
        let (mut left, mut passes, mut order) = (size, Vec::new(), vec![0]);
        let radices = radices(size)?;
        for &radix in &radices {
            let apart = left / radix;
            let twiddles = (0..apart).flat_map(|j| (1..radix).map(move |r| root(r * j, left))).collect();
            let roots = (0..radix).map(|k| root(k, radix)).collect();
            passes.push(Pass { radix, apart, twiddles, roots });
            left = apart;
        }
        // Result r + R q of a block is result q of the r-th part that a pass of radix R leaves.
        for &radix in radices.iter().rev() {
            let part = order.len() as u32;
            order = order.iter().flat_map(|q| (0..radix as u32).map(move |r| r * part + q)).collect();
        }
        Some(Self { passes, order })
    }

    /// How many lines it reads where those from `inputs` on are zeros.
    pub fn reads(&self, inputs: usize) -> usize {
        self.passes.first().map_or(1, |pass| pass.apart * reads(pass.radix, inputs.div_ceil(pass.apart)))
    }

    /// Transforms in place, e^-, not normalised.
    #[inline(always)]
    pub fn in_place<V: Vector>(&self, lines: &mut [ComplexLine]) {
        assert_eq!(lines.len(), self.order.len(), "lines of another length");
        self.run_in_place::<V>(lines, &self.passes);
    }

    /// [`LineTransform::in_place`] from lines elsewhere; those from `inputs` on count as zeros where they lie beyond
    /// [`LineTransform::reads`] (FFT pruning, Markel 1971).
    #[inline(always)]
    pub fn forward<V: Vector>(&self, from: &[ComplexLine], inputs: usize, lines: &mut [ComplexLine]) {
        assert!(self.reads(inputs) <= from.len(), "lines of another length");
        // SAFETY: no more is read than was asked for.
        unsafe { self.run_from_source(from.as_ptr(), inputs, lines, &mut V::zero()) };
    }

    /// [`LineTransform::forward`] of what a source has.
    ///
    /// SAFETY: it must have as many numbers as are read.
    #[inline(always)]
    pub unsafe fn run_from_source<V: Vector>(
        &self,
        from: impl Source<V>,
        inputs: usize,
        lines: &mut [ComplexLine],
        top: &mut V,
    ) {
        assert_eq!(lines.len(), self.order.len(), "lines of another length");
        let (first, rest) = self.passes.split_first().expect("a transform of one number has no pass");
        // SAFETY: the caller's, and the first pass is one block of all lines.
        *top = top.larger_magnitude(unsafe { first.run::<V>(from, lines.as_mut_ptr(), 1, inputs) });
        self.run_in_place::<V>(lines, rest);
    }

    /// [`LineTransform::in_place`], but results go to a sink, numbered by where they would lie.
    ///
    /// SAFETY: it must take as many numbers as there are lines.
    #[inline(always)]
    pub unsafe fn to_sink<V: Vector>(&self, lines: &mut [ComplexLine], to: impl Sink<V>, top: &mut V) {
        assert_eq!(lines.len(), self.order.len(), "lines of another length");
        let (last, rest) = self.passes.split_last().expect("a transform of one number has no pass");
        self.run_in_place::<V>(lines, rest);
        // SAFETY: the caller's, and the blocks of a last pass are its butterflies.
        let written = unsafe { last.run::<V>(lines.as_ptr(), to, lines.len() / last.radix, usize::MAX) };
        *top = top.larger_magnitude(written);
    }

    #[inline(always)]
    fn run_in_place<V: Vector>(&self, lines: &mut [ComplexLine], passes: &[Pass]) {
        for pass in passes {
            let blocks = lines.len() / (pass.radix * pass.apart);
            // SAFETY: the blocks fill the lines.
            unsafe { pass.run::<V>(lines.as_ptr(), lines.as_mut_ptr(), blocks, usize::MAX) };
        }
    }
}

impl Pass {
    /// Runs all butterflies of some blocks. Inputs from `inputs` on count as zeros, which is for a first pass. Gives the
    /// largest magnitudes that source and sink asked for.
    ///
    /// SAFETY: source and sink must have the numbers of these blocks, a source those that are read.
    #[inline(always)]
    unsafe fn run<V: Vector>(&self, from: impl Source<V>, to: impl Sink<V>, blocks: usize, inputs: usize) -> V {
        let inputs = reads(self.radix, inputs.div_ceil(self.apart));
        // One copy of all of it: there are many calls, and each would take its time to compile.
        V::enter(
            #[inline(always)]
            || unsafe {
                match (self.radix, inputs) {
                    (2, _) => self.butterflies::<V, 2, 2>(from, to, blocks),
                    (3, _) => self.butterflies::<V, 3, 3>(from, to, blocks),
                    (4, 2) => self.butterflies::<V, 4, 2>(from, to, blocks),
                    (4, _) => self.butterflies::<V, 4, 4>(from, to, blocks),
                    (5, _) => self.butterflies::<V, 5, 5>(from, to, blocks),
                    (6, _) => self.butterflies::<V, 6, 6>(from, to, blocks),
                    (7, _) => self.butterflies::<V, 7, 7>(from, to, blocks),
                    (_, 3) => self.butterflies::<V, 8, 3>(from, to, blocks),
                    (_, 4) => self.butterflies::<V, 8, 4>(from, to, blocks),
                    _ => self.butterflies::<V, 8, 8>(from, to, blocks),
                }
            },
        )
    }

    /// Butterflies of R, whose inputs from `IN` on are zeros.
    #[inline(always)]
    unsafe fn butterflies<V: Vector, const R: usize, const IN: usize>(
        &self,
        from: impl Source<V>,
        to: impl Sink<V>,
        blocks: usize,
    ) -> V {
        let apart = self.apart;
        let mut top = V::zero();
        for block in 0..blocks {
            for (j, twiddles) in self.twiddles.chunks_exact(R - 1).enumerate() {
                let first = block * R * apart + j;
                let mut x = [ComplexRegisters::<V>::zero(); R];
                // SAFETY: the caller's.
                unsafe {
                    for (i, x) in x.iter_mut().enumerate().take(IN) {
                        *x = from.load(first + i * apart, &mut top);
                    }
                }
                butterfly::<V, R, IN>(&mut x, &self.roots);
                // The twiddles of a block's first butterfly are all one.
                if j > 0 {
                    for (x, twiddle) in x[1..].iter_mut().zip(twiddles) {
                        *x = x.times(twiddle);
                    }
                }
                // SAFETY: the caller's.
                unsafe {
                    for (i, x) in x.into_iter().enumerate() {
                        to.store(first + i * apart, x, &mut top);
                    }
                }
            }
        }
        top
    }
}
