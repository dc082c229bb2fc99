//! Batches: requests of one token length, so that nothing is padded.

use std::collections::HashMap;

use crate::score::Request;

/// Requests without repeats, in batches.
pub struct Batches {
    /// For each request the index of the first one equal to it: equal choices get equal scores, whatever the batch.
    pub first_equal: Vec<usize>,
    /// Indices of distinct requests of one length each, the longest first: memory trouble shows at once and time
    /// estimates only shrink.
    pub batches: Vec<Vec<usize>>,
}

/// Groups requests so that a batch has at most `most_tokens` rows (always at least one request).
pub fn batches(requests: &[Request], most_tokens: usize) -> Batches {
    let mut seen = HashMap::new();
    let first_equal: Vec<usize> =
        requests.iter().enumerate().map(|(i, r)| *seen.entry(Key::of(r)).or_insert(i)).collect();
    let mut distinct: Vec<usize> = first_equal.iter().enumerate().filter(|(i, f)| i == *f).map(|(i, _)| i).collect();
    // Stable: equal lengths keep their order.
    distinct.sort_by_key(|&i| std::cmp::Reverse(requests[i].tokens.len()));
    let batches = distinct
        .chunk_by(|&a, &b| requests[a].tokens.len() == requests[b].tokens.len())
        .flat_map(|same| same.chunks((most_tokens / requests[same[0]].tokens.len()).max(1)))
        .map(<[usize]>::to_vec)
        .collect();
    Batches { first_equal, batches }
}

#[derive(PartialEq, Eq, Hash)]
struct Key<'a>(&'a [u32], usize, &'a [u32]);

impl<'a> Key<'a> {
    fn of(request: &'a Request) -> Self {
        Self(&request.tokens, request.prompt_tokens, &request.targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_length_a_batch_longest_first_repeats_once() {
        let request = |tokens: &[u32]| Request { tokens: tokens.to_vec(), prompt_tokens: 1, targets: vec![9] };
        let requests = [request(&[1, 2]), request(&[1, 2, 3]), request(&[1, 2]), request(&[4, 5]), request(&[6, 7])];
        let b = batches(&requests, 4);
        assert_eq!(b.first_equal, [0, 1, 0, 3, 4]);
        assert_eq!(b.batches, [vec![1], vec![0, 3], vec![4]]);
        assert_eq!(batches(&requests, 1).batches.len(), 4);
    }
}
