//! Clients that come, go, are killed and reconnect through a relay that breaks connections: no session is lost or mixed up,
//! tokens are an undisturbed run's, and the server keeps nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use splitbench::live::address::Address;
use splitbench::live::client::ServerAddress;
use splitbench::live::frame::{Frame, FrameType};
use splitbench::live::generate::{ClientHalf, Generation, SplitSession};
use splitbench::live::link;
use splitbench::live::message::{Hello, OpenRequest, Refusal};
use splitbench::live::relay::{ConnectionEnd, Relay, RelaySettings};
use splitbench::live::sampler::Sampling;
use splitbench::model::Placement;
use splitbench::model::source::{Model, POCKET, load};
use splitbench_codec::{Activation, CodecSpec, build};

/// Generations that a client takes turns with.
const KINDS: usize = 3;

/// Tokens of one generation.
const TOKENS: usize = 24;

/// How a soak goes.
struct SoakPlan {
    clients: usize,
    time: Duration,
    /// Mean time until the relay breaks a connection.
    drop_every: Duration,
    /// How long the server keeps a session without a client.
    keep: Duration,
    /// Between two looks at the server's memory.
    sample_every: Duration,
}

/// What was done.
#[derive(Debug, Default)]
struct SoakCounts {
    /// Sessions that opened.
    opened: AtomicU64,
    /// Attempts to open one that ended with their connection.
    open_again: AtomicU64,
    /// Generations that ran to their end, all of them compared.
    finished: AtomicU64,
    /// Generations left in the middle without CLOSE, compared so far.
    left: AtomicU64,
    /// Raw connections that ended within a frame.
    torn: AtomicU64,
    /// Times that a session lost its connection and went on.
    lost: AtomicU64,
    /// Connections that the relay broke.
    dropped: AtomicU64,
    /// Connections through the relay.
    connections: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// A `splitbench serve` with its metrics, until the test ends.
struct MeteredServer {
    child: Child,
    address: Address,
    metrics: Address,
}

impl MeteredServer {
    fn start(keep: Duration) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_splitbench"));
        command.args(["serve", "--layer", "2", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--keep"]);
        command.arg(keep.as_secs_f64().to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = |before: &str| lines.next().unwrap().unwrap().strip_prefix(before).unwrap().parse().unwrap();
        let (address, metrics) = (address("listening on "), address("metrics on "));
        Self { child, address, metrics }
    }

    /// A number of `/metrics`.
    fn metric(&self, name: &str) -> f64 {
        let stream = self.metrics.connect().unwrap();
        (&stream).write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        (&stream).read_to_string(&mut text).unwrap();
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    }

    /// A number of `/proc/PID/status`: kB of `VmRSS`, or `Threads`; none on other systems than Linux.
    fn status(&self, name: &str) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Open files, sockets included; none on other systems than Linux.
    fn files(&self) -> Option<u64> {
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).ok()?.count() as u64)
    }
}

impl Drop for MeteredServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one client generates, and what came of it undisturbed.
struct SoakClient {
    codec: CodecSpec,
    kinds: Vec<(Vec<u32>, Sampling, Vec<u32>)>,
}

/// What every client's thread sees.
struct SoakScene<'a> {
    model: &'a Model,
    half: &'a ClientHalf,
    relay: ServerAddress,
    counts: &'a SoakCounts,
    is_over: &'a AtomicBool,
}

fn wish<'a>(server: &'a ServerAddress, codec: &CodecSpec, sampling: Sampling) -> SplitSession<'a> {
    let codec = (codec.clone(), None);
    SplitSession { server, codecs: [codec.clone(), codec], most_tokens: 100, chunk: 16, sampling, joint_steps: false }
}

fn undisturbed(nth: usize, model: &Model, half: &ClientHalf, server: &ServerAddress) -> SoakClient {
    let codec = CodecSpec::parse(if nth.is_multiple_of(2) { "noop" } else { "int8" }).unwrap();
    let generate = |kind: usize| {
        let number = nth * KINDS + kind;
        let vocabulary = model.config.vocab_size;
        let prompt: Vec<u32> = (0..8 + number % 50).map(|i| ((i * 37 + number * 101) % vocabulary) as u32).collect();
        // A third takes the most likely token.
        let sampling = Sampling { temperature: [0.0, 0.8, 1.2][kind], top_p: 0.95, seed: number as u64 };
        let mut session = half.open(&wish(server, &codec, sampling)).unwrap();
        let ids = Generation::run(&mut session, &prompt, TOKENS, |_| false, |_| Ok(())).unwrap().ids();
        session.close().unwrap();
        (prompt, sampling, ids)
    };
    let kinds = (0..KINDS).map(generate).collect();
    SoakClient { codec, kinds }
}

