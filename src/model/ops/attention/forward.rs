//! The forward pass on the CPU. Every sum has one order, that of channels or of tokens: a token's bits depend neither on
//! what it shares rows with nor on what lies beside it.

use rayon::prelude::*;

use super::{Heads, Span, gather};
use splitbench_codec::vector::{LANES, Vector, dispatch};

/// Query rows at a time.
const QUERIES: usize = 4;

/// Query rows of one head per task of a long chunk.
const BLOCK_ROWS: usize = 64;

/// Keys, or channels of values, at a time: two vectors, whose sums for four queries fill eight of sixteen registers.
const WIDTH: usize = 2 * LANES;

type Panel = [[f32; LANES]; 2];

/// Attention of the last tokens of one sequence, whose queries are `q` (rows x query * dim), over all of its keys and values
/// (tokens x key_value * dim): rows x query * dim. The same bits as those rows have in a pass over the whole sequence.
pub(super) fn continued(q: &[f32], k: &[f32], v: &[f32], heads: Heads) -> Vec<f32> {
    let (rows, tokens) = (q.len() / (heads.query * heads.dim), k.len() / (heads.key_value * heads.dim));
    let span = Span { shared: 0..tokens - rows, own: tokens - rows..tokens };
    let contexts: Vec<HeadContext> =
        (0..heads.key_value).into_par_iter().map(|head| HeadContext::new(k, v, &span, head, heads)).collect();
    // Few heads have many rows: blocks of rows, so that all threads have work to the end.
    let parts = rows.div_ceil(BLOCK_ROWS);
    let block = |nth: usize| {
        let (head, first) = (nth / parts, nth % parts * BLOCK_ROWS);
        let mut block = vec![0f32; BLOCK_ROWS.min(rows - first) * heads.dim];
        contexts[head / heads.group()].attend(&q[head * heads.dim..], first, &mut block, heads);
        block
    };
    let blocks: Vec<Vec<f32>> = (0..heads.query * parts).into_par_iter().with_max_len(1).map(block).collect();
    let width = heads.query * heads.dim;
    let mut out = vec![0f32; rows * width];
    out.par_chunks_mut(BLOCK_ROWS * width).enumerate().for_each(|(part, out)| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for (head, out) in out.chunks_exact_mut(heads.dim).enumerate() {
                out.copy_from_slice(&blocks[head * parts + part][row * heads.dim..][..heads.dim]);
            }
        }
    });
    out
}

/// rows x query * dim.
pub(super) fn attention(q: &[f32], k: &[f32], v: &[f32], spans: &[Span], heads: Heads) -> Vec<f32> {
    let width = heads.query * heads.dim;
    let blocks: Vec<Vec<f32>> = (0..spans.len() * heads.key_value)
        .into_par_iter()
        .map(|i| {
            let (span, head) = (&spans[i / heads.key_value], i % heads.key_value);
            let seen = HeadContext::new(k, v, span, head, heads);
            let mut block = vec![0f32; heads.group() * span.own.len() * heads.dim];
            for (nth, block) in block.chunks_exact_mut((span.own.len() * heads.dim).max(1)).enumerate() {
                seen.attend(&q[span.own.start * width + (head * heads.group() + nth) * heads.dim..], 0, block, heads);
            }
            block
        })
        .collect();
    from_heads(&blocks, spans, heads.key_value, heads.group(), heads.dim)
}

/// Puts blocks (sequence after sequence, of each `parts`; in each block head after head, rows x dim) into rows x (parts *
/// group * dim).
pub(super) fn from_heads(blocks: &[Vec<f32>], spans: &[Span], parts: usize, group: usize, dim: usize) -> Vec<f32> {
    let width = parts * group * dim;
    let mut out = vec![0f32; spans.last().map_or(0, |span| span.own.end) * width];
    let mut rest = out.as_mut_slice();
    let mut places = Vec::with_capacity(spans.len());
    for span in spans {
        let (place, after) = rest.split_at_mut(span.own.len() * width);
        places.push(place);
        rest = after;
    }
    places.into_par_iter().zip(blocks.par_chunks(parts)).for_each(|(place, blocks)| {
        let rows = place.len() / width;
        let heads: Vec<&[f32]> = blocks.iter().flat_map(|block| block.chunks_exact((rows * dim).max(1))).collect();
        for (i, row) in place.chunks_exact_mut(width).enumerate() {
            for (out, head) in row.chunks_exact_mut(dim).zip(&heads) {
                out.copy_from_slice(&head[i * dim..][..dim]);
            }
        }
    });
    out
}

/// What the queries of a sequence see of one key and value head.
pub(super) struct HeadContext {
    /// Rows shared with another sequence, which have no queries here.
    before: usize,
    tokens: usize,
    /// For each [`WIDTH`] tokens, the channels: [`WIDTH`] keys each, zeros beyond the last.
    keys: Vec<Panel>,
    /// For each [`WIDTH`] channels, the tokens: [`WIDTH`] channels each.
    values: Vec<Panel>,
}

impl HeadContext {
    pub fn new(k: &[f32], v: &[f32], span: &Span, head: usize, heads: Heads) -> Self {
        let (k, v) = (gather(k, span, head, heads), gather(v, span, head, heads));
        let tokens = span.shared.len() + span.own.len();
        let mut keys = vec![Panel::default(); tokens.div_ceil(WIDTH) * heads.dim];
        for (token, row) in k.chunks_exact(heads.dim).enumerate() {
            let panels = &mut keys[token / WIDTH * heads.dim..][..heads.dim];
            panels.iter_mut().zip(row).for_each(|(panel, key)| panel.as_flattened_mut()[token % WIDTH] = *key);
        }
        let mut values = vec![Panel::default(); heads.dim.div_ceil(WIDTH) * tokens];
        for (token, row) in v.chunks_exact(heads.dim).enumerate() {
            for (nth, part) in row.chunks(WIDTH).enumerate() {
                values[nth * tokens + token].as_flattened_mut()[..part.len()].copy_from_slice(part);
            }
        }
        Self { before: span.shared.len(), tokens, keys, values }
    }

