//! Options of `serve`, `generate`, `net-bench` and `profile`: a model that runs on the CPU.

use std::path::PathBuf;

use anyhow::Result;

use crate::model::source::{self, Model, POCKET};
use crate::model::{Placement, place};

/// A model, and the type of its weights.
#[derive(clap::Args)]
pub struct CpuModel {
    /// Model: a name (`splitbench list models`), a folder, a GGUF file, or `DIR:FILE` or `owner/name:FILE` of the hub; the same at
    /// client and server.
    #[arg(long, default_value = POCKET)]
    model: String,
    /// A tokenizer.json in place of a GGUF model's own.
    #[arg(long, value_name = "tokenizer.json")]
    tokenizer: Option<PathBuf>,
    /// Type the weight matrices are kept in: f32, or bf16 in half the memory.
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub dtype: String,
}

impl CpuModel {
    /// The model's name, its tokenizer included.
    pub fn name(&self) -> String {
        match &self.tokenizer {
            Some(tokenizer) => place::with_tokenizer(&self.model, tokenizer),
            None => self.model.clone(),
        }
    }

    /// Opens it and tells its notes; its weights are not read yet.
    pub fn load(&self) -> Result<Model> {
        let model = source::load(&self.name(), &Placement::open("cpu", &self.dtype)?)?;
        model.notes.iter().for_each(|note| tell!("note: {note}"));
        Ok(model)
    }
}
