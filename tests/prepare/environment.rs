//! The variables of huggingface_hub, and models by their id on the hub or their folder in its cache.

use std::fs;
use std::path::Path;

use super::*;

#[test]
fn the_cache_is_where_huggingface_hub_has_it() {
    // What huggingface_hub.constants.HF_HUB_CACHE is, H being the user's home.
    for (variables, cache) in [
        (&[("HF_HOME", "~/a")][..], "a/hub"),
        (&[("HF_HOME", "$HOME/a")], "a/hub"),
        (&[("HF_HOME", "${HOME}/$NO_SUCH")], "$NO_SUCH/hub"),
        (&[("HF_HOME", "~/a"), ("XDG_CACHE_HOME", "~/x")], "a/hub"),
        (&[("HF_HOME", ""), ("XDG_CACHE_HOME", "~/x")], "x/huggingface/hub"),
        (&[("HF_HOME", "")], ".cache/huggingface/hub"),
        (&[("HF_HOME", "~/a"), ("HF_HUB_CACHE", "~/c")], "c"),
        (&[("HF_HOME", "~/a"), ("HUGGINGFACE_HUB_CACHE", "~/d")], "d"),
        (&[("HF_HUB_CACHE", "$HOME/c"), ("HUGGINGFACE_HUB_CACHE", "~/d")], "c"),
        (&[("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", "~/d")], "d"),
    ] {
        let user = tempfile::tempdir().unwrap();
        let mut here = Here::new().with("HOME", user.path().to_str().unwrap());
        for (name, value) in variables {
            here = here.with(name, value);
        }
        put_model(&here.hub, QWEN, "c0");
        here.works(&PREPARE);
        let model = user.path().join(cache).join("models--Qwen--Qwen2.5-1.5B/refs/main");
        assert!(model.is_file(), "{variables:?}: no {}", model.display());
        let list = here.works(&["list", "models"]);
        let line = list.lines().find(|line| line.starts_with("qwen2.5-1.5b ")).unwrap();
        assert!(line.contains("in the hub cache"), "{line}");
    }
    let here = Here::new().with("HF_HOME", "~someone/a");
    here.fails(&PREPARE, &["HF_HOME is \"~someone/a\"", "in full"]);
}

#[test]
fn the_token_may_lie_elsewhere_or_under_its_old_name() {
    let gated = |here: Here| {
        put_model(&here.hub, LLAMA, "c0");
        here.hub.gate(LLAMA);
        here
    };
    let prepare = ["prepare", "--model", "llama-3.2-1b"];
    gated(Here::new().with("HUGGING_FACE_HUB_TOKEN", TOKEN)).works(&prepare);
    gated(Here::new().with("HF_TOKEN", TOKEN).with("HUGGING_FACE_HUB_TOKEN", "hf_other")).works(&prepare);
    let user = tempfile::tempdir().unwrap();
    fs::write(user.path().join("my-token"), format!("{TOKEN}\n")).unwrap();
    let here = gated(Here::new().with("HOME", user.path().to_str().unwrap()).with("HF_TOKEN_PATH", "~/my-token"));
    fs::write(here.home.path().join("token"), "hf_other").unwrap();
    here.works(&prepare);
    let here = gated(Here::new().with("HF_TOKEN", TOKEN).with("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"));
    here.fails(&prepare, &["is gated and the hub answered 401"]);
}

#[test]
fn offline_is_said_in_four_words_and_under_two_names() {
    for (name, value, offline) in [
        ("HF_HUB_OFFLINE", "1", true),
        ("HF_HUB_OFFLINE", "on", true),
        ("HF_HUB_OFFLINE", "Yes", true),
        ("HF_HUB_OFFLINE", "TRUE", true),
        ("HF_HUB_OFFLINE", "0", false),
        ("HF_HUB_OFFLINE", "off", false),
        ("TRANSFORMERS_OFFLINE", "1", true),
    ] {
        let here = Here::new().with(name, value);
        put_model(&here.hub, QWEN, "c0");
        match offline {
            true => drop(here.fails(&PREPARE, &["HF_HUB_OFFLINE", "forbids"])),
            false => drop(here.works(&PREPARE)),
        }
        assert_eq!(here.hub.log().is_empty(), offline, "{name}={value}");
    }
    let here = Here::new().with("HF_HUB_OFFLINE", "0").with("TRANSFORMERS_OFFLINE", "1");
    put_model(&here.hub, QWEN, "c0");
    here.works(&PREPARE);
}

#[test]
fn a_model_of_the_registry_goes_by_its_id_on_the_hub_as_well() {
    let here = Here::new();
    put_model(&here.hub, QWEN, "c0");
    let said = here.works(&["prepare", "--model", "Qwen/Qwen2.5-1.5B"]);
    assert!(said.contains("qwen2.5-1.5b: 5 files"), "{said}");
    let run = |model: &str| ["run", "smoke", "--model", model].map(String::from);
    let missing = run("meta-llama/Llama-3.2-1B");
    here.fails(&missing.each_ref().map(String::as_str), &["`splitbench prepare --model llama-3.2-1b"]);
    let twice = run("Qwen/Qwen2.5-1.5B,qwen2.5-1.5b");
    here.fails(&twice.each_ref().map(String::as_str), &["model qwen2.5-1.5b is listed twice"]);
}

#[test]
fn other_models_go_by_their_id_or_their_folder_in_the_cache() {
    let here = Here::new();
    let pocket = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket");
    let repository = here.cache("models--someone--tiny");
    for (commit, files) in
        [("c0", &["config.json"][..]), ("c1", &["config.json", "tokenizer.json", "model.safetensors"])]
    {
        let snapshot = repository.join("snapshots").join(commit);
        fs::create_dir_all(&snapshot).unwrap();
        for file in files {
            fs::copy(pocket.join(file), snapshot.join(file)).unwrap();
        }
    }
    let score =
        |model: &str| ["score", "--model", model, "--dataset", "arc_easy-mini", "--limit", "1"].map(String::from);
    let folder = repository.display().to_string();
    here.fails(&score(&folder).each_ref().map(String::as_str), &["several snapshots", "c0", "c1"]);
    here.fails(
        &score("someone/tiny").each_ref().map(String::as_str),
        &[
            "someone/tiny is not on this machine",
            "`splitbench prepare --model someone/tiny`",
            &here.home.path().join("hub").display().to_string(),
        ],
    );
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), "c1").unwrap();
    for model in ["someone/tiny", &folder, &format!("{folder}/snapshots"), &format!("{folder}/snapshots/c1/")] {
        here.works(&score(model).each_ref().map(String::as_str));
    }
    let cache = here.cache("").display().to_string();
    here.fails(&score(&cache).each_ref().map(String::as_str), &["is the hub's cache", "models--someone--tiny"]);
    let address = score("https://huggingface.co/someone/tiny");
    here.fails(&address.each_ref().map(String::as_str), &["owner/name"]);
}
