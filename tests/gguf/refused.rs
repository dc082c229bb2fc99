//! Wrong files. Each must give an error that names the file, what is wrong and what to do.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::DType;
use splitbench::model::gguf::GgufModel;
use splitbench::model::source;

use crate::parity::converted;
use crate::writer::{GgufFile, GgufTensor};
use crate::{decoder, reference};

fn llama() -> GgufFile {
    converted(&reference("decoder/llama-tied-gqa"))
}

fn load(path: &Path) -> Result<()> {
    let model = GgufModel::open(&[path.to_path_buf()])?;
    decoder(&model, &model.config()?, DType::F32).map(drop)
}

fn refused(bytes: &[u8], expected: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("wrong.gguf");
    std::fs::write(&path, bytes).unwrap();
    let error = format!("{:#}", load(&path).expect_err("a wrong file was loaded"));
    for part in ["wrong.gguf"].iter().chain(expected) {
        assert!(error.contains(part), "expected {part:?} in: {error}");
    }
}

fn edited(edit: impl FnOnce(&mut GgufFile)) -> Vec<u8> {
    let mut file = llama();
    edit(&mut file);
    file.bytes()
}

#[test]
fn other_files_and_versions() {
    refused(b"", &["cut short"]);
    refused(b"GGUF", &["cut short"]);
    refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", &["no GGUF file"]);
    for (version, expected) in [(1u32, "version 1"), (4, "version 4"), (3u32.swap_bytes(), "big-endian")] {
        refused(&edited(|f| f.version = version), &[expected]);
    }
    refused(&edited(|f| f.magic = *b"GGML"), &["no GGUF file"]);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("two.gguf");
    std::fs::write(&path, edited(|f| f.version = 2)).unwrap();
    load(&path).unwrap();
}

#[test]
fn files_that_were_cut_short() {
    let whole = llama().bytes();
    for length in [8, 20, 24, 30, 200, 2000, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..length], &["cut short", "fetch it again"]);
    }
}

