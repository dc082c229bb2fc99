//! Generation, token by token: by the whole model here, or by the client half here and a server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use splitbench_codec::{Activation, Budget, Codec, CodecSpec, Packet, RowScope, build};

use super::client::{Answer, LiveSession, ServerAddress, Traffic};
use super::frame::ServerTimes;
use super::message::{Hello, OpenRequest};
use super::sampler::{Sampler, Sampling};
use crate::model::source::Model;
use crate::model::split::to_values;
use crate::model::{Cache, Decoder, DecoderPart, SplitPoint};

/// A token that was generated, and what it took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeneratedToken {
    /// Its id.
    pub id: u32,
    /// Its log-probability under the model's own distribution, nats.
    pub log_probability: f64,
    /// What it took.
    pub times: TokenTimes,
    /// Bytes of frames for it, to the server and back.
    pub bytes: [usize; 2],
}

/// Where the time of one token went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TokenTimes {
    /// The layers that ran here.
    pub client: Duration,
    /// Compressing what they gave.
    pub encode: Duration,
    /// From the first packet's first byte to the token.
    pub total: Duration,
    /// The server's own account.
    pub server: ServerTimes,
}

impl TokenTimes {
    /// What is left: the link, both sockets and the protocol. Chunks of a prompt overlap, which it counts as none.
    pub fn link(&self) -> Duration {
        self.total.saturating_sub(self.client + self.encode + self.server.total())
    }
}

/// What generates.
pub trait Generator: Send {
    /// Takes in a prompt and chooses the token after it.
    fn prompt(&mut self, ids: &[u32]) -> Result<GeneratedToken>;

    /// Takes in the next token and chooses the one after it.
    fn step(&mut self, id: u32) -> Result<GeneratedToken>;

    /// Most tokens of prompt and answer.
    fn most_tokens(&self) -> usize;
}

/// The model in one process, uncut.
pub struct UnsplitGenerator<'a> {
    decoder: &'a Decoder,
    cache: Cache,
    sampler: Sampler,
    chunk: usize,
}

impl<'a> UnsplitGenerator<'a> {
    /// For sessions of `most_tokens`; prompts are taken in `chunk` tokens at a time.
    pub fn new(model: &'a Model, most_tokens: usize, chunk: usize, sampling: Sampling) -> Result<Self> {
        let decoder = model.decoder()?;
        let cache = Cache::new(&model.config, DecoderPart::Whole.layers(&model.config), most_tokens);
        Ok(Self { decoder, cache, sampler: Sampler::new(sampling)?, chunk })
    }

    fn take_in(&mut self, ids: &[u32]) -> Result<GeneratedToken> {
        let start = Instant::now();
        let mut last = Vec::new();
        for chunk in ids.chunks(self.chunk) {
            last = self.decoder.extend_to_last(to_values(&self.decoder.embed(chunk)?)?, &mut self.cache)?;
        }
        let logits = self.decoder.step_logits(&last, 1)?;
        let choice = self.sampler.sample(&logits, self.cache.tokens() as u64)?;
        let total = start.elapsed();
        let times = TokenTimes { client: total, total, ..TokenTimes::default() };
        Ok(GeneratedToken { id: choice.id, log_probability: choice.log_probability, times, bytes: [0; 2] })
    }
}

impl Generator for UnsplitGenerator<'_> {
    fn prompt(&mut self, ids: &[u32]) -> Result<GeneratedToken> {
        self.take_in(ids)
    }

    fn step(&mut self, id: u32) -> Result<GeneratedToken> {
        self.take_in(&[id])
    }

    fn most_tokens(&self) -> usize {
        self.cache.most_tokens()
    }
}

/// One way to send rows.
pub struct RowCodec {
    codec: Box<dyn Codec>,
    budget: Option<Budget>,
}

impl RowCodec {
    /// Of a spec; `budget` for those that take one.
    pub fn new(spec: &CodecSpec, budget: Option<Budget>) -> Result<Self> {
        Ok(Self { codec: build(spec, None)?, budget })
    }

    /// The packet of some rows.
    pub fn encode(&self, rows: &Activation) -> Result<Packet> {
        self.codec.encode(rows, self.budget)
    }

    /// What the server will have of a packet.
    pub fn decode(&self, packet: &Packet) -> Result<Activation> {
        self.codec.decode(packet)
    }
}

