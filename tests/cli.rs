//! The program as a user meets it: what it writes, that it writes the same twice, and how it fails.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use candle_core::{DType, Device, Tensor};
use splitbench_codec::npy;
use splitbench_codec::{Activation, CodecSpec, Rate};

fn splitbench(arguments: &[&str]) -> Output {
    // No model or data set that the user has prepared is part of a test.
    let home = env!("CARGO_TARGET_TMPDIR");
    Command::new(env!("CARGO_BIN_EXE_splitbench"))
        .args(arguments)
        .env("HF_HOME", home)
        // What a user who looks for a fault has set does not make errors longer.
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exit code 1 (or 2 for wrong usage), every part named, no panic.
fn fails(arguments: &[&str], expected: &[&str]) {
    let output = splitbench(arguments);
    let text = stderr(&output);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?} ended with {:?}: {text}", output.status);
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    assert!(!text.contains("backtrace") && !text.contains("candle_core::"), "{arguments:?}: {text}");
    for part in expected {
        assert!(text.contains(part), "{arguments:?} does not say {part:?}: {text}");
    }
}

/// A copy of the embedded model as a folder.
fn checkpoint(folder: &Path) -> String {
    fs::create_dir_all(folder).unwrap();
    let pocket = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket");
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(pocket.join(file), folder.join(file)).unwrap();
    }
    folder.display().to_string()
}

/// Names of the files in a folder, as a file system that does not tell capital from small letters has them.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().to_lowercase())
        .collect();
    names.sort();
    names
}

#[test]
fn every_model_has_files_of_its_own_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let text = SMALL.replace("[\"noop\", \"int8\", \"fc\", \"topk\", \"fwsvd\", \"qr\"]", "[\"fc\"]");
    let text = text.replace("\"arc_easy-mini\", ", "").replace("limit = 12", "limit = 2").replace(", \"prompt\"]", "]");
    let path = out.join("My Sweep.toml");
    fs::write(&path, text.replace("[8.0, 3.0]", "[8.0]").replace("[report]", "[report]\nactivations = true")).unwrap();
    let experiment = path.display().to_string();
    let models =
        ["ckpt/step_100", "ckpt/step-100", ".m", "模型", "型模", "v1,2"].map(|name| checkpoint(&out.join(name)));
    // A comma of the last one's path is its own.
    let list = models.join(",").replace("v1,2", "v1\\,2");
    let place = out.display().to_string();
    let run = |model: &str| splitbench(&["run", &experiment, "--model", model, "--out", &place, "--run", "a"]);
    let output = run(&list);
    assert!(output.status.success(), "{}", stderr(&output));
    let experiment_folder = files(&out.join("results")).into_iter().find(|name| name.starts_with("my-sweep-")).unwrap();
    let named = |kind: &str| {
        let inner = fs::read_dir(out.join(kind)).unwrap().map(|entry| entry.unwrap().path());
        inner.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().to_lowercase() == experiment_folder)
    };
    let results = named("results").unwrap().join("a");
    for (list, kind, each) in [
        (files(&results.join("samples")), ".jsonl", 1),
        (files(&results.join("journal")), ".journal", 1),
        (files(&results.join("heat")), "-activation.npy", 1),
        // Against ratio, bytes and layer, the average and each; similarity, energy, heat map and spectrum.
        (files(&named("plots").unwrap().join("a")), ".svg", 10),
    ] {
        let mut of_kind: Vec<&String> = list.iter().filter(|name| name.ends_with(kind)).collect();
        of_kind.dedup();
        assert_eq!(of_kind.len(), models.len() * each, "{list:?}");
        assert!(list.iter().all(|name| !name.starts_with('.')), "{list:?}");
    }
    let text = fs::read_to_string(results.join("rows.csv")).unwrap();
    assert!(models.iter().all(|model| text.contains(model.as_str())), "{text}");
    // Samples are known by the model's name, not by their file's.
    let of = ["--model-a", &models[0], "--model-b", &models[3], "--a", "fc", "--b", "fc", "--json"];
    let results = results.display().to_string();
    let output = splitbench(&[&["compare", results.as_str(), results.as_str()][..], &of].concat());
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&found[0]["a"]["model"], &found[0]["b"]["model"]),
        (&models[0].clone().into(), &models[3].clone().into())
    );
}

#[test]
fn what_stands_twice_under_any_spelling_is_refused_before_anything_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let place = out.display().to_string();
    let model = checkpoint(&folder.path().join("m"));
    for other in [format!("{model}/"), model.replace("/m", "/./m"), format!("{model}/../m")] {
        let both = format!("{model},{other}");
        for verb in ["run", "plan"] {
            let place = if verb == "run" { vec!["--out", &place] } else { vec![] };
            fails(
                &[&[verb, "smoke", "--model", &both][..], &place].concat(),
                &[&format!("model {model} is listed twice, the second time as {other}")],
            );
        }
    }
    let smoke = |more: &[&str], expected: &[&str]| {
        fails(&[&["run", "smoke", "--out", &place][..], more].concat(), expected);
    };
    smoke(&["--model", &model, "--model", &model], &["is listed twice"]);
    // The embedded model is asked the mini set in place of the other.
    smoke(
        &["--datasets", "piqa,piqa-mini"],
        &["data set piqa is listed twice, the second time as piqa-mini", "pocket"],
    );
    smoke(&["--run", ".hidden"], &["\".hidden\"", "plain folder name"]);
    fails(
        &["near-lossless", "--codecs", "fc;fc:band=mirrored", "--out", &place],
        &["codec fc is listed twice, the second time as fc:band=mirrored"],
    );
    fails(&["near-lossless", "--ratios", "8,8.0", "--out", &place], &["ratio 8 is listed twice"]);
    fails(&["near-lossless", "--codec", "int8,fp8", "--out", &place], &["no ratio to search", "int8, fp8"]);
    fails(&["trace", "--datasets", "piqa-mini,piqa-mini", "--output", "no.json"], &["piqa-mini is listed twice"]);
    let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/services/rtx4090-llama-3.2-1b.toml");
    fails(&["simulate", "--profile", profile, "--clients", "1,1", "--out", &place], &["clients 1 is listed twice"]);
    for (option, list, expected) in [
        ("--codecs", "fc,fc:band=mirrored", "method fc is listed twice"),
        ("--hidden", "64,64", "hidden 64 is listed twice"),
        ("--backend", "cpu,cpu", "back end cpu is listed twice"),
        ("--threads", "1,1", "threads 1 is listed twice"),
        ("--devices", "jetson-orin-nx,jetson-orin-nx", "device jetson-orin-nx is listed twice"),
    ] {
        fails(&["replay", "ten-sets", option, list, "--out", &place], &[expected]);
    }
    fails(&["prepare", "--dataset", "piqa,piqa"], &["piqa is listed twice"]);
    assert!(!out.exists(), "{:?}", files(&out));
}

