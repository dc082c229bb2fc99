//! Requests through client half, codec and server half, for all cells of a data set at once.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

use super::batch::{Group, Sharing, groups, runs};
use super::cell::Cell;
use super::probe::{Probe, Probed, follow};
use super::spent::{Clock, Stage};
use crate::codec::{Accounting, Activation, Budget, Codec, Packet, Received};
use crate::model::split::{from_values, to_values};
use crate::model::{Decoder, Packing, Scored, SplitPoint};
use crate::score::Request;

/// What became of one request in one cell.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Log-likelihood of the continuation, nats.
    pub loglik: f64,
    /// Rows that went through the codec.
    pub tokens: usize,
    /// Numbers of those rows, S D.
    pub raw_elements: usize,
    /// Numbers the packet keeps.
    pub elements: usize,
    /// Bytes of the packet.
    pub wire_bytes: usize,
    /// `||A - A'||_F / ||A||_F` of the compressed rows.
    pub rel_error: f64,
    /// Time to encode, one thread.
    pub encode: Duration,
    /// Time to decode, one thread.
    pub decode: Duration,
    /// What a probe saw, where there was one.
    pub probed: Option<Probed>,
}

/// One cell with its codec, or why there is none.
pub struct Prepared<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// The codec, calibrated.
    pub codec: Result<&'a dyn Codec, String>,
}

/// For codecs of fixed rate, which do not look at it.
pub(super) const ANY: Budget = Budget { ratio: 1.0, accounting: Accounting::Elements };

/// One question in every cell.
pub struct Finished {
    /// Its place among the questions given.
    pub question: usize,
    /// Log-likelihoods without cut and codec, one a request; empty where they were not asked for.
    pub baseline: Vec<f64>,
    /// One list a cell, an outcome a request; none of a cell that has failed.
    pub cells: Vec<Option<Vec<Outcome>>>,
}

/// What to look at beside the cells.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// The unsplit model.
    pub baseline: bool,
    /// Each activation that is sent.
    pub probe: Option<Probe>,
}

/// Server batches that may wait: while one is computed the codecs make the next, and none needs more memory than its rows.
const WAITING: usize = 1;

/// From the clients to the server.
enum Message<'a> {
    /// A batch of questions begins: for each group its question and its requests' places, and the number of all requests.
    Begin { questions: Vec<(usize, std::ops::Range<usize>)>, requests: usize },
    /// A server batch of it.
    Work(Work<'a>),
    /// Nothing more of it comes. What made a cell fail so far.
    End { failed: Vec<Option<String>> },
}

/// A server batch.
struct Work<'a> {
    begin: Begin,
    packing: Arc<Packing>,
    /// In the order of `places`.
    scored: Vec<Scored<'a>>,
    places: Vec<Place>,
    /// Where errors are followed: the sequences as computed.
    origins: Option<Origins>,
}

impl<'a> Work<'a> {
    /// The rest of the unsplit model.
    fn unsplit(begin: Begin, packing: &Arc<Packing>, scored: Vec<Scored<'a>>) -> Self {
        let place = |(request, scored): (usize, &Scored)| Place {
            cell: None,
            request,
            sequence: scored.sequence,
            outcome: Outcome::default(),
        };
        let places = scored.iter().enumerate().map(place).collect();
        Self { begin, packing: packing.clone(), scored, places, origins: None }
    }
}

/// What the server begins with.
enum Begin {
    /// The residual stream after a layer.
    Received(Tensor, SplitPoint),
    /// Token ids: the model is whole.
    Ids(Vec<u32>),
}

/// A request in a cell, or unsplit.
struct Place {
    cell: Option<usize>,
    request: usize,
    /// In the packing.
    sequence: usize,
    outcome: Outcome,
}

/// The residual streams at the cut and after each later layer as computed, and for each sequence of a server batch the one it was
/// computed as.
struct Origins {
    computed: Vec<Tensor>,
    packing: Arc<Packing>,
    of: Vec<usize>,
}

/// Scores the requests of `questions` in every cell. Batches have at most `most_rows` rows, of one question at least; the scores
/// do not depend on it. `finished` hears of each batch when it is done, and for each cell what made it fail so far, if anything did.
///
/// Clients and server are two threads: codecs run while the server half computes. The decoder has one of them at a time, since
/// either keeps all of its device busy.
pub fn evaluate(
    decoder: &Decoder,
    questions: &[&[Request]],
    cells: &[Prepared],
    most_rows: usize,
    wanted: Wanted,
    clock: &Clock,
    finished: impl FnMut(Vec<Finished>, &[Option<String>]) -> Result<()>,
) -> Result<()> {
    let groups = groups(questions);
    let clients = Clients { decoder, groups: &groups, cells, most_rows, wanted, clock };
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING);
        let clients = scope.spawn(move || clients.run(&sender));
        // The receiver goes with the server, whatever ends it, and the clients then stop.
        let served = serve(decoder, cells.len(), receiver, clock, finished);
        let sent = clients.join().unwrap_or_else(|panic| resume_unwind(panic));
        served.and(sent)
    })
}

