//! Measuring live runs: links, prompts and codecs, for one client and for many.

use std::sync::Barrier;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use splitbench_codec::{Accounting, Budget, CodecSpec, Rate};

use super::client::ServerAddress;
use super::generate::{ClientHalf, Generation, RowCodec, SplitSession, TimeParts, UnsplitGenerator};
use super::link::{self, LinkProfile};
use super::quality::forced_divergences;
use super::relay;
use super::sampler::Sampling;
use crate::clock::median;
use crate::model::source::Model;
use crate::model::{Cache, DecoderPart, in_pool};
use crate::record::{LOOPBACK, LiveRow, UNSPLIT};
use crate::score::percentile;

/// A file of live measurements.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveSpec {
    /// What it is about.
    pub analysis: String,
    /// What is measured.
    pub live: LiveGrid,
    /// Many clients at once; none where absent.
    pub crowd: Option<CrowdGrid>,
}

/// One client: every link with every prompt and pair of codecs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveGrid {
    /// The cut: after this layer.
    pub split_layer: usize,
    /// Links, as `--link` takes them; loopback is always measured, as what the simulation starts from.
    pub links: Vec<String>,
    /// Tokens of the prompts.
    pub prompts: Vec<usize>,
    /// Tokens generated after each.
    pub generate: usize,
    /// Rows of a packet of the prompt.
    pub chunk: usize,
    /// Whether a codec may send steps whose rows are joint.
    #[serde(default)]
    pub joint_steps: bool,
    /// Generations that are not counted, first.
    pub warm_up: usize,
    /// Generations that are.
    pub repeats: usize,
    /// Codecs of prompt and steps.
    pub codecs: Vec<CodecPair>,
}

/// Many clients through one link.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrowdGrid {
    /// Links.
    pub links: Vec<String>,
    /// Clients.
    pub clients: Vec<usize>,
    /// Tokens of each prompt.
    pub prompt: usize,
    /// Tokens generated after it.
    pub generate: usize,
    /// Codecs of prompt and steps.
    pub codecs: Vec<CodecPair>,
}

/// What sends the prompt and what sends the steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecPair {
    /// Codec of the prompt's packets.
    pub prompt: CodecSpec,
    /// Codec of the steps' packets.
    pub step: CodecSpec,
    /// Compression ratio of those that take one.
    pub ratio: Option<f64>,
    /// What it counts, `elements` or `wire`; elements where not given.
    pub accounting: Option<String>,
}

impl CodecPair {
    fn lossless() -> Self {
        let noop = CodecSpec::parse("noop").expect("it is registered");
        Self { prompt: noop.clone(), step: noop, ratio: None, accounting: None }
    }

    fn budgets(&self) -> Result<[(CodecSpec, Option<Budget>); 2]> {
        let one = |spec: &CodecSpec| -> Result<_> {
            let budget = match (spec.info().rate, self.ratio) {
                (Rate::Fixed, _) => None,
                (Rate::Budget, Some(ratio)) => {
                    let accounting = match &self.accounting {
                        Some(accounting) => accounting.parse::<Accounting>()?,
                        None => Accounting::Elements,
                    };
                    Some(Budget { accounting, ..Budget::elements(ratio)? })
                }
                (Rate::Budget, None) => anyhow::bail!("codec {spec} takes a ratio: add `ratio = 8` to its pair"),
            };
            Ok((spec.clone(), budget))
        };
        Ok([one(&self.prompt)?, one(&self.step)?])
    }
}

/// Reads a file of live measurements: `live`, or a path that ends in `.toml`.
pub fn find(name: &str) -> Result<LiveSpec> {
    let text = match name {
        "live" => include_str!("../../experiments/live.toml").to_string(),
        _ if name.ends_with(".toml") => std::fs::read_to_string(name).with_context(|| format!("reading {name}"))?,
        _ => anyhow::bail!("no live measurement {name:?}: give `live` or a path that ends in .toml"),
    };
    let spec: LiveSpec = toml::from_str(&text).with_context(|| name.to_string())?;
    spec.check().with_context(|| name.to_string())?;
    Ok(spec)
}