impl SoakClient {
    /// Comes and goes until the time is over.
    fn run(&self, nth: usize, scene: &SoakScene) -> Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(nth as u64);
        while !scene.is_over.load(Ordering::Relaxed) {
            let kind = random.random_range(0..KINDS);
            match random.random_range(0..10) {
                0..6 => self.generate(kind, TOKENS, scene)?,
                6..8 => self.generate(kind, random.random_range(1..TOKENS), scene)?,
                _ => self.tear(&mut random, scene)?,
            }
            std::thread::sleep(Duration::from_millis(random.random_range(0..50)));
        }
        Ok(())
    }

    /// Generates so many tokens, and leaves without a word where more were to come.
    fn generate(&self, kind: usize, tokens: usize, scene: &SoakScene) -> Result<()> {
        let (prompt, sampling, expected) = &self.kinds[kind];
        let wish = wish(&scene.relay, &self.codec, *sampling);
        let begin = Instant::now();
        let mut session = loop {
            match scene.half.open(&wish) {
                Ok(session) => break session,
                // The relay broke the connection while it opened; what the server says itself is a failure.
                Err(error) if error.downcast_ref::<Refusal>().is_none() => add(&scene.counts.open_again, 1),
                Err(error) => return Err(error),
            }
            ensure!(begin.elapsed() < Duration::from_secs(60), "a minute, and no session opened");
        };
        add(&scene.counts.opened, 1);
        let found = Generation::run(&mut session, prompt, tokens, |_| false, |_| Ok(()))?.ids();
        ensure!(found == expected[..tokens], "kind {kind}: {found:?}, undisturbed {expected:?}");
        add(&scene.counts.lost, session.traffic().lost as u64);
        match tokens == TOKENS {
            true => {
                // The relay may break this too; the server then closes the session after the keep time.
                let _ = session.close();
                add(&scene.counts.finished, 1);
            }
            false => add(&scene.counts.left, 1),
        }
        Ok(())
    }

    /// A connection of its own that ends at any byte of HELLO, OPEN, a chunk of a prompt, or a step.
    fn tear(&self, random: &mut ChaCha8Rng, scene: &SoakScene) -> Result<()> {
        let hello = Hello::new(scene.model, None, 100, 100);
        let open = OpenRequest::new([&self.codec, &self.codec], 100, Sampling::default())?;
        let session = random.random_range(1..u64::MAX);
        let hidden = scene.model.config.hidden_size;
        let rows = |sequence: u32, position: u32, rows: usize| -> Result<Frame> {
            let values = (0..rows * hidden).map(|i| (i % 17) as f32 / 9.0 - 1.0).collect();
            let packet = build(&self.codec, None)?.encode(&Activation::new(rows, hidden, values)?, None)?;
            let body = [&[0], packet.as_bytes()].concat();
            Ok(Frame { kind: FrameType::Activation, session, sequence, position, body })
        };
        let frames = [
            Frame::json(FrameType::Hello, 0, &hello)?,
            Frame::json(FrameType::Open, session, &open)?,
            rows(1, 0, 12)?,
            rows(2, 12, 1)?,
        ];
        let (last, whole) = (random.random_range(0..frames.len()), random.random::<bool>());
        let mut bytes = Vec::new();
        frames[..last].iter().try_for_each(|frame| frame.write(&mut bytes))?;
        let begin = bytes.len();
        frames[last].write(&mut bytes)?;
        bytes.truncate(random.random_range(begin + 1..bytes.len()));
        let stream = scene.relay.address.connect()?;
        let written = (&stream).write_all(&bytes);
        // Whoever leaves answers unread resets the connection, the others end it.
        if whole && written.is_ok() {
            stream.set_read_timeout(Some(Duration::from_millis(100)))?;
            let mut unread = [0; 4096];
            while (&stream).read(&mut unread).is_ok_and(|count| count > 0) {}
        }
        add(&scene.counts.torn, 1);
        Ok(())
    }
}

/// Samples of the server's memory, kB, with the time since the begin.
struct MemoryWatch(Mutex<Vec<(Duration, u64)>>);

