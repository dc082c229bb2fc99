//! The same bits as from safetensors, and the values that the Python package gguf reads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use splitbench::model::config::{Family, RopeScaling};
use splitbench::model::gguf::{GgufModel, TensorType};
use splitbench::model::rope::inverse_frequencies;
use splitbench::model::weights::{Weights, weight_files};
use splitbench::model::{Config, Decoder, DecoderPart, Packing};

use crate::writer::{GgufFile, GgufTensor};
use crate::{bits, decoder, made, open, reference};

/// The residual stream after every layer, and the logits, of some ids.
fn scores(decoder: &Decoder) -> Vec<Vec<u32>> {
    let ids: Vec<u32> = (0..70).map(|i| i * 37 % 131).collect();
    let packing = Arc::new(Packing::of([ids.len()]));
    let mut hidden = decoder.embed(&ids).unwrap();
    let mut out = vec![bits(&hidden)];
    for layer in 0..decoder.config().num_hidden_layers {
        hidden = decoder.run_layers(hidden, &packing, layer..layer + 1).unwrap();
        out.push(bits(&hidden));
    }
    out.push(bits(&decoder.logits(&hidden).unwrap()));
    out
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    weight_files(|file| Some(folder.join(file)).filter(|p| p.is_file()), "checkpoint").unwrap()
}

fn config_of(folder: &Path) -> Config {
    Config::parse(&std::fs::read_to_string(folder.join("config.json")).unwrap(), "config.json").unwrap()
}

/// The decoder of a checkpoint folder; `config` may have other frequencies of the same rotation.
fn of_safetensors(folder: &Path, config: &Config, dtype: DType) -> Decoder {
    let weights = Weights::open(&files_of(folder)).unwrap();
    Decoder::new(config, &Device::Cpu, DecoderPart::Whole, |name, shape| {
        weights.get(name, shape, if shape.len() > 1 { dtype } else { DType::F32 }, &Device::Cpu)
    })
    .unwrap()
}

fn assert_same(gguf: &GgufModel, folder: &Path) {
    let (config, other) = (gguf.config().unwrap(), config_of(folder));
    let same = Config { rope_scaling: other.rope_scaling.clone(), rms_norm_eps: other.rms_norm_eps, ..config.clone() };
    assert_eq!(same, other);
    assert_eq!(config.rms_norm_eps as f32, other.rms_norm_eps as f32);
    // A file holds the stretching of frequencies rounded to f32, so that the last bit may differ; all others are the same.
    for (a, b) in inverse_frequencies(&config).iter().zip(inverse_frequencies(&other)) {
        assert!(a.to_bits().abs_diff(b.to_bits()) <= 1, "{a} and {b}");
    }
    let exact = inverse_frequencies(&config) == inverse_frequencies(&other);
    assert!(exact || matches!(other.rope_scaling, RopeScaling::Llama3 { .. }));
    let reference = if exact { &other } else { &config };
    for dtype in [DType::F32, DType::BF16] {
        let (found, expected) =
            (scores(&decoder(gguf, &config, dtype).unwrap()), scores(&of_safetensors(folder, reference, dtype)));
        assert!(found == expected, "{}: {dtype:?} scores differ", folder.display());
    }
    println!("{}: frequencies {}", folder.display(), if exact { "equal" } else { "a bit apart" });
}

#[test]
fn f32_files_of_the_python_package_give_the_bits_of_their_safetensors() {
    for (file, folder) in [
        ("llama.gguf", "loglik/llama"),
        ("qwen2.gguf", "loglik/qwen2"),
        ("llama-untied-llama3.gguf", "decoder/llama-untied-llama3"),
    ] {
        assert_same(&open(&made(file)).unwrap(), &reference(folder));
    }
    let parts = [1, 2].map(|i| made(&format!("qwen2-untied-sharded-0000{i}-of-00002.gguf")));
    assert_same(&GgufModel::open(&parts).unwrap(), &reference("decoder/qwen2-untied-sharded"));
}

