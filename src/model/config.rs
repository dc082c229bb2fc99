//! `config.json` of the supported decoder families, in either of the forms Hugging Face has written it.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::config_keys;
use super::rope_config::RopeKeys;

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
    /// Whether the head is the transposed embedding. A saved head that is another makes it false: see `checkpoint`.
    pub tie_word_embeddings: bool,
    /// Whether q, k and v have biases.
    pub qkv_bias: bool,
}

#[derive(Deserialize)]
struct ConfigJson {
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
    partial_rotary_factor: Option<f64>,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<f64>,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    sliding_window: Option<usize>,
    layer_types: Option<Vec<String>>,
    quantization_config: Option<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Longest rotary table, in positions; the longest of the ten sets' 56,317 sequences has 491 tokens.
const MOST_POSITIONS: usize = 16_384;

impl Config {
    /// Longest input, in tokens.
    pub fn most_tokens(&self) -> usize {
        self.max_position_embeddings.min(MOST_POSITIONS)
    }

    /// Reads the text of a `config.json`; `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let raw: ConfigJson =
            serde_json::from_str(text).with_context(|| format!("{origin}: not a decoder's config.json"))?;
        raw.check().with_context(|| origin.to_string())
    }

    /// Keys of a `config.json` that nothing here reads, but for those that are known not to matter.
    pub fn unread_keys(text: &str) -> Vec<String> {
        serde_json::from_str::<ConfigJson>(text).map(|raw| config_keys::unread(&raw.rest)).unwrap_or_default()
    }
}

impl ConfigJson {
    fn check(self) -> Result<Config> {
        let family = self.family()?;
        ensure!(self.quantization_config.is_none(), "the checkpoint is quantised; use the unquantised one");
        let act = self.hidden_act.as_deref().unwrap_or("silu");
        ensure!(act == "silu", "hidden_act {act:?} is not supported, only \"silu\"");
        ensure!(!self.mlp_bias.unwrap_or(false), "mlp_bias = true is not supported");
        ensure!(!self.use_sliding_window.unwrap_or(false), "use_sliding_window = true is not supported");
        // Qwen2 has a window only where use_sliding_window says so, which is false where it is not given.
        if let (Family::Llama, None, Some(window)) = (family, self.use_sliding_window, self.sliding_window) {
            bail!("sliding_window = {window} is not supported for Llama; remove it to score with full attention");
        }
        if let Some(other) = self.layer_types.iter().flatten().find(|kind| *kind != "full_attention") {
            bail!("layer_types holds {other:?}; only \"full_attention\" is supported");
        }
        let part = self.partial_rotary_factor.unwrap_or(1.0);
        ensure!(part == 1.0, "partial_rotary_factor = {part} is not supported, only 1");
        let llama_bias = self.attention_bias.unwrap_or(false);
        ensure!(family == Family::Qwen2 || !llama_bias, "attention_bias = true is not supported for Llama");

        let heads = self.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        // Far above any model, and low enough that no product of two of them is out of range.
        for (field, value, most) in [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 20),
            ("intermediate_size", self.intermediate_size, 1 << 22),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 14),
            ("num_attention_heads", heads, 1 << 16),
            ("num_key_value_heads", kv_heads, 1 << 16),
            ("head_dim", self.head_dim.filter(|wide| *wide > 0).unwrap_or(2), 1 << 16),
            ("max_position_embeddings", self.max_position_embeddings.unwrap_or(2048), usize::MAX),
        ] {
            ensure!(value > 0, "{field} is 0");
            ensure!(value <= most, "{field} is {value}, more than the {most} that a model may have here");
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
        let (rope_theta, rope_scaling) = RopeKeys {
            rope_theta: self.rope_theta,
            original_max_position_embeddings: self.original_max_position_embeddings,
            rope_parameters: self.rope_parameters.as_ref(),
            rope_scaling: self.rope_scaling.as_ref(),
        }
        .read()?;
        let rms_norm_eps = self.rms_norm_eps.unwrap_or(1e-6);
        ensure!(rms_norm_eps.is_finite() && rms_norm_eps >= 0.0, "rms_norm_eps {rms_norm_eps} must be at least 0");
        config_keys::refuse_other_arithmetic(&self.rest, &[("norm_eps", rms_norm_eps), ("base", rope_theta)])?;
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
            max_position_embeddings: self.max_position_embeddings.unwrap_or(match family {
                Family::Llama => 2048,
                Family::Qwen2 => 32_768,
            }),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: family == Family::Qwen2,
        })
    }

    /// By `architectures` and `model_type`, of which transformers goes by the second and most others by the first.
    fn family(&self) -> Result<Family> {
        let architectures = self.architectures.iter().flatten().map(|name| ("architectures", name));
        let names = architectures.chain(self.model_type.iter().map(|name| ("model_type", name)));
        let families: Vec<(&str, &String, Family)> = names
            .map(|(key, name)| match name.as_str() {
                "LlamaForCausalLM" | "llama" => Ok((key, name, Family::Llama)),
                "Qwen2ForCausalLM" | "qwen2" => Ok((key, name, Family::Qwen2)),
                _ => bail!("{key} {name:?} is not supported; supported are LlamaForCausalLM (llama) and Qwen2ForCausalLM (qwen2)"),
            })
            .collect::<Result<_>>()?;
        let (first, first_name, family) =
            *families.first().context("neither architectures nor model_type says which decoder it is")?;
        if let Some((key, name, _)) = families.iter().find(|(_, _, other)| *other != family) {
            bail!("{first} {first_name:?} and {key} {name:?} disagree; set both to the decoder that is meant");
        }
        Ok(family)
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
