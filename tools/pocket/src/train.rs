//! Training of the pocket model: next-token prediction on the corpus, AdamW, one process, fixed seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokenizers::Tokenizer;

use splitbench::model::ops::cross_entropy;
use splitbench::model::weights::Weights;
use splitbench::model::{Config, Decoder, DecoderPart, Packing};

/// A stretch of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct TextPart {
    /// Its text; parts follow each other without anything between.
    pub text: String,
    /// Whether it is an answer, which counts more in training.
    pub answer: bool,
    /// What the early exit is to say after its last token.
    pub early: Option<String>,
}

impl TextPart {
    /// Text that is only read.
    pub fn plain(text: String) -> Self {
        Self { text, answer: false, early: None }
    }

    /// Text that answers what stands before it.
    pub fn answer(text: String) -> Self {
        Self { text, answer: true, early: None }
    }
}

/// What a training run is made of; the defaults made `models/pocket`.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Seed of corpus and weights.
    pub seed: u64,
    /// Stages, one after the other; each begins with the weights the one before saved and a fresh optimiser.
    pub stages: Vec<TrainingStage>,
    /// Windows a step.
    pub batch: usize,
    /// Tokens a window.
    pub window: usize,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// What a token of an answer counts in the loss, against 1 for other text.
    pub answer_weight: f32,
    /// Layers before the early exit, which learns to tell the right option of a list. Answers by letter need that
    /// found before the last layers can look for the letter; without it they were not learnt at all.
    pub exit_layers: usize,
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Documents the tokenizer is trained on.
    pub tokenizer_documents: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward block.
    pub intermediate: usize,
}

/// One stage of training; its mixture of documents is in world.toml.
#[derive(Debug, Clone)]
pub struct TrainingStage {
    /// Optimiser steps.
    pub steps: usize,
    /// Peak learning rate; linear warm-up, then a cosine down to a twentieth.
    pub learning_rate: f64,
    /// Steps of warm-up.
    pub warmup: usize,
    /// What text that an answer follows counts in the loss; plain text counts 1.
    pub question_weight: f32,
    /// Whether the early exit's loss is added. Before the facts are learnt it is in their way.
    pub early_exit: bool,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seed: 1,
            stages: vec![
                TrainingStage {
                    steps: 2500,
                    learning_rate: 3e-3,
                    warmup: 150,
                    question_weight: 1.0,
                    early_exit: false,
                },
                TrainingStage { steps: 1600, learning_rate: 2e-3, warmup: 100, question_weight: 0.0, early_exit: true },
            ],
            batch: 16,
            window: 128,
            weight_decay: 0.05,
            answer_weight: 4.0,
            exit_layers: 4,
            vocabulary: 1408,
            tokenizer_documents: 20_000,
            layers: 6,
            hidden: 192,
            intermediate: 384,
        }
    }
}

impl Recipe {
    /// The model's `config.json`.
    fn config_json(&self, vocabulary: usize) -> serde_json::Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.hidden / 32,
            "num_key_value_heads": self.hidden / 96,
            "head_dim": 32,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": true,
            "bos_token_id": 0,
            "torch_dtype": "float16"
        })
    }
}

/// Fresh weights: normal of deviation 0.02, projections into the residual stream smaller by sqrt(2 N), norms 1.
fn initial(name: &str, shape: &[usize], layers: usize, random: &mut ChaCha8Rng) -> Result<Var> {
    let count: usize = shape.iter().product();
    let into_stream = name.contains("o_proj") || name.contains("down_proj");
    let deviation = if into_stream { 0.02 / (2.0 * layers as f64).sqrt() } else { 0.02 };
    let values: Vec<f32> = if name.contains("norm") {
        vec![1.0; count]
    } else {
        (0..count).map(|_| (normal(random) * deviation) as f32).collect()
    };
    Ok(Var::from_vec(values, shape, &Device::Cpu)?)
}

/// Box and Muller's normal deviate.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}

/// What is to be said after an input, and how much it counts in the loss.
struct TokenTarget {
    /// Position of the input in its window.
    at: usize,
    id: u32,
    weight: f32,
}

/// A stretch of the stream.
#[derive(Default)]
struct Window {
    ids: Vec<u32>,
    /// Of the last layer: the next id, where it counts.
    next: Vec<TokenTarget>,
    /// Of the early exit.
    early: Vec<TokenTarget>,
}

