//! `splitbench prepare` against a small hub on this machine: what it fetches, what it asks for, and how it fails.

mod environment;
mod network;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use server::{Fault, Server, TOKEN, sha256};
use tempfile::TempDir;

const QWEN: &str = "models/Qwen/Qwen2.5-1.5B@main";
const LLAMA: &str = "models/meta-llama/Llama-3.2-1B@main";
const ARC: &str = "datasets/allenai/ai2_arc@refs/convert/parquet";
const PIQA: &str = "datasets/baber/piqa@main";
/// The largest of the files of `put_model`.
const SHARD: &str = "model-00002-of-00002.safetensors";

/// A hub and a home of its own, so that tests can run side by side.
struct Here {
    hub: Server,
    home: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Here {
    fn new() -> Self {
        Self::with_hub(Server::start())
    }

    fn with_hub(hub: Server) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { environment: vec![("HF_ENDPOINT", hub.endpoint())], hub, home }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_string()));
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_splitbench"));
        // Of the caller's environment nothing that `prepare` reads.
        let read = ["HF_", "HUGGING", "TRANSFORMERS_", "XDG_", "SSL_CERT_"];
        for (name, _) in std::env::vars() {
            if read.iter().any(|start| name.starts_with(start)) || name.to_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("HF_HOME", self.home.path())
            .envs(self.environment.iter().cloned())
            .output()
            .unwrap()
    }

    /// What was printed.
    fn works(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = text(&output);
        assert!(output.status.success(), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        text
    }

    /// Exit code 1, every part said, no panic.
    fn fails(&self, arguments: &[&str], expected: &[&str]) -> String {
        let output = self.run(arguments);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        for part in expected {
            assert!(text.contains(part), "{arguments:?} does not say {part:?}: {text}");
        }
        text
    }

    fn cache(&self, repo: &str) -> PathBuf {
        self.home.path().join("hub").join(repo)
    }

    fn qwen(&self, path: &str) -> PathBuf {
        self.cache("models--Qwen--Qwen2.5-1.5B").join(path)
    }

    fn rows(&self, path: &str) -> PathBuf {
        self.home.path().join("splitbench").join(path)
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn large() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A model of two shards; `prepare` reads no weights.
fn put_model(hub: &Server, repo: &str, commit: &str) {
    let index =
        br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let files: [(&str, &[u8]); 6] = [
        ("README.md", b"not fetched"),
        ("config.json", b"{}"),
        ("model-00001-of-00002.safetensors", b"one"),
        (SHARD, &large()),
        ("model.safetensors.index.json", index),
        ("tokenizer.json", b"{\"a\": 1}"),
    ];
    hub.put(repo, commit, &files);
}

/// Rows of our own in place of the official ones, as the hub converts them.
fn put_arc_easy(hub: &Server) {
    let rows = fixture("tests/reference/parquet/arc_easy.parquet");
    hub.put(ARC, "d0", &[("ARC-Easy/test/0000.parquet", &rows), ("ARC-Easy/train/0000.parquet", &rows)]);
}

fn fixture(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

const PREPARE: [&str; 3] = ["prepare", "--model", "qwen2.5-1.5b"];

#[test]
fn a_model_is_fetched_once_and_run_finds_it() {
    let here = Here::new();
    let pocket = |name: &str| fixture(&format!("models/pocket/{name}"));
    // Qwen's tokenizer adds no BOS, and the model by that name is refused with one that does.
    let tokenizer = fixture("tests/reference/tokenizer.json");
    let (config, weights) = (pocket("config.json"), pocket("model.safetensors"));
    here.hub.put(
        QWEN,
        "c0",
        &[
            ("chat_template.jinja", b"{{ messages[0].content }}"),
            ("config.json", &config),
            ("model.safetensors", &weights),
            ("tokenizer.json", &tokenizer),
        ],
    );
    let score = ["score", "--model", "qwen2.5-1.5b", "--dataset", "piqa-mini", "--limit", "2"];
    here.fails(&score, &["`splitbench prepare --model qwen2.5-1.5b`"]);
    assert!(here.hub.log().is_empty(), "only prepare uses the network");

    let said = here.works(&PREPARE);
    assert!(said.contains("qwen2.5-1.5b: 4 files, 4.4 MB, 4.4 MB received"), "{said}");
    assert!(here.works(&score).contains("2 questions"));
    let log = here.hub.log();
    assert_eq!(log.iter().filter(|r| r.at_storage).count(), 1, "one large file, one request for it");

    // The layout of huggingface_hub, and what hf-hub makes of it.
    assert_eq!(fs::read(here.qwen("blobs").join(sha256(&weights))).unwrap(), weights);
    assert_eq!(fs::read_to_string(here.qwen("refs/main")).unwrap(), "c0");
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(here.qwen("snapshots/c0/model.safetensors")).unwrap(),
        Path::new("../../blobs").join(sha256(&weights))
    );
    let cached = hf_hub::Cache::new(here.home.path().join("hub")).model("Qwen/Qwen2.5-1.5B".into());
    assert_eq!(fs::read(cached.get("config.json").unwrap()).unwrap(), config);

    let said = here.works(&PREPARE);
    assert!(said.contains("0.0 MB received"), "{said}");
    assert!(here.hub.log().iter().all(|r| r.method == "HEAD" || r.path.starts_with("/api/models/")));

    let with_bos = pocket("tokenizer.json");
    here.hub.put(
        QWEN,
        "c1",
        &[("config.json", &config), ("model.safetensors", &weights), ("tokenizer.json", &with_bos)],
    );
    here.works(&PREPARE);
    here.fails(&score, &["puts <|begin_of_text|> before a text", "on record for qwen2.5-1.5b is nothing"]);
}

#[test]
fn a_gguf_model_is_chosen_in_a_repository_and_run_finds_it() {
    let here = Here::new();
    let (llama, first, second) = (
        fixture("tests/reference/gguf/llama.gguf"),
        fixture("tests/reference/gguf/qwen2-untied-sharded-00001-of-00002.gguf"),
        fixture("tests/reference/gguf/qwen2-untied-sharded-00002-of-00002.gguf"),
    );
    let files: [(&str, &[u8]); 5] = [
        ("README.md", b"not fetched"),
        ("config.json", b"{}"),
        ("tiny-F32.gguf", &llama),
        ("q/split-00001-of-00002.gguf", &first),
        ("q/split-00002-of-00002.gguf", &second),
    ];
    here.hub.put("models/owner/tiny-GGUF@main", "c0", &files);
    let several = ["2 GGUF models fit", "owner/tiny-GGUF:NAME", "tiny-F32.gguf"];
    here.fails(&["prepare", "--model", "owner/tiny-GGUF"], &several);
    here.fails(&["prepare", "--model", "owner/tiny-GGUF:Q4_K_M"], &["no .gguf file fits \"Q4_K_M\""]);
    let run = ["run", "table2", "--model", "owner/tiny-GGUF:F32", "--datasets", "piqa-mini", "--limit", "2"];
    here.fails(&run, &["`splitbench prepare --model owner/tiny-GGUF:F32`"]);
    let said = here.works(&["prepare", "--model", "owner/tiny-GGUF:F32"]);
    assert!(said.contains("owner/tiny-GGUF:F32: 1 files, 0.1 MB"), "{said}");
    here.hub.log();
    let score = |model| ["score", "--model", model, "--dataset", "piqa-mini", "--limit", "2"];
    assert!(here.works(&score("owner/tiny-GGUF:F32")).contains("2 questions"));
    assert!(here.works(&score("owner/tiny-GGUF")).contains("2 questions"), "the only one there is");
    assert!(here.hub.log().is_empty(), "only prepare uses the network");
    let said = here.works(&["prepare", "--model", "owner/tiny-GGUF:split"]);
    assert!(said.contains("2 files"), "{said}");
    here.fails(&score("owner/tiny-GGUF"), &several);
    here.fails(&["plan", "table2", "--model", "owner/tiny-GGUF", "--datasets", "piqa-mini"], &several);
}

#[test]
fn processes_at_once_fetch_a_file_once() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| here.works(&PREPARE));
        }
    });
    let at_storage = |r: &&server::Request| r.at_storage && r.method == "GET";
    assert_eq!(here.hub.log().iter().filter(at_storage).count(), 2, "two shards, one request for each");
    assert_eq!(fs::read(here.qwen("snapshots/c0").join(SHARD)).unwrap(), large());
}

