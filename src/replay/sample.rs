//! Which sequences of a trace are run, and what their times say of all.
//!
//! Sequences are sorted by length, then by ratio. Without a time limit each distinct shape is run once and counts for as many
//! sequences as have it. With one, sequences are taken at places evenly spread over the sorted list, so lengths come in
//! proportion however many there is time for.

use crate::record::replay::ReplayTimes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::trace::Loaded;

/// One sequence of a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sequence {
    /// Tokens, S.
    pub tokens: usize,
    /// Compression ratio asked for, in elements.
    pub ratio: f64,
    /// Its first row in the recorded activations.
    pub row: Option<usize>,
}

/// All sequences of a trace, sorted by tokens, then ratio, then place. `ratio` gives that of a data set by name.
pub fn sequences(loaded: &Loaded, ratio: impl Fn(&str) -> f64) -> Vec<Sequence> {
    let mut all = Vec::with_capacity(loaded.trace.sequences());
    let mut row = 0;
    for set in &loaded.trace.datasets {
        let ratio = ratio(&set.dataset);
        if loaded.rows.is_some() {
            for &tokens in &set.order {
                all.push(Sequence { tokens, ratio, row: Some(row) });
                row += tokens;
            }
        } else {
            let each = set.lengths.iter().flat_map(|(&tokens, &count)| std::iter::repeat_n(tokens, count));
            all.extend(each.map(|tokens| Sequence { tokens, ratio, row: None }));
        }
    }
    all.sort_by(|a, b| a.tokens.cmp(&b.tokens).then(a.ratio.total_cmp(&b.ratio)).then(a.row.cmp(&b.row)));
    all
}

/// Each distinct shape once, with the number of sequences that have it; recorded activations are all distinct.
pub fn every(sequences: &[Sequence]) -> Vec<(Sequence, f64)> {
    sequences.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len() as f64)).collect()
}

/// An endless series of places in 0..count, evenly spread whatever number of them is taken: multiples of the golden ratio from
/// a seeded start, modulo 1. Each is uniformly distributed over the seeds.
pub fn spread(count: usize, seed: u64) -> impl Iterator<Item = usize> {
    let start: f64 = ChaCha8Rng::seed_from_u64(seed).random_range(0.0..1.0);
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    (0u64..).map(move |i| (((start + i as f64 * golden).fract() * count as f64) as usize).min(count - 1))
}

/// A number for all sequences, from those that were run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Sum over all sequences.
    pub total: f64,
    /// Standard error of that sum from taking a sample; 0 where every shape was run.
    pub stderr: f64,
    /// Half of the sequences take at most this.
    pub median: f64,
    /// 99 of 100 sequences take at most this.
    pub p99: f64,
}

impl From<Estimate> for ReplayTimes {
    fn from(e: Estimate) -> Self {
        Self { total_s: e.total, stderr_s: e.stderr, median_s: e.median, p99_s: e.p99 }
    }
}

/// One sequence that was run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ran {
    /// Its place in the sorted list.
    pub place: usize,
    /// Its tokens.
    pub tokens: usize,
    /// Sequences of its shape, where every shape is run.
    pub count: f64,
    /// What was measured.
    pub value: f64,
}

/// All sequences, of which a sample was run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Population {
    /// Their number.
    pub count: usize,
    /// Their tokens.
    pub tokens: usize,
}

