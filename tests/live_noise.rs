//! Encrypted connections, in a build with `--features noise`; without it, what is said instead.

use std::process::Command;

use splitbench::live::address::Address;
use splitbench::live::frame::{Frame, FrameType};
use splitbench::live::key::SharedKey;
use splitbench::live::message::{Refusal, RefusalKind};
use splitbench::live::server::{Server, ServerLimits};
use splitbench::model::source::{Model, POCKET, load};
use splitbench::model::{Placement, SplitPoint};

fn pocket() -> Model {
    load(POCKET, &Placement::cpu()).unwrap()
}

/// A server on a free port, until the test ends.
fn serve(model: &Model, key: Option<SharedKey>) -> Address {
    let listener = Address::loopback().listen().unwrap();
    let address = listener.address().clone();
    let limits = ServerLimits::default();
    let server = Server::new(model, SplitPoint { after_layer: 2 }, listener, key, limits).unwrap();
    std::thread::spawn(move || server.run().unwrap());
    address
}

/// The error of a command that fails.
fn failure(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_splitbench")).args(args).output().unwrap();
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_server_that_does_not_encrypt_refuses_a_noise_hand_shake() {
    let stream = serve(&pocket(), None).connect().unwrap();
    Frame::new(FrameType::Noise, vec![7; 48]).write(&stream).unwrap();
    let refusal: Refusal = Frame::read(&stream, 1000).unwrap().unwrap().parse().unwrap();
    assert!(refusal.kind == RefusalKind::Key && refusal.message.contains("leave --encrypt out"), "{refusal:?}");
    assert_eq!(Frame::read(&stream, 1000).unwrap(), None);
}

#[test]
fn encryption_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "sixteen bytes and more").unwrap();
    let key = path.to_str().unwrap();
    let client = ["--connect", "127.0.0.1:1", "--encrypt"];
    let commands = [
        vec!["serve", "--listen", "127.0.0.1:0", "--encrypt"],
        [&["generate", "--prompt", "a"], &client[..]].concat(),
        [&["score", "--dataset", "piqa-mini", "--limit", "1"], &client[..]].concat(),
    ];
    for command in commands {
        if cfg!(feature = "noise") {
            let said = failure(&command);
            assert!(said.contains("--encrypt needs a key that both sides have: give --key-file"), "{said}");
        } else {
            let said = failure(&[&command[..], &["--key-file", key]].concat());
            assert!(said.contains("build with --features noise, or use ssh -L"), "{said}");
        }
    }
}

#[cfg(feature = "noise")]
mod encrypted {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use splitbench::live::client::ServerAddress;
    use splitbench::live::generate::{ClientHalf, Generation, SplitSession, UnsplitGenerator};
    use splitbench::live::message::Hello;
    use splitbench::live::sampler::Sampling;
    use splitbench::live::stream::Stream;
    use splitbench_codec::CodecSpec;

    use super::*;