#[test]
fn only_what_run_reads_is_fetched_and_shards_are_found_by_the_index() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    let said = here.works(&PREPARE);
    assert!(said.contains("5 files, 0.3 MB"), "{said}");
    assert_eq!(fs::read(here.qwen("snapshots/c0").join(SHARD)).unwrap(), large());
    assert!(!here.qwen("snapshots/c0/README.md").exists());
}

#[test]
fn a_cut_off_file_goes_on_from_where_it_stopped() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    here.hub.fault(SHARD, Fault::CutAt(120_000), 1);
    here.works(&PREPARE);
    let ranges: Vec<_> =
        here.hub.log().into_iter().filter(|r| r.path.ends_with(SHARD) && r.at_storage).map(|r| r.range).collect();
    assert_eq!(ranges, [None, Some("bytes=120000-".into())]);
    assert_eq!(fs::read(here.qwen("snapshots/c0").join(SHARD)).unwrap(), large());
}

#[test]
fn a_file_that_stays_cut_off_is_kept_for_the_next_time() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    here.hub.fault(SHARD, Fault::CutAt(120_000), usize::MAX);
    here.fails(
        &PREPARE,
        &[SHARD, "Qwen/Qwen2.5-1.5B", "cut off at 120000 of 300000 bytes", "the same command goes on"],
    );
    assert!(!here.qwen("refs/main").exists(), "readers of the cache see no half of a model");
    here.hub.heal();
    here.hub.log();
    here.works(&PREPARE);
    let first = here.hub.log().into_iter().find(|r| r.path.ends_with(SHARD) && r.at_storage).unwrap();
    assert_eq!(first.range.as_deref(), Some("bytes=120000-"));
    assert_eq!(fs::read(here.qwen("snapshots/c0").join(SHARD)).unwrap(), large());
}

