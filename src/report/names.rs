//! How models and data sets are called in tables and figures, how data sets are ordered, and what files of figures are called.

use crate::experiment::Row;
use crate::file_name::file_name;
use crate::model::gguf;
use crate::model::place::TOKENIZER;

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

/// What a model is called where a report shows it: of a path or a place on the hub the last part, without a GGUF file's ending and the
/// number of its part. As many parts before it stand with it as tell it from `all` models of the report, its whole name where none do.
pub(crate) fn model<'m>(model: &str, all: impl IntoIterator<Item = &'m str>) -> String {
    let own = parts(model);
    let others: Vec<Vec<String>> = all.into_iter().filter(|other| *other != model).map(parts).collect();
    let last = |parts: &[String], count: usize| parts[parts.len().saturating_sub(count)..].join("/");
    let name = |count: &usize| others.iter().all(|other| last(other, *count) != last(&own, *count));
    let most = others.iter().map(Vec::len).fold(own.len(), usize::max);
    let found = (1..=most).find(name).map(|count| last(&own, count)).filter(|name| !name.is_empty());
    found.unwrap_or_else(|| model.to_string())
}

/// The parts of a model's place, folders first.
fn parts(model: &str) -> Vec<String> {
    let (place, tokenizer) = model.split_once(TOKENIZER).map_or((model, ""), |(place, _)| (place, "+tokenizer"));
    // A file of a repository on the hub lies in it; a pattern that chooses one belongs to the name.
    let place = match place.rsplit_once(':') {
        Some((before, file)) if gguf::is_gguf(file) => format!("{before}/{file}"),
        _ => place.to_string(),
    };
    let mut parts: Vec<String> = place.split(['/', '\\']).filter(|part| !part.is_empty()).map(String::from).collect();
    if let Some(last) = parts.last_mut() {
        if gguf::is_gguf(last) {
            let whole = gguf::part(last).map_or(last.clone(), |(whole, ..)| whole);
            *last = whole[..whole.len() - ".gguf".len()].to_string();
        }
        *last += tokenizer;
    }
    parts
}

/// Codec without its options: `fc` of `fc:band=centered`.
pub(super) fn codec_base(codec: &str) -> &str {
    codec.split(':').next().unwrap_or(codec)
}

/// What codecs do, for figures of more codecs than there are markers; the last is of all others.
pub(super) const FAMILIES: [&str; 5] = [
    "Fourier coefficients (fc, fc-mask)",
    "low rank (qr, svd and its kin, klt)",
    "sparse (topk, threshold-split, slicer, sparse-rans)",
    "quantiser (int8, int4, hadamard-int4, fp8)",
    "other (noop, zfp, external)",
];

/// The family of a codec, by its place.
pub(super) fn family(codec: &str) -> usize {
    match codec_base(codec) {
        "fc" | "fc-mask" => 0,
        "qr" | "svd" | "fwsvd" | "asvd" | "svd-llm" | "klt" => 1,
        "topk" | "threshold-split" | "slicer" | "sparse-rans" => 2,
        "int8" | "int4" | "hadamard-int4" | "fp8" => 3,
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
    fn models_are_called_by_the_end_of_their_place() {
        let alone = |name| model(name, [name]);
        for (place, name) in [
            ("pocket", "pocket"),
            ("/some/where/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1"),
            ("SmolLM2-135M-Instruct.Q4_1.GGUF", "SmolLM2-135M-Instruct.Q4_1"),
            ("/m/Qwen-q8_0-00001-of-00003.gguf", "Qwen-q8_0"),
            ("/m/odd-1-of-3.gguf", "odd-1-of-3"),
            ("checkpoints/step_100/", "step_100"),
            ("C:\\models\\a.gguf", "a"),
            ("owner/name", "name"),
            ("owner/name:q8/m-Q8_0-00001-of-00002.gguf", "m-Q8_0"),
            ("owner/name:Q4_K_M", "name:Q4_K_M"),
            ("/m/a.gguf+tokenizer=/t/tokenizer.json", "a+tokenizer"),
            ("/", "/"),
            (".gguf", ".gguf"),
        ] {
            assert_eq!(alone(place), name);
        }
    }

    #[test]
    fn models_that_would_show_alike_keep_what_tells_them_apart() {
        let all = ["/a/x/m.gguf", "/b/x/m.gguf", "/b/y/m.gguf", "m", "n.gguf", "/c/n", "/c/n.gguf", "pocket"];
        let names = all.map(|name| model(name, all));
        assert_eq!(names, ["a/x/m", "b/x/m", "y/m", "m", "n", "/c/n", "/c/n.gguf", "pocket"]);
        let tokenizers = ["/m/a.gguf+tokenizer=/t/1.json", "/m/a.gguf+tokenizer=/t/2.json"];
        assert_eq!(tokenizers.map(|name| model(name, tokenizers)), tokenizers);
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
