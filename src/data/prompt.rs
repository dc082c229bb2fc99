//! What the model is given for a question: the harness's prompts, character for character.
//!
//! A change here changes numbers: raise `prompt_version` in `datasets/<name>.toml` with it.

use sha2::{Digest, Sha256};

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
    pub choices: Vec<Choice>,
}

/// One choice: a context and the continuation whose log-likelihood is its score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the model is given; may end in blanks, which the request moves to the continuation.
    pub context: String,
    /// What is scored: a space, then the choice's text (WinoGrande: the rest of the sentence; CommonsenseQA: a letter).
    pub continuation: String,
    /// The text whose code points `acc_norm` divides by.
    pub text: String,
}

impl Choice {
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
        hex(&hash.finalize())
    }
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
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

/// One context, and after it a space and the text of each choice.
pub(super) fn same_context(context: &str, texts: &[String]) -> Vec<Choice> {
    let choice =
        |text: &String| Choice { context: context.to_owned(), continuation: format!(" {text}"), text: text.clone() };
    texts.iter().map(choice).collect()
}

/// OpenBookQA: the stem alone.
pub(super) fn openbookqa(stem: &str, texts: &[String]) -> Vec<Choice> {
    same_context(stem, texts)
}

/// ARC, PIQA and QASC.
pub(super) fn question_answer(question: &str, texts: &[String]) -> Vec<Choice> {
    same_context(&format!("Question: {question}\nAnswer:"), texts)
}

/// CosmosQA: the same with the passage before it.
pub(super) fn passage_question_answer(passage: &str, question: &str, texts: &[String]) -> Vec<Choice> {
    same_context(&format!("{passage}\nQuestion: {question}\nAnswer:"), texts)
}

/// SIQA.
pub(super) fn siqa(context: &str, question: &str, texts: &[String]) -> Vec<Choice> {
    same_context(&format!("Q: {context} {question}\nA:"), texts)
}

/// WinoGrande's partial evaluation: the contexts differ (the sentence up to the blank with an option put in), the
/// continuation is shared (the rest of the sentence). The harness counts the context's characters for `acc_norm`.
pub(super) fn winogrande(before: &str, after: &str, options: &[String]) -> Vec<Choice> {
    let choice = |option: &String| {
        let context = format!("{before}{option}");
        Choice { text: context.clone(), context, continuation: format!(" {}", strip(after)) }
    };
    options.iter().map(choice).collect()
}

/// CommonsenseQA: the choices are listed and the letter is scored.
pub(super) fn commonsense_qa(question: &str, texts: &[String]) -> Vec<Choice> {
    let context = format!("Question: {}\n{}Answer:", strip(question), listing(texts));
    let letters: Vec<String> = (0..texts.len()).map(|i| letter(i).to_string()).collect();
    same_context(&context, &letters)
}

/// LogiQA: the options are listed and the option's text is scored.
pub(super) fn logiqa(passage: &str, question: &str, options: &[String]) -> Vec<Choice> {
    let context = format!("Passage: {passage}\nQuestion: {question}\nChoices:\n{}Answer:", listing(options));
    same_context(&context, options)
}

/// One line a choice: `A. text`.
fn listing(texts: &[String]) -> String {
    texts.iter().enumerate().map(|(i, text)| format!("{}. {text}\n", letter(i))).collect()
}

/// The letter of a position: A, B, C, ... (readers allow at most 26 choices).
pub(super) fn letter(position: usize) -> char {
    char::from(b'A' + position as u8)
}