#[test]
fn a_host_without_ranges_sends_all_again() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    here.hub.fault(SHARD, Fault::Whole, usize::MAX);
    let partial = here.qwen("blobs").join(format!("{}.incomplete", sha256(&large())));
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, "something else").unwrap();
    here.works(&PREPARE);
    assert_eq!(fs::read(here.qwen("snapshots/c0").join(SHARD)).unwrap(), large());
    assert!(!partial.exists());
}

#[test]
fn a_host_without_ranges_that_cuts_every_answer_is_given_up() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    here.hub.fault(SHARD, Fault::WholeCutAt(120_000), usize::MAX);
    here.fails(&PREPARE, &[SHARD, "cut off at 120000 of 300000 bytes"]);
}

#[test]
fn other_bytes_than_announced_are_refused_and_deleted() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    here.hub.fault(SHARD, Fault::Damaged, 1);
    let expected = sha256(&large());
    here.fails(&PREPARE, &[SHARD, "changed upstream or was damaged", &expected, "prepare again"]);
    here.works(&PREPARE);
    // A beginning that is not the file's: the SHA-256 shows it in the end.
    let (here, partial) = (Here::new(), format!("blobs/{expected}.incomplete"));
    put_model(&here.hub, QWEN, "c0");
    fs::create_dir_all(here.qwen("blobs")).unwrap();
    fs::write(here.qwen(&partial), [0; 1000]).unwrap();
    here.fails(&PREPARE, &["changed upstream or was damaged"]);
    here.works(&PREPARE);
    // A beginning longer than the file is not one.
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    fs::create_dir_all(here.qwen("blobs")).unwrap();
    fs::write(here.qwen(&partial), vec![0; 400_000]).unwrap();
    here.works(&PREPARE);
    // A damaged file of the cache is mended.
    let blob = here.qwen("blobs").join(&expected);
    let mut bytes = large();
    bytes[7] ^= 1;
    fs::write(&blob, bytes).unwrap();
    assert!(here.works(&PREPARE).contains("is damaged"));
    assert_eq!(fs::read(&blob).unwrap(), large());
}