const SMALL: &str = r#"
analysis = "A small one."
datasets = ["arc_easy-mini", "qasc-mini"]
split_layers = [2]
scopes = ["prompt+choice", "prompt"]
codecs = ["noop", "int8", "fc", "topk", "fwsvd", "qr"]
ratios = [8.0, 3.0]
calibration_rows = 8
limit = 12

[report]
table2 = true
table3 = true
ratio_plot = true
layer_plot = true
"#;

fn small(folder: &Path, text: &str) -> String {
    let path = folder.join("small.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn the_same_run_twice_whatever_batch_and_threads_leaves_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = small(folder.path(), SMALL);
    let run = |name: &str, batch: &str, threads: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_splitbench"))
            .args(["run", &experiment, "--run", name, "--batch-tokens", batch, "--out"])
            .arg(folder.path())
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        folder.path().join("results/small").join(name)
    };
    // The second takes its calibrations from what the first left; the third makes its own.
    let (first, again) = (run("a", "2048", "2"), run("b", "2048", "2"));
    let calibrations = folder.path().join("results/calibrations");
    assert_eq!(calibrations.read_dir().unwrap().count(), 2, "one of each data set");
    fs::remove_dir_all(&calibrations).unwrap();
    let other = run("c", "40", "1");
    for file in ["rows.csv", "rows.parquet", "table2.md", "table3.csv", "paired.csv", "samples/pocket--qasc-mini.jsonl"]
    {
        let bytes = fs::read(first.join(file)).unwrap();
        assert!(!bytes.is_empty());
        assert!(bytes == fs::read(again.join(file)).unwrap(), "{file} differs between two equal runs");
        assert!(bytes == fs::read(other.join(file)).unwrap(), "{file} depends on batch size or threads");
    }
    for entry in calibrations.read_dir().unwrap() {
        fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    let rows_of = |run: &Path| fs::read(run.join("rows.csv")).unwrap();
    assert_eq!(rows_of(&run("d", "2048", "2")), rows_of(&first), "damaged calibrations changed the rows");
    let rows = splitbench::record::read_rows(&first.join("rows.parquet")).unwrap();
    // Two data sets: the baseline, and for two scopes one cell of each fixed rate and two ratios of the others.
    assert_eq!(rows.len(), 2 * (1 + 2 * (2 + 4 * 2)));
    assert!(rows.iter().all(|r| r.err.is_none()));
    let noop: Vec<_> = rows.iter().filter(|r| r.codec == "noop").collect();
    assert!(noop.iter().all(|r| r.rel_error == Some(0.0) && r.lost == Some(0) && r.gold_loglik_change == Some(0.0)));
    for row in rows.iter().filter(|r| r.codec != "noop" && !r.is_baseline()) {
        assert!(row.rel_error.unwrap() > 0.0 && row.gold_loglik_change != Some(0.0), "{} ran without loss", row.codec);
    }
    for row in rows.iter().filter(|r| r.codec == "int8") {
        assert!(row.ratio_requested.is_none() && row.ratio_elements == Some(1.0) && row.ratio_wire > Some(1.5));
    }
    let manifest = fs::read_to_string(first.join("manifest.json")).unwrap();
    assert!(manifest.contains("tokenizer_sha256") && first.join("machine.json").exists());
    assert!(folder.path().join("plots/small/a").read_dir().unwrap().count() >= 2);
}

/// What a codec does to each row by itself does not depend on which rows travel together; a transform over tokens does.
#[test]
fn a_question_travels_as_one_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let score = |codec: &str, scope: &str| {
        let file = folder.path().join(format!("{codec}-{scope}.jsonl"));
        let path = file.to_str().unwrap();
        let arguments = ["score", "--dataset", "piqa-mini", "--limit", "6", "--codec", codec, "--scope", scope];
        let ratio: &[&str] = if codec == "fc" { &["--ratio", "2"] } else { &[] };
        let output = splitbench(&[&arguments[..], &["--samples", path], ratio].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let samples = fs::read_to_string(file).unwrap();
        let samples: Vec<serde_json::Value> = samples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let logliks: Vec<String> = samples.iter().map(|sample| sample["loglik"].to_string()).collect();
        (logliks, samples)
    };
    for codec in ["int8", "noop"] {
        let ((apart, alone), (together, stacked)) = (score(codec, "prompt+choice"), score(codec, "question"));
        assert_eq!(apart, together, "{codec}");
        for (alone, stacked) in alone.iter().zip(&stacked) {
            // Each of both choices counts the packet of both.
            let rows = |sample: &serde_json::Value| sample["raw_elements"].as_u64().unwrap();
            assert_eq!(2 * rows(alone), rows(stacked), "{codec}");
        }
    }
    assert_ne!(score("fc", "prompt+choice").0, score("fc", "question").0);
}

#[test]
fn wrong_names_are_answered_with_the_nearest() {
    fails(&["run", "smok"], &["smok", "\"smoke\""]);
    fails(&["run", "smoke", "--model", "pockt"], &["pockt", "\"pocket\""]);
    // Before the rows that it would be asked are missed.
    fails(&["run", "table2", "--model", "pockt"], &["pockt", "\"pocket\""]);
    fails(&["run", "smoke", "--datasets", "piqa-mni"], &["piqa-mni", "\"piqa-mini\""]);
    fails(&["score", "--dataset", "piqa-mini", "--codec", "tpk"], &["tpk", "\"topk\""]);
    fails(&["score", "--dataset", "piqa-mini", "--codec", "fc:bnd=corner"], &["bnd", "band"]);
    fails(&["score", "--dataset", "piqa-mini", "--codec", "fc:band=centred"], &["centred", "centered"]);
    fails(&["score", "--dataset", "piqa-mini", "--scope", "promt"], &["promt", "prompt"]);
    fails(&["run", "smoke", "--model", "./nowhere"], &["./nowhere"]);
    fails(&["score", "--dataset", "piqa"], &["piqa", "--data-dir", "piqa-mini"]);
    fails(&["rum", "smoke"], &["run"]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    for ratio in ["0.5", "NaN", "inf", "0"] {
        fails(&["score", "--dataset", "piqa-mini", "--codec", "fc", "--ratio", ratio], &["ratio"]);
    }
    // Ignored, but no number that it could never be.
    let of_int8 = |ratio| ["score", "--dataset", "piqa-mini", "--codec", "int8", "--ratio", ratio, "--limit", "2"];
    assert!(splitbench(&of_int8("3")).status.success());
    fails(&of_int8("0.5"), &["ratio"]);
    for split in ["0", "7"] {
        fails(
            &["score", "--dataset", "piqa-mini", "--codec", "fc", "--split", split],
            &["split layer", split, "1..=6"],
        );
    }
    fails(&["score", "--dataset", "piqa-mini", "--limit", "0"], &["limit"]);
    fails(&["score", "--dataset", "piqa-mini", "--batch-tokens", "0"], &["--batch-tokens"]);
}

#[test]
fn a_broken_experiment_file_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to, expected) in [
        ("limit = 12", "limit = = 12", vec!["small.toml", "line 9"]),
        ("limit = 12", "limt = 12", vec!["small.toml", "limt"]),
        ("ratios = [8.0, 3.0]", "ratios = [8.0, 0.5]", vec!["small.toml", "0.5"]),
        ("ratios = [8.0, 3.0]", "ratios = [nan]", vec!["small.toml", "ratio"]),
        ("split_layers = [2]", "split_layers = [9]", vec!["split layer 9", "1..=6"]),
        ("\"topk\"", "\"tokp\"", vec!["tokp", "topk"]),
        ("\"topk\"", "\"fc\"", vec!["fc", "twice"]),
        ("\"qasc-mini\"", "\"qask-mini\"", vec!["qask-mini", "qasc-mini"]),
        ("table2 = true", "tabel2 = true", vec!["tabel2"]),
        ("limit = 12", "accounting = 3", vec!["small.toml", "\"wire\"", "list"]),
        ("limit = 12", "accounting = []", vec!["accounting is empty"]),
        ("limit = 12", "accounting = [\"wire\", \"wire\"]", vec!["wire", "twice"]),
        ("limit = 12", "accounting = \"bytes\"", vec!["bytes", "elements"]),
    ] {
        let experiment = small(folder.path(), &SMALL.replace(from, to));
        fails(&["run", &experiment, "--out", folder.path().to_str().unwrap()], &expected);
    }
    fails(&["run", "missing.toml"], &["missing.toml"]);
}

