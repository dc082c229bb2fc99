//! Small things done to sentences: articles, capitals, slots, comparing.

/// The text in lower case with single blanks, as used to look for one text inside another.
pub fn normalise(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// A noun with "a" or "an" before it.
pub(super) fn with_article(noun: &str) -> String {
    let an = noun.starts_with(['a', 'e', 'i', 'o', 'u']) && !noun.starts_with("uni");
    format!("{} {noun}", if an { "an" } else { "a" })
}

/// The phrase without a leading article.
pub(super) fn bare(phrase: &str) -> &str {
    ["a ", "an ", "the "].iter().find_map(|article| phrase.strip_prefix(article)).unwrap_or(phrase)
}

/// The text with its first letter in upper case, and every letter that follows a full stop too.
pub(super) fn sentence(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for c in text.chars() {
        if start && c.is_alphabetic() {
            out.extend(c.to_uppercase());
            start = false;
        } else {
            start |= c == '.' || c == '?';
            out.push(c);
        }
    }
    out
}

/// The template with each `{slot}` replaced; `slots` are pairs of slot name and text.
pub(super) fn fill(template: &str, slots: &[(&str, &str)]) -> String {
    let mut out = template.to_owned();
    for (slot, text) in slots {
        out = out.replace(&format!("{{{slot}}}"), text);
    }
    out
}

/// The number of words of a phrase.
pub(super) fn words(text: &str) -> usize {
    text.split_whitespace().count()
}