#[test]
fn a_gated_model_says_what_is_missing_and_its_token_stays_with_the_hub() {
    let prepare = ["prepare", "--model", "llama-3.2-1b"];
    let gated = |here: Here| {
        put_model(&here.hub, LLAMA, "c0");
        here.hub.gate(LLAMA);
        here
    };
    let here = gated(Here::new());
    let page = format!("{}/meta-llama/Llama-3.2-1B", here.hub.endpoint());
    here.fails(&prepare, &["meta-llama/Llama-3.2-1B is gated", "401", &page, "set HF_TOKEN"]);
    let here = gated(Here::new().with("HF_TOKEN", "hf_other"));
    here.fails(&prepare, &["meta-llama/Llama-3.2-1B is gated", "403", "has no access", "accept the licence"]);
    let here = gated(Here::new().with("HF_TOKEN", TOKEN));
    here.works(&prepare);
    let log = here.hub.log();
    assert!(log.iter().any(|r| r.at_storage) && log.iter().all(|r| r.token.is_some() != r.at_storage), "{log:?}");
    // The token that a login leaves.
    let here = gated(Here::new());
    fs::write(here.home.path().join("token"), format!("{TOKEN}\n")).unwrap();
    here.works(&prepare);
    let here = Here::new().with("HF_TOKEN", "two words");
    here.fails(&prepare, &["HF_TOKEN", "blank"]);
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let here = Here::new();
    here.fails(&PREPARE, &["the hub refused Qwen/Qwen2.5-1.5B with 401", "no such repository"]);
    let here = Here::new().with("HF_TOKEN", TOKEN);
    here.fails(&PREPARE, &["the hub has no Qwen/Qwen2.5-1.5B", "moved, renamed or deleted"]);
    here.hub.put(QWEN, "c0", &[("config.json", b"{}"), ("pytorch_model.bin", b"old")]);
    here.fails(&PREPARE, &["the hub has no tokenizer.json of Qwen/Qwen2.5-1.5B"]);
    here.hub.put(QWEN, "c0", &[("config.json", b"{}"), ("tokenizer.json", b"{}"), ("pytorch_model.bin", b"old")]);
    here.fails(&PREPARE, &["the hub has no model.safetensors.index.json"]);
}

#[test]
fn a_busy_hub_is_waited_for_and_not_for_ever() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    here.hub.fault("/revision/main", Fault::Status(429, "Retry-After: 0\r\n"), 2);
    here.hub.fault(SHARD, Fault::Status(503, "Retry-After: 0\r\n"), 2);
    here.works(&PREPARE);
    here.hub.fault("/revision/main", Fault::Status(429, "Retry-After: 0\r\n"), usize::MAX);
    here.fails(&PREPARE, &["429 (too many requests) 5 times", "wait some minutes"]);
    here.hub.fault("/revision/main", Fault::Status(502, "Retry-After: 0\r\n"), usize::MAX);
    here.fails(&PREPARE, &["Qwen/Qwen2.5-1.5B", "answered 502", "try again later"]);
    here.hub.fault("/revision/main", Fault::Status(418, ""), 1);
    here.fails(&PREPARE, &["answered 418"]);
}