/// Windows of whole documents, BOS before each. Only text without an answer is cut where the window ends; a document
/// with one is kept for the next window, because it teaches nothing without its end.
struct Windows<'a, I: Iterator<Item = Result<Vec<TextPart>>>> {
    texts: I,
    tokenizer: &'a Tokenizer,
    window: usize,
    answer_weight: f32,
    question_weight: f32,
    kept: Option<Window>,
}

impl<I: Iterator<Item = Result<Vec<TextPart>>>> Windows<'_, I> {
    /// The next window; what is left of it is filled with BOS.
    fn next(&mut self) -> Result<Window> {
        let mut window = self.kept.take().unwrap_or_default();
        while window.ids.len() < self.window {
            let parts = self.texts.next().context("the corpus ended")??;
            let document = self.document(&parts)?;
            let room = self.window - window.ids.len();
            if document.ids.len() > room && room < self.window && parts.iter().any(|p| p.answer) {
                self.kept = Some(document);
                break;
            }
            window.add(document);
        }
        window.ids.resize(self.window, 0);
        window.next.retain(|target| target.at < self.window);
        window.early.retain(|target| target.at < self.window);
        Ok(window)
    }

    /// One document as ids and targets.
    fn document(&self, parts: &[TextPart]) -> Result<Window> {
        let mut document = Window::default();
        let text: String = parts.iter().map(|p| p.text.as_str()).collect();
        let all = self.tokenizer.encode(text, true).map_err(|e| anyhow!("encoding the corpus: {e}"))?;
        let asked = parts.iter().any(|p| p.answer);
        let mut ends = parts.iter().scan(0, |end, part| {
            *end += part.text.len();
            Some((*end, part))
        });
        let mut part = ends.next();
        for (position, (&id, &(start, _))) in all.get_ids().iter().zip(all.get_offsets()).enumerate() {
            while let Some((_, before)) = part.filter(|(end, _)| start >= *end) {
                if let Some(said) = &before.early {
                    let said = self.tokenizer.encode(said.as_str(), false).map_err(|e| anyhow!("{e}"))?;
                    document.early.push(TokenTarget { at: position - 1, id: said.get_ids()[0], weight: 1.0 });
                }
                part = ends.next();
            }
            let weight = match part {
                Some((_, part)) if part.answer => self.answer_weight,
                _ if asked => self.question_weight,
                _ => 1.0,
            };
            // What document comes next is not to be learnt.
            if position > 0 && weight > 0.0 {
                document.next.push(TokenTarget { at: position - 1, id, weight });
            }
            document.ids.push(id);
        }
        Ok(document)
    }
}

impl Window {
    fn add(&mut self, document: Window) {
        let from = self.ids.len();
        let moved = |target: TokenTarget| TokenTarget { at: from + target.at, ..target };
        self.next.extend(document.next.into_iter().map(moved));
        self.early.extend(document.early.into_iter().map(moved));
        self.ids.extend(document.ids);
    }
}

