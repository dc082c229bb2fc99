//! `splitbench link`.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::live::address::Address;
use crate::live::link::{self, LinkProfile};
use crate::live::relay::{Relay, RelaySettings};

/// Relay connections over an emulated link: rates both ways, delay, jitter, broken connections.
///
/// The first line on standard output is `listening on ADDRESS`, with the real port where 0 was asked for; each connection
/// that ends is a line on standard error. Ctrl-C ends it. `splitbench list links` shows the presets. Examples:
///   splitbench link --listen 127.0.0.1:7071 --to 127.0.0.1:7070 --link home-cable
///   splitbench link --to unix:/tmp/split.sock --link 20mbit/5mbit,40ms,2ms --drop-every 5s --seed 1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Where clients connect: HOST:PORT or unix:PATH; port 0 is a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = address)]
    listen: Address,
    /// The server: HOST:PORT or unix:PATH.
    #[arg(long, visible_alias = "connect", value_name = "ADDRESS", value_parser = address)]
    to: Address,
    /// Preset, TOML file, or DOWN/UP,DELAY[,JITTER]: rate to the client, rate from it, delay of one way.
    #[arg(long, value_name = "LINK", value_parser = link_profile)]
    link: LinkProfile,
    /// Seed of jitter and of --drop-every.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Break each connection when so many bytes have passed, both ways together.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    drop_after: Option<u64>,
    /// Break each connection at a random time with this mean, such as 5s or 500ms.
    #[arg(long, value_name = "TIME", value_parser = mean_time)]
    drop_every: Option<Duration>,
    /// Print the first line as JSON, with the link's numbers.
    #[arg(long)]
    json: bool,
}

/// The first line of `--json`.
#[derive(Serialize)]
struct Listening<'a> {
    listening: String,
    to: String,
    seed: u64,
    link: &'a LinkProfile,
}

fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error| format!("{error:#}"))
}

pub(super) fn link_profile(text: &str) -> Result<LinkProfile, String> {
    link::find(text).map_err(|error| format!("{error:#}"))
}

fn mean_time(text: &str) -> Result<Duration, String> {
    match link::parse_time(text) {
        Ok(Duration::ZERO) => Err("0: no connection would live".into()),
        other => other.map_err(|error| format!("{error:#}")),
    }
}

impl Args {
    /// Relays until it is ended.
    pub fn run(self) -> Result<()> {
        // Before anything is said: whoever waits for the first line may end it at once.
        let end = EndSignal::new()?;
        let settings = RelaySettings {
            profile: self.link,
            seed: self.seed,
            drop_after: self.drop_after,
            drop_every: self.drop_every,
        };
        let profile = settings.profile.clone();
        let listener = self.listen.listen()?;
        let relay =
            Relay::start(listener, self.to.clone(), settings, |report| crate::progress::say(&report.to_string()))?;
        if self.json {
            let (listening, to) = (relay.address().to_string(), self.to.to_string());
            say!("{}", serde_json::to_string(&Listening { listening, to, seed: self.seed, link: &profile })?)?;
        } else {
            say!("listening on {}", relay.address())?;
            say!("to {} over {profile} ({})", self.to, profile.name)?;
        }
        end.wait();
        drop(relay);
        Ok(())
    }
}

/// Ctrl-C or SIGTERM.
#[cfg(unix)]
struct EndSignal(signal_hook::iterator::Signals);

#[cfg(unix)]
impl EndSignal {
    fn new() -> Result<Self> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map(Self).context("waiting for Ctrl-C")
    }

    fn wait(mut self) {
        let _ = self.0.forever().next();
        // A second one ends the program the usual way, should the relay's end take long.
        std::thread::spawn(move || {
            if let Some(signal) = self.0.forever().next() {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        });
    }
}

/// Ctrl-C ends the program by itself there.
#[cfg(not(unix))]
struct EndSignal;

#[cfg(not(unix))]
impl EndSignal {
    fn new() -> Result<Self> {
        Ok(Self)
    }

    fn wait(self) {
        loop {
            std::thread::park();
        }
    }
}
