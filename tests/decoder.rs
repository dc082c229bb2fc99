//! The decoder against transformers on tiny random checkpoints (tests/reference/decoder.py), and what wrong checkpoints
//! are told.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};
use splitbench::model::LogSumExp;
use splitbench::model::weights::{Weights, weight_files};
use splitbench::model::{Config, Continuation, Decoder, DecoderPart, Packing, Placement, SplitPoint, checkpoint};
use tempfile::TempDir;

/// Largest norm of the difference of a row, over the norm of the row.
const ROW_TOLERANCE: f64 = 1e-4;
/// Largest difference of a log-likelihood, nats.
const NATS_TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Expected {
    sequences: Vec<Sequence>,
}

#[derive(Deserialize)]
struct Sequence {
    ids: Vec<u32>,
    positions: Vec<usize>,
    layers: Vec<Vec<Vec<f32>>>,
    logit_positions: Vec<usize>,
    logits: Vec<Vec<f32>>,
    targets: Vec<u32>,
    log_softmax: Vec<f64>,
}

fn case_folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/decoder").join(case)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Loads a checkpoint folder, which has no tokenizer.
fn load(folder: &Path) -> Result<Decoder> {
    load_as(folder, DType::F32)
}

/// Loads it with its matrices in this type.
fn load_as(folder: &Path, dtype: DType) -> Result<Decoder> {
    let (config, weights, _) = settled(folder)?;
    checkpoint::decoder(&config, &weights, &Placement { dtype, ..Placement::cpu() }, DecoderPart::Whole)
}

/// Its configuration as the weights bear it, the weights, and what is to be said of them.
fn settled(folder: &Path) -> Result<(Config, Weights, Vec<String>)> {
    let config = Config::parse(&read(&folder.join("config.json")), "config.json")?;
    let files = weight_files(|file| Some(folder.join(file)).filter(|p| p.is_file()), "checkpoint")?;
    let weights = Weights::open(&files)?;
    let (config, notes) = checkpoint::settle(config, &weights)?;
    Ok((config, weights, notes))
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    let width = tensor.dims().last().copied().unwrap();
    tensor.reshape(((), width)).unwrap().to_vec2().unwrap()
}

/// Norm of the difference over the norm; infinite where the lengths differ or a value is NaN.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let gap: f64 = found.iter().zip(expected).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = expected.iter().map(|b| square(f64::from(*b))).sum();
    let error = (gap / norm).sqrt();
    if found.len() == expected.len() && error.is_finite() { error } else { f64::INFINITY }
}