    /// Attention of the own rows from `begin` on by one query head, whose channels begin `q`: rows x dim.
    fn attend(&self, q: &[f32], begin: usize, out: &mut [f32], heads: Heads) {
        let mut weights: [Vec<f32>; QUERIES] = std::array::from_fn(|_| vec![0.0; self.tokens.next_multiple_of(WIDTH)]);
        for (nth, out) in out.chunks_mut(QUERIES * heads.dim).enumerate() {
            let first = begin + nth * QUERIES;
            let count = out.len() / heads.dim;
            self.weights(q, first, count, &mut weights, heads);
            dispatch!(weighted_sums(self, &weights, self.before + first + count, out, heads.dim));
        }
    }

    /// The attention weights of `count` queries from the own row `first` on; zero beyond what each sees. `q` as for
    /// `attend`.
    pub fn weights(&self, q: &[f32], first: usize, count: usize, weights: &mut [Vec<f32>; QUERIES], heads: Heads) {
        // Where there are fewer, the last one again.
        let row = |i: usize| &q[(first + i.min(count - 1)) * heads.query * heads.dim..][..heads.dim];
        let queries: [&[f32]; QUERIES] = std::array::from_fn(row);
        let seen = self.before + first + count;
        dispatch!(scores(&self.keys, queries, seen, heads.scale(), weights));
        for (i, weights) in weights.iter_mut().enumerate().take(count) {
            let (sees, beyond) = weights[..seen].split_at_mut(self.before + first + i + 1);
            softmax(sees);
            beyond.fill(0.0);
        }
    }

    /// All weights of one query head, own rows x tokens.
    pub fn all_weights(&self, q: &[f32], heads: Heads) -> Vec<f32> {
        let rows = self.tokens - self.before;
        let mut weights: [Vec<f32>; QUERIES] = std::array::from_fn(|_| vec![0.0; self.tokens.next_multiple_of(WIDTH)]);
        let mut out = vec![0f32; rows * self.tokens];
        for (nth, out) in out.chunks_mut(QUERIES * self.tokens).enumerate() {
            let (first, count) = (nth * QUERIES, out.len() / self.tokens);
            self.weights(q, first, count, &mut weights, heads);
            for (out, weights) in out.chunks_exact_mut(self.tokens).zip(&weights) {
                let seen = self.before + first + count;
                out[..seen].copy_from_slice(&weights[..seen]);
            }
        }
        out
    }
}

/// Scores to weights that sum to one.
pub(in crate::model::ops) fn softmax(scores: &mut [f32]) {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0f32;
    for v in scores.iter_mut() {
        *v = (*v - top).exp();
        sum += *v;
    }
    let inverse = 1.0 / sum;
    scores.iter_mut().for_each(|v| *v *= inverse);
}

/// q k^T times `scale` for the first `seen` tokens, and what completes the last panel.
#[inline(always)]
fn scores<V: Vector>(
    keys: &[Panel],
    queries: [&[f32]; QUERIES],
    seen: usize,
    scale: f32,
    out: &mut [Vec<f32>; QUERIES],
) {
    let dim = queries[0].len();
    let scale = V::splat(scale);
    for (nth, panel) in keys.chunks_exact(dim).take(seen.div_ceil(WIDTH)).enumerate() {
        let mut sums = [[V::zero(); 2]; QUERIES];
        for (channel, keys) in panel.iter().enumerate() {
            let [low, high] = [V::load(&keys[0]), V::load(&keys[1])];
            for i in 0..QUERIES {
                let factor = V::splat(queries[i][channel]);
                sums[i] = [factor.mul_add(low, sums[i][0]), factor.mul_add(high, sums[i][1])];
            }
        }
        for i in 0..QUERIES {
            let to = out[i][nth * WIDTH..][..WIDTH].as_chunks_mut::<LANES>().0;
            sums[i][0].mul(scale).store(&mut to[0]);
            sums[i][1].mul(scale).store(&mut to[1]);
        }
    }
}

/// The values of the first `seen` tokens, each times its weight, for up to four queries: queries x dim.
#[inline(always)]
fn weighted_sums<V: Vector>(of: &HeadContext, weights: &[Vec<f32>; QUERIES], seen: usize, out: &mut [f32], dim: usize) {
    for (nth, panel) in of.values.chunks_exact(of.tokens).enumerate() {
        let mut sums = [[V::zero(); 2]; QUERIES];
        for (token, values) in panel[..seen].iter().enumerate() {
            let [low, high] = [V::load(&values[0]), V::load(&values[1])];
            for i in 0..QUERIES {
                let factor = V::splat(weights[i][token]);
                sums[i] = [factor.mul_add(low, sums[i][0]), factor.mul_add(high, sums[i][1])];
            }
        }
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(dim)) {
            let mut done = Panel::default();
            sums[0].store(&mut done[0]);
            sums[1].store(&mut done[1]);
            let out = &mut out[nth * WIDTH..dim.min((nth + 1) * WIDTH)];
            out.copy_from_slice(&done.as_flattened()[..out.len()]);
        }
    }
}
