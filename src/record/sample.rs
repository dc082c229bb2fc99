//! One question of one cell, as `samples/*.jsonl` holds it.

use std::borrow::Cow;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::data::Question;
use crate::score::{Request, argmax, argmax_norm};

/// A line of `samples/*.jsonl`: the cell, then the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleLine<'a> {
    /// The cut; none of the baseline.
    pub split_layer: Option<u32>,
    /// What was compressed; empty of the baseline.
    pub scope: Cow<'a, str>,
    /// Codec with its options, or `baseline`.
    pub codec: Cow<'a, str>,
    /// Ratio asked for.
    pub ratio: Option<f64>,
    /// What it counts.
    pub accounting: Option<Cow<'a, str>>,
    /// The question.
    #[serde(flatten)]
    pub sample: Cow<'a, Sample>,
}

/// What was measured on one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Data set name.
    pub dataset: String,
    /// The row's own id, or its index.
    pub id: String,
    /// Number of the row in its file, from 0.
    pub index: usize,
    /// The right choice, from 0.
    pub gold: usize,
    /// The choice with the largest log-likelihood; the first of equals.
    pub pred: usize,
    /// The choice with the largest log-likelihood per character; the first of equals.
    pub pred_norm: usize,
    /// Log-likelihood of each choice's continuation, natural logarithm.
    pub loglik: Vec<f64>,
    /// Tokens of each choice's continuation.
    pub choice_tokens: Vec<usize>,
    /// Code points that `acc_norm` divided by, a choice.
    pub choice_chars: Vec<usize>,
    /// Tokens fed to the model over all choices.
    pub tokens: usize,
    /// Hash of the question's contexts and continuations.
    pub prompt_sha256: String,
    /// What the codec did; absent where none ran.
    #[serde(flatten)]
    pub codec: Option<CodecSample>,
}

/// What a codec did to the activations of one question, over all its requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CodecSample {
    /// Numbers of the activations before compression: sum over requests of S D.
    pub raw_elements: u64,
    /// Numbers kept, as the packets count them: sum over requests.
    pub elements: u64,
    /// Bytes of the serialised packets: sum over requests.
    pub wire_bytes: u64,
    /// `||A - A'||_F / ||A||_F`: mean over requests.
    pub rel_error: f64,
    /// KL(unsplit || codec) at each position where a token is scored, nats; each distinct sequence's once.
    #[serde(default)]
    pub kl: Vec<f32>,
    /// Positions at which the most likely token is the unsplit model's.
    #[serde(default)]
    pub same_top: usize,
    /// Sum over positions of sum min(p, q).
    #[serde(default)]
    pub acceptance: f64,
}

/// A question as it was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionRecord {
    /// The row's own id, or its index.
    pub id: String,
    /// Number of the row in its file, from 0.
    pub index: usize,
    /// The right choice, from 0.
    pub gold: usize,
    /// Tokens of each choice's continuation.
    pub choice_tokens: Vec<usize>,
    /// Code points that `acc_norm` divides by, a choice.
    pub choice_chars: Vec<usize>,
    /// Tokens fed to the model over all choices.
    pub tokens: usize,
    /// Hash of the question's contexts and continuations.
    pub prompt_sha256: String,
}

impl QuestionRecord {
    /// A question and its requests, one a choice.
    pub fn new(question: &Question, requests: &[Request]) -> Self {
        Self {
            id: question.id.clone(),
            index: question.index,
            gold: question.gold,
            choice_tokens: requests.iter().map(|r| r.targets.len()).collect(),
            choice_chars: question.choices.iter().map(|c| c.chars()).collect(),
            tokens: requests.iter().map(|r| r.tokens.len()).sum(),
            prompt_sha256: question.prompt_sha256(),
        }
    }
}

impl Sample {
    /// Scores a question from the log-likelihoods of its requests, one a choice.
    pub fn new(dataset: &str, asked: &QuestionRecord, loglik: Vec<f64>, codec: Option<CodecSample>) -> Result<Sample> {
        let choices = asked.choice_chars.len();
        ensure!(
            asked.choice_tokens.len() == choices && loglik.len() == choices && asked.gold < choices,
            "question {} has {choices} choices, the right one number {}, but {} requests and {} log-likelihoods",
            asked.id,
            asked.gold,
            asked.choice_tokens.len(),
            loglik.len()
        );
        for (i, value) in loglik.iter().enumerate() {
            ensure!(
                value.is_finite(),
                "question {}: the log-likelihood of choice {i} is {value}: weights or activation hold a value that is \
                 not finite",
                asked.id
            );
        }
        let asked = asked.clone();
        Ok(Sample {
            dataset: dataset.to_owned(),
            pred: argmax(&loglik)?,
            pred_norm: argmax_norm(&loglik, &asked.choice_chars)?,
            id: asked.id,
            index: asked.index,
            gold: asked.gold,
            loglik,
            choice_tokens: asked.choice_tokens,
            choice_chars: asked.choice_chars,
            tokens: asked.tokens,
            prompt_sha256: asked.prompt_sha256,
            codec,
        })
    }

