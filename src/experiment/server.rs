//! The server's end: batches of rows in, scores out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use anyhow::{Context, Result};
use candle_core::Tensor;

use super::evaluate::Scores;
use super::outcome::Outcome;
use super::probe::follow_errors;
use super::spent::{Clock, Stage};
use crate::model::split::{RowScores, Target};
use crate::model::{Decoder, Packing, Reference, SplitPoint};
use crate::score::{PositionFidelity, Request};

/// From the clients to the server.
pub enum Message<'a> {
    /// The unsplit model's batch, before what is compared with it.
    Unsplit(UnsplitBatch<'a>),
    /// Questions in cells at one cut.
    Cells(CellBatch<'a>),
    /// Questions in cells that say what cells before them said.
    Repeats(Vec<Repeat>),
    /// A cell that failed, and why.
    Failed { cell: usize, error: String },
}

/// Questions for the unsplit model.
pub struct UnsplitBatch<'a> {
    pub begin: ServerInput,
    pub packing: Arc<Packing>,
    /// The rows of the packing that are scored or compared with.
    pub rows: Vec<u32>,
    pub targets: Vec<Target>,
    /// Each question's place and requests.
    pub questions: Vec<(usize, &'a [Request])>,
}

/// What the server begins with.
pub enum ServerInput {
    /// The residual stream after a layer.
    Received(Tensor, SplitPoint),
    /// Token ids: the model is whole.
    Ids(Vec<u32>),
}

/// Questions in cells as one batch of the server half.
pub struct CellBatch<'a> {
    pub hidden: Tensor,
    pub split: SplitPoint,
    pub packing: Arc<Packing>,
    pub rows: Vec<u32>,
    /// For each of `rows`, the row of the unsplit batch at the same position.
    pub reference_rows: Vec<usize>,
    pub targets: Vec<Target>,
    pub questions: Vec<SentQuestion<'a>>,
    /// What was computed, where errors are followed.
    pub computed: Option<ComputedStreams>,
}

/// A question in a cell, sent and not scored yet.
pub struct SentQuestion<'a> {
    pub cell: usize,
    pub question: usize,
    pub requests: &'a [Request],
    /// One outcome per request, still without its log-likelihood.
    pub outcomes: Vec<Outcome>,
    /// The sequence of each request in the packing.
    pub sequences: Vec<usize>,
    /// The positions at which tokens are scored, as places among the batch's rows; each sequence's once.
    pub positions: Vec<usize>,
}

/// A question that arrived in a cell with the bits of another cell.
pub struct Repeat {
    pub cell: usize,
    pub question: usize,
    /// One outcome per request, still without its log-likelihood.
    pub outcomes: Vec<Outcome>,
    /// The cell that the server half has computed.
    pub of: usize,
}

/// The residual streams as computed, before any codec.
pub struct ComputedStreams {
    /// At the cut and after each later layer.
    pub streams: Vec<Tensor>,
    pub packing: Arc<Packing>,
    /// For each sequence of a server batch its sequence among them.
    pub sequences: Vec<usize>,
}

/// The server half.
pub struct ServerHalf<'a> {
    decoder: &'a Decoder,
    clock: &'a Clock,
    /// Whether the unsplit model's log-likelihoods are asked for.
    baseline: bool,
    /// The unsplit model's residual stream after the last layer, at the rows that cells are compared with.
    reference: Option<Reference>,
    /// What it said of the questions at hand: by question and cell, the log-likelihood of each request and the fidelity.
    computed: HashMap<(usize, usize), (Vec<f64>, PositionFidelity)>,
    arrivals: Receiver<Message<'a>>,
}

impl<'a> ServerHalf<'a> {
    /// Over what arrives. `baseline`: whether the unsplit model's log-likelihoods are asked for.
    pub fn new(decoder: &'a Decoder, clock: &'a Clock, baseline: bool, arrivals: Receiver<Message<'a>>) -> Self {
        Self { decoder, clock, baseline, reference: None, computed: HashMap::new(), arrivals }
    }
}

impl Iterator for ServerHalf<'_> {
    type Item = Result<Vec<Scores>>;

    /// The scores of the next batch that has any.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let message = self.arrivals.recv().ok()?;
            match self.answer(message) {
                Ok(scores) if scores.is_empty() => {}
                scores => return Some(scores),
            }
        }
    }
}

