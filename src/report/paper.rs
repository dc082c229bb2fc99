//! The paper's numbers, typed out under `results/paper`, for printing beside ours.

use std::sync::LazyLock;

use super::{names, number, table3};
use crate::record::{Accuracy, Row, table_file};

const TABLE2: &str = include_str!("../../results/paper/table2.csv");
const TABLE3: &str = include_str!("../../results/paper/table3.csv");
const TABLE4: &str = include_str!("../../results/paper/table4.csv");
const NEAR_LOSSLESS: &str = include_str!("../../results/paper/table2_near_lossless_ratio.csv");

/// Where a table has the paper's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum NumberPlace {
    /// In a row of their own below ours: for files and the terminal.
    Below,
    /// In the cell of ours: for pages.
    Inside,
}

/// A CSV of the paper, its header first.
struct PaperTable(Vec<Vec<String>>);

impl PaperTable {
    fn parse(text: &str) -> Self {
        Self(table_file::fields(text))
    }

    fn get(&self, keys: &[&str], column: &str) -> Option<f64> {
        let at = self.0.first()?.iter().position(|name| *name == column)?;
        let line = self.0.iter().skip(1).find(|line| line.iter().zip(keys).all(|(field, key)| field == key))?;
        line.get(at)?.parse().ok()
    }
}

static SHEET2: LazyLock<PaperTable> = LazyLock::new(|| PaperTable::parse(TABLE2));
static SHEET3: LazyLock<PaperTable> = LazyLock::new(|| PaperTable::parse(TABLE3));
static SHEET4: LazyLock<PaperTable> = LazyLock::new(|| PaperTable::parse(TABLE4));
static SHEET_RATIO: LazyLock<PaperTable> = LazyLock::new(|| PaperTable::parse(NEAR_LOSSLESS));

/// Names a model may be given by, letters and digits only, and the paper's name for it.
const MODELS: [(&str, &str); 4] = [
    ("llama321b", "Llama 3-1B"),
    ("llama323b", "Llama 3-3B"),
    ("qwen2515b", "Qwen2.5-1.5B"),
    ("qwen253b", "Qwen2.5-3B"),
];

/// The paper's four models by its own names, in its order.
pub fn models() -> [&'static str; 4] {
    MODELS.map(|(_, name)| name)
}

/// The paper's name of a model given as `llama-3.2-1b`, `meta-llama/Llama-3.2-1B` and the like; `None` for others.
pub fn model(given: &str) -> Option<&'static str> {
    let last = given.rsplit('/').next().unwrap_or(given);
    let plain: String = last.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    MODELS.iter().find(|(name, paper)| *name == plain || *paper == last).map(|(_, paper)| *paper)
}

/// Accuracy (per cent) in Table II of FC at a ratio, or of the baseline without one; `None` where it has no number.
/// `model` is the paper's name; a small embedded set is not the paper's set and has no number.
pub fn table2(model: &str, ratio: Option<f64>, dataset: &str) -> Option<f64> {
    let ratio = ratio.map_or("baseline".to_string(), |ratio| ratio.to_string());
    SHEET2.get(&[model, &ratio], dataset)
}

/// Accuracy (per cent) in Table III of a codec, or of the baseline; data set `avg` is its printed average.
pub fn table3(model: &str, codec: &str, dataset: &str) -> Option<f64> {
    let method = match names::codec_base(codec) {
        "fwsvd" => "FWSVD",
        "asvd" => "ASVD",
        "svd-llm" => "SVD-LLM",
        "qr" => "QR",
        "topk" => "Top-k",
        "fc" => "FC",
        "baseline" => "Baseline",
        _ => return None,
    };
    SHEET3.get(&[model, method], dataset)
}

/// Seconds in Table IV to compress and decompress by a method, `fc_hardware` included; model `Avg.` is its printed average.
pub fn table4(model: &str, method: &str) -> Option<f64> {
    SHEET4.get(&[model], &format!("{}_s", method.replace('-', "_")))
}

/// Channels of one of the paper's models, as its Table IV needs them.
pub fn hidden(model: &str) -> Option<usize> {
    SHEET4.get(&[model], "hidden_size").map(|hidden| hidden as usize)
}

/// Whole ratio at which a set's FC column in Table III equals Table II, in 35 of 40 cells; found by comparing the two.
pub fn table3_ratio(dataset: &str) -> Option<f64> {
    const RATIOS: [f64; 10] = [9.0, 8.0, 8.0, 10.0, 6.0, 6.0, 7.0, 7.0, 8.0, 7.0];
    names::DATASETS.iter().position(|(name, _)| *name == dataset).map(|at| RATIOS[at])
}

/// Last row of the paper's Table II: the near-lossless ratio of a data set, averaged over its models.
pub fn near_lossless(dataset: &str) -> Option<f64> {
    SHEET_RATIO.get(&[], dataset)
}

/// Points that FC loses in Table II at a ratio, mean over the paper's models. A small embedded set takes those of its namesake.
pub(super) fn loss2(ratio: f64, dataset: &str) -> Option<f64> {
    mean_loss(dataset, |model, name| Some(table2(model, None, name)? - table2(model, Some(ratio), name)?))
}

/// The same of a codec in Table III.
pub(super) fn loss3(codec: &str, dataset: &str) -> Option<f64> {
    mean_loss(dataset, |model, name| Some(table3(model, "baseline", name)? - table3(model, codec, name)?))
}

