//! Requests through client half, codec and server half, for all cells of a data set at once.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

use super::batch::{QuestionGroup, Sharing, groups};
use super::cell::Cell;
use super::outcome::Outcome;
use super::probe::{Probe, follow_errors};
use super::scope::Scope;
use super::spent::{Clock, Stage};
use crate::model::split::{LogitRows, RowScores, Target, from_values, logit_rows, to_values};
use crate::model::{Decoder, Packing, SplitPoint, chunks_by_rows};
use crate::score::{PositionFidelity, Request};
use splitbench_codec::{Activation, Codec, Delivery, RoundTrip, round_trip};

/// One cell with its codec, or why there is none.
pub struct CellCodec<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// The codec, calibrated.
    pub codec: Result<&'a dyn Codec, String>,
}

/// What the server has finished.
pub enum Scores {
    /// The log-likelihoods of a question without cut and codec, one per request. Questions go by their place among
    /// those given.
    Unsplit { question: usize, logliks: Vec<f64> },
    /// The outcomes of a question in a cell.
    Cell { question: usize, cell: usize, outcomes: Vec<Outcome>, fidelity: PositionFidelity },
    /// A cell that failed, and why. What it scored of other questions stays.
    Failed { cell: usize, error: String },
}

/// What is computed beside the cells.
#[derive(Clone, Copy)]
pub struct ExtraScores {
    /// Whether the unsplit model's scores are wanted. Where there are cells it runs in any case, since they are
    /// compared with it.
    pub baseline: bool,
    /// The examination of each activation that is sent, if wanted.
    pub probe: Option<Probe>,
}

/// Server batches that may wait. While one is computed the codecs make the next; more of them would only hold more rows
/// in memory.
const WAITING: usize = 1;

/// From the clients to the server.
enum Message<'a> {
    /// The unsplit model's batch, before what is compared with it.
    Unsplit(UnsplitBatch<'a>),
    /// Questions in cells at one cut.
    Cells(CellBatch<'a>),
    /// A cell that failed, and why.
    Failed { cell: usize, error: String },
}

/// Questions for the unsplit model.
struct UnsplitBatch<'a> {
    begin: ServerInput,
    packing: Arc<Packing>,
    /// The rows of the packing that are scored or compared with.
    rows: Vec<u32>,
    targets: Vec<Target>,
    /// Each question's place and requests.
    questions: Vec<(usize, &'a [Request])>,
}

/// What the server begins with.
enum ServerInput {
    /// The residual stream after a layer.
    Received(Tensor, SplitPoint),
    /// Token ids: the model is whole.
    Ids(Vec<u32>),
}

/// Questions in cells as one batch of the server half.
struct CellBatch<'a> {
    hidden: Tensor,
    split: SplitPoint,
    packing: Arc<Packing>,
    rows: Vec<u32>,
    /// For each of `rows`, the row of the unsplit batch at the same position.
    reference_rows: Vec<usize>,
    targets: Vec<Target>,
    questions: Vec<SentQuestion<'a>>,
    /// What was computed, where errors are followed.
    computed: Option<ComputedStreams>,
}

/// A question in a cell, sent and not scored yet.
struct SentQuestion<'a> {
    cell: usize,
    question: usize,
    requests: &'a [Request],
    /// One outcome per request, still without its log-likelihood.
    outcomes: Vec<Outcome>,
    /// The sequence of each request in the packing.
    sequences: Vec<usize>,
    /// The positions at which tokens are scored, as places among the batch's rows; each sequence's once.
    positions: Vec<usize>,
}

/// The residual streams as computed, before any codec.
struct ComputedStreams {
    /// At the cut and after each later layer.
    streams: Vec<Tensor>,
    packing: Arc<Packing>,
    /// For each sequence of a server batch its sequence among them.
    sequences: Vec<usize>,
}