    /// Fails where its lists are of different lengths or a choice is none of them, as in a file that was damaged or edited.
    pub fn check(&self) -> Result<()> {
        let choices = self.loglik.len();
        ensure!(
            self.choice_tokens.len() == choices
                && self.choice_chars.len() == choices
                && [self.gold, self.pred, self.pred_norm].iter().all(|choice| *choice < choices),
            "question {} has {choices} log-likelihoods, {} and {} lengths, and names choices {}, {} and {}",
            self.id,
            self.choice_tokens.len(),
            self.choice_chars.len(),
            self.gold,
            self.pred,
            self.pred_norm
        );
        Ok(())
    }

    /// Whether the largest log-likelihood is the gold choice's (`acc`).
    pub fn right(&self) -> bool {
        self.pred == self.gold
    }

    /// Whether the largest log-likelihood per character is the gold choice's (`acc_norm`).
    pub fn right_norm(&self) -> bool {
        self.pred_norm == self.gold
    }

    /// Log-likelihood of the gold choice less that of the best other one, nats, or per character where `by_norm`: at least 0 where
    /// the answer is right. Infinite without another choice.
    pub fn margin(&self, by_norm: bool) -> f64 {
        let score = |choice: usize| self.loglik[choice] / if by_norm { self.choice_chars[choice] as f64 } else { 1.0 };
        let others = (0..self.loglik.len()).filter(|choice| *choice != self.gold).map(score);
        score(self.gold) - others.fold(f64::NEG_INFINITY, f64::max)
    }

    /// Log-likelihood of the gold choice.
    pub fn gold_loglik(&self) -> f64 {
        self.loglik[self.gold]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::PromptChoice;

    fn sample(codec: Option<CodecSample>) -> Sample {
        let choice =
            |text: &str| PromptChoice { context: "Q:".into(), continuation: format!(" {text}"), text: text.into() };
        let question = Question { index: 3, id: "x".into(), gold: 1, choices: vec![choice("é"), choice("long one")] };
        let request = |targets: Vec<u32>| Request { tokens: vec![1; 1 + targets.len()], prompt_tokens: 2, targets };
        let asked = QuestionRecord::new(&question, &[request(vec![5]), request(vec![5, 6])]);
        Sample::new("qasc", &asked, vec![-2.0, -4.0], codec).unwrap()
    }

    #[test]
    fn predictions_with_and_without_length() {
        let sample = sample(None);
        assert_eq!((sample.pred, sample.pred_norm), (0, 1));
        assert!(!sample.right() && sample.right_norm());
        assert_eq!((sample.choice_chars.clone(), sample.choice_tokens.clone()), (vec![1, 8], vec![1, 2]));
        assert_eq!((sample.tokens, sample.gold_loglik()), (5, -4.0));
    }

    #[test]
    fn a_sample_that_contradicts_itself_is_refused() {
        assert!(sample(None).check().is_ok());
        for wrong in [
            Sample { gold: 2, ..sample(None) },
            Sample { pred_norm: 9, ..sample(None) },
            Sample { choice_chars: vec![1], ..sample(None) },
            Sample { loglik: Vec::new(), ..sample(None) },
        ] {
            assert!(wrong.check().unwrap_err().to_string().contains("question x"));
        }
    }

    #[test]
    fn a_log_likelihood_that_is_not_finite_is_refused() {
        let choice = PromptChoice { context: "Q:".into(), continuation: " a".into(), text: "a".into() };
        let question = Question { index: 0, id: "x".into(), gold: 0, choices: vec![choice.clone(), choice] };
        let requests = vec![Request { tokens: vec![1], prompt_tokens: 1, targets: vec![2] }; 2];
        for bad in [f64::NAN, f64::NEG_INFINITY] {
            let asked = QuestionRecord::new(&question, &requests);
            let error = Sample::new("qasc", &asked, vec![-1.0, bad], None).unwrap_err().to_string();
            assert!(error.contains("choice 1"), "{error}");
        }
        assert!(Sample::new("qasc", &QuestionRecord::new(&question, &requests[1..]), vec![-1.0, -2.0], None).is_err());
    }

    #[test]
    fn a_line_holds_the_codec_only_where_one_ran() {
        let codec = CodecSample {
            raw_elements: 80,
            elements: 8,
            wire_bytes: 40,
            rel_error: 0.25,
            kl: vec![0.5, 0.125],
            same_top: 1,
            acceptance: 1.5,
        };
        for sample in [sample(None), sample(Some(codec))] {
            let line = serde_json::to_string(&sample).unwrap();
            assert_eq!(line.contains("\"wire_bytes\":40"), sample.codec.is_some());
            assert_eq!(serde_json::from_str::<Sample>(&line).unwrap(), sample);
        }
    }
}
