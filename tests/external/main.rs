//! External codecs, by a program that does well or, told so, badly (`program.sh`: a POSIX shell is all that is needed).
//!
//! They are not in the suites over all codecs (`suite.rs`, `golden.rs`): what those ask of a packet's size and a
//! codec's error is the program's own affair here. Their wire format is tested below, and damaged in `tests/hostile.rs`.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use splitbench_codec::npy;
use splitbench_codec::{Accounting, Activation, Budget, Codec, CodecSpec, Packet, build, decode};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/external/program.sh");

/// 48 numbers: 96 kept are the most that make sense.
const SHAPE: (usize, usize) = (6, 8);

/// The program's name as a codec; paths may have blanks.
fn external(options: &str, arguments: &str) -> String {
    format!("external:{options}cmd=sh '{PROGRAM}' {arguments}")
}

fn codec(text: &str) -> Box<dyn Codec> {
    build(&CodecSpec::parse(text).unwrap(), None).unwrap()
}

fn matrix((tokens, hidden): (usize, usize)) -> Activation {
    Activation::new(tokens, hidden, (0..tokens * hidden).map(|i| (i * 7 % 23) as f32 / 8.0 - 1.0).collect()).unwrap()
}

fn elements(ratio: f64) -> Budget {
    Budget::new(ratio, Accounting::Elements).unwrap()
}

