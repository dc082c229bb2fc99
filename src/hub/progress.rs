//! Progress of a download: a bar on a terminal, a line every 30 s elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Counts bytes of one file.
pub struct Progress {
    bar: ProgressBar,
    line: Option<Instant>,
}

impl Progress {
    /// A bar of `size` bytes on standard error.
    pub fn new(what: &str, size: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(size), target);
        let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_string());
        Self { bar, line: (!terminal).then(Instant::now) }
    }

    /// So many bytes are here now.
    pub fn at(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
        if let Some(last) = self.line.filter(|last| last.elapsed() >= LINE_EVERY) {
            self.line = Some(last + last.elapsed());
            let of = HumanBytes(self.bar.length().unwrap_or(0));
            tell!("{}: {} of {of}", self.bar.message(), HumanBytes(bytes));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
