//! Causal grouped-query attention.

use candle_core::{CpuStorage, CustomOp3, D, DType, Layout, Result, Shape, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::{slice, with_values};

/// Number of heads and their width.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads.
    pub key_value: usize,
    /// Channels a head.
    pub dim: usize,
}

/// Softmax(q k^T / sqrt(dim)) v with token i seeing tokens 0..=i. `q` is batch x tokens x query * dim, `k` and `v` are
/// batch x tokens x key_value * dim; so is the result like `q`.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    if q.device().is_cpu() {
        q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, Attention { heads })
    } else {
        composed(q, k, v, heads)
    }
}

/// The same by candle's own operations, for other devices.
fn composed(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    let (batch, tokens, width) = q.dims3()?;
    let split = |x: &Tensor, n: usize| x.reshape((batch, tokens, n, heads.dim))?.transpose(1, 2)?.contiguous();
    let group = heads.query / heads.key_value;
    let widen = |x: &Tensor| -> Result<Tensor> {
        let x = split(x, heads.key_value)?.unsqueeze(2)?;
        x.expand((batch, heads.key_value, group, tokens, heads.dim))?.reshape((batch, heads.query, tokens, heads.dim))
    };
    let (q, k, v) = (split(q, heads.query)?, widen(k)?, widen(v)?);
    let scores = (q.matmul(&k.t()?)? / (heads.dim as f64).sqrt())?.to_dtype(DType::F32)?;
    let mask: Vec<f32> =
        (0..tokens).flat_map(|i| (0..tokens).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 })).collect();
    let scores = scores.broadcast_add(&Tensor::from_vec(mask, (tokens, tokens), q.device())?)?;
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(v.dtype())?;
    weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, tokens, width))
}

struct Attention {
    heads: Heads,
}

/// A matrix inside a slice: first element, and steps between rows and between columns.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> View<'a> {
    fn new(values: &'a [f32], row: usize) -> Self {
        Self { values, row, column: 1 }
    }

    fn t(self) -> Self {
        Self { values: self.values, row: self.column, column: self.row }
    }
}

/// `out` (m x n, contiguous) = `alpha * a b` (m x k times k x n), or added to it.
fn multiply(out: &mut [f32], add: bool, a: View, b: View, (m, n, k): (usize, usize, usize), alpha: f32) {
    let last = |v: &View, rows: usize, columns: usize| (rows - 1) * v.row + (columns - 1) * v.column;
    assert!(out.len() >= m * n && last(&a, m, k) < a.values.len() && last(&b, k, n) < b.values.len());
    // SAFETY: the furthest element of each operand was just checked to lie inside its slice; `out` is not aliased.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Softmax of row i over its first i + 1 scores; zero beyond. Shared by both passes, so they see the same weights.
fn causal_softmax(scores: &mut [f32], tokens: usize) {
    for (i, row) in scores.chunks_exact_mut(tokens).enumerate() {
        let (seen, hidden) = row.split_at_mut(i + 1);
        let top = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0f32;
        for v in seen.iter_mut() {
            *v = (*v - top).exp();
            sum += *v;
        }
        let inverse = 1.0 / sum;
        seen.iter_mut().for_each(|v| *v *= inverse);
        hidden.fill(0.0);
    }
}

/// What one key/value head of one batch item works on.
struct Group<'a> {
    heads: Heads,
    tokens: usize,
    q: &'a [f32],
    k: View<'a>,
    v: View<'a>,
    /// First query head of the group.
    first: usize,
}

impl<'a> Group<'a> {
    fn new(heads: Heads, tokens: usize, index: usize, q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> Self {
        let (item, kv) = (index / heads.key_value, index % heads.key_value);
        let (wide, narrow) = (heads.query * heads.dim, heads.key_value * heads.dim);
        let at = item * tokens * narrow + kv * heads.dim;
        Self {
            heads,
            tokens,
            q: &q[item * tokens * wide..][..tokens * wide],
            k: View::new(&k[at..], narrow),
            v: View::new(&v[at..], narrow),
            first: kv * (heads.query / heads.key_value),
        }
    }

    fn query_heads(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.heads.query / self.heads.key_value
    }

    fn of_head<'b>(&self, values: &'b [f32], head: usize) -> View<'b> {
        View::new(&values[head * self.heads.dim..], self.heads.query * self.heads.dim)
    }

    fn scale(&self) -> f32 {
        1.0 / (self.heads.dim as f32).sqrt()
    }

    fn weights(&self, head: usize, out: &mut [f32]) {
        let (s, d) = (self.tokens, self.heads.dim);
        multiply(out, false, self.of_head(self.q, head), self.k.t(), (s, s, d), self.scale());
        causal_softmax(out, s);
    }

    /// Outputs of the group's heads, head after head, each tokens x dim.
    fn forward(&self) -> Vec<f32> {
        let (s, d) = (self.tokens, self.heads.dim);
        let mut weights = vec![0f32; s * s];
        let mut out = vec![0f32; self.query_heads().len() * s * d];
        for (head, out) in self.query_heads().zip(out.chunks_exact_mut(s * d)) {
            self.weights(head, &mut weights);
            multiply(out, false, View::new(&weights, s), self.v, (s, d, s), 1.0);
        }
        out
    }

    /// Gradients: of q head after head, of k, of v; each block tokens x dim.
    fn backward(&self, grad: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (s, d) = (self.tokens, self.heads.dim);
        let mut p = vec![0f32; s * s];
        let mut dp = vec![0f32; s * s];
        let mut dq = vec![0f32; self.query_heads().len() * s * d];
        let (mut dk, mut dv) = (vec![0f32; s * d], vec![0f32; s * d]);
        for (nth, (head, dq)) in self.query_heads().zip(dq.chunks_exact_mut(s * d)).enumerate() {
            self.weights(head, &mut p);
            let dout = self.of_head(grad, head);
            multiply(&mut dv, nth > 0, View::new(&p, s).t(), dout, (s, d, s), 1.0);
            multiply(&mut dp, false, dout, self.v.t(), (s, s, d), 1.0);
            for (dp, p) in dp.chunks_exact_mut(s).zip(p.chunks_exact(s)) {
                let dot: f32 = dp.iter().zip(p).map(|(a, b)| a * b).sum();
                dp.iter_mut().zip(p).for_each(|(dp, p)| *dp = p * (*dp - dot));
            }
            multiply(dq, false, View::new(&dp, s), self.k, (s, d, s), self.scale());
            multiply(&mut dk, nth > 0, View::new(&dp, s).t(), self.of_head(self.q, head), (s, d, s), self.scale());
        }
        (dq, dk, dv)
    }
}