    fn key(text: &str, encrypts: bool) -> Option<SharedKey> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, text).unwrap();
        SharedKey::open(Some(&path), encrypts).unwrap()
    }

    fn right() -> Option<SharedKey> {
        key("sixteen bytes and more", true)
    }

    fn prompt(model: &Model) -> Vec<u32> {
        (0..50).map(|i| (i * 37 + 11) % model.config.vocab_size as u32).collect()
    }

    fn wish(server: &ServerAddress) -> SplitSession<'_> {
        let codec = (CodecSpec::parse("noop").unwrap(), None);
        let sampling = Sampling::default();
        SplitSession {
            server,
            codecs: [codec.clone(), codec],
            most_tokens: 120,
            chunk: 16,
            sampling,
            joint_steps: false,
        }
    }

    fn unsplit(model: &Model) -> Vec<u32> {
        let mut generator = UnsplitGenerator::new(model, 120, 16, Sampling::default()).unwrap();
        Generation::run(&mut generator, &prompt(model), 20, |_| false, |_| Ok(())).unwrap().ids()
    }

    /// Tokens through a server, and how often the connection was lost.
    fn generate(model: &Model, server: &ServerAddress) -> (Vec<u32>, usize) {
        let client = ClientHalf::load(model, None, server).unwrap();
        let mut session = client.open(&wish(server)).unwrap();
        let ids = Generation::run(&mut session, &prompt(model), 20, |_| false, |_| Ok(())).unwrap().ids();
        (ids, session.close().unwrap().lost)
    }

    /// What each connection sent to the server.
    type Recording = Arc<Mutex<Vec<Vec<u8>>>>;

    /// A relay that records what goes to the server, and changes the byte `change` of connection `nth`.
    fn tee(to: Address, change: Option<(usize, usize)>) -> (Address, Recording) {
        let listener = Address::loopback().listen().unwrap();
        let address = listener.address().clone();
        let all = Recording::default();
        let recording = all.clone();
        std::thread::spawn(move || {
            for nth in 0.. {
                let mut client: Stream = listener.accept().unwrap().unwrap();
                let mut server = to.connect().unwrap();
                recording.lock().unwrap().push(Vec::new());
                let (mut back, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut back, &mut to_client);
                    let _ = to_client.shutdown(Shutdown::Both);
                });
                let recording = recording.clone();
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(some @ 1..) = client.read(&mut buffer) {
                        let begin = recording.lock().unwrap()[nth].len();
                        if let Some((_, at)) = change.filter(|(connection, _)| *connection == nth)
                            && (begin..begin + some).contains(&at)
                        {
                            buffer[at - begin] ^= 1;
                        }
                        recording.lock().unwrap()[nth].extend_from_slice(&buffer[..some]);
                        if server.write_all(&buffer[..some]).is_err() {
                            break;
                        }
                    }
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        (address, all)
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn tokens_are_the_unsplit_models_and_the_line_shows_nothing_of_them() {
        let model = pocket();
        let whole = unsplit(&model);
        for (encrypts, is_readable) in [(false, true), (true, false)] {
            let key = || key("sixteen bytes and more", encrypts);
            let (address, recording) = tee(serve(&model, key()), None);
            assert_eq!(generate(&model, &ServerAddress { address, key: key() }), (whole.clone(), 0));
            let sent = recording.lock().unwrap().concat();
            // The first packet's row, of the embedding of its token after the first layers, is not known here; its head is.
            for part in [&model.sha256.as_bytes()[..16], b"prompt_codec", b"noop"] {
                assert_eq!(contains(&sent, part), is_readable, "{}", String::from_utf8_lossy(part));
            }
            assert!(sent.len() > 60 * 4 * model.config.hidden_size);
        }
    }

    #[test]
    fn sides_that_do_not_agree_say_what_to_do() {
        let model = pocket();
        let error = |server: Option<SharedKey>, client: Option<SharedKey>| {
            let server = ServerAddress { address: serve(&model, server), key: client };
            format!("{:#}", ClientHalf::load(&model, None, &server).err().unwrap())
        };
        let proving = || key("sixteen bytes and more", false);
        let said = error(right(), key("sixteen other bytes", true));
        assert!(said.contains("client has another key"), "{said}");
        for client in [None, proving()] {
            let said = error(right(), client);
            assert!(said.contains("this server encrypts") && said.contains("--encrypt"), "{said}");
        }
        for server in [None, proving()] {
            let said = error(server, right());
            assert!(said.contains("does not encrypt") && said.contains("leave --encrypt out"), "{said}");
        }
    }

    #[test]
    fn a_changed_byte_closes_the_connection_and_no_token_changes() {
        let model = pocket();
        let whole = unsplit(&model);
        // Connection 0 is of `ClientHalf::load`; of the session's, bytes of the first packets.
        for at in [5_000, 20_000] {
            let (address, recording) = tee(serve(&model, right()), Some((1, at)));
            assert_eq!(generate(&model, &ServerAddress { address, key: right() }), (whole.clone(), 1), "byte {at}");
            assert_eq!(recording.lock().unwrap().len(), 3);
        }
    }

    #[test]
    fn a_recording_played_again_gets_no_answer() {
        let model = pocket();
        let server = serve(&model, right());
        let (address, recording) = tee(server.clone(), None);
        generate(&model, &ServerAddress { address, key: right() });
        let recorded = recording.lock().unwrap()[1].clone();
        let mut stream = server.connect().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may close in the middle of it.
        let _ = stream.write_all(&recorded);
        let shaken = Frame::read(&stream, 1000).unwrap().unwrap();
        assert_eq!(shaken.kind, FrameType::Noise);
        // Then one record, which says why, and the end; a reset where it had not read all.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let record = rest.first_chunk::<2>().map_or(0, |length| 2 + usize::from(u16::from_le_bytes(*length)));
        assert_eq!(rest.len(), record);
        assert!(!contains(&rest, b"protocol"));
    }

    #[test]
    fn a_server_outlives_hand_shakes_of_anything() {
        let model = pocket();
        let server = serve(&model, right());
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for nth in 0..100 {
            let mut bytes = Vec::new();
            Frame::new(FrameType::Noise, (0..48).map(|_| random.random()).collect()).write(&mut bytes).unwrap();
            match nth % 3 {
                0 => bytes[random.random_range(0..21)] ^= 1 << random.random_range(0..8),
                1 => bytes.truncate(random.random_range(0..bytes.len())),
                _ => {}
            }
            let mut stream = server.connect().unwrap();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(!contains(&answer, b"model_sha256"), "{nth}");
        }
        let server = ServerAddress { address: server, key: right() };
        assert!(server.connect(&Hello::new(&model, None, 100, 100)).is_ok());
    }

    /// `cargo test --release --features noise --test live_noise -- --ignored --nocapture`
    #[test]
    #[ignore = "prints times"]
    fn what_encryption_costs() {
        let model = pocket();
        let servers = [false, true].map(|encrypts| {
            let key = || key("sixteen bytes and more", encrypts);
            ServerAddress { address: serve(&model, key()), key: key() }
        });
        let median = |mut all: Vec<f64>| {
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let clients = servers.each_ref().map(|server| ClientHalf::load(&model, None, server).unwrap());
        let mut steps = [Vec::new(), Vec::new()];
        let mut opens = [Vec::new(), Vec::new()];
        for _ in 0..15 {
            for (nth, server) in servers.iter().enumerate() {
                let start = Instant::now();
                let mut session = clients[nth].open(&wish(server)).unwrap();
                opens[nth].push(start.elapsed().as_secs_f64() * 1e6);
                let run = Generation::run(&mut session, &prompt(&model), 60, |_| false, |_| Ok(())).unwrap();
                steps[nth].extend(run.step_seconds().iter().map(|seconds| seconds * 1e6));
            }
        }
        println!(
            "connection and session: plain {:.0} us, encrypted {:.0} us",
            median(opens[0].clone()),
            median(opens[1].clone())
        );
        println!("step: plain {:.0} us, encrypted {:.0} us", median(steps[0].clone()), median(steps[1].clone()));
    }
}
