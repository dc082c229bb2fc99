//! The decoder: from token ids to the residual stream to logits, with a cut after any layer.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};

use super::config::Config;
use super::ops::{Heads, causal_attention, linear, rms_norm, rotary, swiglu};
use super::packing::Packing;
use super::rope::RopeTable;
use super::split::SplitPoint;

/// A Llama or Qwen2 decoder. Layers are numbered 1..=N; the activation after layer l is what enters layer l + 1.
pub struct Decoder {
    config: Config,
    device: Device,
    rope: Arc<RopeTable>,
    /// Of the parts that begin with it.
    embedding: Option<Tensor>,
    /// Layers `first` and on, counted from 0.
    layers: Vec<Layer>,
    first: usize,
    /// Of the parts that end with it.
    head: Option<Head>,
}

/// Which part of a model a decoder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderPart {
    /// All of it.
    Whole,
    /// The embedding and layers 1 to l.
    Client(SplitPoint),
    /// Layers l + 1 to N, norm and head.
    Server(SplitPoint),
}

impl DecoderPart {
    /// Layers, counted from 0.
    pub fn layers(self, config: &Config) -> Range<usize> {
        match self {
            Self::Whole => 0..config.num_hidden_layers,
            Self::Client(split) => 0..split.after_layer,
            Self::Server(split) => split.after_layer..config.num_hidden_layers,
        }
    }

    fn has_embedding(self) -> bool {
        !matches!(self, Self::Server(_))
    }

    fn has_head(self) -> bool {
        !matches!(self, Self::Client(_))
    }
}

/// What follows the last layer.
pub(super) struct Head {
    pub norm: Tensor,
    pub weight: Tensor,
}

pub(super) struct Projection {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Projection {
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        linear(x, &self.weight, self.bias.as_ref())
    }
}

pub(super) struct Layer {
    pub input_norm: Tensor,
    pub q: Projection,
    pub k: Projection,
    pub v: Projection,
    pub o: Projection,
    pub post_norm: Tensor,
    pub gate: Projection,
    pub up: Projection,
    pub down: Projection,
}

