//! The decoder: from token ids to the residual stream to logits, with a cut after any layer.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::config::Config;
use super::ops::{Heads, causal_attention, linear, rms_norm, rotary, swiglu};
use super::packing::Packing;
use super::rope::RopeTable;

/// A Llama or Qwen2 decoder. Layers are numbered 1..=N; the activation after layer l is what enters layer l + 1.
pub struct Decoder {
    config: Config,
    device: Device,
    rope: Arc<RopeTable>,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Tensor,
}

struct Projection {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Projection {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        linear(x, &self.weight, self.bias.as_ref())
    }
}

struct Layer {
    input_norm: Tensor,
    q: Projection,
    k: Projection,
    v: Projection,
    o: Projection,
    post_norm: Tensor,
    gate: Projection,
    up: Projection,
    down: Projection,
}

impl Decoder {
    /// Builds a decoder from a source of tensors that is asked for each by its Hugging Face name and shape. Matrices may
    /// come in f32 or a narrower type, in which they are kept; vectors must come in f32.
    pub fn new(
        config: &Config,
        device: &Device,
        mut tensor: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        let (d, hd) = (config.hidden_size, config.head_dim);
        let (wide, narrow) = (config.num_attention_heads * hd, config.num_key_value_heads * hd);
        let embedding = tensor("model.embed_tokens.weight", &[config.vocab_size, d])?;
        // No capacity ahead: a config.json may ask for more layers than memory holds, and is told which tensor is missing.
        let mut layers = Vec::new();
        for i in 0..config.num_hidden_layers {
            let mut projection = |name: &str, rows: usize, columns: usize, biased: bool| -> Result<Projection> {
                let weight = tensor(&format!("model.layers.{i}.{name}.weight"), &[rows, columns])?;
                let bias = biased.then(|| tensor(&format!("model.layers.{i}.{name}.bias"), &[rows])).transpose()?;
                Ok(Projection { weight, bias })
            };
            let q = projection("self_attn.q_proj", wide, d, config.qkv_bias)?;
            let k = projection("self_attn.k_proj", narrow, d, config.qkv_bias)?;
            let v = projection("self_attn.v_proj", narrow, d, config.qkv_bias)?;
            let o = projection("self_attn.o_proj", d, wide, false)?;
            let gate = projection("mlp.gate_proj", config.intermediate_size, d, false)?;
            let up = projection("mlp.up_proj", config.intermediate_size, d, false)?;
            let down = projection("mlp.down_proj", d, config.intermediate_size, false)?;
            let input_norm = tensor(&format!("model.layers.{i}.input_layernorm.weight"), &[d])?;
            let post_norm = tensor(&format!("model.layers.{i}.post_attention_layernorm.weight"), &[d])?;
            layers.push(Layer { input_norm, q, k, v, o, post_norm, gate, up, down });
        }
        let norm = tensor("model.norm.weight", &[d])?;
        let head = match config.tie_word_embeddings {
            // The same storage: a clone of a tensor copies no numbers.
            true => embedding.clone(),
            false => tensor("lm_head.weight", &[config.vocab_size, d])?,
        };
        let rope = Arc::new(RopeTable::new(config, config.most_tokens()));
        Ok(Self { config: config.clone(), device: device.clone(), rope, embedding, layers, norm, head })
    }

    /// Shape and constants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device the weights are on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type the weight matrices are kept in.
    pub fn dtype(&self) -> DType {
        self.embedding.dtype()
    }

    /// Longest input, in tokens.
    pub fn most_tokens(&self) -> usize {
        self.config.most_tokens()
    }