/// Puts blocks (batch item after item, head after head, each tokens x dim) into batch x tokens x heads * dim.
fn token_major<'a>(blocks: impl Iterator<Item = &'a [f32]>, heads: usize, tokens: usize, dim: usize) -> Vec<f32> {
    let blocks: Vec<&[f32]> = blocks.flat_map(|b| b.chunks_exact(tokens * dim)).collect();
    let mut out = vec![0f32; blocks.len() * tokens * dim];
    out.par_chunks_mut(tokens * heads * dim).zip(blocks.par_chunks(heads)).for_each(|(out, heads_of_item)| {
        for (token, row) in out.chunks_exact_mut(heads * dim).enumerate() {
            for (out, block) in row.chunks_exact_mut(dim).zip(heads_of_item) {
                out.copy_from_slice(&block[token * dim..(token + 1) * dim]);
            }
        }
    });
    out
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "causal_attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (slice(q, lq)?, slice(k, lk)?, slice(v, lv)?);
        let (batch, tokens, _) = lq.shape().dims3()?;
        let blocks: Vec<Vec<f32>> = (0..batch * self.heads.key_value)
            .into_par_iter()
            .map(|index| Group::new(self.heads, tokens, index, q, k, v).forward())
            .collect();
        let out = token_major(blocks.iter().map(Vec::as_slice), self.heads.query, tokens, self.heads.dim);
        Ok((CpuStorage::F32(out), lq.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Heads { query, key_value, dim } = self.heads;
        let (batch, tokens, width) = q.dims3()?;
        let parts = with_values(q, |qv| {
            with_values(k, |kv| {
                with_values(v, |vv| {
                    with_values(grad, |gv| {
                        (0..batch * key_value)
                            .into_par_iter()
                            .map(|index| {
                                let item = index / key_value;
                                let grad = &gv[item * tokens * width..][..tokens * width];
                                Group::new(self.heads, tokens, index, qv, kv, vv).backward(grad)
                            })
                            .collect::<Vec<_>>()
                    })
                })
            })
        })????;
        let gather = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device()).map(Some);
        Ok((
            gather(token_major(parts.iter().map(|p| p.0.as_slice()), query, tokens, dim), q)?,
            gather(token_major(parts.iter().map(|p| p.1.as_slice()), key_value, tokens, dim), k)?,
            gather(token_major(parts.iter().map(|p| p.2.as_slice()), key_value, tokens, dim), v)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// The fused operation and candle's composition agree, forwards and in all three gradients.
    #[test]
    fn agrees_with_composed() -> Result<()> {
        let heads = Heads { query: 6, key_value: 2, dim: 4 };
        for tokens in [1, 2, 7, 33] {
            let var = |n: usize, seed: usize| {
                let values: Vec<f32> =
                    (0..2 * tokens * n).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 506.0 - 1.0).collect();
                Var::from_vec(values, (2, tokens, n), &Device::Cpu)
            };
            let (q, k, v) = (var(24, 1)?, var(8, 2)?, var(8, 3)?);
            let upstream = var(24, 4)?;
            let fused = causal_attention(&q, &k, &v, heads)?;
            let plain = composed(&q, &k, &v, heads)?;
            let a = (&fused * upstream.as_tensor())?.sum_all()?.backward()?;
            let b = (&plain * upstream.as_tensor())?.sum_all()?.backward()?;
            let close = |x: &Tensor, y: &Tensor| -> Result<()> {
                let gap = (x - y)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
                assert!(gap < 2e-5, "tokens {tokens}: {gap}");
                Ok(())
            };
            close(&fused, &plain)?;
            for var in [&q, &k, &v] {
                let (Some(x), Some(y)) = (a.get(var), b.get(var)) else { panic!("a gradient is missing") };
                close(x, y)?;
            }
        }
        Ok(())
    }
}
