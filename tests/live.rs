//! A server and its clients over real sockets on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use splitbench::live::address::Address;
use splitbench::live::client::ServerAddress;
use splitbench::live::engine::SessionPatience;
use splitbench::live::frame::{Frame, FrameType, TokenReply};
use splitbench::live::generate::{ClientHalf, Generation, Generator, SplitSession, UnsplitGenerator};
use splitbench::live::key::SharedKey;
use splitbench::live::message::{Hello, OpenRequest, Refusal, RefusalKind};
use splitbench::live::sampler::Sampling;
use splitbench::live::server::{Server, ServerLimits};
use splitbench::live::stream::Stream;
use splitbench::model::source::{Model, POCKET, load};
use splitbench::model::{Cache, DecoderPart, Placement, SplitPoint};
use splitbench_codec::{Accounting, Activation, Budget, CodecSpec};

fn pocket() -> Model {
    load(POCKET, &Placement::cpu()).unwrap()
}

/// A server on a free port, until the test ends.
fn serve(model: &Model, layer: usize, limits: ServerLimits) -> ServerAddress {
    serve_with_key(model, layer, None, limits)
}

fn serve_with_key(model: &Model, layer: usize, key: Option<SharedKey>, limits: ServerLimits) -> ServerAddress {
    let listener = Address::loopback().listen().unwrap();
    let address = listener.address().clone();
    let server = Server::new(model, SplitPoint { after_layer: layer }, listener, key.clone(), limits).unwrap();
    std::thread::spawn(move || server.run().unwrap());
    ServerAddress { address, key }
}

fn prompt(model: &Model, tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|i| (i * 37 + 11) % model.config.vocab_size as u32).collect()
}

fn wish<'a>(server: &'a ServerAddress, codec: &str, chunk: usize, sampling: Sampling) -> SplitSession<'a> {
    let budget = Budget { ratio: 4.0, accounting: Accounting::Elements };
    let codec = (CodecSpec::parse(codec).unwrap(), Some(budget));
    SplitSession { server, codecs: [codec.clone(), codec], most_tokens: 120, chunk, sampling, joint_steps: true }
}

fn generate(generator: &mut dyn Generator, prompt: &[u32]) -> Generation {
    Generation::run(generator, prompt, 40, |_| false, |_| Ok(())).unwrap()
}

#[test]
fn a_split_without_loss_generates_the_unsplit_models_tokens() {
    let model = pocket();
    for (layer, chunk) in [(1, 512), (3, 16), (model.config.num_hidden_layers, 7)] {
        let server = serve(&model, layer, ServerLimits::default());
        let client = ClientHalf::load(&model, None, &server).unwrap();
        assert_eq!(client.split().after_layer, layer);
        for sampling in [Sampling::default(), Sampling { temperature: 0.8, top_p: 0.9, seed: 5 }] {
            let ids = prompt(&model, 50);
            let whole = generate(&mut UnsplitGenerator::new(&model, 120, chunk, sampling).unwrap(), &ids);
            let mut split = client.open(&wish(&server, "noop", chunk, sampling)).unwrap();
            let both = generate(&mut split, &ids);
            assert_eq!(both.ids(), whole.ids(), "layer {layer}, chunks of {chunk}");
            for ((a, _), (b, _)) in both.tokens.iter().zip(&whole.tokens) {
                assert_eq!(a.log_probability, b.log_probability);
            }
            let traffic = split.close().unwrap();
            assert!(traffic.up > 89 * 4 * model.config.hidden_size && traffic.lost == 0);
        }
    }
}

#[test]
fn sessions_side_by_side_do_not_mix() {
    let model = pocket();
    let server = serve(&model, 2, ServerLimits::default());
    let client = ClientHalf::load(&model, Some(2), &server).unwrap();
    let alone: Vec<Vec<u32>> = (1..9)
        .map(|nth| {
            let mut session = client.open(&wish(&server, "int8", 32, Sampling::default())).unwrap();
            generate(&mut session, &prompt(&model, 5 * nth)).ids()
        })
        .collect();
    std::thread::scope(|scope| {
        for (nth, alone) in alone.iter().enumerate() {
            let (client, server, model) = (&client, &server, &model);
            scope.spawn(move || {
                let mut session = client.open(&wish(server, "int8", 32, Sampling::default())).unwrap();
                assert_eq!(&generate(&mut session, &prompt(model, 5 * (nth + 1))).ids(), alone);
                std::thread::sleep(Duration::from_millis(nth as u64));
            });
        }
    });
}

