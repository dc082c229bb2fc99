//! The text that `net-bench` and `profile` take prompts from.

use anyhow::{Result, anyhow, ensure};

use crate::data::{self, RowSource};
use crate::model::source::Model;

/// Token ids of the embedded data sets' questions, one after the other.
pub(super) fn embedded_text(model: &Model) -> Result<Vec<u32>> {
    let mut text = String::new();
    for info in data::registry().iter().filter(|info| info.mini) {
        for question in info.load(&RowSource::Embedded, None)?.questions {
            for choice in question.choices.iter().take(1) {
                text += &format!("{}{}\n", choice.context, choice.continuation);
            }
        }
    }
    let encoding = model.tokenizer.encode_fast(text, false).map_err(|error| anyhow!("the prompts: {error}"))?;
    ensure!(!encoding.get_ids().is_empty(), "the prompts have no tokens");
    Ok(encoding.get_ids().to_vec())
}