impl ServerHalf<'_> {
    fn answer(&mut self, message: Message) -> Result<Vec<Scores>> {
        match message {
            Message::Unsplit(batch) => self.clock.time(Stage::Baseline, || self.score_unsplit(batch)),
            Message::Cells(batch) => self.clock.time(Stage::Server, || self.score_cells(batch)),
            Message::Repeats(repeats) => repeats.into_iter().map(|repeat| self.repeat(repeat)).collect(),
            Message::Failed { cell, error } => Ok(vec![Scores::Failed { cell, error }]),
        }
    }

    fn repeat(&self, Repeat { cell, question, mut outcomes, of }: Repeat) -> Result<Scores> {
        let (logliks, fidelity) = self.computed.get(&(question, of)).context("a repeat of what was not computed")?;
        outcomes.iter_mut().zip(logliks).for_each(|(outcome, loglik)| outcome.loglik = *loglik);
        Ok(Scores::Cell { question, cell, outcomes, fidelity: fidelity.clone() })
    }

    fn score_unsplit(&mut self, batch: UnsplitBatch) -> Result<Vec<Scores>> {
        let UnsplitBatch { begin, packing, rows, targets, questions } = batch;
        let (hidden, done) = match begin {
            ServerInput::Received(hidden, split) => (hidden, split.after_layer),
            ServerInput::Ids(ids) => (self.decoder.embed(&ids)?, 0),
        };
        let last = self.decoder.run_to_rows(hidden, &packing, done, &rows)?;
        let mut scores = Vec::new();
        if self.baseline {
            let mut each = self.decoder.score_rows(&last, &targets, None)?.log_probabilities.into_iter();
            for (question, requests) in questions {
                let logliks = requests.iter().map(|r| each.by_ref().take(r.targets.len()).sum()).collect();
                scores.push(Scores::Unsplit { question, logliks });
            }
        }
        // The next messages are cells of the same questions, and are compared with these rows.
        self.reference = Some(Reference::new(last));
        self.computed.clear();
        Ok(scores)
    }

    fn score_cells(&mut self, batch: CellBatch) -> Result<Vec<Scores>> {
        let CellBatch { hidden, split, packing, rows, reference_rows, targets, questions, computed } = batch;
        let reference = self.reference.as_mut().context("nothing to compare a cell with")?;
        let mut errors = Vec::new();
        let last = match &computed {
            None => self.decoder.run_to_rows(hidden, &packing, split.after_layer, &rows)?,
            Some(ComputedStreams { streams, packing: as_computed, sequences }) => {
                let arrived = (hidden, &packing, sequences.as_slice());
                let (last, followed) = follow_errors(self.decoder, split, arrived, streams, as_computed)?;
                errors = followed;
                self.decoder.run_to_rows(last, &packing, self.decoder.config().num_hidden_layers, &rows)?
            }
        };
        let RowScores { log_probabilities, divergences } =
            self.decoder.score_rows(&last, &targets, Some((reference, &reference_rows)))?;
        // Targets lie in the order of the questions and their requests, so each request takes its own from the front.
        let mut each = log_probabilities.into_iter();
        let score = |sent: SentQuestion| {
            let SentQuestion { cell, question, requests, mut outcomes, sequences, positions } = sent;
            for ((outcome, request), &sequence) in outcomes.iter_mut().zip(requests).zip(&sequences) {
                outcome.loglik = each.by_ref().take(request.targets.len()).sum();
                if let (Some(probed), Some(errors)) = (&mut outcome.probed, errors.get(sequence)) {
                    probed.errors.clone_from(errors);
                }
            }
            let mut fidelity = PositionFidelity::default();
            positions.iter().filter_map(|&row| divergences[row].as_ref()).for_each(|one| fidelity.push(one));
            let logliks = outcomes.iter().map(|outcome| outcome.loglik).collect();
            self.computed.insert((question, cell), (logliks, fidelity.clone()));
            Scores::Cell { question, cell, outcomes, fidelity }
        };
        Ok(questions.into_iter().map(score).collect())
    }
}
