//! How far to compress: the options of every verb that runs one codec.

use anyhow::Result;

use crate::codec::{Accounting, Budget, CodecSpec, Rate};

/// `--ratio` and `--accounting`.
#[derive(clap::Args)]
pub(super) struct RatioArgs {
    /// Compression ratio, at least 1; ignored for a codec of fixed rate (`splitbench list codecs` says which).
    #[arg(long, default_value_t = 8.0)]
    pub ratio: f64,
    /// What the ratio counts: elements or wire.
    #[arg(long, default_value = "elements")]
    pub accounting: Accounting,
}

impl RatioArgs {
    /// Fails for a ratio below 1.
    pub fn budget(&self) -> Result<Budget> {
        Budget::new(self.ratio, self.accounting)
    }
}

/// What was asked for; nothing of a codec that has a rate of its own.
pub(super) fn requested(spec: &CodecSpec, budget: Budget) -> Option<Budget> {
    (spec.info().rate == Rate::Budget).then_some(budget)
}
