//! Fast transforms of many columns, eight at once: an operation works on a [`ComplexLine`], which holds one number of
//! each column, so nothing moves between the lanes of a vector.

use std::f64::consts::TAU;
use std::sync::Arc;

use rustfft::{Fft, FftPlanner, num_complex::Complex32};

use super::short::{Places, Short, Truncation, Twiddles};
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

/// The transform of columns of one length. n = n1 n2 is done in two steps of short transforms (Bailey's four-step method).
pub(super) enum AxisPlan {
    Steps {
        /// n1: over inputs n2 apart.
        first: Short,
        /// n2: over neighbours.
        second: Short,
        /// Factors between the steps, powers of the root of unity: n1 for each of the n2 transforms.
        factors: Vec<[f32; 2]>,
    },
    /// For lengths with a prime factor above 7: the library transforms lane by lane.
    Library(Arc<dyn Fft<f32>>),
}

impl AxisPlan {
    pub fn new(length: usize) -> Self {
        // As near to a square as the divisors allow: the longer side decides how many lines a short transform has to
        // buffer.
        let n1 = (1..=length.isqrt()).rev().find(|n| length.is_multiple_of(*n)).unwrap_or(1);
        let n2 = length / n1;
        match (Short::new(n1), Short::new(n2)) {
            (Some(first), Some(second)) => {
                let factors = (0..n2).flat_map(|n| (0..n1).map(move |k| root(n * k, length))).collect();
                Self::Steps { first, second, factors }
            }
            // RustFFT has butterflies for some larger primes and the methods of Rader and of Bluestein for the others.
            // None of them takes eight columns at once, hence lane by lane.
            _ => Self::Library(FftPlanner::new().plan_fft_forward(length)),
        }
    }

    /// Whether short transforms do it all, without the library.
    pub fn is_fast(&self) -> bool {
        matches!(self, Self::Steps { .. })
    }

    /// Transforms in place, e^-, not normalised.
    #[inline(always)]
    pub fn forward<V: Vector>(&self, lines: &mut [ComplexLine], scratch: &mut Buffers) {
        match self {
            Self::Steps { first, second, factors } => {
                let (n1, n2) = (first.size, second.size);
                let [between, short] = scratch.split([n1 * n2, first.scratch().max(second.scratch())]);
                // Bailey's four steps ("FFTs in external or hierarchical memory", 1990): transforms of length n1 over
                // inputs n2 apart, twiddle factors, transforms of length n2. The factors are multiplied on while the
                // first results are still in registers.
                for n in (0..n2).step_by(first.batch()) {
                    let count = first.batch().min(n2 - n);
                    let from = Places { first: n, step: n2, next: 1 };
                    let to = Places { first: n, step: n2, next: 1 };
                    let factors = Twiddles::Scalars(&factors[n * n1..]);
                    first.transform::<V>((lines, from), (between, to), count, short, factors, Truncation::NOTHING);
                }
                // The transposition is in the places this step writes to: result k2 of transform k goes to k + n1 k2,
                // where it belongs in the spectrum.
                for k in (0..n1).step_by(second.batch()) {
                    let count = second.batch().min(n1 - k);
                    let from = Places { first: k * n2, step: 1, next: n2 };
                    let to = Places { first: k, step: n1, next: 1 };
                    second.transform::<V>(
                        (between, from),
                        (lines, to),
                        count,
                        short,
                        Twiddles::None,
                        Truncation::NOTHING,
                    );
                }
            }
            Self::Library(fft) => {
                for lane in 0..LANES {
                    let row = scratch.complex(lines.len(), fft.get_inplace_scratch_len());
                    for (value, line) in row.0.iter_mut().zip(&*lines) {
                        *value = Complex32::new(line.re[lane], line.im[lane]);
                    }
                    fft.process_with_scratch(row.0, row.1);
                    for (value, line) in row.0.iter().zip(&mut *lines) {
                        (line.re[lane], line.im[lane]) = (value.re, value.im);
                    }
                }
            }
        }
    }
}

/// Buffers that keep their size between calls.
#[derive(Default)]
pub(super) struct Buffers {
    lines: Vec<ComplexLine>,
    complex: Vec<Complex32>,
}

impl Buffers {
    /// Lines, contents unspecified, in parts of these sizes.
    #[inline(always)]
    pub fn split<const N: usize>(&mut self, sizes: [usize; N]) -> [&mut [ComplexLine]; N] {
        let total = sizes.iter().sum();
        if self.lines.len() < total {
            self.lines.resize(total, ComplexLine::default());
        }
        let mut rest = &mut self.lines[..];
        sizes.map(
            #[inline(always)]
            |size| {
                let (part, others) = std::mem::take(&mut rest).split_at_mut(size);
                rest = others;
                part
            },
        )
    }

    /// Complex numbers, contents unspecified, in two parts.
    pub fn complex(&mut self, first: usize, second: usize) -> (&mut [Complex32], &mut [Complex32]) {
        if self.complex.len() < first + second {
            self.complex.resize(first + second, Complex32::default());
        }
        self.complex[..first + second].split_at_mut(first)
    }
}
