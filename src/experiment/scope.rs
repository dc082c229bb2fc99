//! What of the activation is compressed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which rows of the activation go through the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// All rows of prompt + choice, as a hook on the layer would see them.
    #[serde(rename = "prompt+choice")]
    PromptAndChoice,
    /// The prompt's rows; the choice's travel raw. Ratios and bytes are those of the packet alone.
    #[serde(rename = "prompt")]
    Prompt,
    /// All rows of all choices of a question, one under another, as one matrix.
    #[serde(rename = "question")]
    Question,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Scope::PromptAndChoice => "prompt+choice",
            Scope::Prompt => "prompt",
            Scope::Question => "question",
        })
    }
}
