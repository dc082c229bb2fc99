//! Sequences as rows one under another, without padding and without repeats.

use std::ops::Range;
#[cfg(any(test, feature = "cuda-model"))]
use std::sync::OnceLock;

#[cfg(any(test, feature = "cuda-model"))]
use candle_core::{Device, Result, Tensor};

/// Which rows of a packed batch are which tokens of which sequence. A sequence may begin with rows of another one: causal
/// attention gives equal beginnings equal values, so they are there once.
#[derive(Debug, Clone, Default)]
pub struct Packing {
    spans: Vec<Span>,
    positions: Vec<u32>,
    /// The same on a GPU, once it was needed there.
    #[cfg(any(test, feature = "cuda-model"))]
    uploaded: OnceLock<Tensor>,
}

/// A sequence: rows it shares, then rows of its own.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// Its first tokens: the first of the own rows of an earlier sequence; empty where it shares none.
    pub shared: Range<usize>,
    /// The rest. The own rows of all sequences together, in their order, are all rows.
    pub own: Range<usize>,
}

impl Packing {
    /// Sequences of these lengths, each with rows of its own.
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut packing = Self::default();
        lengths.into_iter().for_each(|tokens| packing.push(tokens));
        packing
    }

    /// Adds a sequence of `tokens` own rows.
    pub fn push(&mut self, tokens: usize) {
        self.add(0..0, tokens);
    }

    /// Adds a sequence that begins with the first `shared` tokens of sequence `trunk`, which shares none itself, and goes
    /// on with `tokens` own rows.
    pub fn push_branch(&mut self, trunk: usize, shared: usize, tokens: usize) {
        let Span { shared: none, own } = &self.spans[trunk];
        assert!(none.is_empty() && shared <= own.len(), "sequence {trunk} has no {shared} own rows to begin with");
        self.add(own.start..own.start + shared, tokens);
    }

    fn add(&mut self, shared: Range<usize>, tokens: usize) {
        #[cfg(any(test, feature = "cuda-model"))]
        {
            self.uploaded = OnceLock::new();
        }
        let start = self.positions.len();
        self.positions.extend((shared.len()..shared.len() + tokens).map(|position| position as u32));
        self.spans.push(Span { shared, own: start..start + tokens });
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Sequences.
    pub fn sequences(&self) -> usize {
        self.spans.len()
    }

    /// Tokens of a sequence, shared ones included.
    pub fn tokens(&self, sequence: usize) -> usize {
        let Span { shared, own } = &self.spans[sequence];
        shared.len() + own.len()
    }

    /// The rows of a sequence in the order of its tokens.
    pub fn rows_of(&self, sequence: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let Span { shared, own } = self.spans[sequence].clone();
        shared.chain(own)
    }

    /// The position of each row in its sequence.
    pub(super) fn positions(&self) -> &[u32] {
        &self.positions
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Four numbers a row on the device of the decoder, of which there is one: its position, the first of the shared rows of its
    /// sequence and their number, and the first of the sequence's own.
    #[cfg(any(test, feature = "cuda-model"))]
    pub(super) fn on(&self, device: &Device) -> Result<Tensor> {
        if let Some(there) = self.uploaded.get() {
            return Ok(there.clone());
        }
        let of = |span: &Span| {
            let [shared, own] = [span.shared.start, span.own.start].map(|row| row as u32);
            let many = span.shared.len() as u32;
            span.own.clone().flat_map(move |row| [many + row as u32 - own, shared, many, own])
        };
        let numbers: Vec<u32> = self.spans.iter().flat_map(of).collect();
        let there = Tensor::from_vec(numbers, (self.rows(), 4), device)?;
        Ok(self.uploaded.get_or_init(|| there).clone())
    }
}

/// Cuts a list into runs of at most `most` rows, but of one item at least.
pub fn chunks_by_rows<T>(items: &[T], most: usize, rows: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut out = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (i, item) in items.iter().enumerate() {
        sum += rows(item);
        if i > start && sum > most {
            out.push(&items[start..i]);
            (start, sum) = (i, rows(item));
        }
    }
    if start < items.len() {
        out.push(&items[start..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_positions() {
        let mut packing = Packing::of([3, 2]);
        packing.push_branch(0, 2, 2);
        packing.push_branch(1, 2, 0);
        assert_eq!((packing.rows(), packing.sequences()), (7, 4));
        assert_eq!(packing.positions(), [0, 1, 2, 0, 1, 2, 3]);
        let rows = |sequence| packing.rows_of(sequence).collect::<Vec<_>>();
        assert_eq!([rows(0), rows(1), rows(2), rows(3)], [vec![0, 1, 2], vec![3, 4], vec![0, 1, 5, 6], vec![3, 4]]);
        assert_eq!([0, 1, 2, 3].map(|s| packing.tokens(s)), [3, 2, 4, 2]);
    }

    #[test]
    #[should_panic(expected = "no 3 own rows")]
    fn a_branch_stands_on_own_rows() {
        Packing::of([2]).push_branch(0, 3, 1);
    }

    #[test]
    fn runs_are_full_and_never_empty() {
        let rows = |n: &usize| *n;
        assert_eq!(chunks_by_rows(&[9, 2, 3, 3, 1, 6], 7, rows), [&[9][..], &[2, 3], &[3, 1], &[6]]);
        assert!(chunks_by_rows(&[], 7, rows).is_empty());
    }
}
