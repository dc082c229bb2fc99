//! The thread of a server that computes: one pass at a time, over the steps of all sessions that wait.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;
use splitbench_codec::{Activation, Packet, decode};

use super::connection::Connection;
use super::frame::{Frame, FrameType, ServerTimes, TokenReply};
use super::message::{OpenRequest, Refusal, RefusalKind};
use super::metrics::{Metrics, count};
use super::sampler::Choice;
use super::session::{OpenFailure, OpenedSession, Session, Sessions};
use crate::model::split::from_values;
use crate::model::{Continuation, Decoder, Packing, SplitPoint};

/// Most sessions in one pass.
const MOST_BATCH: usize = 128;

/// What the engine is asked for.
pub enum Job {
    /// A session.
    Open { connection: Arc<Connection>, session: u64, request: OpenRequest },
    /// Something to compute.
    Rows(RowsJob),
    /// The end of a session.
    Close { connection: Arc<Connection>, session: u64 },
    /// A connection has ended; its sessions are kept for a while.
    Lost(Arc<Connection>),
}

/// A packet of rows that came.
pub struct RowsJob {
    pub connection: Arc<Connection>,
    pub session: u64,
    pub sequence: u32,
    pub position: usize,
    pub purpose: Purpose,
    /// As small as its codec made it: the rows are decoded when their turn comes.
    pub packet: Packet,
    /// Bytes of their frame.
    pub bytes: usize,
    /// When its last byte came.
    pub received: Instant,
}

/// Rows whose turn it is.
struct DecodedRows {
    job: RowsJob,
    activation: Activation,
    /// How long decoding took.
    decode: Duration,
    /// When it was done.
    start: Instant,
}

impl DecodedRows {
    fn times(&self) -> ServerTimes {
        let waited = self.start.saturating_duration_since(self.job.received);
        ServerTimes { queue: waited.saturating_sub(self.decode), decode: self.decode, compute: self.start.elapsed() }
    }
}

/// What is to come of rows.
pub enum Purpose {
    /// They go into the cache; more follow.
    Accept,
    /// They go into the cache, and the next token is chosen.
    Choose,
    /// The log-likelihood of these ids at the last positions, without a cache.
    Score(Vec<u32>),
}

impl RowsJob {
    fn is_step(&self) -> bool {
        matches!(self.purpose, Purpose::Choose) && self.packet.tokens() == 1
    }

    fn reply(&self, kind: FrameType, position: usize, body: Vec<u8>) -> Frame {
        Frame { kind, session: self.session, sequence: self.sequence, position: position as u32, body }
    }

    fn refuse(&self, kind: RefusalKind, error: &anyhow::Error, metrics: &Metrics) {
        count(&metrics.refused, 1);
        self.connection.send(&Refusal::new(kind, error).frame(self.session, self.sequence));
    }
}

/// How long silent sessions are kept.
#[derive(Debug, Clone, Copy)]
pub struct SessionPatience {
    /// With a client that is connected.
    pub idle: Duration,
    /// Whose client is away.
    pub kept: Duration,
}

/// The server half of a model, and the sessions of its clients.
pub struct Engine {
    decoder: Decoder,
    split: SplitPoint,
    sessions: Sessions,
    waiting: VecDeque<RowsJob>,
    patience: SessionPatience,
    metrics: Arc<Metrics>,
    gathering: Gathering,
}

/// What tells whether a pass had better wait for more steps: a pass over few rows reads as many weights as one over many.
#[derive(Default)]
struct Gathering {
    /// The sessions of the last pass, and of the one before.
    recent: [HashSet<u64>; 2],
    /// How long the last one took.
    last: Duration,
    /// Passes that do not wait, since waiting brought nothing.
    pause: u32,
}

/// Passes without waiting after it brought nothing.
const GATHERING_PAUSE: u32 = 8;