    /// Embeds token ids: rows x D.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.config.vocab_size) {
            anyhow::bail!("token id {id} is outside the model's vocabulary of {}", self.config.vocab_size);
        }
        let ids = Tensor::from_slice(ids, ids.len(), &self.device)?;
        // Arithmetic is f32, whatever type the weights are kept in.
        Ok(self.embedding.index_select(&ids, 0)?.to_dtype(DType::F32)?)
    }

    /// Runs a range of layers, counted from 0, on the residual stream (rows x D) of packed sequences: `after..until`
    /// runs layers after + 1 to until.
    pub fn run_layers(&self, mut hidden: Tensor, packing: &Arc<Packing>, layers: Range<usize>) -> Result<Tensor> {
        let rows = hidden.dim(0)?;
        ensure!(rows == packing.rows(), "{rows} rows for sequences of {}", packing.rows());
        for sequence in 0..packing.sequences() {
            let (tokens, most) = (packing.tokens(sequence), self.most_tokens());
            ensure!(tokens > 0, "a sequence needs at least one token");
            ensure!(tokens <= most, "a sequence of {tokens} tokens is longer than the model's {most}");
        }
        for layer in &self.layers[layers] {
            hidden = self.layer(layer, &hidden, packing)?;
        }
        Ok(hidden)
    }

    /// Runs the layers after layer `after` and returns only these rows of the result. In the last layer the other rows
    /// are needed for keys and values alone, so its feed-forward part leaves them out.
    pub fn run_to_rows(&self, hidden: Tensor, packing: &Arc<Packing>, after: usize, rows: &[u32]) -> Result<Tensor> {
        let index = Tensor::from_slice(rows, rows.len(), &self.device)?;
        let last = after.max(self.layers.len().saturating_sub(1));
        let hidden = self.run_layers(hidden, packing, after..last)?;
        let chosen = hidden.index_select(&index, 0)?;
        let Some(layer) = self.layers.get(last) else { return Ok(chosen) };
        // Attention needs all rows; what follows works row by row, so the chosen ones come out the same.
        let attended = self.attend(layer, &hidden, packing)?.index_select(&index, 0)?;
        Ok(self.feed_forward(layer, &chosen, &attended)?)
    }

    fn layer(&self, layer: &Layer, hidden: &Tensor, packing: &Arc<Packing>) -> candle_core::Result<Tensor> {
        self.feed_forward(layer, hidden, &self.attend(layer, hidden, packing)?)
    }

    /// The attention of each row over those it sees: rows x (heads * head_dim).
    fn attend(&self, layer: &Layer, hidden: &Tensor, packing: &Arc<Packing>) -> candle_core::Result<Tensor> {
        let heads = Heads {
            query: self.config.num_attention_heads,
            key_value: self.config.num_key_value_heads,
            dim: self.config.head_dim,
        };
        let x = rms_norm(hidden, &layer.input_norm, self.config.rms_norm_eps)?;
        let q = rotary(&layer.q.forward(&x)?, packing, &self.rope)?;
        let k = rotary(&layer.k.forward(&x)?, packing, &self.rope)?;
        causal_attention(&q, &k, &layer.v.forward(&x)?, packing, heads)
    }

    /// The rest of a layer, each row by itself.
    fn feed_forward(&self, layer: &Layer, hidden: &Tensor, attended: &Tensor) -> candle_core::Result<Tensor> {
        // Pre-norm: what is added to the residual stream was computed from its normalised rows.
        let hidden = (hidden + layer.o.forward(attended)?)?;
        let x = rms_norm(&hidden, &layer.post_norm, self.config.rms_norm_eps)?;
        let inner = swiglu(&layer.gate.forward(&x)?, &layer.up.forward(&x)?)?;
        hidden + layer.down.forward(&inner)?
    }

    /// Logits (rows x vocabulary, f32) of rows of the last layer's residual stream (rows x D).
    pub fn logits(&self, rows: &Tensor) -> Result<Tensor> {
        let x = rms_norm(rows, &self.norm, self.config.rms_norm_eps)?;
        Ok(linear(&x, &self.head, None)?)
    }

    /// `W^T W` of the stacked q, k and v weights of layer `layer + 1` (D x D, row-major), which the activation after
    /// `layer` meets next; `None` after the last layer.
    pub fn next_projection_gram(&self, layer: usize) -> Result<Option<Vec<f64>>> {
        let Some(next) = self.layers.get(layer) else { return Ok(None) };
        let d = self.config.hidden_size;
        // In f64: a Cholesky factor is made of it.
        let mut gram = Tensor::zeros((d, d), DType::F64, &Device::Cpu)?;
        for projection in [&next.q, &next.k, &next.v] {
            let w = projection.weight.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            // The Gram matrix of stacked rows is the sum of the parts' Gram matrices.
            gram = (gram + w.t()?.matmul(&w)?)?;
        }
        Ok(Some(gram.flatten_all()?.to_vec1()?))
    }
}
