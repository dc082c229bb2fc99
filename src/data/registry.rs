//! The data sets there are: `datasets/<name>.toml`, built into the program, and a `-mini` twin of each.

use std::sync::LazyLock;

use anyhow::{Context, Result};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};

use super::rows::Schema;

static FILES: Dir = include_dir!("$CARGO_MANIFEST_DIR/datasets");

/// Ending of the names of our own small sets.
const MINI: &str = "-mini";

/// What is recorded about a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetInfo {
    /// Name, as in the file name, in experiments and in rows.
    #[serde(skip_deserializing)]
    pub name: String,
    /// Name as tables print it.
    pub title: String,
    /// Column of the paper's Tables II and III, from 1; tables keep this order.
    pub column: u32,
    /// Repository on the Hugging Face hub; for a mini set that of its parent.
    pub hub_id: String,
    /// Configuration (subset) of that repository.
    pub hub_config: String,
    /// Split that is scored.
    pub split: String,
    /// Rows of that split; empty for mini sets.
    pub rows: Option<usize>,
    /// SHA-256 of `eval.jsonl`, the split as JSON Lines; empty for mini sets.
    pub sha256: Option<String>,
    /// Licence as far as known.
    pub licence: String,
    /// Row schema and with it the prompt.
    pub schema: Schema,
    /// The prompt in words; the code in `prompt.rs` is what counts.
    pub prompt: String,
    /// Raised with every change of the prompt.
    pub prompt_version: u32,
    /// Which accuracy a table prints.
    pub metric: Metric,
    /// The paper's whole ratio for this set in Table III.
    pub paper_ratio: u32,
    /// The rows codecs are calibrated on; empty for mini sets, whose `train.jsonl` is embedded.
    pub train: Option<TrainInfo>,
    /// Whether this is one of our own small sets, embedded in the program.
    #[serde(skip_deserializing)]
    pub mini: bool,
}

/// What is recorded about a data set's calibration rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainInfo {
    /// Split they come from.
    pub split: String,
    /// File they are in: `train.jsonl`, or `validation.jsonl` where no training rows are to be had.
    pub file: String,
    /// Rows in it.
    pub rows: usize,
    /// Configuration they come from, where it is not the data set's.
    pub hub_config: Option<String>,
    /// First rows of the hub's split that `prepare` takes, where the hub does not have the rows on record; the SHA-256 of
    /// these is not on record.
    pub hub_rows: Option<usize>,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// One of the two accuracies; both are always recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Largest sum of log-likelihood.
    Acc,
    /// Largest log-likelihood per character.
    AccNorm,
}

impl Metric {
    /// Name as rows hold it.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::Acc => "acc",
            Metric::AccNorm => "acc_norm",
        }
    }
}

impl DatasetInfo {
    /// Name of the set that the schema, the prompt and the column come from: itself, but for a mini set.
    pub fn parent(&self) -> &str {
        self.name.strip_suffix(MINI).filter(|_| self.mini).unwrap_or(&self.name)
    }

    fn mini(&self) -> DatasetInfo {
        DatasetInfo {
            name: format!("{}{MINI}", self.name),
            title: format!("{}{MINI}", self.title),
            rows: None,
            sha256: None,
            licence: "MIT OR Apache-2.0".into(),
            train: None,
            mini: true,
            ..self.clone()
        }
    }
}

static REGISTRY: LazyLock<Vec<DatasetInfo>> =
    LazyLock::new(|| parse_all().expect("the registry files are checked by this crate's tests"));

fn parse_all() -> Result<Vec<DatasetInfo>> {
    let mut sets = Vec::new();
    for file in FILES.files().filter(|f| f.path().extension().is_some_and(|e| e == "toml")) {
        let name = file.path().file_stem().and_then(|s| s.to_str()).context("file name is not UTF-8")?;
        let text = file.contents_utf8().context("not UTF-8")?;
        let info: DatasetInfo = toml::from_str(text).with_context(|| format!("datasets/{name}.toml"))?;
        sets.push(DatasetInfo { name: name.into(), ..info });
    }
    sets.sort_by_key(|s| s.column);
    let minis: Vec<_> = sets.iter().map(DatasetInfo::mini).collect();
    sets.extend(minis);
    Ok(sets)
}

/// All data sets: the ten real ones in the order of the paper's tables, then their mini twins.
pub fn registry() -> &'static [DatasetInfo] {
    &REGISTRY
}

/// The data set of that name, or an error with the nearest name.
pub fn find(name: &str) -> Result<&'static DatasetInfo> {
    registry()
        .iter()
        .find(|info| info.name == name)
        .ok_or_else(|| splitbench_codec::suggest::unknown("data set", name, registry().iter().map(|i| i.name.as_str())))
}

/// An embedded file of a mini set, such as `eval.jsonl`.
pub(super) fn embedded(info: &DatasetInfo, file: &str) -> Option<&'static [u8]> {
    FILES.get_file(format!("mini/{}/{file}", info.parent())).map(|f| f.contents())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_real_sets_in_table_order_and_ten_minis() {
        let names: Vec<&str> = registry().iter().map(|i| i.name.as_str()).collect();
        let real = [
            "openbookqa",
            "arc_easy",
            "arc_challenge",
            "piqa",
            "siqa",
            "winogrande",
            "commonsense_qa",
            "qasc",
            "logiqa",
            "cosmos_qa",
        ];
        assert_eq!(names[..10], real);
        for (i, name) in real.iter().enumerate() {
            let (parent, mini) = (&registry()[i], &registry()[i + 10]);
            assert_eq!(parent.column as usize, i + 1);
            assert!(parent.sha256.as_ref().is_some_and(|s| s.len() == 64), "{name}");
            assert_eq!(mini.name, format!("{name}-mini"));
            assert_eq!(mini.parent(), *name);
            assert_eq!((mini.schema, mini.prompt_version), (parent.schema, parent.prompt_version));
            assert!(mini.mini && mini.sha256.is_none() && !parent.mini);
        }
        let ratios: Vec<u32> = registry()[..10].iter().map(|i| i.paper_ratio).collect();
        assert_eq!(ratios, [9, 8, 8, 10, 6, 6, 7, 7, 8, 7]);
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_nearest() {
        assert_eq!(find("arc_easy").unwrap().title, "ARC-Easy");
        let text = find("arc-easy").unwrap_err().to_string();
        assert!(text.contains("did you mean \"arc_easy\"?"), "{text}");
    }

    #[test]
    fn an_unknown_key_in_a_registry_file_is_an_error() {
        let text = FILES.get_file("piqa.toml").and_then(|f| f.contents_utf8()).unwrap();
        assert!(toml::from_str::<DatasetInfo>(text).is_ok());
        let error = toml::from_str::<DatasetInfo>(&format!("colour = 1\n{text}")).unwrap_err().to_string();
        assert!(error.contains("colour"), "{error}");
    }
}
