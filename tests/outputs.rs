//! Where commands write: never over what they read, tried before anything is computed, and nothing computed is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use splitbench_codec::Activation;
use splitbench_codec::npy;

const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/text/pocket.txt");

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn splitbench(folder: &Path, arguments: &[&str]) -> Output {
    let home = env!("CARGO_TARGET_TMPDIR");
    let mut command = Command::new(env!("CARGO_BIN_EXE_splitbench"));
    command.args(arguments).env("HF_HOME", home).current_dir(folder).output().unwrap()
}

/// The outputs, and what went wrong.
fn told(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Ends with exit code 1, all of `expected` in the error, nothing printed, and every file as it was.
fn refused(folder: &Path, arguments: &[&str], expected: &[&str]) {
    let before = contents(folder);
    let output = splitbench(folder, arguments);
    let (stdout, stderr) = told(&output);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stdout}{stderr}");
    assert_eq!(stdout, "", "{arguments:?} computed something: {stderr}");
    for part in expected {
        assert!(stderr.contains(part), "{arguments:?} does not say {part:?}: {stderr}");
    }
    assert!(contents(folder) == before, "{arguments:?} changed something: {stderr}");
}

/// All files below a folder.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(contents(&path)),
            false => files.push((path.clone(), fs::read(&path).unwrap_or_default())),
        }
    }
    files.sort();
    files
}

fn success(folder: &Path, arguments: &[&str]) {
    let output = splitbench(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", told(&output).1);
}

const EXPERIMENT: &str = r#"
analysis = "A small one."
datasets = ["piqa"]
codecs = ["int8"]
ratios = [8.0]
limit = 2

[report]
table3 = true
"#;

/// A folder with a model, rows, an experiment, a trace, a simulation and a profile.
fn inputs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("m")).unwrap();
    fs::create_dir_all(at("data/piqa")).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(Path::new(ROOT).join("models/pocket").join(name), at("m").join(name)).unwrap();
    }
    for name in ["eval.jsonl", "train.jsonl"] {
        fs::copy(Path::new(ROOT).join("datasets/mini/piqa").join(name), at("data/piqa").join(name)).unwrap();
    }
    fs::write(at("e.toml"), EXPERIMENT).unwrap();
    fs::copy(Path::new(ROOT).join("experiments/figure7.toml"), at("s.toml")).unwrap();
    fs::copy(Path::new(ROOT).join("experiments/services/rtx4090-llama-3.2-1b.toml"), at("p.toml")).unwrap();
    for name in ["pocket.json", "pocket.npy"] {
        fs::copy(Path::new(ROOT).join("tests/replay").join(name), at(name)).unwrap();
    }
    folder
}

const SIMULATE: [&str; 8] = ["simulate", "s.toml", "--clients", "1,5", "--seconds", "30", "--seeds", "1"];

