//! Products of a few rows with weights: the steps of generation, which read every weight once per token.
//!
//! [`super::linear`] packs both factors for `gemm`, which pays for hundreds of rows. Here rows of `x` and of the weight meet
//! as they lie in memory, so that a step costs one pass over the weights.

use candle_core::{Result, Storage, Tensor, bail};
use half::bf16;
use rayon::prelude::*;
use splitbench_codec::vector::{LANES, Vector, dispatch};

use super::slice;

/// Tasks per thread: one that another program delays costs a part of the whole.
const TASKS_PER_THREAD: usize = 4;

/// A weight matrix (N x K, row-major) of a linear layer, and its bias.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    /// The matrix, f32 or bf16, on the CPU.
    pub matrix: &'a Tensor,
    /// N values, f32.
    pub bias: Option<&'a Tensor>,
}

/// `x` (rows x K, row-major) times the transpose of each weight, plus its bias: rows x N each. A row's result has the same
/// bits whatever rows are beside it. Sums are f32 in eight lanes.
pub fn project(x: &[f32], rows: usize, weights: &[Weight]) -> Result<Vec<Vec<f32>>> {
    let total: usize = weights.iter().map(|weight| weight.matrix.dims().first().copied().unwrap_or(0)).sum();
    let most = total.div_ceil(rayon::current_num_threads() * TASKS_PER_THREAD).next_multiple_of(12);
    // Output after output, each with its rows side by side, so that a task writes one slice.
    let mut turned: Vec<Vec<f32>> = Vec::with_capacity(weights.len());
    let guards: Vec<_> = weights.iter().map(|weight| weight.matrix.storage_and_layout()).collect();
    let mut values = Vec::with_capacity(weights.len());
    for (weight, (storage, layout)) in weights.iter().zip(&guards) {
        let (outputs, width) = weight.matrix.dims2()?;
        if x.len() != rows * width {
            bail!("{} values for {rows} rows of {width}", x.len());
        }
        let Storage::Cpu(storage) = &**storage else { bail!("expected a weight on the CPU") };
        values.push(match storage {
            candle_core::CpuStorage::BF16(all) => match layout.contiguous_offsets() {
                Some((start, end)) => Values::Bf16(&all[start..end]),
                None => bail!("expected a contiguous weight"),
            },
            other => Values::F32(slice(other, layout)?),
        });
        turned.push(vec![0.0; outputs * rows]);
    }
    let tasks: Vec<_> = turned
        .iter_mut()
        .zip(&values)
        .flat_map(|(out, values)| {
            out.chunks_mut(most * rows).enumerate().map(move |(nth, out)| (*values, nth * most, out))
        })
        .collect();
    let width = x.len() / rows;
    tasks.into_par_iter().with_max_len(1).for_each(|(values, first, out)| {
        let outputs = out.len() / rows;
        match values {
            Values::F32(all) => {
                let weights = &all[first * width..][..outputs * width];
                dispatch!(products_f32(x, rows, weights, out));
            }
            Values::Bf16(all) => {
                let weights = &all[first * width..][..outputs * width];
                dispatch!(products_bf16(x, rows, weights, out));
            }
        }
    });
    turned.into_iter().zip(weights).map(|(turned, weight)| finish(turned, rows, weight.bias)).collect()
}

#[derive(Clone, Copy)]
enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// Rows that are turned at a time: so many neighbours are read at once.
const TURNED_ROWS: usize = 8;

