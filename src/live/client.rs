//! A client's end: one connection with one session, which outlives the connection.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use splitbench_codec::Packet;

use super::address::Address;
use super::channel::Channel;
use super::frame::{BodyReader, Frame, FrameType, MORE, MOST_JSON, ServerTimes, TokenReply};
use super::key::{SharedKey, random_bytes};
use super::message::{Hello, OpenReply, OpenRequest, Refusal, RefusalKind, expect};

/// How long to wait for the first byte of an answer, and how long it may then take.
const ANSWER: [Duration; 2] = [Duration::from_secs(120), Duration::from_secs(10)];

/// How long a lost connection is sought again: as long as a server keeps its session, unless it was told otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first pause before that, and the longest; each is twice the one before.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// Where a server is, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Its address.
    pub address: Address,
    /// The key that both have.
    pub key: Option<SharedKey>,
}

/// A connection after the hand-shake.
pub struct LiveConnection {
    channel: Channel,
    /// What the server said of itself.
    pub server: Hello,
}

impl ServerAddress {
    /// Connects and shakes hands; `hello` without a layer takes the server's.
    pub fn connect(&self, hello: &Hello) -> Result<LiveConnection> {
        let channel = Channel::new(self.address.connect()?);
        let receive = || channel.read(ANSWER[1], ANSWER[1], MOST_JSON).context("shaking hands");
        match &self.key {
            Some(key) if key.encrypts() => {
                channel.encrypt_as_client(key, || expect(receive()?, FrameType::Noise))?;
            }
            Some(key) => key.prove_as_client(|frame| channel.write(&frame), || expect(receive()?, FrameType::Auth))?,
            None => {}
        }
        channel.write(&Frame::json(FrameType::Hello, 0, hello)?)?;
        let server: Hello = expect(receive()?, FrameType::Hello)?.parse()?;
        Hello::check(hello, &server)?;
        ensure!(server.layer.is_some(), "the server did not say where the model is cut");
        Ok(LiveConnection { channel, server })
    }
}

/// An answer of the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// Rows are in the cache.
    Accepted(ServerTimes),
    /// And a token was chosen.
    Token(TokenReply),
}

/// A session. What it sent is kept, so that a server that lost it gets the same again.
pub struct LiveSession {
    server: ServerAddress,
    hello: Hello,
    connection: LiveConnection,
    id: u64,
    request: OpenRequest,
    /// All ACTIVATION frames since the session began.
    sent: Vec<Frame>,
    /// For each of them the token that was its answer.
    tokens: Vec<Option<u32>>,
    /// How many of their answers the caller has got.
    delivered: usize,
    /// Chunks whose answers were lost with a connection, and which the server has.
    accepted_unheard: usize,
    /// Bytes of frames in either direction.
    pub traffic: Traffic,
}

/// Bytes of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// To the server.
    pub up: usize,
    /// From it.
    pub down: usize,
    /// Times that the connection was lost.
    pub lost: usize,
}

impl LiveSession {
    /// Connects and opens a session.
    pub fn open(server: &ServerAddress, hello: &Hello, request: OpenRequest) -> Result<Self> {
        let connection = server.connect(hello)?;
        let id = u64::from_le_bytes(random_bytes()?).max(1);
        let mut session = Self {
            server: server.clone(),
            hello: hello.clone(),
            connection,
            id,
            request,
            sent: Vec::new(),
            tokens: Vec::new(),
            delivered: 0,
            accepted_unheard: 0,
            traffic: Traffic::default(),
        };
        session.ask_to_open()?;
        Ok(session)
    }

    /// What the server said of itself.
    pub fn server(&self) -> &Hello {
        &self.connection.server
    }

    fn ask_to_open(&mut self) -> Result<OpenReply> {
        let frame = Frame::json(FrameType::Open, self.id, &self.request)?;
        self.connection.channel.write(&frame)?;
        self.traffic.up += frame.wire_bytes();
        expect(self.read()?, FrameType::Opened)?.parse()
    }

    fn read(&mut self) -> Result<Option<Frame>> {
        let frame = self.connection.channel.read(ANSWER[0], ANSWER[1], MOST_JSON)?;
        self.traffic.down += frame.as_ref().map_or(0, Frame::wire_bytes);
        Ok(frame)
    }

    /// Sends rows that begin at `position`, without waiting for the answer; `more` where more of the prompt follow.
    pub fn send(&mut self, position: usize, packet: Packet, more: bool) -> Result<()> {
        let mut body = vec![if more { MORE } else { 0 }];
        body.extend_from_slice(packet.as_bytes());
        let sequence = self.sent.len() as u32 + 1;
        let frame = Frame { kind: FrameType::Activation, session: self.id, sequence, position: position as u32, body };
        let written = self.connection.channel.write(&frame);
        self.traffic.up += frame.wire_bytes();
        self.sent.push(frame);
        self.tokens.push(None);
        match written {
            Ok(()) => Ok(()),
            Err(error) => self.reconnect(error),
        }
    }

    /// Waits for the answer to the first frame that has none.
    pub fn receive(&mut self) -> Result<Answer> {
        ensure!(self.delivered < self.sent.len(), "nothing was sent that has no answer");
        loop {
            // The server had accepted them when the connection was lost; what that took it no longer knows.
            if self.accepted_unheard > 0 {
                self.accepted_unheard -= 1;
                self.delivered += 1;
                return Ok(Answer::Accepted(ServerTimes::default()));
            }
            match self.read() {
                Ok(Some(frame)) => {
                    let answer = self.keep(frame, self.delivered)?;
                    self.delivered += 1;
                    return Ok(answer);
                }
                Ok(None) => self.reconnect(anyhow!("the server closed the connection"))?,
                Err(error) => self.reconnect(error)?,
            }
        }
    }

