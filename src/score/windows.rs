//! A text cut into windows whose second halves are scored, as llama.cpp's `llama-perplexity` does.

use anyhow::{Context as _, Result, anyhow, ensure};
use tokenizers::Tokenizer;

use super::request::Request;
use crate::model::SpecialTokens;

/// Token ids of a window where a text is cut without a word about it, and the model takes as many.
pub const WINDOW: usize = 512;

/// Fewer have no scored token.
pub const SMALLEST_WINDOW: usize = 3;

/// A text in windows.
pub struct TextWindows {
    /// Token ids of the whole text, BOS included where the tokenizer puts one before it.
    pub tokens: usize,
    /// Token ids of a window.
    pub window: usize,
    /// Whole windows of the text; those a limit leaves out are counted too.
    pub whole: usize,
    /// One request a window: its ids but the last are the input, those of its second half but the first are scored.
    pub requests: Vec<Request>,
}

impl TextWindows {
    /// Cuts a text; the ids behind the last whole window are left out, and windows after the first `limit`. Each window begins with BOS
    /// in place of its first id where the tokenizer puts BOS before a text.
    pub fn new(tokenizer: &Tokenizer, text: &str, window: usize, limit: Option<usize>) -> Result<Self> {
        ensure!(
            window >= SMALLEST_WINDOW,
            "a window of {window} tokens has none to score; give {SMALLEST_WINDOW} or more"
        );
        let bos = SpecialTokens::new(tokenizer)?.first;
        let encoded = tokenizer.encode_fast(text, false).map_err(|e| anyhow!("token ids of the text: {e}"))?;
        let mut ids = encoded.get_ids().to_vec();
        if let Some(bos) = bos.filter(|bos| ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        ensure!(
            ids.len() >= window,
            "the text has {} tokens, fewer than one window of {window}: give a longer text{}",
            ids.len(),
            if ids.len() >= SMALLEST_WINDOW {
                format!(", or a window of at most {}", ids.len())
            } else {
                String::new()
            }
        );
        let request = |ids: &[u32]| {
            let mut tokens = ids[..window - 1].to_vec();
            if let Some(bos) = bos {
                tokens[0] = bos;
            }
            let prompt_tokens = window / 2 + 1;
            Request { tokens, prompt_tokens, targets: ids[prompt_tokens..].to_vec() }
        };
        let windows = ids.chunks_exact(window);
        let whole = windows.len();
        let requests = windows.take(limit.unwrap_or(usize::MAX)).map(request).collect();
        Ok(Self { tokens: ids.len(), window, whole, requests })
    }

    /// Tokens scored in each window.
    pub fn scored(&self) -> usize {
        self.window - self.window / 2 - 1
    }

    /// Fails for a token id that a model of so many does not know.
    pub fn check(&self, vocabulary: usize) -> Result<()> {
        let ids = self.requests.iter().flat_map(|request| request.tokens.iter().chain(&request.targets));
        let unknown = ids.copied().find(|&id| id as usize >= vocabulary);
        unknown.map_or(Ok(()), |id| {
            Err(anyhow!(
                "token id {id} is outside the model's vocabulary of {vocabulary}; the tokenizer is not this model's"
            ))
        })
    }
}

/// Reads a file of plain text. Fails where it is none, is empty, or is not UTF-8.
pub fn read_text(path: &std::path::Path) -> Result<String> {
    let name = path.display();
    ensure!(!path.is_dir(), "{name} is a folder; give a file of plain text");
    let bytes = std::fs::read(path).with_context(|| format!("reading {name}"))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        anyhow!("{name} is not UTF-8: byte {:#04x} at offset {at}; give plain text", e.as_bytes()[at])
    })?;
    ensure!(!text.trim().is_empty(), "{name} is empty or blank; give plain text");
    Ok(text)
}
