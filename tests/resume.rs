//! Runs that end before their time, runs in shares, and what may be wrong with what they left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const EXPERIMENT: &str = r#"
analysis = "A small one."
datasets = ["arc_easy-mini", "qasc-mini"]
split_layers = [1, 4]
codecs = ["noop", "fc", "topk", "fwsvd"]
ratios = [8.0, 3.3]
calibration_rows = 8
limit = 24

[report]
table2 = true
paired = true
"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("small.toml"), EXPERIMENT).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `splitbench run` in small batches, so that there are many.
    fn command(&self, run: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_splitbench"));
        command.arg("run").arg(self.path().join("small.toml")).args(["--run", run, "--batch-tokens", "200", "--out"]);
        command.arg(self.path()).args(more).stdout(Stdio::null());
        command
    }

    fn run(&self, run: &str, more: &[&str]) -> Output {
        self.command(run, more).output().unwrap()
    }

    fn done(&self, run: &str, more: &[&str]) -> PathBuf {
        let output = self.run(run, more);
        assert!(output.status.success(), "{}", stderr(&output));
        self.results(run)
    }

    fn results(&self, run: &str) -> PathBuf {
        self.path().join("results/small").join(run)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exit code 1, every part said, no panic.
fn fails(output: &Output, expected: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for part in expected {
        assert!(text.contains(part), "it does not say {part:?}: {text}");
    }
}

/// Rows, tables and samples are the same to the byte.
fn same(one: &Path, other: &Path) {
    for file in [
        "rows.csv",
        "rows.parquet",
        "table2.md",
        "paired.csv",
        "samples/pocket--arc_easy-mini.jsonl",
        "samples/pocket--qasc-mini.jsonl",
    ] {
        let bytes = fs::read(one.join(file)).unwrap();
        assert!(!bytes.is_empty() && bytes == fs::read(other.join(file)).unwrap(), "{file} differs");
    }
}

fn journal(results: &Path) -> PathBuf {
    results.join("journal/pocket--arc_easy-mini.journal")
}

#[test]
fn killed_at_twenty_moments_a_run_comes_to_the_same_rows() {
    let place = Place::new();
    let clock = Instant::now();
    let undisturbed = place.done("whole", &[]);
    let mut took = clock.elapsed();
    let mut random = ChaCha8Rng::seed_from_u64(20);
    let (mut interrupted, mut finished) = (0, 0);
    while interrupted < 20 {
        let mut child = place.command("killed", &[]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took.mul_f64(random.random_range(0.0..0.6)));
        // SIGKILL: nothing of the program runs after it.
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            // Over before it could be killed: the next begins anew, and is given less time.
            same(&undisturbed, &place.results("killed"));
            fs::remove_dir_all(place.results("killed")).unwrap();
            took = took.mul_f64(0.8);
            finished += 1;
            assert!(finished < 20, "a run takes no time at all");
            continue;
        }
        interrupted += 1;
        // A torn line on top of what the moment left.
        let path = journal(&place.results("killed"));
        if interrupted % 4 == 0 && path.exists() {
            let mut bytes = fs::read(&path).unwrap();
            bytes.extend_from_slice(b"0123 {\"cell\":[0,{\"ind");
            fs::write(&path, bytes).unwrap();
        }
    }
    same(&undisturbed, &place.done("killed", &[]));
    // Once more: nothing is computed, and the journal stays as it is.
    let before = fs::read(journal(&place.results("killed"))).unwrap();
    same(&undisturbed, &place.done("killed", &[]));
    assert!(before == fs::read(journal(&place.results("killed"))).unwrap());
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(place.results("killed").join("manifest.json")).unwrap()).unwrap();
    for part in ["client_s", "baseline_s", "server_s", "encode_s", "decode_s"] {
        assert_eq!(manifest["spent"][part], 0.0, "{part} of a run that was done");
    }
    // One that was killed before its manifest has left nothing in it.
    let earlier = manifest["earlier"].as_array().unwrap();
    assert!((1..=21).contains(&earlier.len()), "{} processes", earlier.len());
    assert!(earlier.iter().all(|process| process["wall_seconds"].as_f64().unwrap() > 0.0));
    let scored: f64 = earlier.iter().map(|process| process["spent"]["server_s"].as_f64().unwrap()).sum();
    assert!(scored > 0.0, "no process tells what its scoring took");
}

