//! What a data set's file says: where its rows are, and how a row becomes a question. The built-in sets and a user's own are defined
//! alike.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::registry::{MINI, registry};
use super::template::Template;
use crate::file_name::file_name;
use crate::repeats::refuse_repeats;

/// What is recorded about a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetInfo {
    /// Name in experiments and in rows; that of the file where it states none.
    #[serde(default)]
    pub name: String,
    /// Name as tables print it; the name where the file states none.
    #[serde(default)]
    pub title: String,
    /// File that defines a set of the user's own, as it was given; none of a built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<PathBuf>,
    /// Column of the paper's Tables II and III, from 1; tables keep this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The rows that are scored, JSON Lines, from the folder of the definition; none where they are those of the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Repository on the Hugging Face hub, for a mini set that of its parent; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hub_id: String,
    /// Configuration (subset) of that repository.
    #[serde(default = "default_config")]
    pub hub_config: String,
    /// Split of it that is scored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub split: String,
    /// Rows that are scored; empty for mini sets, and where the file does not state it.
    pub rows: Option<usize>,
    /// SHA-256 of these rows as JSON Lines; empty for mini sets, and where the file does not state it.
    pub sha256: Option<String>,
    /// Licence as far as known.
    #[serde(default)]
    pub licence: String,
    /// What the model is given.
    pub prompt: Template,
    /// The choices.
    pub choices: Choices,
    /// What is scored after the prompt.
    #[serde(default)]
    pub scored: Scored,
    /// What the gold field may name, a label for each choice; without any it holds the number of the choice, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Field that says which choice is right.
    pub gold: String,
    /// Raised with every change of the prompt.
    #[serde(default = "default_version")]
    pub prompt_version: u32,
    /// Which accuracy a table prints.
    #[serde(default)]
    pub metric: Metric,
    /// The paper's whole ratio for this set in Table III.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paper_ratio: Option<u32>,
    /// The rows codecs are calibrated on; empty for mini sets, whose `train.jsonl` is embedded.
    pub train: Option<TrainInfo>,
    /// Whether this is one of our own small sets, embedded in the program.
    #[serde(skip)]
    pub mini: bool,
}

/// What is recorded about a data set's calibration rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainInfo {
    /// Split they come from; empty where they are a file beside the definition.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub split: String,
    /// File they are in: of rows of the hub `train.jsonl`, or `validation.jsonl` where no training rows are to be had.
    pub file: String,
    /// Rows in it.
    pub rows: Option<usize>,
    /// Configuration they come from, where it is not the data set's.
    pub hub_config: Option<String>,
    /// First rows of the hub's split that `prepare` takes, where the hub does not have the rows on record; the SHA-256 of
    /// these is not on record.
    pub hub_rows: Option<usize>,
    /// SHA-256 of the file.
    pub sha256: Option<String>,
}

/// Where the choices of a row are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the field of the choices, or a list of templates, one for each choice")]
pub enum Choices {
    /// In an array, or in an array of objects: `choices.text` finds both.
    Field(String),
    /// Each in a template of its own.
    Templates(Vec<Template>),
}

/// Where the labels of a row's choices are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the field of the labels, or a list of them, one for each choice")]
pub enum Labels {
    /// In an array beside the choices.
    Field(String),
    /// These, in every row; rows of fewer choices have the first of them.
    Words(Vec<String>),
}

/// What is scored after the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scored {
    /// A space and the choice's text.
    #[default]
    Choice,
    /// A space and the choice's letter: A, B, C, ...
    Letter,
    /// The prompt has a `_` for the choice: what follows it is scored, once for each choice in its place.
    Rest,
}

/// One of the two accuracies; both are always recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Largest sum of log-likelihood.
    #[default]
    Acc,
    /// Largest log-likelihood per character.
    AccNorm,
}

fn default_config() -> String {
    "default".into()
}