/// A checkpoint folder as an F32 file, as llama.cpp's converter writes it.
pub fn converted(folder: &Path) -> GgufFile {
    let config = config_of(folder);
    let arch = if config.family == Family::Llama { "llama" } else { "qwen2" };
    let mut out = GgufFile::new();
    out.text("general.architecture", arch);
    for (key, value) in [
        ("block_count", config.num_hidden_layers),
        ("context_length", config.max_position_embeddings),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
    ] {
        out.count(&format!("{arch}.{key}"), value);
    }
    out.number(&format!("{arch}.attention.layer_norm_rms_epsilon"), config.rms_norm_eps);
    out.number(&format!("{arch}.rope.freq_base"), config.rope_theta);
    let tokens: Vec<String> = (0..config.vocab_size).map(|i| format!("t{i}")).collect();
    out.texts("tokenizer.ggml.tokens", &tokens.iter().map(String::as_str).collect::<Vec<_>>());
    if let RopeScaling::Llama3 { .. } = config.rope_scaling {
        let plain = inverse_frequencies(&Config { rope_scaling: RopeScaling::None, ..config.clone() });
        let factors: Vec<f32> = plain.iter().zip(inverse_frequencies(&config)).map(|(p, s)| p / s).collect();
        out.tensors.push(GgufTensor::f32("rope_freqs.weight", &[factors.len()], &factors));
    }
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    files_of(folder)
        .iter()
        .for_each(|file| tensors.extend(candle_core::safetensors::load(file, &Device::Cpu).unwrap()));
    let mut names: Vec<_> = tensors.keys().cloned().collect();
    names.sort();
    for name in names {
        let tensor = &tensors[&name];
        let heads = match name.split('.').nth(4) {
            Some("q_proj") => Some(config.num_attention_heads),
            Some("k_proj") => Some(config.num_key_value_heads),
            _ => None,
        };
        let mut written = tensor.clone();
        if let (Some(heads), true) = (heads.filter(|_| config.family == Family::Llama), tensor.rank() == 2) {
            let (rows, columns) = tensor.dims2().unwrap();
            let halves = tensor.reshape((heads, 2, rows / heads / 2, columns)).unwrap();
            written = halves.transpose(1, 2).unwrap().contiguous().unwrap();
        }
        let values: Vec<f32> = written.flatten_all().unwrap().to_vec1().unwrap();
        let own = [
            ("model.embed_tokens", "token_embd"),
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
            ("model.layers", "blk"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.", "attn_"),
            ("mlp.", "ffn_"),
            ("_proj", ""),
        ];
        let own = own.iter().fold(name, |name, (from, to)| name.replace(from, to));
        out.tensors.push(GgufTensor::f32(&own, tensor.dims(), &values));
    }
    out
}

#[test]
fn every_reference_checkpoint_gives_the_same_bits_as_an_f32_file() {
    let cases = ["decoder", "loglik"].map(|kind| std::fs::read_dir(reference(kind)).unwrap());
    let folders: Vec<PathBuf> = cases.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert!(folders.len() >= 9, "{folders:?}");
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model.gguf");
    for folder in folders {
        std::fs::write(&path, converted(&folder).bytes()).unwrap();
        assert_same(&open(&path).unwrap(), &folder);
    }
}

#[test]
fn every_type_is_dequantised_as_the_python_package_does_it() {
    let model = open(&made("types.gguf")).unwrap();
    for kind in TensorType::ALL {
        let values = |name: &str| model.values(name, &[3, 256]).unwrap();
        let (found, expected) = (values(&kind.name()), values(&format!("{}.f32", kind.name())));
        let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 0, "{}: {differ} of {} values differ", kind.name(), found.len());
    }
}

#[test]
fn types_have_the_numbers_and_sizes_of_ggml() {
    let numbers = [0, 1, 30, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14];
    let sizes = [4, 2, 2, 18, 20, 22, 24, 34, 84, 110, 144, 176, 210];
    for ((kind, number), size) in TensorType::ALL.into_iter().zip(numbers).zip(sizes) {
        assert_eq!((TensorType::from_number(number).unwrap(), kind.block_bytes()), (kind, size));
    }
    for (number, name) in
        [(20, "IQ4_NL"), (9, "Q8_1"), (39, "MXFP4"), (4, "number 4"), (4_000_000_000, "number 4000000000")]
    {
        let error = TensorType::from_number(number).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("Q4_K, Q5_K, Q6_K"), "{error}");
    }
}