#[test]
fn broken_rows_are_named_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("piqa");
    fs::create_dir(&set).unwrap();
    let good = r#"{"goal":"Cut bread.","sol1":"Use a knife.","sol2":"Use a spoon.","label":0}"#;
    let dir = folder.path().display().to_string();
    for (line, expected) in [
        ("{\"goal\":", vec!["line 2", "eval.jsonl"]),
        (r#"{"goal":"x","sol1":"a","sol2":"b"}"#, vec!["line 2", "label"]),
        (r#"{"goal":"x","sol1":"a","sol2":"b","label":2}"#, vec!["line 2", "label", "2"]),
        (r#"{"goal":"x","sol1":"","sol2":"b","label":0}"#, vec!["line 2", "sol1"]),
    ] {
        fs::write(set.join("eval.jsonl"), format!("{good}\n{line}\n")).unwrap();
        fails(&["score", "--dataset", "piqa", "--data-dir", &dir], &expected);
    }
    fs::write(set.join("eval.jsonl"), format!("{good}\n")).unwrap();
    let output = splitbench(&["score", "--dataset", "piqa", "--data-dir", &dir]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("sha256"), "rows that are not the registry's are used with a note");
    fails(&["score", "--dataset", "arc_easy", "--data-dir", &dir], &["arc_easy", "eval.jsonl"]);
}

#[test]
fn a_place_that_cannot_be_written_to_is_known_before_computing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    fails(&["run", "smoke", "--out", file.to_str().unwrap()], &["--out", "is not a folder"]);
}

#[test]
fn broken_checkpoints_are_refused_by_tensor_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let pocket = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket");
    let copy = |name: &str| fs::copy(pocket.join(name), folder.path().join(name)).unwrap();
    let model = folder.path().display().to_string();
    let score = ["score", "--dataset", "piqa-mini", "--limit", "2", "--model", &model];
    fails(&score, &["config.json"]);
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        copy(name);
    }
    assert!(splitbench(&score).status.success());

    let config = fs::read_to_string(pocket.join("config.json")).unwrap();
    fs::write(folder.path().join("config.json"), config.replace("\"hidden_size\": 192", "\"hidden_size\": 224"))
        .unwrap();
    fails(&score, &["model.embed_tokens.weight", "192", "224"]);
    fs::write(folder.path().join("config.json"), config.replace("LlamaForCausalLM", "MambaForCausalLM")).unwrap();
    fails(&score, &["MambaForCausalLM", "config.json"]);
    fs::write(folder.path().join("config.json"), &config).unwrap();

    let weights = fs::read(pocket.join("model.safetensors")).unwrap();
    fs::write(folder.path().join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    fails(&score, &["model.safetensors"]);
    let mut broken = weights.clone();
    let last = broken.len() - 2;
    broken[last..].copy_from_slice(&0x7e00u16.to_le_bytes());
    fs::write(folder.path().join("model.safetensors"), broken).unwrap();
    fails(&score, &["NaN", "tensor model."]);
    let mut renamed = weights.clone();
    let name = b"model.layers.1.input_layernorm.weight";
    let at = renamed.windows(name.len()).position(|part| part == name).unwrap();
    renamed[at] = b'n';
    fs::write(folder.path().join("model.safetensors"), renamed).unwrap();
    fails(&score, &["model.safetensors", "model.layers.1.input_layernorm.weight"]);
    fs::write(folder.path().join("model.safetensors"), &weights).unwrap();
    fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    fails(&score, &["tokenizer.json"]);
}