/// Scores the requests of `questions` in every cell. A batch has at most `most_rows` rows, or one question in one cell
/// where that has more; no score depends on it. `consume` gets the scores batch by batch, as soon as each is done; an
/// error of it ends the work.
///
/// ```text
/// clients: client half -> unsplit batch -> codecs -> cell batch -> codecs -> ...      (the next questions) ...
/// server:                 rest of the model          server half     server half ...
/// ```
///
/// Clients and server are two threads, so codecs run while the server half computes. Only one of the threads uses the
/// decoder at a time ([`Clock::time`] sees to it), since either keeps the whole device busy.
pub fn evaluate(
    decoder: &Decoder,
    questions: &[&[Request]],
    cells: &[CellCodec],
    most_rows: usize,
    extra: ExtraScores,
    clock: &Clock,
    consume: impl FnOnce(&mut dyn Iterator<Item = Result<Vec<Scores>>>) -> Result<()>,
) -> Result<()> {
    let groups = groups(questions);
    let clients = Clients { decoder, groups: &groups, cells, most_rows, extra, clock };
    thread::scope(|scope| {
        let (sender, arrivals) = sync_channel(WAITING);
        // The server stays on this thread, since `consume` need not be `Send`.
        let clients = scope.spawn(move || clients.run(&sender));
        let served = {
            let mut server = ServerHalf { decoder, clock, baseline: extra.baseline, reference: None, arrivals };
            consume(&mut server)
            // Dropping the server, and with it the receiver, makes the clients' next send fail, which stops them.
        };
        let sent = clients.join().unwrap_or_else(|panic| resume_unwind(panic));
        // The server's error comes first: the clients' then says only that nobody listens any more.
        served.and(sent)
    })
}

/// The server half.
struct ServerHalf<'a> {
    decoder: &'a Decoder,
    clock: &'a Clock,
    /// Whether the unsplit model's log-likelihoods are asked for.
    baseline: bool,
    /// The unsplit model's residual stream after the last layer, at the rows that cells are compared with.
    reference: Option<Tensor>,
    arrivals: Receiver<Message<'a>>,
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
            Message::Failed { cell, error } => Ok(vec![Scores::Failed { cell, error }]),
        }
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
        self.reference = Some(last);
        Ok(scores)
    }

    fn score_cells(&self, batch: CellBatch) -> Result<Vec<Scores>> {
        let CellBatch { hidden, split, packing, rows, reference_rows, targets, questions, computed } = batch;
        let reference = self.reference.as_ref().context("nothing to compare a cell with")?;
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
            Scores::Cell { question, cell, outcomes, fidelity }
        };
        Ok(questions.into_iter().map(score).collect())
    }
}

/// The client halves and the codecs of all questions.
struct Clients<'a> {
    decoder: &'a Decoder,
    groups: &'a [QuestionGroup<'a>],
    cells: &'a [CellCodec<'a>],
    most_rows: usize,
    extra: ExtraScores,
    clock: &'a Clock,
}

/// The clients' end of the channel; to send fails where the server has ended.
type Sender<'a> = SyncSender<Message<'a>>;

fn send<'a>(sender: &Sender<'a>, message: Message<'a>) -> Result<()> {
    sender.send(message).map_err(|_| anyhow!("the server half has ended"))
}

/// Most numbers in the residual streams of a client batch, over all its cuts (256 MiB of f32).
const MOST_STREAMS: usize = 1 << 26;

