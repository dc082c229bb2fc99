//! What GGUF metadata says about generation.

use anyhow::{Context, Result};

use super::open::GgufModel;
use crate::model::GenerationFacts;

/// Keys of the tokens that llama.cpp ends a generation at: end of text, of a turn, of a message.
const ENDS: [&str; 3] = ["eos", "eot", "eom"];

impl GgufModel {
    /// The chat template, and the tokens that begin and end.
    pub fn generation(&self) -> Result<GenerationFacts> {
        self.read_generation().with_context(|| self.origin.clone())
    }

    fn read_generation(&self) -> Result<GenerationFacts> {
        let (mut end_ids, tokens) = (Vec::new(), self.tokens()?);
        let id = |name: &str| {
            let (key, count) = (format!("tokenizer.ggml.{name}_token_id"), tokens.len());
            let Some(id) = self.metadata.count(&key)? else { return Ok(None) };
            let id = u32::try_from(id).ok().filter(|id| (*id as usize) < count);
            id.with_context(|| format!("key {key}: not the id of one of {count} tokens")).map(Some)
        };
        for name in ENDS {
            end_ids.extend(id(name)?);
        }
        let text = |name: &str| anyhow::Ok(id(name)?.map(|id| tokens[id as usize].clone()));
        Ok(GenerationFacts {
            chat_template: self.metadata.text("tokenizer.chat_template")?.map(str::to_string),
            origin: format!("{}: key tokenizer.chat_template", self.origin),
            bos_token: text("bos")?,
            eos_token: text("eos")?,
            end_ids,
        })
    }
}