/// Compares everything that expected.json of a case holds.
fn compare(case: &str) {
    let folder = case_folder(case);
    let expected: Expected = serde_json::from_str(&read(&folder.join("expected.json"))).unwrap();
    let decoder = load(&folder).unwrap_or_else(|e| panic!("{case}: {e:#}"));
    let layers = decoder.config().num_hidden_layers;
    let splits: Vec<SplitPoint> = (1..=layers).map(|after_layer| SplitPoint { after_layer }).collect();
    let lengths: Vec<usize> = expected.sequences.iter().map(|s| s.ids.len()).collect();
    assert_eq!(lengths, [1, 2, 7, 40, 300, 2048], "{case}");
    let (mut worst_row, mut worst_logits, mut worst_nats) = (0f64, 0f64, 0f64);
    for sequence in &expected.sequences {
        let tokens = sequence.ids.len();
        let place = format!("{case}, {tokens} tokens");
        let packing = Arc::new(Packing::of([tokens]));
        let after = decoder.client(&sequence.ids, &packing, &splits).unwrap();
        assert_eq!((after.len(), sequence.layers.len()), (layers, layers), "{place}");

        // One layer at a time is the same as one pass.
        let mut hidden = decoder.embed(&sequence.ids).unwrap();
        for (layer, after) in after.iter().enumerate() {
            hidden = decoder.run_layers(hidden, &packing, layer..layer + 1).unwrap();
            assert_eq!(rows(&hidden), rows(after), "{place}, layer {}: client differs from run_layers", layer + 1);
        }

        for (layer, (found, expected)) in after.iter().zip(&sequence.layers).enumerate() {
            let found = rows(found);
            assert_eq!((found.len(), expected.len()), (tokens, sequence.positions.len()), "{place}");
            for (&position, expected) in sequence.positions.iter().zip(expected) {
                let error = relative_error(&found[position], expected);
                worst_row = worst_row.max(error);
                assert!(
                    error <= ROW_TOLERANCE,
                    "{place}, after layer {}, position {position}: relative error {error:.2e}",
                    layer + 1
                );
            }
        }

        let logits = rows(&decoder.logits(&hidden).unwrap());
        assert_eq!((logits.len(), sequence.logits.len()), (tokens, sequence.logit_positions.len()), "{place}");
        for (&position, expected) in sequence.logit_positions.iter().zip(&sequence.logits) {
            let error = relative_error(&logits[position], expected);
            worst_logits = worst_logits.max(error);
            assert!(error <= ROW_TOLERANCE, "{place}, logits at position {position}: relative error {error:.2e}");
        }

        // Each target by itself, then the sums over the last of them, with and without a cut.
        let first = tokens - sequence.targets.len();
        for (i, (&target, &expected)) in sequence.targets.iter().zip(&sequence.log_softmax).enumerate() {
            let logits = &logits[first + i];
            let error = (LogSumExp::new(logits).log_probability(logits[target as usize]) - expected).abs();
            worst_nats = worst_nats.max(error);
            assert!(error <= NATS_TOLERANCE, "{place}, log-softmax of target {i}: off by {error:.2e}");
        }
        // Long sequences once: the sums over fewer targets are those of the short ones.
        for from in 0..if tokens > 40 { 1 } else { sequence.targets.len() } {
            let targets = &sequence.targets[from..];
            let expected: f64 = sequence.log_softmax[from..].iter().sum();
            let scored = [Continuation { sequence: 0, targets }];
            let whole = decoder.unsplit(&sequence.ids, &packing, &scored).unwrap()[0];
            let error = (whole - expected).abs();
            worst_nats = worst_nats.max(error);
            assert!(error <= NATS_TOLERANCE, "{place}, log-likelihood of targets {from}..: off by {error:.2e}");
            for (&split, hidden) in splits.iter().zip(&after) {
                let cut = decoder.server(hidden.clone(), &packing, split, &scored).unwrap()[0];
                let layer = split.after_layer;
                assert_eq!(cut, whole, "{place}, targets {from}..: a cut after layer {layer} changes the score");
            }
        }
    }
    println!("{case}: layers {worst_row:.1e}, logits {worst_logits:.1e} (relative), {worst_nats:.1e} nats");
}

#[test]
fn llama_tied_grouped_queries() {
    compare("llama-tied-gqa");
}

#[test]
fn llama_untied_llama3_rope_own_head_dim() {
    compare("llama-untied-llama3");
}

#[test]
fn llama_multi_head() {
    compare("llama-mha");
}

#[test]
fn llama_multi_head_large_eps() {
    compare("llama-mha-large-eps");
}

#[test]
fn llama_rope_parameters_as_transformers_writes_them() {
    let config: Value = serde_json::from_str(&read(&case_folder("llama-rope-parameters").join("config.json"))).unwrap();
    assert!(config.get("rope_parameters").is_some() && config.get("rope_theta").is_none(), "{config}");
    compare("llama-rope-parameters");
}

#[test]
fn qwen2_tied_biases() {
    compare("qwen2-tied");
}

#[test]
fn qwen2_untied_shards() {
    compare("qwen2-untied-sharded");
}