    /// Reads the answer to the frame `nth`, counted from 0, and holds the server to what it said before.
    fn keep(&mut self, frame: Frame, nth: usize) -> Result<Answer> {
        let frame = refuse_to_error(frame)?;
        ensure!(
            frame.session == self.id && frame.sequence as usize == nth + 1,
            "an answer to frame {} of session {:016x}, where frame {} of {:016x} waits for one",
            frame.sequence,
            frame.session,
            nth + 1,
            self.id
        );
        let answer = match frame.kind {
            FrameType::Accepted => {
                let mut body = BodyReader::new(&frame);
                let times = ServerTimes::read(&mut body)?;
                body.finish()?;
                return Ok(Answer::Accepted(times));
            }
            FrameType::Token => TokenReply::from_frame(&frame)?,
            kind => anyhow::bail!("a {kind} frame is no answer to rows"),
        };
        let before = self.tokens[nth].replace(answer.id);
        ensure!(
            before.is_none_or(|id| id == answer.id),
            "the server chose token {} where it chose {} before the connection was lost",
            answer.id,
            before.unwrap_or_default()
        );
        Ok(Answer::Token(answer))
    }

    /// The log-likelihood of `targets` after the packet's rows, nats; the session's cache is not touched.
    pub fn score(&mut self, packet: &Packet, targets: &[u32]) -> Result<f64> {
        ensure!(self.delivered == self.sent.len(), "answers are still to come");
        let mut body = (targets.len() as u32).to_le_bytes().to_vec();
        targets.iter().for_each(|id| body.extend_from_slice(&id.to_le_bytes()));
        body.extend_from_slice(packet.as_bytes());
        let frame = Frame { kind: FrameType::Score, session: self.id, sequence: 0, position: 0, body };
        loop {
            let exchange = self.connection.channel.write(&frame).and_then(|()| self.read());
            self.traffic.up += frame.wire_bytes();
            let answer = match exchange {
                Ok(Some(answer)) => refuse_to_error(answer)?,
                Ok(None) => {
                    self.reconnect(anyhow!("the server closed the connection"))?;
                    continue;
                }
                Err(error) => {
                    self.reconnect(error)?;
                    continue;
                }
            };
            ensure!(answer.kind == FrameType::Scores, "a {} frame is no answer to a score", answer.kind);
            let mut body = BodyReader::new(&answer);
            let (loglik, _times) = (body.f64()?, ServerTimes::read(&mut body)?);
            body.finish()?;
            return Ok(loglik);
        }
    }

    /// Connects again and sends what the server does not have, all of it where it lost the session. Fails with what went
    /// wrong first where the server does not come back.
    fn reconnect(&mut self, lost: anyhow::Error) -> Result<()> {
        self.traffic.lost += 1;
        let [mut pause, longest] = PAUSES;
        let (begin, mut last) = (Instant::now(), None);
        while begin.elapsed() < PATIENCE {
            std::thread::sleep(pause);
            pause = longest.min(pause * 2);
            match self.try_again() {
                Ok(()) => return Ok(()),
                // The server is there and does not want us: asking again changes nothing, unless it is full.
                Err(error)
                    if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.kind != RefusalKind::Full) =>
                {
                    return Err(error);
                }
                Err(error) => last = Some(error),
            }
        }
        let last = last.map_or_else(String::new, |error| format!("; at last: {error:#}"));
        Err(lost.context(format!(
            "the connection to {} was lost and could not be had again within {} seconds{last}",
            self.server.address,
            PATIENCE.as_secs()
        )))
    }

    fn try_again(&mut self) -> Result<()> {
        let layer = self.connection.server.layer;
        self.connection = self.server.connect(&Hello { layer, ..self.hello.clone() })?;
        let done = self.ask_to_open()?.sequence as usize;
        ensure!(done <= self.sent.len(), "the server has done {done} frames, {} were sent", self.sent.len());
        // Of the answers that were lost the server has the last, which it gives for the frame sent again.
        let first = if done > self.delivered { done } else { done + 1 };
        self.accepted_unheard = first.saturating_sub(self.delivered + 1);
        for nth in first - 1..self.sent.len() {
            self.connection.channel.write(&self.sent[nth])?;
            self.traffic.up += self.sent[nth].wire_bytes();
            if nth < self.delivered {
                let frame = self.read()?.context("the server closed the connection")?;
                self.keep(frame, nth)?;
            }
        }
        Ok(())
    }

    /// Ends the session.
    pub fn close(self) -> Result<Traffic> {
        let frame = Frame { session: self.id, ..Frame::new(FrameType::Close, Vec::new()) };
        self.connection.channel.write(&frame)?;
        Ok(self.traffic)
    }
}

fn refuse_to_error(frame: Frame) -> Result<Frame> {
    match frame.kind {
        FrameType::Error => Err(frame.parse::<Refusal>()?.into()),
        _ => Ok(frame),
    }
}

/// Time since a point, which moves to now.
pub fn lap(since: &mut Instant) -> Duration {
    let now = Instant::now();
    now - std::mem::replace(since, now)
}
