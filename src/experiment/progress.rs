//! Progress with a time estimate: a bar on a terminal, a line every 30 s elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Counts (request, cell) pairs.
pub struct Progress {
    bar: ProgressBar,
    line: Cell<Option<Instant>>,
}

impl Progress {
    /// A bar of `total` pairs on standard error.
    pub fn new(total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% of {len} sequences, {eta} left") {
            bar.set_style(style);
        }
        Self { bar, line: Cell::new((!terminal).then(Instant::now)) }
    }

    /// What is being done now.
    pub fn doing(&self, what: &str) {
        self.bar.set_message(what.to_string());
    }

    /// `count` more pairs are to be done.
    pub fn expect(&self, count: u64) {
        self.bar.inc_length(count);
    }

    /// `count` more pairs are done.
    pub fn add(&self, count: u64) {
        self.bar.inc(count);
        if let Some(last) = self.line.get().filter(|last| last.elapsed() >= LINE_EVERY) {
            self.line.set(Some(last + last.elapsed()));
            let (at, of) = (self.bar.position(), self.bar.length().unwrap_or(0));
            let left = HumanDuration(self.bar.eta());
            tell!("{}: {at} of {of} sequences, about {left} left", self.bar.message());
        }
    }

    /// Prints a line without tearing the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| tell!("{line}"));
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
