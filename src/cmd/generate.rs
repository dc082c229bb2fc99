//! `splitbench generate`.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;
use splitbench_codec::{Accounting, Budget, CodecSpec, Rate};

use super::cpu_model::CpuModel;
use super::link::link_profile;
use super::text::{at_least_one, parse_ratio};
use crate::live::address::Address;
use crate::live::chat::{ChatMessage, ChatTemplate, EndTokens};
use crate::live::client::{ServerAddress, Traffic};
use crate::live::generate::{ClientHalf, Generation, Generator, SplitSession, TimeParts, UnsplitGenerator};
use crate::live::key::SharedKey;
use crate::live::link::LinkProfile;
use crate::live::relay::{self, Relay};
use crate::live::sampler::Sampling;
use crate::live::text_stream::TextStream;
use crate::model::in_pool;
use crate::model::source::Model;
use crate::score::percentile;

/// Generates text: by the whole model here, or by the layers before the cut here and a server.
///
/// Text goes to standard output as it comes, what it took to standard error. Examples:
///   splitbench generate --prompt "The cat sat on" -n 16
///   splitbench generate --connect 127.0.0.1:7077 --prompt "The cat sat on" -n 16 --codec int8 --prefill-codec fc --ratio 4
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    model: CpuModel,
    /// Address of a `splitbench serve`: HOST:PORT or unix:PATH. Without it the model is not cut.
    #[arg(long, value_name = "ADDRESS")]
    connect: Option<Address>,
    /// Speak through an emulated link: a preset, a TOML file, or DOWN/UP,DELAY[,JITTER] (`splitbench list links`).
    #[arg(long, value_name = "LINK", requires = "connect", value_parser = link_profile)]
    link: Option<LinkProfile>,
    /// File with the key that the server has.
    #[arg(long, value_name = "FILE", requires = "connect")]
    key_file: Option<PathBuf>,
    /// Encrypt the connection with the key, where the server does (in a build with --features noise).
    #[arg(long, requires = "connect")]
    encrypt: bool,
    /// Split layer, which must be the server's; its own if not given.
    #[arg(long, visible_alias = "split", value_name = "LAYER", requires = "connect")]
    layer: Option<usize>,
    /// What to go on from; `-` reads standard input.
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Take the prompt as it is, where the model has a chat template.
    #[arg(long)]
    raw: bool,
    /// Most tokens to generate.
    #[arg(short = 'n', long, value_name = "N", default_value = "64", value_parser = at_least_one)]
    tokens: usize,
    /// Codec of the activations, with its options.
    #[arg(long, alias = "codecs", value_name = "CODEC", default_value = "noop", requires = "connect")]
    codec: CodecSpec,
    /// Let a codec send the steps that mixes the rows of a packet (`splitbench list codecs`: joint), though a step has one row.
    #[arg(long, requires = "connect")]
    joint_steps: bool,
    /// Another codec for those of the prompt.
    #[arg(long, value_name = "CODEC", requires = "connect")]
    prefill_codec: Option<CodecSpec>,
    /// Compression ratio of codecs that take one, at least 1.
    #[arg(long, alias = "ratios", value_name = "RATIO", default_value = "8", value_parser = parse_ratio, requires = "connect")]
    ratio: f64,
    /// What the ratio counts: elements, or wire.
    #[arg(long, default_value = "elements", requires = "connect")]
    accounting: Accounting,
    /// Rows of a packet of the prompt.
    #[arg(long, value_name = "ROWS", default_value = "512", value_parser = at_least_one)]
    chunk: usize,
    /// What logits are divided by; 0 takes the most likely token.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Probability that the most likely tokens have together, to which the choice is confined.
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Decides the random choices.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on after a token that ends a text.
    #[arg(long)]
    ignore_end: bool,
    /// Print one JSON object instead of the text.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct GenerationReport {
    model: String,
    model_sha256: String,
    split_layer: Option<usize>,
    prompt_codec: Option<String>,
    step_codec: Option<String>,
    prompt_tokens: usize,
    tokens: usize,
    ids: Vec<u32>,
    text: String,
    log_probabilities: Vec<f64>,
    first_token: TimeParts,
    tokens_per_s: Option<f64>,
    step_ms_p50: Option<f64>,
    step_ms_p95: Option<f64>,
    traffic: Option<Traffic>,
    version: String,
}

