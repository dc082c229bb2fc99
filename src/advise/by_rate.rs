//! The response time as the rate of the way up makes it: who is quicker where.

use std::collections::HashSet;

use serde::Serialize;

use super::board::{AdviceBoard, AdvisedCut};

/// Rates that a picture spans, bit/s.
pub(super) const RATES: [f64; 2] = [1e5, 1e10];
/// Points of a curve.
const POINTS: usize = 240;

/// From which rate up or down the advised cut is the quicker one.
#[derive(Debug, Clone, Serialize)]
pub struct LinkBreakEven {
    /// What it is compared with.
    pub against: String,
    /// Quicker below this rate of the way up, Mbit/s.
    pub below_mbps: Option<f64>,
    /// Quicker above this one.
    pub above_mbps: Option<f64>,
    /// Quicker whatever the rate.
    pub always: bool,
}

/// Rates of the way up at which one cut has the shortest response.
#[derive(Debug, Clone, Serialize)]
pub struct WinningRange {
    /// The cut.
    pub cut: String,
    /// From, Mbit/s.
    pub from_mbps: f64,
    /// To, Mbit/s.
    pub to_mbps: f64,
}

/// A response time against the rate of the way up.
#[derive(Debug, Clone, Serialize)]
pub struct ResponseCurve {
    /// The cut.
    pub cut: String,
    /// Rates in Mbit/s and seconds.
    pub points: Vec<(f64, f64)>,
}

/// A response time as the rate of the way up makes it: `fixed + bits / rate`.
#[derive(Clone, Copy)]
struct ResponseLine {
    fixed_s: f64,
    bits: f64,
}

impl ResponseLine {
    fn new(board: &AdviceBoard, cut: &AdvisedCut) -> Self {
        let bits = 8.0 * (cut.prompt_bytes + board.problem.steps as f64 * cut.step_bytes);
        Self { fixed_s: cut.cost.response_s - bits / board.problem.up.bits_per_s, bits }
    }

    fn at(self, bits_per_s: f64) -> f64 {
        self.fixed_s + self.bits / bits_per_s
    }

    /// Where two are equal, bit/s.
    fn meets(self, other: Self) -> Option<f64> {
        let rate = (other.bits - self.bits) / (self.fixed_s - other.fixed_s);
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

/// At which rates the best is quicker than each of the others.
pub(super) fn break_even<'c>(
    board: &AdviceBoard,
    best: &AdvisedCut,
    others: impl Iterator<Item = &'c AdvisedCut>,
) -> Vec<LinkBreakEven> {
    let own = ResponseLine::new(board, best);
    let mut seen = HashSet::from([best.name()]);
    let mut out = Vec::new();
    for other in others {
        if !seen.insert(other.name()) {
            continue;
        }
        let line = ResponseLine::new(board, other);
        let (fewer_bits, quicker) = (own.bits <= line.bits, own.fixed_s <= line.fixed_s);
        let rate = own.meets(line).map(|rate| rate / 1e6);
        out.push(LinkBreakEven {
            against: other.name(),
            below_mbps: rate.filter(|_| fewer_bits && !quicker),
            above_mbps: rate.filter(|_| quicker && !fewer_bits),
            always: fewer_bits && quicker,
        });
    }
    out
}

fn rates() -> impl Iterator<Item = f64> {
    let [from, to] = RATES.map(f64::log10);
    (0..=POINTS).map(move |nth| 10f64.powf(from + (to - from) * nth as f64 / POINTS as f64))
}

/// Who has the shortest response at each rate, of those that keep all limits.
pub(super) fn ranges(board: &AdviceBoard, all: &[AdvisedCut]) -> Vec<WinningRange> {
    let lines: Vec<ResponseLine> = all.iter().map(|cut| ResponseLine::new(board, cut)).collect();
    let winner = |rate: f64| (0..lines.len()).min_by(|&a, &b| lines[a].at(rate).total_cmp(&lines[b].at(rate)));
    let mut out: Vec<(usize, f64, f64)> = Vec::new();
    for rate in rates() {
        let Some(nth) = winner(rate) else { continue };
        match out.last_mut() {
            Some((known, _, to)) if *known == nth => *to = rate,
            Some((known, _, to)) => {
                let meets =
                    lines[*known].meets(lines[nth]).filter(|meets| (*to..=rate).contains(meets)).unwrap_or(rate);
                *to = meets;
                out.push((nth, meets, rate));
            }
            None => out.push((nth, rate, rate)),
        }
    }
    out.into_iter()
        .map(|(nth, from, to)| WinningRange { cut: all[nth].name(), from_mbps: from / 1e6, to_mbps: to / 1e6 })
        .collect()
}

/// Their responses at each rate.
pub(super) fn curves(board: &AdviceBoard, shown: &[&AdvisedCut]) -> Vec<ResponseCurve> {
    let curve = |cut: &&AdvisedCut| {
        let line = ResponseLine::new(board, cut);
        ResponseCurve { cut: cut.name(), points: rates().map(|rate| (rate / 1e6, line.at(rate))).collect() }
    };
    shown.iter().map(curve).collect()
}
