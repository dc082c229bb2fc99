//! A server: takes connections, shakes hands, reads frames and hands them to the engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use splitbench_codec::Packet;

use super::address::Address;
use super::connection::Connection;
use super::engine::{Engine, Job, Purpose, RowsJob, SessionPatience};
use super::frame::{BodyReader, Frame, FrameType, MORE, MOST_JSON};
use super::key::SharedKey;
use super::listener::{Listener, ListenerCloser};
use super::message::{Hello, OpenRequest, Refusal, RefusalKind, session_codec};
use super::metrics::{Metrics, count};
use crate::model::source::Model;
use crate::model::{DecoderPart, SplitPoint};

/// Bytes of an ACTIVATION frame beyond four times S D: no codec's packet is larger.
const BESIDE_VALUES: usize = 1 << 16;

/// Most sessions of one connection.
const MOST_SESSIONS: usize = 256;

/// How long a server waits after a connection that it could not take.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server takes.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Bytes that caches may have together.
    pub memory: usize,
    /// Most connections at a time.
    pub connections: usize,
    /// Most rows of one frame.
    pub rows: usize,
    /// How long a client may take to shake hands.
    pub handshake: Duration,
    /// How long a frame may take from its first byte to its last.
    pub frame: Duration,
    /// How long sessions are kept that nobody uses.
    pub patience: SessionPatience,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            connections: 256,
            rows: 512,
            handshake: Duration::from_secs(5),
            frame: Duration::from_secs(10),
            patience: SessionPatience { idle: Duration::from_secs(300), kept: Duration::from_secs(60) },
        }
    }
}

/// A server that listens, with its half of the model.
pub struct Server {
    listener: Listener,
    shared: Arc<ServerShared>,
    engine: Engine,
    jobs: (Sender<Job>, Receiver<Job>),
}

/// What all connections see.
struct ServerShared {
    hello: Hello,
    key: Option<SharedKey>,
    limits: ServerLimits,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Loads the server half of `model`.
    pub fn new(
        model: &Model,
        split: SplitPoint,
        listener: Listener,
        key: Option<SharedKey>,
        limits: ServerLimits,
    ) -> Result<Self> {
        model.config.check_split(split)?;
        ensure!(model.placement.device.is_cpu(), "a server generates on the CPU; take --device cpu");
        let most_rows = limits.rows.min(model.config.most_tokens());
        let hello = Hello::new(model, Some(split.after_layer), model.config.most_tokens(), most_rows);
        let metrics = Arc::new(Metrics::default());
        let decoder = model.part(DecoderPart::Server(split))?;
        let engine = Engine::new(decoder, split, limits.memory, limits.patience, metrics.clone());
        let shared = Arc::new(ServerShared { hello, key, limits, metrics });
        Ok(Self { listener, shared, engine, jobs: channel() })
    }