impl Engine {
    /// `memory`: bytes that the caches may have together.
    pub fn new(
        decoder: Decoder,
        split: SplitPoint,
        memory: usize,
        patience: SessionPatience,
        metrics: Arc<Metrics>,
    ) -> Self {
        let sessions = Sessions::new(decoder.config(), split, memory);
        let (waiting, gathering) = (VecDeque::new(), Gathering::default());
        Self { decoder, split, sessions, waiting, patience, metrics, gathering }
    }

    /// Works until nobody can ask any more.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        let mut swept = Instant::now();
        loop {
            if self.waiting.is_empty() {
                match jobs.recv_timeout(Duration::from_secs(1)) {
                    Ok(job) => self.take(job),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            jobs.try_iter().for_each(|job| self.take(job));
            self.gather(jobs);
            self.run_steps();
            self.run_rows();
            if swept.elapsed() > Duration::from_secs(1) {
                self.sessions.sweep(self.patience.idle, self.patience.kept);
                swept = Instant::now();
            }
            self.metrics.sessions.store(self.sessions.len() as u64, Ordering::Relaxed);
            self.metrics.cache_bytes.store(self.sessions.reserved() as u64, Ordering::Relaxed);
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Rows(job) => self.waiting.push_back(job),
            Job::Open { connection, session, request } => match self.sessions.open(session, request, &connection) {
                Ok(OpenedSession { reply, is_new }) => {
                    count(&self.metrics.sessions_opened, u64::from(is_new));
                    let frame = Frame::json(FrameType::Opened, session, &reply).expect("two numbers are JSON");
                    connection.send(&frame);
                }
                Err(failure) => {
                    let (kind, error) = match failure {
                        OpenFailure::Full(error) => (RefusalKind::Full, error),
                        OpenFailure::Request(error) => (RefusalKind::Protocol, error),
                    };
                    count(&self.metrics.refused, 1);
                    connection.send(&Refusal::new(kind, &error).frame(session, 0));
                }
            },
            Job::Close { connection, session } => {
                if self.sessions.get_mut(session, &connection).is_ok() {
                    self.sessions.close(session, "closed by its client");
                }
            }
            Job::Lost(connection) => {
                self.waiting.retain(|job| !Arc::ptr_eq(&job.connection, &connection));
                self.sessions.lose(&connection);
            }
        }
    }

    /// Waits, at most a quarter of a pass, for sessions that had a step in the last two passes: without it half of the clients
    /// would compute while the other half is computed for, in twice as many passes.
    fn gather(&mut self, jobs: &Receiver<Job>) {
        if self.gathering.pause > 0 || self.waiting.iter().any(|job| !job.is_step()) {
            self.gathering.pause = self.gathering.pause.saturating_sub(1);
            return;
        }
        let deadline = Instant::now() + self.gathering.last / 4;
        let before = self.waiting.len();
        while !self.waiting.is_empty() && self.is_more_expected() {
            match jobs.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(job) => self.take(job),
                Err(_) if self.waiting.len() > before => return,
                Err(_) => {
                    self.gathering.pause = GATHERING_PAUSE;
                    return;
                }
            }
        }
    }

    fn is_more_expected(&self) -> bool {
        let waits = |id: &u64| self.waiting.iter().any(|job| job.session == *id);
        self.gathering.recent.iter().flatten().any(|id| self.sessions.contains(*id) && !waits(id))
    }

    /// One pass for the steps that wait, of each session its first.
    fn run_steps(&mut self) {
        let (mut seen, mut steps, mut rest) = (HashSet::new(), Vec::new(), VecDeque::new());
        for job in std::mem::take(&mut self.waiting) {
            // What waits behind another frame of its session waits on.
            let first = seen.insert(job.session);
            match first && job.is_step() && steps.len() < MOST_BATCH {
                true => steps.push(job),
                false => rest.push_back(job),
            }
        }
        self.waiting = rest;
        let steps: Vec<RowsJob> = steps.into_iter().filter(|job| self.admit(job)).collect();
        let steps: Vec<DecodedRows> = steps.into_par_iter().filter_map(|job| self.decode(job)).collect();
        let Some(first) = steps.first() else { return };
        let start = first.start;
        self.gathering.recent.rotate_right(1);
        self.gathering.recent[0] = steps.iter().map(|rows| rows.job.session).collect();
        match self.step(&steps) {
            Ok(choices) => {
                count(&self.metrics.steps, 1);
                for (rows, choice) in steps.iter().zip(choices) {
                    self.answer(rows, choice.map(Some));
                }
            }
            Err(error) => {
                let message = format!("{error:#}");
                steps.iter().for_each(|rows| self.answer(rows, Err(anyhow::anyhow!(message.clone()))));
            }
        }
        self.gathering.last = start.elapsed();
    }