impl<'a> Clients<'a> {
    fn run(&self, sender: &Sender<'a>) -> Result<()> {
        let Self { decoder, groups, cells, most_rows, extra, clock } = *self;
        let mut splits: Vec<SplitPoint> = cells.iter().map(|c| c.cell.split).collect();
        splits.sort_unstable();
        splits.dedup();
        if let (Some(_), Some(first)) = (extra.probe, splits.first()) {
            // An error is followed through every later layer.
            let layers = first.after_layer..=decoder.config().num_hidden_layers;
            splits = layers.map(|after_layer| SplitPoint { after_layer }).collect();
        }
        let mut failed: Vec<bool> = cells.iter().map(|cell| cell.codec.is_err()).collect();
        let streams = splits.len().max(1) * decoder.config().hidden_size;
        // The residual streams of all cuts are kept until the batch is sent.
        let rows = most_rows.min(MOST_STREAMS / streams);
        for batch in chunks_by_rows(groups, rows, |group| group.rows(Sharing::Computed)) {
            // All questions of a batch go through the client half in one pass, which serves every cut.
            let (mut packing, mut ids, mut scored) = (Packing::default(), Vec::new(), Vec::new());
            let mut firsts = Vec::with_capacity(batch.len());
            for group in batch {
                firsts.push(packing.sequences());
                scored.extend(group.scored(packing.sequences()));
                group.pack(&mut packing, Sharing::Computed);
                ids.extend(group.ids());
            }
            let packing = Arc::new(packing);
            let (rows, targets) = logit_rows(&packing, &scored)?;
            let hidden = match splits.is_empty() {
                true => Vec::new(),
                false => clock.time(Stage::Client, || decoder.client(&ids, &packing, &splits))?,
            };
            // The unsplit model goes on from the last split: the same operations in the same order.
            let begin = match (hidden.last(), splits.last()) {
                (Some(hidden), Some(&split)) => ServerInput::Received(hidden.clone(), split),
                _ => ServerInput::Ids(ids),
            };
            let questions = batch.iter().map(|group| (group.question(), group.all_requests())).collect();
            let unsplit =
                UnsplitBatch { begin, packing: packing.clone(), rows: rows.rows().to_vec(), targets, questions };
            // First, so that the server can compare the cells with it; the server computes it while the codecs run.
            send(sender, Message::Unsplit(unsplit))?;
            for (nth, &split) in splits.iter().enumerate() {
                let values = to_values(&hidden[nth])?;
                let work = SplitWork {
                    decoder,
                    cells,
                    batch,
                    firsts: &firsts,
                    split,
                    values: &values,
                    packing: &packing,
                    unsplit_rows: &rows,
                    probe: extra.probe,
                    computed: &hidden[nth..],
                    clock,
                };
                work.run(most_rows, &mut failed, sender)?;
            }
        }
        Ok(())
    }
}

/// One batch at one split layer.
struct SplitWork<'a, 'b> {
    decoder: &'a Decoder,
    cells: &'a [CellCodec<'a>],
    batch: &'a [QuestionGroup<'b>],
    /// For each group its first sequence in `packing`.
    firsts: &'a [usize],
    split: SplitPoint,
    /// The residual stream, rows x D.
    values: &'a [f32],
    packing: &'a Arc<Packing>,
    /// The unsplit model's rows of logits.
    unsplit_rows: &'a LogitRows,
    probe: Option<Probe>,
    /// The residual streams after this split and, where there is a probe, after each later layer.
    computed: &'a [Tensor],
    clock: &'a Clock,
}

/// One group in one cell: indices of both.
#[derive(Clone, Copy)]
struct CellJob {
    cell: usize,
    group: usize,
}

/// A packet and what came of it.
struct CodecDelivery {
    outcome: Outcome,
    /// The compressed rows, as received.
    received: Vec<f32>,
}

