//! "Did you mean": the nearest known name to a mistyped one.

/// An error text for an unknown `name` of a `kind` ("codec", "data set"), with the nearest known name, if one is near,
/// and the list of all.
pub fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> anyhow::Error {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), *k))
        .min()
        .filter(|(distance, k)| *distance <= 1 + k.len().max(name.len()) / 3);
    let hint = nearest.map(|(_, k)| format!(" (did you mean {k:?}?)")).unwrap_or_default();
    anyhow::anyhow!("unknown {kind} {name:?}{hint}; known: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_the_nearest() {
        let text = super::unknown("codec", "tokp", ["fc", "topk", "qr"]).to_string();
        assert_eq!(text, "unknown codec \"tokp\" (did you mean \"topk\"?); known: fc, topk, qr");
        assert!(!super::unknown("codec", "zzzzzz", ["fc", "topk"]).to_string().contains("mean"));
    }
}