/// How a session over a connection is to be.
pub struct SplitSession<'a> {
    /// Where the server is.
    pub server: &'a ServerAddress,
    /// Codecs of prompt and steps, with their budgets.
    pub codecs: [(CodecSpec, Option<Budget>); 2],
    /// Most tokens.
    pub most_tokens: usize,
    /// Rows of a packet of the prompt.
    pub chunk: usize,
    /// How the server chooses.
    pub sampling: Sampling,
    /// Whether a codec may send steps whose rows are joint.
    pub joint_steps: bool,
}

/// The client half, which can have one session after another.
pub struct ClientHalf {
    decoder: Decoder,
    hello: Hello,
}

impl ClientHalf {
    /// Asks the server where the model is cut, unless `layer` says it, and loads the layers before.
    pub fn load(model: &Model, layer: Option<usize>, server: &ServerAddress) -> Result<Self> {
        ensure!(model.placement.device.is_cpu(), "a client generates on the CPU; take --device cpu");
        let mut hello = Hello::new(model, layer, model.config.most_tokens(), model.config.most_tokens());
        let after_layer = server.connect(&hello)?.server.layer.context("the server names no layer")?;
        let split = SplitPoint { after_layer };
        model.config.check_split(split)?;
        hello.layer = Some(after_layer);
        Ok(Self { decoder: model.part(DecoderPart::Client(split))?, hello })
    }

    /// Where the model is cut.
    pub fn split(&self) -> SplitPoint {
        SplitPoint { after_layer: self.hello.layer.expect("set when it was loaded") }
    }

    /// Its layers.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Opens a session.
    pub fn open(&self, wish: &SplitSession) -> Result<SplitGenerator<'_>> {
        let SplitSession { server, codecs: [prompt, step], most_tokens, chunk, sampling, joint_steps } = wish;
        ensure!(
            *joint_steps || step.0.rows() == RowScope::Local,
            "codec {} mixes the rows of a packet (rows: joint), and a step's packet has one row: take one whose rows are local for \
             the steps (`splitbench list codecs`), such as int8, or ask for it with --joint-steps",
            step.0
        );
        let request = OpenRequest::new([&prompt.0, &step.0], *most_tokens, *sampling)?;
        let session = LiveSession::open(server, &self.hello, request)?;
        let layers = DecoderPart::Client(self.split()).layers(self.decoder.config());
        let most_rows = session.server().most_rows;
        Ok(SplitGenerator {
            decoder: &self.decoder,
            cache: Cache::new(self.decoder.config(), layers, *most_tokens),
            prompt_codec: RowCodec::new(&prompt.0, prompt.1)?,
            step_codec: RowCodec::new(&step.0, step.1)?,
            session,
            chunk: (*chunk).min(most_rows).max(1),
        })
    }
}

/// The client half of a session, and the server's at the other end.
pub struct SplitGenerator<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) cache: Cache,
    pub(super) prompt_codec: RowCodec,
    step_codec: RowCodec,
    pub(super) session: LiveSession,
    chunk: usize,
}

impl SplitGenerator<'_> {
    /// Runs the client half on ids and sends what it gives; answers are not waited for.
    fn send(&mut self, ids: &[u32], more: bool, is_step: bool, times: &mut TokenTimes) -> Result<()> {
        let start = Instant::now();
        let position = self.cache.tokens();
        let mut values = to_values(&self.decoder.embed(ids)?)?;
        self.decoder.extend(&mut values, &mut self.cache)?;
        let activation = Activation::new(ids.len(), self.decoder.config().hidden_size, values)?;
        times.client += start.elapsed();
        let start = Instant::now();
        let codec = if is_step { &self.step_codec } else { &self.prompt_codec };
        let packet = codec.encode(&activation)?;
        times.encode += start.elapsed();
        self.session.send(position, packet, more)
    }

    fn add(times: &mut TokenTimes, server: ServerTimes) {
        // Later chunks of a prompt wait for the earlier ones, whose own times count already.
        if times.server.compute.is_zero() {
            times.server.queue = server.queue;
        }
        times.server.decode += server.decode;
        times.server.compute += server.compute;
    }

    /// Ends the session.
    pub fn close(self) -> Result<Traffic> {
        self.session.close()
    }

    /// Bytes so far.
    pub fn traffic(&self) -> Traffic {
        self.session.traffic
    }
}