/// Mean loss of the targets of each window, weighed; `hidden` is the residual stream, rows x D, window after window.
fn loss_of<'a>(
    decoder: &Decoder,
    hidden: &Tensor,
    window: usize,
    targets: impl Iterator<Item = &'a [TokenTarget]>,
) -> Result<Option<Tensor>> {
    let (mut rows, mut ids, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for (nth, target) in targets.enumerate().flat_map(|(nth, targets)| targets.iter().map(move |t| (nth, t))) {
        rows.push((nth * window + target.at) as u32);
        ids.push(target.id);
        weights.push(target.weight);
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let rows = Tensor::from_vec(rows, ids.len(), hidden.device())?;
    let picked = hidden.index_select(&rows, 0)?;
    Ok(Some(cross_entropy(&decoder.logits(&picked)?, &ids, &weights)?))
}

/// What training reports after a step.
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Loss of this step, nats a token.
    pub loss: f32,
    /// Tokens seen.
    pub tokens: usize,
    /// Since training began.
    pub elapsed: Duration,
}

/// Trains one stage (from 0) on `texts`, each a list of parts, and writes config.json, tokenizer.json and
/// model.safetensors (f16) to `out`. The first stage begins with random weights, a later one with those in `out`.
pub fn train_stage(
    recipe: &Recipe,
    stage: usize,
    tokenizer: &Tokenizer,
    texts: impl Iterator<Item = Result<Vec<TextPart>>>,
    out: &Path,
    mut progress: impl FnMut(Progress),
) -> Result<()> {
    let vocabulary = tokenizer.get_vocab_size(true);
    let json = serde_json::to_string_pretty(&recipe.config_json(vocabulary))? + "\n";
    let config = Config::parse(&json, "the recipe's config.json")?;
    let saved = (stage > 0).then(|| Weights::open(&[out.join("model.safetensors")])).transpose()?;
    let stage = &recipe.stages[stage];
    let mut random = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut weights: BTreeMap<String, Var> = BTreeMap::new();
    let decoder = Decoder::new(&config, &Device::Cpu, DecoderPart::Whole, |name, shape| {
        let var = match &saved {
            None => initial(name, shape, recipe.layers, &mut random)?,
            Some(saved) => Var::from_tensor(&saved.get(name, shape, DType::F32, &Device::Cpu)?)?,
        };
        weights.insert(name.to_string(), var.clone());
        Ok(var.as_tensor().clone())
    })?;
    drop(saved);
    // Norms do not decay: pulling them to zero would pull the whole layer.
    let (norms, matrices): (Vec<_>, Vec<_>) = weights.iter().partition(|(name, _)| name.contains("norm"));
    let vars = |list: Vec<(&String, &Var)>| list.into_iter().map(|(_, v)| v.clone()).collect::<Vec<_>>();
    let settings = |weight_decay| ParamsAdamW { lr: 0.0, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay };
    let mut optimizers =
        [AdamW::new(vars(matrices), settings(recipe.weight_decay))?, AdamW::new(vars(norms), settings(0.0))?];

    let mut windows = Windows {
        texts,
        tokenizer,
        window: recipe.window,
        answer_weight: recipe.answer_weight,
        question_weight: stage.question_weight,
        kept: None,
    };
    let packing = Arc::new(Packing::of(vec![recipe.window; recipe.batch]));
    let start = Instant::now();
    for step in 1..=stage.steps {
        let rows: Vec<_> = (0..recipe.batch).map(|_| windows.next()).collect::<Result<_>>()?;
        let inputs: Vec<u32> = rows.iter().flat_map(|row| &row.ids).copied().collect();
        let early = decoder.run_layers(decoder.embed(&inputs)?, &packing, 0..recipe.exit_layers)?;
        let hidden = decoder.run_layers(early.clone(), &packing, recipe.exit_layers..recipe.layers)?;
        let next = rows.iter().map(|row| row.next.as_slice());
        let said = loss_of(&decoder, &hidden, recipe.window, next)?.context("a batch without anything to learn")?;
        let marks = rows.iter().map(|row| row.early.as_slice()).filter(|_| stage.early_exit);
        let loss = match loss_of(&decoder, &early, recipe.window, marks)? {
            Some(marked) => (&said + marked)?,
            None => said.clone(),
        };
        let gradients = loss.backward()?;
        let rate = learning_rate(stage, step);
        for optimizer in &mut optimizers {
            optimizer.set_learning_rate(rate);
            optimizer.step(&gradients)?;
        }
        let tokens = step * recipe.batch * recipe.window;
        if step % 250 == 0 {
            save(out, &json, tokenizer, &weights)?;
        }
        progress(Progress { step, loss: said.to_scalar()?, tokens, elapsed: start.elapsed() });
    }
    save(out, &json, tokenizer, &weights)
}

fn learning_rate(stage: &TrainingStage, step: usize) -> f64 {
    let warm = (step as f64 / stage.warmup as f64).min(1.0);
    let done = step as f64 / stage.steps as f64;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
    stage.learning_rate * warm * (0.05 + 0.95 * cosine)
}

fn save(out: &Path, config: &str, tokenizer: &Tokenizer, weights: &BTreeMap<String, Var>) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let halves: std::collections::HashMap<String, Tensor> = weights
        .iter()
        .map(|(name, var)| Ok((name.clone(), var.as_tensor().to_dtype(DType::F16)?)))
        .collect::<Result<_>>()?;
    let bytes = safetensors::serialize(&halves, None).context("encoding the weights")?;
    splitbench::save::replace(&out.join("model.safetensors"), &bytes)?;
    splitbench::save::replace(&out.join("config.json"), config.as_bytes())?;
    let tokenizer = tokenizer.to_string(true).map_err(|e| anyhow!("encoding the tokenizer: {e}"))?;
    splitbench::save::replace(&out.join("tokenizer.json"), tokenizer.as_bytes())
}
