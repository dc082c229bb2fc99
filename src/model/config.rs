//! `config.json` of the supported decoder families, in either of the forms Hugging Face has written it.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// Decoder family; they differ only in the biases of q, k and v.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `LlamaForCausalLM`.
    Llama,
    /// `Qwen2ForCausalLM`.
    Qwen2,
}

/// How rotary frequencies are stretched beyond the length of pre-training.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Plain rotary embedding.
    None,
    /// `rope_type = llama3`: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` count as low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` count as high ones.
        high_freq_factor: f64,
        /// Context length of pre-training, in tokens.
        original_max_position_embeddings: f64,
    },
    /// Each frequency is divided by a number of its own, as GGUF files give them.
    Factors(Arc<[f32]>),
}

/// Shape and constants of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which family.
    pub family: Family,
    /// Number of logits, padding ids included.
    pub vocab_size: usize,
    /// Width of the residual stream, D.
    pub hidden_size: usize,
    /// Width of the feed-forward block.
    pub intermediate_size: usize,
    /// Number of decoder layers, N.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; each serves a group of query heads.
    pub num_key_value_heads: usize,
    /// Channels a head.
    pub head_dim: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Their scaling.
    pub rope_scaling: RopeScaling,
    /// Longest input, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the head is the transposed embedding.
    pub tie_word_embeddings: bool,
    /// Whether q, k and v have biases.
    pub qkv_bias: bool,
}

#[derive(Deserialize)]
struct Raw {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    max_position_embeddings: Option<usize>,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<Value>,
}

impl Config {
    /// Reads the text of a `config.json`; `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let raw: Raw = serde_json::from_str(text).with_context(|| format!("{origin}: not a decoder's config.json"))?;
        raw.check().with_context(|| origin.to_string())
    }
}