impl LiveSpec {
    /// Fails on what nothing could be measured with.
    pub fn check(&self) -> Result<()> {
        let LiveGrid { links, prompts, generate, chunk, repeats, codecs, .. } = &self.live;
        ensure!(!prompts.is_empty() && !codecs.is_empty(), "[live] needs prompts and codecs");
        ensure!(!prompts.contains(&0), "prompts has 0: a prompt has a token at least");
        ensure!(*generate >= 2, "generate is {generate}: a rate needs two tokens at least");
        ensure!(*chunk > 0 && *repeats > 0, "chunk and repeats are 1 at least");
        for text in links.iter().chain(self.crowd.iter().flat_map(|crowd| &crowd.links)) {
            link::find(text)?;
        }
        for pair in codecs.iter().chain(self.crowd.iter().flat_map(|crowd| &crowd.codecs)) {
            pair.budgets()?;
        }
        if let Some(crowd) = &self.crowd {
            ensure!(crowd.prompt > 0 && crowd.generate >= 2, "[crowd] needs a prompt and 2 tokens at least");
            ensure!(!crowd.clients.contains(&0), "clients has 0: give 1 or more");
        }
        Ok(())
    }

    /// Cells in order: for each prompt the unsplit model, then for each pair loopback first and the links.
    pub fn cells(&self) -> Vec<LiveCell> {
        let with_loopback = |links: &[String]| -> Vec<LiveLink> {
            std::iter::once(LiveLink::Loopback).chain(links.iter().cloned().map(LiveLink::Emulated)).collect()
        };
        let mut out = Vec::new();
        for &prompt in &self.live.prompts {
            let (link, pair) = (LiveLink::Unsplit, CodecPair::lossless());
            out.push(LiveCell { link, clients: 1, prompt, generate: self.live.generate, pair });
            for pair in &self.live.codecs {
                for link in with_loopback(&self.live.links) {
                    out.push(LiveCell { link, clients: 1, prompt, generate: self.live.generate, pair: pair.clone() });
                }
            }
        }
        let Some(crowd) = &self.crowd else { return out };
        for pair in &crowd.codecs {
            for link in with_loopback(&crowd.links) {
                // One client without a link is what the simulation starts from.
                let alone = if link == LiveLink::Loopback && !crowd.clients.contains(&1) { Some(1) } else { None };
                for clients in alone.into_iter().chain(crowd.clients.iter().copied()) {
                    let (prompt, generate) = (crowd.prompt, crowd.generate);
                    out.push(LiveCell { link: link.clone(), clients, prompt, generate, pair: pair.clone() });
                }
            }
        }
        out
    }
}

/// What is between client and server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveLink {
    /// Nothing: one process runs all layers.
    Unsplit,
    /// The machine's own loopback.
    Loopback,
    /// A relay that emulates a link, by the name or numbers that `link::find` takes.
    Emulated(String),
}

impl std::fmt::Display for LiveLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unsplit => UNSPLIT,
            Self::Loopback => LOOPBACK,
            Self::Emulated(link) => link,
        })
    }
}

/// One row of measurements.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveCell {
    /// What is between client and server.
    pub link: LiveLink,
    /// Clients at once.
    pub clients: usize,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens generated.
    pub generate: usize,
    /// Codecs.
    pub pair: CodecPair,
}

impl std::fmt::Display for LiveCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { link, clients, prompt: tokens, pair: CodecPair { prompt, step, .. }, .. } = self;
        write!(f, "{link}, {clients} {}, {tokens} tokens", if *clients == 1 { "client" } else { "clients" })?;
        if *link == LiveLink::Unsplit { Ok(()) } else { write!(f, ", {prompt} and {step}") }
    }
}

/// Client half, server and texts of live measurements.
pub struct LiveBench<'a> {
    /// The whole model, for what is compared with it.
    pub model: &'a Model,
    /// The client half.
    pub client: &'a ClientHalf,
    /// The server, without a link.
    pub server: &'a ServerAddress,
    /// Token ids of which prompts are made.
    pub text: &'a [u32],
    /// How often.
    pub grid: &'a LiveGrid,
}