#[test]
fn every_reference_case_is_compared() {
    let source = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decoder.rs"));
    let cases: Vec<_> = std::fs::read_dir(case_folder(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(cases.len() >= 7, "{cases:?}");
    for case in cases {
        assert!(source.contains(&format!("compare({case:?})")), "tests/reference/decoder/{case} is not compared");
    }
}

/// Of checkpoints.py: what transformers makes of a checkpoint that says one thing twice.
#[derive(Deserialize)]
struct Doubled {
    ids: Vec<u32>,
    cases: HashMap<String, DoubledCase>,
}

#[derive(Deserialize)]
struct DoubledCase {
    config: serde_json::Map<String, Value>,
    tensors: String,
    tied: bool,
    logits: Vec<f32>,
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// A copy of the case of `checkpoints.py` with its config.json and tensors.
fn doubled(config: &serde_json::Map<String, Value>, tensors: &str) -> TempDir {
    let folder = copy(SINGLE);
    let file = folder.path().join("config.json");
    let mut whole: serde_json::Map<String, Value> = serde_json::from_str(&read(&file)).unwrap();
    whole.extend(config.clone());
    whole.retain(|_, value| !value.is_null());
    std::fs::write(&file, Value::from(whole).to_string()).unwrap();
    edit_tensors(folder.path(), |all| {
        let embedding = all[EMBEDDING].clone();
        let (rows, columns) = embedding.dims2().unwrap();
        let value = |i: usize, j: usize| ((37 * i + 11 * j) % 17) as f32 / 8.0 - 1.0;
        let values: Vec<f32> = (0..rows * columns).map(|n| value(n / columns, n % columns)).collect();
        match tensors {
            "embedding" => {}
            "another head" => {
                all.insert(HEAD.into(), Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap());
            }
            "same head" => drop(all.insert(HEAD.into(), embedding)),
            "only head" => {
                all.remove(EMBEDDING);
                all.insert(HEAD.into(), embedding);
            }
            other => panic!("{other}"),
        }
    });
    folder
}

#[test]
fn a_checkpoint_that_says_one_thing_twice_is_read_as_transformers_reads_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/checkpoints.json");
    let expected: Doubled = serde_json::from_str(&read(&path)).unwrap();
    assert_eq!(expected.cases.len(), 10);
    for (name, case) in &expected.cases {
        let folder = doubled(&case.config, &case.tensors);
        let decoder = load(folder.path()).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        let packing = Arc::new(Packing::of([expected.ids.len()]));
        let last = (expected.ids.len() - 1) as u32;
        let hidden = decoder.run_to_rows(decoder.embed(&expected.ids).unwrap(), &packing, 0, &[last]).unwrap();
        let logits = rows(&decoder.logits(&hidden).unwrap());
        let error = relative_error(&logits[0], &case.logits);
        assert!(error <= ROW_TOLERANCE, "{name}: relative error {error:.2e}");
        assert_eq!(decoder.config().tie_word_embeddings, case.tied, "{name}");
        let (_, _, notes) = settled(folder.path()).unwrap();
        match name.as_str() {
            "tied, the head is another" => {
                assert_says(&notes.join("; "), &["tie_word_embeddings = true", HEAD, "used"])
            }
            _ => assert!(notes.is_empty(), "{name}: {notes:?}"),
        }
    }
}

#[test]
fn tensors_that_nothing_reads_are_named_once() {
    let folder = copy("llama-mha");
    edit_tensors(folder.path(), |all| {
        let one = Tensor::ones(8, DType::F32, &Device::Cpu).unwrap();
        for name in [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.layers.0.self_attn.q_norm.weight",
            "model.layers.2.self_attn.q_proj.bias",
            "model.layers.3.input_layernorm.weight",
            "model.layers.01.input_layernorm.weight",
            "value_head.weight",
        ] {
            all.insert(name.to_string(), one.clone());
        }
    });
    let (_, _, notes) = settled(folder.path()).unwrap();
    let [note] = &notes[..] else { panic!("{notes:?}") };
    let parts =
        ["read 5 of", "model.layers.0.self_attn.q_norm.weight", "model.layers.01.input_layernorm.weight", "2 more"];
    assert_says(note, &parts);
    assert!(!note.contains("inv_freq"), "{note}");
}

#[test]
fn of_two_tensors_with_one_name_neither_is_taken() {
    let folder = copy("qwen2-untied-sharded");
    let file = folder.path().join("model-00002-of-00002.safetensors");
    let other = candle_core::safetensors::load(folder.path().join("model-00001-of-00002.safetensors"), &Device::Cpu);
    let (name, tensor) = other.unwrap().into_iter().next().unwrap();
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    for (again, right) in [(tensor.clone(), true), (tensor.zeros_like().unwrap(), false)] {
        tensors.insert(name.clone(), again);
        std::fs::remove_file(&file).unwrap();
        candle_core::safetensors::save(&tensors, &file).unwrap();
        match right {
            true => drop(load(folder.path()).unwrap()),
            false => assert_says(&error_of(folder.path()), &[&name, "more than one of these files"]),
        }
    }
}

// Wrong checkpoints. Each must give an error that says what is wrong; a panic fails the test.

const SINGLE: &str = "llama-tied-gqa";
const UP: &str = "model.layers.1.mlp.up_proj.weight";

/// A copy of a case in a folder of its own.
fn copy(case: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(case_folder(case)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn error_of(folder: &Path) -> String {
    match load(folder) {
        Ok(_) => panic!("a wrong checkpoint was loaded"),
        Err(error) => format!("{error:#}"),
    }
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in: {message}");
    }
}

/// The error of a case whose tensors were edited.
fn error_with_tensors(case: &str, edit: impl FnOnce(&mut HashMap<String, Tensor>)) -> String {
    let folder = copy(case);
    edit_tensors(folder.path(), edit);
    error_of(folder.path())
}

fn edit_tensors(folder: &Path, edit: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let file = folder.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    edit(&mut tensors);
    std::fs::remove_file(&file).unwrap();
    candle_core::safetensors::save(&tensors, &file).unwrap();
}

#[test]
fn refuses_truncated_files() {
    let whole = std::fs::read(case_folder(SINGLE).join("model.safetensors")).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [0, 1, 7, 8, 9, 100, 8 + header - 1, 8 + header, whole.len() / 2, whole.len() - 1] {
        let folder = copy(SINGLE);
        std::fs::write(folder.path().join("model.safetensors"), &whole[..length]).unwrap();
        assert_says(&error_of(folder.path()), &["model.safetensors", "not a whole safetensors file"]);
    }
}

#[test]
fn refuses_files_that_are_not_safetensors() {
    let whole = std::fs::read(case_folder(SINGLE).join("model.safetensors")).unwrap();
    let longer = [whole.as_slice(), &[0; 4]].concat();
    let endless = [&[0xff; 8], &whole[8..]].concat();
    let page = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 0\n".to_vec();
    for bytes in [longer, endless, page, vec![0; 64]] {
        let folder = copy(SINGLE);
        std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        assert_says(&error_of(folder.path()), &["model.safetensors", "not a whole safetensors file"]);
    }
}

#[test]
fn refuses_missing_tensors() {
    for name in [UP, "model.embed_tokens.weight", "model.norm.weight", "model.layers.2.post_attention_layernorm.weight"]
    {
        let error = error_with_tensors(SINGLE, |t| assert!(t.remove(name).is_some()));
        assert_says(&error, &["model.safetensors", name]);
    }
    let error = error_with_tensors("llama-mha", |t| assert!(t.remove("lm_head.weight").is_some()));
    assert_says(&error, &["lm_head.weight", "[131, 32]"]);
    let bias = "model.layers.0.self_attn.k_proj.bias";
    let error = error_with_tensors("qwen2-tied", |t| assert!(t.remove(bias).is_some()));
    assert_says(&error, &[bias, "[8]"]);
}

#[test]
fn refuses_misshaped_tensors() {
    for (shape, found) in [(vec![44, 31], "[44, 31]"), (vec![32, 44], "[32, 44]"), (vec![44 * 32], "[1408]")] {
        let error = error_with_tensors(SINGLE, |t| {
            t.insert(UP.to_string(), Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap());
        });
        assert_says(&error, &["model.safetensors", UP, found, "[44, 32]"]);
    }
}

#[test]
fn refuses_values_that_are_not_finite() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = error_with_tensors(SINGLE, |t| {
            let mut values = vec![0.5f32; 44 * 32];
            values[700] = value;
            values[1407] = value;
            t.insert(UP.to_string(), Tensor::from_vec(values, (44, 32), &Device::Cpu).unwrap());
        });
        assert_says(&error, &["model.safetensors", UP, "2 values", "NaN or infinite"]);
    }
}

#[test]
fn refuses_integer_tensors() {
    for (dtype, named) in [(DType::I64, "I64"), (DType::U32, "U32"), (DType::U8, "U8")] {
        let error = error_with_tensors(SINGLE, |t| {
            t.insert(UP.to_string(), Tensor::ones((44, 32), dtype, &Device::Cpu).unwrap());
        });
        assert_says(&error, &["model.safetensors", UP, named, "only f16, bf16, f32 and f64"]);
    }
}

/// A copy of a checkpoint with its tensors in another type.
fn copy_as(dtype: DType) -> TempDir {
    let folder = copy(SINGLE);
    let file = folder.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    tensors.values_mut().for_each(|t| *t = t.to_dtype(dtype).unwrap());
    std::fs::remove_file(&file).unwrap();
    candle_core::safetensors::save(&tensors, &file).unwrap();
    folder
}

#[test]
fn a_bf16_checkpoint_kept_in_bf16_gives_the_bits_of_f32() {
    let folder = copy_as(DType::BF16);
    let ids: &[u32] = &[0, 130, 7, 7, 12];
    let scores = |dtype| {
        let decoder = load_as(folder.path(), dtype).unwrap();
        assert_eq!(decoder.dtype(), dtype);
        let packing = Arc::new(Packing::of([ids.len()]));
        let hidden = decoder.run_layers(decoder.embed(ids).unwrap(), &packing, 0..3).unwrap();
        (rows(&hidden), rows(&decoder.logits(&hidden).unwrap()))
    };
    assert_eq!(scores(DType::BF16), scores(DType::F32));
}

#[test]
fn reads_other_floats() {
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        let folder = copy_as(dtype);
        let ids: &[u32] = &[0, 130, 7, 7, 12];
        let after = |folder: &Path| {
            let packing = Arc::new(Packing::of([ids.len()]));
            rows(&load(folder).unwrap().client(ids, &packing, &[SplitPoint { after_layer: 3 }]).unwrap()[0])
        };
        let (found, whole) = (after(folder.path()), after(&case_folder(SINGLE)));
        let limit = if dtype == DType::F64 { 0.0 } else { 0.1 };
        for (found, whole) in found.iter().zip(&whole) {
            let error = relative_error(found, whole);
            assert!(error <= limit, "{dtype:?}: relative error {error:.2e}");
        }
    }
}

