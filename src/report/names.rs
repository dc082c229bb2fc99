//! How data sets are called and ordered in tables and figures.

/// The paper's ten data sets, in its order: registry name and title.
pub(super) const DATASETS: [(&str, &str); 10] = [
    ("openbookqa", "OpenBookQA"),
    ("arc_easy", "ARC-Easy"),
    ("arc_challenge", "ARC-Challenge"),
    ("piqa", "PIQA"),
    ("siqa", "SIQA"),
    ("winogrande", "WinoGrande"),
    ("commonsense_qa", "CommonsenseQA"),
    ("qasc", "QASC"),
    ("logiqa", "LogiQA"),
    ("cosmos_qa", "CosmosQA"),
];

/// Whether this is one of the embedded small sets.
pub(super) fn is_mini(dataset: &str) -> bool {
    dataset.ends_with("-mini")
}

/// Place in the paper's order, also for the embedded small sets; `None` for a data set of the user's own.
pub(super) fn paper_place(dataset: &str) -> Option<usize> {
    let name = dataset.strip_suffix("-mini").unwrap_or(dataset).replace('-', "_");
    DATASETS.iter().position(|(known, _)| *known == name)
}

/// Title as the paper prints it, with `mini` after an embedded small set; the name itself for other data sets.
pub(super) fn title(dataset: &str) -> String {
    match paper_place(dataset) {
        Some(place) if is_mini(dataset) => format!("{} mini", DATASETS[place].1),
        Some(place) => DATASETS[place].1.to_string(),
        None => dataset.to_string(),
    }
}

/// Codec without its options: `fc` of `fc:band=centered`.
pub(super) fn codec_base(codec: &str) -> &str {
    codec.split(':').next().unwrap_or(codec)
}

/// A name as part of a file name: letters, digits and dots, the rest as single dashes.
pub(super) fn slug(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() || letter == '.' {
            out.push(letter.to_ascii_lowercase());
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches(['-', '.']).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_and_places() {
        assert_eq!(title("arc_easy"), "ARC-Easy");
        assert_eq!(title("arc_easy-mini"), "ARC-Easy mini");
        assert_eq!(title("cosmos-qa-mini"), "CosmosQA mini");
        assert_eq!(title("own_set"), "own_set");
        assert_eq!(paper_place("piqa-mini"), Some(3));
        assert_eq!(paper_place("own_set"), None);
        assert_eq!(codec_base("fc:band=centered"), "fc");
        assert_eq!(slug("../Llama 3.2--1B/"), "llama-3.2-1b");
    }
}
