//! The command line: one file a subcommand.

mod train_pocket;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What does it cost, in accuracy, bytes and time, to compress the activation that crosses the cut of a split language
/// model?
#[derive(Parser)]
#[command(version = crate::VERSION, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    TrainPocket(train_pocket::Args),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::TrainPocket(args) => args.run(),
        }
    }
}