impl MemoryWatch {
    fn run(&self, server: &MeteredServer, plan: &SoakPlan, begin: Instant, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            if let Some(kb) = server.status("VmRSS") {
                self.0.lock().unwrap().push((begin.elapsed(), kb));
            }
            let next = begin.elapsed() + plan.sample_every;
            while begin.elapsed() < next && !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Fails where what came after the first quarter is above it by more than 10 % and more than 16 MB.
    fn check(&self, plan: &SoakPlan) {
        let samples = self.0.lock().unwrap();
        let [Some((_, first)), Some((_, last))] = [samples.first(), samples.last()] else {
            return println!("memory: not watched, there is no /proc");
        };
        let quarter = |time: &Duration| (4.0 * time.as_secs_f64() / plan.time.as_secs_f64()) as usize;
        let mut most = [0; 4];
        samples.iter().for_each(|(time, kb)| most[quarter(time).min(3)] = most[quarter(time).min(3)].max(*kb));
        println!(
            "memory, kB: {first} at the start, most in each quarter {most:?}, {last} at the end, {} samples",
            samples.len()
        );
        let allowed = most[0] + (most[0] / 10).max(16_000);
        assert!(most.iter().all(|kb| *kb <= allowed), "memory grew: {most:?} kB, {allowed} are allowed");
    }
}

fn soak(plan: &SoakPlan) {
    let model = load(POCKET, &Placement::cpu()).unwrap();
    let mut server = MeteredServer::start(plan.keep);
    let files = server.files();
    let direct = ServerAddress { address: server.address.clone(), key: None };
    let half = ClientHalf::load(&model, None, &direct).unwrap();
    let clients: Vec<SoakClient> = (0..plan.clients).map(|nth| undisturbed(nth, &model, &half, &direct)).collect();
    let mut all: Vec<&[u32]> = clients.iter().flat_map(|client| &client.kinds).map(|kind| &*kind.2).collect();
    all.sort_unstable();
    all.dedup();
    // Otherwise two sessions could be exchanged and nobody would see it.
    assert_eq!(all.len(), plan.clients * KINDS, "two generations have the same tokens");
    // The threads of those connections end a moment after them; the threads that compute stay.
    let until = Instant::now() + Duration::from_secs(10);
    while server.files() > files && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let idle = (server.status("Threads"), files);

    let (counts, is_over) = (Arc::new(SoakCounts::default()), AtomicBool::new(false));
    let settings = RelaySettings {
        profile: link::find("200mbit/200mbit,1ms,0.2ms").unwrap(),
        seed: 7,
        drop_after: None,
        drop_every: Some(plan.drop_every),
    };
    let reported = counts.clone();
    let relay = Relay::start(Address::loopback().listen().unwrap(), direct.address.clone(), settings, move |report| {
        add(&reported.connections, 1);
        add(&reported.dropped, u64::from(report.end == ConnectionEnd::Dropped));
    });
    let relay = relay.unwrap();
    let address = ServerAddress { address: relay.address().clone(), key: None };
    let scene = SoakScene { model: &model, half: &half, relay: address, counts: &counts, is_over: &is_over };
    let watch = MemoryWatch(Mutex::default());
    let (begin, failures) = (Instant::now(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for (nth, client) in clients.iter().enumerate() {
            let (scene, failures) = (&scene, &failures);
            scope.spawn(move || {
                if let Err(error) = client.run(nth, scene) {
                    failures.lock().unwrap().push(format!("client {nth}: {error:#}"));
                    scene.is_over.store(true, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| watch.run(&server, plan, begin, &is_over));
        while begin.elapsed() < plan.time && !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let soaked = begin.elapsed();
    drop(relay);
    let failures = failures.into_inner().unwrap();
    println!("{} clients for {:.1} s: {counts:?}", plan.clients, soaked.as_secs_f64());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(server.child.try_wait().unwrap(), None, "the server has ended");
    let told = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let disturbed = [&counts.finished, &counts.left, &counts.torn, &counts.lost, &counts.dropped].map(told);
    assert!(disturbed.iter().all(|count| *count > 0), "something never happened: {counts:?}");

    let until = Instant::now() + plan.keep + Duration::from_secs(10);
    let left = || (server.metric("splitbench_sessions"), server.metric("splitbench_cache_reserved_bytes"));
    while left() != (0.0, 0.0) || (server.status("Threads"), server.files()) > idle {
        let now = (server.status("Threads"), server.files());
        assert!(
            Instant::now() < until,
            "sessions and their bytes left: {:?}; threads, files {now:?}, idle {idle:?}",
            left()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let counted = |name: &str| server.metric(&format!("splitbench_{name}_total"));
    println!(
        "server: {} connections, {} sessions opened, {} tokens, {} refused; no session is left",
        counted("connections"),
        counted("sessions_opened"),
        counted("tokens"),
        counted("refused")
    );
    watch.check(plan);
}

#[test]
fn eight_clients_for_some_seconds() {
    soak(&SoakPlan {
        clients: 8,
        time: Duration::from_secs(3),
        drop_every: Duration::from_millis(400),
        keep: Duration::from_secs(1),
        sample_every: Duration::from_millis(250),
    });
}

/// `just soak`: minutes are those of SPLITBENCH_SOAK_MINUTES, 10 without it.
#[test]
#[ignore = "takes minutes: just soak"]
fn thirty_two_clients_for_minutes() {
    let text = std::env::var("SPLITBENCH_SOAK_MINUTES").unwrap_or_else(|_| "10".into());
    let minutes: f64 = text.parse().expect("SPLITBENCH_SOAK_MINUTES is a number of minutes, such as 10");
    soak(&SoakPlan {
        clients: 32,
        time: Duration::from_secs_f64(minutes * 60.0),
        drop_every: Duration::from_secs(2),
        keep: Duration::from_secs(20),
        sample_every: Duration::from_secs(5),
    });
}
