//! Requests through client half, codec and server half, for all cells of a data set at once.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

use super::arrivals::{FirstArrivals, RowDigest, digest};
use super::batch::{QuestionGroup, Sharing, groups};
use super::cell::Cell;
use super::outcome::Outcome;
use super::probe::Probe;
use super::scope::Scope;
use super::server::{CellBatch, ComputedStreams, Message, Repeat, SentQuestion, ServerHalf, ServerInput, UnsplitBatch};
use super::spent::{Clock, Stage};
use crate::model::split::{Continuation, LogitRows, from_values, logit_rows, to_values};
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
            let mut server = ServerHalf::new(decoder, clock, extra.baseline, arrivals);
            consume(&mut server)
            // Dropping the server, and with it the receiver, makes the clients' next send fail, which stops them.
        };
        let sent = clients.join().unwrap_or_else(|panic| resume_unwind(panic));
        // The server's error comes first: the clients' then says only that nobody listens any more.
        served.and(sent)
    })
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
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct CellJob {
    cell: usize,
    group: usize,
}

/// A packet and what came of it.
struct CodecDelivery {
    outcome: Outcome,
    /// The compressed rows, as received.
    received: Vec<f32>,
    /// Of these.
    digest: RowDigest,
}

/// A server batch in the making.
#[derive(Default)]
struct PackedQuestions<'b> {
    jobs: Vec<CellJob>,
    /// One question per job, in its order.
    questions: Vec<SentQuestion<'b>>,
    packing: Packing,
    /// Rows of the packing.
    values: Vec<f32>,
    scored: Vec<Continuation<'b>>,
    /// For each sequence of the packing its sequence among the computed ones.
    sequences: Vec<usize>,
}