    fn step(&mut self, steps: &[DecodedRows]) -> Result<Vec<Result<Choice>>> {
        let mut hidden: Vec<f32> = steps.iter().flat_map(|rows| rows.activation.values()).copied().collect();
        let ids: Vec<u64> = steps.iter().map(|rows| rows.job.session).collect();
        let mut sessions = self.sessions.get_many(&ids);
        // A smaller position is a rollback.
        sessions.iter_mut().zip(steps).for_each(|(session, rows)| session.cache.truncate(rows.job.position));
        self.decoder
            .step(&mut hidden, &mut sessions.iter_mut().map(|session| &mut session.cache).collect::<Vec<_>>())?;
        let logits = self.decoder.step_logits(&hidden, steps.len())?;
        let vocabulary = self.decoder.config().vocab_size;
        let choose =
            |(session, logits): (&&mut Session, &[f32])| session.sampler.sample(logits, session.cache.tokens() as u64);
        Ok(sessions.par_iter().zip(logits.par_chunks_exact(vocabulary)).map(choose).collect())
    }

    /// The first chunk of a prompt, or request to score, that waits, and behind no step of its own session.
    fn run_rows(&mut self) {
        let mut seen = HashSet::new();
        let is_next = |job: &RowsJob| seen.insert(job.session) && !job.is_step();
        let Some(nth) = self.waiting.iter().position(is_next) else { return };
        let job = self.waiting.remove(nth).expect("it is there");
        if !self.admit(&job) {
            return;
        }
        let Some(rows) = self.decode(job) else { return };
        if let Purpose::Score(targets) = &rows.job.purpose {
            self.score(&rows, targets);
        } else {
            let choice = self.extend(&rows);
            self.answer(&rows, choice);
        }
    }

    /// The rows of a packet; its client is told where there are none in it.
    fn decode(&self, job: RowsJob) -> Option<DecodedRows> {
        let begin = Instant::now();
        match decode(&job.packet) {
            Ok(activation) => {
                let start = Instant::now();
                Some(DecodedRows { job, activation, decode: start - begin, start })
            }
            Err(error) => {
                job.refuse(RefusalKind::Packet, &error, &self.metrics);
                job.connection.end_waiting();
                None
            }
        }
    }

    fn extend(&mut self, rows: &DecodedRows) -> Result<Option<Choice>> {
        let session = self.sessions.get_mut(rows.job.session, &rows.job.connection)?;
        // A smaller position is a rollback.
        session.cache.truncate(rows.job.position);
        let last = self.decoder.extend_to_last(rows.activation.values().to_vec(), &mut session.cache)?;
        if let Purpose::Accept = rows.job.purpose {
            return Ok(None);
        }
        let logits = self.decoder.step_logits(&last, 1)?;
        session.sampler.sample(&logits, session.cache.tokens() as u64).map(Some)
    }

