//! The sides of an activation, and how large they may be.

/// S x D: tokens by channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows, S.
    pub tokens: usize,
    /// Columns, D.
    pub hidden: usize,
}

impl Shape {
    /// S * D.
    pub fn elements(self) -> usize {
        self.tokens * self.hidden
    }

    /// Panics unless there are S * D values.
    pub(crate) fn assert_holds(self, values: &[f32]) {
        assert_eq!(values.len(), self.elements(), "the values are not {} x {}", self.tokens, self.hidden);
    }
}

/// Largest S * D a packet may state; decoding allocates a small multiple of it in f32 at most.
pub const MAX_ELEMENTS: usize = 1 << 27;

/// Largest S and largest D a packet may state.
pub const MAX_SIDE: usize = 1 << 20;