impl Generator for SplitGenerator<'_> {
    fn prompt(&mut self, ids: &[u32]) -> Result<GeneratedToken> {
        let (start, before) = (Instant::now(), self.session.traffic);
        let mut times = TokenTimes::default();
        // Chunks are on their way while the next one is computed.
        let chunks = ids.chunks(self.chunk).len();
        for (nth, chunk) in ids.chunks(self.chunk).enumerate() {
            self.send(chunk, nth + 1 < chunks, false, &mut times)?;
        }
        for _ in 1..chunks {
            match self.session.receive()? {
                Answer::Accepted(server) => Self::add(&mut times, server),
                other => bail!("{other:?} in the middle of a prompt"),
            }
        }
        self.finish(start, before, times)
    }

    fn step(&mut self, id: u32) -> Result<GeneratedToken> {
        let (start, before) = (Instant::now(), self.session.traffic);
        let mut times = TokenTimes::default();
        self.send(&[id], false, true, &mut times)?;
        self.finish(start, before, times)
    }

    fn most_tokens(&self) -> usize {
        self.cache.most_tokens()
    }
}

impl SplitGenerator<'_> {
    fn finish(&mut self, start: Instant, before: Traffic, mut times: TokenTimes) -> Result<GeneratedToken> {
        let Answer::Token(reply) = self.session.receive()? else { bail!("no token came after the last row") };
        times.total = start.elapsed();
        Self::add(&mut times, reply.times);
        let Traffic { up, down, .. } = self.session.traffic;
        let bytes = [up - before.up, down - before.down];
        Ok(GeneratedToken { id: reply.id, log_probability: reply.log_probability, times, bytes })
    }
}

/// A generation, with its times.
#[derive(Debug, Clone, Default)]
pub struct Generation {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// What was generated, and when each came after the prompt was given.
    pub tokens: Vec<(GeneratedToken, Duration)>,
}

impl Generation {
    /// Generates up to `most` tokens, or until one of `ends`; `each` sees every token as it comes, and may stop it.
    pub fn run(
        generator: &mut dyn Generator,
        prompt: &[u32],
        most: usize,
        ends: impl Fn(u32) -> bool,
        mut each: impl FnMut(u32) -> Result<()>,
    ) -> Result<Self> {
        ensure!(!prompt.is_empty(), "the prompt has no token");
        let room = generator.most_tokens();
        ensure!(
            prompt.len().saturating_add(most) <= room + 1,
            "a prompt of {} tokens and {most} more do not fit in a session of {room}",
            prompt.len()
        );
        let start = Instant::now();
        let mut out = Self { prompt_tokens: prompt.len(), tokens: Vec::with_capacity(most) };
        let mut token = generator.prompt(prompt)?;
        loop {
            out.tokens.push((token, start.elapsed()));
            if ends(token.id) {
                return Ok(out);
            }
            each(token.id)?;
            if out.tokens.len() >= most {
                return Ok(out);
            }
            token = generator.step(token.id)?;
        }
    }

    /// Ids of what was generated.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|(token, _)| token.id).collect()
    }

    /// Time to the first token, with its parts.
    pub fn first(&self) -> Option<TokenTimes> {
        self.tokens.first().map(|(token, _)| token.times)
    }

    /// What each later token took, ascending.
    pub fn step_seconds(&self) -> Vec<f64> {
        let mut seconds: Vec<f64> = self.tokens.windows(2).map(|pair| (pair[1].1 - pair[0].1).as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    }

    /// Tokens per second after the first: (n - 1) / (last - first).
    pub fn tokens_per_s(&self) -> Option<f64> {
        let [first, .., last] = self.tokens.as_slice() else { return None };
        Some((self.tokens.len() - 1) as f64 / (last.1 - first.1).as_secs_f64())
    }
}

/// Parts of a time, milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TimeParts {
    /// From the prompt to its token.
    pub total_ms: f64,
    /// The client half.
    pub client_ms: f64,
    /// Compressing.
    pub encode_ms: f64,
    /// What is left: the link, sockets, protocol.
    pub link_ms: f64,
    /// Waiting at the server.
    pub queue_ms: f64,
    /// Decompressing.
    pub decode_ms: f64,
    /// The server half.
    pub server_ms: f64,
}

impl From<TokenTimes> for TimeParts {
    fn from(times: TokenTimes) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            total_ms: ms(times.total),
            client_ms: ms(times.client),
            encode_ms: ms(times.encode),
            link_ms: ms(times.link()),
            queue_ms: ms(times.server.queue),
            decode_ms: ms(times.server.decode),
            server_ms: ms(times.server.compute),
        }
    }
}
