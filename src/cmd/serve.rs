//! `splitbench serve`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use super::cpu_model::CpuModel;
use super::selection::parse_size;
use crate::live::address::Address;
use crate::live::engine::SessionPatience;
use crate::live::key::SharedKey;
use crate::live::server::{Server, ServerLimits, is_local};
use crate::model::SplitPoint;

/// Runs the layers after the cut for clients that run those before it.
///
/// The first line on standard output says where it listens. It loads its half of the weights only. Other machines reach it by
/// `ssh -L`, or at another address with a key that both sides have. Examples:
///   splitbench serve --layer 2
///   splitbench serve --model SmolLM2-135M-Instruct.Q4_1.gguf --layer 1 --listen 0.0.0.0:7077 --key-file key --metrics 127.0.0.1:9090
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    model: CpuModel,
    /// Split layer: layers 1 up to this one are the client's.
    #[arg(long, visible_alias = "split", value_name = "LAYER", default_value_t = 1)]
    layer: usize,
    /// HOST:PORT or unix:PATH; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7077")]
    listen: Address,
    /// File with a key of 16 bytes or more that clients must have; needed where other machines can connect.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Encrypt connections with the key; clients need --encrypt too (in a build with --features noise).
    #[arg(long)]
    encrypt: bool,
    /// Listen where other machines can connect, without a key.
    #[arg(long, conflicts_with = "key_file")]
    insecure: bool,
    /// Address that answers with what the server counts, in Prometheus' text format.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<Address>,
    /// Room for all sessions' keys and values; who finds none is told so.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    memory: f64,
    /// Most connections at a time.
    #[arg(long, value_name = "N", default_value = "256", value_parser = super::text::at_least_one)]
    connections: usize,
    /// Most rows of a packet.
    #[arg(long, value_name = "ROWS", default_value = "512", value_parser = super::text::at_least_one)]
    chunk: usize,
    /// Seconds that a client may take to shake hands.
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    handshake: Duration,
    /// Seconds that a frame may take from its first byte to its last.
    #[arg(long, value_name = "S", default_value = "10", value_parser = parse_seconds)]
    frame: Duration,
    /// Seconds after which a silent session is closed.
    #[arg(long, value_name = "S", default_value = "300", value_parser = parse_seconds)]
    idle: Duration,
    /// Seconds that a session is kept whose connection was lost.
    #[arg(long, value_name = "S", default_value = "60", value_parser = parse_seconds)]
    keep: Duration,
}

impl Args {
    /// Serves until it is stopped.
    pub fn run(self) -> Result<()> {
        let key = SharedKey::open(self.key_file.as_deref(), self.encrypt)?;
        let listener = self.listen.listen()?;
        if !is_local(&listener) && key.is_none() && !self.insecure {
            bail!(
                "{} can be reached by other machines: give --key-file, listen on 127.0.0.1 and use ssh -L, or say --insecure",
                listener.address()
            );
        }
        let metrics = self.metrics.as_ref().map(Address::listen).transpose()?;
        let model = self.model.load()?;
        let limits = ServerLimits {
            memory: self.memory as usize,
            connections: self.connections,
            rows: self.chunk,
            handshake: self.handshake,
            frame: self.frame,
            patience: SessionPatience { idle: self.idle, kept: self.keep },
        };
        let server = Server::new(&model, SplitPoint { after_layer: self.layer }, listener, key, limits)?;
        say!("listening on {}", server.listener().address())?;
        tell!(
            "model {}, layers {} to {}, {} rows a packet at most",
            model.name,
            self.layer + 1,
            model.config.num_hidden_layers,
            server.hello().most_rows
        );
        if let Some(listener) = metrics {
            say!("metrics on {}", listener.address())?;
            let counted = server.metrics();
            std::thread::Builder::new().name("metrics".into()).spawn(move || counted.serve(&listener))?;
        }
        server.run()
    }
}

/// Seconds above zero.
fn parse_seconds(text: &str) -> Result<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e9 => Ok(Duration::from_secs_f64(seconds)),
        _ => bail!("{text:?} is no number of seconds above zero"),
    }
}