/// The estimate from the sequences run: all shapes, or a sample of a population.
///
/// In a sample each stands for the sequences up to the middle between it and its neighbours in the sorted list, and the sum
/// is the sample's time a token times all tokens, which are known. The variance is that of successive differences, the usual
/// one for systematic samples of a sorted list, of what the time a token leaves over: neighbours in length differ by little
/// but noise.
pub fn estimate(ran: &[Ran], sample_of: Option<Population>) -> Estimate {
    let mut sorted = ran.to_vec();
    sorted.sort_by_key(|ran| ran.place);
    if let Some(Population { count, .. }) = sample_of {
        let places: Vec<f64> = sorted.iter().map(|ran| ran.place as f64).collect();
        let edges: Vec<f64> = std::iter::once(0.0)
            .chain(places.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])))
            .chain([count as f64])
            .collect();
        sorted.iter_mut().zip(edges.windows(2)).for_each(|(ran, edges)| ran.count = edges[1] - edges[0]);
    }
    let sum = |of: &dyn Fn(&Ran) -> f64| sorted.iter().map(|ran| ran.count * of(ran)).sum::<f64>();
    let (count, weighed) = (sum(&|_| 1.0), sum(&|ran| ran.value));
    let (total, stderr) = match sample_of {
        None => (weighed, 0.0),
        Some(Population { tokens, .. }) => {
            let rate = weighed / sum(&|ran| ran.tokens as f64);
            let left = |ran: &Ran| ran.value - rate * ran.tokens as f64;
            let square = |pair: &[Ran]| {
                (f64::midpoint(pair[0].count, pair[1].count) * (left(&pair[1]) - left(&pair[0]))).powi(2) / 2.0
            };
            let n = sorted.len() as f64;
            let stderr = match sorted.len() {
                0 | 1 => f64::NAN,
                _ => (sorted.windows(2).map(square).sum::<f64>() * n / (n - 1.0)).sqrt(),
            };
            (rate * tokens as f64, stderr)
        }
    };
    sorted.sort_by(|a, b| a.value.total_cmp(&b.value));
    let quantile = |share: f64| {
        let mut seen = 0.0;
        let reached = sorted.iter().find(|ran| {
            seen += ran.count;
            seen >= share * count * (1.0 - 1e-12)
        });
        reached.map_or(f64::NAN, |ran| ran.value)
    };
    Estimate { total, stderr, median: quantile(0.5), p99: quantile(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::trace::load;

    #[test]
    fn the_ten_sets_sorted() {
        let all = sequences(&load("ten-sets").unwrap(), |name| if name == "piqa" { 10.0 } else { 8.0 });
        assert_eq!(all.len(), 56_317);
        assert!(all.is_sorted_by(|a, b| (a.tokens, a.ratio) <= (b.tokens, b.ratio)));
        let shapes = every(&all);
        assert!(shapes.len() > 377 && shapes.len() < 754, "{}", shapes.len());
        assert_eq!(shapes.iter().map(|(_, count)| count).sum::<f64>(), 56_317.0);
    }

    /// Costs that grow with the length in several ways, with noise: the claimed standard error is that of repeated samples, and
    /// the total is met on average.
    #[test]
    fn a_sample_meets_the_total_within_its_error() {
        let all = sequences(&load("ten-sets").unwrap(), |_| 8.0);
        let population = Population { count: all.len(), tokens: all.iter().map(|s| s.tokens).sum() };
        let noise = |place: usize| ((place * 7919) % 101) as f64 / 101.0;
        let costs: [fn(f64, f64) -> f64; 3] = [
            |s, noise| s * s.log2() + 20.0 * noise,
            |s, noise| 50.0 + s * (0.9 + 0.2 * noise),
            |s, noise| s.powf(1.5) + noise,
        ];
        for cost in costs {
            let cost = |place: usize| cost(all[place].tokens as f64, noise(place));
            let truth: f64 = (0..all.len()).map(cost).sum();
            for taken in [40usize, 300] {
                let (mut inside, mut sum, mut claimed, mut squares) = (0, 0.0, 0.0, 0.0);
                for seed in 0..200 {
                    let ran = |place: usize| Ran { place, tokens: all[place].tokens, count: 0.0, value: cost(place) };
                    let run: Vec<_> = spread(all.len(), seed).take(taken).map(ran).collect();
                    let found = estimate(&run, Some(population));
                    inside += usize::from((found.total - truth).abs() <= 2.0 * found.stderr);
                    sum += found.total / 200.0;
                    claimed += found.stderr.powi(2) / 200.0;
                    squares += (found.total - truth).powi(2) / 200.0;
                }
                assert!((sum / truth - 1.0).abs() < 0.02, "{taken}: biased: {}", sum / truth);
                assert!(inside >= 175, "{taken}: {inside} of 200 within two standard errors");
                assert!(claimed < 9.0 * squares, "{taken}: claims {claimed}, is {squares}");
                assert!(claimed.sqrt() < 0.1 * truth, "{taken}: {claimed}");
            }
        }
    }

    #[test]
    fn all_shapes_have_no_sampling_error() {
        let ran = |place, count, value| Ran { place, tokens: 1, count, value };
        let found = estimate(&[ran(0, 2.0, 1.0), ran(1, 97.0, 2.0), ran(2, 1.0, 50.0)], None);
        assert_eq!(found, Estimate { total: 246.0, stderr: 0.0, median: 2.0, p99: 2.0 });
        let one = estimate(&[ran(0, 0.0, 1.0)], Some(Population { count: 3, tokens: 6 }));
        assert!(one.stderr.is_nan() && one.total == 6.0);
    }
}