/// Computes what arrives, batch by batch.
fn serve(
    decoder: &Decoder,
    cells: usize,
    arrivals: Receiver<Message>,
    clock: &Clock,
    mut finished: impl FnMut(Vec<Finished>, &[Option<String>]) -> Result<()>,
) -> Result<()> {
    let (mut questions, mut baseline, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for message in arrivals {
        match message {
            Message::Begin { questions: begun, requests } => {
                questions = begun;
                baseline = Vec::new();
                outcomes = vec![vec![Outcome::default(); requests]; cells];
            }
            Message::Work(Work { begin, packing, scored, places, origins }) => {
                let mut errors = Vec::new();
                let unsplit = places.iter().all(|place| place.cell.is_none());
                let stage = if unsplit { Stage::Baseline } else { Stage::Server };
                let logliks = clock.of(stage, || match (begin, &origins) {
                    (Begin::Ids(ids), _) => decoder.unsplit(&ids, &packing, &scored),
                    (Begin::Received(hidden, split), None) => decoder.server(hidden, &packing, split, &scored),
                    (Begin::Received(hidden, split), Some(Origins { computed, packing: as_computed, of })) => {
                        let arrived = (hidden, &packing, of.as_slice());
                        let (last, followed) = follow(decoder, split, arrived, computed, as_computed)?;
                        errors = followed;
                        let split = SplitPoint { after_layer: decoder.config().num_hidden_layers };
                        decoder.server(last, &packing, split, &scored)
                    }
                })?;
                for (Place { cell, request, sequence, mut outcome }, loglik) in places.into_iter().zip(logliks) {
                    let Some(cell) = cell else {
                        baseline.push(loglik);
                        continue;
                    };
                    if let (Some(probed), Some(errors)) = (&mut outcome.probed, errors.get(sequence)) {
                        probed.errors.clone_from(errors);
                    }
                    outcomes[cell][request] = Outcome { loglik, ..outcome };
                }
            }
            Message::End { failed } => {
                let done = questions.iter().map(|(question, places)| Finished {
                    question: *question,
                    baseline: baseline.get(places.clone()).map(<[f64]>::to_vec).unwrap_or_default(),
                    cells: (outcomes.iter().zip(&failed))
                        .map(|(outcomes, failed)| failed.is_none().then(|| outcomes[places.clone()].to_vec()))
                        .collect(),
                });
                finished(done.collect(), &failed)?;
            }
        }
    }
    Ok(())
}

/// The client halves and the codecs of all questions.
struct Clients<'a> {
    decoder: &'a Decoder,
    groups: &'a [Group<'a>],
    cells: &'a [Prepared<'a>],
    most_rows: usize,
    wanted: Wanted,
    clock: &'a Clock,
}

/// To the server; fails where there is none any more.
type Sender<'a> = SyncSender<Message<'a>>;

fn send<'a>(sender: &Sender<'a>, message: Message<'a>) -> Result<()> {
    sender.send(message).map_err(|_| anyhow!("the server half has ended"))
}

