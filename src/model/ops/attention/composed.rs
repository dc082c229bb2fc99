//! The same by candle's own operations: what the tests compare with.

use std::collections::BTreeMap;

use candle_core::{D, DType, Result, Tensor};

use super::{Heads, Packing};

/// Sequences of one shape go together, so that a device is given few large operations.
pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, packing: &Packing, heads: Heads) -> Result<Tensor> {
    let mut shapes: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (sequence, span) in packing.spans().iter().enumerate().filter(|(_, span)| !span.own.is_empty()) {
        shapes.entry((span.shared.len(), span.own.len())).or_default().push(sequence);
    }
    let (mut order, mut outputs) = (Vec::new(), Vec::new());
    for (shape, sequences) in shapes {
        let own: Vec<u32> =
            sequences.iter().flat_map(|s| packing.spans()[*s].own.clone()).map(|row| row as u32).collect();
        let seen: Vec<u32> = sequences.iter().flat_map(|s| packing.rows_of(*s)).map(|row| row as u32).collect();
        let pick = |x: &Tensor, rows: &[u32]| x.index_select(&Tensor::new(rows, x.device())?, 0);
        outputs.push(of_one_shape(&pick(q, &own)?, &pick(k, &seen)?, &pick(v, &seen)?, shape, heads)?);
        order.extend(own);
    }
    // Where each row lies now.
    let mut places = vec![0u32; order.len()];
    order.iter().enumerate().for_each(|(place, row)| places[*row as usize] = place as u32);
    Tensor::cat(&outputs, 0)?.index_select(&Tensor::new(places, q.device())?, 0)
}

/// Sequences of `before` shared and `rows` own tokens each.
fn of_one_shape(q: &Tensor, k: &Tensor, v: &Tensor, (before, rows): (usize, usize), heads: Heads) -> Result<Tensor> {
    let (width, tokens) = (heads.query * heads.dim, before + rows);
    let batch = q.dim(0)? / rows;
    let widen = |x: &Tensor| -> Result<Tensor> {
        let x = x.reshape((batch, tokens, heads.key_value, heads.dim))?.transpose(1, 2)?.contiguous()?.unsqueeze(2)?;
        x.expand((batch, heads.key_value, heads.group(), tokens, heads.dim))?.reshape((
            batch,
            heads.query,
            tokens,
            heads.dim,
        ))
    };
    let q = q.reshape((batch, rows, heads.query, heads.dim))?.transpose(1, 2)?.contiguous()?;
    let (k, v) = (widen(k)?, widen(v)?);
    let scores = (q.matmul(&k.t()?)? * f64::from(heads.scale()))?.to_dtype(DType::F32)?;
    let hidden = |i: usize, j: usize| if j > before + i { f32::NEG_INFINITY } else { 0.0 };
    let mask: Vec<f32> = (0..rows).flat_map(|i| (0..tokens).map(move |j| hidden(i, j))).collect();
    let scores = scores.broadcast_add(&Tensor::from_vec(mask, (rows, tokens), q.device())?)?;
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(v.dtype())?;
    weights.matmul(&v)?.transpose(1, 2)?.reshape((batch * rows, width))
}
