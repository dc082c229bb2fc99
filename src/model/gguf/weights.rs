//! The decoder's tensors from GGUF files: renamed, dequantised, and with the rows in Hugging Face's order.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, WithDType};
use half::bf16;
use rayon::prelude::*;

use super::header::TensorInfo;
use super::open::GgufModel;
use crate::model::Config;
use crate::model::config::Family;

/// Hugging Face's name of what stands outside the layers, and GGUF's.
const OUTSIDE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// The same in a layer, behind `model.layers.N.` and `blk.N.`.
const LAYER: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Divisors of the rotary frequencies.
const FACTORS: &str = "rope_freqs.weight";

/// Values that a thread reads at a time: some hundred KB.
const PIECE: usize = 1 << 16;

impl GgufModel {
    /// Fails where the files hold a tensor that the decoder would leave out: its scores would be those of another model.
    pub(super) fn check_tensors(&self, config: &Config) -> Result<()> {
        let layers = config.num_hidden_layers;
        let in_layer = |name: &str| -> Option<()> {
            let (number, rest) = name.strip_prefix("blk.")?.split_once('.')?;
            let number: usize = number.parse().ok().filter(|number| *number < layers)?;
            let (module, kind) = rest.split_once('.')?;
            let biased = config.qkv_bias && ["attn_q", "attn_k", "attn_v"].contains(&module);
            let known = LAYER.iter().any(|(_, own)| *own == module) && (kind == "weight" || (kind == "bias" && biased));
            (known && name == format!("blk.{number}.{rest}")).then_some(())
        };
        let mut strange: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        strange
            .retain(|name| *name != FACTORS && OUTSIDE.iter().all(|(_, own)| own != name) && in_layer(name).is_none());
        strange.sort_unstable();
        ensure!(
            strange.is_empty(),
            "the decoder of {layers} layers has no place for tensor {}{}; without it the scores would be another model's",
            strange[0],
            if strange.len() > 1 { format!(" and {} more", strange.len() - 1) } else { String::new() }
        );
        Ok(())
    }

    /// The tensor that Hugging Face calls `name`, which must have `shape` and only finite values, in `dtype`.
    pub fn tensor(
        &self,
        config: &Config,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let own = own_name(name).with_context(|| format!("tensor {name} has no name in GGUF"))?;
        let info = self.info(&own, shape)?;
        // llama.cpp's converter interleaves the halves of each head of `llama`, whose rotation then takes neighbours.
        let rotated = own.ends_with("attn_q.weight") || own.ends_with("attn_k.weight");
        let head = (config.family == Family::Llama && rotated).then_some(config.head_dim);
        let tensor = match dtype {
            DType::BF16 => Tensor::from_vec(self.load(info, head, bf16::from_f32)?, shape, &Device::Cpu)?,
            _ => Tensor::from_vec(self.load(info, head, |value| value)?, shape, &Device::Cpu)?.to_dtype(dtype)?,
        };
        Ok(tensor.to_device(device)?)
    }

    /// The values of the tensor that GGUF calls `name`.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.load(self.info(name, shape)?, None, |value| value)
    }

    fn info(&self, name: &str, shape: &[usize]) -> Result<&(usize, TensorInfo)> {
        let info = self.tensors.get(name);
        let info = info.with_context(|| {
            format!("{}: tensor {name} is missing, expected shape {shape:?}; fetch the file again", self.origin)
        })?;
        ensure!(
            info.1.shape == shape,
            "{}: tensor {name} has shape {:?}, the metadata asks for {shape:?}",
            self.origin,
            info.1.shape
        );
        Ok(info)
    }

    /// Reads and dequantises in parallel. With `head` the rows of each head of so many come in pairs, the first of one half
    /// and the first of the other, and are put back.
    fn load<T: WithDType>(
        &self,
        (file, info): &(usize, TensorInfo),
        head: Option<usize>,
        convert: impl Fn(f32) -> T + Sync,
    ) -> Result<Vec<T>> {
        let (path, file) = &self.files[*file];
        let columns = info.shape[info.shape.len() - 1];
        let rows = head.unwrap_or((PIECE / columns).max(1));
        let piece_bytes = rows * columns / info.kind.block() * info.kind.block_bytes();
        let mut out = vec![T::zero(); info.shape.iter().product()];
        let bad = AtomicUsize::new(0);
        out.par_chunks_mut(rows * columns)
            .enumerate()
            .try_for_each_init(
                || (vec![0u8; piece_bytes], vec![0f32; rows * columns]),
                |(bytes, values), (number, piece)| {
                    let bytes = &mut bytes[..piece.len() / info.kind.block() * info.kind.block_bytes()];
                    let values = &mut values[..piece.len()];
                    read_at(file, bytes, info.start + (number * piece_bytes) as u64)?;
                    info.kind.dequantise(bytes, values)?;
                    bad.fetch_add(values.iter().filter(|v| !v.is_finite()).count(), Ordering::Relaxed);
                    for (row, to) in piece.chunks_mut(columns).enumerate() {
                        let from = head.map_or(row, |head| row % (head / 2) * 2 + row / (head / 2)) * columns;
                        to.iter_mut().zip(&values[from..]).for_each(|(to, value)| *to = convert(*value));
                    }
                    anyhow::Ok(())
                },
            )
            .with_context(|| format!("{}: reading tensor {}", path.display(), info.name))?;
        let bad = bad.into_inner();
        ensure!(
            bad == 0,
            "{}: tensor {} holds {bad} values that are NaN or infinite; fetch the file again",
            path.display(),
            info.name
        );
        Ok(out)
    }
}

/// GGUF's name of a tensor.
fn own_name(name: &str) -> Option<String> {
    if let Some((_, own)) = OUTSIDE.iter().find(|(hub, _)| *hub == name) {
        return Some(own.to_string());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let (_, own) = LAYER.iter().find(|(hub, _)| *hub == module)?;
    Some(format!("blk.{layer}.{own}.{kind}"))
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], start: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut start: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, start)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        (bytes, start) = (&mut bytes[read..], start + read as u64);
    }
    Ok(())
}
