//! The matrix that crosses the cut.

use anyhow::{Result, ensure};

use super::buffers;

/// The residual stream after the split layer: `tokens` x `hidden` (S x D), row-major, one row a token.
#[derive(Debug, Clone, PartialEq)]
pub struct Activation {
    tokens: usize,
    hidden: usize,
    values: Vec<f32>,
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
        Ok(Self { tokens, hidden, values })
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
