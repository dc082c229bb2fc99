//! A question whose prompt is rendered (`template.rs`): each choice as a context and a continuation, as the harness has them.
//!
//! A change here changes numbers: raise `prompt_version` in `datasets/<name>.toml` with it.

use anyhow::{Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::definition::Scored;

/// A question with its choices, ready to be scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Number of the row in its file, from 0.
    pub index: usize,
    /// The row's own id; its index in decimal where the schema has none.
    pub id: String,
    /// Which choice is right, from 0.
    pub gold: usize,
    /// The choices in the row's order, at least two.
    pub choices: Vec<PromptChoice>,
}

/// One choice: a context and the continuation whose log-likelihood is its score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptChoice {
    /// What the model is given; may end in blanks, which the request moves to the continuation.
    pub context: String,
    /// What is scored: a space, then the choice's text (WinoGrande: the rest of the sentence; CommonsenseQA: a letter).
    pub continuation: String,
    /// The text whose code points `acc_norm` divides by.
    pub text: String,
}

impl PromptChoice {
    /// Length that `acc_norm` divides by: code points of `text`.
    pub fn chars(&self) -> usize {
        self.text.chars().count()
    }
}

impl Question {
    /// SHA-256 (hex) over each choice's context, a NUL, its continuation and a NUL, in order.
    pub fn prompt_sha256(&self) -> String {
        let mut hash = Sha256::new();
        for choice in &self.choices {
            for part in [&choice.context, &choice.continuation] {
                hash.update(part.as_bytes());
                hash.update([0]);
            }
        }
        hex::encode(hash.finalize())
    }
}

/// Whether Python's `str.strip` would take this character away: Unicode white space and the four ASCII separators
/// U+001C to U+001F, which Rust's `char::is_whitespace` leaves out.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `text` without blanks at both ends, as Python's `str.strip` has it.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// A rendered prompt with each of the choices' texts, as `scored` has them.
pub(super) fn choices(scored: Scored, prompt: &str, texts: &[String]) -> Result<Vec<PromptChoice>> {
    let after = |text: String| PromptChoice { context: prompt.to_owned(), continuation: format!(" {text}"), text };
    Ok(match scored {
        Scored::Choice => texts.iter().cloned().map(after).collect(),
        Scored::Letter => (0..texts.len()).map(|i| after(letter(i).to_string())).collect(),
        // WinoGrande's partial evaluation: the contexts differ (the sentence up to the blank with an option put in), the
        // continuation is shared (the rest of the sentence). The harness counts the context's characters for `acc_norm`.
        Scored::Rest => {
            let parts: Vec<&str> = prompt.split('_').collect();
            let [before, rest] = parts[..] else { bail!("expected exactly one `_`, found {}", parts.len() - 1) };
            let rest = strip(rest);
            ensure!(!rest.is_empty(), "expected text after the `_`, which is what is scored; found none");
            let put = |option: &String| format!("{before}{option}");
            let choice =
                |context: String| PromptChoice { text: context.clone(), context, continuation: format!(" {rest}") };
            texts.iter().map(put).map(choice).collect()
        }
    })
}

/// The letter of a position: A, B, C, ... (readers allow at most 26 choices).
pub(super) fn letter(position: usize) -> char {
    char::from(b'A' + position as u8)
}
