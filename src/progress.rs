//! What is being done: a bar on a terminal, elsewhere a line on standard error at least every 30 s, whatever it is.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Seconds between two lines where there is no terminal; [`EVERY_VARIABLE`] changes it.
const EVERY: f64 = 30.0;

/// Environment variable with seconds between two lines.
const EVERY_VARIABLE: &str = "SPLITBENCH_PROGRESS_SECONDS";

/// What an activity counts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    /// Nothing: it is at work.
    None,
    /// (request, cell) pairs.
    Sequences,
    /// Bytes of a file.
    Bytes,
}

/// Something that takes time, until it is dropped. One may begin within another.
pub struct Activity {
    number: u64,
    bar: ProgressBar,
}

struct ActivityEntry {
    number: u64,
    bar: ProgressBar,
    unit: Unit,
}

#[derive(Default)]
struct ProgressState {
    begun: u64,
    at_work: Vec<ActivityEntry>,
}

static STATE: Mutex<ProgressState> = Mutex::new(ProgressState { begun: 0, at_work: Vec::new() });

fn state() -> MutexGuard<'static, ProgressState> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins something that cannot be counted.
pub fn begin(what: impl Into<String>) -> Activity {
    Activity::new(what.into(), None, Unit::None, "{msg}, {elapsed}")
}

/// Begins to score `total` (request, cell) pairs.
pub fn sequences(what: impl Into<String>, total: u64) -> Activity {
    let style = "{msg} {wide_bar} {percent}% of {len} sequences, {eta} left";
    Activity::new(what.into(), Some(total), Unit::Sequences, style)
}

/// Begins to fetch a file of `total` bytes.
pub fn bytes(what: impl Into<String>, total: u64) -> Activity {
    let style = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    Activity::new(what.into(), Some(total), Unit::Bytes, style)
}

impl Activity {
    fn new(what: String, total: Option<u64>, unit: Unit, style: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target);
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what);
        let mut state = state();
        if terminal {
            // One bar at a time.
            if let Some(outer) = state.at_work.last() {
                outer.bar.set_draw_target(ProgressDrawTarget::hidden());
            }
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        state.begun += 1;
        let number = state.begun;
        state.at_work.push(ActivityEntry { number, bar: bar.clone(), unit });
        Self { number, bar }
    }

    /// What is being done now.
    pub fn set_message(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// `count` more are to be done.
    pub fn expect(&self, count: u64) {
        self.bar.inc_length(count);
    }

    /// `count` more are done.
    pub fn add(&self, count: u64) {
        self.bar.inc(count);
    }

    /// So many are done now.
    pub fn set_position(&self, count: u64) {
        self.bar.set_position(count);
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        let mut state = state();
        state.at_work.retain(|entry| entry.number != self.number);
        if std::io::stderr().is_terminal()
            && let Some(outer) = state.at_work.last()
        {
            outer.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// Prints a line without tearing a bar.
pub fn say(line: &str) {
    let bar = state().at_work.last().map(|entry| entry.bar.clone());
    match bar {
        Some(bar) => bar.suspend(|| tell!("{line}")),
        None => tell!("{line}"),
    }
}

/// Begins to print lines from now on where standard error is no terminal; the thread ends with the program.
pub fn watch() {
    if std::io::stderr().is_terminal() {
        return;
    }
    let seconds = std::env::var(EVERY_VARIABLE).ok().and_then(|text| text.parse().ok());
    let every = seconds.filter(|seconds: &f64| *seconds >= 0.01 && *seconds <= 86_400.0).unwrap_or(EVERY);
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs_f64(every));
            if let Some(line) = line() {
                tell!("{line}");
            }
        }
    });
}

/// The longest time that is told as what is left.
const LONGEST: Duration = Duration::from_secs(100 * 24 * 3600);

/// What is being done, and how far it is.
fn line() -> Option<String> {
    let state = state();
    let ActivityEntry { bar, unit, .. } = state.at_work.last()?;
    let (what, at) = (bar.message(), bar.position());
    let total = bar.length().unwrap_or(0);
    Some(match unit {
        Unit::None => format!("{what}: {} so far", HumanDuration(bar.elapsed())),
        Unit::Sequences => {
            // Where nothing has moved for long the bar expects it never to.
            let left = Some(bar.eta()).filter(|eta| *eta < LONGEST);
            let left = left.map_or(String::new(), |left| format!(", about {} left", HumanDuration(left)));
            format!("{what}: {at} of {total} sequences{left}")
        }
        Unit::Bytes => format!("{what}: {} of {}", HumanBytes(at), HumanBytes(total)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, as what is at work is known to the whole program.
    #[test]
    fn the_innermost_activity_is_told() {
        let outer = sequences("scoring piqa", 10);
        outer.add(4);
        let inner = begin("calibrating on piqa");
        assert!(line().unwrap().starts_with("calibrating on piqa: "));
        drop(inner);
        assert!(line().unwrap().starts_with("scoring piqa: 4 of 10 sequences, about "));
        outer.set_message("scoring qasc");
        outer.expect(5);
        assert!(line().unwrap().starts_with("scoring qasc: 4 of 15 sequences"));
        let file = bytes("model.safetensors", 2048);
        file.set_position(1024);
        assert_eq!(line().unwrap(), "model.safetensors: 1.00 KiB of 2.00 KiB");
        // Whatever ends first.
        drop(outer);
        drop(file);
    }
}
