//! `advise` and `plan --link` as a user meets them: rows and profiles of the embedded model.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn splitbench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_splitbench")).args(arguments).env("RUST_BACKTRACE", "1").output().expect("it runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(arguments: &[&str], parts: &[&str]) {
    let output = splitbench(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !error.contains("panicked"), "{arguments:?}: {error}");
    assert!(parts.iter().all(|part| error.contains(part)), "{arguments:?}: {error}");
}

/// A folder with a run of `where-to-cut` and a profile of this machine, made once.
fn place() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("advise");
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(&place).unwrap();
        let out = place.to_str().unwrap();
        text(&splitbench(&["run", "where-to-cut", "--limit", "6", "--out", out, "--run", "rows"]));
        let profile = place.join("machine.toml");
        let (profile, from) = (profile.to_str().unwrap(), place.join("results/where-to-cut/rows"));
        text(&splitbench(&["profile", "--output", profile, "--from", from.to_str().unwrap()]));
        place
    })
}

fn at(file: &str) -> String {
    place().join(file).to_str().unwrap().to_string()
}

#[test]
fn advice_is_printed_written_and_the_same_as_json() {
    let (from, machine, out) = (at("results/where-to-cut/rows"), at("machine.toml"), at("advice"));
    let advise = ["advise", "--from", &from, "--client", &machine, "--server", &machine, "--link", "home-cable"];
    let told = text(&splitbench(&[&advise[..], &["--max-kl", "0.5", "--prompt", "64", "--out", &out]].concat()));
    for part in ["best", "server alone", "client alone", "What decides", "Who wins", "JALAD", "EdgeShard", "advice.svg"]
    {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let made: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(at("advice/advice.json")).unwrap()).unwrap();
    let printed = text(&splitbench(&[&advise[..], &["--max-kl", "0.5", "--prompt", "64", "--json"]].concat()));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), made);
    // One machine on both sides: no cut is quicker than none.
    assert_eq!(made["cuts"][0]["after_layer"], 6);
    assert_eq!(made["datasets"].as_array().unwrap().len(), 2);
    let svg = std::fs::read_to_string(at("advice/advice.svg")).unwrap();
    assert!(svg.contains("</svg>") && svg.contains("client alone"));
    assert!(std::fs::read_to_string(at("advice/advice.md")).unwrap().contains("| best | "));
    // Where the client is too small for all of it, something is cut, and memory is what decides.
    let small = [&advise[..], &["--memory", "6MB", "--json"]].concat();
    let made: serde_json::Value = serde_json::from_str(&text(&splitbench(&small))).unwrap();
    assert!(made["cuts"][0]["after_layer"].as_u64().unwrap() < 6, "{made}");
    assert!(made["reasons"].as_array().unwrap().iter().any(|reason| reason == "Memory"), "{made}");
}

#[test]
fn a_plan_over_a_link_has_the_times_of_advise() {
    let (from, machine) = (at("results/where-to-cut/rows"), at("machine.toml"));
    let plan = ["plan", "where-to-cut", "--link", "home-cable", "--client", &machine, "--prompt", "64"];
    assert!(text(&splitbench(&plan)).contains("int8:coder=rans"));
    let rows: serde_json::Value = serde_json::from_str(&text(&splitbench(&[&plan[..], &["--json"]].concat()))).unwrap();
    let rows = rows.as_array().unwrap();
    // Cuts 1 to 5 with four codecs of fixed rate and two at two ratios; after layer 6 nothing crosses.
    assert_eq!(rows.len(), 5 * 8);
    let advise =
        ["advise", "--from", &from, "--client", &machine, "--server", &machine, "--link", "home-cable", "--json"];
    let memory = ["--memory", "6MB", "--prompt", "64", "--tokens", "65"];
    let made: serde_json::Value = serde_json::from_str(&text(&splitbench(&[&advise[..], &memory].concat()))).unwrap();
    let mut same = 0;
    for cut in made["cuts"].as_array().unwrap().iter().filter(|cut| !cut["prompt"].is_null()) {
        let of = |row: &&serde_json::Value| {
            row["after_layer"] == cut["after_layer"]
                && row["codec"] == cut["prompt"]["codec"]
                && row["ratio"] == cut["prompt"]["ratio"]
        };
        for row in rows.iter().filter(of) {
            let [a, b] = [&row["ttft_s"], &cut["cost"]["ttft_s"]].map(|seconds| seconds.as_f64().unwrap());
            assert!((a - b).abs() < 1e-9, "{row} {cut}");
            same += 1;
        }
    }
    assert!(same > 0, "{made}");
}

#[test]
fn wrong_input_says_what_was_expected() {
    let (from, machine) = (at("results/where-to-cut/rows"), at("machine.toml"));
    let with = |more: &[&str], parts: &[&str]| {
        let mut line = vec!["advise"];
        for (option, value) in
            [("--from", from.as_str()), ("--client", &machine), ("--server", &machine), ("--link", "home-cable")]
        {
            if !more.contains(&option) {
                line.extend([option, value]);
            }
        }
        fails(&[&line[..], more].concat(), parts);
    };
    with(&["--link", "0mbit/1mbit,1ms"], &["0mbit", "1kbit"]);
    with(&["--link", "home-cabel"], &["home-cable"]);
    with(&["--from", &at("")], &["no rows.parquet", "results/<experiment>/<run>"]);
    with(&["--client", &at("nothing.toml")], &["nothing.toml", "splitbench profile"]);
    with(&["--max-kl=-1"], &["at least 0"]);
    with(&["--max-kl", "nan"], &["at least 0"]);
    with(&["--max-kl", "1", "--max-drop", "1"], &["cannot be used with"]);
    with(&["--layers", "9"], &["after layer 9", "split_layers = [9]"]);
    with(&["--codec", "int9"], &["int9", "int8"]);
    with(&["--model", "other"], &["other", "pocket"]);
    with(&["--objective", "energy"], &["--power"]);
    with(&["--power", "4"], &["COMPUTE,SEND"]);
    with(&["--min-layer", "7"], &["7 layers", "has 6"]);
    with(&["--memory", "1000B"], &["no size"]);
    with(&["--memory", "0.001MB", "--server-memory", "0.001MB"], &["no choice keeps to all limits", "memory"]);
    fails(&["plan", "where-to-cut", "--link", "home-cable"], &["--client"]);
}
