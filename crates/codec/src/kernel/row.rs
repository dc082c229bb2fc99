//! Fast transforms of rows, one after another: a line holds eight neighbours of a row. A row and what it takes stay in the
//! inner caches.
//!
//! Bailey's four-step method (1990) makes a transform of n = n1 n2 of short transforms, lane by lane in both steps:
//! first with neighbouring inputs in the lanes; then tiles of 8 x 8 are transposed once; then with neighbouring results
//! of the first step in the lanes.

use std::sync::Arc;

use rustfft::{Fft, FftPlanner, num_complex::Complex32};

use super::axis::{Buffers, ComplexLine, root};
use super::short::{Places, Short, Truncation, Twiddles};
use crate::vector::{LANES, Vector};

/// The transform of rows of one length.
pub(super) struct RowPlan {
    pub length: usize,
    method: RowMethod,
}

enum RowMethod {
    Steps {
        /// n1, a multiple of eight: over inputs n2 apart.
        first: Short,
        /// n2, a multiple of eight: over neighbours.
        second: Short,
        /// Factors between the steps, powers of the root of unity: n1 for each line of n2 / 8.
        factors: Vec<ComplexLine>,
    },
    /// For lengths without such sides, or with a prime factor above 7.
    Library(Arc<dyn Fft<f32>>),
}

impl RowPlan {
    pub fn new(length: usize) -> Self {
        // Both sides are multiples of eight, so that lines and tiles are full. The pair nearest to a square comes
        // first.
        let sides = (LANES..=length.isqrt()).rev().filter(|n1| n1.is_multiple_of(LANES));
        let steps = sides.filter(|n1| length.is_multiple_of(LANES * n1)).find_map(|n1| {
            let (first, second) = (Short::new(n1)?, Short::new(length / n1)?);
            let factor = |column: usize, k: usize| {
                let mut line = ComplexLine::default();
                for lane in 0..LANES {
                    [line.re[lane], line.im[lane]] = root((LANES * column + lane) * k, length);
                }
                line
            };
            let columns = second.size / LANES;
            let factors = (0..columns).flat_map(|column| (0..n1).map(move |k| factor(column, k))).collect();
            Some(RowMethod::Steps { first, second, factors })
        });
        let method = steps.unwrap_or_else(|| RowMethod::Library(FftPlanner::new().plan_fft_forward(length)));
        Self { length, method }
    }

    /// Lines of a row that are read where inputs from `inputs` on are zeros.
    pub fn lines_read(&self, inputs: usize) -> usize {
        match &self.method {
            RowMethod::Steps { first, second, .. } => first.reads(inputs.div_ceil(second.size)) * second.size / LANES,
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
        scratch: &mut Buffers,
    ) {
        match &self.method {
            RowMethod::Steps { first, second, factors } => {
                let (n1, n2) = (first.size, second.size);
                let (batch, columns) = (first.batch(), n2 / LANES);
                let [between, tiles, short] =
                    scratch.split([n1 * columns, batch * n1, first.scratch().max(second.scratch())]);
                // Pruning (Markel 1971): input j of each of these transforms lies at j n2 or beyond, so all are zeros
                // from inputs / n2 on.
                let cut = Truncation { inputs: inputs.div_ceil(n2), ..Truncation::NOTHING };
                for column in (0..columns).step_by(batch) {
                    let count = batch.min(columns - column);
                    let places = Places { first: column, step: columns, next: 1 };
                    // A tile can be turned when eight results of its columns are there, so the results wait in a small
                    // buffer.
                    let tiled = Places { first: 0, step: 1, next: n1 };
                    let factors = Twiddles::Lines(&factors[column * n1..]);
                    first.transform::<V>((from, places), (tiles, tiled), count, short, factors, cut);
                    for (nth, tiles) in tiles[..count * n1].chunks_exact(n1).enumerate() {
                        for (tile, between) in tiles.as_chunks().0.iter().zip(between.chunks_exact_mut(n2)) {
                            let to = &mut between[(column + nth) * LANES..][..LANES];
                            turn::<V>(tile, to);
                        }
                    }
                }
                // Result k2 of transform k is coefficient k + n1 k2, so the wanted ones are below outputs / n1.
                let cut = Truncation { outputs: outputs.div_ceil(n1), ..Truncation::NOTHING };
                let side = n1 / LANES;
                for k in (0..side).step_by(second.batch()) {
                    let count = second.batch().min(side - k);
                    let turned = Places { first: k * n2, step: 1, next: n2 };
                    let places = Places { first: k, step: side, next: 1 };
                    second.transform::<V>((between, turned), (to, places), count, short, Twiddles::None, cut);
                }
            }
            RowMethod::Library(fft) => {
                let (values, short) = scratch.complex(self.length, fft.get_inplace_scratch_len());
                for (values, line) in values.chunks_mut(LANES).zip(from) {
                    for (lane, value) in values.iter_mut().enumerate() {
                        *value = Complex32::new(line.re[lane], line.im[lane]);
                    }
                }
                fft.process_with_scratch(values, short);
                for (values, line) in values.chunks(LANES).zip(to) {
                    for (lane, value) in values.iter().enumerate() {
                        (line.re[lane], line.im[lane]) = (value.re, value.im);
                    }
                }
            }
        }
    }
}

/// Transposes a tile of 8 x 8.
#[inline(always)]
fn turn<V: Vector>(from: &[ComplexLine; LANES], to: &mut [ComplexLine]) {
    // Before, line j holds result j of eight neighbouring transforms; after, line l holds eight results of transform l.
    // The second step then runs eight transforms side by side, again lane by lane.
    let (mut re, mut im) = ([V::zero(); LANES], [V::zero(); LANES]);
    for j in 0..LANES {
        (re[j], im[j]) = (V::load(&from[j].re), V::load(&from[j].im));
    }
    let (re, im) = (V::transpose(re), V::transpose(im));
    for (j, to) in to.iter_mut().enumerate() {
        re[j].store(&mut to.re);
        im[j].store(&mut to.im);
    }
}
