//! What became of requests: what cells are compared by, and what a line of the journal holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::probe::ActivationIndicators;
use crate::exact;
use crate::record::QuestionRecord;
use crate::score::PositionFidelity;

/// What became of one request in one cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Log-likelihood of the continuation, nats.
    #[serde(with = "exact::number")]
    pub loglik: f64,
    /// Rows that went through the codec.
    pub tokens: usize,
    /// Numbers of those rows, S D.
    pub raw_elements: usize,
    /// Numbers the packet keeps.
    pub elements: usize,
    /// Bytes of the packet.
    pub wire_bytes: usize,
    /// `||A - A'||_F / ||A||_F` of the compressed rows.
    #[serde(with = "exact::number")]
    pub rel_error: f64,
    /// Time to encode, one thread.
    #[serde(rename = "encode_ns", with = "nanoseconds")]
    pub encode: Duration,
    /// Time to decode, one thread.
    #[serde(rename = "decode_ns", with = "nanoseconds")]
    pub decode: Duration,
    /// What a probe saw, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed: Option<ActivationIndicators>,
}

/// A question, and the unsplit model's log-likelihoods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnsplitAnswer {
    /// What was asked.
    #[serde(flatten)]
    pub asked: QuestionRecord,
    /// One for each choice, nats.
    #[serde(with = "exact::list")]
    pub loglik: Vec<f64>,
}

impl UnsplitAnswer {
    /// Whether another answer to the same question says the same, but for rounding on another machine.
    pub fn agrees(&self, other: &Self) -> bool {
        self.asked == other.asked
            && self.loglik.len() == other.loglik.len()
            && self.loglik.iter().zip(&other.loglik).all(|(a, b)| is_close(*a, *b))
    }
}

/// A question in a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellAnswer {
    /// Number of the row in its file.
    pub index: usize,
    /// What became of its requests, one for each choice.
    pub outcomes: Vec<Outcome>,
    /// How far its scored positions are from the unsplit model.
    pub fidelity: PositionFidelity,
}

impl CellAnswer {
    /// Whether another measurement of the same says the same, but for rounding on another machine and for times.
    pub fn agrees(&self, other: &Self) -> bool {
        let same = |(a, b): (&Outcome, &Outcome)| {
            is_close(a.loglik, b.loglik)
                && is_close(a.rel_error, b.rel_error)
                && (a.tokens, a.raw_elements) == (b.tokens, b.raw_elements)
        };
        self.outcomes.len() == other.outcomes.len() && self.outcomes.iter().zip(&other.outcomes).all(same)
    }
}

/// Equal but for rounding. Two infinities have no difference, two NaN are not equal.
fn is_close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 * a.abs().max(1.0)
}

/// Times as whole nanoseconds.
mod nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.as_nanos() as u64)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}
