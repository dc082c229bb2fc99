//! Keys and values of one session.

use std::ops::Range;

use super::config::Config;

/// What the layers of one decoder, or of a part of it, keep of the tokens of one session.
#[derive(Debug)]
pub struct Cache {
    layers: Range<usize>,
    width: usize,
    most_tokens: usize,
    tokens: usize,
    /// Layers x (rotated keys, values) x most tokens x key_value * dim: one block, since an allocator rounds each of many up.
    rows: Vec<f32>,
    /// Tokens that each layer has.
    filled: Vec<usize>,
}

impl Cache {
    /// Room for `most_tokens` tokens in `layers`, counted from 0. The system gives memory as tokens come.
    pub fn new(config: &Config, layers: Range<usize>, most_tokens: usize) -> Self {
        let width = config.num_key_value_heads * config.head_dim;
        let (rows, filled) = (vec![0.0; layers.len() * 2 * most_tokens * width], vec![0; layers.len()]);
        Self { layers, width, most_tokens, tokens: 0, rows, filled }
    }

    /// Bytes of a full cache.
    pub fn bytes(config: &Config, layers: Range<usize>, most_tokens: usize) -> usize {
        2 * layers.len() * config.num_key_value_heads * config.head_dim * most_tokens * size_of::<f32>()
    }

    #[cfg(test)]
    pub(super) fn capacity_bytes(&self) -> usize {
        size_of::<f32>() * self.rows.capacity()
    }

    /// Layers, counted from 0.
    pub fn layers(&self) -> Range<usize> {
        self.layers.clone()
    }

    /// Tokens that all layers have.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Most tokens.
    pub fn most_tokens(&self) -> usize {
        self.most_tokens
    }

    /// Forgets the tokens from `tokens` on.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens = self.tokens.min(tokens);
        self.filled.iter_mut().for_each(|filled| *filled = self.tokens);
    }

    /// Adds keys and values of the tokens after [`Self::tokens`] in one layer.
    pub(super) fn push(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let nth = layer - self.layers.start;
        for (half, new) in [keys, values].into_iter().enumerate() {
            let begin = (2 * nth + half) * self.most_tokens * self.width + self.filled[nth] * self.width;
            self.rows[begin..][..new.len()].copy_from_slice(new);
        }
        self.filled[nth] += keys.len() / self.width;
    }

    /// Keys and values of one layer, those just pushed included.
    pub(super) fn layer(&self, layer: usize) -> (&[f32], &[f32]) {
        let nth = layer - self.layers.start;
        let half = |half: usize| {
            &self.rows[(2 * nth + half) * self.most_tokens * self.width..][..self.filled[nth] * self.width]
        };
        (half(0), half(1))
    }

    /// Counts tokens that every layer has got.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }
}
