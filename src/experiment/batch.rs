//! Batches: the requests of some questions as packed sequences, nothing padded and no beginning twice.

use splitbench_codec::RowScope;

use super::cell::Cell;
use super::scope::Scope;
use crate::model::{Continuation, Packing};
use crate::score::Request;

/// The requests of one question, or a single request.
pub struct QuestionGroup<'a> {
    requests: &'a [Request],
    /// Its place among all questions.
    question: usize,
    /// Distinct sequences; the first is the trunk that others may branch off.
    sequences: Vec<GroupSequence<'a>>,
    /// The sequence of each request: choices of one token are scored on the prompt alone, the same for all.
    of_request: Vec<usize>,
}

/// What a model is fed.
struct GroupSequence<'a> {
    tokens: &'a [u32],
    /// How many of them are the prompt's.
    prompt_tokens: usize,
    /// How many first tokens it has in common with the trunk; 0 for the trunk itself.
    shared: usize,
}

/// Which residual streams of one group share rows: what went through a joint codec differs wherever its input did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sharing {
    /// As computed from token ids.
    Computed,
    /// As received.
    Received(Scope),
}

impl Sharing {
    /// What a cell's server half is expected to share: rows of a local codec come back equal where they were computed equal.
    pub fn expected(cell: &Cell) -> Self {
        match (cell.codec.rows(), cell.scope) {
            (RowScope::Local, Scope::PromptAndChoice | Scope::Question) => Self::Computed,
            (_, scope) => Self::Received(scope),
        }
    }
}

impl<'a> QuestionGroup<'a> {
    fn new(requests: &'a [Request], question: usize) -> Self {
        let mut sequences: Vec<GroupSequence> = Vec::new();
        let of_request = requests
            .iter()
            .map(|Request { tokens, prompt_tokens, .. }| {
                // Choices of one token have the same input, the prompt: it is computed once.
                let known = sequences.iter().position(|s| s.tokens == tokens && s.prompt_tokens == *prompt_tokens);
                known.unwrap_or_else(|| {
                    // Rows are shared from the first token on, since a row depends on all tokens before it and on none
                    // after.
                    let shared = sequences
                        .first()
                        .map_or(0, |trunk| trunk.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count());
                    sequences.push(GroupSequence { tokens, prompt_tokens: *prompt_tokens, shared });
                    sequences.len() - 1
                })
            })
            .collect();
        Self { requests, question, sequences, of_request }
    }

    /// Its place among all questions.
    pub fn question(&self) -> usize {
        self.question
    }

    /// Number of distinct sequences.
    pub fn sequences(&self) -> usize {
        self.sequences.len()
    }

    /// Tokens of a sequence.
    pub fn tokens(&self, sequence: usize) -> usize {
        self.sequences[sequence].tokens.len()
    }

    /// Token ids of a sequence.
    pub fn token_ids(&self, sequence: usize) -> &[u32] {
        self.sequences[sequence].tokens
    }

    /// How many first tokens of a sequence go through a codec.
    pub fn compressed(&self, sequence: usize, scope: Scope) -> usize {
        match scope {
            Scope::PromptAndChoice | Scope::Question => self.tokens(sequence),
            Scope::Prompt => self.sequences[sequence].prompt_tokens,
        }
    }

    /// How many first tokens of a sequence have the trunk's rows.
    pub fn shared(&self, sequence: usize, sharing: Sharing) -> usize {
        let GroupSequence { prompt_tokens, shared, .. } = self.sequences[sequence];
        // A prompt that is the trunk's is sent once.
        let same_prompt = prompt_tokens <= shared && prompt_tokens == self.sequences[0].prompt_tokens;
        match sharing {
            Sharing::Computed => shared,
            // Both receive the one packet of the prompt, and beyond it the rows as computed.
            Sharing::Received(Scope::Prompt) if same_prompt => shared,
            Sharing::Received(_) => 0,
        }
    }

    /// Rows of all sequences.
    pub fn rows(&self, sharing: Sharing) -> usize {
        (0..self.sequences()).map(|s| self.tokens(s) - self.shared(s, sharing)).sum()
    }

    /// Adds one sequence to a packing in which the trunk is sequence `trunk`; `shared` of its first tokens have the trunk's rows.
    pub fn pack_sequence(&self, packing: &mut Packing, trunk: usize, sequence: usize, shared: usize) {
        match shared {
            0 => packing.push(self.tokens(sequence)),
            shared => packing.push_branch(trunk, shared, self.tokens(sequence) - shared),
        }
    }

    /// Adds all sequences to a packing.
    pub fn pack(&self, packing: &mut Packing, sharing: Sharing) {
        let trunk = packing.sequences();
        for sequence in 0..self.sequences() {
            self.pack_sequence(packing, trunk, sequence, self.shared(sequence, sharing));
        }
    }