impl Decoder {
    /// Builds part of a decoder from a source of tensors that is asked for each by its Hugging Face name and shape. Matrices
    /// may come in f32 or a narrower type, in which they are kept; vectors must come in f32.
    pub fn new(
        config: &Config,
        device: &Device,
        part: DecoderPart,
        mut tensor: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        let (d, hd) = (config.hidden_size, config.head_dim);
        let (wide, narrow) = (config.num_attention_heads * hd, config.num_key_value_heads * hd);
        let mut embedding = || tensor("model.embed_tokens.weight", &[config.vocab_size, d]);
        let tied = part.has_head() && config.tie_word_embeddings;
        let first_matrix = if part.has_embedding() || tied { Some(embedding()?) } else { None };
        let range = part.layers(config);
        // No capacity ahead: a config.json may ask for more layers than memory holds, and is told which tensor is missing.
        let mut layers = Vec::new();
        for i in range.clone() {
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
        let head = match part.has_head() {
            true => {
                let norm = tensor("model.norm.weight", &[d])?;
                let weight = match &first_matrix {
                    // The same storage: a clone of a tensor copies no numbers.
                    Some(embedding) if tied => embedding.clone(),
                    _ => tensor("lm_head.weight", &[config.vocab_size, d])?,
                };
                Some(Head { norm, weight })
            }
            false => None,
        };
        let embedding = first_matrix.filter(|_| part.has_embedding());
        let rope = Arc::new(RopeTable::new(config, config.most_tokens()));
        Ok(Self { config: config.clone(), device: device.clone(), rope, embedding, layers, first: range.start, head })
    }

    /// Shape and constants.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Number of heads and their width.
    pub(super) fn heads(&self) -> Heads {
        Heads {
            query: self.config.num_attention_heads,
            key_value: self.config.num_key_value_heads,
            dim: self.config.head_dim,
        }
    }

    pub(super) fn rope(&self) -> &Arc<RopeTable> {
        &self.rope
    }

    /// Layers, counted from 0; fails where this part of the model has not all of them.
    pub(super) fn layers(&self, layers: Range<usize>) -> Result<&[Layer]> {
        let own = self.first..self.first + self.layers.len();
        ensure!(
            own.start <= layers.start && layers.end <= own.end,
            "layers {} to {} were asked of a part of the model that has {} to {}",
            layers.start + 1,
            layers.end,
            own.start + 1,
            own.end
        );
        Ok(&self.layers[layers.start - self.first..layers.end - self.first])
    }

    pub(super) fn head(&self) -> Result<&Head> {
        self.head.as_ref().context("this part of the model has no head")
    }

    /// The device the weights are on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type the weight matrices are kept in.
    pub fn dtype(&self) -> DType {
        self.layers.first().map_or(DType::F32, |layer| layer.q.weight.dtype())
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
        let embedding = self.embedding.as_ref().context("this part of the model has no embedding")?;
        Ok(embedding.index_select(&ids, 0)?.to_dtype(DType::F32)?)
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
        for layer in self.layers(layers)? {
            hidden = self.layer(layer, &hidden, packing)?;
        }
        Ok(hidden)
    }

    /// Runs the layers after layer `after` and returns only these rows of the result. In the last layer the other rows
    /// are needed for keys and values alone, so its feed-forward part leaves them out.
    pub fn run_to_rows(&self, hidden: Tensor, packing: &Arc<Packing>, after: usize, rows: &[u32]) -> Result<Tensor> {
        let index = Tensor::from_slice(rows, rows.len(), &self.device)?;
        let last = after.max(self.config.num_hidden_layers.saturating_sub(1));
        let hidden = self.run_layers(hidden, packing, after..last)?;
        let chosen = hidden.index_select(&index, 0)?;
        let Some(layer) = self.layers(last..self.config.num_hidden_layers)?.first() else { return Ok(chosen) };
        // Attention needs all rows; what follows works row by row, so the chosen ones come out the same.
        let attended = self.attend(layer, &hidden, packing)?.index_select(&index, 0)?;
        Ok(self.feed_forward(layer, &chosen, &attended)?)
    }

    fn layer(&self, layer: &Layer, hidden: &Tensor, packing: &Arc<Packing>) -> candle_core::Result<Tensor> {
        self.feed_forward(layer, hidden, &self.attend(layer, hidden, packing)?)
    }

    /// The attention of each row over those it sees: rows x (heads * head_dim).
    fn attend(&self, layer: &Layer, hidden: &Tensor, packing: &Arc<Packing>) -> candle_core::Result<Tensor> {
        let x = rms_norm(hidden, &layer.input_norm, self.config.rms_norm_eps)?;
        let q = rotary(&layer.q.forward(&x)?, packing, &self.rope)?;
        let k = rotary(&layer.k.forward(&x)?, packing, &self.rope)?;
        causal_attention(&q, &k, &layer.v.forward(&x)?, packing, self.heads())
    }

    /// The rest of a layer, each row by itself.
    pub(super) fn feed_forward(
        &self,
        layer: &Layer,
        hidden: &Tensor,
        attended: &Tensor,
    ) -> candle_core::Result<Tensor> {
        // Pre-norm: what is added to the residual stream was computed from its normalised rows.
        let hidden = (hidden + layer.o.forward(attended)?)?;
        let x = rms_norm(&hidden, &layer.post_norm, self.config.rms_norm_eps)?;
        let inner = swiglu(&layer.gate.forward(&x)?, &layer.up.forward(&x)?)?;
        hidden + layer.down.forward(&inner)?
    }

    /// Logits (rows x vocabulary, f32) of rows of the last layer's residual stream (rows x D).
    pub fn logits(&self, rows: &Tensor) -> Result<Tensor> {
        let head = self.head()?;
        let x = rms_norm(rows, &head.norm, self.config.rms_norm_eps)?;
        Ok(linear(&x, &head.weight, None)?)
    }

    /// `W^T W` of the stacked q, k and v weights of layer `layer + 1` (D x D, row-major), which the activation after
    /// `layer` meets next; `None` after the last layer.
    pub fn next_projection_gram(&self, layer: usize) -> Result<Option<Vec<f64>>> {
        let Some(next) = self.layers(layer..self.config.num_hidden_layers)?.first() else { return Ok(None) };
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