#[test]
fn refuses_incomplete_shards() {
    let case = "qwen2-untied-sharded";
    let shard = "model-00002-of-00002.safetensors";
    let folder = copy(case);
    std::fs::remove_file(folder.path().join(shard)).unwrap();
    assert_says(&error_of(folder.path()), &["model.safetensors.index.json", shard, "missing"]);

    let folder = copy(case);
    let bytes = std::fs::read(folder.path().join(shard)).unwrap();
    std::fs::write(folder.path().join(shard), &bytes[..bytes.len() - 4]).unwrap();
    assert_says(&error_of(folder.path()), &[shard, "not a whole safetensors file"]);

    let folder = copy(case);
    let index = folder.path().join("model.safetensors.index.json");
    for text in ["", "{", "[]", "{}", r#"{"weight_map":{}}"#, r#"{"weight_map":[]}"#, r#"{"weight_map":{"a":1}}"#] {
        std::fs::write(&index, text).unwrap();
        assert_says(&error_of(folder.path()), &["model.safetensors.index.json"]);
    }
    // An index of one shard only: the tensors of the other are missing by name.
    std::fs::write(&index, r#"{"weight_map":{"a":"model-00001-of-00002.safetensors"}}"#).unwrap();
    assert_says(&error_of(folder.path()), &["cannot read tensor model."]);
    std::fs::remove_file(&index).unwrap();
    assert_says(&error_of(folder.path()), &["neither model.safetensors nor model.safetensors.index.json"]);
}

#[test]
fn refuses_configs_by_name() {
    let llama = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
    let cases = [
        ("architectures", json!(["MistralForCausalLM"]), "MistralForCausalLM"),
        ("architectures", json!("LlamaForCausalLM"), "not a decoder's config.json"),
        ("hidden_act", json!("gelu"), "gelu"),
        ("hidden_size", json!(0), "hidden_size is 0"),
        ("hidden_size", json!(-32), "not a decoder's config.json"),
        ("hidden_size", json!(1u64 << 40), "hidden_size is 1099511627776, more than the 1048576"),
        ("num_hidden_layers", json!(1u64 << 60), "num_hidden_layers is"),
        ("vocab_size", json!(1u64 << 60), "vocab_size is"),
        ("max_position_embeddings", json!(0), "max_position_embeddings is 0"),
        ("hidden_size", json!(33), "hidden_size 33"),
        ("hidden_size", json!(8), "head_dim 1"),
        ("hidden_size", json!("32"), "not a decoder's config.json"),
        ("hidden_size", Value::Null, "hidden_size"),
        ("vocab_size", json!(0), "vocab_size is 0"),
        ("vocab_size", json!(1.5), "not a decoder's config.json"),
        ("intermediate_size", json!(0), "intermediate_size is 0"),
        ("num_hidden_layers", json!(0), "num_hidden_layers is 0"),
        ("num_attention_heads", json!(0), "num_attention_heads is 0"),
        ("num_attention_heads", Value::Null, "num_attention_heads"),
        ("num_key_value_heads", json!(0), "num_key_value_heads is 0"),
        ("num_key_value_heads", json!(3), "8 attention heads do not divide into 3"),
        ("num_key_value_heads", json!(16), "8 attention heads do not divide into 16"),
        ("head_dim", json!(5), "head_dim 5"),
        ("head_dim", json!(0), "head_dim 0"),
        ("rope_theta", json!(0.0), "rope_theta 0"),
        ("rope_theta", json!(-1.0), "rope_theta -1"),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0}), "linear"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 2.0}), "yarn"),
        ("rope_scaling", llama.clone(), "original_max_position_embeddings"),
        ("rope_parameters", llama, "original_max_position_embeddings"),
        ("attention_bias", json!(true), "attention_bias"),
        ("mlp_bias", json!(true), "mlp_bias"),
        ("use_sliding_window", json!(true), "use_sliding_window"),
        ("quantization_config", json!({"bits": 4}), "quantised"),
        ("architectures", json!(["LlamaForCausalLM", "Qwen2ForCausalLM"]), "disagree"),
        ("model_type", json!("qwen2"), "disagree"),
        ("model_type", json!("mistral"), "mistral"),
        ("rope_scaling", json!("llama3"), "must be an object"),
        ("rope_scaling", json!({"rope_type": 3}), "rope_type must be a text"),
        ("rope_scaling", json!({"factor": 4.0}), "factor = 4.0 means nothing"),
        ("rope_scaling", json!({"rope_type": "default", "type": "linear"}), "disagree"),
        (
            "rope_parameters",
            json!({"rope_theta": 1e6}),
            "rope_theta 10000 and rope_parameters.rope_theta 1000000 disagree",
        ),
        ("rope_parameters", json!({"rope_theta": "1e4"}), "rope_theta must be a number"),
        (
            "rope_parameters",
            json!({"rope_type": "default", "partial_rotary_factor": 0.5}),
            "partial_rotary_factor = 0.5",
        ),
        ("rope_parameters", json!({"full_attention": {"rope_type": "default", "rope_theta": 1e6}}), "full_attention"),
        ("rope_parameters", json!({"full_attention": {}, "sliding_attention": {}}), "nested"),
        ("partial_rotary_factor", json!(0.5), "partial_rotary_factor = 0.5"),
        ("sliding_window", json!(8), "sliding_window = 8"),
        ("layer_types", json!(["full_attention", "sliding_attention", "full_attention"]), "sliding_attention"),
        ("logit_scale", json!(0.0625), "logit_scale = 0.0625"),
        ("logits_scaling", json!(8.0), "logits_scaling"),
        ("attention_multiplier", json!(0.015625), "attention_multiplier"),
        ("embedding_multiplier", json!(12.0), "embedding_multiplier"),
        ("residual_multiplier", json!(0.22), "residual_multiplier"),
        ("scale_emb", json!(12), "scale_emb"),
        ("final_logit_softcapping", json!(30.0), "final_logit_softcapping"),
        ("attn_logit_softcapping", json!(50.0), "attn_logit_softcapping"),
        ("query_pre_attn_scalar", json!(256), "query_pre_attn_scalar"),
        ("attention_chunk_size", json!(8192), "attention_chunk_size"),
        ("no_rope_layers", json!([1, 0, 1]), "no_rope_layers"),
        ("rope_interleaved", json!(true), "rope_interleaved"),
        ("use_qk_norm", json!(true), "use_qk_norm"),
        ("layer_norm_eps", json!(1e-3), "layer_norm_eps"),
        ("hidden_activation", json!("gelu_pytorch_tanh"), "hidden_activation"),
        ("clip_qkv", json!(8.0), "clip_qkv"),
        ("num_local_experts", json!(8), "num_local_experts"),
        ("compression_config", json!({"format": "pack-quantized"}), "compression_config"),
    ];
    let text = read(&case_folder(SINGLE).join("config.json"));
    for (field, value, expected) in cases {
        let mut config: Value = serde_json::from_str(&text).unwrap();
        // Null: the field is left out.
        match value.is_null() {
            true => drop(config.as_object_mut().unwrap().remove(field)),
            false => config[field] = value.clone(),
        }
        match Config::parse(&config.to_string(), "some/config.json") {
            Ok(_) => panic!("{field} = {value} was accepted"),
            Err(error) => assert_says(&format!("{error:#}"), &["some/config.json", expected]),
        }
    }
    // The two forms of rope beside each other, of which one once won without a word.
    for (new, old) in [
        (json!({"rope_type": "default", "rope_theta": 10000.0}), json!({"rope_type": "yarn", "factor": 4.0})),
        (json!({"rope_type": "default", "rope_theta": 10000.0}), llama3(8.0)),
        (llama3(8.0), json!({"rope_type": "default"})),
        (llama3(8.0), llama3(16.0)),
    ] {
        let mut config: Value = serde_json::from_str(&text).unwrap();
        (config["rope_parameters"], config["rope_scaling"]) = (new, old.clone());
        let error = format!("{:#}", Config::parse(&config.to_string(), "some/config.json").unwrap_err());
        match old["rope_type"].as_str() {
            Some("yarn") => assert_says(&error, &["some/config.json", "rope_scaling", "yarn"]),
            _ => assert_says(&error, &["some/config.json", "rope_parameters {", "rope_scaling {", "disagree"]),
        }
    }
    // A theta inside one table only: transformers takes 10000 then, since it drops rope_parameters.
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config.as_object_mut().unwrap().remove("rope_theta");
    (config["rope_parameters"], config["rope_scaling"]) = (llama3(8.0), llama3(8.0));
    config["rope_parameters"]["rope_theta"] = json!(5e5);
    assert_says(&format!("{:#}", Config::parse(&config.to_string(), "x").unwrap_err()), &["disagree", "10000"]);
    for text in ["", "{", "[]", "null", "{}"] {
        let error = format!("{:#}", Config::parse(text, "some/config.json").unwrap_err());
        assert_says(&error, &["some/config.json", "not a decoder's config.json"]);
    }
}