impl Raw {
    fn check(self) -> Result<Config> {
        let architecture = self.architectures.as_ref().and_then(|a| a.first()).cloned();
        let named = architecture.or_else(|| self.model_type.clone()).unwrap_or_default();
        let family = match named.as_str() {
            "LlamaForCausalLM" | "llama" => Family::Llama,
            "Qwen2ForCausalLM" | "qwen2" => Family::Qwen2,
            other => {
                bail!("architecture {other:?} is not supported; supported are LlamaForCausalLM and Qwen2ForCausalLM")
            }
        };
        ensure!(self.quantization_config.is_none(), "the checkpoint is quantised; use the unquantised one");
        let act = self.hidden_act.as_deref().unwrap_or("silu");
        ensure!(act == "silu", "hidden_act {act:?} is not supported, only \"silu\"");
        ensure!(!self.mlp_bias.unwrap_or(false), "mlp_bias = true is not supported");
        ensure!(!self.use_sliding_window.unwrap_or(false), "use_sliding_window = true is not supported");
        let llama_bias = self.attention_bias.unwrap_or(false);
        ensure!(family == Family::Qwen2 || !llama_bias, "attention_bias = true is not supported for Llama");

        let heads = self.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        for (field, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv_heads),
        ] {
            ensure!(value > 0, "{field} is 0");
        }
        ensure!(
            heads.is_multiple_of(kv_heads),
            "{heads} attention heads do not divide into {kv_heads} key/value heads"
        );
        let head_dim = match self.head_dim {
            Some(d) => d,
            None => {
                ensure!(
                    self.hidden_size.is_multiple_of(heads),
                    "hidden_size {} is not a multiple of {heads} heads and head_dim is not given",
                    self.hidden_size
                );
                self.hidden_size / heads
            }
        };
        ensure!(head_dim > 0 && head_dim.is_multiple_of(2), "head_dim {head_dim} must be even and above 0");
        let (rope_theta, rope_scaling) = self.rope()?;
        let rms_norm_eps = self.rms_norm_eps.unwrap_or(1e-6);
        ensure!(rms_norm_eps.is_finite() && rms_norm_eps >= 0.0, "rms_norm_eps {rms_norm_eps} must be at least 0");
        Ok(Config {
            family,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            rms_norm_eps,
            rope_theta,
            rope_scaling,
            max_position_embeddings: self.max_position_embeddings.unwrap_or(2048),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: family == Family::Qwen2,
        })
    }

    /// `rope_parameters` (newer) holds theta and type together; `rope_theta` + `rope_scaling` is the older form.
    fn rope(&self) -> Result<(f64, RopeScaling)> {
        let table = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref()).filter(|v| !v.is_null());
        let number = |key: &str| table.and_then(|t| t.get(key)).and_then(Value::as_f64);
        let theta = number("rope_theta").or(self.rope_theta).unwrap_or(10_000.0);
        ensure!(theta.is_finite() && theta > 0.0, "rope_theta {theta} must be above 0");
        let kind = table
            .and_then(|t| t.get("rope_type").and_then(Value::as_str).or_else(|| t.get("type")?.as_str()))
            .unwrap_or("default");
        let scaling = match kind {
            "default" => RopeScaling::None,
            "llama3" => {
                let need =
                    |key: &str| number(key).with_context(|| format!("rope_type llama3 needs the number {key:?}"));
                let (factor, original) = (need("factor")?, need("original_max_position_embeddings")?);
                let (low, high) = (need("low_freq_factor")?, need("high_freq_factor")?);
                ensure!(
                    factor > 0.0 && original > 0.0 && low > 0.0 && high > low,
                    "rope_type llama3 needs factor, original_max_position_embeddings and low_freq_factor above 0 and \
                     high_freq_factor above low_freq_factor; found {factor}, {original}, {low} and {high}"
                );
                RopeScaling::Llama3 {
                    factor,
                    low_freq_factor: low,
                    high_freq_factor: high,
                    original_max_position_embeddings: original,
                }
            }
            other => bail!("rope_type {other:?} is not supported; supported are \"default\" and \"llama3\""),
        };
        Ok((theta, scaling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA: &str = r#"{"architectures":["LlamaForCausalLM"],"vocab_size":10,"hidden_size":8,"intermediate_size":16,
        "num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,"rms_norm_eps":1e-5,"rope_theta":500000.0,
        "rope_scaling":{"factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
        "original_max_position_embeddings":8192,"rope_type":"llama3"},"tie_word_embeddings":true}"#;

    #[test]
    fn reads_both_forms_of_rope() {
        let old = Config::parse(LLAMA, "a").unwrap();
        let new = LLAMA
            .replace(r#""rope_theta":500000.0,"#, "")
            .replace(r#""rope_scaling":{"#, r#""rope_parameters":{"rope_theta":500000.0,"#);
        assert_eq!(old, Config::parse(&new, "b").unwrap());
        assert_eq!(old.rope_theta, 500_000.0);
        assert!(matches!(old.rope_scaling, RopeScaling::Llama3 { factor: 32.0, .. }));
    }

    #[test]
    fn refuses_by_name() {
        for (from, to, expected) in [
            ("LlamaForCausalLM", "GPT2LMHeadModel", "GPT2LMHeadModel"),
            ("\"llama3\"", "\"yarn\"", "yarn"),
            ("\"rms_norm_eps\":1e-5", "\"hidden_act\":\"gelu\"", "gelu"),
            ("\"rms_norm_eps\":1e-5", "\"quantization_config\":{}", "quantised"),
            ("\"hidden_size\":8", "\"hidden_size\":9", "hidden_size 9"),
            ("\"factor\":32.0", "\"factor\":0.0", "factor"),
            ("\"rope_type\":\"llama3\"", "\"rope_type\":null,\"type\":\"linear\"", "linear"),
            ("1e-5", "-1.0", "rms_norm_eps"),
            ("\"num_key_value_heads\":1", "\"num_key_value_heads\":0", "num_key_value_heads is 0"),
        ] {
            let error = format!("{:#}", Config::parse(&LLAMA.replace(from, to), "x/config.json").unwrap_err());
            assert!(error.contains(expected) && error.contains("x/config.json"), "{error}");
        }
    }
}