/// A folder with the pocket model whose head is not its embedding, and whose tokenizer puts a token behind a text.
fn untied_pocket(folder: &Path) -> String {
    let pocket = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket");
    let config = fs::read_to_string(pocket.join("config.json")).unwrap();
    let more = r#""a_new_switch": true, "tie_word_embeddings": true"#;
    fs::write(folder.join("config.json"), config.replace("\"tie_word_embeddings\": true", more)).unwrap();
    let mut tensors = candle_core::safetensors::load(pocket.join("model.safetensors"), &Device::Cpu).unwrap();
    let embedding = tensors["model.embed_tokens.weight"].clone();
    tensors.insert("lm_head.weight".into(), (embedding * 2.0).unwrap());
    tensors.insert("value_head.weight".into(), Tensor::zeros(4, DType::F16, &Device::Cpu).unwrap());
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    let mut tokenizer: serde_json::Value =
        serde_json::from_slice(&fs::read(pocket.join("tokenizer.json")).unwrap()).unwrap();
    let bos = tokenizer["post_processor"]["single"][0].clone();
    tokenizer["post_processor"]["single"].as_array_mut().unwrap().push(bos);
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    folder.display().to_string()
}

#[test]
fn what_a_reader_of_a_model_s_files_would_not_expect_is_said_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let model = untied_pocket(folder.path());
    let text =
        SMALL.replace("limit = 12", "limit = 2").replace(r#""noop", "int8", "fc", "topk", "fwsvd", "qr""#, r#""fc""#);
    let experiment = small(folder.path(), &text);
    let out = folder.path().display().to_string();
    let output = splitbench(&["run", &experiment, "--run", "a", "--out", &out, "--data-dir", &out, "--model", &model]);
    assert!(output.status.success(), "{}", stderr(&output));
    let manifest = fs::read(folder.path().join("results/small/a/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let bos = "<|begin_of_text|>";
    let part = &manifest["models"][0];
    assert_eq!((&part["prefix"], &part["suffix"]), (&serde_json::json!([bos]), &serde_json::json!([bos])));
    let notes: Vec<&str> = manifest["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    let told = stderr(&output);
    for expected in ["tie_word_embeddings = true", "value_head.weight", "a_new_switch", "after every text"] {
        let of_it: Vec<&&str> = notes.iter().filter(|note| note.contains(expected)).collect();
        assert_eq!(of_it.len(), 1, "{expected}: {notes:?}");
        assert_eq!(told.matches(*of_it[0]).count(), 1, "{told}");
    }

    // The head is a matrix of its own in what a run is expected to take, too.
    let memory = |model: &str| {
        let output = splitbench(&["plan", &experiment, "--json", "--model", model]);
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        plan["memory_bytes"].as_f64().unwrap()
    };
    assert_eq!(memory(&model) - memory("pocket"), 4.0 * 1408.0 * 192.0);
}

#[test]
fn options_of_a_codec_without_one_are_refused() {
    for (option, value) in [("--ratio", "4"), ("--accounting", "wire"), ("--split", "2"), ("--scope", "prompt")] {
        fails(&["score", "--dataset", "piqa-mini", "--limit", "1", option, value], &[option, "--codec"]);
    }
}

#[test]
fn layers_are_compared_and_reported_again_from_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let asked = ["layers", "--datasets", "piqa-mini,qasc-mini", "--limit", "4", "--out", out, "--run", "a"];
    let told = splitbench(&[&asked[..], &["--codec", "topk", "--accounting", "wire", "--json"]].concat());
    assert!(told.status.success(), "{}", stderr(&told));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let layers = told[0]["layers"].as_array().unwrap();
    assert_eq!((layers.len(), told[0]["codec"].as_str()), (6, Some("topk")));
    assert_eq!(layers[1]["errors"].as_array().unwrap().len(), 5);
    assert_eq!(told[0]["indicators"].as_array().unwrap().len(), 9);

    let results = folder.path().join("results/layers/a");
    let plots = folder.path().join("plots/layers/a");
    let files: Vec<_> = ["layers", "growth", "indicators"]
        .iter()
        .flat_map(|name| ["md", "csv"].map(|ending| results.join(format!("{name}.{ending}"))))
        .chain(["layers.svg", "growth.svg"].map(|name| plots.join(name)))
        .collect();
    let before: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(String::from_utf8_lossy(&before[3]).lines().count(), 1 + 6 + 5 + 4 + 3 + 2 + 1);
    let again = splitbench(&["report", results.to_str().unwrap(), "--plots", plots.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("Indicators: pocket by topk at ratio 8 in wire"));
    assert!(before == files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>());

    fs::write(results.join("layers.jsonl"), "{}\n").unwrap();
    fails(&["report", results.to_str().unwrap()], &["layers.jsonl line 1", "missing field"]);
    fails(&["layers", "--codec", "tokp", "--out", out], &["tokp", "topk"]);
    fails(&["layers", "--ratio", "0.5", "--out", out], &["ratio", "0.5"]);
    fails(&["layers", "--datasets", "qask-mini", "--out", out], &["qask-mini", "qasc-mini"]);
    fails(&["layers", "--limit", "0", "--out", out], &["limit is 0"]);
}

#[test]
fn rows_of_several_runs_are_reported_as_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("together");
    let run = |experiment: &str| format!("{}/results/{experiment}/pocket", env!("CARGO_MANIFEST_DIR"));
    let (codecs, table2, out_name) = (run("codecs"), run("table2"), out.display().to_string());
    let output = splitbench(&["report", &codecs, &table2, "--out", &out_name]);
    assert!(output.status.success(), "{}", stderr(&output));
    let count = |path: &Path| splitbench::record::read_rows(path).unwrap().len();
    let rows = fs::read_to_string(out.join("rows.csv")).unwrap();
    let [all, more] = [&codecs, &table2].map(|run| count(&Path::new(run).join("rows.parquet")));
    // On each of ten sets the unsplit model, and three codecs that both runs have at 8, stand once.
    assert_eq!((all, more, rows.lines().count() - 1), (590, 160, 590 + 160 - 40));
    let table = fs::read_to_string(out.join("codecs.csv")).unwrap();
    for ratio in ["fc,10,elements", "fc,8,elements", "sparse-rans,8,wire"] {
        assert_eq!(table.lines().filter(|line| line.contains(&format!(",{ratio},"))).count(), 1, "{ratio}");
    }
    // Times are there too, of the run that has them.
    assert!(fs::read_to_string(out.join("codecs.md")).unwrap().contains("encode µs"));
    assert!(out.join("table2.md").is_file() && out.join("plots/accuracy-vs-bytes.svg").is_file());
    fails(&["report", &codecs, &format!("{codecs}/"), "--out", &out_name], &["there twice"]);
    fails(&["report", &codecs, &table2, "--out", &codecs], &["--out", "one of the runs"]);
    fails(&["report", &codecs, &table2, "--out", &out_name, "--page", &out_name], &["--page", "--out"]);
}

#[test]
fn every_listing_and_help_answers() {
    for what in ["models", "datasets", "codecs", "experiments", "backends"] {
        let output = splitbench(&["list", what, "--json"]);
        assert!(output.status.success());
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(list.as_array().unwrap().len() >= if what == "backends" { 2 } else { 5 }, "{what}");
        let scoped = |codec: &serde_json::Value| codec["rows"] == "local" || codec["rows"] == "joint";
        assert!(what != "codecs" || list.as_array().unwrap().iter().all(scoped));
    }
    for verb in [
        "list",
        "prepare",
        "plan",
        "run",
        "near-lossless",
        "layers",
        "collect",
        "report",
        "compare",
        "simulate",
        "score",
        "perplexity",
        "gate",
        "device-check",
        "codec",
        "trace",
        "replay",
        "profile",
    ] {
        let help = splitbench(&[verb, "--help"]);
        assert!(String::from_utf8_lossy(&help.stdout).contains("splitbench "), "{verb} --help has no example");
    }
}

#[test]
fn a_reader_who_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_splitbench"))
        .args(["list", "datasets", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(stderr(&output), "");
    assert!(output.status.success());
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_splitbench")).args(["list", "datasets"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: writing to standard output: "), "{}", stderr(&output));
}

/// Writes a .npy file of f32, C order.
fn matrix(path: &Path, tokens: usize, hidden: usize) -> String {
    let value = |i: usize| ((i * 7 + i / hidden * 3) % 23) as f32 / 8.0 - 1.5;
    let a = Activation::new(tokens, hidden, (0..tokens * hidden).map(value).collect()).unwrap();
    fs::write(path, npy::to_bytes(&a)).unwrap();
    path.display().to_string()
}

#[test]
fn codec_sends_any_matrix_and_tells_what_it_cost() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let input = matrix(&folder.path().join("a.npy"), 12, 40);
    let rows = matrix(&folder.path().join("c.npy"), 100, 40);
    let rate = |codec: &str| CodecSpec::parse(codec).unwrap().info().rate;
    let both_sides = ["klt", "fc:rotate=whiten", "awq:error=activation", "spinquant", "atom", "best", "best:basis=klt"];
    for codec in ["noop", "int8", "fc:values=f32,band=centered", "fc-mask", "topk", "qr", "svd", "asvd", "svd-llm"]
        .into_iter()
        .chain(both_sides)
    {
        let (packet, output) = (place("p.bin"), place("b.npy"));
        let mut arguments = vec!["codec", "--input", &input, "--codec", codec, "--ratio", "4"];
        arguments.extend(["--packet", &packet, "--output", &output, "--json"]);
        if matches!(codec, "asvd" | "svd-llm") || both_sides.contains(&codec) {
            arguments.extend(["--calibration", &rows]);
        }
        let told = splitbench(&arguments);
        assert!(told.status.success(), "{}", stderr(&told));
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
        let bytes = fs::read(&packet).unwrap();
        let (a, b) = (npy::read(Path::new(&input)).unwrap(), npy::read(Path::new(&output)).unwrap());
        assert_eq!(told["codec"], CodecSpec::parse(codec).unwrap().to_string());
        assert_eq!(told["shape"], serde_json::json!([12, 40]));
        assert_eq!(told["ratio_requested"].as_f64(), (rate(codec) == Rate::Budget).then_some(4.0));
        assert_eq!((told["bytes_raw"].as_u64(), told["bytes_wire"].as_u64()), (Some(960), Some(bytes.len() as u64)));
        assert_eq!(told["ratio_wire"].as_f64(), Some(960.0 / bytes.len() as f64));
        assert_eq!(told["rel_error"].as_f64(), Some(a.rel_error(&b)));
        for direction in ["encode", "decode"] {
            let number = |key: &str| told[format!("{direction}_us{key}")].clone();
            let runs = number("_runs").as_array().unwrap().len();
            let (least, median, most) =
                (number("_range")[0].as_f64().unwrap(), number("").as_f64().unwrap(), number("_range")[1].as_f64());
            assert!(runs >= 5 && runs % 2 == 1 && least <= median && median <= most.unwrap(), "{codec}: {told}");
        }
        // The packet alone gives the same matrix, to the byte.
        let again = place("again.npy");
        let mut decode = vec!["codec", "--decode", &packet, "--output", &again];
        if both_sides.contains(&codec) {
            let refused = stderr(&splitbench(&decode));
            assert!(refused.contains("--calibration"), "{codec}: {refused}");
            decode.extend(["--codec", codec, "--calibration", &rows]);
        }
        let decoded = splitbench(&decode);
        assert!(decoded.status.success(), "{}", stderr(&decoded));
        assert!(String::from_utf8_lossy(&decoded.stdout).contains("12 x 40"));
        assert_eq!(fs::read(&again).unwrap(), fs::read(&output).unwrap(), "{codec}");
    }
    let wire = splitbench(&["codec", "--input", &input, "--codec", "topk", "--ratio", "4", "--accounting", "wire"]);
    let text = String::from_utf8_lossy(&wire.stdout).into_owned();
    assert!(text.contains("ratio 4 (wire)") && text.contains("of 960 (f16)"), "{text}");
}

