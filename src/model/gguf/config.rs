//! Shape and constants of a decoder from GGUF metadata.

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::open::GgufModel;
use crate::model::Config;
use crate::model::config::RopeScaling;

impl GgufModel {
    /// `llama` or `qwen2`.
    fn architecture(&self) -> Result<&str> {
        match self.metadata.text("general.architecture")? {
            Some(name @ ("llama" | "qwen2")) => Ok(name),
            Some(other) => bail!("architecture {other:?} is not supported; supported are \"llama\" and \"qwen2\""),
            None => bail!("key general.architecture is missing: not a language model"),
        }
    }

    /// Shape and constants; the metadata goes through the checks of a config.json.
    pub fn config(&self) -> Result<Config> {
        let config = self.read_config().with_context(|| self.origin.clone())?;
        self.check_tensors(&config).with_context(|| self.origin.clone())?;
        Ok(config)
    }

    fn read_config(&self) -> Result<Config> {
        let architecture = self.architecture()?;
        let key = |name: &str| format!("{architecture}.{name}");
        let count = |name: &str| -> Result<Option<u64>> { self.metadata.uniform(&key(name)) };
        let need = |name: &str| count(name)?.with_context(|| format!("key {} is missing", key(name)));
        self.refuse(architecture)?;
        let (width, heads) = (need("embedding_length")?, need("attention.head_count")?);
        let head_dim = match count("attention.key_length")? {
            Some(length) => length,
            None => {
                ensure!(
                    heads > 0 && width.is_multiple_of(heads),
                    "embedding_length {width} is no multiple of {heads} heads"
                );
                width / heads
            }
        };
        for name in ["attention.value_length", "rope.dimension_count"] {
            let length = count(name)?.unwrap_or(head_dim);
            ensure!(
                length == head_dim,
                "key {} is {length}; only the head's {head_dim} channels are supported",
                key(name)
            );
        }
        let epsilon = self.metadata.number(&key("attention.layer_norm_rms_epsilon"))?;
        let context = need("context_length")?;
        let config = json!({
            "model_type": architecture,
            "vocab_size": self.vocabulary()?,
            "hidden_size": width,
            "intermediate_size": need("feed_forward_length")?,
            "num_hidden_layers": need("block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": count("attention.head_count_kv")?.unwrap_or(heads),
            "head_dim": head_dim,
            "rms_norm_eps": epsilon.with_context(|| format!("key {} is missing", key("attention.layer_norm_rms_epsilon")))?,
            "rope_theta": self.metadata.number(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            // No row of a longer sequence sees what a window leaves out.
            "max_position_embeddings": count("attention.sliding_window")?.filter(|w| *w > 0).map_or(context, |w| w.min(context)),
            "tie_word_embeddings": !self.tensors.contains_key("output.weight"),
        });
        let mut config = Config::parse(&config.to_string(), "metadata as a config.json")?;
        if let Some(factors) = self.rope_factors(config.head_dim / 2)? {
            config.rope_scaling = RopeScaling::Factors(factors.into());
        }
        Ok(config)
    }

    /// Fails where the metadata asks for arithmetic that the decoder does not do.
    fn refuse(&self, architecture: &str) -> Result<()> {
        let kind = self.metadata.text(&format!("{architecture}.rope.scaling.type"))?.unwrap_or("none");
        let mut linear = false;
        for name in ["rope.scaling.factor", "rope.scale_linear"] {
            linear |= self
                .metadata
                .number(&format!("{architecture}.{name}"))?
                .is_some_and(|factor| factor != 1.0 && factor != 0.0);
        }
        ensure!(
            kind == "none" || (kind == "linear" && !linear),
            "key {architecture}.rope.scaling.type {kind:?} is not supported, only \"none\" and the tensor rope_freqs.weight"
        );
        ensure!(!linear, "key {architecture}.rope.scaling.factor is not supported, only rope_freqs.weight");
        for name in [
            "expert_count",
            "attention.clamp_kqv",
            "logit_scale",
            "residual_scale",
            "embedding_scale",
            "attention.scale",
        ] {
            let value = self.metadata.number(&format!("{architecture}.{name}"))?.unwrap_or(0.0);
            ensure!(value == 0.0, "key {architecture}.{name} is {value}; models that use it are not supported");
        }
        Ok(())
    }

    /// Rows of the embedding, which must be those of the vocabulary.
    fn vocabulary(&self) -> Result<usize> {
        let (_, embedding) = self.tensors.get("token_embd.weight").context("tensor token_embd.weight is missing")?;
        let (rows, tokens) = (embedding.shape[0], self.tokens()?.len());
        ensure!(
            rows == tokens,
            "the vocabulary does not fit: tensor token_embd.weight has {rows} rows, tokenizer.ggml.tokens {tokens} tokens"
        );
        Ok(rows)
    }

    /// What the frequencies are divided by, one number for each.
    fn rope_factors(&self, frequencies: usize) -> Result<Option<Vec<f32>>> {
        if !self.tensors.contains_key("rope_freqs.weight") {
            return Ok(None);
        }
        let factors = self.values("rope_freqs.weight", &[frequencies])?;
        ensure!(factors.iter().all(|f| *f > 0.0), "tensor rope_freqs.weight holds factors that are not above 0");
        Ok(Some(factors))
    }
}