#[test]
fn an_address_that_is_no_hub_is_told_apart() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let here = Here::new().with("HF_ENDPOINT", &format!("http://{closed}/"));
    here.fails(&PREPARE, &["cannot reach", &closed.to_string(), "HF_ENDPOINT"]);
    let here = Here::new().with("HF_ENDPOINT", "huggingface.co");
    here.fails(&PREPARE, &["HF_ENDPOINT is \"huggingface.co\"", "https://huggingface.co"]);
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    here.hub.fault("/revision/main", Fault::Status(200, ""), 1);
    here.fails(&PREPARE, &["its list of files is not JSON of a hub", "HF_ENDPOINT"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_says_how_much_is_missing() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    fs::create_dir_all(here.qwen("blobs")).unwrap();
    let partial = here.qwen("blobs").join(format!("{}.incomplete", sha256(&large())));
    std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
    here.fails(&PREPARE, &["the disk of", "is full", SHARD, "300000 more bytes", "--dir"]);
    // A place that is no folder.
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    fs::write(here.home.path().join("hub"), "").unwrap();
    here.fails(&PREPARE, &["cannot make the folder", "writable"]);
}

#[test]
fn offline_takes_what_is_there_and_asks_nobody() {
    let mut here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    put_arc_easy(&here.hub);
    here.works(&PREPARE);
    let rows = ["prepare", "--dataset", "arc_easy", "--accept-changed"];
    here.works(&rows);
    here.hub.log();
    here = here.with("HF_HUB_OFFLINE", "1");
    here.works(&PREPARE);
    fs::remove_file(here.rows("arc_easy/eval.jsonl")).unwrap();
    here.works(&rows);
    assert!(here.rows("arc_easy/eval.jsonl").exists(), "made again from the cache");
    here.fails(&["prepare", "--dataset", "qasc"], &["allenai/qasc", "HF_HUB_OFFLINE", "unset it"]);
    here.fails(&["prepare", "--model", "qwen2.5-3b"], &["Qwen/Qwen2.5-3B is not in", "HF_HUB_OFFLINE"]);
    fs::write(here.qwen("blobs").join(sha256(b"one")), "two").unwrap();
    here.fails(&PREPARE, &["an undamaged model-00001-of-00002.safetensors"]);
    assert!(here.hub.log().is_empty());
}

#[test]
fn a_model_that_changed_upstream_is_fetched_and_told() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    here.works(&PREPARE);
    put_model(&here.hub, QWEN, "c1");
    here.hub.log();
    let said = here.works(&PREPARE);
    assert!(said.contains("changed upstream since it was prepared, from commit c0 to c1"), "{said}");
    assert!(here.hub.log().iter().all(|r| !r.at_storage), "the same content is not fetched twice");
    assert_eq!(fs::read(here.qwen("snapshots/c1").join(SHARD)).unwrap(), large());
}