#[test]
fn no_command_writes_over_what_it_reads() {
    let inputs = inputs();
    let folder = inputs.path();
    let link = |from: &str, to: &str| {
        fs::create_dir_all(folder.join(to).parent().unwrap()).unwrap();
        fs::hard_link(folder.join(from), folder.join(to)).unwrap();
    };
    let tokenizer = ["trace", "--shapes", "--datasets", "piqa-mini", "--tokenizer", "m/tokenizer.json", "--output"];
    link("m/tokenizer.json", "linked.json");
    for output in ["m/tokenizer.json", "data/../m/./tokenizer.json", "linked.json"] {
        refused(folder, &[&tokenizer[..], &[output]].concat(), &["--output", output, "a file that is read"]);
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("m/tokenizer.json", folder.join("soft.json")).unwrap();
        refused(folder, &[&tokenizer[..], &["soft.json"]].concat(), &["soft.json", "a file that is read"]);
    }
    let data = ["--datasets", "piqa", "--data-dir", "data", "--limit", "2"];
    let trace = [&["trace", "--model", "m"], &data[..], &["--output"]].concat();
    refused(folder, &[&trace[..], &["m/config.json"]].concat(), &["m/config.json", "a file that is read"]);
    link("m/model.safetensors", "t.npy");
    refused(folder, &[&trace[..], &["t.json"]].concat(), &["t.npy"]);
    // Someone's matrix of the same name, of which nothing was said.
    fs::copy(folder.join("pocket.npy"), folder.join("mine.npy")).unwrap();
    refused(folder, &[&trace[..], &["mine.json"]].concat(), &["mine.npy", "no trace of this name"]);

    let score = ["score", "--model", "m", "--dataset", "piqa", "--data-dir", "data", "--limit", "2", "--samples"];
    for output in ["data/piqa/eval.jsonl", "data/piqa/train.jsonl", "m/model.safetensors", "linked.json"] {
        refused(folder, &[&score[..], &[output]].concat(), &["--samples", "a file that is read"]);
    }

    let perplexity = ["perplexity", "--model", "m", "--text", TEXT, "--calibration", "t.txt", "--samples"];
    fs::write(folder.join("t.txt"), "A bush.").unwrap();
    for output in ["t.txt", "m/model.safetensors", "linked.json"] {
        refused(folder, &[&perplexity[..], &[output]].concat(), &["--samples", "a file that is read"]);
    }

    let out = ["--out", ".", "--run", "r"];
    let run = [&["run", "e.toml", "--model", "m", "--data-dir", "data"], &out[..]].concat();
    let replay = [&["replay", "pocket.json", "--codecs", "int8"], &out[..]].concat();
    let simulate = [&SIMULATE[..], &["--profile", "p.toml"], &out].concat();
    for (arguments, from, to) in [
        (&run, "e.toml", "results/e/r/table3.md"),
        (&run, "m/config.json", "results/e/r/manifest.json"),
        (&run, "data/piqa/eval.jsonl", "results/e/r/samples/m--piqa.jsonl"),
        (&run, "m/tokenizer.json", "plots/e/r/accuracy-vs-ratio.svg"),
        (&replay, "pocket.json", "results/replay/r/manifest.json"),
        (&replay, "pocket.npy", "results/replay/r/timings.csv"),
        (&simulate, "s.toml", "results/s/r/index.html"),
        (&simulate, "p.toml", "plots/s/r/clients.svg"),
    ] {
        link(from, to);
        refused(folder, arguments, &["--out", to.rsplit('/').next().unwrap(), "a file that is read"]);
        fs::remove_file(folder.join(to)).unwrap();
    }

    success(folder, &run);
    let results = folder.join("results/e/r");
    // A page in the place of someone's own text, and of a file that is read by another name.
    fs::write(folder.join("README.md"), "mine").unwrap();
    refused(folder, &["report", "results/e/r", "--page", "."], &["README.md", "splitbench did not write"]);
    link("results/e/r/rows.parquet", "page/index.html");
    refused(folder, &["report", "results/e/r", "--page", "page"], &["--page", "index.html is ", "rows.parquet"]);
    fs::remove_file(results.join("table3.md")).unwrap();
    link("results/e/r/rows.parquet", "results/e/r/table3.md");
    refused(folder, &["report", "results/e/r"], &["table3.md is ", "rows.parquet"]);
    fs::remove_file(results.join("table3.md")).unwrap();
    link("results/e/r/manifest.json", "plots/e/r/a.svg");
    refused(folder, &["report", "results/e/r", "--plots", "plots/e/r"], &["--plots", "a.svg is ", "manifest.json"]);
    let rows = fs::metadata(results.join("rows.parquet")).unwrap().modified().unwrap();
    success(folder, &["report", "results/e/r"]);
    assert_eq!(
        fs::metadata(results.join("rows.parquet")).unwrap().modified().unwrap(),
        rows,
        "rows were written again"
    );
    let mut journals = fs::read_dir(results.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let journal = journals.find(|path| path.extension().is_some_and(|kind| kind == "journal")).unwrap();
    fs::remove_file(results.join("rows.csv")).unwrap();
    fs::hard_link(&journal, results.join("rows.csv")).unwrap();
    refused(folder, &["collect", "results/e/r"], &["rows.csv is ", ".journal"]);
}

#[test]
fn places_are_tried_before_anything_is_computed() {
    let inputs = inputs();
    let folder = inputs.path();
    fs::write(folder.join("file"), "").unwrap();
    let score = ["score", "--dataset", "piqa-mini", "--limit", "2", "--samples"];
    let trace = ["trace", "--datasets", "piqa-mini", "--limit", "2", "--output"];
    for (output, part) in [("no/such/folder/s.json", "no/such/folder"), ("m", "m"), ("file/s.json", "file")] {
        refused(folder, &[&score[..], &[output]].concat(), &["--samples", part]);
    }
    refused(folder, &[&trace[..], &["no/such/folder/s.json"]].concat(), &["--output", "no/such/folder"]);
    fs::create_dir(folder.join("d.json")).unwrap();
    refused(folder, &[&trace[..], &["d.json"]].concat(), &["--output", "not a file"]);
    fs::create_dir(folder.join("u.npy")).unwrap();
    refused(folder, &[&trace[..], &["u.json"]].concat(), &["u.npy"]);
    let simulate = [&SIMULATE[..], &["--profile", "p.toml"]].concat();
    for arguments in [&["run", "smoke"][..], &["replay", "pocket.json"], &simulate] {
        refused(folder, &[arguments, &["--out", "file"]].concat(), &["--out", "file is not a folder"]);
    }
    fs::create_dir_all(folder.join("results/smoke/r/rows.csv")).unwrap();
    refused(folder, &["run", "smoke", "--run", "r"], &["--out", "rows.csv is a folder"]);
    if cfg!(target_os = "linux") {
        refused(folder, &[&score[..], &["/proc/s.jsonl"]].concat(), &["--samples", "/proc"]);
        refused(folder, &["run", "smoke", "--out", "/proc"], &["--out", "/proc"]);
    }
}

/// No file may become longer than what places are tried with, so that writing fails when all is computed.
#[cfg(target_os = "linux")]
#[test]
fn what_was_computed_is_printed_where_writing_fails() {
    let inputs = inputs();
    let folder = inputs.path();
    let value = |i: usize| (i % 23) as f32 - 11.0;
    let matrix = Activation::new(40, 1024, (0..40 * 1024).map(value).collect()).unwrap();
    fs::write(folder.join("a.npy"), npy::to_bytes(&matrix)).unwrap();
    fs::write(folder.join("kept.npy"), "kept").unwrap();
    let small = EXPERIMENT.replace("\"piqa\"", "\"piqa-mini\"");
    fs::write(folder.join("e.toml"), &small).unwrap();
    let simulate = [&SIMULATE[..], &["--profile", "p.toml"]].concat();
    let json = |name: &str| format!("\"{name}\"");
    for (arguments, printed) in [
        (&["codec", "--input", "a.npy", "--codec", "noop", "--output", "kept.npy"][..], "relative, Frobenius"),
        (&["score", "--dataset", "piqa-mini", "--samples", "s.jsonl"], "pocket piqa-mini baseline: acc"),
        (&["perplexity", "--text", TEXT, "--window", "64", "--codec", "fc", "--samples", "s.jsonl"], "accepted %"),
        (&["trace", "--datasets", "piqa-mini", "--limit", "4", "--output", "t.json"], "8 sequences"),
        (&["run", "e.toml", "--run", "r"], "int8"),
        (&["run", "e.toml", "--run", "r", "--json"], &json("codec")),
        (&["replay", "pocket.json", "--codecs", "int8"], "int8"),
        (&simulate, "saturates at"),
    ] {
        let words = shlex::try_join([env!("CARGO_BIN_EXE_splitbench")].iter().chain(arguments).copied()).unwrap();
        // Blocks of 512 bytes; a process that asks for more would be ended by a signal.
        let script = format!("trap '' XFSZ; ulimit -f 32; exec {words}");
        let output = Command::new("sh").args(["-c", &script]).current_dir(folder).output().unwrap();
        let (stdout, stderr) = told(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stdout}{stderr}");
        assert!(stdout.contains(printed), "{arguments:?} did not print {printed}: {stdout}{stderr}");
        assert!(stderr.contains("error: ") && stderr.contains("cannot write"), "{arguments:?}: {stderr}");
        assert!(contents(folder).iter().all(|(path, _)| path.extension().is_none_or(|kind| kind != "tmp")));
    }
    assert_eq!(fs::read(folder.join("kept.npy")).unwrap(), b"kept");
}