#[test]
fn codec_names_what_is_wrong_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let numpy = |name: &str| format!("{}/crates/codec/tests/npy/{name}.npy", env!("CARGO_MANIFEST_DIR"));
    let (input, output) = (matrix(&folder.path().join("a.npy"), 4, 16), place("b.npy"));
    let encode = |input: &str, more: &[&str], expected: &[&str]| {
        fails(&[&["codec", "--input", input, "--output", &output][..], more].concat(), expected);
        assert!(!Path::new(&output).exists(), "{more:?} left {output}");
    };
    let fc = ["--codec", "fc"];
    for (name, field) in [
        ("int64", "descr"),
        ("complex", "descr"),
        ("objects", "descr"),
        ("structured", "descr"),
        ("one-dimension", "shape"),
        ("three-dimensions", "shape"),
        ("no-rows", "shape"),
        ("beyond-f32", "row 2, column 1"),
        ("nan", "row 2, column 1"),
    ] {
        encode(&numpy(name), &fc, &[&format!("{name}.npy"), field]);
    }
    let cut = place("cut.npy");
    fs::write(&cut, &fs::read(&input).unwrap()[..200]).unwrap();
    encode(&cut, &fc, &["cut.npy", "field data", "256 bytes"]);
    encode(&place("missing.npy"), &fc, &["missing.npy"]);
    encode(folder.path().to_str().unwrap(), &fc, &["field magic"]);

    encode(&input, &["--codec", "tpk"], &["tpk", "topk"]);
    encode(&input, &["--codec", "fc", "--ratio", "0.5"], &["ratio", "0.5"]);
    encode(&input, &["--codec", "fc", "--accounting", "bytes"], &["bytes", "elements"]);
    encode(&input, &["--codec", "fc", "--calibration", &input], &["--calibration", "fc"]);
    encode(&input, &["--codec", "asvd"], &["asvd", "--calibration"]);
    encode(&input, &["--codec", "asvd", "--calibration", &numpy("int64")], &["int64.npy", "descr"]);
    encode(&input, &["--codec", "svd-llm", "--calibration", &numpy("c-f4")], &["calibrated for 5", "16"]);
    encode(&input, &["--codec", "fwsvd", "--calibration", &input], &["fwsvd", "gradients", "score"]);
    encode(&input, &["--codec", "svd-llm:whiten=weights"], &["weights", "score"]);

    for (option, path) in [("--packet", &output), ("--packet", &input)] {
        encode(&input, &["--codec", "fc", option, path], &[option, "another name"]);
    }
    encode(&input, &["--codec", "fc", "--packet", &place("none/p.bin")], &["--packet", "none"]);
    encode(&input, &["--codec", "fc", "--packet", folder.path().to_str().unwrap()], &["--packet", "not a file"]);
    fails(&["codec", "--input", &input, "--codec", "fc", "--output", &input], &["--output", "a.npy", "read"]);

    fails(&["codec"], &["--input"]);
    fails(&["codec", "--input", &input], &["--codec"]);
    fails(&["codec", "--decode", &input], &["--output"]);
    fails(&["codec", "--decode", &input, "--output", &output, "--ratio", "4"], &["--ratio"]);
    let golden = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/codec/tests/golden/fc.bin")).unwrap();
    let mut version = golden.clone();
    version[4] = 2;
    for (bytes, field) in [(&golden[..100], "length"), (&version[..], "version"), (&[][..], "magic")] {
        let packet = place("p.bin");
        fs::write(&packet, bytes).unwrap();
        fails(&["codec", "--decode", &packet, "--output", &output], &["p.bin", "packet field", field]);
        assert!(!Path::new(&output).exists());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "something was left behind");
}