impl<'a> Clients<'a> {
    fn run(&self, sender: &Sender<'a>) -> Result<()> {
        let Self { decoder, groups, cells, most_rows, wanted, clock } = *self;
        let mut splits: Vec<SplitPoint> = cells.iter().map(|c| c.cell.split).collect();
        splits.sort_unstable();
        splits.dedup();
        if let (Some(_), Some(first)) = (wanted.probe, splits.first()) {
            // An error is followed through every later layer.
            let layers = first.after_layer..=decoder.config().num_hidden_layers;
            splits = layers.map(|after_layer| SplitPoint { after_layer }).collect();
        }
        let mut failed: Vec<Option<String>> = cells.iter().map(|c| c.codec.as_ref().err().cloned()).collect();
        for batch in runs(groups, most_rows, |group| group.rows(Sharing::Computed)) {
            let (mut packing, mut ids, mut scored) = (Packing::default(), Vec::new(), Vec::new());
            let (mut firsts, mut starts) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
            for group in batch {
                firsts.push(packing.sequences());
                starts.push(scored.len());
                scored.extend(group.scored(packing.sequences()));
                group.pack(&mut packing, Sharing::Computed);
                ids.extend(group.ids());
            }
            let requests = scored.len();
            let end = |nth: usize| starts.get(nth + 1).copied().unwrap_or(requests);
            let questions = batch.iter().enumerate().map(|(nth, group)| (group.question(), starts[nth]..end(nth)));
            send(sender, Message::Begin { questions: questions.collect(), requests })?;

            let packing = Arc::new(packing);
            // The unsplit model goes on from the last split: the same operations in the same order.
            let mut unsplit = wanted.baseline.then_some(scored);
            if splits.is_empty()
                && let Some(scored) = unsplit.take()
            {
                send(sender, Message::Work(Work::unsplit(Begin::Ids(ids.clone()), &packing, scored)))?;
            }
            let mut stream: Option<(Tensor, SplitPoint)> = None;
            // One cut after another, so that memory does not grow with them; but an error is followed beside all later layers.
            let at_once = if wanted.probe.is_some() { splits.len() } else { 1 };
            for together in splits.chunks(at_once.max(1)) {
                let hidden = clock.of(Stage::Client, || match stream.take() {
                    Some((hidden, split)) => decoder.further(hidden, split.after_layer, &packing, together),
                    None => decoder.client(&ids, &packing, together),
                })?;
                stream = hidden.last().cloned().zip(together.last().copied());
                if together.last() == splits.last()
                    && let (Some((hidden, split)), Some(scored)) = (&stream, unsplit.take())
                {
                    let begin = Begin::Received(hidden.clone(), *split);
                    send(sender, Message::Work(Work::unsplit(begin, &packing, scored)))?;
                }
                for (nth, &split) in together.iter().enumerate() {
                    let values = to_values(&hidden[nth])?;
                    let work = SplitWork {
                        decoder,
                        cells,
                        batch,
                        firsts: &firsts,
                        starts: &starts,
                        split,
                        values: &values,
                        packing: &packing,
                        probe: wanted.probe,
                        computed: &hidden[nth..],
                        clock,
                    };
                    work.run(most_rows, &mut failed, sender)?;
                }
            }
            send(sender, Message::End { failed: failed.clone() })?;
        }
        Ok(())
    }
}

/// One batch at one split layer.
struct SplitWork<'a, 'b> {
    decoder: &'a Decoder,
    cells: &'a [Prepared<'a>],
    batch: &'a [Group<'b>],
    /// For each group its first sequence in `packing`.
    firsts: &'a [usize],
    /// For each group its first request among those of the batch.
    starts: &'a [usize],
    split: SplitPoint,
    /// The residual stream, rows x D.
    values: &'a [f32],
    packing: &'a Arc<Packing>,
    probe: Option<Probe>,
    /// The residual streams after this split and, where there is a probe, after each later layer.
    computed: &'a [Tensor],
    clock: &'a Clock,
}

/// One group in one cell: indices of both.
#[derive(Clone, Copy)]
struct Job {
    cell: usize,
    group: usize,
}

/// A packet and what came of it.
struct Sent {
    outcome: Outcome,
    /// The compressed rows, as received.
    received: Vec<f32>,
}