impl<'b> SplitWork<'_, 'b> {
    /// Sends question after question in all cells of this split, as server batches: weights are read once for many
    /// cells, and the unsplit model's logits are computed once for all cells of a question.
    fn run(&self, most_rows: usize, failed: &mut [bool], sender: &Sender<'b>) -> Result<()> {
        let jobs: Vec<CellJob> = (0..self.batch.len())
            .flat_map(|group| (0..self.cells.len()).map(move |cell| CellJob { cell, group }))
            .filter(|job| self.cells[job.cell].cell.split == self.split && !failed[job.cell])
            .collect();
        let mut first = FirstArrivals::default();
        for chunk in chunks_by_rows(&jobs, most_rows, |job| self.batch[job.group].rows(self.expected(*job))) {
            let packets = self.deliver(chunk, failed, sender)?;
            let (mut packed, mut repeats) = (PackedQuestions::default(), Vec::new());
            for &job in chunk.iter().filter(|job| !failed[job.cell]) {
                let CellJob { cell, group } = job;
                let group = &self.batch[group];
                let packets: Vec<&CodecDelivery> =
                    (0..group.sequences()).map(|sequence| &packets[&(job, self.packet_owner(job, sequence))]).collect();
                let outcomes = group.requests().map(|(sequence, _)| packets[sequence].outcome.clone()).collect();
                let (question, scope) = (group.question(), self.cells[cell].cell.scope);
                let digests = packets.iter().map(|packet| packet.digest).collect();
                // Where errors are followed, each cell is computed for itself.
                match first.find_or_add(question, scope, digests, cell).filter(|_| self.probe.is_none()) {
                    Some(of) => repeats.push(Repeat { cell, question, outcomes, of }),
                    None => self.pack(&mut packed, job, outcomes, &packets),
                }
            }
            // Where every cell has failed or is a repeat, there is no batch.
            if !packed.jobs.is_empty() {
                send(sender, Message::Cells(self.cell_batch(packed)?))?;
            }
            // After what they repeat.
            if !repeats.is_empty() {
                send(sender, Message::Repeats(repeats))?;
            }
        }
        Ok(())
    }

    /// Sends the packets of some jobs: each by its job and the first sequence that it carries. Tells of cells that fail.
    fn deliver(
        &self,
        jobs: &[CellJob],
        failed: &mut [bool],
        sender: &Sender<'b>,
    ) -> Result<HashMap<(CellJob, usize), CodecDelivery>> {
        let packets: Vec<(CellJob, usize)> = jobs
            .iter()
            .filter(|job| !failed[job.cell])
            .flat_map(|&job| (0..self.batch[job.group].sequences()).map(move |sequence| (job, sequence)))
            .filter(|&(job, sequence)| self.packet_owner(job, sequence) == sequence)
            .collect();
        // Codecs are sequential, so packets run in parallel. `collect` keeps their order: which failure of a cell is
        // told does not depend on threads.
        let sent: Vec<Result<CodecDelivery>> = self
            .clock
            .time(Stage::Codecs, || packets.par_iter().map(|&(job, sequence)| self.send(job, sequence)).collect());
        let mut delivered = HashMap::new();
        for ((job, sequence), sent) in packets.into_iter().zip(sent) {
            let cell = job.cell;
            match sent {
                Ok(sent) => drop(delivered.insert((job, sequence), sent)),
                // A cell fails once, by its first error.
                Err(_) if failed[cell] => {}
                Err(error) => {
                    failed[cell] = true;
                    send(sender, Message::Failed { cell, error: format!("{error:#}") })?;
                }
            }
        }
        Ok(delivered)
    }

    /// Adds a job to a batch; `packets` has the packet of each sequence.
    fn pack(&self, packed: &mut PackedQuestions<'b>, job: CellJob, outcomes: Vec<Outcome>, packets: &[&CodecDelivery]) {
        let group = &self.batch[job.group];
        let at = packed.packing.sequences();
        packed.scored.extend(group.scored(at));
        packed.sequences.extend((0..group.sequences()).map(|sequence| self.firsts[job.group] + sequence));
        let mut trunk = Vec::new();
        for (sequence, packet) in packets.iter().enumerate() {
            let rows = self.receive(job, sequence, packet);
            let shared = self.equal_rows(job, sequence, &trunk, &rows);
            group.pack_sequence(&mut packed.packing, at, sequence, shared);
            packed.values.extend_from_slice(&rows[shared * self.decoder.config().hidden_size..]);
            if sequence == 0 {
                trunk = rows;
            }
        }
        packed.jobs.push(job);
        packed.questions.push(SentQuestion {
            cell: job.cell,
            question: group.question(),
            requests: group.all_requests(),
            outcomes,
            sequences: group.requests().map(|(sequence, _)| at + sequence).collect(),
            positions: Vec::new(),
        });
    }

    /// The batch as the server half takes it.
    fn cell_batch(&self, packed: PackedQuestions<'b>) -> Result<CellBatch<'b>> {
        let PackedQuestions { jobs, mut questions, packing, values, scored, sequences } = packed;
        let (mut rows, targets) = logit_rows(&packing, &scored)?;
        // Rows of the server batch and of the unsplit batch go in pairs of one position: both lists have the same
        // sequences in the same order.
        let mut reference_rows = vec![0; rows.rows().len()];
        for (job, question) in jobs.iter().zip(&mut questions) {
            let group = &self.batch[job.group];
            let positions = group.positions(&packing, question.sequences[0]);
            let references = group.positions(self.packing, self.firsts[job.group]);
            for (row, reference) in positions.flatten().zip(references.flatten()) {
                let place = rows.add(row);
                reference_rows[place] =
                    self.unsplit_rows.get(reference).context("a position that the unsplit model was not asked for")?;
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
        Ok(CellBatch { hidden, split: self.split, packing, rows, reference_rows, targets, questions, computed })
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
        let received = decoded.into_values();
        Ok(CodecDelivery { outcome, digest: digest(&received), received })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, RowSource};
    use crate::model::{Placement, source};
    use crate::score::encode_dataset;
    use splitbench_codec::{CodecSpec, build};

    #[test]
    fn rows_of_equal_bits_reach_the_server_once() {
        let model = source::load("pocket", &Placement::cpu()).unwrap();
        let dataset = data::find("arc_easy-mini").unwrap().load(&RowSource::Embedded, Some(2)).unwrap();
        let requests = encode_dataset(&model.tokenizer, &dataset).unwrap();
        let questions: Vec<&[Request]> = requests.iter().map(Vec::as_slice).collect();
        let cell = |codec: &str| {
            let codec = CodecSpec::parse(codec).unwrap();
            Cell { split: SplitPoint { after_layer: 1 }, scope: Scope::PromptAndChoice, codec, budget: None }
        };
        let cells = ["int8", "int8:coder=rans", "fp8"].map(cell);
        let codecs = cells.each_ref().map(|cell| build(&cell.codec, None).unwrap());
        let prepared: Vec<CellCodec> =
            cells.iter().zip(&codecs).map(|(cell, codec)| CellCodec { cell, codec: Ok(codec.as_ref()) }).collect();
        let (groups, clock) = (groups(&questions), Clock::default());
        let (decoder, extra) = (model.decoder().unwrap(), ExtraScores { baseline: true, probe: None });
        let clients = Clients { decoder, groups: &groups, cells: &prepared, most_rows: 4096, extra, clock: &clock };
        let (sender, arrivals) = sync_channel(64);
        clients.run(&sender).unwrap();
        drop(sender);
        let (mut computed, mut repeated) = (0, Vec::new());
        for message in arrivals {
            match message {
                Message::Cells(batch) => computed += batch.questions.len(),
                Message::Repeats(repeats) => repeated.extend(repeats.iter().map(|one| (one.cell, one.of))),
                Message::Unsplit(_) | Message::Failed { .. } => {}
            }
        }
        assert_eq!((computed, repeated), (4, vec![(1, 0), (1, 0)]));
    }
}
