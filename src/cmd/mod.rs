//! The command line: one file a subcommand.

/// `println!` that returns its error instead of panicking.
macro_rules! say {
    ($($arg:tt)*) => { crate::cmd::write_line(format_args!($($arg)*)) };
}

mod advise;
mod codec;
mod collect;
mod compare;
mod cpu_model;
mod device_check;
mod embedded_text;
mod gate;
mod generate;
mod layers;
mod link;
mod list;
mod near_lossless;
mod net_bench;
mod perplexity;
mod plan;
mod prepare;
mod profile;
mod ratio;
mod replay;
mod report;
mod run;
mod score;
mod selection;
mod serve;
mod simulate;
mod text;
mod threads;
mod trace;

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// What does it cost, in accuracy, bytes and time, to compress the activation that crosses the cut of a split language
/// model?
///
/// Start with `splitbench run smoke`: a small trained model and data of its own are part of the program.
#[derive(Parser)]
#[command(name = "splitbench", version = crate::VERSION, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::Args),
    Prepare(prepare::Args),
    Plan(plan::Args),
    Run(run::Args),
    Collect(collect::Args),
    Report(report::Args),
    Compare(compare::Args),
    Score(score::Args),
    Perplexity(perplexity::Args),
    Gate(gate::Args),
    DeviceCheck(device_check::Args),
    Generate(generate::Args),
    Serve(serve::Args),
    NetBench(net_bench::Args),
    Profile(profile::Args),
    Layers(layers::Args),
    NearLossless(near_lossless::Args),
    Advise(advise::Args),
    Simulate(simulate::Args),
    Link(link::Args),
    Codec(codec::Args),
    Trace(trace::Args),
    Replay(replay::Args),
}

impl Cli {
    /// Whether it runs until it is stopped, with memory that comes and goes with its clients.
    pub fn is_server(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }

    /// Does what was asked for.
    pub fn run(self) -> Result<()> {
        crate::progress::watch();
        let name = std::env::args_os().nth(1).unwrap_or_default().to_string_lossy().into_owned();
        let _activity = crate::progress::begin(name);
        match self.command {
            Command::List(args) => args.run(),
            Command::Prepare(args) => args.run(),
            Command::Plan(args) => args.run(),
            Command::Run(args) => args.run(),
            Command::Collect(args) => args.run(),
            Command::Report(args) => args.run(),
            Command::Compare(args) => args.run(),
            Command::Score(args) => args.run(),
            Command::Perplexity(args) => args.run(),
            Command::Gate(args) => args.run(),
            Command::DeviceCheck(args) => args.run(),
            Command::Generate(args) => args.run(),
            Command::Serve(args) => args.run(),
            Command::NetBench(args) => args.run(),
            Command::Profile(args) => args.run(),
            Command::Layers(args) => args.run(),
            Command::NearLossless(args) => args.run(),
            Command::Advise(args) => args.run(),
            Command::Simulate(args) => args.run(),
            Command::Link(args) => args.run(),
            Command::Codec(args) => args.run(),
            Command::Trace(args) => args.run(),
            Command::Replay(args) => args.run(),
        }
    }
}

/// Why a command that promises exit code 2 for it did not begin.
#[derive(Debug)]
pub struct WrongUsage(anyhow::Error);

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// Writes a line to standard output.
fn write_line(line: std::fmt::Arguments) -> Result<()> {
    write_text(format_args!("{line}\n"))
}

/// Writes to standard output, at once. A reader who goes away, such as `head`, is no failure; a full disk is.
fn write_text(text: std::fmt::Arguments) -> Result<()> {
    let mut out = std::io::stdout();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("writing to standard output"),
        _ => Ok(()),
    }
}
