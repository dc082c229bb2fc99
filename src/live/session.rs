//! Sessions of a server: their caches, and which frame each has done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::connection::Connection;
use super::frame::Frame;
use super::message::{OpenReply, OpenRequest};
use super::sampler::Sampler;
use crate::model::{Cache, Config, DecoderPart, SplitPoint};

/// One client's generation.
pub struct Session {
    pub cache: Cache,
    pub sampler: Sampler,
    /// Sequence of the last frame done.
    pub sequence: u32,
    /// Its answer, for a client that did not get it.
    pub reply: Option<Frame>,
    /// Where its client is; none while it is away.
    pub connection: Option<Arc<Connection>>,
    /// When it was last heard of.
    pub heard: Instant,
    pub counts: SessionCounts,
    secret: String,
    bytes: usize,
    opened: Instant,
}

/// What a session has done.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionCounts {
    /// Rows of ACTIVATION frames.
    pub rows: usize,
    /// Tokens chosen.
    pub tokens: usize,
    /// Bytes of its frames, from the client.
    pub received: usize,
}

/// All sessions, and the room for them.
pub struct Sessions {
    config: Config,
    split: SplitPoint,
    open: HashMap<u64, Session>,
    /// Bytes that caches may have together.
    memory: usize,
    reserved: usize,
}

impl Sessions {
    /// None yet; `memory` bytes for their caches.
    pub fn new(config: &Config, split: SplitPoint, memory: usize) -> Self {
        Self { config: config.clone(), split, open: HashMap::new(), memory, reserved: 0 }
    }

    fn layers(&self) -> std::ops::Range<usize> {
        DecoderPart::Server(self.split).layers(&self.config)
    }

    /// Opens a session, or gives one that is there to a client that knows its secret.
    pub fn open(
        &mut self,
        id: u64,
        request: OpenRequest,
        connection: &Arc<Connection>,
    ) -> Result<OpenedSession, OpenFailure> {
        if let Some(session) = self.open.get_mut(&id) {
            if session.secret != request.secret {
                return Err(OpenFailure::Request(anyhow::anyhow!("session {id:016x} belongs to somebody else")));
            }
            session.connection = Some(connection.clone());
            session.heard = Instant::now();
            let reply = OpenReply { sequence: session.sequence, position: session.cache.tokens() };
            return Ok(OpenedSession { reply, is_new: false });
        }
        let most = self.config.most_tokens();
        let check = || -> Result<Sampler> {
            ensure!(id != 0, "session 0 is none: a client chooses another number at random");
            ensure!(
                request.secret.len() == 32 && request.secret.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "a session's secret has 32 hexadecimal digits"
            );
            ensure!(
                (1..=most).contains(&request.most_tokens),
                "a session of {} tokens: at least 1 and at most {most}",
                request.most_tokens
            );
            Sampler::new(request.sampling)
        };
        let sampler = check().map_err(OpenFailure::Request)?;
        let bytes = Cache::bytes(&self.config, self.layers(), request.most_tokens);
        if self.reserved + bytes > self.memory {
            let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
            return Err(OpenFailure::Full(anyhow::anyhow!(
                "{} sessions have {:.0} of {:.0} MiB; one of {} tokens needs {:.1} more: try later, or with fewer tokens",
                self.open.len(),
                mib(self.reserved),
                mib(self.memory),
                request.most_tokens,
                mib(bytes)
            )));
        }
        self.reserved += bytes;
        let now = Instant::now();
        let session = Session {
            cache: Cache::new(&self.config, self.layers(), request.most_tokens),
            sampler,
            sequence: 0,
            reply: None,
            connection: Some(connection.clone()),
            heard: now,
            counts: SessionCounts::default(),
            secret: request.secret,
            bytes,
            opened: now,
        };
        self.open.insert(id, session);
        Ok(OpenedSession { reply: OpenReply { sequence: 0, position: 0 }, is_new: true })
    }

    /// The session of a frame from `connection`.
    pub fn get_mut(&mut self, id: u64, connection: &Arc<Connection>) -> Result<&mut Session> {
        let Some(session) = self.open.get_mut(&id) else { bail!("there is no session {id:016x}: open one") };
        let own = session.connection.as_ref().is_some_and(|own| Arc::ptr_eq(own, connection));
        ensure!(own, "session {id:016x} is another connection's: open it here first");
        Ok(session)
    }

    /// Ends a session and says what it did.
    pub fn close(&mut self, id: u64, why: &str) {
        let Some(session) = self.open.remove(&id) else { return };
        self.reserved -= session.bytes;
        let SessionCounts { rows, tokens, received } = session.counts;
        tell!(
            "session {id:016x}: {rows} rows, {tokens} tokens, {received} bytes received, {:.1} s, {why}",
            session.opened.elapsed().as_secs_f64()
        );
    }

    /// Keeps the sessions of a lost connection for a while.
    pub fn lose(&mut self, connection: &Arc<Connection>) {
        for session in self.open.values_mut() {
            if session.connection.as_ref().is_some_and(|own| Arc::ptr_eq(own, connection)) {
                session.connection = None;
                session.heard = Instant::now();
            }
        }
    }

    /// Closes what has been silent for too long: `idle` with a client, `kept` without.
    pub fn sweep(&mut self, idle: Duration, kept: Duration) {
        let silent: Vec<(u64, &str)> = (self.open.iter())
            .filter_map(|(id, session)| match session.connection {
                Some(_) => (session.heard.elapsed() > idle).then_some((*id, "silent for too long")),
                None => (session.heard.elapsed() > kept).then_some((*id, "its client did not come back")),
            })
            .collect();
        silent.into_iter().for_each(|(id, why)| self.close(id, why));
    }

    /// Whether there is a session of this id.
    pub fn contains(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// Sessions.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Bytes that their caches may grow to.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// Several sessions at once, in the order of `ids`, which are all different; those that are there.
    pub fn get_many(&mut self, ids: &[u64]) -> Vec<&mut Session> {
        let mut all: HashMap<u64, &mut Session> = self.open.iter_mut().map(|(id, session)| (*id, session)).collect();
        ids.iter().filter_map(|id| all.remove(id)).collect()
    }
}

/// A session that opened.
pub struct OpenedSession {
    /// What its client is told.
    pub reply: OpenReply,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// Why a session did not open.
pub enum OpenFailure {
    /// There is no room.
    Full(anyhow::Error),
    /// What was asked for cannot be.
    Request(anyhow::Error),
}
