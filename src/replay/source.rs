//! Where the numbers of a trace's activations come from: the recording, or a seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use anyhow::{Result, ensure};

use super::sample::TraceSequence;
use super::trace::TraceInput;
use splitbench_codec::{Activation, MAX_ELEMENTS};

/// Rows of seeded numbers beyond the longest sequence: so many that two sequences seldom begin at the same place.
const SPARE_ROWS: usize = 64;

/// Activations at one hidden size.
pub(super) struct ActivationSource<'a> {
    hidden: usize,
    /// Recorded rows, or independent numbers, uniform from -1 to 1.
    rows: ActivationRows<'a>,
}

enum ActivationRows<'a> {
    Recorded(&'a Activation),
    Seeded(Vec<f32>),
}

impl<'a> ActivationSource<'a> {
    /// The recorded activations where there are any, which fixes D; otherwise seeded ones for sequences up to `longest` tokens.
    pub fn new(loaded: &'a TraceInput, hidden: usize, longest: usize, seed: u64) -> Result<Self> {
        let rows = match &loaded.rows {
            Some(rows) => {
                ensure!(
                    rows.hidden() == hidden,
                    "the trace has activations of {} channels, which cannot be replayed with {hidden}: leave --hidden out",
                    rows.hidden()
                );
                ActivationRows::Recorded(rows)
            }
            None => {
                ensure!(hidden > 0, "a hidden size of 0: give 1 or more channels");
                ensure!(
                    longest.saturating_mul(hidden) <= MAX_ELEMENTS,
                    "{longest} tokens of {hidden} channels are more than the {MAX_ELEMENTS} numbers an activation may have"
                );
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let count = (longest + SPARE_ROWS) * hidden;
                ActivationRows::Seeded((0..count).map(|_| random.random_range(-1.0f32..1.0)).collect())
            }
        };
        Ok(Self { hidden, rows })
    }

    /// `recorded`, or `seeded`.
    pub fn kind(&self) -> &'static str {
        match self.rows {
            ActivationRows::Recorded(_) => "recorded",
            ActivationRows::Seeded(_) => "seeded",
        }
    }

    /// The activation of a sequence; `place` makes those of equal shape differ.
    pub fn activation(&self, sequence: &TraceSequence, place: usize) -> Result<Activation> {
        let count = sequence.tokens * self.hidden;
        let values = match &self.rows {
            ActivationRows::Recorded(rows) => &rows.values()[sequence.row.unwrap_or(0) * self.hidden..][..count],
            ActivationRows::Seeded(pool) => &pool[place.wrapping_mul(7919) % (SPARE_ROWS * self.hidden)..][..count],
        };
        Activation::new(sequence.tokens, self.hidden, values.to_vec())
    }
}
