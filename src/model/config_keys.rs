//! Keys of config.json that the decoders here do not read: those of other arithmetic are refused, the rest is told.

use anyhow::{Result, ensure};
use serde_json::{Map, Value};

/// Parts of the names of keys that change what a decoder computes, in one family or another.
const ARITHMETIC: [&str; 23] = [
    "act_fn",
    "activation",
    "alibi",
    "attention",
    "attn",
    "bias",
    "clip",
    "compress",
    "dim_model_base",
    "expert",
    "moe",
    "multi_query",
    "multiplier",
    "mup",
    "norm",
    "qkv",
    "quant",
    "residual",
    "rope",
    "rotary",
    "scal",
    "softcap",
    "window",
];

/// Keys that no decoder's logits depend on: training, generation, how a model is run, what ids are called.
const HARMLESS: &str = "_attn_implementation _attn_implementation_autoset _attn_implementation_internal _commit_hash \
    _flash_attn_2_enabled _name_or_path add_cross_attention attention_dropout attn_dropout attn_implementation attn_pdrop \
    begin_suppress_tokens bos_token bos_token_id chunk_size_feed_forward decoder_start_token_id diversity_penalty do_sample \
    dtype early_stopping embd_pdrop encoder_no_repeat_ngram_size eos_token eos_token_id flash_attn gradient_checkpointing \
    hidden_dropout id2label initializer_range is_decoder is_encoder_decoder is_llama_config label2id length_penalty \
    max_length max_new_tokens max_window_layers min_length model_max_length no_repeat_ngram_size num_beam_groups num_beams \
    num_return_sequences output_attentions output_hidden_states output_scores pad_token pad_token_id pretraining_tp \
    remove_invalid_values repetition_penalty resid_pdrop return_dict return_dict_in_generate sep_token_id temperature \
    tie_encoder_decoder top_k top_p torch_dtype torchscript transformers.js_config transformers_version typical_p \
    unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache use_flash_attention use_flash_attn";

/// What the supported decoders do anyway, in words.
const USUAL: [&str; 10] =
    ["", "none", "default", "full", "full_attention", "rope", "rotary", "silu", "rms_norm", "rmsnorm"];

fn is_harmless(key: &str) -> bool {
    HARMLESS.split(' ').any(|known| known == key)
}

/// Whether a key with this value is as good as none.
fn is_neutral(key: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::String(text) => USUAL.contains(&text.to_lowercase().as_str()),
        Value::Array(values) => values.iter().all(|value| !value.is_number() && is_neutral(key, value)),
        Value::Object(values) => values.is_empty(),
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => ["multiplier", "scal", "factor", "ratio", "pct"].iter().any(|part| key.contains(part)),
            Some(0.0) => ["expert", "moe", "window", "num_"].iter().any(|part| key.contains(part)),
            _ => false,
        },
    }
}

/// Refuses a key, among those that nothing reads, that another arithmetic hangs on. `read` are values that may be given
/// under other names as well: by a part of the name.
pub(super) fn refuse_other_arithmetic(rest: &Map<String, Value>, read: &[(&str, f64)]) -> Result<()> {
    for (key, value) in rest.iter().filter(|(key, _)| !is_harmless(key)) {
        let lower = key.to_lowercase();
        let again = read.iter().any(|(part, known)| lower.contains(part) && value.as_f64() == Some(*known));
        let arithmetic = ARITHMETIC.iter().any(|part| lower.contains(part));
        ensure!(
            again || !arithmetic || is_neutral(&lower, value),
            "{key} = {value} is not supported: the Llama and Qwen2 decoders here have no such arithmetic; remove the key \
             to score the checkpoint without it, if that is what it was trained as"
        );
    }
    Ok(())
}

/// The keys among them that may mean something.
pub(super) fn unread(rest: &Map<String, Value>) -> Vec<String> {
    let told = |(key, value): &(&String, &Value)| !is_harmless(key) && !is_neutral(&key.to_lowercase(), value);
    rest.iter().filter(told).map(|(key, _)| key.clone()).collect()
}