impl LiveBench<'_> {
    /// The prompt of client `nth`: its part of the text, which goes around.
    fn prompt(&self, tokens: usize, nth: usize) -> Vec<u32> {
        let begin = nth * 61;
        (begin..begin + tokens).map(|at| self.text[at % self.text.len()]).collect()
    }

    /// What a further session adds to a step's pass of the server half, s: of sixteen against one, in this process.
    pub fn more_step_s(&self) -> Result<f64> {
        const MANY: usize = 16;
        let decoder = self.model.decoder()?;
        let layers = DecoderPart::Server(self.client.split()).layers(&self.model.config);
        let width = self.model.config.hidden_size;
        let seconds = |sessions: usize| -> Result<f64> {
            let mut caches: Vec<Cache> =
                (0..sessions).map(|_| Cache::new(&self.model.config, layers.clone(), 16)).collect();
            let mut times = Vec::new();
            for _ in 0..7 {
                let mut hidden: Vec<f32> = (0..sessions * width).map(|i| (i % 13) as f32 * 0.1).collect();
                let start = Instant::now();
                decoder.step(&mut hidden, &mut caches.iter_mut().collect::<Vec<_>>())?;
                decoder.step_logits(&hidden, sessions)?;
                times.push(start.elapsed().as_secs_f64());
            }
            Ok(median(&times))
        };
        Ok(((seconds(MANY)? - seconds(1)?) / (MANY - 1) as f64).max(0.0))
    }

    /// Measures a cell. Only one client without a link has columns of quality: no link and no other client changes a token.
    pub fn measure(&self, cell: &LiveCell) -> Result<LiveRow> {
        if cell.link == LiveLink::Unsplit {
            return self.measure_unsplit(cell);
        }
        let profile = match &cell.link {
            LiveLink::Emulated(link) => Some(link::find(link)?),
            LiveLink::Unsplit | LiveLink::Loopback => None,
        };
        let relay = profile.as_ref().map(|profile| relay::shape(&self.server.address, profile, 1)).transpose()?;
        let mut server = self.server.clone();
        if let Some(relay) = &relay {
            server.address = relay.address().clone();
        }
        let codecs = cell.pair.budgets()?;
        let wish = SplitSession {
            server: &server,
            codecs,
            most_tokens: cell.prompt + cell.generate,
            chunk: self.grid.chunk,
            sampling: Sampling::default(),
            joint_steps: self.grid.joint_steps,
        };
        let mut measured = Vec::new();
        let mut seconds = 0.0;
        for round in 0..self.grid.warm_up + self.grid.repeats {
            let start = Instant::now();
            let generations = self.round(cell, &wish)?;
            if round >= self.grid.warm_up {
                seconds += start.elapsed().as_secs_f64();
                measured.extend(generations);
            }
        }
        let mut row = self.row(cell, profile.as_ref(), &measured, seconds);
        if cell.clients == 1 && cell.link == LiveLink::Loopback {
            self.add_quality(cell, &wish, &measured[0], &mut row)?;
        }
        drop(relay);
        Ok(row)
    }

    fn measure_unsplit(&self, cell: &LiveCell) -> Result<LiveRow> {
        let prompt = self.prompt(cell.prompt, 0);
        let (mut measured, mut seconds) = (Vec::new(), 0.0);
        for round in 0..self.grid.warm_up + self.grid.repeats {
            let start = Instant::now();
            let generation = self.generate_unsplit(&prompt, cell.generate)?;
            if round >= self.grid.warm_up {
                seconds += start.elapsed().as_secs_f64();
                measured.push(generation);
            }
        }
        Ok(self.row(cell, None, &measured, seconds))
    }

    fn generate_unsplit(&self, prompt: &[u32], tokens: usize) -> Result<Generation> {
        let (most, chunk) = (prompt.len() + tokens, self.grid.chunk);
        let mut generator = UnsplitGenerator::new(self.model, most, chunk, Sampling::default())?;
        in_pool(|| Generation::run(&mut generator, prompt, tokens, |_| false, |_| Ok(())))
    }

    /// All clients of a cell once, each with a session of its own.
    fn round(&self, cell: &LiveCell, wish: &SplitSession) -> Result<Vec<Generation>> {
        let ready = Barrier::new(cell.clients);
        let one = |nth: usize| -> Result<Generation> {
            let session = self.client.open(wish);
            // All are connected before the first one asks, and nobody waits for one that failed.
            ready.wait();
            let mut session = session?;
            let prompt = self.prompt(cell.prompt, nth);
            let generation = Generation::run(&mut session, &prompt, cell.generate, |_| false, |_| Ok(()))?;
            ensure!(session.close()?.lost == 0, "a connection was lost in the middle of a measurement");
            Ok(generation)
        };
        if cell.clients == 1 {
            return Ok(vec![in_pool(|| one(0))?]);
        }
        // Outside of the pool, whose threads would wait for the link and compute for nobody.
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cell.clients).map(|nth| scope.spawn(move || one(nth))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect()
        })
    }

    fn row(&self, cell: &LiveCell, link: Option<&LinkProfile>, all: &[Generation], seconds: f64) -> LiveRow {
        let firsts: Vec<TimeParts> = all.iter().filter_map(Generation::first).map(TimeParts::from).collect();
        let later = || all.iter().flat_map(|one| one.tokens.iter().skip(1)).map(|(token, _)| token);
        let steps: Vec<TimeParts> = later().map(|token| TimeParts::from(token.times)).collect();
        let mut step_ms: Vec<f64> =
            all.iter().flat_map(Generation::step_seconds).map(|seconds| seconds * 1e3).collect();
        step_ms.sort_by(f64::total_cmp);
        let mean = |parts: &[TimeParts], of: fn(&TimeParts) -> f64| average(parts.iter().map(of));
        let mbps = |bits: u64| bits as f64 * 1e-6;
        let tokens: usize = all.iter().map(|one| one.tokens.len()).sum();
        LiveRow {
            model: self.model.name.clone(),
            model_sha256: self.model.sha256.clone(),
            dtype: self.model.placement.dtype.as_str().to_string(),
            split_layer: self.client.split().after_layer as u32,
            link: cell.link.to_string(),
            up_mbps: link.map(|link| mbps(link.up_bits_per_s)),
            down_mbps: link.map(|link| mbps(link.down_bits_per_s)),
            delay_ms: link.map(|link| link.delay.as_secs_f64() * 1e3),
            clients: cell.clients as u64,
            prompt_codec: cell.pair.prompt.to_string(),
            step_codec: cell.pair.step.to_string(),
            ratio: cell.pair.ratio,
            accounting: cell.pair.accounting.clone(),
            prompt_tokens: cell.prompt as u64,
            chunk: self.grid.chunk as u64,
            generated: cell.generate as u64,
            generations: all.len() as u64,
            ttft_ms: median(&firsts.iter().map(|first| first.total_ms).collect::<Vec<_>>()),
            ttft_client_ms: mean(&firsts, |first| first.client_ms),
            ttft_encode_ms: mean(&firsts, |first| first.encode_ms),
            ttft_link_ms: mean(&firsts, |first| first.link_ms),
            ttft_queue_ms: mean(&firsts, |first| first.queue_ms),
            ttft_decode_ms: mean(&firsts, |first| first.decode_ms),
            ttft_server_ms: mean(&firsts, |first| first.server_ms),
            step_ms_p50: percentile(&step_ms, 0.5),
            step_ms_p95: percentile(&step_ms, 0.95),
            step_ms_p99: percentile(&step_ms, 0.99),
            step_client_ms: mean(&steps, |step| step.client_ms),
            step_encode_ms: mean(&steps, |step| step.encode_ms),
            step_link_ms: mean(&steps, |step| step.link_ms),
            step_link_ms_p50: median(&steps.iter().map(|step| step.link_ms).collect::<Vec<_>>()),
            step_queue_ms: mean(&steps, |step| step.queue_ms),
            step_decode_ms: mean(&steps, |step| step.decode_ms),
            step_server_ms: mean(&steps, |step| step.server_ms),
            tokens_per_s: median(&all.iter().filter_map(Generation::tokens_per_s).collect::<Vec<_>>()),
            total_tokens_per_s: tokens as f64 / seconds,
            prompt_bytes: average(all.iter().filter_map(|one| Some(one.tokens.first()?.0.bytes[0] as f64))),
            step_bytes: average(later().map(|token| token.bytes[0] as f64)),
            token_bytes: average(later().map(|token| token.bytes[1] as f64)),
            response_s: average(all.iter().filter_map(|one| Some(one.tokens.last()?.1.as_secs_f64()))),
            version: crate::VERSION.to_string(),
            ..LiveRow::default()
        }
    }

    /// How far what was generated is from the unsplit model's own answer.
    fn add_quality(&self, cell: &LiveCell, wish: &SplitSession, found: &Generation, row: &mut LiveRow) -> Result<()> {
        let prompt = self.prompt(cell.prompt, 0);
        let answer = self.generate_unsplit(&prompt, cell.generate)?.ids();
        let same = found.ids().iter().zip(&answer).filter(|(a, b)| a == b).count();
        row.same_tokens = Some(same as f64 / answer.len() as f64);
        let [first, second] = &wish.codecs;
        let codecs = [RowCodec::new(&first.0, first.1)?, RowCodec::new(&second.0, second.1)?];
        let split = self.client.split();
        let far = forced_divergences(self.model, split, [&codecs[0], &codecs[1]], &prompt, &answer, self.grid.chunk)?;
        row.kl = Some(far.iter().map(|one| one.kl).sum::<f64>() / far.len() as f64);
        Ok(())
    }
}

fn average(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}
