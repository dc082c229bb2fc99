//! Where the time of a run goes.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::record::manifest::StageSeconds;

/// What is timed.
#[derive(Clone, Copy, PartialEq)]
pub enum Stage {
    /// Reading a model.
    Load,
    /// Calibrating codecs.
    Calibrate,
    /// Client halves.
    Client,
    /// Codecs, all threads.
    Codecs,
    /// The unsplit model from the last split on.
    Baseline,
    /// Server halves.
    Server,
}

/// Times stages of threads that run beside each other.
pub struct Clock {
    started: Instant,
    times: Mutex<Times>,
    /// Held by whoever computes on the decoder's device.
    device: Mutex<()>,
}

#[derive(Default)]
struct Times {
    spent: StageSeconds,
    /// Stages at work, and since when any was.
    active: usize,
    since: Option<Instant>,
    /// While any was.
    busy: Duration,
}

thread_local! {
    /// What the stages that began and ended within the one at work took.
    static WITHIN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// What a panic in another thread left is still a sum of times; the panic itself goes on elsewhere.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Clock {
    fn default() -> Self {
        Self { started: Instant::now(), times: Mutex::default(), device: Mutex::default() }
    }
}

impl Clock {
    /// Does something and counts its time, less that of stages within it. One at a time runs on the decoder's device.
    pub fn time<T>(&self, stage: Stage, act: impl FnOnce() -> T) -> T {
        let _device = matches!(stage, Stage::Client | Stage::Baseline | Stage::Server).then(|| lock(&self.device));
        let started = Instant::now();
        {
            let mut times = lock(&self.times);
            times.active += 1;
            times.since.get_or_insert(started);
        }
        let before = WITHIN.take();
        let result = act();
        let elapsed = started.elapsed();
        let seconds = elapsed.saturating_sub(WITHIN.replace(before + elapsed)).as_secs_f64();
        let mut times = lock(&self.times);
        times.active -= 1;
        if times.active == 0 {
            let since = times.since.take();
            times.busy += since.map_or(Duration::ZERO, |since| since.elapsed());
        }
        match stage {
            Stage::Load => times.spent.load_s += seconds,
            Stage::Calibrate => times.spent.calibrate_s += seconds,
            Stage::Client => times.spent.client_s += seconds,
            Stage::Baseline => times.spent.baseline_s += seconds,
            Stage::Server => times.spent.server_s += seconds,
            // Counted a packet at a time.
            Stage::Codecs => {}
        }
        result
    }

    /// One packet's times.
    pub fn add(&self, encode: Duration, decode: Duration) {
        let mut times = lock(&self.times);
        times.spent.encode_s += encode.as_secs_f64();
        times.spent.decode_s += decode.as_secs_f64();
    }

    /// Seconds since the beginning, and where they went until now.
    pub fn read(&self) -> (f64, StageSeconds) {
        let whole = self.started.elapsed();
        let times = lock(&self.times);
        (whole.as_secs_f64(), StageSeconds { rest_s: whole.saturating_sub(times.busy).as_secs_f64(), ..times.spent })
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{scope, sleep};

    use super::*;

    #[test]
    fn what_runs_at_once_is_busy_once_and_halves_take_turns() {
        let clock = Clock::default();
        let nap = Duration::from_millis(30);
        scope(|scope| {
            for stage in [Stage::Client, Stage::Server, Stage::Codecs] {
                let clock = &clock;
                scope.spawn(move || clock.time(stage, || sleep(nap)));
            }
        });
        clock.add(nap, 2 * nap);
        sleep(nap);
        let (whole, spent) = clock.read();
        assert!(spent.client_s >= 0.03 && spent.server_s >= 0.03);
        assert_eq!((spent.encode_s, spent.decode_s, spent.load_s), (0.03, 0.06, 0.0));
        assert!(whole >= 0.09, "the halves did not take turns: {whole}");
        assert!(spent.rest_s >= 0.03 && spent.rest_s <= whole - 0.06, "{} of {whole}", spent.rest_s);
    }

    #[test]
    fn a_stage_within_another_counts_once() {
        let clock = Clock::default();
        let nap = Duration::from_millis(30);
        clock.time(Stage::Calibrate, || {
            clock.time(Stage::Load, || sleep(2 * nap));
            clock.time(Stage::Load, || sleep(nap));
            sleep(nap);
        });
        clock.time(Stage::Server, || sleep(nap));
        let (whole, spent) = clock.read();
        assert!(spent.load_s >= 0.09 && spent.calibrate_s >= 0.03 && spent.server_s >= 0.03);
        assert!(spent.load_s + spent.calibrate_s + spent.server_s <= whole, "{spent:?} of {whole}");
    }
}
