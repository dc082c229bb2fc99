//! The arithmetic of a link's one direction, without a clock: from when data arrives to when it is released.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::link::{LinkProfile, bytes_in};

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkWay {
    /// From the client to the server.
    Up,
    /// To the client.
    Down,
}

/// Smallest piece that a [`Shaper`] is given whole, if there is so much: the payload of an Ethernet frame.
const MTU: u64 = 1500;

/// Largest piece: a read of more costs as much memory and is no faster.
const MOST_PIECE: u64 = 65_536;

/// A token bucket that never holds more than the piece that waits for it, and a delay line behind it.
///
/// An idle link saves nothing up: a piece of n bytes takes n * 8 / rate, and the next one waits for it. Time is in whole
/// nanoseconds and a fraction that is carried on, so the mean rate is exact over any length.
#[derive(Debug)]
pub struct Shaper {
    bits_per_s: u64,
    delay_ns: u64,
    jitter_ns: u64,
    rng: ChaCha8Rng,
    /// When the last bit of what was sent has left, and what is left over in parts of `bits_per_s` of a nanosecond.
    free_ns: u64,
    free_part: u64,
    released_ns: u64,
}

impl Shaper {
    /// One direction of a link. Each direction has random numbers of its own.
    pub fn new(profile: &LinkProfile, way: LinkWay, seed: u64) -> Self {
        let (bits_per_s, stream) = match way {
            LinkWay::Up => (profile.up_bits_per_s, 0),
            LinkWay::Down => (profile.down_bits_per_s, 1),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4);
        let (delay_ns, jitter_ns) = (ns(profile.delay), ns(profile.jitter));
        Self { bits_per_s, delay_ns, jitter_ns, rng, free_ns: 0, free_part: 0, released_ns: 0 }
    }

    /// Bytes of one piece: what the rate carries in 1 ms, but at least one MTU and at most 64 KiB.
    pub fn piece_bytes(&self) -> usize {
        bytes_in(self.bits_per_s, std::time::Duration::from_millis(1)).clamp(MTU, MOST_PIECE) as usize
    }

    /// When the link has sent all that it was given.
    pub fn free_ns(&self) -> u64 {
        self.free_ns
    }

    /// Sends a piece that arrived at a time, and says when it comes out at the other end: after its turn, its bits and
    /// the delay, and never before an earlier piece. Nothing, as the end of a stream, takes no bits and no jitter.
    pub fn send(&mut self, arrival_ns: u64, bytes: usize) -> u64 {
        if arrival_ns > self.free_ns {
            (self.free_ns, self.free_part) = (arrival_ns, 0);
        }
        let rate = u128::from(self.bits_per_s);
        let parts = bytes as u128 * 8 * 1_000_000_000 + u128::from(self.free_part);
        self.free_ns = self.free_ns.saturating_add(u64::try_from(parts / rate).unwrap_or(u64::MAX / 4));
        // Less than the rate.
        self.free_part = (parts % rate) as u64;
        let late = match bytes {
            0 => self.jitter_ns,
            _ if self.jitter_ns == 0 => 0,
            _ => self.rng.random_range(0..=2 * self.jitter_ns),
        };
        let release = self.free_ns + self.delay_ns - self.jitter_ns + late;
        self.released_ns = release.max(self.released_ns);
        self.released_ns
    }
}

#[cfg(test)]
mod tests {
    use super::super::link;
    use super::*;

    fn shaper(text: &str, way: LinkWay, seed: u64) -> Shaper {
        Shaper::new(&link::find(text).unwrap(), way, seed)
    }

    #[test]
    fn releases_are_those_of_hand_arithmetic() {
        // 8 Mbit/s is a byte in a microsecond; 1 Mbit/s is one in 8.
        let mut down = shaper("8mbit/1mbit,40ms", LinkWay::Down, 0);
        const MS: u64 = 1_000_000;
        assert_eq!(down.send(0, 1000), 41 * MS);
        // It arrives while the first is still being sent, and waits.
        assert_eq!(down.send(MS / 2, 1000), 42 * MS);
        // The link was idle from 2 to 10 ms, and nothing is saved up.
        assert_eq!(down.send(10 * MS, 1000), 51 * MS);
        assert_eq!(down.send(10 * MS, 500), 51 * MS + MS / 2);
        assert_eq!(down.free_ns(), 11 * MS + MS / 2);
        let mut up = shaper("8mbit/1mbit,40ms", LinkWay::Up, 0);
        assert_eq!(up.send(0, 1000), 48 * MS);
        // The end of a stream comes behind its data.
        assert_eq!(up.send(0, 0), 48 * MS);
        assert_eq!(up.send(20 * MS, 0), 60 * MS);
    }

    #[test]
    fn fractions_of_a_nanosecond_are_carried_on() {
        // 7 bytes at 3 Gbit/s take 18.666 ns; three of them take 56 exactly.
        let mut shaper = shaper("3gbit/3gbit,0ms", LinkWay::Up, 0);
        assert_eq!([0; 3].map(|_| shaper.send(0, 7)), [18, 37, 56]);
        // A million odd pieces take what their sum takes.
        let mut odd = self::shaper("13.57mbit/7.77mbit,0ms", LinkWay::Up, 0);
        let mut last = 0;
        for _ in 0..1_000_000 {
            last = odd.send(0, 1447);
        }
        assert_eq!(last, (1_447_000_000u128 * 8 * 1_000_000_000 / 7_770_000) as u64);
    }

    #[test]
    fn jitter_is_in_bounds_in_order_and_the_same_for_the_same_seed() {
        let link = "1gbit/1gbit,10ms,4ms";
        let releases = |seed, way, gap: u64| -> Vec<u64> {
            let mut shaper = shaper(link, way, seed);
            (0..2000).map(|nth| shaper.send(nth * gap, 125) - nth * gap).collect()
        };
        // Far apart, no piece waits for another: 1 us for its bits, and 6 to 14 ms.
        let apart = releases(7, LinkWay::Up, 50_000_000);
        assert!(apart.iter().all(|delay| (6_001_000..=14_001_000).contains(delay)));
        let mean = apart.iter().sum::<u64>() as f64 / apart.len() as f64;
        // Uniform: a standard error of 8 ms / sqrt(12 * 2000) = 52 us.
        assert!((mean - 10_001_000.0).abs() < 200_000.0, "{mean}");
        assert!(apart.iter().any(|delay| *delay < 6_100_000) && apart.iter().any(|delay| *delay > 13_900_000));
        assert_eq!(apart, releases(7, LinkWay::Up, 50_000_000));
        assert_ne!(apart, releases(8, LinkWay::Up, 50_000_000));
        assert_ne!(apart, releases(7, LinkWay::Down, 50_000_000));
        // Close together, they stay in order, and still in bounds.
        let close = releases(7, LinkWay::Up, 10_000);
        assert!(close.iter().all(|delay| (6_001_000..=14_001_000).contains(delay)));
        let times: Vec<u64> = close.iter().enumerate().map(|(nth, delay)| nth as u64 * 10_000 + delay).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn a_piece_is_a_millisecond_within_limits() {
        for (link, bytes) in [("64kbit", 1500), ("20mbit", 2500), ("80mbit", 10_000), ("10gbit", 65_536)] {
            assert_eq!(shaper(&format!("{link}/{link},0ms"), LinkWay::Up, 0).piece_bytes(), bytes, "{link}");
        }
    }
}
