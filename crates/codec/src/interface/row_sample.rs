//! Some of the calibration rows, evenly spread, for codecs that must try their quantiser on real rows.

/// Rows kept at most. A learned rotation that fits 1024 rows of SmolLM2 fits others of the same data nearly as well.
const MOST_ROWS: u64 = 1024;

/// Every n-th row, n the smallest power of two that leaves at most [`MOST_ROWS`].
#[derive(Debug, Clone)]
pub(crate) struct RowSample {
    /// Channels, D.
    pub hidden: usize,
    /// The rows, one after another.
    pub numbers: Vec<f64>,
}

impl RowSample {
    pub fn new(hidden: usize) -> Self {
        Self { hidden, numbers: Vec::new() }
    }

    /// How far apart kept rows stand among so many rows.
    fn stride(rows: u64) -> u64 {
        rows.div_ceil(MOST_ROWS).max(1).next_power_of_two()
    }

    /// Rows kept of so many.
    pub fn kept(rows: u64) -> usize {
        rows.div_ceil(Self::stride(rows)) as usize
    }

    /// Adds the row after `before` others.
    pub fn push(&mut self, row: &[f32], before: u64) {
        let stride = Self::stride(before + 1);
        if stride > Self::stride(before) {
            // Every other one goes, so the result does not depend on how many rows will come.
            let rows = std::mem::take(&mut self.numbers);
            self.numbers = rows.chunks_exact(self.hidden).step_by(2).flatten().copied().collect();
        }
        if before.is_multiple_of(stride) {
            self.numbers.extend(row.iter().map(|&v| f64::from(v)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_evenly_spread_at_every_count() {
        let mut sample = RowSample::new(1);
        for before in 0..5000u64 {
            sample.push(&[before as f32], before);
            let kept = sample.numbers.len() as u64;
            assert_eq!(kept as usize, RowSample::kept(before + 1));
            assert!(kept <= MOST_ROWS && kept >= (before + 1).min(MOST_ROWS / 2), "{kept} of {}", before + 1);
            let stride = RowSample::stride(before + 1);
            assert!(sample.numbers.iter().enumerate().all(|(i, row)| *row == (i as u64 * stride) as f64));
        }
    }
}