fn splitbench(arguments: &[&str]) -> Output {
    let home = env!("CARGO_TARGET_TMPDIR");
    Command::new(env!("CARGO_BIN_EXE_splitbench")).args(arguments).env("HF_HOME", home).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_packet_is_our_header_and_the_programs_bytes() {
    let codec = codec(&external("", "well first"));
    assert!(codec.is_cold());
    let a = matrix(SHAPE);
    let file = npy::to_bytes(&a);
    for (budget, kept) in [
        (elements(4.0), 12),
        (elements(1.0), 48),
        (elements(1e9), 1),
        // 96 bytes over 2, less 23 of our own.
        (Budget::new(2.0, Accounting::Wire).unwrap(), 25),
    ] {
        let packet = codec.encode(&a, Some(budget)).unwrap();
        let mut expected = b"SPLB\x01\x0f\x01\x06\0\0\0\x08\0\0\0".to_vec();
        expected.extend_from_slice(&(kept as u32).to_le_bytes());
        expected.extend_from_slice(&(file.len() as u32).to_le_bytes());
        expected.extend_from_slice(&file);
        assert_eq!(packet.as_bytes(), expected);
        assert_eq!((packet.elements(), packet.len()), (kept, 23 + file.len()));
        assert_eq!(codec.decode(&packet).unwrap(), a);
        let bare = decode(&packet).unwrap_err().to_string();
        assert!(!codec.is_cold());
        assert!(bare.starts_with("packet of external") && bare.contains("--codec external:cmd="), "{bare}");
    }
    // Requests and answers that are longer than a pipe, and more on standard error than a pipe holds.
    let large = matrix((300, 700));
    for how in ["well", "talks"] {
        let codec = self::codec(&external("", how));
        for _ in 0..2 {
            assert_eq!(codec.decode(&codec.encode(&large, Some(elements(2.0))).unwrap()).unwrap(), large, "{how}");
        }
    }
}

#[test]
fn fields_out_of_range_are_refused_by_name() {
    let packet = codec(&external("", "well")).encode(&matrix(SHAPE), Some(elements(4.0))).unwrap();
    for (at, value, field) in [
        (6, 0, "value type"),
        (15, 0, "elements"),
        (15, 97, "elements"),
        (15, u32::MAX, "elements"),
        (19, 0, "length"),
        (19, packet.len() as u32, "length"),
        (19, u32::MAX, "payload"),
    ] {
        let mut bytes = packet.as_bytes().to_vec();
        bytes[at..at + if at == 6 { 1 } else { 4 }]
            .copy_from_slice(&value.to_le_bytes()[..if at == 6 { 1 } else { 4 }]);
        let error = Packet::from_bytes(bytes).unwrap_err().to_string();
        assert!(error.starts_with("packet field") && error.contains(field), "{field}: {error}");
    }
}

#[test]
fn values_and_ratios_are_checked_before_the_program_is_asked() {
    // It does not exist: whatever is asked of it would say so.
    let codec = codec("external:cmd=no-such-program");
    let mut values = vec![1.0; 48];
    values[13] = f32::NAN;
    let error = codec.encode(&Activation::new(6, 8, values).unwrap(), Some(elements(2.0))).unwrap_err().to_string();
    assert!(error.contains("token 1, channel 5"), "{error}");
    let budget = Budget { ratio: 0.5, accounting: Accounting::Elements };
    assert!(codec.encode(&matrix(SHAPE), Some(budget)).unwrap_err().to_string().contains("ratio"));
    let noop =
        build(&CodecSpec::parse("noop").unwrap(), None).unwrap().encode(&matrix(SHAPE), Some(elements(1.0))).unwrap();
    let error = codec.decode(&noop).unwrap_err().to_string();
    assert!(error.contains("external") && error.contains("noop"), "{error}");
}

/// Encoding fails with every part, at once again with the same sentence, and not before `least`.
fn encoding_fails(name: &str, shape: (usize, usize), least: Duration, parts: &[&str]) {
    let codec = codec(name);
    let command = CodecSpec::parse(name).unwrap().option("cmd").unwrap().to_string();
    let clock = Instant::now();
    let error = codec.encode(&matrix(shape), Some(elements(2.0))).unwrap_err().to_string();
    assert!(clock.elapsed() >= least && clock.elapsed() < Duration::from_secs(20), "{name}: {:?}", clock.elapsed());
    assert!(error.starts_with(&format!("encoder `{command}`: ")), "{name}: {error}");
    assert!(parts.iter().all(|part| error.contains(part)), "{name}: {error}");
    let clock = Instant::now();
    assert_eq!(codec.encode(&matrix(shape), Some(elements(2.0))).unwrap_err().to_string(), error);
    assert!(least.is_zero() || clock.elapsed() < least, "{name}: asked again");
}

#[test]
fn every_misbehaviour_has_its_sentence() {
    for (how, parts) in [
        ("exits", &["ended (exit status: 3)", "nothing came", "standard error ended: loading | no such layer"][..]),
        ("killed", &["ended (signal: 9"]),
        ("prints", &["begins with \"loading the model\\n\"", "nothing but answers"]),
        ("bad-json", &["header line \"{\\\"bytes\\\": }\\n\" is not the JSON expected", "column 11"]),
        ("no-length", &["neither \"bytes\" nor \"error\""]),
        ("no-elements", &["no \"elements\""]),
        ("no-numbers", &["field elements", "0 is not in 1..=96"]),
        ("many-numbers", &["field elements", "97 is not in 1..=96"]),
        ("huge", &["says 99999999999 bytes", "65920 are the most"]),
        ("more", &["says 1 bytes, but more came"]),
        ("less", &["ended (exit status: 0)", "2 of 10 bytes came"]),
        ("mute", &["closed its standard output"]),
    ] {
        encoding_fails(&external("", how), SHAPE, Duration::ZERO, parts);
    }
    let none = Duration::ZERO;
    encoding_fails(
        "external:cmd=no-such-program --k 3",
        SHAPE,
        none,
        &["cannot start \"no-such-program\"", "not found"],
    );
    encoding_fails("external:cmd=./no/such.py", SHAPE, none, &["cannot start \"./no/such.py\"", "not found"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a codec.py");
    fs::write(&file, "").unwrap();
    encoding_fails(&format!("external:cmd='{}'", file.display()), SHAPE, none, &["not executable", "chmod"]);
    encoding_fails(&external("", "deaf"), (300, 700), none, &["closed its standard input"]);
    let limit = Duration::from_millis(300);
    encoding_fails(&external("timeout=0.3,", "hangs"), SHAPE, limit, &["within 0.3 s", "nothing came", "timeout="]);
    encoding_fails(&external("timeout=0.3,", "half"), SHAPE, limit, &["within 0.3 s", "2 of 10 bytes came"]);
    encoding_fails(&external("timeout=0.3,", "hangs"), (300, 700), limit, &["within 0.3 s", "of the request's 840"]);
}

#[test]
fn wrong_matrices_have_their_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answer.npy");
    let packet = codec(&external("", "empty")).encode(&matrix(SHAPE), Some(elements(2.0))).unwrap();
    assert_eq!(packet.len(), 23);
    let mut nan = npy::to_bytes(&matrix(SHAPE));
    let last = nan.len() - 4;
    nan[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    for (bytes, part) in [
        (npy::to_bytes(&matrix((8, 6))), "its matrix is 8 x 6, the one that was encoded 6 x 8"),
        (nan, "its matrix: npy field data: row 5, column 7 is NaN"),
        (b"hello".to_vec(), "its matrix: npy field magic"),
        (Vec::new(), "its matrix: npy field magic"),
        (npy::to_bytes(&matrix(SHAPE))[..300].to_vec(), "its matrix: npy field data: 6 x 8 numbers take 192 bytes"),
    ] {
        fs::write(&file, bytes).unwrap();
        let codec = codec(&external("", &format!("file '{}'", file.display())));
        let error = codec.decode(&packet).unwrap_err().to_string();
        assert!(error.starts_with("decoder `sh ") && error.contains(part), "{error}");
    }
}

#[test]
fn a_refusal_is_told_and_the_next_activation_is_asked_for() {
    let codec = codec(&external("", "refuses"));
    for _ in 0..2 {
        let error = codec.encode(&matrix(SHAPE), Some(elements(2.0))).unwrap_err().to_string();
        assert!(error.ends_with("it answers with the error \"only even widths\""), "{error}");
    }
}

/// What the program of `pid` says: the number of its process.
fn encoder(codec: &dyn Codec) -> String {
    text(&codec.encode(&matrix(SHAPE), Some(elements(2.0))).unwrap().as_bytes()[23..])
}

#[test]
fn one_process_a_thread_and_direction_serves_all_codecs_of_a_command() {
    let name = external("", "pid one-process");
    let (one, other) = (codec(&name), codec(&name.replace("external:", "external:timeout=5,")));
    let first = encoder(one.as_ref());
    assert!((0..5).all(|_| encoder(one.as_ref()) == first) && encoder(other.as_ref()) == first);
    let packet = one.encode(&matrix(SHAPE), Some(elements(2.0))).unwrap();
    let decoder = one.decode(&packet).unwrap_err().to_string();
    assert!(!decoder.contains(&format!("{first:?}")), "the encoder decodes: {decoder}");
    // Three at a time: no more than three processes, and no wrong answers.
    let barrier = Barrier::new(3);
    let mut seen: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            barrier.wait();
            (0..20).map(|_| encoder(one.as_ref())).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    seen.sort();
    seen.dedup();
    assert!(seen.len() <= 3 && seen.contains(&first), "{seen:?}");
    drop(one);
    assert!(seen.contains(&encoder(other.as_ref())), "ended while a codec still uses it");
}

#[test]
fn a_program_that_ends_after_an_answer_fails_the_next() {
    let codec = codec(&external("", "once"));
    codec.encode(&matrix(SHAPE), Some(elements(2.0))).unwrap();
    let error = codec.encode(&matrix(SHAPE), Some(elements(2.0))).unwrap_err().to_string();
    assert!(error.contains("ended (exit status: 0)"), "{error}");
}

/// Command lines of processes that have `word` as one of their arguments.
#[cfg(target_os = "linux")]
fn processes(word: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    all.map(|line| text(&line)).filter(|line| line.split('\0').any(|argument| argument == word)).collect()
}

/// Waits for as long as a busy machine may need.
#[cfg(target_os = "linux")]
fn within_seconds(done: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        done()
    })
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_running() {
    for how in ["well", "hangs", "stays", "mute", "half"] {
        let word = format!("left-by-{how}");
        let codec = codec(&external("timeout=1,", &format!("{how} {word}")));
        let packet = codec.encode(&matrix(SHAPE), Some(elements(2.0)));
        assert_eq!(packet.is_ok(), matches!(how, "well" | "stays"));
        if let Ok(packet) = &packet {
            codec.decode(packet).unwrap();
            assert_eq!(processes(&word).len(), 2, "{how}");
        }
        drop(codec);
        assert!(within_seconds(|| processes(&word).is_empty()), "{how}: {:?}", processes(&word));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn programs_end_with_splitbench_when_it_is_interrupted() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::os::unix::process::ExitStatusExt;

    for signal in [Signal::INT, Signal::TERM] {
        let word = format!("interrupted-by-{}", signal.as_raw());
        let mut running = Command::new(env!("CARGO_BIN_EXE_splitbench"))
            .args(["score", "--dataset", "piqa-mini", "--limit", "2", "--codec"])
            .arg(external("", &format!("hangs {word}")))
            .spawn()
            .unwrap();
        // A thread's shell and the one that it waits for.
        assert!(within_seconds(|| processes(&word).len() >= 3), "no program was started");
        kill_process(Pid::from_child(&running), signal).unwrap();
        assert_eq!(running.wait().unwrap().signal(), Some(signal.as_raw()));
        assert!(within_seconds(|| processes(&word).is_empty()), "{:?}", processes(&word));
    }
}

#[test]
fn codec_sends_and_decodes() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (input, packet, output, again) = (place("a.npy"), place("p.bin"), place("b.npy"), place("c.npy"));
    fs::write(&input, npy::to_bytes(&matrix((12, 40)))).unwrap();
    let name = external("", "well");
    let encode = ["codec", "--input", &input, "--codec", &name, "--ratio", "4", "--json"];
    let told = splitbench(&[&encode[..], &["--packet", &packet, "--output", &output]].concat());
    assert!(told.status.success(), "{}", text(&told.stderr));
    assert_eq!(text(&told.stderr), "");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["codec"], name);
    assert_eq!((told["ratio_requested"].as_f64(), told["ratio_elements"].as_f64()), (Some(4.0), Some(4.0)));
    assert_eq!(told["bytes_wire"].as_u64(), Some(fs::metadata(&packet).unwrap().len()));
    assert_eq!(fs::read(&input).unwrap(), fs::read(&output).unwrap());

    let decode = ["codec", "--decode", &packet, "--output", &again];
    let decoded = splitbench(&[&decode[..], &["--codec", &name]].concat());
    assert!(decoded.status.success(), "{}", text(&decoded.stderr));
    assert!(text(&decoded.stdout).starts_with("external: 12 x 40"));
    assert_eq!(fs::read(&again).unwrap(), fs::read(&output).unwrap());
    fs::remove_file(&again).unwrap();
    for (more, part) in [
        (&[][..], "--codec external:cmd=..."),
        (&["--codec", "fc"], "--codec fc: the packet is of external"),
        (&["--codec", "external"], "needs its cmd"),
        (&["--codec", &external("", "exits")], "decoder `sh"),
    ] {
        let failed = splitbench(&[&decode[..], more].concat());
        assert_eq!(failed.status.code(), Some(1));
        assert!(text(&failed.stderr).contains(part), "{}", text(&failed.stderr));
        assert!(!Path::new(&again).exists());
    }
    let failed = splitbench(&["codec", "--input", &input, "--codec", &external("", "exits")]);
    assert!(text(&failed.stderr).starts_with("error: ") && text(&failed.stderr).contains("exit status: 3"));
}

#[test]
fn score_takes_it() {
    let score = |how: &str| {
        splitbench(&["score", "--dataset", "piqa-mini", "--limit", "4", "--codec", &external("", how), "--ratio", "3"])
    };
    let good = score("well");
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("relative error 0.0000, against the unsplit model 0 lost and 0 gained"));
    let bad = score("exits");
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("ended (exit status: 3)") && text(&bad.stderr).contains("no such layer"));
}