    /// Without a session's cache, as scores in one process are computed.
    fn score(&mut self, decoded: &DecodedRows, targets: &[u32]) {
        let DecodedRows { job, activation, .. } = decoded;
        let rows = activation.tokens();
        let loglik = || -> Result<f64> {
            let hidden: Tensor = from_values(activation.values().to_vec(), rows, &self.decoder)?;
            let scored = [Continuation { sequence: 0, targets }];
            let loglik = self.decoder.server(hidden, &Arc::new(Packing::of([rows])), self.split, &scored)?;
            loglik.first().copied().context("no score")
        };
        match loglik() {
            Ok(loglik) => {
                let mut body = loglik.to_le_bytes().to_vec();
                decoded.times().write(&mut body);
                self.count(decoded);
                job.connection.send(&job.reply(FrameType::Scores, job.position, body));
            }
            Err(error) => job.refuse(RefusalKind::Packet, &error, &self.metrics),
        }
        job.connection.end_waiting();
    }

    /// Whether a frame is the next of its session, or asks it for a score; otherwise answers it. Nothing of it is decoded yet.
    fn admit(&mut self, job: &RowsJob) -> bool {
        let session = match self.sessions.get_mut(job.session, &job.connection) {
            Ok(session) => session,
            Err(error) => {
                job.refuse(RefusalKind::NoSession, &error, &self.metrics);
                job.connection.end_waiting();
                return false;
            }
        };
        session.heard = Instant::now();
        let check = || -> Result<bool> {
            if let Purpose::Score(_) = job.purpose {
                return Ok(true);
            }
            if let Some(reply) = session.reply.as_ref().filter(|_| job.sequence == session.sequence) {
                job.connection.send(reply);
                return Ok(false);
            }
            ensure!(
                job.sequence == session.sequence + 1,
                "sequence {}: the session has done {}, so the next is {}",
                job.sequence,
                session.sequence,
                session.sequence + 1
            );
            let (has, rows, most) = (session.cache.tokens(), job.packet.tokens(), session.cache.most_tokens());
            ensure!(job.position <= has, "position {}: the cache has {has} tokens", job.position);
            ensure!(
                job.position + rows <= most,
                "{} + {rows} tokens do not fit in a session of at most {most}",
                job.position
            );
            Ok(true)
        };
        let admitted = check().unwrap_or_else(|error| {
            job.refuse(RefusalKind::Protocol, &error, &self.metrics);
            false
        });
        if !admitted {
            job.connection.end_waiting();
        }
        admitted
    }

    /// Sends what came of rows, and keeps it for a client that does not get it.
    fn answer(&mut self, rows: &DecodedRows, choice: Result<Option<Choice>>) {
        let job = &rows.job;
        job.connection.end_waiting();
        self.count(rows);
        let Ok(session) = self.sessions.get_mut(job.session, &job.connection) else { return };
        let choice = match choice {
            Ok(choice) => choice,
            Err(error) => {
                session.cache.truncate(job.position);
                job.refuse(RefusalKind::Server, &error, &self.metrics);
                return;
            }
        };
        let times = rows.times();
        let (kind, body) = match choice {
            Some(Choice { id, log_probability }) => {
                (FrameType::Token, TokenReply { id, log_probability, times }.to_body())
            }
            None => {
                let mut body = Vec::new();
                times.write(&mut body);
                (FrameType::Accepted, body)
            }
        };
        session.sequence = job.sequence;
        session.counts.rows += rows.activation.tokens();
        session.counts.tokens += usize::from(kind == FrameType::Token);
        session.counts.received += job.bytes;
        let reply = job.reply(kind, session.cache.tokens(), body);
        count(&self.metrics.tokens, u64::from(kind == FrameType::Token));
        job.connection.send(&reply);
        session.reply = Some(reply);
    }

    fn count(&self, rows: &DecodedRows) {
        let (job, times) = (&rows.job, rows.times());
        let nanoseconds = |time: Duration| time.as_nanos() as u64;
        count(&self.metrics.received_bytes, job.bytes as u64);
        count(&self.metrics.queue_ns, nanoseconds(times.queue));
        count(&self.metrics.decode_ns, nanoseconds(times.decode));
        count(&self.metrics.compute_ns, nanoseconds(times.compute));
        if !job.is_step() {
            count(&self.metrics.prompt_rows, rows.activation.tokens() as u64);
        }
    }
}
