//! The matrix that crosses the cut.

use anyhow::{Result, ensure};

use crate::bytes::buffers;
use crate::shape::{MAX_ELEMENTS, Shape};

/// The residual stream after the split layer: `tokens` x `hidden` (S x D), row-major, one row a token.
#[derive(Debug, Clone, PartialEq)]
pub struct Activation {
    tokens: usize,
    hidden: usize,
    values: Vec<f32>,
    token_ids: Option<TokenIds>,
}

/// What the model was fed, an id a token.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenIds {
    /// Each below `vocabulary`.
    pub ids: Vec<u32>,
    /// Ids that the model knows.
    pub vocabulary: u32,
}

impl Drop for Activation {
    /// The buffer serves the next one.
    fn drop(&mut self) {
        buffers::give(std::mem::take(&mut self.values));
    }
}

impl Activation {
    /// Wraps row-major values; fails where their number is not `tokens * hidden` or either is zero.
    pub fn new(tokens: usize, hidden: usize, values: Vec<f32>) -> Result<Self> {
        ensure!(
            tokens > 0 && hidden > 0,
            "an activation needs at least one token and one channel, got {tokens} x {hidden}"
        );
        ensure!(
            tokens.checked_mul(hidden) == Some(values.len()),
            "an activation of {tokens} x {hidden} needs {tokens} * {hidden} values, got {}",
            values.len()
        );
        Ok(Self { tokens, hidden, values, token_ids: None })
    }

    /// The same with what the model was fed; fails where it is not one id a token, each below `vocabulary`.
    pub fn with_token_ids(mut self, ids: Vec<u32>, vocabulary: usize) -> Result<Self> {
        ensure!(ids.len() == self.tokens, "{} token ids for an activation of {} tokens", ids.len(), self.tokens);
        ensure!((1..=MAX_ELEMENTS).contains(&vocabulary), "a vocabulary of {vocabulary} is not in 1..={MAX_ELEMENTS}");
        let vocabulary = vocabulary as u32;
        if let Some(id) = ids.iter().find(|id| **id >= vocabulary) {
            anyhow::bail!("token id {id} is outside the vocabulary of {vocabulary}");
        }
        self.token_ids = Some(TokenIds { ids, vocabulary });
        Ok(self)
    }

    /// S and D.
    pub fn shape(&self) -> Shape {
        Shape { tokens: self.tokens, hidden: self.hidden }
    }

    /// What the model was fed, where that is known.
    pub fn token_ids(&self) -> Option<&TokenIds> {
        self.token_ids.as_ref()
    }

    /// Number of rows, S.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Number of columns, D.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, row-major, by value.
    pub fn into_values(mut self) -> Vec<f32> {
        std::mem::take(&mut self.values)
    }

    /// One token's row.
    pub fn row(&self, token: usize) -> &[f32] {
        &self.values[token * self.hidden..(token + 1) * self.hidden]
    }

    /// Frobenius norm, summed in f64.
    pub fn norm(&self) -> f64 {
        self.values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
    }

    /// `||self - other||_F / ||self||_F`; zero where both are zero. Shapes must agree.
    pub fn rel_error(&self, other: &Self) -> f64 {
        assert_eq!((self.tokens, self.hidden), (other.tokens, other.hidden), "shapes differ");
        let squared: f64 =
            self.values.iter().zip(&other.values).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
        if squared == 0.0 { 0.0 } else { squared.sqrt() / self.norm() }
    }
}
