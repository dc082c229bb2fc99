//! Attention of one new token of each of several sessions over what their caches hold.

use rayon::prelude::*;
use splitbench_codec::vector::{LANES, Vector, dispatch};

use super::Heads;

/// Below so many multiply-adds another thread costs more than it saves.
const WORTH_A_THREAD: usize = 1 << 15;

/// Keys and values that one query row sees: tokens x key_value * dim each, its own token's last.
#[derive(Clone, Copy)]
pub struct SeenTokens<'a> {
    /// Rotated keys.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
}

/// Softmax(q k^T / sqrt(dim)) v for each row of `q` (rows x query * dim) over the tokens that it sees; the result is like
/// `q`. No sum depends on threads or on the other rows.
pub fn step_attention(q: &[f32], seen: &[SeenTokens], heads: Heads) -> Vec<f32> {
    let group = heads.query / heads.key_value * heads.dim;
    let mut out = vec![0.0; q.len()];
    let one = |(nth, (out, q)): (usize, (&mut [f32], &[f32]))| {
        let (seen, head) = (seen[nth / heads.key_value], nth % heads.key_value);
        dispatch!(attend_group(q, seen, head, heads, out));
    };
    let work = seen.iter().map(|seen| 2 * seen.keys.len()).sum::<usize>() * heads.query / heads.key_value;
    if work < WORTH_A_THREAD {
        out.chunks_exact_mut(group).zip(q.chunks_exact(group)).enumerate().for_each(one);
    } else {
        out.par_chunks_exact_mut(group).zip(q.par_chunks_exact(group)).enumerate().for_each(one);
    }
    out
}

/// The query heads that share a key and value head.
#[inline(always)]
fn attend_group<V: Vector>(q: &[f32], seen: SeenTokens, head: usize, heads: Heads, out: &mut [f32]) {
    let width = heads.key_value * heads.dim;
    let tokens = seen.keys.len() / width;
    let scale = 1.0 / (heads.dim as f32).sqrt();
    let mut weights = vec![0.0; tokens];
    for (q, out) in q.chunks_exact(heads.dim).zip(out.chunks_exact_mut(heads.dim)) {
        for (weight, key) in weights.iter_mut().zip(seen.keys.chunks_exact(width)) {
            *weight = scale * dot::<V>(q, &key[head * heads.dim..][..heads.dim]);
        }
        super::attention::softmax(&mut weights);
        weighted_sum::<V>(&weights, &seen.values[head * heads.dim..], width, out);
    }
}

#[inline(always)]
fn dot<V: Vector>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = V::zero();
    for k in 0..a.len() {
        sums = V::load(&a[k]).mul_add(V::load(&b[k]), sums);
    }
    let mut lanes = [0.0; LANES];
    sums.store(&mut lanes);
    let mut sum = 0.0;
    for lane in lanes {
        sum += lane;
    }
    for k in 0..a_rest.len() {
        sum += a_rest[k] * b_rest[k];
    }
    sum
}

/// Rows of `values`, `width` apart, each times its weight.
#[inline(always)]
fn weighted_sum<V: Vector>(weights: &[f32], values: &[f32], width: usize, out: &mut [f32]) {
    out.fill(0.0);
    // The sum stands in the first-level cache; four tokens at a time, so that it is not stored after each.
    let (dim, mut token) = (out.len(), 0);
    let (parts, rest) = out.as_chunks_mut::<LANES>();
    while token < weights.len() {
        let many = (weights.len() - token).min(4);
        for (k, part) in parts.iter_mut().enumerate() {
            let mut sum = V::load(part);
            for i in token..token + many {
                let row: &[f32; LANES] = values[i * width + k * LANES..].first_chunk().expect("a head has whole rows");
                sum = V::splat(weights[i]).mul_add(V::load(row), sum);
            }
            sum.store(part);
        }
        for (k, value) in rest.iter_mut().enumerate() {
            for i in token..token + many {
                *value += weights[i] * values[i * width + dim / LANES * LANES + k];
            }
        }
        token += many;
    }
}