    /// Token ids of the rows as computed, in the order of `pack`.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.sequences.iter().flat_map(|s| &s.tokens[s.shared..]).copied()
    }

    /// The question's requests.
    pub fn all_requests(&self) -> &'a [Request] {
        self.requests
    }

    /// Each request: its sequence, and its targets.
    pub fn requests(&self) -> impl Iterator<Item = (usize, &'a [u32])> {
        self.requests.iter().zip(&self.of_request).map(|(request, sequence)| (*sequence, request.targets.as_slice()))
    }

    /// For each distinct sequence, the rows at whose positions tokens are scored; the group's sequences begin at `at`
    /// in the packing.
    pub fn positions(
        &self,
        packing: &Packing,
        at: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = usize> + use<'a>> {
        (0..self.sequences()).map(move |sequence| {
            // The longest of the continuations that end in this sequence.
            let targets = self.requests().filter(|(of, _)| *of == sequence).map(|(_, targets)| targets.len());
            let scored = targets.max().unwrap_or(0);
            packing.rows_of(at + sequence).skip(self.tokens(sequence).saturating_sub(scored))
        })
    }

    /// What to score where the group's sequences begin at `at` in a packing, in the order of `requests`.
    pub fn scored(&self, at: usize) -> impl Iterator<Item = Continuation<'a>> {
        self.requests().map(move |(sequence, targets)| Continuation { sequence: at + sequence, targets })
    }
}

/// One group per question, those with the longest sequences first: a lack of memory shows at once, and time estimates
/// only shrink.
pub fn groups<Q: AsRef<[Request]>>(questions: &[Q]) -> Vec<QuestionGroup<'_>> {
    let questions = questions.iter().map(Q::as_ref).enumerate().filter(|(_, requests)| !requests.is_empty());
    let mut groups: Vec<QuestionGroup> =
        questions.map(|(question, requests)| QuestionGroup::new(requests, question)).collect();
    let longest = |group: &QuestionGroup| (0..group.sequences()).map(|s| group.tokens(s)).max();
    // Stable: equal lengths keep their order.
    groups.sort_by_key(|group| std::cmp::Reverse(longest(group)));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(tokens: &[u32], prompt_tokens: usize, targets: &[u32]) -> Request {
        Request { tokens: tokens.to_vec(), prompt_tokens, targets: targets.to_vec() }
    }

    #[test]
    fn choices_share_their_beginning() {
        let question = vec![
            request(&[1, 2, 3, 4], 2, &[3, 4, 5]),
            request(&[1, 2, 3, 6, 7], 2, &[3, 6, 7, 8]),
            request(&[1, 2, 3, 4], 2, &[3, 4, 9]),
            request(&[1, 9], 2, &[7]),
        ];
        let questions = [vec![request(&[5], 1, &[5])], Vec::new(), question];
        let groups = groups(&questions);
        assert_eq!(groups.len(), 2);
        let group = &groups[0];
        assert_eq!(group.sequences(), 3);
        assert_eq!(group.ids().collect::<Vec<_>>(), [1, 2, 3, 4, 6, 7, 9]);
        let shared = |sharing| [0, 1, 2].map(|s| group.shared(s, sharing));
        assert_eq!(shared(Sharing::Computed), [0, 3, 1]);
        assert_eq!(shared(Sharing::Received(Scope::Prompt)), [0, 3, 0], "another prompt is another packet");
        assert_eq!(shared(Sharing::Received(Scope::PromptAndChoice)), [0, 0, 0]);
        assert_eq!(group.rows(Sharing::Computed), 7);
        assert_eq!(group.rows(Sharing::Received(Scope::Prompt)), 8);
        assert_eq!(group.rows(Sharing::Received(Scope::PromptAndChoice)), 11);
        let mut packing = Packing::of([1]);
        group.pack(&mut packing, Sharing::Computed);
        assert_eq!(packing.rows_of(2).collect::<Vec<_>>(), [1, 2, 3, 5, 6]);
        assert_eq!(group.requests().map(|(sequence, _)| sequence).collect::<Vec<_>>(), [0, 1, 0, 2]);
        assert_eq!((group.question(), groups[1].question()), (2, 0));
        assert_eq!(group.scored(1).map(|s| s.sequence).collect::<Vec<_>>(), [1, 2, 1, 3]);
        assert_eq!([0, 1].map(|s| group.compressed(s, Scope::Prompt)), [2, 2]);
        assert_eq!([0, 1].map(|s| group.compressed(s, Scope::PromptAndChoice)), [4, 5]);
    }
}
