//! Fast transforms of rows, one after another: a line holds eight neighbours of a row. A row and what it takes stay in the
//! inner caches.
//!
//! Bailey's four-step method (1990) makes a transform of D = 8 n of eight transforms of length n, lane by lane, and of n
//! transforms of length 8 across the lanes: tiles of 8 x 8 are turned in registers, and are then lane by lane too.

use std::sync::Arc;

use rustfft::{Fft, FftPlanner, num_complex::Complex32};

use super::butterfly::{ComplexRegisters, butterfly};
use super::line_transform::{ComplexLine, LineTransform, root};
use crate::vector::{LANES, Vector};

/// The transform of rows of one length.
pub(super) struct RowPlan {
    pub length: usize,
    method: RowMethod,
}

enum RowMethod {
    Lines {
        lanes: LineTransform,
        /// Factors between the steps, powers of the root of unity: one to seven times a result's number, for eight
        /// results at a time.
        factors: Vec<[ComplexLine; LANES - 1]>,
    },
    /// For lengths that are no multiple of 64, or have a prime factor above 7.
    Library(Arc<dyn Fft<f32>>),
}

/// What transforms of rows need beside them.
#[derive(Default)]
pub(super) struct RowBuffers {
    lines: Vec<ComplexLine>,
    complex: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl RowPlan {
    pub fn new(length: usize) -> Self {
        let lanes = length.is_multiple_of(LANES * LANES).then(|| LineTransform::new(length / LANES)).flatten();
        let method = match lanes {
            Some(lanes) => {
                let factor = |first: usize, power: usize| {
                    let mut line = ComplexLine::default();
                    for lane in 0..LANES {
                        [line.re[lane], line.im[lane]] = root((first + lane) * power, length);
                    }
                    line
                };
                let factors = (0..length / LANES).step_by(LANES);
                let factors = factors.map(|k| std::array::from_fn(|power| factor(k, power + 1))).collect();
                RowMethod::Lines { lanes, factors }
            }
            None => RowMethod::Library(FftPlanner::new().plan_fft_forward(length)),
        };
        Self { length, method }
    }

    /// Lines of a row that are read where inputs from `inputs` on are zeros.
    pub fn lines_read(&self, inputs: usize) -> usize {
        match &self.method {
            RowMethod::Lines { lanes, .. } => lanes.reads(inputs.div_ceil(LANES)),
            RowMethod::Library(_) => self.length.div_ceil(LANES),
        }
    }

    /// Transforms a row, e^-, not normalised. Inputs from `inputs` on are zeros, and count as such where they lie beyond
    /// [`RowPlan::lines_read`]; outputs from `outputs` on need not be there.
    #[inline(always)]
    pub fn forward<V: Vector>(
        &self,
        (from, inputs): (&[ComplexLine], usize),
        (to, outputs): (&mut [ComplexLine], usize),
        buffers: &mut RowBuffers,
    ) {
        match &self.method {
            RowMethod::Lines { lanes, factors } => {
                let lines = self.length / LANES;
                buffers.lines.resize(lines, ComplexLine::default());
                lanes.forward::<V>(from, inputs.div_ceil(LANES), &mut buffers.lines);
                let ends = LaneEnds { from: &buffers.lines, order: &lanes.order, factors, to: &mut to[..lines] };
                // Result k2 of transform k is coefficient k + n k2, so the wanted ones are below outputs / n.
                V::enter(
                    #[inline(always)]
                    || match outputs.div_ceil(lines) {
                        ..=3 => across_lanes::<V, 3>(ends),
                        4 => across_lanes::<V, 4>(ends),
                        _ => across_lanes::<V, LANES>(ends),
                    },
                );
            }
            RowMethod::Library(fft) => {
                let RowBuffers { complex, scratch, .. } = buffers;
                complex.resize(self.length, Complex32::default());
                scratch.resize(fft.get_inplace_scratch_len(), Complex32::default());
                for (values, line) in complex.chunks_mut(LANES).zip(from) {
                    for (lane, value) in values.iter_mut().enumerate() {
                        *value = Complex32::new(line.re[lane], line.im[lane]);
                    }
                }
                fft.process_with_scratch(complex, scratch);
                for (values, line) in complex.chunks(LANES).zip(to) {
                    for (lane, value) in values.iter().enumerate() {
                        (line.re[lane], line.im[lane]) = (value.re, value.im);
                    }
                }
            }
        }
    }
}

/// What the transforms across the lanes read and write.
struct LaneEnds<'a> {
    from: &'a [ComplexLine],
    order: &'a [u32],
    factors: &'a [[ComplexLine; LANES - 1]],
    to: &'a mut [ComplexLine],
}

/// Transforms of length 8 across the lanes, of which `OUT` results are wanted.
#[inline(always)]
fn across_lanes<V: Vector, const OUT: usize>(ends: LaneEnds<'_>) {
    let LaneEnds { from, order, factors, to } = ends;
    let far = to.len() / LANES;
    for (tile, (order, factors)) in order.as_chunks::<LANES>().0.iter().zip(factors).enumerate() {
        let (mut re, mut im) = ([V::zero(); LANES], [V::zero(); LANES]);
        for (j, at) in order.iter().enumerate() {
            let line = &from[*at as usize];
            (re[j], im[j]) = (V::load(&line.re), V::load(&line.im));
        }
        // Before, vector j holds result j of eight transforms; after, vector l holds eight results of transform l.
        let (re, im) = (V::transpose(re), V::transpose(im));
        let mut x = [ComplexRegisters::<V>::zero(); LANES];
        x[0] = ComplexRegisters { re: re[0], im: im[0] };
        for (l, factor) in (1..LANES).zip(factors) {
            x[l] = ComplexRegisters { re: re[l], im: im[l] }.times_line(factor);
        }
        butterfly::<V, LANES, LANES>(&mut x, &[]);
        for (k, x) in x.into_iter().enumerate().take(OUT) {
            x.store(&mut to[k * far + tile]);
        }
    }
}
