//! Merges of a SentencePiece vocabulary, which holds only scores.

use std::collections::HashMap;

use super::tokenizer::TokenKind;

/// Every way to make a token of two others, the highest score first: as transformers converts such vocabularies
/// (`generate_merges` in `tokenization_utils_base`).
pub fn merges<'a>(tokens: &'a [String], kinds: &[TokenKind], scores: &[f64]) -> Vec<(&'a str, &'a str)> {
    let normal = || (tokens.iter().zip(kinds).enumerate()).filter(|(_, (_, kind))| **kind == TokenKind::Normal);
    let ids: HashMap<&str, usize> = normal().map(|(id, (token, _))| (token.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (id, (token, _)) in normal() {
        let splits = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let mut pairs: Vec<_> = splits.filter_map(|(l, r)| Some((*ids.get(l)?, *ids.get(r)?, l, r))).collect();
        pairs.sort_unstable();
        merges.extend(pairs.into_iter().map(|(_, _, l, r)| (scores[id], l, r)));
    }
    let length = |text: &str| text.chars().count();
    merges
        .sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (length(b.1), length(b.2)).cmp(&(length(a.1), length(a.2)))));
    merges.into_iter().map(|(_, l, r)| (l, r)).collect()
}
