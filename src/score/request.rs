//! From a context and a continuation to token ids, by lm-evaluation-harness's rule.

use anyhow::{Result, anyhow, ensure};
use tokenizers::Tokenizer;

use crate::data::{Question, is_blank};

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

impl Request {
    /// Length of the whole sequence, the last id included.
    pub fn sequence_tokens(&self) -> usize {
        self.tokens.len() + 1
    }
}

/// Encodes as the harness does. Blanks at the end of the context (newlines too) move to the front of the continuation.
/// Context alone and both together are encoded with special tokens on; the tokenizer's post-processor alone decides
/// about BOS. The continuation's ids are what the joint encoding has beyond the length of the context's own encoding,
/// and the model is fed the context's *own* ids followed by these, which differs from the joint encoding where a token
/// spans the boundary. An error where the context has no ids or the continuation none, where the harness asserts.
pub fn encode_request(tokenizer: &Tokenizer, context: &str, continuation: &str) -> Result<Request> {
    let kept = context.trim_end_matches(is_blank);
    let moved = &context[kept.len()..];
    let context_ids = encode(tokenizer, kept)?;
    let joint = encode(tokenizer, &format!("{kept}{moved}{continuation}"))?;
    ensure!(
        !context_ids.is_empty(),
        "the context is empty and this tokenizer adds no BOS: there is nothing to predict {continuation:?} from"
    );
    let targets = joint.get(context_ids.len()..).unwrap_or_default().to_vec();
    ensure!(
        !targets.is_empty(),
        "no token of the continuation {continuation:?} is left: context and continuation together have {} tokens, \
         the context alone {}",
        joint.len(),
        context_ids.len()
    );
    let prompt_tokens = context_ids.len();
    let mut tokens = context_ids;
    tokens.extend_from_slice(&targets[..targets.len() - 1]);
    Ok(Request { tokens, prompt_tokens, targets })
}

/// The requests of a question, one a choice.
pub fn encode_requests(tokenizer: &Tokenizer, question: &Question) -> Result<Vec<Request>> {
    question.choices.iter().map(|choice| encode_request(tokenizer, &choice.context, &choice.continuation)).collect()
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, true).map_err(|e| anyhow!("encoding {text:?}: {e}"))?;
    Ok(encoding.get_ids().to_vec())
}
