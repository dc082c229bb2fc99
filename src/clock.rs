//! Clocks that times are taken with, and the median of times.

use std::time::Instant;

/// Processor time of this thread, seconds: other processes lengthen it less than they do the clock's.
#[cfg(unix)]
pub fn thread_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Seconds of the wall clock, where threads have none of their own.
#[cfg(not(unix))]
pub fn thread_seconds() -> f64 {
    wall_seconds()
}

/// Seconds of a clock that never goes back.
pub fn wall_seconds() -> f64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed().as_secs_f64()
}

/// What a call returns, and how long it took by a clock.
pub fn timed<T>(clock: fn() -> f64, call: impl FnOnce() -> T) -> (T, f64) {
    let start = clock();
    let out = call();
    (out, clock() - start)
}

/// The middle one of some numbers; of an even number of them the mean of the middle two.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (all, middle) if all % 2 == 1 => sorted[middle],
        (_, middle) => 0.5 * (sorted[middle - 1] + sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_on_and_sleep_is_no_work() {
        let wall = wall_seconds();
        let ((), cpu) = timed(thread_seconds, || std::thread::sleep(std::time::Duration::from_millis(30)));
        assert!(wall_seconds() - wall >= 0.03);
        assert!(cpu >= 0.0 && (cpu < 0.02 || cfg!(not(unix))), "{cpu} s of processor time asleep");
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 8.0]), 3.0);
        assert!(median(&[]).is_nan());
    }
}