    /// Who it is.
    pub fn hello(&self) -> &Hello {
        &self.shared.hello
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// Where it listens.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// What ends it.
    pub fn closer(&self) -> ListenerCloser {
        self.listener.closer()
    }

    /// Serves until it is closed.
    pub fn run(self) -> Result<()> {
        let Self { listener, shared, engine, jobs: (jobs, waiting) } = self;
        // On a thread of its own pool, where parallel parts need not be handed over and waited for.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads()).build()?;
        let work = move || pool.install(move || engine.run(&waiting));
        let engine = std::thread::Builder::new().name("engine".into()).spawn(work)?;
        // A clone of it for each connection tells how many there are.
        let open = Arc::new(());
        loop {
            let stream = match listener.accept() {
                Ok(Some(stream)) => stream,
                Ok(None) => return Ok(()),
                Err(error) => {
                    // Such as too many open files: connections that end give theirs back, and sessions live on meanwhile.
                    tell!("{error:#}");
                    std::thread::sleep(ACCEPT_PAUSE);
                    continue;
                }
            };
            ensure!(!engine.is_finished(), "the engine has ended");
            let connection = match Connection::new(stream) {
                Ok(connection) => Arc::new(connection),
                Err(_) => continue,
            };
            count(&shared.metrics.connections, 1);
            if Arc::strong_count(&open) > shared.limits.connections {
                let full = Refusal {
                    kind: RefusalKind::Full,
                    message: format!(
                        "{} connections are open, the most that this server takes",
                        shared.limits.connections
                    ),
                };
                connection.send(&full.frame(0, 0));
                connection.close();
                continue;
            }
            let (shared, jobs, open) = (shared.clone(), jobs.clone(), open.clone());
            let read = move || {
                let _open = open;
                if let Err(error) = shared.attend(&connection, &jobs) {
                    tell!("{}: {error:#}", connection.peer);
                }
                connection.close();
                let _ = jobs.send(Job::Lost(connection));
            };
            // Dropping the connection where no thread can be had closes it.
            if let Err(error) = std::thread::Builder::new().name("connection".into()).spawn(read) {
                tell!("a connection was closed, no thread for it: {error}");
            }
        }
    }
}

impl ServerShared {
    /// Reads the frames of a connection until it ends.
    fn attend(&self, connection: &Arc<Connection>, jobs: &Sender<Job>) -> Result<()> {
        let most_body = 4 * self.hello.hidden * self.hello.most_rows + BESIDE_VALUES;
        if let Err(refusal) = self.shake_hands(connection) {
            connection.send(&refusal.frame(0, 0));
            count(&self.metrics.refused, 1);
            anyhow::bail!("{}", refusal.message);
        }
        let mut codecs: HashMap<u64, [&'static str; 2]> = HashMap::new();
        loop {
            // The engine closes what is silent; a connection may stay as long as its sessions.
            let idle = self.limits.patience.idle + self.limits.patience.kept;
            let frame = connection.channel().read(idle, self.limits.frame, most_body);
            let received = Instant::now();
            let Some(frame) = frame.inspect_err(|error| {
                connection.send(&Refusal::new(RefusalKind::Protocol, error).frame(0, 0));
            })?
            else {
                return Ok(());
            };
            let (session, sequence) = (frame.session, frame.sequence);
            let refuse = |kind: RefusalKind, error: &anyhow::Error| {
                count(&self.metrics.refused, 1);
                connection.send(&Refusal::new(kind, error).frame(session, sequence));
            };
            let job = match frame.kind {
                FrameType::Open => match open_request(&frame, codecs.len()) {
                    Ok((request, names)) => {
                        codecs.insert(session, names);
                        Job::Open { connection: connection.clone(), session, request }
                    }
                    Err(error) => {
                        refuse(RefusalKind::Protocol, &error);
                        continue;
                    }
                },
                FrameType::Close => {
                    codecs.remove(&session);
                    Job::Close { connection: connection.clone(), session }
                }
                FrameType::Activation | FrameType::Score => {
                    let names =
                        codecs.get(&session).with_context(|| format!("session {session:016x} is not open here"));
                    let (position, bytes) = (frame.position as usize, frame.wire_bytes());
                    match names.and_then(|names| self.rows(frame, names)) {
                        Ok((purpose, packet)) => {
                            connection.begin_waiting();
                            Job::Rows(RowsJob {
                                connection: connection.clone(),
                                session,
                                sequence,
                                position,
                                purpose,
                                packet,
                                bytes,
                                received,
                            })
                        }
                        Err(error) => {
                            refuse(RefusalKind::Packet, &error);
                            continue;
                        }
                    }
                }
                kind => {
                    let error = anyhow::anyhow!("a {kind} frame has no place here");
                    refuse(RefusalKind::Protocol, &error);
                    return Err(error);
                }
            };
            jobs.send(job).ok().context("the engine has ended")?;
        }
    }

    /// The key, where there is one; then who is there.
    fn shake_hands(&self, connection: &Connection) -> Result<(), Refusal> {
        let deadline = Instant::now() + self.limits.handshake;
        let read = || -> Result<Frame> {
            let left = deadline.saturating_duration_since(Instant::now());
            let frame = connection.channel().read(left, left, MOST_JSON);
            frame?.context("the client left before it said who it is")
        };
        let as_refusal = |kind: RefusalKind| move |error: anyhow::Error| Refusal::new(kind, &error);
        let mut first = read().map_err(as_refusal(RefusalKind::Protocol))?;
        let is_encrypted = self.key.as_ref().is_some_and(SharedKey::encrypts);
        if is_encrypted != (first.kind == FrameType::Noise) {
            let message = match is_encrypted {
                true => "this server encrypts: give --key-file with its key, and --encrypt",
                false => "this server does not encrypt: leave --encrypt out, or start it with --key-file and --encrypt",
            };
            return Err(Refusal { kind: RefusalKind::Key, message: message.to_string() });
        }
        if let Some(key) = self.key.as_ref().filter(|_| is_encrypted) {
            connection.channel().encrypt_as_server(key, &first).map_err(as_refusal(RefusalKind::Key))?;
            first = read().map_err(as_refusal(RefusalKind::Protocol))?;
        } else if let Some(key) = &self.key {
            let send = |frame: Frame| {
                connection.send(&frame);
                Ok(())
            };
            key.prove_as_server(&first, send, read).map_err(as_refusal(RefusalKind::Key))?;
            first = read().map_err(as_refusal(RefusalKind::Protocol))?;
        } else if first.kind == FrameType::Auth {
            let message = "this server has no key, so it cannot prove that it is the right one".to_string();
            return Err(Refusal { kind: RefusalKind::Key, message });
        }
        let hello = || -> Result<Hello> {
            ensure!(first.kind == FrameType::Hello, "expected a HELLO frame, got {}", first.kind);
            first.parse()
        };
        let hello = hello().map_err(as_refusal(RefusalKind::Protocol))?;
        Hello::check(&hello, &self.hello).map_err(as_refusal(RefusalKind::Mismatch))?;
        let frame = Frame::json(FrameType::Hello, 0, &self.hello).map_err(as_refusal(RefusalKind::Server))?;
        connection.send(&frame);
        Ok(())
    }

    /// What is to come of the rows of a frame, and their packet. The engine decodes it, which allocates S D values.
    fn rows(&self, mut frame: Frame, codecs: &[&'static str; 2]) -> Result<(Purpose, Packet)> {
        let mut body = BodyReader::new(&frame);
        let purpose = match frame.kind {
            FrameType::Score => {
                let targets = body.u32()? as usize;
                ensure!(targets <= self.hello.most_rows, "{targets} targets: at most {}", self.hello.most_rows);
                Purpose::Score((0..targets).map(|_| body.u32()).collect::<Result<_>>()?)
            }
            _ => match body.u8()? {
                0 => Purpose::Choose,
                MORE => Purpose::Accept,
                flags => anyhow::bail!("unknown flags {flags:#04x}"),
            },
        };
        let before = frame.body.len() - body.rest().len();
        frame.body.drain(..before);
        let packet = Packet::from_bytes(frame.body)?;
        ensure!(
            codecs.contains(&packet.codec()),
            "a packet of {}: the session was opened for {}",
            packet.codec(),
            codecs.join(" and ")
        );
        let (rows, hidden) = (packet.tokens(), packet.hidden());
        ensure!(hidden == self.hello.hidden, "a packet of {hidden} channels: the model has {}", self.hello.hidden);
        ensure!(rows <= self.hello.most_rows, "a packet of {rows} rows: at most {}", self.hello.most_rows);
        Ok((purpose, packet))
    }
}

fn open_request(frame: &Frame, sessions: usize) -> Result<(OpenRequest, [&'static str; 2])> {
    ensure!(sessions < MOST_SESSIONS, "{sessions} sessions are open on this connection, the most that it may have");
    let request: OpenRequest = frame.parse()?;
    let name = |text: &str| session_codec(text).map(|codec| codec.spec().name());
    let names = [name(&request.prompt_codec)?, name(&request.step_codec)?];
    Ok((request, names))
}

/// Whether only this machine can reach a listener.
pub fn is_local(listener: &Listener) -> bool {
    match listener.address() {
        Address::Unix(_) => true,
        Address::Tcp { host, .. } => host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use splitbench_codec::{Activation, Budget, CodecSpec, build, decode, registered};

    use super::*;
    use crate::live::sampler::Sampling;
    use crate::model::Placement;
    use crate::model::source::{POCKET, load};

    /// What a connection does with a frame's bytes, up to the engine.
    fn take(shared: &ServerShared, bytes: &[u8], names: &[&'static str; 2], most: usize) -> Result<()> {
        let frame = Frame::read(bytes, most)?.context("nothing")?;
        match frame.kind {
            FrameType::Open => open_request(&frame, 0).map(drop),
            FrameType::Hello => Hello::check(&frame.parse()?, &shared.hello),
            FrameType::Activation | FrameType::Score => {
                let (_, packet) = shared.rows(frame, names)?;
                assert!(packet.hidden() == shared.hello.hidden && packet.tokens() <= shared.hello.most_rows);
                let activation = decode(&packet)?;
                assert!(activation.hidden() == shared.hello.hidden && activation.tokens() <= shared.hello.most_rows);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Every kind of frame with bytes changed, cut or added: an error or what a right frame is, never a panic. The length
    /// and the shapes are checked before anything is allocated, so no frame takes more than its own bytes and S D values.
    #[test]
    fn a_hundred_thousand_mutated_frames() {
        let model = load(POCKET, &Placement::cpu()).unwrap();
        let hello = Hello::new(&model, Some(2), 256, 16);
        let (limits, metrics) = (ServerLimits::default(), Arc::new(Metrics::default()));
        let shared = ServerShared { hello: hello.clone(), key: None, limits, metrics };
        let hidden = model.config.hidden_size;
        let values = (0..6 * hidden).map(|i| (i % 29) as f32 / 7.0 - 2.0).collect();
        let activation = Activation::new(6, hidden, values).unwrap();
        let mut seeds = Vec::new();
        for name in registered().iter().map(|info| info.name).filter(|name| session_codec(name).is_ok()) {
            let codec = build(&CodecSpec::parse(name).unwrap(), None).unwrap();
            let packet = codec.encode(&activation, Some(Budget::elements(4.0).unwrap())).unwrap();
            let rows = [&[MORE], packet.as_bytes()].concat();
            let score = [&1u32.to_le_bytes()[..], &[9, 0, 0, 0], packet.as_bytes()].concat();
            seeds.push((name, Frame { session: 3, sequence: 1, ..Frame::new(FrameType::Activation, rows) }));
            seeds.push((name, Frame { session: 3, ..Frame::new(FrameType::Score, score) }));
        }
        let noop = CodecSpec::parse("noop").unwrap();
        let open = OpenRequest::new([&noop, &noop], 20, Sampling::default()).unwrap();
        seeds.push(("noop", Frame::json(FrameType::Open, 3, &open).unwrap()));
        seeds.push(("noop", Frame::json(FrameType::Hello, 0, &hello).unwrap()));
        let most = 4 * hidden * 16 + BESIDE_VALUES;
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut accepted = 0;
        for nth in 0..100_000 {
            let (name, frame) = &seeds[nth % seeds.len()];
            let mut bytes = Vec::new();
            frame.write(&mut bytes).unwrap();
            assert!(nth >= seeds.len() || take(&shared, &bytes, &[name, name], most).is_ok(), "{name}");
            for _ in 0..random.random_range(1..4) {
                // Heads are short, and most of what can go wrong stands there.
                let reach = if random.random() { bytes.len().min(80) } else { bytes.len() };
                let at = random.random_range(0..reach.max(1)).min(bytes.len().saturating_sub(1));
                match random.random_range(0..6) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, random.random()),
                    2 if !bytes.is_empty() => bytes[at] = [0, 1, 127, 128, 255][random.random_range(0..5)],
                    _ if !bytes.is_empty() => bytes[at] ^= 1 << random.random_range(0..8),
                    _ => {}
                }
            }
            accepted += usize::from(take(&shared, &bytes, &[name, name], most).is_ok());
        }
        // Bits of a session's number or of a value change nothing that can be seen here.
        assert!(accepted > 1_000 && accepted < 90_000, "{accepted}");
    }
}
