//! GGUF files as models: against safetensors, the Python package gguf and reference tokenizers (`tests/reference/gguf_files.py`), what
//! wrong files are told, every command, and real files where they are at hand.

mod commands;
mod parity;
mod real_files;
mod refused;
mod tokenizers;
mod writer;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use splitbench::model::gguf::GgufModel;
use splitbench::model::{Config, Decoder, DecoderPart};

/// A path inside `tests/reference`.
fn reference(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(path)
}

/// A file that `gguf_files.py` wrote.
fn made(name: &str) -> PathBuf {
    reference("gguf").join(name)
}

fn open(path: &Path) -> anyhow::Result<GgufModel> {
    GgufModel::open(&[path.to_path_buf()])
}

/// The decoder of a GGUF model.
fn decoder(model: &GgufModel, config: &Config, dtype: DType) -> anyhow::Result<Decoder> {
    Decoder::new(config, &Device::Cpu, DecoderPart::Whole, |name, shape| {
        let dtype = if shape.len() > 1 { dtype } else { DType::F32 };
        model.tensor(config, name, shape, dtype, &Device::Cpu)
    })
}

/// The bits of a tensor.
fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}