/// A model folder: of the embedded model's tokenizer, with weights that are not read before they are needed.
#[test]
fn a_run_that_is_done_needs_no_weights() {
    let place = Place::new();
    let folder = place.path().join("model");
    fs::create_dir(&folder).unwrap();
    let pocket = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket");
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(pocket.join(file), folder.join(file)).unwrap();
    }
    let more = ["--model", folder.to_str().unwrap()];
    place.done("whole", &more);
    let text = fs::read_to_string(place.results("whole").join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Weights that are no longer those: their hash is another, which is told without reading them as numbers.
    let mut weights = fs::read(folder.join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(folder.join("model.safetensors"), weights).unwrap();
    fails(&place.run("whole", &more), &["weights (SHA-256)", manifest["models"][0]["sha256"].as_str().unwrap()]);
    fs::write(folder.join("model.safetensors"), "no weights").unwrap();
    fails(&place.run("other", &more), &["model.safetensors", "not a whole safetensors file"]);
}

#[test]
fn a_finished_run_goes_on_with_another_codec() {
    let place = Place::new();
    place.done("grown", &[]);
    let text = EXPERIMENT.replace("[\"noop\", \"fc\"", "[\"int8\", \"noop\", \"fc\"");
    fs::write(place.path().join("small.toml"), text).unwrap();
    let grown = place.done("grown", &[]);
    same(&grown, &place.done("fresh", &[]));
}

#[test]
fn shares_collected_are_a_single_run() {
    let place = Place::new();
    let whole = place.done("whole", &[]);
    for shard in ["3/4", "1/4", "2/4"] {
        place.done("shared", &["--shard", shard]);
    }
    let collect = |folders: &[&Path]| {
        Command::new(env!("CARGO_BIN_EXE_splitbench")).arg("collect").args(folders).output().unwrap()
    };
    let shared = place.results("shared");
    fails(
        &collect(&[&shared]),
        &["arc_easy-mini", "lacks 6 of 24 questions", "1-of-4.journal", "nothing is there of shard 4/4"],
    );
    let report =
        |folder: &Path| Command::new(env!("CARGO_BIN_EXE_splitbench")).arg("report").arg(folder).output().unwrap();
    fails(&report(&shared), &["has no rows yet", "`collect` where it is of shards"]);
    // The last share comes from another machine.
    let elsewhere = Place::new();
    let last = elsewhere.done("shared", &["--shard", "4/4"]);
    let output = collect(&[&shared, &last]);
    assert!(output.status.success(), "{}", stderr(&output));
    same(&whole, &shared);
    // What shards came to is reported again like any run.
    let table = fs::read(shared.join("table2.md")).unwrap();
    fs::remove_file(shared.join("table2.md")).unwrap();
    let again = report(&shared);
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(table == fs::read(shared.join("table2.md")).unwrap());

    // A share twice is no harm, as long as both say the same.
    elsewhere.done("shared", &["--shard", "1/4"]);
    assert!(collect(&[&shared, &last]).status.success());
    let other = Place::new();
    fs::write(other.path().join("small.toml"), EXPERIMENT.replace("calibration_rows = 8", "calibration_rows = 9"))
        .unwrap();
    let strange = other.done("shared", &["--shard", "1/4"]);
    fails(&collect(&[&shared, &strange]), &["was asked for other cells"]);
    fails(&collect(&[Path::new("nowhere")]), &["there is no run nowhere"]);
    fails(&collect(&[place.path()]), &["no manifest.json"]);
}

#[test]
fn of_a_run_that_did_not_end_some_data_sets_are_collected() {
    let place = Place::new();
    let run = place.done("two", &[]);
    let rows = |folder: &Path| -> Vec<String> {
        let text = fs::read_to_string(folder.join("rows.csv")).unwrap();
        text.lines().filter(|line| line.contains("arc_easy-mini")).map(String::from).collect()
    };
    let whole = rows(&run);
    let other = fs::read_dir(run.join("journal")).unwrap().map(|file| file.unwrap().path());
    let other = other.into_iter().find(|path| path.to_str().unwrap().ends_with("qasc-mini.journal")).unwrap();
    // Begun, and not a line of it.
    fs::write(other, "").unwrap();
    let collect = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_splitbench")).arg("collect").arg(&run).args(more).output().unwrap()
    };
    fails(&collect(&[]), &["qasc-mini", "no shard has begun it"]);
    fails(&collect(&["--datasets", "piqa"]), &["data set of this run", "qasc-mini"]);
    let output = collect(&["--datasets", "arc_easy-mini"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(rows(&run), whole);
    assert!(!fs::read_to_string(run.join("rows.csv")).unwrap().contains("qasc-mini"));
}

#[test]
fn what_is_wrong_with_a_place_is_told() {
    let place = Place::new();
    let whole = place.done("a", &[]);
    let path = journal(&whole);
    let text = fs::read_to_string(&path).unwrap();

    // An edited line.
    let edited = text.replacen("\"elements\":", "\"elements\":9", 1);
    fs::write(&path, &edited).unwrap();
    let number = text.lines().position(|line| line.contains("\"elements\":")).unwrap();
    let line = format!("line {}", number + 1);
    fails(&place.run("a", &[]), &[&line, "changed or damaged", "remove the line"]);
    // Without it, it is computed again.
    let line = text.lines().nth(number).unwrap();
    fs::write(&path, text.replace(&format!("{line}\n"), "")).unwrap();
    place.done("a", &[]);
    assert!(fs::read_to_string(&path).unwrap().lines().count() == text.lines().count());

    // Inputs that changed.
    let manifest = fs::read(whole.join("manifest.json")).unwrap();
    fails(&place.run("a", &["--dtype", "bf16"]), &["weight type: f32 there, bf16 now", "--run NAME"]);
    assert!(manifest == fs::read(whole.join("manifest.json")).unwrap(), "who was refused has written");

    // A set that comes later is looked at before the first is scored.
    fs::remove_file(&path).unwrap();
    let rows = fs::read(whole.join("rows.csv")).unwrap();
    fails(&place.run("a", &["--dtype", "bf16"]), &["qasc-mini.journal", "weight type"]);
    assert!(!path.exists() && rows == fs::read(whole.join("rows.csv")).unwrap(), "who was refused has scored");
    // The plan that all else hangs on.
    let damaged = text.replacen("\"questions\":[", "\"questions\":[9", 1);
    fs::write(&path, damaged).unwrap();
    fails(&place.run("a", &[]), &["line 1", "changed or damaged", "remove the file"]);
    fs::remove_file(&path).unwrap();
    place.done("a", &[]);

    // Two at once.
    let mut first = place.command("b", &[]).stderr(Stdio::null()).spawn().unwrap();
    while !journal(&place.results("b")).exists() {
        assert!(first.try_wait().unwrap().is_none(), "the first was over before the second began");
        std::thread::sleep(Duration::from_millis(1));
    }
    fails(&place.run("b", &[]), &["another splitbench is writing", "--run NAME"]);
    assert!(first.wait().unwrap().success(), "the first was disturbed");

    // A file where a folder should be.
    fs::write(place.results("taken"), "").unwrap();
    fails(&place.run("taken", &[]), &["--out", "taken is not a folder"]);
}

/// What a shell would be told to run this.
fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("'{}'", word.to_str().unwrap())).collect::<Vec<_>>().join(" ")
}