fn llama3(factor: f64) -> Value {
    json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512})
}

/// What config.json files of these families hold beside what is read, and what changes nothing.
#[test]
fn keys_that_change_nothing_are_no_hindrance() {
    for (case, keys) in [
        (
            SINGLE,
            json!({"rope_interleaved": false, "is_llama_config": true, "pretraining_tp": 1, "initializer_range": 0.02,
            "attention_dropout": 0.0, "use_cache": true, "logits_scaling": 1.0, "final_logit_softcapping": null,
            "num_experts": 0, "partial_rotary_factor": 1.0, "layer_types": ["full_attention", "full_attention", "full_attention"], "sliding_window": null,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "transformers_version": "5.0", "quantization_config": null, "use_sliding_window": null}),
        ),
        (
            "qwen2-tied",
            json!({"use_mrope": false, "sliding_window": 8, "use_sliding_window": false, "max_window_layers": 2,
            "attention_dropout": 0.0}),
        ),
    ] {
        let mut config: Value = serde_json::from_str(&read(&case_folder(case).join("config.json"))).unwrap();
        let before = Config::parse(&config.to_string(), "x").unwrap();
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        assert_eq!(Config::parse(&config.to_string(), "x").unwrap(), before);
        assert_eq!(Config::unread_keys(&config.to_string()), [] as [&str; 0]);
        config["some_new_switch"] = json!(true);
        config["rms_norm_epsilon"] = json!(before.rms_norm_eps);
        assert_eq!(Config::parse(&config.to_string(), "x").unwrap(), before);
        assert_eq!(Config::unread_keys(&config.to_string()), ["some_new_switch", "rms_norm_epsilon"]);
    }
}

/// A config.json that is sound by itself but belongs to other weights.
#[test]
fn refuses_configs_of_other_weights() {
    for (field, value, expected) in [
        ("num_hidden_layers", json!(4), "model.layers.3.self_attn.q_proj.weight"),
        ("num_hidden_layers", json!(1 << 14), "model.layers.3.self_attn.q_proj.weight"),
        ("vocab_size", json!(132), "[132, 32]"),
        ("vocab_size", json!(1 << 24), "model.embed_tokens.weight"),
        ("intermediate_size", json!(48), "[48, 32]"),
        ("num_key_value_heads", json!(4), "model.layers.0.self_attn.k_proj.weight"),
        ("head_dim", json!(8), "[64, 32]"),
        ("tie_word_embeddings", json!(false), "lm_head.weight"),
    ] {
        let folder = copy(SINGLE);
        let file = folder.path().join("config.json");
        let mut config: Value = serde_json::from_str(&read(&file)).unwrap();
        config[field] = value;
        std::fs::write(&file, config.to_string()).unwrap();
        assert_says(&error_of(folder.path()), &["model.safetensors", expected]);
    }
}