/// The CPU beside itself: that every comparison is done, and that what is equal passes. What does not is tested beside the limits.
#[test]
fn a_device_is_compared_with_the_cpu() {
    let asked = ["device-check", "--limit", "2", "--split", "2"];
    let done = splitbench(&asked);
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(text.starts_with("cpu, beside the CPU; pocket, weights in f32"), "{text}");
    // The residual streams; of ten sets no codec, three codecs and a second run.
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 1 + 10 * 5, "{text}");
    for part in
        ["residual stream after each layer", "qasc-mini, unsplit: 0 at most", "piqa-mini, fc", "logiqa-mini, twice"]
    {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let done = splitbench(&["device-check", "--limit", "1", "--datasets", "piqa-mini", "--dtype", "bf16", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(
        json["passed"] == true && json["dtype"] == "bf16" && json["checks"].as_array().unwrap().len() == 6,
        "{json}"
    );

    fails(&["device-check", "--split", "7"], &["7", "outside 1..=6"]);
    fails(&["device-check", "--datasets", "piqa-mino"], &["unknown data set", "piqa-mini"]);
    fails(&["device-check", "--device", "gpu"], &["expected cpu, cuda or cuda:N"]);
}

#[test]
fn a_machine_is_profiled_with_the_codecs_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let output = at("machine.toml");
    let asked = ["profile", "--output", &output, "--threads", "1", "--codec", "fc,int8", "--ratio", "4,8"];
    let done = splitbench(&asked);
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}", stderr(&done));
    for part in ["pocket on", "1 of", "layer, prompt", "layer, step", "8 elements", &format!("wrote {output}")] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let profile = splitbench::advise::profile::MachineProfile::read(Path::new(&output)).unwrap();
    assert_eq!((profile.model.layers, profile.model.hidden, profile.model.sha256.len()), (6, 192, 64));
    assert!(profile.codec("fc", Some(4.0), "elements").is_some() && profile.codec("int8", None, "").is_some());
    assert_eq!(profile.codecs.len(), 3);
    // The codecs of a run, and none.
    let run = splitbench(&["run", "smoke", "--limit", "1", "--out", &at(""), "--run", "a"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let from = at("results/smoke/a");
    let done = splitbench(&["profile", "--output", &output, "--from", &from, "--json"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(json["codec"].as_array().unwrap().len() > 1 && json["basis"] == "measured", "{json}");

    fails(&["profile", "--output", &output, "--codec", "tokp"], &["unknown codec", "topk"]);
    fails(&["profile", "--output", &output, "--codec", "int8", "--ratio", "4"], &["--ratio", "int8"]);
    fails(&["profile", "--output", &output, "--from", &at("")], &["has no rows.parquet", "results/<experiment>/<run>"]);
    fails(&["profile", "--output", &at("no/such/p.toml"), "--no-codecs"], &["--output", "no/such"]);
    let rows = at("results/smoke/a/rows.parquet");
    fails(&["profile", "--output", &rows, "--from", &from], &["--output", "a file that is read"]);
    fails(&["profile", "--output", &output, "--threads", "100000", "--no-codecs"], &["--threads 100000", "give 1 to"]);
    fails(&["profile", "--output", &output, "--layer", "7", "--no-codecs"], &["--layer", "outside 1..=6"]);
    fails(&["profile", "--output", &output, "--no-codecs", "--codec", "fc"], &["--no-codecs", "--codec"]);
}

#[test]
fn token_ids_need_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let input = matrix(&folder.path().join("a.npy"), 4, 8);
    fails(&["codec", "--input", &input, "--codec", "token-ids"], &["token ids", "matrix alone", "splitbench score"]);
    let packet = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/codec/tests/golden/token-ids.bin");
    let output = folder.path().join("b.npy").display().to_string();
    for codec in [&[][..], &["--codec", "token-ids"]] {
        let decode = ["codec", "--decode", packet.to_str().unwrap(), "--output", &output];
        fails(&[&decode[..], codec].concat(), &["token-ids.bin", "only a model", "splitbench score"]);
    }
}

#[test]
fn a_trace_is_recorded_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let record = |name: &str, batch: &str| {
        let output = splitbench(&[
            "trace",
            "--datasets",
            "piqa-mini,qasc-mini",
            "--limit",
            "2",
            "--split",
            "2",
            "--batch-tokens",
            batch,
            "--output",
            &path(name),
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
    };
    record("a.json", "2048");
    record("b.json", "10");
    let bytes = |name: &str| fs::read(path(name)).unwrap();
    assert!(bytes("a.npy") == bytes("b.npy"), "activations depend on the batch");
    let shapes = splitbench(&[
        "trace",
        "--shapes",
        "--datasets",
        "piqa-mini,qasc-mini",
        "--limit",
        "2",
        "--output",
        &path("s.json"),
    ]);
    assert!(shapes.status.success() && !folder.path().join("s.npy").exists(), "{}", stderr(&shapes));
    let trace = |name: &str| serde_json::from_slice::<serde_json::Value>(&bytes(name)).unwrap();
    for nth in 0..2 {
        assert_eq!(trace("a.json")["datasets"][nth]["lengths"], trace("s.json")["datasets"][nth]["lengths"]);
    }

    let replay = |arguments: &[&str]| {
        let common = ["--out", folder.path().to_str().unwrap(), "--run", "r", "--json"];
        let output = splitbench(&[&["replay"], arguments, &common[..]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice::<Vec<serde_json::Value>>(&output.stdout).unwrap()
    };
    let rows = replay(&[
        &path("a.json"),
        "--codecs",
        "fc:band=centered,values=f32,topk",
        "--threads",
        "1,all",
        "--ratio",
        "4",
    ]);
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert!(row["err"].is_null() && row["both"]["total_s"].as_f64() > Some(0.0), "{row}");
        assert_eq!((row["hidden"].as_u64(), row["activations"].as_str()), (Some(192), Some("recorded")));
    }
    assert_eq!(rows[0]["method"], "fc:band=centered,values=f32");
    let rows = replay(&[&path("s.json"), "--hidden", "64,96", "--codecs", "fc-kernel", "--devices", "jetson-agx-orin"]);
    assert!(rows.iter().any(|row| row["provenance"] == "modelled" && row["hidden"] == 96));
    assert!(rows.iter().any(|row| row["provenance"] == "measured" && row["activations"] == "seeded"));
    let run = folder.path().join("results/replay/r");
    for file in ["replay.jsonl", "timings.csv", "machine.json", "manifest.json", "replay.md"] {
        assert!(fs::metadata(run.join(file)).unwrap().len() > 0, "{file}");
    }
    let again = fs::read(run.join("replay.md")).unwrap();
    fs::remove_file(run.join("replay.md")).unwrap();
    let report = splitbench(&["report", run.to_str().unwrap()]);
    assert!(report.status.success(), "{}", stderr(&report));
    assert_eq!(fs::read(run.join("replay.md")).unwrap(), again);

    fs::write(path("a.npy"), &bytes("a.npy")[..1000]).unwrap();
    fails(&["replay", &path("a.json")], &["a.json", "a.npy", "the file ends"]);
    fs::write(path("b.json"), &bytes("b.json")[..200]).unwrap();
    fails(&["replay", &path("b.json")], &["b.json", "cut short"]);
}

#[test]
fn a_replay_that_cannot_be_is_refused() {
    let ten =
        |more: &[&str]| [&["replay", "ten-sets"], more].concat().into_iter().map(String::from).collect::<Vec<_>>();
    for (arguments, expected) in [
        (ten(&[]), vec!["--hidden"]),
        (ten(&["--hidden", "64", "--codecs", "fc,tpk"]), vec!["tpk", "\"topk\""]),
        (ten(&["--hidden", "64", "--backend", "cuad"]), vec!["cuad", "\"cuda\""]),
        (ten(&["--hidden", "64", "--threads", "3"]), vec!["3", "all"]),
        (ten(&["--hidden", "64", "--ratio", "0.5"]), vec!["ratio 0.5"]),
        (ten(&["--hidden", "64", "--ratio", "papre"]), vec!["papre", "paper"]),
        (ten(&["--hidden", "0"]), vec!["hidden 0"]),
        (ten(&["--hidden", "9999999"]), vec!["9999999"]),
        (ten(&["--hidden", "64", "--seconds", "0"]), vec!["seconds"]),
        (ten(&["--hidden", "64", "--devices", "jetson-orin"]), vec!["jetson-orin-nano"]),
        (vec!["replay".into(), "ten-stes".into()], vec!["ten-stes", "\"ten-sets\""]),
        (vec!["replay".into(), "table2".into()], vec!["table2", "splitbench run"]),
        (vec!["run".into(), "table4".into()], vec!["splitbench replay table4"]),
        (vec!["trace".into(), "--output".into(), "a.npy".into()], vec!["a.npy", ".json"]),
        (
            vec!["trace".into(), "--output".into(), "a.json".into(), "--datasets".into(), "piqa".into()],
            vec!["piqa", "--data-dir"],
        ),
        (
            ["trace", "--output", "a.json", "--datasets", "piqa-mini", "--split", "9", "--limit", "1"]
                .map(String::from)
                .to_vec(),
            vec!["split layer 9", "1..=6"],
        ),
    ] {
        fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &expected);
    }
    let folder = tempfile::tempdir().unwrap();
    let old = small(folder.path(), &SMALL.replace("table3 = true", "table4 = true"));
    fails(&["run", &old], &["splitbench replay table4"]);
}

const OBSERVED: &str = r#"
analysis = "Everything that figures want beside rows."
datasets = ["arc_easy-mini", "qasc-mini"]
split_layers = [1, 3]
codecs = ["fc", "topk", "token-ids", "klt"]
ratios = [8.0]
calibration_rows = 8
limit = 6

[report]
activations = true
layers = true

[report.response]
links_mbps = [10.0]
"#;

#[test]
fn figures_from_a_run_a_simulation_and_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("observed.toml");
    fs::write(&path, OBSERVED).unwrap();
    let out = folder.path().display().to_string();
    let done = |arguments: &[&str]| {
        let output = splitbench(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    done(&["run", &path.display().to_string(), "--out", &out, "--run", "a"]);
    let (results, plots) = (folder.path().join("results/observed/a"), folder.path().join("plots/observed/a"));
    for file in ["heat-maps", "spectrum", "similarity", "energy", "layers", "growth"] {
        assert!(plots.join(format!("{file}.svg")).exists(), "{file}");
    }
    for cut in ["1", "3"] {
        let file = format!("response-pocket-after-layer-{cut}-scope-prompt-choice.svg");
        assert!(plots.join(&file).exists(), "{file} is not in {:?}", plots.read_dir().unwrap().collect::<Vec<_>>());
    }
    // Reports come from the files alone, and alike.
    let before = fs::read(plots.join("heat-maps.svg")).unwrap();
    done(&["report", &results.display().to_string(), "--plots", &plots.display().to_string()]);
    assert!(fs::read(plots.join("heat-maps.svg")).unwrap() == before);
    // Times of two cuts, two sets, two parts: raw and four codecs each.
    let service = fs::read_to_string(results.join("service.csv")).unwrap();
    assert_eq!(service.lines().count(), 1 + 2 * 2 * 2 * 5, "{service}");

    let from = results.display().to_string();
    let common = ["--clients", "1,50", "--seconds", "30", "--seeds", "2", "--out", &out, "--run", "a"];
    let text = done(&[&["simulate", "--from", &from][..], &common].concat());
    assert!(text.contains("saturates at") && text.contains("raw f16"), "{text}");
    let simulated = folder.path().join("results/figure7/a");
    let points = fs::read(simulated.join("simulation.csv")).unwrap();
    done(&[&["simulate", "--from", &from][..], &common].concat());
    assert!(fs::read(simulated.join("simulation.csv")).unwrap() == points, "the same seeds, other numbers");
    done(&["report", &simulated.display().to_string()]);
    done(&["compare", &from, &from, "--a", "fc@8", "--b", "topk@8", "--layer", "1"]);

    // A run that was cut off: its experiment's name says what to draw, here one that the program does not know.
    let manifest = fs::read_to_string(results.join("manifest.json")).unwrap();
    fs::write(results.join("manifest.json"), manifest.replace("\"finished\": \"", "\"finished\": null, \"was\": \""))
        .unwrap();
    assert!(done(&["report", &from]).contains("Partial: the run has not finished."));
    fs::rename(results.join("manifest.json"), results.join("kept.json")).unwrap();
    fails(&["report", &from], &["manifest.json", "has not finished"]);
    fs::rename(results.join("kept.json"), results.join("manifest.json")).unwrap();
    fails(&["report", &out], &["has no rows yet", "splitbench run"]);

    // What a run lacks is said with the command that makes it.
    for file in ["service.csv", "similarity.csv", "energy.csv", "heat.csv"] {
        fs::remove_file(results.join(file)).unwrap();
    }
    let text = done(&["report", &from]);
    assert!(text.contains("`splitbench run figure2`") && text.contains("`splitbench run figure6`"), "{text}");
    fails(&["simulate", "--from", &from], &["service.csv", "splitbench run figure6"]);
    fails(&["simulate"], &["--from", "--profile"]);
    fails(&["run", "figure7"], &["is a simulation", "splitbench simulate figure7"]);
    fails(
        &["run", "figure6", "--run", "a", "--shard", "1/2", "--out", &out],
        &["experiment figure6", "without --shard"],
    );
    fails(&["run", "smoke", "--run", "..", "--out", &out], &["\"..\"", "plain folder name"]);
    fails(&["run", "smoke", "--datasets", "piqa-mini,piqa-mini", "--out", &out], &["piqa-mini is listed twice"]);
    fails(&["compare", &from, &from, "--a", "qr"], &["no cell like that"]);
    fails(&["compare", &from, "nowhere"], &["nowhere", "splitbench run"]);
}

/// The embedded model as a folder, with another limit of tokens.
fn short_model(folder: &Path, most_tokens: u64) -> String {
    let model = folder.join("short");
    fs::create_dir(&model).unwrap();
    for file in ["model.safetensors", "tokenizer.json"] {
        fs::copy(Path::new("models/pocket").join(file), model.join(file)).unwrap();
    }
    let config = fs::read_to_string("models/pocket/config.json").unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["max_position_embeddings"] = most_tokens.into();
    fs::write(model.join("config.json"), config.to_string()).unwrap();
    model.display().to_string()
}

/// `plan` and `run` say the same, and nothing is computed of the data sets before the one that has it.
#[test]
fn a_question_that_is_too_long_is_named_before_anything_is_scored_or_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let model = short_model(folder.path(), 24);
    let experiment = small(folder.path(), SMALL);
    let out = folder.path().display().to_string();
    let run = ["run", &experiment, "--model", &model, "--out", &out, "--run", "a"];
    let plan = ["plan", &experiment, "--model", &model];
    let score = ["score", "--model", &model, "--dataset", "qasc-mini", "--limit", "12"];
    for command in [&run[..], &plan, &score] {
        fails(command, &["data set ", "-mini", "(row ", "24 tokens", "--skip-long"]);
    }
    let journals = folder.path().join("results/small/a/journal");
    let written = |path: &Path| path.extension().is_some_and(|kind| kind == "journal");
    assert!(!journals.read_dir().unwrap().any(|file| written(&file.unwrap().path())), "something was scored");
    for command in [&run[..], &plan, &score] {
        let output = splitbench(&[command, &["--skip-long"]].concat());
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    }
    let table = fs::read_to_string(folder.path().join("results/small/a/table3.md")).unwrap();
    assert!(table.contains("Questions left out as longer than the model takes: "), "{table}");
    let manifest = fs::read_to_string(folder.path().join("results/small/a/manifest.json")).unwrap();
    assert!(manifest.contains("longer than the 24 tokens"), "{manifest}");
}

/// Whatever takes its time is told where there is no terminal.
#[test]
fn calibrating_and_scoring_are_told_while_they_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = small(folder.path(), SMALL);
    let output = Command::new(env!("CARGO_BIN_EXE_splitbench"))
        .args(["run", &experiment, "--run", "a", "--out"])
        .arg(folder.path())
        .env("SPLITBENCH_PROGRESS_SECONDS", "0.01")
        .output()
        .unwrap();
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    for part in ["calibrating after layer 2: ", "pocket arc_easy-mini: ", " sequences, about "] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}