impl Args {
    /// Generates.
    pub fn run(mut self) -> Result<()> {
        if self.prompt == "-" {
            self.prompt.clear();
            std::io::stdin().read_to_string(&mut self.prompt).context("reading the prompt from standard input")?;
        }
        let model = self.model.load()?;
        let ids = self.prompt_ids(&model)?;
        let room = model.config.most_tokens();
        ensure!(
            ids.len().saturating_add(self.tokens) <= room,
            "the prompt has {} tokens; with -n {} they are more than the {room} that the model takes",
            ids.len(),
            self.tokens
        );
        let most_tokens = ids.len() + self.tokens;
        let sampling = Sampling { temperature: self.temperature, top_p: self.top_p, seed: self.seed };
        let Some(address) = &self.connect else {
            let mut generator = UnsplitGenerator::new(&model, most_tokens, self.chunk, sampling)?;
            return self.generate(&model, &mut generator, &ids, None, |_| Ok(None));
        };
        let key = SharedKey::open(self.key_file.as_deref(), self.encrypt)?;
        // Dropping the relay would break its connections, so it stays until the session is closed.
        let relay = self.link.as_ref().map(|profile| relay::shape(address, profile, self.seed)).transpose()?;
        let address = relay.as_ref().map_or(address, Relay::address);
        let server = ServerAddress { address: address.clone(), key };
        let client = ClientHalf::load(&model, self.layer, &server)?;
        let with_budget = |spec: &CodecSpec| {
            let budget = Budget { ratio: self.ratio, accounting: self.accounting };
            (spec.clone(), (spec.info().rate == Rate::Budget).then_some(budget))
        };
        let codecs = [self.prefill_codec.as_ref().unwrap_or(&self.codec), &self.codec].map(with_budget);
        let joint_steps = self.joint_steps;
        let wish = SplitSession { server: &server, codecs, most_tokens, chunk: self.chunk, sampling, joint_steps };
        let mut generator = client.open(&wish)?;
        let layer = client.split().after_layer;
        self.generate(&model, &mut generator, &ids, Some(layer), |generator| Ok(Some(generator.traffic())))?;
        generator.close()?;
        Ok(())
    }

    fn prompt_ids(&self, model: &Model) -> Result<Vec<u32>> {
        let template = if self.raw { None } else { ChatTemplate::for_model(model)? };
        if let Some(template) = template {
            return template.encode(&model.tokenizer, &[ChatMessage::new("user", &self.prompt)]);
        }
        let encoding = model.tokenizer.encode_fast(self.prompt.as_str(), true);
        let ids = encoding.map_err(|error| anyhow!("the prompt: {error}"))?.get_ids().to_vec();
        ensure!(!ids.is_empty(), "--prompt has no token");
        Ok(ids)
    }

    fn generate<G: Generator>(
        &self,
        model: &Model,
        generator: &mut G,
        prompt: &[u32],
        split_layer: Option<usize>,
        traffic: impl FnOnce(&G) -> Result<Option<Traffic>>,
    ) -> Result<()> {
        let ends = EndTokens::for_model(model)?;
        let mut text = TextStream::new(&model.tokenizer, true);
        let mut whole = String::new();
        let show =
            |piece: &str| -> Result<()> { if self.json { Ok(()) } else { super::write_text(format_args!("{piece}")) } };
        let is_end = |id: u32| !self.ignore_end && ends.contains(id);
        let tell = |id: u32| {
            let piece = text.push(id)?;
            whole += &piece;
            show(&piece)
        };
        let generation = in_pool(|| Generation::run(generator, prompt, self.tokens, is_end, tell))?;
        let rest = text.finish()?;
        whole += &rest;
        show(&(rest + "\n"))?;
        let first = TimeParts::from(generation.first().context("no token was generated")?);
        let steps = generation.step_seconds();
        let traffic = traffic(generator)?;
        if self.json {
            let at = |share: f64| (!steps.is_empty()).then(|| percentile(&steps, share) * 1e3);
            let report = GenerationReport {
                model: model.name.clone(),
                model_sha256: model.sha256.clone(),
                split_layer,
                prompt_codec: split_layer.map(|_| self.prefill_codec.as_ref().unwrap_or(&self.codec).to_string()),
                step_codec: split_layer.map(|_| self.codec.to_string()),
                prompt_tokens: generation.prompt_tokens,
                tokens: generation.tokens.len(),
                ids: generation.ids(),
                text: whole,
                log_probabilities: generation.tokens.iter().map(|(token, _)| token.log_probability).collect(),
                first_token: first,
                tokens_per_s: generation.tokens_per_s(),
                step_ms_p50: at(0.5),
                step_ms_p95: at(0.95),
                traffic,
                version: crate::VERSION.to_string(),
            };
            return say!("{}", serde_json::to_string_pretty(&report)?);
        }
        let rate = generation.tokens_per_s().map_or_else(String::new, |rate| format!(", {rate:.1} tokens/s"));
        let counts = format!("{} prompt tokens, {} generated", generation.prompt_tokens, generation.tokens.len());
        match traffic {
            None => tell!("TTFT {:.0} ms{rate}, {counts}", first.total_ms),
            Some(Traffic { up, down, lost }) => tell!(
                "TTFT {:.0} ms (client {:.1}, encode {:.1}, link {:.1}, queue {:.1}, decode {:.1}, server {:.1}){rate}, {} up, {} \
                 down, {counts}{}",
                first.total_ms,
                first.client_ms,
                first.encode_ms,
                first.link_ms,
                first.queue_ms,
                first.decode_ms,
                first.server_ms,
                bytes(up),
                bytes(down),
                if lost > 0 { format!(", {lost} connections lost") } else { String::new() }
            ),
        }
        Ok(())
    }
}

/// Bytes as people say them; kB is 1000.
fn bytes(count: usize) -> String {
    match count as f64 {
        count if count >= 1e6 => format!("{:.2} MB", count / 1e6),
        count if count >= 1e3 => format!("{:.1} kB", count / 1e3),
        count => format!("{count} B"),
    }
}
