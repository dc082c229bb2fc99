//! Where the numbers of a trace's activations come from: the recording, or a seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use anyhow::{Result, ensure};

use super::sample::Sequence;
use super::trace::Loaded;
use splitbench_codec::{Activation, MAX_ELEMENTS};

/// Rows of seeded numbers beyond the longest sequence: so many that two sequences seldom begin at the same place.
const SPARE_ROWS: usize = 64;

/// Activations at one hidden size.
pub(super) struct Source<'a> {
    hidden: usize,
    /// Recorded rows, or independent numbers, uniform from -1 to 1.
    rows: Rows<'a>,
}

enum Rows<'a> {
    Recorded(&'a Activation),
    Seeded(Vec<f32>),
}

impl<'a> Source<'a> {
    /// The recorded activations where there are any, which fixes D; otherwise seeded ones for sequences up to `longest` tokens.
    pub fn new(loaded: &'a Loaded, hidden: usize, longest: usize, seed: u64) -> Result<Self> {
        let rows = match &loaded.rows {
            Some(rows) => {
                ensure!(
                    rows.hidden() == hidden,
                    "the trace has activations of {} channels, which cannot be replayed with {hidden}: leave --hidden out",
                    rows.hidden()
                );
                Rows::Recorded(rows)
            }
            None => {
                ensure!(hidden > 0, "a hidden size of 0: give 1 or more channels");
                ensure!(
                    longest.saturating_mul(hidden) <= MAX_ELEMENTS,
                    "{longest} tokens of {hidden} channels are more than the {MAX_ELEMENTS} numbers an activation may have"
                );
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let count = (longest + SPARE_ROWS) * hidden;
                Rows::Seeded((0..count).map(|_| random.random_range(-1.0f32..1.0)).collect())
            }
        };
        Ok(Self { hidden, rows })
    }

    /// `recorded`, or `seeded`.
    pub fn kind(&self) -> &'static str {
        match self.rows {
            Rows::Recorded(_) => "recorded",
            Rows::Seeded(_) => "seeded",
        }
    }

    /// The activation of a sequence; `place` makes those of equal shape differ.
    pub fn activation(&self, sequence: &Sequence, place: usize) -> Result<Activation> {
        let count = sequence.tokens * self.hidden;
        let values = match &self.rows {
            Rows::Recorded(rows) => &rows.values()[sequence.row.unwrap_or(0) * self.hidden..][..count],
            Rows::Seeded(pool) => &pool[place.wrapping_mul(7919) % (SPARE_ROWS * self.hidden)..][..count],
        };
        Activation::new(sequence.tokens, self.hidden, values.to_vec())
    }
}