fn mean_loss(dataset: &str, of: impl Fn(&str, &str) -> Option<f64>) -> Option<f64> {
    let name = names::DATASETS[names::paper_place(dataset)?].0;
    let sum: Option<f64> = models().iter().map(|model| of(model, name)).sum();
    sum.map(|sum| sum / MODELS.len() as f64)
}

/// What stands under our losses where the model is none of the paper's: the paper's loss, and ours minus that; for the average our loss
/// too.
pub(super) fn losses(cells: &[Option<&Row>], baseline: &[Option<&Row>], papers: &[Option<f64>]) -> Vec<String> {
    let beside = |lost: &table3::AccuracyDrop, paper: f64| {
        format!("paper {} ({})", number::tenths(paper), number::signed(lost.points - paper))
    };
    let one = |((cell, base), paper): ((&Option<&Row>, &Option<&Row>), &Option<f64>)| {
        let lost = table3::drop(&[*cell], &[*base]);
        lost.zip(*paper).map_or(String::new(), |(lost, paper)| beside(&lost, paper))
    };
    let all = cells.iter().zip(baseline).all(|(cell, base)| table3::drop(&[*cell], &[*base]).is_some());
    let mean = papers.iter().copied().sum::<Option<f64>>().map(|sum| sum / papers.len() as f64);
    let average = table3::drop(cells, baseline).filter(|_| all).map_or(String::new(), |lost| {
        let paper = mean.map(|paper| format!("\n{}", beside(&lost, paper)));
        format!("loss {lost}{}", paper.unwrap_or_default())
    });
    cells.iter().zip(baseline).zip(papers).map(one).chain([average]).collect()
}

/// What a table says of the numbers in its cells, by whether any model is one of the paper's.
pub(super) fn inside_sentences(papers: bool, others: bool) -> Vec<String> {
    let mut out = Vec::new();
    if papers {
        out.push("Under a number: the paper's at the same place, and in brackets ours minus the paper's. The paper states no standard error, so that of the difference is at least ours.".into());
    }
    if others {
        out.push("Models that are none of the paper's: under the points lost the paper's loss there, mean over its four models on the set of that name, and in brackets ours minus the paper's. Accuracies of other models on other questions are not subtracted from one another.".into());
    }
    out
}

/// The paper's numbers as cells, with ours minus the paper's in brackets, and last the same for the average over all sets.
pub(super) fn with_difference(papers: &[Option<f64>], ours: &[Option<Accuracy>]) -> Vec<String> {
    let text = |paper: Option<f64>, ours: Option<f64>| match (paper, ours) {
        (None, _) => number::MISSING.to_string(),
        (Some(paper), None) => number::tenths(paper),
        (Some(paper), Some(ours)) => format!("{} ({})", number::tenths(paper), number::signed(ours - paper)),
    };
    let percent = |cell: Option<Accuracy>| cell.map(|cell| 100.0 * cell.value);
    let mean = papers.iter().copied().sum::<Option<f64>>().map(|sum| sum / papers.len() as f64);
    let cells = papers.iter().zip(ours).map(|(&paper, &ours)| text(paper, percent(ours)));
    cells.chain([text(mean, percent(number::average(ours)))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_where_the_paper_has_them() {
        assert_eq!(table2("Llama 3-1B", Some(10.0), "openbookqa"), Some(36.5));
        assert_eq!(table2("Qwen2.5-3B", None, "cosmos_qa"), Some(27.6));
        assert_eq!(table2("Qwen2.5-3B", Some(6.5), "cosmos_qa"), None);
        assert_eq!(table2("Qwen2.5-3B", None, "cosmos_qa-mini"), None);
        assert_eq!(table3("Llama 3-3B", "topk:values=f32", "avg"), Some(46.8));
        assert_eq!(table3("Llama 3-3B", "svd", "avg"), None);
        assert_eq!(near_lossless("siqa"), Some(6.0));
        assert_eq!((table4("Llama 3-3B", "svd-llm"), table4("Avg.", "fc-hardware")), (Some(141.8), Some(0.7)));
        assert_eq!((table4("Llama 3-3B", "svd"), hidden("Qwen2.5-1.5B"), hidden("Avg.")), (None, Some(1536), None));
        for model in models() {
            for (dataset, _) in names::DATASETS {
                assert!(table2(model, None, dataset).is_some() && table3(model, "fc", dataset).is_some());
            }
        }
    }

    #[test]
    fn table3_ratios_agree_with_both_tables() {
        let same = |model, dataset| table3(model, "fc", dataset) == table2(model, table3_ratio(dataset), dataset);
        let cells = models().into_iter().flat_map(|model| names::DATASETS.map(|(dataset, _)| same(model, dataset)));
        assert_eq!(cells.filter(|same| *same).count(), 35);
    }

    #[test]
    fn models_by_the_names_people_give() {
        assert_eq!(model("llama-3.2-1b"), Some("Llama 3-1B"));
        assert_eq!(model("meta-llama/Llama-3.2-3B"), Some("Llama 3-3B"));
        assert_eq!(model("Qwen/Qwen2.5-1.5B"), Some("Qwen2.5-1.5B"));
        assert_eq!(model("Qwen2.5-3B"), Some("Qwen2.5-3B"));
        assert_eq!(model("Qwen2.5-3B-Instruct"), None);
        assert_eq!(model("pocket"), None);
    }
}