#[test]
fn parquet_becomes_the_rows_that_python_prints() {
    let here = Here::new();
    let parquet = |name: &str| fixture(&format!("tests/reference/parquet/{name}.parquet"));
    let rows = |name: &str| fixture(&format!("tests/reference/rows/{name}.jsonl"));
    put_arc_easy(&here.hub);
    here.hub.put(
        "datasets/EleutherAI/logiqa@refs/convert/parquet",
        "d1",
        &[("logiqa/test/0000.parquet", &parquet("logiqa")), ("logiqa/validation/0000.parquet", &parquet("logiqa"))],
    );
    let eval = rows("arc_easy");
    let on_record = "874354cf372667530bd6cbd2d78dca2d657c5e2e746f53cf01d1e9d3a90cbc3d";
    here.fails(
        &["prepare", "--dataset", "arc_easy"],
        &[
            "the hub's rows changed upstream",
            "commit d0",
            "5 rows",
            &sha256(&eval),
            "on record are 2376",
            on_record,
            "--accept-changed",
        ],
    );
    assert!(!here.rows("arc_easy/eval.jsonl").exists());
    let said = here.works(&["prepare", "--dataset", "arc_easy,logiqa", "--accept-changed"]);
    assert!(said.contains("5 rows, not those on record"), "{said}");
    assert_eq!(fs::read(here.rows("arc_easy/eval.jsonl")).unwrap(), eval);
    assert_eq!(fs::read(here.rows("logiqa/validation.jsonl")).unwrap(), rows("logiqa"));
    fs::write(here.rows("logiqa/validation.jsonl"), "rows of the user's own").unwrap();
    let said = here.works(&["prepare", "--dataset", "logiqa", "--accept-changed"]);
    assert!(said.contains("validation.jsonl.old"), "{said}");
    assert_eq!(fs::read(here.rows("logiqa/validation.jsonl.old")).unwrap(), b"rows of the user's own");
    assert_eq!(fs::read(here.rows("logiqa/validation.jsonl")).unwrap(), rows("logiqa"));
    let said = here.works(&["score", "--dataset", "arc_easy", "--limit", "2"]);
    assert!(said.contains("2 questions") && said.contains("not the one on record"), "{said}");
    let list = here.works(&["list", "datasets"]);
    assert!(list.lines().any(|line| line.starts_with("arc_easy ") && line.ends_with("prepared")), "{list}");
}

#[test]
fn rows_of_the_hub_that_a_definition_names_are_fetched() {
    let here = Here::new();
    put_arc_easy(&here.hub);
    let path = here.home.path().join("easy.toml");
    let own = path.display().to_string();
    let definition = "hub_id = \"allenai/ai2_arc\"\nhub_config = \"ARC-Easy\"\nsplit = \"test\"\nprompt = \"{{question}}\"\n\
                      choices = \"choices.text\"\nlabels = \"choices.label\"\ngold = \"answerKey\"\n";
    fs::write(&path, definition).unwrap();
    let fetch = format!("fetch with `splitbench prepare --dataset {own}`");
    here.fails(&["plan", "smoke", "--datasets", &own], &["not on this machine: easy", &fetch]);
    here.fails(&["score", "--dataset", &own], &["not part of this program", &format!("prepare --dataset {own}`")]);
    let said = here.works(&["prepare", "--dataset", &own]);
    let rows = fs::read(here.rows("easy/eval.jsonl")).unwrap();
    let states = format!("sha256 = {:?}", sha256(&rows));
    assert!(said.contains("5 rows, which ") && said.contains(&states), "{said}");
    // Rows that nothing compares could be those of another split that the definition named before.
    here.fails(&["score", "--dataset", &own], &["easy/eval.jsonl", "does not state", &states]);
    fs::write(here.rows("easy/eval.jsonl"), "rows of another split").unwrap();
    let said = here.works(&["prepare", "--dataset", &own]);
    assert!(said.contains("eval.jsonl.old") && said.contains(&states), "{said}");
    assert_eq!(fs::read(here.rows("easy/eval.jsonl")).unwrap(), rows);
    // What the definition states of them has to hold, as of the built-in sets.
    let stated = |sha256: &str| fs::write(&path, format!("rows = 5\nsha256 = \"{sha256}\"\n{definition}")).unwrap();
    stated(&sha256(&rows));
    assert!(here.works(&["prepare", "--dataset", &own]).contains("is there, 5 rows"));
    let said = here.works(&["score", "--dataset", &own]);
    assert!(said.contains("pocket easy baseline") && said.contains("5 questions") && !said.contains("note"), "{said}");
    here.fails(&["score", "--dataset", &own, "--codec", "asvd", "--ratio", "4"], &["no train.jsonl"]);
    fs::write(here.rows("easy/train.jsonl"), &rows).unwrap();
    here.fails(
        &["score", "--dataset", &own, "--codec", "asvd", "--ratio", "4"],
        &["train.jsonl", "a [train] table with"],
    );
    stated(&sha256(b"other rows"));
    here.fails(&["prepare", "--dataset", &own], &["changed upstream", "on record are 5", "--accept-changed"]);
    let said = here.works(&["score", "--dataset", &own, "--limit", "2"]);
    assert!(said.contains("not the one on record"), "{said}");
    fs::write(&path, definition.replace("split = \"test\"\n", "")).unwrap();
    here.fails(&["prepare", "--dataset", &own], &["easy.toml", "expected split beside hub_id"]);
}

