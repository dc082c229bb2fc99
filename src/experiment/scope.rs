//! What of the activation is compressed.

use serde::{Deserialize, Serialize};

/// Which rows of the activation go through the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, strum::Display)]
pub enum Scope {
    /// All rows of prompt + choice, as a hook on the layer would see them.
    #[serde(rename = "prompt+choice")]
    #[strum(serialize = "prompt+choice")]
    PromptAndChoice,
    /// The prompt's rows; the choice's travel raw. Ratios and bytes are those of the packet alone.
    #[serde(rename = "prompt")]
    #[strum(serialize = "prompt")]
    Prompt,
    /// All rows of all choices of a question, one under another, as one matrix.
    #[serde(rename = "question")]
    #[strum(serialize = "question")]
    Question,
}
