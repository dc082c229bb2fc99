//! One row a cell: all that is needed to read the number and to make it again.

use serde::{Deserialize, Serialize};

use super::table_file::TableLine;
use crate::score::{Paired, RatioTrial};

/// Result of one cell: (model, data set, split layer, scope, codec, ratio). A missing number is empty, never zero.
/// Times are not here but in `timings.csv`, so that two runs of the same experiment leave the same rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the experiment file.
    pub experiment: String,
    /// Model name as given.
    pub model: String,
    /// SHA-256 over config.json and the weight files.
    pub model_sha256: String,
    /// SHA-256 of tokenizer.json.
    pub tokenizer_sha256: String,
    /// Data set name; the embedded small ones end in `-mini`.
    pub dataset: String,
    /// Title of a data set of the user's own; empty for a built-in one.
    pub dataset_title: Option<String>,
    /// Where the rows came from: `embedded`, the folder given, or the file that a definition names.
    pub data_source: String,
    /// SHA-256 of the rows' file.
    pub data_sha256: String,
    /// Whether that equals the one on record, where one is.
    pub data_verified: bool,
    /// Version of the prompt template.
    pub prompt_version: u32,
    /// SHA-256 of what a definition of the user's own says about prompts, choices and gold; empty for a built-in data set.
    pub definition_sha256: Option<String>,
    /// The cut: after this layer, 1..=N. Empty for the unsplit baseline.
    pub split_layer: Option<u32>,
    /// `prompt+choice` or `prompt`.
    pub scope: String,
    /// Codec with its options; `baseline` for the unsplit model.
    pub codec: String,
    /// Compression ratio asked for; empty for the baseline and for codecs of fixed rate.
    pub ratio_requested: Option<f64>,
    /// What the ratio asked for counts: `elements` or `wire`; empty where none was.
    pub accounting: String,
    /// Total S D over total kept numbers, from the packets.
    pub ratio_elements: Option<f64>,
    /// Total raw f16 bytes over total packet bytes.
    pub ratio_wire: Option<f64>,
    /// Mean packet bytes a token that crosses the cut.
    pub wire_bytes_per_token: Option<f64>,
    /// Mean over requests of `||A - A'||_F / ||A||_F`.
    pub rel_error: Option<f64>,
    /// Questions scored.
    pub questions: u64,
    /// Requests scored (questions x choices).
    pub requests: u64,
    /// Tokens fed to the model over all requests.
    pub tokens: u64,
    /// Largest sum of log-likelihood (share of questions right, 0..=1).
    pub acc: Option<f64>,
    /// Its standard error: sample deviation over sqrt(n).
    pub acc_stderr: Option<f64>,
    /// Largest log-likelihood per character of the choice.
    pub acc_norm: Option<f64>,
    /// Its standard error.
    pub acc_norm_stderr: Option<f64>,
    /// Accuracy of guessing: mean of 1 / choices.
    pub chance: Option<f64>,
    /// Which of the two a table prints by default for this data set: `acc` or `acc_norm`.
    pub metric: String,
    /// Paired with the baseline on the same questions, by `metric`: right there, wrong here.
    pub lost: Option<u64>,
    /// Wrong there, right here.
    pub gained: Option<u64>,
    /// Exact two-sided McNemar p of (lost, gained).
    pub mcnemar_p: Option<f64>,
    /// Mean change of the gold choice's log-likelihood against the baseline, nats.
    pub gold_loglik_change: Option<f64>,
    /// Its standard error over questions.
    pub gold_loglik_change_stderr: Option<f64>,
    /// Against the unsplit model at the same positions, those where a token of a choice is scored: how many there are.
    pub positions: Option<u64>,
    /// Mean KL(unsplit || codec) over positions, nats.
    pub kl_mean: Option<f64>,
    /// Its standard error over questions.
    pub kl_stderr: Option<f64>,
    /// Median of KL over positions.
    pub kl_median: Option<f64>,
    /// 90th percentile.
    pub kl_p90: Option<f64>,
    /// 99th percentile.
    pub kl_p99: Option<f64>,
    /// Largest.
    pub kl_max: Option<f64>,
    /// Share of positions at which the most likely token is the unsplit model's, 0..=1.
    pub top1: Option<f64>,
    /// Its standard error over questions.
    pub top1_stderr: Option<f64>,
    /// Mean over positions of sum min(p, q): the share of tokens that speculative sampling would accept.
    pub acceptance: Option<f64>,
    /// ln of the ratio of perplexities of the gold choice's tokens, codec over unsplit.
    pub ln_ppl_ratio: Option<f64>,
    /// Its standard error over questions.
    pub ln_ppl_ratio_stderr: Option<f64>,
    /// Type the model's weight matrices are kept in; arithmetic is f32.
    pub dtype: String,
    /// `cpu` or a GPU.
    pub device: String,
    /// Calibration the codec used (hash of its inputs); empty where none.
    pub calibration: Option<String>,
    /// Questions asked for with `--limit`; empty for all.
    pub limit: Option<u64>,
    /// Of these, questions left out with `--skip-long` as the model does not take so many tokens; empty for none.
    pub skipped: Option<u64>,
    /// Version and git revision of this program; `-dirty` where the tree had changes.
    pub version: String,
    /// What went wrong; then all numbers are empty.
    pub err: Option<String>,
}

impl TableLine for Row {
    const FILE: &'static str = "rows.csv";
}

/// Accuracy of a cell as a table prints it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Share of questions right, 0..=1.
    pub value: f64,
    /// Standard error.
    pub stderr: f64,
}

impl Row {
    /// The accuracy a table prints for this data set.
    pub fn accuracy(&self) -> Option<Accuracy> {
        let (value, stderr) = match self.metric.as_str() {
            "acc_norm" => (self.acc_norm?, self.acc_norm_stderr?),
            _ => (self.acc?, self.acc_stderr?),
        };
        Some(Accuracy { value, stderr })
    }

    /// What a search for a ratio learns of the row; none where it has no ratio or was not compared with the baseline.
    pub fn tried(&self) -> Option<RatioTrial> {
        let paired = Paired { lost: self.lost?, gained: self.gained?, mcnemar_p: self.mcnemar_p? };
        Some(RatioTrial { ratio: self.ratio_requested?, paired, questions: self.questions })
    }

    /// Whether this is the unsplit, uncompressed run.
    pub fn is_baseline(&self) -> bool {
        self.codec == "baseline"
    }
}
