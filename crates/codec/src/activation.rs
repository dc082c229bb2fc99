//! The matrix that crosses the cut.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::bytes::buffers;
use crate::shape::{MAX_ELEMENTS, Shape};

/// The residual stream after the split layer: `tokens` x `hidden` (S x D), row-major, one row a token.
#[derive(Debug, Clone, PartialEq)]
pub struct Activation {
    tokens: usize,
    hidden: usize,
    values: ActivationValues,
    token_ids: Option<TokenIds>,
}

/// Values of an activation that lie with somebody else, such as in an array of another language.
pub type SharedValues = Arc<dyn AsRef<[f32]> + Send + Sync>;

#[derive(Clone)]
enum ActivationValues {
    Owned(Vec<f32>),
    Shared(SharedValues),
}

impl ActivationValues {
    fn as_slice(&self) -> &[f32] {
        match self {
            Self::Owned(values) => values,
            Self::Shared(values) => (**values).as_ref(),
        }
    }

    /// The values by value: a copy where they are another's.
    fn take(&mut self) -> Vec<f32> {
        match self {
            Self::Owned(values) => std::mem::take(values),
            Self::Shared(values) => (**values).as_ref().to_vec(),
        }
    }
}

impl fmt::Debug for ActivationValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl PartialEq for ActivationValues {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
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
        if let ActivationValues::Owned(values) = &mut self.values {
            buffers::give(std::mem::take(values));
        }
    }
}

impl Activation {
    /// Wraps row-major values; fails where their number is not `tokens * hidden` or either is zero.
    pub fn new(tokens: usize, hidden: usize, values: Vec<f32>) -> Result<Self> {
        Self::from_values(tokens, hidden, ActivationValues::Owned(values))
    }

    /// The same around values that stay where they are: nothing is copied. They must not change while it lives.
    pub fn shared(tokens: usize, hidden: usize, values: SharedValues) -> Result<Self> {
        Self::from_values(tokens, hidden, ActivationValues::Shared(values))
    }

    fn from_values(tokens: usize, hidden: usize, values: ActivationValues) -> Result<Self> {
        ensure!(
            tokens > 0 && hidden > 0,
            "an activation needs at least one token and one channel, got {tokens} x {hidden}"
        );
        let count = values.as_slice().len();
        ensure!(
            tokens.checked_mul(hidden) == Some(count),
            "an activation of {tokens} x {hidden} needs {tokens} * {hidden} values, got {count}"
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
        self.values.as_slice()
    }

    /// All values, row-major, by value.
    pub fn into_values(mut self) -> Vec<f32> {
        self.values.take()
    }

    /// One token's row.
    pub fn row(&self, token: usize) -> &[f32] {
        &self.values()[token * self.hidden..(token + 1) * self.hidden]
    }

    /// Frobenius norm, summed in f64.
    pub fn norm(&self) -> f64 {
        self.values().iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
    }

    /// `||self - other||_F / ||self||_F`; zero where both are zero. Shapes must agree.
    pub fn rel_error(&self, other: &Self) -> f64 {
        assert_eq!((self.tokens, self.hidden), (other.tokens, other.hidden), "shapes differ");
        let squared: f64 =
            self.values().iter().zip(other.values()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
        if squared == 0.0 { 0.0 } else { squared.sqrt() / self.norm() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_values_are_read_in_place_and_copied_when_taken() {
        let values: Arc<Vec<f32>> = Arc::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let shared = Activation::shared(2, 3, values.clone()).unwrap();
        assert_eq!(shared.values().as_ptr(), values.as_ptr());
        assert_eq!(shared, Activation::new(2, 3, values.to_vec()).unwrap());
        assert_eq!(shared.row(1), [4.0, 5.0, 6.0]);
        assert_eq!(shared.into_values(), *values);
        assert_eq!(Arc::strong_count(&values), 1);
        let error = Activation::shared(2, 2, values).unwrap_err().to_string();
        assert!(error.contains("2 * 2 values, got 6"), "{error}");
    }
}
