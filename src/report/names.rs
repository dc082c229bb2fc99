//! How data sets are called in tables and figures, how they are ordered, and what files of figures are called.

use crate::file_name::file_name;
use crate::record::Row;

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

/// Title of the data set of a row: a set of the user's own brings it.
pub(super) fn row_title(row: &Row) -> String {
    row.dataset_title.clone().unwrap_or_else(|| title(&row.dataset))
}

/// Codec without its options: `fc` of `fc:band=centered`.
pub(super) fn codec_base(codec: &str) -> &str {
    codec.split(':').next().unwrap_or(codec)
}

/// What codecs do, for figures of more codecs than there are markers; the last is of all others.
pub(super) const FAMILIES: [&str; 5] = [
    "coefficients of a transform (fc, fcanet and their kin)",
    "low rank (qr, svd and its kin, klt, cobla)",
    "sparse (topk, slicer, sparse-rans and their kin)",
    "quantiser (int8, int4, fp8, awq and their kin)",
    "other (noop, zfp, external)",
];

/// The family of a codec, by its place.
pub(super) fn family(codec: &str) -> usize {
    match codec_base(codec) {
        "fc" | "fc-mask" | "fcanet" | "dynamic-pruning" => 0,
        "qr" | "svd" | "fwsvd" | "asvd" | "svd-llm" | "klt" | "cobla" => 1,
        "topk" | "threshold-split" | "slicer" | "sparse-rans" | "sparse_v1" | "qsparse8_v1" | "split-fine-tuning" => 2,
        "int8" | "int4" | "fp8" | "hadamard-int4" | "q80" | "q4_0" => 3,
        "awq" | "spinquant" | "atom" | "agile-quant" | "best" => 3,
        _ => 4,
    }
}

/// Name of a figure's file: what it shows and, where several show that, of which model or profile.
pub(super) fn figure_file(shows: &str, subject: Option<&str>) -> String {
    subject.map_or(shows.to_string(), |subject| format!("{shows}--{}", file_name(subject)))
}

/// What the figure of the average over data sets shows, beside that of each.
pub(super) fn average(shows: &str) -> String {
    format!("{shows}-average")
}

/// A cut as part of a figure's name; its words come from short lists.
pub(super) fn cut_part(split_layer: Option<u32>, words: &[&str]) -> String {
    let layer = split_layer.map(|layer| format!("-l{layer}")).unwrap_or_default();
    words.iter().fold(layer, |part, word| format!("{part}-{}", word.replace('+', "-")))
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
    }

    #[test]
    fn figures_of_two_models_never_share_a_file() {
        assert_eq!(figure_file("growth", None), "growth");
        assert_eq!(figure_file("growth", Some("pocket")), "growth--pocket");
        let files = |model| [figure_file("growth", Some(model)), figure_file("growth-average", Some(model))];
        assert!(files("m").iter().all(|file| !files("m-average").contains(file) && !files("M").contains(file)));
        assert_ne!(figure_file("growth", Some("ckpt/step_100")), figure_file("growth", Some("ckpt/step-100")));
        assert_eq!(cut_part(Some(3), &["prompt+choice", "elements"]), "-l3-prompt-choice-elements");
        assert_eq!(cut_part(None, &["prompt"]), "-prompt");
    }
}
