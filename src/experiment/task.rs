//! The work of a run: for each model and data set its questions as token ids, its cells and its calibration rows.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use tokenizers::Tokenizer;

use super::cell::{Cell, cells};
use super::spec::Spec;
use crate::data::{Dataset, DatasetInfo, Question, RowSource};
use crate::model::Config;
use crate::progress;
use crate::score::{ModelLimits, Request, encode_dataset, encode_request};

/// One model and data set to score.
pub struct Task {
    /// The questions.
    pub dataset: Dataset,
    /// Their requests, in their order.
    pub requests: Vec<Vec<Request>>,
    /// The gold choices of the calibration questions; none where no codec asks for any.
    pub train: Vec<Request>,
    /// The cells.
    pub cells: Vec<Cell>,
}

impl Task {
    /// Sequences to score: requests times cells and baseline.
    pub fn sequences(&self) -> u64 {
        let requests: usize = self.requests.iter().map(Vec::len).sum();
        (requests * (1 + self.cells.len())) as u64
    }
}

/// What a model is asked with.
pub struct ModelInput<'a> {
    /// Name as it was asked for.
    pub name: &'a str,
    /// Shape and constants.
    pub config: &'a Config,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
}

/// Reads and encodes the data of an experiment for a model. Fails where the model does not take a question: nothing has been
/// computed then, and `plan` says the same as `run`.
pub fn tasks(spec: &Spec, model: &ModelInput, data_dir: Option<&Path>, skip_long: bool) -> Result<Vec<Task>> {
    let source = RowSource::new(data_dir);
    let (splits, codecs) = (spec.splits(model.config.num_hidden_layers)?, spec.codec_specs()?);
    let calibrated = codecs.iter().any(|c| c.calibration().is_some());
    spec.datasets_for(model.name, data_dir.is_some())?
        .into_iter()
        .map(|info| {
            let _activity = progress::begin(format!("{}: token ids of {}", model.name, info.name));
            let (dataset, requests) = questions(model, info.load(&source, spec.limit)?, skip_long)?;
            let train = match calibrated {
                true => train(model, info, &source, spec.calibration_rows, skip_long)?,
                false => Vec::new(),
            };
            Ok(Task { dataset, requests, train, cells: cells(&splits, &spec.scopes, &codecs, &spec.budgets_for(info)) })
        })
        .collect()
}

/// A data set and its requests, as far as the model takes them.
pub fn questions(model: &ModelInput, mut dataset: Dataset, skip_long: bool) -> Result<(Dataset, Vec<Vec<Request>>)> {
    let mut requests = encode_dataset(model.tokenizer, &dataset)?;
    let limits = ModelLimits { tokens: model.config.most_tokens(), vocabulary: model.config.vocab_size };
    limits.check(&mut dataset, &mut requests, skip_long).with_context(|| format!("model {}", model.name))?;
    Ok((dataset, requests))
}

/// The gold choices of training questions.
pub fn train(
    model: &ModelInput,
    info: &'static DatasetInfo,
    source: &RowSource,
    rows: usize,
    skip_long: bool,
) -> Result<Vec<Request>> {
    let (dataset, questions) = (&info.name, info.load_train(source, Some(rows))?.questions);
    let about = |question: &Question| format!("data set {dataset}, training question {}", question.id);
    let encode = |question: &Question| {
        let choice = &question.choices[question.gold];
        encode_request(model.tokenizer, &choice.context, &choice.continuation).with_context(|| about(question))
    };
    let mut requests: Vec<Request> = questions.par_iter().map(encode).collect::<Result<_>>()?;
    let most = model.config.most_tokens();
    let vocabulary = model.config.vocab_size;
    for (question, request) in questions.iter().zip(&requests) {
        ensure!(
            skip_long || request.tokens.len() <= most,
            "model {}, {} has {} tokens, more than the {most} that the model takes; leave such questions out with --skip-long",
            model.name,
            about(question),
            request.tokens.len()
        );
        let mut ids = request.tokens.iter().chain(&request.targets);
        ensure!(
            ids.all(|&id| (id as usize) < vocabulary),
            "model {}, {} has a token id outside the model's vocabulary of {vocabulary}; the tokenizer is not this model's",
            model.name,
            about(question)
        );
    }
    requests.retain(|request| request.tokens.len() <= most);
    ensure!(!requests.is_empty(), "data set {dataset}: no training question is short enough for model {}", model.name);
    Ok(requests)
}
