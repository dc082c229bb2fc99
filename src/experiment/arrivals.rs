//! Questions whose rows came back in one cell with the bits of another cell: low ranks that two ratios round to alike, or
//! an entropy coder, which changes the bytes alone. The server half says the same of them, so it computes them once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sha2::{Digest, Sha256};

use super::scope::Scope;

/// The SHA-256 of rows as received, bit for bit.
pub type RowDigest = [u8; 32];

/// The digest of rows.
pub fn digest(rows: &[f32]) -> RowDigest {
    let (mut hash, mut bytes) = (Sha256::new(), Vec::new());
    for some in rows.chunks(1024) {
        bytes.clear();
        bytes.extend(some.iter().flat_map(|value| value.to_bits().to_le_bytes()));
        hash.update(&bytes);
    }
    hash.finalize().into()
}

/// The first cell in which a question arrived with each content, among the cells at one cut.
#[derive(Default)]
pub struct FirstArrivals {
    cells: HashMap<(usize, Scope, Vec<RowDigest>), usize>,
}

impl FirstArrivals {
    /// The cell in which `question` arrived before with the same rows, if there is one; else `cell` is the first.
    /// `packets` has the digest of each packet's rows; the scope says what was sent beside them.
    pub fn find_or_add(
        &mut self,
        question: usize,
        scope: Scope,
        packets: Vec<RowDigest>,
        cell: usize,
    ) -> Option<usize> {
        match self.cells.entry((question, scope, packets)) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(free) => {
                free.insert(cell);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_bits_of_the_same_question_and_scope_are_a_repeat() {
        let mut first = FirstArrivals::default();
        let mut arrive =
            |question, scope, rows: &[f32], cell| first.find_or_add(question, scope, vec![digest(rows)], cell);
        let rows = vec![1.5f32; 3000];
        let mut other = rows.clone();
        other[2999] = f32::from_bits(1.5f32.to_bits() + 1);
        assert_eq!(arrive(0, Scope::Prompt, &rows, 3), None);
        assert_eq!(arrive(0, Scope::Prompt, &rows, 4), Some(3));
        assert_eq!(arrive(0, Scope::PromptAndChoice, &rows, 5), None);
        assert_eq!(arrive(1, Scope::Prompt, &rows, 6), None);
        assert_eq!(arrive(0, Scope::Prompt, &other, 7), None);
        assert_eq!(arrive(0, Scope::Prompt, &[0.0], 8), None);
        assert_eq!(arrive(0, Scope::Prompt, &[-0.0], 9), None, "its sign is a bit");
    }
}
