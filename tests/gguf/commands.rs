//! Every command that takes a model takes a GGUF file.

use std::path::Path;
use std::process::{Command, Output};

use crate::{made, reference};

fn splitbench(arguments: &[&str], home: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_splitbench"));
    command.args(arguments).env("HF_HOME", home).env("HF_HUB_OFFLINE", "1");
    command.output().unwrap()
}

fn works(arguments: &[&str], home: &Path) -> String {
    let output = splitbench(arguments, home);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(arguments: &[&str], home: &Path, expected: &[&str]) {
    let output = splitbench(arguments, home);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !error.contains("panicked"), "{arguments:?}: {error}");
    for part in expected {
        assert!(error.contains(part), "expected {part:?} in: {error}");
    }
}

#[test]
fn every_command_takes_a_gguf_file() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_string();
    let (file, out) = (made("llama.gguf").to_str().unwrap().to_string(), at("out"));
    let model = ["--model", &file, "--datasets", "piqa-mini", "--limit", "3"];
    let run = [&model[..], &["--out", &out, "--run", "a"]].concat();
    works(&[&["run", "table2"], &run[..]].concat(), place.path());
    works(&[&["layers"], &run[..]].concat(), place.path());
    works(&[&["near-lossless", "--points", "50"], &run[..]].concat(), place.path());
    works(&[&["trace", "--output", &at("trace.json")], &model[..]].concat(), place.path());
    let plan = works(&[&["plan", "table2", "--json"], &model[..]].concat(), place.path());
    assert!(plan.contains("memory_bytes"), "{plan}");
    let manifest = std::fs::read_to_string(place.path().join("out/results/table2/a/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let model = &manifest["models"][0];
    let sha256 = |bytes: Vec<u8>| {
        use sha2::{Digest, Sha256};
        Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    assert_eq!(model["name"].as_str(), Some(file.as_str()));
    assert_eq!(model["sha256"].as_str(), Some(sha256(std::fs::read(&file).unwrap()).as_str()), "that of the file");
    assert_eq!(model["tokenizer_sha256"].as_str().map(str::len), Some(64));
    assert_eq!(model["prefix"], serde_json::json!(["<|begin|>"]));
}

#[test]
fn a_score_is_that_of_the_same_model_from_safetensors() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(reference(&format!("loglik/qwen2/{name}")), folder.join(name)).unwrap();
    }
    std::fs::copy(reference("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    let samples = |model: &str, more: &[&str]| {
        let path = place.path().join("samples.jsonl");
        let score =
            ["score", "--dataset", "piqa-mini", "--limit", "8", "--model", model, "--samples", path.to_str().unwrap()];
        works(&[&score[..], more].concat(), place.path());
        std::fs::read_to_string(path).unwrap()
    };
    let (file, tokenizer) = (made("qwen2.gguf"), reference("tokenizer.json"));
    let (file, tokenizer) = (file.to_str().unwrap(), tokenizer.to_str().unwrap());
    let expected = samples(folder.to_str().unwrap(), &[]);
    assert_eq!(samples(file, &[]), expected);
    assert_eq!(samples(file, &["--tokenizer", tokenizer]), expected);
    assert_ne!(
        samples(file, &["--tokenizer", reference("tokenizer-bos.json").to_str().unwrap()]),
        expected,
        "BOS was put before texts"
    );
    let cut = ["--split", "1", "--codec", "fc", "--ratio", "2"];
    assert_eq!(samples(file, &cut), samples(folder.to_str().unwrap(), &cut));
}

#[test]
fn a_model_is_chosen_in_a_folder_or_a_repository() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("files");
    // As `prepare` leaves a repository behind.
    let snapshot = place.path().join("hub/models--owner--tiny-GGUF/snapshots/c0");
    let refs = place.path().join("hub/models--owner--tiny-GGUF/refs");
    for path in [&folder, &snapshot, &refs] {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::write(refs.join("main"), "c0").unwrap();
    for place in [&folder, &snapshot] {
        std::fs::copy(made("llama.gguf"), place.join("tiny-F32.gguf")).unwrap();
    }
    let (path, name) = (folder.to_str().unwrap(), "owner/tiny-GGUF");
    let score =
        |model: &str| works(&["score", "--dataset", "piqa-mini", "--limit", "2", "--model", model], place.path());
    let error = |model: &str, expected: &[&str]| {
        fails(&["score", "--dataset", "piqa-mini", "--limit", "2", "--model", model], place.path(), expected);
    };
    for model in [path, &format!("{path}:f32"), &format!("{path}:tiny-F32.gguf"), name, &format!("{name}:F32")] {
        score(model);
    }
    for place in [&folder, &snapshot] {
        std::fs::copy(made("qwen2.gguf"), place.join("tiny-F16.gguf")).unwrap();
    }
    score(&format!("{path}:F16"));
    score(&format!("{name}:*32*"));
    for place in [path, name] {
        error(place, &["2 GGUF models fit", "tiny-F16.gguf, tiny-F32.gguf", ":NAME"]);
        error(&format!("{place}:Q4"), &["no .gguf file fits \"Q4\""]);
    }
    error("owner/other", &["owner/other", "splitbench prepare --model owner/other", "a GGUF file"]);
    error("nowhere/at/all.gguf", &["nowhere/at/all.gguf", "does not exist"]);
    error("all.gguf", &["all.gguf", "does not exist"]);
    let tokenizer = reference("tokenizer.json");
    let with = |model: &str, tokenizer: &str, expected: &[&str]| {
        let score = ["score", "--dataset", "piqa-mini", "--model", model, "--tokenizer", tokenizer];
        fails(&score, place.path(), expected);
    };
    with("pocket", tokenizer.to_str().unwrap(), &["pocket", "--tokenizer is for GGUF files"]);
    with(made("llama.gguf").to_str().unwrap(), "nowhere.json", &["--tokenizer nowhere.json", "no such file"]);
    let pocket = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket/tokenizer.json");
    with(
        made("llama.gguf").to_str().unwrap(),
        pocket.to_str().unwrap(),
        &["tokenizer.json", "does not fit", "token 0"],
    );
}
