//! `qr`: the first r steps of a column-pivoted QR factorisation.

use anyhow::Result;
use faer::{Mat, MatRef};

use crate::activation::Activation;
use crate::bytes::values::ValueType;
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::info::{CodecInfo, Rate, RowScope, VALUES};
use crate::interface::packet::Packet;
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::parts::low_rank::{self, Factors};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "qr",
    summary: "Column-pivoted QR stopped after r steps: the span of r channels, chosen greedily by what is left of them.",
    options: &[VALUES],
    id: 3,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Qr { spec: spec.clone(), values: spec.values() })),
    layout: low_rank::layout,
    decode: low_rank::decode,
    #[cfg(test)]
    size: SizeRule::LOW_RANK,
};

struct Qr {
    spec: CodecSpec,
    values: ValueType,
}

impl Codec for Qr {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let (shape, budget) = low_rank::checked(activation, budget, &self.spec)?;
        let rank = low_rank::rank(budget, shape, self.values);
        let (q, r) = pivoted(activation, rank);
        Factors::balanced(q.as_ref(), r.as_ref()).pack(&INFO, self.values, shape)
    }
}

/// Where a column's remaining square norm, updated by subtraction, falls below this share of the last one computed
/// directly, rounding has eaten half of its digits and it is computed again (LAPACK's dgeqp3 does the same).
const STALE: f64 = 1e-8;

/// Q (S x r), orthonormal, and R = Q^T A (r x D), its columns in the order of A, so that no permutation is sent.
///
/// A is never updated: a step takes the column with most left, orthogonalises it against Q (twice, which is enough in f64)
/// and multiplies one row of R, so r steps cost 2 r S D operations, half of Householder's. Ties go to the lower column;
/// where nothing is left the remaining factors are zero.
pub(crate) fn pivoted(activation: &Activation, rank: usize) -> (Mat<f64>, Mat<f64>) {
    let (tokens, hidden) = (activation.tokens(), activation.hidden());
    let a = low_rank::to_f64(activation);
    let mut left: Vec<f64> = vec![0.0; hidden];
    for row in a.chunks_exact(hidden) {
        left.iter_mut().zip(row).for_each(|(n, v)| *n += v * v);
    }
    let mut direct = left.clone();
    let total = left.iter().copied().fold(0.0, f64::max);
    let mut q: Vec<Vec<f64>> = Vec::with_capacity(rank);
    let mut r = vec![0f64; rank * hidden];
    for step in 0..rank {
        // Businger and Golub's rule (1965): the column of which most is left.
        let mut pivot = 0;
        for (d, &n) in left.iter().enumerate() {
            if n > left[pivot] {
                pivot = d;
            }
        }
        // Squares at rounding level of the largest column: nothing is left.
        if left[pivot] <= total * 1e-28 {
            break;
        }
        let mut column: Vec<f64> = (0..tokens).map(|s| a[s * hidden + pivot]).collect();
        // Gram-Schmidt, direction by direction. The second pass takes off what cancellation left in the first: "twice
        // is enough" (Kahan, in Parlett 1980).
        for _ in 0..2 {
            for direction in &q {
                let along = dot(direction, &column);
                column.iter_mut().zip(direction).for_each(|(c, d)| *c -= along * d);
            }
        }
        let norm = dot(&column, &column).sqrt();
        if norm == 0.0 {
            break;
        }
        column.iter_mut().for_each(|c| *c /= norm);
        let row = &mut r[step * hidden..(step + 1) * hidden];
        // Token by token, as A lies in memory.
        for (weight, values) in column.iter().zip(a.chunks_exact(hidden)) {
            row.iter_mut().zip(values).for_each(|(to, v)| *to += weight * v);
        }
        q.push(column);
        // Q is orthonormal: a column loses the square of its coefficient along the new direction.
        left.iter_mut().zip(row.iter()).for_each(|(n, v)| *n = (*n - v * v).max(0.0));
        // Rounding may leave a remainder, and no column is taken twice.
        left[pivot] = 0.0;
        for d in 0..hidden {
            if left[d] > 0.0 && left[d] < STALE * direct[d] {
                left[d] = remaining(&a, &q, &r, hidden, d);
                direct[d] = left[d];
            }
        }
    }
    let columns = q.len();
    // A matrix of lower rank leaves zeros, so that the packet has the size that its header states.
    let q = Mat::from_fn(tokens, rank, |i, j| if j < columns { q[j][i] } else { 0.0 });
    (q, MatRef::from_row_major_slice(&r, rank, hidden).to_owned())
}

/// Square norm of what Q leaves of one column.
fn remaining(a: &[f64], q: &[Vec<f64>], r: &[f64], hidden: usize, column: usize) -> f64 {
    let tokens = a.len() / hidden;
    let residual = |s: usize| {
        let along: f64 = q.iter().enumerate().map(|(j, direction)| direction[s] * r[j * hidden + column]).sum();
        a[s * hidden + column] - along
    };
    (0..tokens).map(|s| residual(s).powi(2)).sum()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