impl<'b> SplitWork<'_, 'b> {
    /// All cells of this split in larger server batches, so that weights are read once for many cells.
    fn run(&self, most_rows: usize, failed: &mut [Option<String>], sender: &Sender<'b>) -> Result<()> {
        let jobs: Vec<Job> = (0..self.cells.len())
            .filter(|&cell| self.cells[cell].cell.split == self.split && failed[cell].is_none())
            .flat_map(|cell| (0..self.batch.len()).map(move |group| Job { cell, group }))
            .collect();
        for chunk in runs(&jobs, most_rows, |job| self.batch[job.group].rows(self.sharing(*job))) {
            let packets: Vec<(usize, usize)> = chunk
                .iter()
                .enumerate()
                .filter(|(_, job)| failed[job.cell].is_none())
                .flat_map(|(nth, job)| (0..self.batch[job.group].sequences()).map(move |sequence| (nth, sequence)))
                .filter(|&(nth, sequence)| sequence == 0 || self.shared(chunk[nth], sequence) == 0)
                .collect();
            let sent: Vec<Result<Sent>> = self.clock.of(Stage::Codecs, || {
                packets.par_iter().map(|&(nth, sequence)| self.send(chunk[nth], sequence)).collect()
            });

            // For each job and sequence its packet, or the trunk's.
            let mut of: HashMap<(usize, usize), Sent> = HashMap::new();
            for ((nth, sequence), sent) in packets.into_iter().zip(sent) {
                match sent {
                    Ok(sent) => drop(of.insert((nth, sequence), sent)),
                    Err(error) => drop(failed[chunk[nth].cell].get_or_insert(format!("{error:#}"))),
                }
            }
            let (mut packing, mut values, mut scored) = (Packing::default(), Vec::new(), Vec::new());
            let (mut places, mut origins) = (Vec::new(), Vec::new());
            for (nth, &job) in chunk.iter().enumerate().filter(|(_, job)| failed[job.cell].is_none()) {
                let group = &self.batch[job.group];
                let at = packing.sequences();
                scored.extend(group.scored(at));
                group.pack(&mut packing, self.sharing(job));
                origins.extend((0..group.sequences()).map(|sequence| self.firsts[job.group] + sequence));
                for sequence in 0..group.sequences() {
                    self.receive(job, sequence, of.get(&(nth, sequence)), &mut values);
                }
                for (i, (sequence, _)) in group.requests().enumerate() {
                    let sent = of.get(&(nth, sequence)).unwrap_or(&of[&(nth, 0)]);
                    places.push(Place {
                        cell: Some(job.cell),
                        request: self.starts[job.group] + i,
                        sequence: at + sequence,
                        outcome: sent.outcome.clone(),
                    });
                }
            }
            if scored.is_empty() {
                continue;
            }
            let origins = self.probe.map(|_| Origins {
                computed: self.computed.to_vec(),
                packing: self.packing.clone(),
                of: origins,
            });
            let begin = Begin::Received(from_values(values, packing.rows(), self.decoder)?, self.split);
            send(sender, Message::Work(Work { begin, packing: Arc::new(packing), scored, places, origins }))?;
        }
        Ok(())
    }

    fn sharing(&self, job: Job) -> Sharing {
        Sharing::Received(self.cells[job.cell].cell.scope)
    }

    fn shared(&self, job: Job, sequence: usize) -> usize {
        self.batch[job.group].shared(sequence, self.sharing(job))
    }

    /// The rows of a sequence from token `from` on, as computed.
    fn computed(&self, job: Job, sequence: usize, from: usize) -> impl Iterator<Item = f32> {
        let width = self.decoder.config().hidden_size;
        let rows = self.packing.rows_of(self.firsts[job.group] + sequence).skip(from);
        rows.flat_map(move |row| &self.values[row * width..][..width]).copied()
    }

    /// Adds what the server has of a sequence beside what it shares with the trunk.
    fn receive(&self, job: Job, sequence: usize, sent: Option<&Sent>, values: &mut Vec<f32>) {
        let compressed = self.batch[job.group].compressed(sequence, self.cells[job.cell].cell.scope);
        match sent {
            Some(sent) => {
                values.extend_from_slice(&sent.received);
                values.extend(self.computed(job, sequence, compressed));
            }
            None => values.extend(self.computed(job, sequence, self.shared(job, sequence))),
        }
    }

    /// The compressed rows of a sequence through the codec and back.
    fn send(&self, job: Job, sequence: usize) -> Result<Sent> {
        let Prepared { cell, codec } = &self.cells[job.cell];
        let codec = *codec.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
        let rows = self.batch[job.group].compressed(sequence, cell.scope);
        let width = self.decoder.config().hidden_size;
        let part: Vec<f32> = self.computed(job, sequence, 0).take(rows * width).collect();
        let ids = self.batch[job.group].token_ids(sequence)[..rows].to_vec();
        let part = Activation::new(rows, width, part)?.with_token_ids(ids, self.decoder.config().vocab_size)?;
        let encode = || codec.encode(&part, cell.budget.unwrap_or(ANY)).with_context(|| format!("encoding by {cell}"));
        let decode = |packet: &Packet| codec.receive(packet).with_context(|| format!("decoding by {cell}"));
        if codec.is_cold() {
            decode(&encode()?)?;
        }
        let clock = Instant::now();
        let packet = encode()?;
        let encode = clock.elapsed();
        let (elements, wire_bytes) = (packet.elements(), packet.len());
        // What arrives is bytes: nothing of the encoder's state may help the decoder.
        let packet = Packet::from_bytes(packet.into_bytes())?;
        let clock = Instant::now();
        let received = decode(&packet)?;
        let decode = clock.elapsed();
        self.clock.add(encode, decode);
        let decoded = match received {
            Received::Activation(decoded) => decoded,
            // The client half gives the same bits wherever it runs, so running it again would only take time.
            Received::TokenIds(ids) => {
                ensure!(part.token_ids() == Some(&ids), "decoding by {cell}: not the token ids that were sent");
                part.clone()
            }
        };
        let rel_error = part.rel_error(&decoded);
        let probed = self.probe.map(|probe| probe.look(cell, &part, rel_error)).transpose()?;
        let outcome = Outcome {
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
        Ok(Sent { outcome, received: decoded.into_values() })
    }
}