/// N x rows to rows x N, with the bias.
fn finish(turned: Vec<f32>, rows: usize, bias: Option<&Tensor>) -> Result<Vec<f32>> {
    let outputs = turned.len() / rows;
    let mut out = match rows {
        1 => turned,
        _ => {
            let mut out = vec![0.0; turned.len()];
            out.par_chunks_mut(TURNED_ROWS * outputs).enumerate().for_each(|(block, out)| {
                let mut out: Vec<&mut [f32]> = out.chunks_exact_mut(outputs).collect();
                for (n, all) in turned.chunks_exact(rows).enumerate() {
                    out.iter_mut().zip(&all[block * TURNED_ROWS..]).for_each(|(out, value)| out[n] = *value);
                }
            });
            out
        }
    };
    if let Some(bias) = bias {
        super::with_values(bias, |bias| {
            for out in out.chunks_exact_mut(outputs) {
                out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
        })?;
    }
    Ok(out)
}

/// Eight neighbouring values of a weight as a vector.
trait Widen: Copy {
    fn widen<V: Vector>(from: &[Self; LANES]) -> V;
    fn value(self) -> f32;
}

impl Widen for f32 {
    #[inline(always)]
    fn widen<V: Vector>(from: &[f32; LANES]) -> V {
        V::load(from)
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

impl Widen for bf16 {
    #[inline(always)]
    fn widen<V: Vector>(from: &[bf16; LANES]) -> V {
        // The upper half of the bits of an f32.
        V::load(&std::array::from_fn(|i| f32::from_bits(u32::from(from[i].to_bits()) << 16)))
    }

    #[inline(always)]
    fn value(self) -> f32 {
        self.to_f32()
    }
}

#[inline(always)]
fn products_f32<V: Vector>(x: &[f32], rows: usize, weights: &[f32], out: &mut [f32]) {
    products::<V, f32>(x, rows, weights, out);
}

#[inline(always)]
fn products_bf16<V: Vector>(x: &[f32], rows: usize, weights: &[bf16], out: &mut [f32]) {
    products::<V, bf16>(x, rows, weights, out);
}

/// Outputs x rows. Tiles of four rows of `x` and three of the weight keep twelve sums in registers, which is what hides
/// the latency of a multiply-add; a single row takes four weights at a time and waits for memory anyway.
#[inline(always)]
fn products<V: Vector, W: Widen>(x: &[f32], rows: usize, weights: &[W], out: &mut [f32]) {
    let width = x.len() / rows;
    if rows == 1 {
        strip::<V, W, 1, 4>(x, width, rows, weights, out);
        return;
    }
    // As many rows as fit the second-level cache beside the weights' tile.
    let block = (BLOCK_VALUES / width.max(1)).clamp(4, rows.max(4));
    for first in (0..rows).step_by(block) {
        let rows_here = block.min(rows - first);
        let x = &x[first * width..][..rows_here * width];
        strip_at::<V, W>(x, width, rows, first, weights, out);
    }
}

/// 512 KB of f32.
const BLOCK_VALUES: usize = 1 << 17;

#[inline(always)]
fn strip_at<V: Vector, W: Widen>(x: &[f32], width: usize, rows: usize, first: usize, weights: &[W], out: &mut [f32]) {
    for (tile, out) in weights.chunks(3 * width).zip(out.chunks_mut(3 * rows)) {
        let mut row = first;
        for x in x.chunks(4 * width) {
            let many = x.len() / width;
            match (many, tile.len() / width) {
                (4, 3) => place::<V, W, 4, 3>(x, tile, width, out, rows, row),
                (4, 2) => place::<V, W, 4, 2>(x, tile, width, out, rows, row),
                (4, 1) => place::<V, W, 4, 1>(x, tile, width, out, rows, row),
                (many, outputs) => {
                    for i in 0..many {
                        let x = &x[i * width..][..width];
                        match outputs {
                            3 => place::<V, W, 1, 3>(x, tile, width, out, rows, row + i),
                            2 => place::<V, W, 1, 2>(x, tile, width, out, rows, row + i),
                            _ => place::<V, W, 1, 1>(x, tile, width, out, rows, row + i),
                        }
                    }
                }
            }
            row += many;
        }
    }
}

/// One row after another of `x`, `C` outputs at a time.
#[inline(always)]
fn strip<V: Vector, W: Widen, const R: usize, const C: usize>(
    x: &[f32],
    width: usize,
    rows: usize,
    weights: &[W],
    out: &mut [f32],
) {
    let whole = weights.len() / (C * width);
    for nth in 0..whole {
        let (tile, out) = (&weights[nth * C * width..][..C * width], &mut out[nth * C * rows..][..C * rows]);
        place::<V, W, R, C>(x, tile, width, out, rows, 0);
    }
    for nth in whole * C..weights.len() / width {
        place::<V, W, R, 1>(x, &weights[nth * width..][..width], width, &mut out[nth * rows..][..rows], rows, 0);
    }
}

/// Writes the sums of a tile: `out` is C x rows, from row `first` on.
#[inline(always)]
fn place<V: Vector, W: Widen, const R: usize, const C: usize>(
    x: &[f32],
    weights: &[W],
    width: usize,
    out: &mut [f32],
    rows: usize,
    first: usize,
) {
    let x: [&[f32]; R] = std::array::from_fn(|i| &x[i * width..][..width]);
    let weights: [&[W]; C] = std::array::from_fn(|i| &weights[i * width..][..width]);
    let sums = tile::<V, W, R, C>(x, weights);
    for i in 0..R {
        for j in 0..C {
            out[j * rows + first + i] = sums[i][j];
        }
    }
}

/// Sums of products of each row with each weight. Each sum is of eight lanes over ascending columns, then of the lanes,
/// then of the columns left over: its bits do not depend on the size of the tile.
#[inline(always)]
fn tile<V: Vector, W: Widen, const R: usize, const C: usize>(x: [&[f32]; R], weights: [&[W]; C]) -> [[f32; C]; R] {
    let x_parts: [(&[[f32; LANES]], &[f32]); R] = std::array::from_fn(|i| x[i].as_chunks::<LANES>());
    let w_parts: [(&[[W; LANES]], &[W]); C] = std::array::from_fn(|j| weights[j].as_chunks::<LANES>());
    let mut sums = [[V::zero(); C]; R];
    let chunks = x_parts[0].0.len();
    for k in 0..chunks {
        let mut w = [V::zero(); C];
        for j in 0..C {
            w[j] = W::widen::<V>(&w_parts[j].0[k]);
        }
        for i in 0..R {
            let x = V::load(&x_parts[i].0[k]);
            for j in 0..C {
                sums[i][j] = x.mul_add(w[j], sums[i][j]);
            }
        }
    }
    let mut out = [[0.0; C]; R];
    for i in 0..R {
        for j in 0..C {
            let mut lanes = [0.0; LANES];
            sums[i][j].store(&mut lanes);
            let mut sum =
                ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
            for (x, w) in x_parts[i].1.iter().zip(w_parts[j].1) {
                sum += x * w.value();
            }
            out[i][j] = sum;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * step) % 1009) as f32 / 512.0 - 1.0).collect()
    }

    #[test]
    fn products_are_those_of_f64_and_a_row_does_not_see_its_neighbours() {
        for (outputs, width) in [(1, 8), (7, 19), (100, 64), (130, 576)] {
            let bias = Tensor::from_vec(numbers(outputs, 13), outputs, &Device::Cpu).unwrap();
            for dtype in [DType::F32, DType::BF16] {
                let matrix = Tensor::from_vec(numbers(outputs * width, 37), (outputs, width), &Device::Cpu).unwrap();
                let matrix = matrix.to_dtype(dtype).unwrap();
                let wide: Vec<f32> = matrix.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let weight = Weight { matrix: &matrix, bias: Some(&bias) };
                let all = numbers(70 * width, 11);
                let alone: Vec<Vec<f32>> =
                    all.chunks_exact(width).map(|row| project(row, 1, &[weight]).unwrap().remove(0)).collect();
                for (row, alone) in all.chunks_exact(width).zip(&alone) {
                    for (n, value) in alone.iter().enumerate() {
                        let exact: f64 = (row.iter().zip(&wide[n * width..]))
                            .map(|(x, w)| f64::from(*x) * f64::from(*w))
                            .sum::<f64>()
                            + f64::from(numbers(outputs, 13)[n]);
                        assert!((f64::from(*value) - exact).abs() < 1e-4, "{value} for {exact}");
                    }
                }
                for rows in [2, 3, 4, 5, 11, 70] {
                    let both = project(&all[..rows * width], rows, &[weight, weight]).unwrap();
                    assert_eq!(both[0], alone[..rows].concat(), "{outputs} x {width}, {rows} rows");
                    assert_eq!(both[0], both[1]);
                }
            }
        }
    }
}
