//! How far to compress: the options of every verb that runs one codec.

use anyhow::Result;

use splitbench_codec::{Accounting, Budget, CodecSpec, Rate};

/// `--ratio` and `--accounting`.
#[derive(clap::Args)]
pub(super) struct RatioArgs {
    /// Compression ratio, at least 1, or 8 if not given; ignored for a codec of fixed rate (`splitbench list codecs` says
    /// which).
    #[arg(long, alias = "ratios")]
    ratio: Option<f64>,
    /// What the ratio counts: elements, or wire; elements if not given.
    #[arg(long)]
    accounting: Option<Accounting>,
}

impl RatioArgs {
    /// Fails for a ratio below 1.
    pub fn budget(&self) -> Result<Budget> {
        Budget::new(self.ratio.unwrap_or(8.0), self.accounting.unwrap_or(Accounting::Elements))
    }

    /// Whether the user gave any of them.
    pub fn are_given(&self) -> bool {
        self.ratio.is_some() || self.accounting.is_some()
    }
}

/// What was asked for; nothing of a codec that has a rate of its own.
pub(super) fn requested(spec: &CodecSpec, budget: Budget) -> Option<Budget> {
    (spec.info().rate == Rate::Budget).then_some(budget)
}
