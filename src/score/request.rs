//! From a context and a continuation to token ids, by lm-evaluation-harness's rule.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, ensure};
use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::data::{Dataset, PromptChoice, Question, is_blank};
use crate::model::SpecialTokens;

/// Token ids of one prompt with one choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What the model is fed: context and continuation without the last id.
    pub tokens: Vec<u32>,
    /// How many of `tokens` belong to the context.
    pub prompt_tokens: usize,
    /// The continuation's ids; target i is predicted at position `prompt_tokens - 1 + i`, so the last
    /// `targets.len()` positions are scored.
    pub targets: Vec<u32>,
}

/// Encodes as the harness does. Blanks at the end of the context (newlines too) move to the front of the continuation.
/// Context alone and both together are encoded with special tokens on, but for a text that begins with the text of BOS,
/// which has its BOS; the tokenizer's post-processor alone decides about BOS. The continuation's ids are what the joint
/// encoding has beyond the length of the context's own encoding, and the model is fed the context's *own* ids followed by
/// these, which differs from the joint encoding where a token spans the boundary. An error where the context has no ids or
/// the continuation none, where the harness asserts.
pub fn encode_request(tokenizer: &Tokenizer, context: &str, continuation: &str) -> Result<Request> {
    let encoder = TextEncoder::new(tokenizer)?;
    Context::new(&encoder, context)?.with(&encoder, continuation)
}

/// The requests of a question, one a choice. A context that several choices share is encoded once.
pub fn encode_requests(tokenizer: &Tokenizer, question: &Question) -> Result<Vec<Request>> {
    TextEncoder::new(tokenizer)?.requests(question)
}

/// The requests of a data set, question by question in its order.
pub fn encode_dataset(tokenizer: &Tokenizer, dataset: &Dataset) -> Result<Vec<Vec<Request>>> {
    let encoder = TextEncoder::new(tokenizer)?;
    let encode = |question| encoder.requests(question).with_context(|| format!("data set {}", dataset.info.name));
    dataset.questions.par_iter().map(encode).collect()
}

/// A tokenizer and what it puts around a text.
struct TextEncoder<'a> {
    tokenizer: &'a Tokenizer,
    special: SpecialTokens,
}

impl<'a> TextEncoder<'a> {
    fn new(tokenizer: &'a Tokenizer) -> Result<Self> {
        Ok(Self { tokenizer, special: SpecialTokens::new(tokenizer)? })
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, !self.special.bos.as_ref().is_some_and(|bos| text.starts_with(bos)))
    }

    /// The ids of BOS and a text, for an empty context: nothing follows the text then, not even EOS.
    fn after_bos(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text, false)?;
        if let Some(bos) = self.special.first.filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(text, special).map_err(|e| anyhow!("encoding {text:?}: {e}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn requests(&self, question: &Question) -> Result<Vec<Request>> {
        let mut last: Option<(&str, Context)> = None;
        let encode_one = |choice| -> Result<Request> {
            let PromptChoice { context, continuation, .. }: &PromptChoice = choice;
            let encoded = match last.take() {
                Some((text, encoded)) if text == context => encoded,
                _ => Context::new(self, context)?,
            };
            let request = encoded.with(self, continuation);
            last = Some((context, encoded));
            request
        };
        question
            .choices
            .iter()
            .map(encode_one)
            .collect::<Result<_>>()
            .with_context(|| format!("question {} (row {})", question.id, question.index))
    }
}

/// A context without the blanks at its end, and its ids.
struct Context<'a> {
    kept: &'a str,
    moved: &'a str,
    ids: Vec<u32>,
}

impl<'a> Context<'a> {
    fn new(encoder: &TextEncoder, text: &'a str) -> Result<Self> {
        let kept = text.trim_end_matches(is_blank);
        let ids = if text.is_empty() { encoder.special.first.into_iter().collect() } else { encoder.ids(kept)? };
        ensure!(
            !ids.is_empty(),
            "the context is empty and this tokenizer adds no BOS: there is nothing to predict from"
        );
        Ok(Context { kept, moved: &text[kept.len()..], ids })
    }

    fn with(&self, encoder: &TextEncoder, continuation: &str) -> Result<Request> {
        let joint = match format!("{}{}", self.kept, self.moved) {
            context if context.is_empty() => encoder.after_bos(continuation)?,
            context => encoder.ids(&(context + continuation))?,
        };
        let targets = joint.get(self.ids.len()..).unwrap_or_default().to_vec();
        ensure!(
            !targets.is_empty(),
            "no token of the continuation {continuation:?} is left: context and continuation together have {} tokens, \
             the context alone {}",
            joint.len(),
            self.ids.len()
        );
        let tokens = [&self.ids, &targets[..targets.len() - 1]].concat();
        Ok(Request { tokens, prompt_tokens: self.ids.len(), targets })
    }
}

/// Number of requests of each length, in tokens.
pub fn lengths<'a>(requests: impl IntoIterator<Item = &'a Request>) -> BTreeMap<usize, usize> {
    let mut lengths = BTreeMap::new();
    requests.into_iter().for_each(|request| *lengths.entry(request.tokens.len()).or_default() += 1);
    lengths
}