/// A file system that fills up: of 160 KiB, in memory, in a name space of the test's own.
#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_a_run_ends_and_goes_on_where_there_is_room() {
    let place = Place::new();
    let alone = |script: &str| {
        Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).output()
    };
    let disk = place.path().join("results");
    fs::create_dir(&disk).unwrap();
    let mount = format!("mount -t tmpfs -o size=160k none '{}'", disk.display());
    match alone(&mount) {
        Ok(output) if output.status.success() => {}
        _ => return println!("skipped: this user may not mount file systems of its own"),
    }
    let run = words(&place.command("full", &[]));
    // What stayed on the full disk goes where there is room, which is where the next process goes on.
    let kept = place.path().join("kept");
    let script = format!("{mount} && {run}; ended=$?; cp -r '{}' '{}'; exit $ended", disk.display(), kept.display());
    let output = alone(&script).unwrap();
    fails(&output, &["No space left on device", "arc_easy-mini"]);
    fs::remove_dir(&disk).unwrap();
    fs::rename(&kept, &disk).unwrap();
    let there = fs::read_to_string(journal(&place.results("full"))).unwrap().lines().count();
    assert!(there > 10, "{there} lines were kept");
    same(&place.done("whole", &[]), &place.done("full", &[]));
}

/// A limit on the size of files, where no file system can be mounted.
#[cfg(unix)]
#[test]
fn a_full_disk_costs_nothing_that_was_computed() {
    let place = Place::new();
    let whole = place.done("whole", &[]);
    let limited = |blocks: usize| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {}", words(&place.command("full", &[])));
        Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).output().unwrap()
    };
    let size = fs::metadata(journal(&whole)).unwrap().len() as usize;
    fails(&limited(size / 512 / 2), &["arc_easy-mini.journal", "make room and give the same command again"]);
    let kept = fs::metadata(journal(&place.results("full"))).unwrap().len() as usize;
    assert!(kept > size / 4 && kept < size, "{kept} of {size} bytes");
    same(&whole, &place.done("full", &[]));
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_to_is_told_before_anything_is_computed() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let folder = place.path().join("results");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.join("probe"), "").is_ok() {
        return println!("skipped: this user may write anywhere");
    }
    fails(&place.run("a", &[]), &["--out", "taken is not a folder"]);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
}