impl<'b> SplitWork<'_, 'b> {
    /// Sends question after question in all cells of this split, as server batches: weights are read once for many
    /// cells, and the unsplit model's logits are computed once for all cells of a question.
    fn run(&self, most_rows: usize, failed: &mut [bool], sender: &Sender<'b>) -> Result<()> {
        let jobs: Vec<CellJob> = (0..self.batch.len())
            .flat_map(|group| (0..self.cells.len()).map(move |cell| CellJob { cell, group }))
            .filter(|job| self.cells[job.cell].cell.split == self.split && !failed[job.cell])
            .collect();
        for chunk in chunks_by_rows(&jobs, most_rows, |job| self.batch[job.group].rows(self.expected(*job))) {
            let packets: Vec<(usize, usize)> = chunk
                .iter()
                .enumerate()
                .filter(|(_, job)| !failed[job.cell])
                .flat_map(|(nth, job)| (0..self.batch[job.group].sequences()).map(move |sequence| (nth, sequence)))
                .filter(|&(nth, sequence)| self.packet_owner(chunk[nth], sequence) == sequence)
                .collect();
            // Codecs are sequential, so packets run in parallel. `collect` keeps their order: which failure of a cell
            // is told does not depend on threads.
            let sent: Vec<Result<CodecDelivery>> = self.clock.time(Stage::Codecs, || {
                packets.par_iter().map(|&(nth, sequence)| self.send(chunk[nth], sequence)).collect()
            });

            // For each job and sequence its packet, or the trunk's.
            let mut packet_of: HashMap<(usize, usize), CodecDelivery> = HashMap::new();
            for ((nth, sequence), sent) in packets.into_iter().zip(sent) {
                let cell = chunk[nth].cell;
                match sent {
                    Ok(sent) => drop(packet_of.insert((nth, sequence), sent)),
                    // A cell fails once, by its first error.
                    Err(_) if failed[cell] => {}
                    Err(error) => {
                        failed[cell] = true;
                        send(sender, Message::Failed { cell, error: format!("{error:#}") })?;
                    }
                }
            }
            let (mut packing, mut values, mut scored) = (Packing::default(), Vec::new(), Vec::new());
            let (mut questions, mut sequences) = (Vec::new(), Vec::new());
            for (nth, &job) in chunk.iter().enumerate().filter(|(_, job)| !failed[job.cell]) {
                let group = &self.batch[job.group];
                let at = packing.sequences();
                scored.extend(group.scored(at));
                sequences.extend((0..group.sequences()).map(|sequence| self.firsts[job.group] + sequence));
                let mut trunk = Vec::new();
                for sequence in 0..group.sequences() {
                    let rows = self.receive(job, sequence, &packet_of[&(nth, self.packet_owner(job, sequence))]);
                    let shared = self.equal_rows(job, sequence, &trunk, &rows);
                    group.pack_sequence(&mut packing, at, sequence, shared);
                    values.extend_from_slice(&rows[shared * self.decoder.config().hidden_size..]);
                    if sequence == 0 {
                        trunk = rows;
                    }
                }
                let outcome =
                    |(sequence, _): (usize, _)| packet_of[&(nth, self.packet_owner(job, sequence))].outcome.clone();
                questions.push(SentQuestion {
                    cell: job.cell,
                    question: group.question(),
                    requests: group.all_requests(),
                    outcomes: group.requests().map(outcome).collect(),
                    sequences: group.requests().map(|(sequence, _)| at + sequence).collect(),
                    positions: Vec::new(),
                });
            }
            // Every cell of the batch has failed.
            if scored.is_empty() {
                continue;
            }
            let (mut rows, targets) = logit_rows(&packing, &scored)?;
            // Rows of the server batch and of the unsplit batch go in pairs of one position: both lists have the same
            // sequences in the same order.
            let mut reference_rows = vec![0; rows.rows().len()];
            let jobs = chunk.iter().filter(|job| !failed[job.cell]);
            for (job, question) in jobs.zip(&mut questions) {
                let group = &self.batch[job.group];
                let positions = group.positions(&packing, question.sequences[0]);
                let references = group.positions(self.packing, self.firsts[job.group]);
                for (row, reference) in positions.flatten().zip(references.flatten()) {
                    let place = rows.add(row);
                    reference_rows[place] = self
                        .unsplit_rows
                        .get(reference)
                        .context("a position that the unsplit model was not asked for")?;
                    question.positions.push(place);
                }
            }
            let computed = self.probe.map(|_| ComputedStreams {
                streams: self.computed.to_vec(),
                packing: self.packing.clone(),
                sequences,
            });
            let hidden = from_values(values, packing.rows(), self.decoder)?;
            let (packing, rows) = (Arc::new(packing), rows.rows().to_vec());
            let batch =
                CellBatch { hidden, split: self.split, packing, rows, reference_rows, targets, questions, computed };
            send(sender, Message::Cells(batch))?;
        }
        Ok(())
    }

    /// What the server's rows of a job are expected to share, before its packets are there.
    fn expected(&self, job: CellJob) -> Sharing {
        Sharing::expected(self.cells[job.cell].cell)
    }

    /// How many first rows of a sequence arrived with the bits of the trunk's rows, and so give what these give: of the same packet, or
    /// of a codec whose rows are local.
    fn equal_rows(&self, job: CellJob, sequence: usize, trunk: &[f32], rows: &[f32]) -> usize {
        let width = self.decoder.config().hidden_size;
        // Beyond the tokens in common, rows that happen to be equal are compared with other rows of the unsplit model.
        let common = self.batch[job.group].shared(sequence, Sharing::Computed);
        let equal = |(a, b): &(&[f32], &[f32])| a.iter().zip(*b).all(|(a, b)| a.to_bits() == b.to_bits());
        trunk.chunks(width).zip(rows.chunks(width)).take(common).take_while(equal).count()
    }

    /// The rows of a sequence from token `from` on, as computed.
    fn computed(&self, job: CellJob, sequence: usize, from: usize) -> impl Iterator<Item = f32> {
        let width = self.decoder.config().hidden_size;
        let rows = self.packing.rows_of(self.firsts[job.group] + sequence).skip(from);
        rows.flat_map(move |row| &self.values[row * width..][..width]).copied()
    }

    /// The sequence whose packet carries the compressed rows of a sequence.
    fn packet_owner(&self, job: CellJob, sequence: usize) -> usize {
        let scope = self.cells[job.cell].cell.scope;
        let together = scope == Scope::Question || self.batch[job.group].shared(sequence, Sharing::Received(scope)) > 0;
        if together { 0 } else { sequence }
    }

    /// Compressed rows of a sequence.
    fn compressed(&self, job: CellJob, sequence: usize) -> usize {
        self.batch[job.group].compressed(sequence, self.cells[job.cell].cell.scope)
    }

    /// The sequences that travel in a sequence's packet, where it has one.
    fn packet_sequences(&self, job: CellJob, sequence: usize) -> Range<usize> {
        match self.cells[job.cell].cell.scope {
            Scope::Question => 0..self.batch[job.group].sequences(),
            _ => sequence..sequence + 1,
        }
    }

    /// The rows that the server has of a sequence; `sent` is the packet that carries them.
    fn receive(&self, job: CellJob, sequence: usize, sent: &CodecDelivery) -> Vec<f32> {
        let width = self.decoder.config().hidden_size;
        // The packet of a question holds its sequences one after another; any other one sequence, or a prompt that several have.
        let before: usize = match self.cells[job.cell].cell.scope {
            Scope::Question => (0..sequence).map(|one| self.compressed(job, one)).sum(),
            Scope::PromptAndChoice | Scope::Prompt => 0,
        };
        let compressed = self.compressed(job, sequence);
        let mut rows = sent.received[before * width..][..compressed * width].to_vec();
        // What the scope leaves out reaches the server as it was computed.
        rows.extend(self.computed(job, sequence, compressed));
        rows
    }

    /// Sends the rows of a sequence's packet through the codec and back.
    fn send(&self, job: CellJob, sequence: usize) -> Result<CodecDelivery> {
        let CellCodec { cell, codec } = &self.cells[job.cell];
        let codec = *codec.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
        let width = self.decoder.config().hidden_size;
        let (mut part, mut ids) = (Vec::new(), Vec::new());
        for sequence in self.packet_sequences(job, sequence) {
            let rows = self.compressed(job, sequence);
            part.extend(self.computed(job, sequence, 0).take(rows * width));
            // With the matrix go the token ids it was made of, for the codec that sends these instead.
            ids.extend_from_slice(&self.batch[job.group].token_ids(sequence)[..rows]);
        }
        let rows = ids.len();
        let part = Activation::new(rows, width, part)?.with_token_ids(ids, self.decoder.config().vocab_size)?;
        let RoundTrip { packet, received, encode, decode } =
            round_trip(codec, &part, cell.budget).with_context(|| cell.to_string())?;
        let (elements, wire_bytes) = (packet.elements(), packet.len());
        self.clock.add(encode, decode);
        let decoded = match received {
            Delivery::Activation(decoded) => decoded,
            // On a CPU the client half gives the same bits wherever it runs: running it again would only take time.
            Delivery::TokenIds(ids) => {
                ensure!(part.token_ids() == Some(&ids), "{cell}: not the token ids that were sent");
                part.clone()
            }
        };
        let rel_error = part.rel_error(&decoded);
        let probed = self.probe.map(|probe| probe.look(cell, &part, rel_error)).transpose()?;
        let outcome = Outcome {
            // Filled in by the server.
            loglik: 0.0,
            tokens: rows,
            raw_elements: rows * width,
            elements,
            wire_bytes,
            rel_error,
            encode,
            decode,
            probed,
        };
        Ok(CodecDelivery { outcome, received: decoded.into_values() })
    }
}
