//! What a line of the journal holds of one question.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::evaluate::Outcome;
use super::probe::Probed;
use crate::score::{Asked, PositionFidelity};

/// A number that comes back to the bit, which a JSON number need not.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exact(f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:e}", self.0))
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| de::Error::custom(format!("{text:?} is not a number")))
    }
}

fn exact(values: impl IntoIterator<Item = f64>) -> Vec<Exact> {
    values.into_iter().map(Exact).collect()
}

/// A question, and the unsplit model's log-likelihoods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked.
    #[serde(flatten)]
    pub asked: Asked,
    loglik: Vec<Exact>,
}

impl Answer {
    /// One log-likelihood a choice.
    pub fn new(asked: Asked, loglik: &[f64]) -> Self {
        Self { asked, loglik: exact(loglik.iter().copied()) }
    }

    /// Log-likelihood of each choice, nats.
    pub fn loglik(&self) -> Vec<f64> {
        self.loglik.iter().map(|l| l.0).collect()
    }

    /// Whether another answer to the same question says the same, but for rounding on another machine.
    pub fn agrees(&self, other: &Self) -> bool {
        self.asked == other.asked && close(&self.loglik, &other.loglik)
    }
}

/// Equal but for rounding.
fn close(a: &[Exact], b: &[Exact]) -> bool {
    // Two infinities have no difference, two NaN are not equal.
    let same = |(Exact(a), Exact(b)): (&Exact, &Exact)| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 * a.abs().max(1.0)
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// What became of the requests of one question in one cell, one number a choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Number of the row in its file.
    pub index: usize,
    loglik: Vec<Exact>,
    tokens: Vec<usize>,
    raw_elements: Vec<usize>,
    elements: Vec<usize>,
    wire_bytes: Vec<usize>,
    rel_error: Vec<Exact>,
    encode_ns: Vec<u64>,
    decode_ns: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    probed: Vec<Seen>,
    /// KL of each scored position, of all choices together, and what else is summed over them.
    kl: Vec<Exact>,
    same_top: usize,
    acceptance: Exact,
}

/// What a probe saw of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    low_band: Exact,
    variation_tokens: Option<Exact>,
    variation_hidden: Option<Exact>,
    adjacent_cosine: Option<Exact>,
    effective_rank: Option<Exact>,
    outlier_share: Option<Exact>,
    errors: Vec<Exact>,
}

impl Measured {
    /// Of the outcomes of a question, and how far its positions are from the unsplit model.
    pub fn new(index: usize, outcomes: &[Outcome], fidelity: &PositionFidelity) -> Self {
        let seen = |probed: &Probed| Seen {
            low_band: Exact(probed.low_band),
            variation_tokens: probed.variation_tokens.map(Exact),
            variation_hidden: probed.variation_hidden.map(Exact),
            adjacent_cosine: probed.adjacent_cosine.map(Exact),
            effective_rank: probed.effective_rank.map(Exact),
            outlier_share: probed.outlier_share.map(Exact),
            errors: exact(probed.errors.iter().copied()),
        };
        Self {
            index,
            loglik: exact(outcomes.iter().map(|o| o.loglik)),
            tokens: outcomes.iter().map(|o| o.tokens).collect(),
            raw_elements: outcomes.iter().map(|o| o.raw_elements).collect(),
            elements: outcomes.iter().map(|o| o.elements).collect(),
            wire_bytes: outcomes.iter().map(|o| o.wire_bytes).collect(),
            rel_error: exact(outcomes.iter().map(|o| o.rel_error)),
            encode_ns: outcomes.iter().map(|o| o.encode.as_nanos() as u64).collect(),
            decode_ns: outcomes.iter().map(|o| o.decode.as_nanos() as u64).collect(),
            probed: outcomes.iter().filter_map(|o| o.probed.as_ref()).map(seen).collect(),
            kl: exact(fidelity.kl.iter().map(|kl| f64::from(*kl))),
            same_top: fidelity.same_top,
            acceptance: Exact(fidelity.acceptance),
        }
    }

    /// How far the scored positions are from the unsplit model.
    pub fn fidelity(&self) -> PositionFidelity {
        PositionFidelity {
            kl: self.kl.iter().map(|kl| kl.0 as f32).collect(),
            same_top: self.same_top,
            acceptance: self.acceptance.0,
        }
    }

    /// The outcomes, one a choice; none where the line lacks a number.
    pub fn outcomes(&self) -> Option<Vec<Outcome>> {
        let number = |list: &[usize], i: usize| list.get(i).copied();
        let probed = |i: usize| {
            let seen = self.probed.get(i)?;
            Some(Probed {
                low_band: seen.low_band.0,
                variation_tokens: seen.variation_tokens.map(|v| v.0),
                variation_hidden: seen.variation_hidden.map(|v| v.0),
                adjacent_cosine: seen.adjacent_cosine.map(|v| v.0),
                effective_rank: seen.effective_rank.map(|v| v.0),
                outlier_share: seen.outlier_share.map(|v| v.0),
                errors: seen.errors.iter().map(|e| e.0).collect(),
            })
        };
        let outcome = |i: usize| {
            Some(Outcome {
                loglik: self.loglik.get(i)?.0,
                tokens: number(&self.tokens, i)?,
                raw_elements: number(&self.raw_elements, i)?,
                elements: number(&self.elements, i)?,
                wire_bytes: number(&self.wire_bytes, i)?,
                rel_error: self.rel_error.get(i)?.0,
                encode: Duration::from_nanos(*self.encode_ns.get(i)?),
                decode: Duration::from_nanos(*self.decode_ns.get(i)?),
                probed: probed(i),
            })
        };
        (0..self.loglik.len()).map(outcome).collect()
    }

    /// Whether another measurement of the same says the same, but for rounding on another machine and for times.
    pub fn agrees(&self, other: &Self) -> bool {
        close(&self.loglik, &other.loglik)
            && close(&self.rel_error, &other.rel_error)
            && (&self.tokens, &self.raw_elements) == (&other.tokens, &other.raw_elements)
    }
}