#[test]
fn run_has_a_row_for_every_cell_whatever_threads() {
    let folder = tempfile::tempdir().unwrap();
    let good = external("", "well").replace('\'', "\\\"");
    let bad = external("timeout=5,", "prints");
    let experiment = folder.path().join("small.toml");
    let spec = format!(
        "analysis = \"External.\"\ndatasets = [\"piqa-mini\"]\nsplit_layers = [2]\nratios = [8.0, 3.0]\nlimit = 6\n\
         codecs = [\"noop\", \"{good}\", \"{bad}\"]\n[report]\ntable2 = true\ntable3 = true\nratio_plot = true\n"
    );
    fs::write(&experiment, spec).unwrap();
    let run = |threads: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_splitbench"))
            .args(["run", experiment.to_str().unwrap(), "--run", threads, "--out", folder.path().to_str().unwrap()])
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        // Two ratios of the bad one.
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("2 cells failed"), "{}", text(&output.stderr));
        folder.path().join("results/small").join(threads)
    };
    let (one, two) = (run("1"), run("2"));
    for file in ["rows.csv", "table2.md", "samples/pocket--piqa-mini.jsonl"] {
        assert_eq!(text(&fs::read(one.join(file)).unwrap()), text(&fs::read(two.join(file)).unwrap()), "{file}");
    }
    let rows = splitbench::record::read_rows(&one.join("rows.parquet")).unwrap();
    assert_eq!(rows.len(), 1 + 1 + 2 + 2);
    for row in rows.iter().filter(|row| row.codec.starts_with("external")) {
        // What stands in a row is what runs it again.
        assert_eq!(CodecSpec::parse(&row.codec).unwrap().to_string(), row.codec);
        if row.codec == bad {
            assert!(row.err.as_ref().unwrap().contains("begins with \"loading the model\\n\""), "{:?}", row.err);
        } else {
            assert_eq!((row.err.as_ref(), row.rel_error, row.lost), (None, Some(0.0), Some(0)));
            assert!((row.ratio_elements.unwrap() / row.ratio_requested.unwrap() - 1.0).abs() < 0.01);
        }
    }
    // A share says it too.
    let shard = Command::new(env!("CARGO_BIN_EXE_splitbench"))
        .args(["run", experiment.to_str().unwrap(), "--run", "shared", "--shard", "1/2"])
        .args(["--out", folder.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(shard.status.code(), Some(1), "{}", text(&shard.stderr));
    let said = text(&shard.stderr);
    assert!(said.contains("2 cells failed") && said.matches("\nfailed: ").count() + 1 >= 2, "{said}");
    let times = fs::read_to_string(one.join("timings.csv")).unwrap();
    let quoted = external("", "well").replace('\'', "\"\"");
    assert!(times.contains(&format!("\"{quoted}\"")), "{times}");
}

/// Codecs are timed on random rows for the prediction, up to 256 of them; a program may be made for fewer.
#[test]
fn a_program_is_asked_for_nothing_but_what_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    let codec = external("", "short 40000").replace('\'', "\\\"");
    let experiment = folder.path().join("small.toml");
    let spec = format!(
        "analysis = \"External.\"\ndatasets = [\"piqa-mini\"]\nsplit_layers = [2]\nratios = [8.0]\nlimit = 6\n\
         codecs = [\"{codec}\"]\n[report]\ntable2 = true\n"
    );
    fs::write(&experiment, spec).unwrap();
    for verb in [&["plan"][..], &["run", "--run", "a", "--out", folder.path().to_str().unwrap()]] {
        let output = splitbench(&[&verb[..1], &[experiment.to_str().unwrap()], &verb[1..]].concat());
        assert_eq!(output.status.code(), Some(0), "{verb:?}: {}", text(&output.stderr));
    }
}