#[test]
fn rows_that_no_run_can_read_are_refused_before_they_are_kept() {
    let prepare = ["prepare", "--dataset", "arc_easy", "--accept-changed"];
    for (file, says) in [
        ("piqa", &["no run can read", "allenai/ai2_arc", "eval.jsonl line 1", "\"question\" is missing"][..]),
        ("dates", &["0000.parquet of allenai/ai2_arc", "column \"day\"", "Date32"]),
    ] {
        let here = Here::new();
        let rows = fixture(&format!("tests/reference/parquet/{file}.parquet"));
        here.hub.put(ARC, "d0", &[("ARC-Easy/test/0000.parquet", &rows), ("ARC-Easy/train/0000.parquet", &rows)]);
        here.fails(&prepare, says);
        assert!(!here.rows("arc_easy").exists());
    }
    let here = Here::new();
    here.hub.put(PIQA, "d0", &[("validation.jsonl", b"{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\"}\n")]);
    here.fails(&["prepare", "--dataset", "piqa", "--accept-changed"], &["eval.jsonl line 1", "\"label\" is missing"]);
}

#[test]
fn a_repository_that_was_not_converted_gives_its_own_files() {
    let here = Here::new();
    let row = |i: usize| format!("{{\"goal\":\"é {i}\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":{}}}\n", i % 2);
    let python =
        |i: usize| format!("{{\"goal\": \"é {i}\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": {}}}\n", i % 2);
    let lines = |n: usize| (0..n).map(row).collect::<String>().into_bytes();
    let prepare = ["prepare", "--dataset", "piqa", "--accept-changed"];
    here.hub.put(PIQA, "d0", &[("validation.jsonl", &lines(3)), ("train.jsonl", &lines(1999))]);
    here.fails(&prepare, &["the train split of baber/piqa has 1999 rows, expected at least 2000"]);
    here.hub.put(PIQA, "d1", &[("validation.jsonl", &lines(3)), ("train.jsonl", &lines(2001))]);
    let said = here.works(&prepare);
    assert!(said.contains("2000 rows, the first of the hub's train split"), "{said}");
    let expected: String = (0..2000).map(python).collect();
    assert_eq!(fs::read_to_string(here.rows("piqa/train.jsonl")).unwrap(), expected);
    here.hub.put(PIQA, "d2", &[("notes.txt", b"")]);
    here.fails(&prepare, &["baber/piqa", "\"default\"", "\"validation\"", "notes.txt"]);
    here.hub.put(PIQA, "d3", &[("validation.jsonl", b"{\n")]);
    here.fails(&prepare, &["validation.jsonl of baber/piqa", "line 1 is not JSON"]);
    here.hub.put(PIQA, "d4", &[("data/validation.parquet", b"PAR1 not really")]);
    here.fails(&prepare, &["data/validation.parquet of baber/piqa", "not a whole Parquet file"]);
}

