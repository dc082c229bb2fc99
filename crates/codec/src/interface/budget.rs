//! From a ratio to a codec's parameter.

use anyhow::{Context, Result, ensure};
use strum::VariantNames;

use crate::interface::spec::CodecSpec;

/// What a ratio counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = anyhow::Error, parse_err_fn = unknown)]
pub enum Accounting {
    /// Kept numbers against S * D: a complex coefficient is one number, indices and headers are free. The convention of
    /// the paper's Tables II and III.
    Elements,
    /// Bytes of the whole packet against 2 * S * D, the raw activation in f16.
    Wire,
}

fn unknown(text: &str) -> anyhow::Error {
    crate::suggest::unknown("accounting", text, Accounting::VARIANTS.iter().copied())
}

/// How much may be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// How many times smaller than the raw activation; at least 1.
    pub ratio: f64,
    /// What the ratio counts.
    pub accounting: Accounting,
}

impl Budget {
    /// A budget; fails where the ratio is below 1 or not finite.
    pub fn new(ratio: f64, accounting: Accounting) -> Result<Self> {
        let budget = Self { ratio, accounting };
        budget.check()?;
        Ok(budget)
    }

    /// A budget in kept numbers.
    pub fn elements(ratio: f64) -> Result<Self> {
        Self::new(ratio, Accounting::Elements)
    }

    /// A budget in bytes of the packet.
    pub fn wire(ratio: f64) -> Result<Self> {
        Self::new(ratio, Accounting::Wire)
    }

    /// The budget of a codec that needs one ([`Rate::Budget`](crate::Rate)). Fails where none is given, and where
    /// [`Budget::check`] fails.
    pub(crate) fn required(budget: Option<Self>, spec: &CodecSpec) -> Result<Self> {
        let budget = budget.with_context(|| format!("codec {spec} needs a ratio: how much it may send"))?;
        budget.check()?;
        Ok(budget)
    }

    /// Fails where the ratio is below 1 or not finite; every codec that has a budget asks this first.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.ratio.is_finite() && self.ratio >= 1.0,
            "a compression ratio is a finite number of at least 1, got {}",
            self.ratio
        );
        Ok(())
    }
}

/// Bytes of the raw activation in f16, the transmission type.
pub fn raw_bytes(tokens: usize, hidden: usize) -> usize {
    2 * tokens * hidden
}

/// Bits that count as one kept number where codes have widths of their own: as many as a number of the raw activation
/// has.
pub(crate) const NUMBER_BITS: u64 = 16;

/// How many items of `item_bytes` a packet with `fixed_bytes` of headers has room for under the `wire` accounting.
pub(crate) fn wire_items(ratio: f64, shape: (usize, usize), fixed_bytes: usize, item_bytes: usize) -> usize {
    let limit = (raw_bytes(shape.0, shape.1) as f64 / ratio).floor() as usize;
    // Headers alone may exceed the budget: then no item fits, and the codec sends the least it can.
    limit.saturating_sub(fixed_bytes) / item_bytes
}

/// Returns what `make` makes of the largest count in `least..=most` that `fits`; `least` is taken in any case. The
/// search assumes that no larger count fits where a smaller one does not. Entropy coding gains a few per cent, so it
/// begins with steps of a sixteenth of `least`, doubles them, and bisects at the end.
pub(crate) fn largest_that_fits<T>(
    least: usize,
    most: usize,
    mut make: impl FnMut(usize) -> Result<T>,
    fits: impl Fn(&T) -> bool,
) -> Result<T> {
    let (mut held, mut too_many) = (least, most.max(least) + 1);
    let (mut best, mut step) = (make(least)?, (least / 16).max(1));
    while held + 1 < too_many {
        // Exponential search (Bentley and Yao 1976): steps double until they reach the middle of what is left.
        let count = (held + step).min(held.midpoint(too_many));
        let candidate = make(count)?;
        if fits(&candidate) {
            (held, best) = (count, candidate)
        } else {
            too_many = count
        }
        step *= 2;
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_below_one_and_not_finite_are_refused() {
        for ratio in [0.999, 0.0, -4.0, f64::NAN, f64::INFINITY] {
            assert!(Budget::elements(ratio).is_err(), "{ratio}");
        }
        assert!(Budget::wire(1.0).is_ok());
    }

    #[test]
    fn names_go_both_ways() {
        for accounting in [Accounting::Elements, Accounting::Wire] {
            assert_eq!(accounting.to_string().parse::<Accounting>().unwrap(), accounting);
        }
        assert!("wires".parse::<Accounting>().unwrap_err().to_string().contains("\"wire\""));
    }

    #[test]
    fn bisection_finds_the_edge_and_keeps_the_least() {
        for edge in 0..20 {
            let found = largest_that_fits(3, 17, Ok, |count| *count <= edge).unwrap();
            assert_eq!(found, edge.clamp(3, 17));
        }
        assert_eq!(largest_that_fits(3, 1, Ok, |_| true).unwrap(), 3);
    }

    #[test]
    fn room_on_the_wire() {
        // 2 * 4 * 100 / 8 = 100 bytes, 20 of them headers: 20 items of 4 bytes.
        assert_eq!(wire_items(8.0, (4, 100), 20, 4), 20);
        assert_eq!(wire_items(800.0, (4, 100), 20, 4), 0);
    }
}
