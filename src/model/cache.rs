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
    /// For each layer rotated keys and values, tokens x key_value * dim.
    rows: Vec<[Vec<f32>; 2]>,
}

impl Cache {
    /// Room for `most_tokens` tokens in `layers`, counted from 0. Memory is taken as tokens come.
    pub fn new(config: &Config, layers: Range<usize>, most_tokens: usize) -> Self {
        let width = config.num_key_value_heads * config.head_dim;
        // Capacity ahead: a growing Vec would hold up to twice what it needs, three times while it grows.
        let rows = layers.clone().map(|_| [(); 2].map(|()| Vec::with_capacity(most_tokens * width))).collect();
        Self { layers, width, most_tokens, tokens: 0, rows }
    }

    /// Bytes of a full cache.
    pub fn bytes(config: &Config, layers: Range<usize>, most_tokens: usize) -> usize {
        2 * layers.len() * config.num_key_value_heads * config.head_dim * most_tokens * size_of::<f32>()
    }

    #[cfg(test)]
    pub(super) fn capacity_bytes(&self) -> usize {
        self.rows.iter().flatten().map(|rows| size_of::<f32>() * rows.capacity()).sum()
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
        self.rows.iter_mut().flatten().for_each(|rows| rows.truncate(self.tokens * self.width));
    }

    /// Adds keys and values of the tokens after [`Self::tokens`] in one layer.
    pub(super) fn push(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let rows = &mut self.rows[layer - self.layers.start];
        rows[0].extend_from_slice(keys);
        rows[1].extend_from_slice(values);
    }

    /// Keys and values of one layer, those just pushed included.
    pub(super) fn layer(&self, layer: usize) -> (&[f32], &[f32]) {
        let [keys, values] = &self.rows[layer - self.layers.start];
        (keys, values)
    }

    /// Counts tokens that every layer has got.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }
}