/// The ten official sets where `../shared/datasets` holds them, as a hub would give them.
#[test]
fn official_rows_come_out_as_on_record() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/datasets");
    if !shared.exists() {
        println!("skipped: ../shared/datasets is not there");
        return;
    }
    let here = Here::new();
    for info in splitbench::data::registry().iter().filter(|i| !i.mini) {
        let train = info.train.as_ref().unwrap();
        let read = |file: &str| fs::read(shared.join(&info.name).join(file)).unwrap();
        let (eval, mut calibration) = (read("eval.jsonl"), read(&train.file));
        if train.hub_rows.is_some() {
            calibration = calibration.repeat(2000usize.div_ceil(train.rows.unwrap()));
        }
        let in_config = |config: &str, split: &str| format!("{config}/{split}-00000-of-00001.jsonl");
        let config = train.hub_config.as_ref().unwrap_or(&info.hub_config);
        here.hub.put(
            &format!("datasets/{}@main", info.hub_id),
            "d0",
            &[(&in_config(&info.hub_config, &info.split), &eval), (&in_config(config, &train.split), &calibration)],
        );
        let said = here.works(&["prepare", "--dataset", &info.name]);
        assert!(said.contains(&format!("{} rows, as on record", info.rows.unwrap())), "{said}");
        assert_eq!(fs::read(here.rows(&format!("{}/eval.jsonl", info.name))).unwrap(), eval);
        here.hub.log();
        here.works(&["prepare", "--dataset", &info.name]);
        assert!(here.hub.log().is_empty(), "rows on record are not asked for again");
    }
}

#[test]
fn a_folder_of_the_users_gets_models_and_data_sets() {
    let (here, dir) = (Here::new(), tempfile::tempdir().unwrap());
    put_model(&here.hub, QWEN, "c0");
    put_arc_easy(&here.hub);
    let path = dir.path().display().to_string();
    let said = here.works(&[
        "prepare",
        "--model",
        "qwen2.5-1.5b",
        "--dataset",
        "arc_easy",
        "--accept-changed",
        "--dir",
        &path,
    ]);
    assert!(said.contains(&format!("HF_HUB_CACHE={path}/hub splitbench run ... --data-dir {path}")), "{said}");
    assert!(dir.path().join("hub/models--Qwen--Qwen2.5-1.5B/refs/main").exists());
    assert!(dir.path().join("arc_easy/eval.jsonl").exists() && dir.path().join("arc_easy/train.jsonl").exists());
    assert!(!here.home.path().join("hub").exists());
}

#[test]
fn run_names_the_line_that_is_missing_and_prepare_takes_an_experiment() {
    let here = Here::new();
    let run = ["run", "table2", "--model", "qwen2.5-1.5b", "--datasets", "piqa,arc_easy-mini,siqa"];
    here.fails(&run, &["`splitbench prepare --model qwen2.5-1.5b --dataset piqa,siqa`"]);
    here.fails(
        &["plan", "table2", "--model", "llama-3.2-1b"],
        &["--model llama-3.2-1b --dataset openbookqa,", "licence"],
    );
    assert!(here.works(&["prepare", "smoke"]).contains("nothing to fetch"));
    assert!(
        here.works(&["prepare", "table2"]).contains("nothing to fetch"),
        "the embedded model has its own questions"
    );
    assert!(here.hub.log().is_empty());
    // What fails does not keep the rest from being prepared.
    put_model(&here.hub, QWEN, "c0");
    let said = here.fails(
        &["prepare", "table2", "--model", "llama-3.2-1b,qwen2.5-1.5b", "--dataset", "piqa"],
        &["failed: llama-3.2-1b", "failed: piqa", "2 of 3 not prepared: llama-3.2-1b, piqa"],
    );
    assert!(said.contains("qwen2.5-1.5b: 5 files"), "{said}");
    // Rows of the user's own are not fetched.
    here.hub.log();
    let said = here.works(&["prepare", "table2", "--model", "qwen2.5-1.5b", "--data-dir", "."]);
    assert!(said.contains("qwen2.5-1.5b") && !said.contains("piqa"), "{said}");
    assert!(here.hub.log().iter().all(|asked| asked.path.contains("Qwen")));
    here.fails(&["prepare", "--model", "qwen2.5-15b"], &["did you mean \"qwen2.5-1.5b\"?"]);
    here.fails(&["prepare", "--dataset", "pika"], &["did you mean \"piqa\"?"]);
    assert_eq!(here.run(&["prepare"]).status.code(), Some(2));
}