/// A `splitbench serve`, until the test ends.
struct ServerProcess {
    child: Child,
    address: Address,
}

impl ServerProcess {
    fn start(layer: usize, address: &Address) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_splitbench")), layer, address)
    }

    fn start_by(mut command: Command, layer: usize, address: &Address) -> Self {
        command.args(["serve", "--layer", &layer.to_string(), "--listen", &address.to_string()]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, address }
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the program says on standard output, and on standard error where it fails.
fn splitbench(args: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_splitbench")).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A connection that says what a test wants, after a right HELLO.
struct RawClient {
    stream: Stream,
    server: Hello,
}

impl RawClient {
    fn new(server: &ServerAddress, model: &Model) -> Self {
        let stream = server.address.connect().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let hello = Hello::new(model, None, 100, 100);
        Frame::json(FrameType::Hello, 0, &hello).unwrap().write(&stream).unwrap();
        let server = Frame::read(&stream, 1 << 20).unwrap().unwrap().parse().unwrap();
        Self { stream, server }
    }

    fn ask(&self, frame: &Frame) -> Option<Frame> {
        frame.write(&self.stream).unwrap();
        Frame::read(&self.stream, 1 << 20).unwrap()
    }

    fn refusal(&self, frame: &Frame) -> Refusal {
        let answer = self.ask(frame).unwrap();
        assert_eq!(answer.kind, FrameType::Error, "{answer:?}");
        answer.parse().unwrap()
    }

    fn open(&self, session: u64, request: &OpenRequest) -> Frame {
        self.ask(&Frame::json(FrameType::Open, session, request).unwrap()).unwrap()
    }
}

fn request(most_tokens: usize) -> OpenRequest {
    let codec = CodecSpec::parse("noop").unwrap();
    OpenRequest::new([&codec, &codec], most_tokens, Sampling::default()).unwrap()
}

fn row_values(hidden: usize, rows: usize) -> Vec<f32> {
    (0..rows * hidden).map(|i| (i % 17) as f32 / 9.0 - 1.0).collect()
}

fn rows(model: &Model, session: u64, sequence: u32, position: u32, rows: usize) -> Frame {
    let hidden = model.config.hidden_size;
    let activation = Activation::new(rows, hidden, row_values(hidden, rows)).unwrap();
    let codec = splitbench_codec::build(&CodecSpec::parse("noop").unwrap(), None).unwrap();
    let packet = codec.encode(&activation, None).unwrap();
    let body = [&[0], packet.as_bytes()].concat();
    Frame { kind: FrameType::Activation, session, sequence, position, body }
}

#[test]
fn what_breaks_the_protocol_is_refused_and_the_session_goes_on() {
    let model = pocket();
    let server = serve(&model, 2, ServerLimits { rows: 8, ..ServerLimits::default() });
    let client = RawClient::new(&server, &model);
    assert_eq!((client.server.layer, client.server.most_rows), (Some(2), 8));
    let refuse = |frame: &Frame, kind: RefusalKind, part: &str| {
        let refusal = client.refusal(frame);
        assert!(refusal.kind == kind && refusal.message.contains(part), "{part}: {refusal:?}");
    };
    refuse(&rows(&model, 5, 1, 0, 3), RefusalKind::Packet, "not open here");
    for (request, part) in [
        (OpenRequest { secret: "x".into(), ..request(20) }, "32 hexadecimal digits"),
        (request(0), "at least 1"),
        (request(100_000), "at most 4096"),
        (OpenRequest { step_codec: "external:cmd=true".into(), ..request(20) }, "starts a program"),
        (OpenRequest { prompt_codec: "klt".into(), ..request(20) }, "no calibration"),
        (OpenRequest { prompt_codec: "fc9".into(), ..request(20) }, "fc9"),
        (OpenRequest { sampling: Sampling { top_p: 2.0, ..Sampling::default() }, ..request(20) }, "top_p"),
    ] {
        refuse(&Frame::json(FrameType::Open, 5, &request).unwrap(), RefusalKind::Protocol, part);
    }
    assert_eq!(client.open(5, &request(20)).kind, FrameType::Opened);
    let other = Frame::json(FrameType::Open, 5, &request(20)).unwrap();
    refuse(&other, RefusalKind::Protocol, "somebody else");
    let first = client.ask(&rows(&model, 5, 1, 0, 3)).unwrap();
    assert_eq!((first.kind, first.position), (FrameType::Token, 3));
    // The same again has the same answer, its times included, and computes nothing.
    assert_eq!(client.ask(&rows(&model, 5, 1, 0, 3)).unwrap(), first);
    refuse(&rows(&model, 5, 3, 3, 1), RefusalKind::Protocol, "the next is 2");
    refuse(&rows(&model, 5, 2, 4, 1), RefusalKind::Protocol, "the cache has 3");
    refuse(&rows(&model, 5, 2, 3, 9), RefusalKind::Packet, "at most 8");
    let narrow = {
        let codec = splitbench_codec::build(&CodecSpec::parse("noop").unwrap(), None).unwrap();
        let packet = codec.encode(&Activation::new(1, 8, vec![0.5; 8]).unwrap(), None).unwrap();
        Frame { body: [&[0], packet.as_bytes()].concat(), ..rows(&model, 5, 2, 3, 1) }
    };
    refuse(&narrow, RefusalKind::Packet, "8 channels");
    let mut cut = rows(&model, 5, 2, 3, 1);
    cut.body.pop();
    refuse(&cut, RefusalKind::Packet, "length");
    refuse(&Frame { body: vec![], ..cut.clone() }, RefusalKind::Packet, "too short");
    refuse(&Frame { body: vec![6, 1], ..cut }, RefusalKind::Packet, "flags");
    // A step, then a rollback over it, then beyond the end.
    let step = client.ask(&rows(&model, 5, 2, 3, 1)).unwrap();
    let again = client.ask(&rows(&model, 5, 3, 3, 1)).unwrap();
    assert_eq!((step.position, &step.body[..12]), (4, &again.body[..12]));
    for sequence in 4..6 {
        assert_eq!(client.ask(&rows(&model, 5, sequence, 4 * sequence - 12, 8)).unwrap().kind, FrameType::Token);
    }
    refuse(&rows(&model, 5, 6, 16, 8), RefusalKind::Protocol, "at most 20");
    // Values that are none are found when they are decoded; the session is not rolled back to where they would have gone.
    let mut broken = rows(&model, 5, 6, 0, 1);
    let end = broken.body.len();
    broken.body[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    refuse(&broken, RefusalKind::Packet, "");
    // Another connection neither uses it nor takes it without its secret, and nothing is decoded for it.
    let thief = RawClient::new(&server, &model);
    assert_eq!(thief.refusal(&rows(&model, 5, 6, 4, 1)).kind, RefusalKind::Packet);
    assert_eq!(thief.open(5, &request(20)).kind, FrameType::Error);
    assert_eq!(thief.refusal(&broken).kind, RefusalKind::NoSession);
    assert_eq!(client.ask(&rows(&model, 5, 6, 4, 1)).unwrap().kind, FrameType::Token);
    // A second HELLO ends the connection.
    let hello = Frame::json(FrameType::Hello, 0, &client.server).unwrap();
    assert_eq!(client.refusal(&hello).kind, RefusalKind::Protocol);
    assert_eq!(Frame::read(&client.stream, 100).unwrap(), None);
}

#[test]
fn frames_sent_at_once_are_done_in_their_order() {
    let model = pocket();
    let server = serve(&model, 2, ServerLimits::default());
    let client = RawClient::new(&server, &model);
    client.open(5, &request(60));
    // Two steps, and rows behind them that are no step: those wait for both.
    let mut bytes = Vec::new();
    for (sequence, position, count) in [(1, 0, 30), (2, 30, 1), (3, 31, 1), (4, 32, 8)] {
        rows(&model, 5, sequence, position, count).write(&mut bytes).unwrap();
    }
    (&client.stream).write_all(&bytes).unwrap();
    for sequence in 1..5 {
        let answer = Frame::read(&client.stream, 1 << 20).unwrap().unwrap();
        assert_eq!((answer.kind, answer.sequence), (FrameType::Token, sequence), "{answer:?}");
    }
}

#[test]
fn lengths_that_no_frame_has_and_slow_senders_end_the_connection() {
    let model = pocket();
    let limits = ServerLimits {
        handshake: Duration::from_millis(300),
        frame: Duration::from_millis(300),
        ..ServerLimits::default()
    };
    let server = serve(&model, 2, limits);
    // Silent, and half of a HELLO.
    for begin in [&b""[..], &b"\x20\0\0\0\x02"[..]] {
        let stream = server.address.connect().unwrap();
        (&stream).write_all(begin).unwrap();
        let answer = Frame::read(&stream, 1000).unwrap().unwrap();
        assert_eq!(answer.kind, FrameType::Error);
        assert_eq!(Frame::read(&stream, 1000).unwrap(), None);
    }
    let client = RawClient::new(&server, &model);
    (&client.stream).write_all(&[255; 21]).unwrap();
    assert_eq!(Frame::read(&client.stream, 1000).unwrap().unwrap().kind, FrameType::Error);
    // A byte now and then does not keep a frame alive.
    let client = RawClient::new(&server, &model);
    let mut bytes = Vec::new();
    rows(&model, 1, 1, 0, 4).write(&mut bytes).unwrap();
    let start = Instant::now();
    let ended = bytes.iter().take(100).any(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        (&client.stream).write_all(&[*byte]).is_err()
    });
    assert!(ended && start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn sides_that_do_not_go_together_say_what_differs() {
    let model = pocket();
    let server = serve(&model, 2, ServerLimits::default());
    let error = format!("{:#}", ClientHalf::load(&model, Some(3), &server).err().unwrap());
    assert!(error.contains("layer: client 3, server 2"), "{error}");
    let mut other = pocket();
    other.sha256 = "ab".repeat(32);
    let error = format!("{:#}", ClientHalf::load(&other, None, &server).err().unwrap());
    assert!(error.contains("(mismatch)") && error.contains("model: client pocket"), "{error}");
    let old = Hello { protocol: 9, ..Hello::new(&model, None, 1, 1) };
    let error = format!("{:#}", server.connect(&old).err().unwrap());
    assert!(error.contains("protocol: client 9, server 1"), "{error}");
}

#[test]
fn a_key_is_asked_for_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let key = |text: &str| {
        let path = folder.path().join("key");
        std::fs::write(&path, text).unwrap();
        SharedKey::read(&path).unwrap()
    };
    let model = pocket();
    let address = serve_with_key(&model, 1, Some(key("sixteen bytes and more")), ServerLimits::default()).address;
    let with = |key: Option<SharedKey>| ServerAddress { address: address.clone(), key };
    let load = |key| ClientHalf::load(&model, None, &with(key));
    assert!(load(Some(key("sixteen bytes and more\n"))).is_ok());
    let error = |result: anyhow::Result<ClientHalf>| format!("{:#}", result.err().unwrap());
    assert!(error(load(None)).contains("--key-file"));
    assert!(error(load(Some(key("sixteen other bytes")))).contains("another key"));
    let open = serve(&model, 1, ServerLimits::default());
    let error =
        error(ClientHalf::load(&model, None, &ServerAddress { key: Some(key("sixteen bytes and more")), ..open }));
    assert!(error.contains("has no key"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_server_out_of_open_files_goes_on_when_it_has_some() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 24 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_splitbench")]);
    let mut process = ServerProcess::start_by(command, 2, &Address::loopback());
    let server = ServerAddress { address: process.address.clone(), key: None };
    let hello = Hello::new(&pocket(), None, 100, 100);
    let first = server.connect(&hello).unwrap();
    let crowd: Vec<Stream> = (0..40).map(|_| server.address.connect().unwrap()).collect();
    // Long enough for it to take as many as it can, and to fail at the next.
    std::thread::sleep(Duration::from_millis(300));
    assert!(process.child.try_wait().unwrap().is_none(), "the server has ended");
    drop(crowd);
    server.connect(&hello).unwrap();
    drop(first);
}

/// What `examples/live_client.py` prints, or says where it fails.
fn python_client(server: &ServerAddress, more: &[&str], rows: &str) -> Result<String, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/live_client.py");
    let mut command = Command::new("python3");
    command.args([script, &server.address.to_string()]).args(more);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rows.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn a_client_written_from_the_page_alone_gets_the_same_token() {
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: there is no python3");
    }
    let model = pocket();
    let hidden = model.config.hidden_size;
    let open = serve(&model, 2, ServerLimits::default());
    let client = RawClient::new(&open, &model);
    client.open(5, &request(3));
    let token = TokenReply::from_frame(&client.ask(&rows(&model, 5, 1, 0, 3)).unwrap()).unwrap();
    let line = |row: usize| {
        let numbers: Vec<String> = row_values(hidden, 3)[row * hidden..][..hidden].iter().map(f32::to_string).collect();
        numbers.join(" ") + "\n"
    };
    let text: String = (0..3).map(line).collect();

    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, "sixteen bytes and more\n").unwrap();
    let key = Some(SharedKey::read(&key_file).unwrap());
    let closed = serve_with_key(&model, 2, key, ServerLimits::default());
    let with_key = [&*model.sha256, "--key-file", key_file.to_str().unwrap()];
    for (server, more) in [(&open, &with_key[..1]), (&closed, &with_key)] {
        let said = python_client(server, more, &text).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "server: pocket, cut after layer 2");
        assert!(lines[1].starts_with("refused (protocol): sequence 9"), "{said}");
        assert_eq!(lines[2], format!("token {}, log-probability {:.6}", token.id, token.log_probability));
    }
    for (server, more, part) in [
        (&closed, &with_key[..1], "refused (key)"),
        (&open, &with_key[..], "refused (key)"),
        (&open, &["aa"], "refused (mismatch)"),
    ] {
        let said = python_client(server, more, &text).unwrap_err();
        assert!(said.contains(part), "{said}");
    }
    std::fs::write(&key_file, "another of sixteen bytes").unwrap();
    let said = python_client(&closed, &with_key, &text).unwrap_err();
    assert!(said.contains("the server has another key"), "{said}");
}

#[test]
fn a_full_server_says_how_full_it_is_and_forgets_who_does_not_come_back() {
    let model = pocket();
    let room =
        Cache::bytes(&model.config, DecoderPart::Server(SplitPoint { after_layer: 2 }).layers(&model.config), 120);
    let limits = ServerLimits {
        memory: 2 * room,
        patience: SessionPatience { idle: Duration::from_secs(60), kept: Duration::from_millis(200) },
        ..ServerLimits::default()
    };
    let server = serve(&model, 2, limits);
    let client = ClientHalf::load(&model, None, &server).unwrap();
    let wish = wish(&server, "noop", 64, Sampling::default());
    let (first, second) = (client.open(&wish).unwrap(), client.open(&wish).unwrap());
    let error = format!("{:#}", client.open(&wish).err().unwrap());
    assert!(error.contains("(full): 2 sessions have"), "{error}");
    // CLOSE has no answer: the next one may overtake it, being another connection.
    let open_soon = || {
        let start = Instant::now();
        loop {
            match client.open(&wish) {
                Ok(session) => return session,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(10), "{error:#}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    first.close().unwrap();
    let third = open_soon();
    // Gone without a word.
    drop((second, third));
    open_soon();
}

#[test]
fn a_lost_connection_or_server_changes_no_token() {
    let model = pocket();
    let split = SplitPoint { after_layer: 2 };
    let ids = prompt(&model, 50);
    let whole = generate(&mut UnsplitGenerator::new(&model, 120, 16, Sampling::default()).unwrap(), &ids).ids();
    // A relay that cuts its connection after so many bytes from the client, four times.
    for cut_after in [2_000, 11_000, 40_000, 60_000] {
        let mut server = serve(&model, 2, ServerLimits::default());
        let listener = Address::loopback().listen().unwrap();
        let to = std::mem::replace(&mut server.address, listener.address().clone()).clone();
        std::thread::spawn(move || {
            let mut cuts = 4;
            while let Some(client) = listener.accept().unwrap() {
                let server = to.connect().unwrap();
                let (mut back, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut back, &mut to_client));
                let most = if cuts > 0 { cut_after } else { u64::MAX };
                let _ = std::io::copy(&mut (&client).take(most), &mut &server);
                cuts -= 1;
                let _ = client.shutdown(std::net::Shutdown::Both);
                let _ = server.shutdown(std::net::Shutdown::Both);
            }
        });
        let client = ClientHalf::load(&model, Some(split.after_layer), &server).unwrap();
        let mut session = client.open(&wish(&server, "noop", 16, Sampling::default())).unwrap();
        assert_eq!(generate(&mut session, &ids).ids(), whole, "cut after {cut_after} bytes");
        assert!(session.close().unwrap().lost > 0);
    }
    // A server that is stopped and started again has no session left, and gets all packets again.
    let mut process = ServerProcess::start(2, &Address::loopback());
    let server = ServerAddress { address: process.address.clone(), key: None };
    let client = ClientHalf::load(&model, None, &server).unwrap();
    let mut session = client.open(&wish(&server, "noop", 16, Sampling::default())).unwrap();
    let mut tokens = 0;
    let found = Generation::run(
        &mut session,
        &ids,
        40,
        |_| false,
        |_| {
            tokens += 1;
            if tokens == 20 {
                process.stop();
                process = ServerProcess::start(2, &server.address);
            }
            Ok(())
        },
    );
    assert_eq!(found.unwrap().ids(), whole);
    process.stop();
    let error = format!("{:#}", client.open(&wish(&server, "noop", 16, Sampling::default())).err().unwrap());
    assert!(error.contains("nothing listens there"), "{error}");
}

#[test]
fn questions_through_a_server_score_as_they_do_in_one_process() {
    let server = ServerProcess::start(2, &Address::loopback());
    let address = server.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let cell = ["--dataset", "arc_easy-mini", "--limit", "12"];
    for (nth, codec) in ["noop", "int8:group=32", "fc", "topk"].into_iter().enumerate() {
        let score = |more: &[&str], samples: &str| -> (Value, Vec<Value>) {
            let all = [&["score", "--json", "--codec", codec, "--samples", samples][..], &cell, more].concat();
            let row = serde_json::from_str(&splitbench(&all).unwrap()).unwrap();
            let lines = std::fs::read_to_string(samples).unwrap();
            (row, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
        };
        let here = score(&["--split", "2"], &path(&format!("{nth}-here.jsonl")));
        let there = score(&["--connect", &address], &path(&format!("{nth}-there.jsonl")));
        for name in
            ["acc", "acc_norm", "split_layer", "questions", "ratio_elements", "ratio_wire", "wire_bytes_per_token"]
        {
            assert!(here.0[name].is_number() && here.0[name] == there.0[name], "{codec}, {name}");
        }
        let near = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() <= 1e-9;
        assert!(near(&here.0["rel_error"], &there.0["rel_error"]), "{codec}: {} {}", here.0, there.0);
        assert_eq!((here.1.len(), there.1.len()), (12, 12));
        for (a, b) in here.1.iter().zip(&there.1) {
            let logliks = |sample: &Value| sample["loglik"].as_array().unwrap().clone();
            assert!(logliks(a).iter().zip(&logliks(b)).all(|(a, b)| near(a, b)), "{codec}: {a} {b}");
            assert_eq!((&a["pred"], &a["wire_bytes"]), (&b["pred"], &b["wire_bytes"]), "{codec}");
        }
    }
    let wrong = |args: &[&str]| splitbench(&[&["score", "--connect", &address][..], &cell, args].concat()).unwrap_err();
    assert!(wrong(&["--split", "3"]).contains("layer"), "{}", wrong(&["--split", "3"]));
    assert!(wrong(&["--codec", "svd-llm"]).contains("calibrat"));
    assert!(wrong(&["--codec", "int8", "--scope", "prompt"]).contains("--scope"));
}

#[test]
fn text_through_a_link_is_the_unsplit_models() {
    let server = ServerProcess::start(1, &Address::loopback());
    let address = server.address.to_string();
    let generate =
        |args: &[&str]| splitbench(&[&["generate", "--prompt", "The cat sat on the", "-n", "12"], args].concat());
    let whole = generate(&[]).unwrap();
    let link = "8mbit/8mbit,20ms";
    assert_eq!(generate(&["--connect", &address, "--link", link]).unwrap(), whole);
    let report: Value =
        serde_json::from_str(&generate(&["--connect", &address, "--link", link, "--json"]).unwrap()).unwrap();
    // There and back.
    assert!(report["first_token"]["link_ms"].as_f64().unwrap() >= 40.0, "{report}");
    assert!(report["step_ms_p50"].as_f64().unwrap() >= 40.0, "{report}");
    // A step has one row: nothing there to mix it with.
    let refused = generate(&["--connect", &address, "--codec", "fc"]).unwrap_err();
    assert!(refused.contains("rows: joint") && refused.contains("--joint-steps"), "{refused}");
    assert!(generate(&["--connect", &address, "--codec", "fc", "--joint-steps"]).is_ok());
    assert!(generate(&["--connect", &address, "--codec", "int8", "--prefill-codec", "fc"]).is_ok());
}
