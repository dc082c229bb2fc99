//! Short transforms, a few at a time: Stockham's autosort method with radices 8, 6, 4, 2, 3, 5 and 7.

use super::axis::{ComplexLine, root};
use super::butterfly::{ComplexRegisters, butterfly};
use crate::vector::Vector;

/// A short transform.
pub(super) struct Short {
    pub size: usize,
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

/// Where the lines of several transforms lie: line k of transform t at `first + k * step + t * next`.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub first: usize,
    pub step: usize,
    pub next: usize,
}

/// Inputs and results that cost no work, each as a number of lines.
#[derive(Clone, Copy)]
pub(super) struct Truncation {
    /// Inputs from here on count as zeros; [`Short::reads`] says how many of all are read and must be there.
    pub inputs: usize,
    /// Results from here on are not wanted.
    pub outputs: usize,
}

impl Truncation {
    pub const NOTHING: Self = Self { inputs: usize::MAX, outputs: usize::MAX };
}

/// Factors of the results: result k of transform t is multiplied by number k + t * size.
#[derive(Clone, Copy)]
pub(super) enum Twiddles<'a> {
    None,
    /// One number for all lanes.
    Scalars(&'a [[f32; 2]]),
    /// One number per lane.
    Lines(&'a [ComplexLine]),
}

/// Most lines in the buffer of a batch: with the lines that are read and written they fit in the innermost cache.
const MOST_BUFFERED: usize = 64;

/// Few large radices whose product is `size`, the largest first: each radix is a pass over all numbers.
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

impl Short {
    /// None where a prime factor is above 7.
    pub fn new(size: usize) -> Option<Self> {
        let (mut left, mut stride, mut passes) = (size, 1, Vec::new());
        for radix in radices(size)? {
            let groups = left / radix;
            // Decimation in frequency: the twiddles follow the butterfly, and are powers of the root of what is left to
            // do.
            let twiddles = (0..groups).flat_map(|p| (1..radix).map(move |i| root(i * p, left))).collect();
            let roots = (0..radix).map(|k| root(k, radix)).collect();
            passes.push(Pass { radix, groups, stride, twiddles, roots });
            left = groups;
            stride *= radix;
        }
        Some(Self { size, passes })
    }

    /// How many transforms run together.
    pub fn batch(&self) -> usize {
        (MOST_BUFFERED / self.size).max(1)
    }

    /// Lines of scratch.
    pub fn scratch(&self) -> usize {
        2 * self.batch() * self.size
    }

    /// How many inputs it reads where those from `inputs` on are zeros.
    pub fn reads(&self, inputs: usize) -> usize {
        match &self.passes[..] {
            [Pass { radix, groups, .. }, _, ..] => groups * reads(*radix, inputs.div_ceil(*groups)),
            _ => self.size,
        }
    }

    /// Runs `count` transforms from the lines at one place to those at another.
    #[inline(always)]
    pub fn transform<V: Vector>(
        &self,
        from: (&[ComplexLine], Places),
        to: (&mut [ComplexLine], Places),
        count: usize,
        scratch: &mut [ComplexLine],
        factors: Twiddles<'_>,
        cut: Truncation,
    ) {
        let nothing = Truncation::NOTHING;
        let [first, middle @ .., last] = &self.passes[..] else {
            return match &self.passes[..] {
                [only] => only.run::<V>(from, to, count, factors, cut),
                _ => (0..count).for_each(|t| to.0[to.1.first + t * to.1.next] = from.0[from.1.first + t * from.1.next]),
            };
        };
        // Stockham's autosort (Cochran et al. 1967): every pass writes in the order in which the next one reads, so
        // nothing is permuted by bit reversal. The price is a second buffer, since no pass works in place. The first
        // pass reads and the last one writes the caller's places, so gathering and scattering take no pass of their
        // own.
        let (mut here, mut there) = scratch.split_at_mut(self.batch() * self.size);
        let buffered = Places { first: 0, step: 1, next: self.size };
        // Only the first pass can leave out zeros, and only the last one results (FFT pruning, Markel 1971).
        first.run::<V>(from, (here, buffered), count, Twiddles::None, Truncation { outputs: usize::MAX, ..cut });
        for step in middle {
            step.run::<V>((here, buffered), (there, buffered), count, Twiddles::None, nothing);
            std::mem::swap(&mut here, &mut there);
        }
        last.run::<V>((here, buffered), to, count, factors, Truncation { inputs: usize::MAX, ..cut });
    }
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

impl Pass {
    #[inline(always)]
    fn run<V: Vector>(
        &self,
        from: (&[ComplexLine], Places),
        to: (&mut [ComplexLine], Places),
        count: usize,
        factors: Twiddles<'_>,
        cut: Truncation,
    ) {
        let ends = Ends::new(self, from, to, count, factors);
        // In a first pass the inputs of a butterfly lie `groups` apart, in a last one its results lie `stride` apart.
        let inputs = reads(self.radix, cut.inputs.div_ceil(self.groups));
        let outputs = cut.outputs.div_ceil(self.stride);
        // One copy of all of it: there are many calls, and each would take its time to compile.
        V::enter(
            #[inline(always)]
            || match self.radix {
                2 => self.by_half::<V, 2, 1>(ends, outputs),
                3 => self.by_half::<V, 3, 2>(ends, outputs),
                4 => self.fours::<V>(ends, (inputs, outputs)),
                5 => self.by_half::<V, 5, 3>(ends, outputs),
                6 => self.by_half::<V, 6, 3>(ends, outputs),
                8 => self.eights::<V>(ends, (inputs, outputs)),
                _ => self.by_half::<V, 7, 4>(ends, outputs),
            },
        );
    }

    /// Runs the butterflies that leave out most: inputs in a first pass, results in a last one.
    #[inline(always)]
    fn eights<V: Vector>(&self, ends: Ends<'_>, (inputs, outputs): (usize, usize)) {
        match (inputs, outputs) {
            (3, _) => self.butterflies::<V, 8, 3, 8>(ends),
            (4, _) => self.butterflies::<V, 8, 4, 8>(ends),
            (_, ..=3) => self.butterflies::<V, 8, 8, 3>(ends),
            (_, 4) => self.butterflies::<V, 8, 8, 4>(ends),
            _ => self.butterflies::<V, 8, 8, 8>(ends),
        }
    }

    #[inline(always)]
    fn fours<V: Vector>(&self, ends: Ends<'_>, (inputs, outputs): (usize, usize)) {
        match (inputs, outputs) {
            (2, _) => self.butterflies::<V, 4, 2, 4>(ends),
            _ => self.by_half::<V, 4, 2>(ends, outputs),
        }
    }

    #[inline(always)]
    fn by_half<V: Vector, const R: usize, const HALF: usize>(&self, ends: Ends<'_>, outputs: usize) {
        if outputs <= HALF { self.butterflies::<V, R, R, HALF>(ends) } else { self.butterflies::<V, R, R, R>(ends) }
    }

    /// Butterflies of R, whose inputs from `IN` on are zeros and whose results from `OUT` on are not wanted.
    #[inline(always)]
    fn butterflies<V: Vector, const R: usize, const IN: usize, const OUT: usize>(&self, ends: Ends<'_>) {
        let Ends { from, from_places, to, to_places, count, factors } = ends;
        let Self { groups, stride, .. } = *self;
        // Inputs come from size / R apart and results go `stride` apart: this is what sorts them on the way.
        let (from_far, to_far) = (stride * groups * from_places.step, stride * to_places.step);
        let size = R * groups * stride;
        for t in 0..count {
            for p in 0..groups {
                let twiddles = &self.twiddles[p * (R - 1)..][..R - 1];
                for q in 0..stride {
                    let mut x = [ComplexRegisters::<V>::zero(); R];
                    // SAFETY: `Ends::new` has checked the last line of either side, and the last factor; these are not
                    // beyond them.
                    unsafe {
                        let from =
                            from.add(from_places.first + t * from_places.next + (q + stride * p) * from_places.step);
                        for (i, x) in x.iter_mut().enumerate().take(IN) {
                            *x = ComplexRegisters::load(&*from.add(i * from_far));
                        }
                    }
                    butterfly::<V, R, IN>(&mut x, &self.roots);
                    // The twiddles of the first group are all one.
                    if p > 0 {
                        for (x, twiddle) in x[1..].iter_mut().zip(twiddles) {
                            *x = x.times(twiddle);
                        }
                    }
                    let k = q + stride * R * p;
                    // SAFETY: as above.
                    unsafe {
                        match factors {
                            Twiddles::None => {}
                            Twiddles::Scalars(all) => {
                                for (i, x) in x.iter_mut().enumerate() {
                                    *x = x.times(all.get_unchecked(t * size + k + i * stride));
                                }
                            }
                            Twiddles::Lines(all) => {
                                for (i, x) in x.iter_mut().enumerate() {
                                    *x = x.times_line(all.get_unchecked(t * size + k + i * stride));
                                }
                            }
                        }
                        let to = to.add(to_places.first + t * to_places.next + k * to_places.step);
                        for (i, x) in x.into_iter().enumerate().take(OUT) {
                            x.store(&mut *to.add(i * to_far));
                        }
                    }
                }
            }
        }
    }
}

/// Where a pass reads and writes.
#[derive(Clone, Copy)]
struct Ends<'a> {
    from: *const ComplexLine,
    from_places: Places,
    to: *mut ComplexLine,
    to_places: Places,
    count: usize,
    factors: Twiddles<'a>,
}

impl<'a> Ends<'a> {
    /// Panics where a line or factor would not be there.
    #[inline(always)]
    fn new(
        pass: &Pass,
        (from, from_places): (&'a [ComplexLine], Places),
        (to, to_places): (&'a mut [ComplexLine], Places),
        count: usize,
        factors: Twiddles<'a>,
    ) -> Self {
        let size = pass.radix * pass.groups * pass.stride;
        let last = |places: Places| places.first + (size - 1) * places.step + (count - 1) * places.next;
        assert!(count > 0 && last(from_places) < from.len() && last(to_places) < to.len());
        assert!(match factors {
            Twiddles::None => true,
            Twiddles::Scalars(all) => count * size <= all.len(),
            Twiddles::Lines(all) => count * size <= all.len(),
        });
        Self { from: from.as_ptr(), from_places, to: to.as_mut_ptr(), to_places, count, factors }
    }
}
