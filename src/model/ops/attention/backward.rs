//! The gradients on the CPU.

use gemm::Parallelism;
use rayon::prelude::*;

use super::forward::{HeadContext, from_heads};
use super::{Heads, Span, gather};

/// A matrix inside a slice: first element, and steps between rows and between columns.
#[derive(Clone, Copy)]
struct MatrixView<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> MatrixView<'a> {
    fn new(values: &'a [f32], row: usize) -> Self {
        Self { values, row, column: 1 }
    }

    fn t(self) -> Self {
        Self { values: self.values, row: self.column, column: self.row }
    }
}

/// `out` (m x n, contiguous) = `alpha * a b` (m x k times k x n), or added to it.
fn multiply(out: &mut [f32], add: bool, a: MatrixView, b: MatrixView, (m, n, k): (usize, usize, usize), alpha: f32) {
    let last = |v: &MatrixView, rows: usize, columns: usize| (rows - 1) * v.row + (columns - 1) * v.column;
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

/// Gradients of one sequence and key and value head: of q head after head, rows x dim; of k and v, tokens x dim.
struct Gradients {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Gradients of q, k and v, like them.
pub(super) fn gradients(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    grad: &[f32],
    spans: &[Span],
    heads: Heads,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let parts: Vec<Gradients> = (0..spans.len() * heads.key_value)
        .into_par_iter()
        .map(|i| of_head(q, k, v, grad, &spans[i / heads.key_value], i % heads.key_value, heads))
        .collect();
    let scatter = |of: fn(&Gradients) -> &[f32], like: &[f32]| {
        let width = heads.key_value * heads.dim;
        let mut out = vec![0f32; like.len()];
        for (i, part) in parts.iter().enumerate() {
            let Span { shared, own } = &spans[i / heads.key_value];
            let at = i % heads.key_value * heads.dim;
            for (row, part) in shared.clone().chain(own.clone()).zip(of(part).chunks_exact(heads.dim)) {
                out[row * width + at..][..heads.dim].iter_mut().zip(part).for_each(|(out, v)| *out += v);
            }
        }
        out
    };
    let (dk, dv) = (scatter(|part| &part.k, k), scatter(|part| &part.v, v));
    let blocks: Vec<Vec<f32>> = parts.into_iter().map(|part| part.q).collect();
    (from_heads(&blocks, spans, heads.key_value, heads.group(), heads.dim), dk, dv)
}

fn of_head(q: &[f32], k: &[f32], v: &[f32], grad: &[f32], span: &Span, head: usize, heads: Heads) -> Gradients {
    let (rows, tokens, d) = (span.own.len(), span.shared.len() + span.own.len(), heads.dim);
    let width = heads.query * d;
    let mut out =
        Gradients { q: vec![0f32; heads.group() * rows * d], k: vec![0f32; tokens * d], v: vec![0f32; tokens * d] };
    if rows == 0 {
        return out;
    }
    let seen = HeadContext::new(k, v, span, head, heads);
    let (k, v) = (gather(k, span, head, heads), gather(v, span, head, heads));
    let (k, v) = (MatrixView::new(&k, d), MatrixView::new(&v, d));
    let mut dp = vec![0f32; rows * tokens];
    for (nth, dq) in out.q.chunks_exact_mut(rows * d).enumerate() {
        let at = span.own.start * width + (head * heads.group() + nth) * d;
        let p = seen.all_weights(&q[at..], heads);
        let (q, dout) = (MatrixView::new(&q[at..], width), MatrixView::new(&grad[at..], width));
        multiply(&mut out.v, nth > 0, MatrixView::new(&p, tokens).t(), dout, (tokens, d, rows), 1.0);
        multiply(&mut dp, false, dout, v.t(), (rows, tokens, d), 1.0);
        for (dp, p) in dp.chunks_exact_mut(tokens).zip(p.chunks_exact(tokens)) {
            let dot: f32 = dp.iter().zip(p).map(|(a, b)| a * b).sum();
            dp.iter_mut().zip(p).for_each(|(dp, p)| *dp = p * (*dp - dot));
        }
        multiply(dq, false, MatrixView::new(&dp, tokens), k, (rows, d, tokens), heads.scale());
        multiply(&mut out.k, nth > 0, MatrixView::new(&dp, tokens).t(), q, (tokens, d, rows), heads.scale());
    }
    out
}