#[test]
fn claims_that_no_file_can_hold() {
    let whole = llama().bytes();
    let with = |at: usize, value: u64| {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    refused(&with(8, u64::MAX), &["claims", "tensors"]);
    refused(&with(16, u64::MAX), &["claims", "keys"]);
    refused(&with(8, 60_000), &[]);
    refused(&with(24, u64::MAX), &["the name of a key", "claims"]);
    let array = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    refused(&edited(|f| f.raw("general.tags", 9, array(8, u64::MAX))), &["general.tags", "claims"]);
    refused(&edited(|f| f.raw("zz", 9, array(0, 1 << 20))), &["zz", "cut short"]);
    refused(&edited(|f| f.raw("zz", 9, array(9, 1))), &["zz", "arrays of arrays"]);
    refused(&edited(|f| f.raw("zz", 9, array(77, 1))), &["zz", "77"]);
    refused(&edited(|f| f.raw("zz", 13, vec![0; 8])), &["zz", "13"]);
    refused(&edited(|f| f.raw("zz", 7, vec![2])), &["zz", "boolean"]);
    refused(&edited(|f| f.raw("zz", 8, (1u64 << 40).to_le_bytes().to_vec())), &["zz", "claims"]);
    for alignment in [0, 24, 1 << 30] {
        refused(&edited(|f| f.count("general.alignment", alignment)), &["general.alignment", "power of two"]);
    }
}

#[test]
fn tensors_that_are_not_what_the_metadata_asks_for() {
    const UP: &str = "blk.1.ffn_up.weight";
    for name in [UP, "token_embd.weight", "output_norm.weight", "blk.2.ffn_norm.weight"] {
        refused(&edited(|f| f.tensors.retain(|t| t.name != name)), &[name, "missing"]);
    }
    refused(&edited(|f| f.tensor(UP).shape = vec![32, 44]), &[UP, "[32, 44]", "[44, 32]"]);
    refused(&edited(|f| f.tensor(UP).shape = vec![44 * 32]), &[UP, "[1408]", "[44, 32]"]);
    refused(&edited(|f| f.tensor(UP).shape = vec![]), &[UP, "0 dimensions"]);
    refused(&edited(|f| f.tensor(UP).shape = vec![1; 5]), &[UP, "5 dimensions"]);
    refused(&edited(|f| f.tensor(UP).shape = vec![0, 32]), &[UP, "no size of a tensor"]);
    refused(&edited(|f| f.tensor(UP).shape = vec![1 << 40, 1 << 40]), &[UP, "no size of a tensor"]);
    refused(&edited(|f| f.tensor(UP).shape = vec![1 << 30, 32]), &["offset", "expected"]);
    refused(&edited(|f| f.tensors.last_mut().unwrap().shape[0] = 1 << 40), &["cut short"]);
    refused(&edited(|f| f.tensor(UP).offset = Some(u64::MAX)), &[UP, "offset"]);
    refused(&edited(|f| f.tensor(UP).offset = Some(1 << 40)), &[UP, "offset"]);
    refused(&edited(|f| f.tensor(UP).offset = Some(0)), &[UP, "offset 0"]);
    refused(&edited(|f| f.tensor(UP).kind = 23), &[UP, "IQ4_XS", "another quantisation"]);
    refused(&edited(|f| f.tensor(UP).kind = 9), &[UP, "Q8_1"]);
    refused(&edited(|f| f.tensor("blk.1.ffn_down.weight").kind = 2), &["blk.1.ffn_down.weight", "44", "blocks of 32"]);
    refused(&edited(|f| f.tensors.push(GgufTensor::f32(UP, &[1], &[1.0]))), &[UP, "twice"]);
    refused(&edited(|f| f.tensor(UP).data[8..12].copy_from_slice(&f32::NAN.to_le_bytes())), &[UP, "1 values", "NaN"]);
    // What the decoder would leave out.
    for name in [
        "blk.1.attn_q.bias",
        "blk.0.ffn_gate_inp.weight",
        "blk.3.ffn_up.weight",
        "rope_factors_long.weight",
        "blk.01.ffn_up.weight",
    ] {
        refused(&edited(|f| f.tensors.push(GgufTensor::f32(name, &[32], &[0.0; 32]))), &[name, "no place"]);
    }
    refused(
        &edited(|f| f.tensors.push(GgufTensor::f32("rope_freqs.weight", &[3], &[1.0; 3]))),
        &["rope_freqs.weight", "[3]", "[2]"],
    );
    refused(
        &edited(|f| f.tensors.push(GgufTensor::f32("rope_freqs.weight", &[2], &[0.0; 2]))),
        &["rope_freqs.weight", "above 0"],
    );
}

#[test]
fn metadata_that_the_decoder_cannot_follow() {
    type Edit = fn(&mut GgufFile);
    let cases: [(Edit, &[&str]); 20] = [
        (|f| f.text("general.architecture", "gemma3"), &["gemma3", "\"llama\" and \"qwen2\""]),
        (|f| f.count("general.architecture", 3), &["general.architecture", "string"]),
        (|f| drop(f.keys.remove("general.architecture")), &["general.architecture is missing"]),
        (|f| drop(f.keys.remove("llama.block_count")), &["llama.block_count is missing"]),
        (|f| drop(f.keys.remove("llama.attention.layer_norm_rms_epsilon")), &["layer_norm_rms_epsilon is missing"]),
        (|f| f.text("llama.block_count", "3"), &["llama.block_count", "integer"]),
        (|f| f.raw("llama.block_count", 5, (-3i32).to_le_bytes().to_vec()), &["llama.block_count", "no less than 0"]),
        (|f| f.count("llama.block_count", 4), &["blk.3", "missing"]),
        (|f| f.count("llama.block_count", 2), &["blk.2", "no place"]),
        (|f| f.count("llama.attention.head_count", 0), &["head"]),
        (|f| f.numbers("llama.attention.head_count_kv", &[2, 2, 1]), &["head_count_kv", "layers that differ"]),
        (|f| f.count("llama.attention.value_length", 8), &["value_length is 8"]),
        (|f| f.count("llama.rope.dimension_count", 2), &["dimension_count is 2"]),
        (|f| f.text("llama.rope.scaling.type", "yarn"), &["yarn", "rope_freqs.weight"]),
        (|f| f.number("llama.rope.scaling.factor", 4.0), &["rope.scaling.factor"]),
        (|f| f.count("llama.expert_count", 8), &["llama.expert_count is 8"]),
        (|f| f.texts("tokenizer.ggml.tokens", &["a"]), &["vocabulary does not fit", "131 rows", "1 tokens"]),
        (|f| f.number("llama.attention.layer_norm_rms_epsilon", f64::NAN), &["layer_norm_rms_epsilon", "finite"]),
        (|f| f.number("llama.rope.freq_base", 0.0), &["rope_theta 0"]),
        (|f| f.number("llama.rope.freq_base", f64::NAN), &["rope.freq_base", "finite"]),
    ];
    for (edit, expected) in cases {
        refused(&edited(edit), expected);
    }
    let uniform = edited(|f| f.numbers("llama.attention.head_count_kv", &[2, 2, 2]));
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("uniform.gguf");
    std::fs::write(&path, uniform).unwrap();
    load(&path).unwrap();
}

/// A file in parts, each with its tensors and what it says of the split.
fn parts(place: &Path, edit: impl Fn(usize, &mut GgufFile)) -> Vec<PathBuf> {
    let whole = llama();
    let middle = whole.tensors.len() / 2;
    let write = |number: usize| {
        let mut part = if number == 0 { whole.clone() } else { GgufFile::new() };
        part.tensors = if number == 0 { whole.tensors[..middle].to_vec() } else { whole.tensors[middle..].to_vec() };
        part.count("split.no", number);
        part.count("split.count", 2);
        part.count("split.tensors.count", whole.tensors.len());
        edit(number, &mut part);
        let path = place.join(format!("m-0000{}-of-00002.gguf", number + 1));
        std::fs::write(&path, part.bytes()).unwrap();
        path
    };
    [0, 1].map(write).to_vec()
}

#[test]
fn split_files_belong_together() {
    let place = tempfile::tempdir().unwrap();
    let error = |edit: fn(usize, &mut GgufFile)| match GgufModel::open(&parts(place.path(), edit)) {
        Ok(_) => panic!("wrong parts were opened"),
        Err(error) => format!("{error:#}"),
    };
    let whole = GgufModel::open(&parts(place.path(), |_, _| ())).unwrap();
    decoder(&whole, &whole.config().unwrap(), DType::F32).unwrap();
    // Any of its parts names the model, and so does the folder.
    let of = |name: &str| source::load_config(place.path().join(name).to_str().unwrap());
    assert_eq!(of("m-00002-of-00002.gguf").unwrap(), of("").unwrap());
    let twice = |number: usize, f: &mut GgufFile| {
        if number == 1 {
            f.tensors.push(llama().tensors[0].clone());
        }
    };
    assert!(error(twice).contains("is in part 1 as well"), "{}", error(twice));
    let swapped = error(|number, f| f.count("split.no", 1 - number));
    assert!(swapped.contains("m-00001-of-00002.gguf") && swapped.contains("part 2"), "{swapped}");
    assert!(error(|_, f| f.count("split.count", 3)).contains("a part of 3"));
    assert!(error(|_, f| f.count("split.tensors.count", 99)).contains("99"));
    std::fs::remove_file(place.path().join("m-00001-of-00002.gguf")).unwrap();
    let missing = format!("{:#}", of("m-00002-of-00002.gguf").unwrap_err());
    assert!(missing.contains("part 1 of 2 is missing"), "{missing}");
    let alone = format!("{:#}", load(&place.path().join("m-00002-of-00002.gguf")).unwrap_err());
    assert!(alone.contains("a part of 2"), "{alone}");
}