fn default_version() -> u32 {
    1
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
    /// Name of the set that the prompt and the column come from: itself, but for a mini set.
    pub fn parent(&self) -> &str {
        self.name.strip_suffix(MINI).filter(|_| self.mini).unwrap_or(&self.name)
    }

    /// Whether its rows are those of the hub, which `prepare` fetches.
    pub fn is_of_hub(&self) -> bool {
        !self.mini && self.file.is_none()
    }

    /// What the user gives to name it: a name, or the path of its definition.
    pub fn given(&self) -> String {
        self.origin.as_ref().map_or_else(|| self.name.clone(), |path| path.display().to_string())
    }

    /// A file that a definition names, which lies in its folder.
    pub(super) fn sibling(&self, file: &str) -> PathBuf {
        self.origin.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).join(file)
    }

    /// Of all that decides what is asked and which answer is right, in a set of the user's own; those of a built-in set are part
    /// of the program, whose version says which.
    pub fn definition_sha256(&self) -> Option<String> {
        self.origin.as_ref()?;
        let parts = (&self.prompt, &self.choices, self.scored, &self.labels, &self.gold);
        serde_json::to_string(&parts).ok().map(|text| hex::encode(Sha256::digest(text)))
    }

    /// Reads a definition; `origin` is only named in errors.
    pub(super) fn parse(text: &str, origin: &str) -> Result<Self> {
        let read: Result<Self, toml::de::Error> = toml::from_str(text);
        read.map_err(|error| match nearest_key(error.message()) {
            Some(nearest) => {
                let before = error.span().map_or("", |span| &text[..span.start]);
                nearest.context(format!("line {}", before.matches('\n').count() + 1))
            }
            None => error.into(),
        })
        .with_context(|| origin.to_string())
    }

    /// The user's own set that a file defines.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("reading data set {shown}"))?;
        let mut info = Self::parse(&text, &shown)?;
        if info.name.is_empty() {
            info.name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_string();
        }
        if info.title.is_empty() {
            info.title = info.name.clone();
        }
        let ours = info.column.is_some() || info.paper_ratio.is_some() || info.origin.is_some();
        ensure!(!ours, "{shown}: column, paper_ratio and origin are keys of the built-in sets; leave them out");
        info.origin = Some(path.to_path_buf());
        info.check_names().and_then(|()| info.check()).with_context(|| shown)?;
        Ok(info)
    }

    fn check_names(&self) -> Result<()> {
        let Self { name, title, .. } = self;
        ensure!(
            file_name(name) == *name,
            "name {name:?}: expected small letters, digits, `_`, `.` and single dashes; rename the file, or add name = \"...\""
        );
        // Reports know the embedded sets by their names, and the paper's numbers with them.
        let known = |name: &str| name.trim_end_matches(MINI).replace('-', "_");
        let taken = registry().iter().find(|other| known(&other.name) == known(name) || other.title == *title);
        if let Some(taken) = taken {
            bail!(
                "name {name:?}, title {title:?}: the built-in set {} ({}) is called so; add another name = \"...\" or title = \"...\"",
                taken.name,
                taken.title
            );
        }
        ensure!(!name.ends_with(MINI), "name {name:?}: only the embedded sets end in {MINI:?}; add name = \"...\"");
        ensure!(!title.contains(char::is_control), "title {title:?}: expected one line");
        Ok(())
    }

    /// Fails on what no row could be read by.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            self.prompt.has_field(),
            "prompt {:?} names no field of the row, such as {{{{question}}}}",
            self.prompt.to_string()
        );
        ensure!(!self.gold.is_empty(), "gold is empty; expected the field that says which choice is right");
        if let Choices::Templates(templates) = &self.choices {
            let count = templates.len();
            ensure!((2..=26).contains(&count), "choices: expected 2 to 26, found {count}");
            for template in templates {
                let shown = template.to_string();
                ensure!(!template.is_blank(), "choices: {shown:?} is blank; expected text");
                ensure!(!template.has_listing(), "choices: {shown:?} lists the choices, of which it is one");
            }
            if let Some(Labels::Words(labels)) = &self.labels {
                ensure!(labels.len() == count, "labels: expected {count}, one a choice, found {}", labels.len());
            }
        }
        if let Some(Labels::Words(labels)) = &self.labels {
            refuse_repeats("label", labels, String::clone)?;
        }
        let train_sha256 = self.train.as_ref().and_then(|train| train.sha256.as_deref());
        for sha256 in [self.sha256.as_deref(), train_sha256].into_iter().flatten() {
            let digits = sha256.len() == 64 && sha256.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
            ensure!(digits, "sha256 {sha256:?}: expected 64 digits, 0 to 9 and a to f, as sha256sum prints them");
        }
        ensure!(
            self.file.is_some() == self.hub_id.is_empty(),
            "expected either file, a JSON Lines file, or hub_id, a data set of the Hugging Face hub"
        );
        let of_hub =
            |train: &TrainInfo| !train.split.is_empty() || train.hub_config.is_some() || train.hub_rows.is_some();
        let of_hub =
            !self.split.is_empty() || self.hub_config != default_config() || self.train.as_ref().is_some_and(of_hub);
        ensure!(
            self.file.is_none() || !of_hub,
            "split, hub_config and hub_rows say which rows of the hub, and these are a file: leave them out"
        );
        let files = self.file.iter().chain(self.train.as_ref().map(|train| &train.file));
        for file in files {
            ensure!(file.ends_with(".jsonl"), "file {file:?}: expected JSON Lines, a path that ends in .jsonl");
        }
        if self.hub_id.is_empty() {
            return Ok(());
        }
        let train = self.train.as_ref();
        ensure!(
            !self.split.is_empty() && train.is_none_or(|train| !train.split.is_empty()),
            "expected split beside hub_id, and in [train] where there is one"
        );
        let known = ["train.jsonl", "validation.jsonl"];
        if let Some(train) = train.filter(|train| !known.contains(&train.file.as_str())) {
            bail!("[train] file {:?}: rows of the hub go to \"train.jsonl\" or \"validation.jsonl\"", train.file);
        }
        Ok(())
    }
}

/// Which key was meant by one that a file should not have, as serde's message has it: the unknown key, then those that are known.
fn nearest_key(message: &str) -> Option<anyhow::Error> {
    let mut keys = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = keys.next()?;
    Some(splitbench_codec::suggest::unknown("key", unknown, keys))
}
