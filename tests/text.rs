//! Perplexity and the gate on a text: what is scored, against a direct computation, and every way out.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use splitbench::model::{Continuation, Packing, Placement, source};
use splitbench::score::{RatioEstimate, TextWindows};

const TEXT: &str = include_str!("text/pocket.txt");

fn path(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/text").join(name).display().to_string()
}

fn splitbench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_splitbench"))
        .args(arguments)
        .env("HF_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap()
}

fn run(verb: &str, line: &str, more: &[&str]) -> Output {
    let arguments: Vec<&str> = [verb].into_iter().chain(line.split_whitespace()).chain(more.iter().copied()).collect();
    splitbench(&arguments)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Ends with this code and these words, and no panic.
fn ends(output: &Output, code: i32, parts: &[&str]) {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "{part:?} is not in: {said}"));
}

/// The logarithm of an id's share of the exponentials, in f64.
fn log_softmax(logits: &[f32], id: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    f64::from(logits[id as usize] - most) - sum.ln()
}

/// The ids of the text, BOS first, without [`TextWindows`].
fn ids(model: &source::Model) -> Vec<u32> {
    let bos = model.tokenizer.token_to_id("<s>").or(model.special.first).unwrap();
    let ids = model.tokenizer.encode(TEXT, false).unwrap();
    [&[bos], ids.get_ids()].concat()
}

#[test]
fn windows_do_not_overlap_and_their_second_halves_are_scored() {
    let model = source::load("pocket", &Placement::cpu()).unwrap();
    let bos = model.special.first.unwrap();
    let ids = ids(&model);
    for window in [3, 4, 7, 64, 512, ids.len()] {
        let cut = TextWindows::new(&model.tokenizer, TEXT, window, None).unwrap();
        assert_eq!((cut.tokens, cut.whole, cut.requests.len()), (ids.len(), ids.len() / window, ids.len() / window));
        for (nth, request) in cut.requests.iter().enumerate() {
            let of_text = &ids[nth * window..(nth + 1) * window];
            assert_eq!(request.tokens[0], bos);
            assert_eq!(request.tokens[1..], of_text[1..window - 1]);
            // llama.cpp: for (j = n_ctx / 2; j < n_ctx - 1; ++j) it adds the log-probability of token j + 1.
            let scored: Vec<u32> = (window / 2..window - 1).map(|j| of_text[j + 1]).collect();
            assert_eq!(request.targets, scored);
            assert_eq!(request.targets.len(), cut.scored());
            assert_eq!(request.prompt_tokens - 1, window / 2, "the first target is predicted there");
        }
        assert_eq!(TextWindows::new(&model.tokenizer, TEXT, window, Some(1)).unwrap().requests.len(), 1);
    }
    assert_eq!(TextWindows::new(&model.tokenizer, TEXT, 512, None).unwrap().scored(), 255);
}

#[test]
fn the_perplexity_is_that_of_each_token_s_logits() {
    let model = source::load("pocket", &Placement::cpu()).unwrap();
    let (decoder, ids) = (model.decoder().unwrap(), ids(&model));
    let (window, bos) = (48, ids[0]);
    let mut clusters = Vec::new();
    for part in ids.chunks_exact(window).take(9) {
        let fed: Vec<u32> = [&[bos], &part[1..]].concat();
        let packing = Arc::new(Packing::of([window]));
        let last =
            decoder.run_layers(decoder.embed(&fed).unwrap(), &packing, 0..decoder.config().num_hidden_layers).unwrap();
        let logits: Vec<Vec<f32>> = decoder.logits(&last).unwrap().to_vec2().unwrap();
        let scored: Vec<f64> = (window / 2..window - 1).map(|j| log_softmax(&logits[j], fed[j + 1])).collect();
        let targets = &fed[window / 2 + 1..];
        let whole = decoder
            .unsplit(&fed[..window - 1], &Arc::new(Packing::of([window - 1])), &[Continuation { sequence: 0, targets }])
            .unwrap()[0];
        assert!((scored.iter().sum::<f64>() - whole).abs() < 1e-4);
        clusters.push((-scored.iter().sum::<f64>(), scored.len() as f64));
    }
    let expected = RatioEstimate::new(&clusters).unwrap();
    let arguments = ["--text", &path("pocket.txt"), "--json"];
    let made = json(&run("perplexity", "--window 48 --limit 9", &arguments));
    let number = |key: &str| made[key].as_f64().unwrap();
    assert!((number("nll") - expected.value).abs() < 1e-5, "{} {}", number("nll"), expected.value);
    assert!((number("nll_stderr") - expected.stderr.unwrap()).abs() < 1e-5);
    assert!((number("ppl") - expected.value.exp()).abs() < 1e-4 * number("ppl"));
    assert!((number("ppl_stderr") - number("ppl") * number("nll_stderr")).abs() < 1e-9);
    assert_eq!((made["windows"].as_u64(), made["scored_per_window"].as_u64()), (Some(9), Some(23)));
    assert_eq!(made["whole_windows"].as_u64(), Some((ids.len() / 48) as u64));
    assert!(made["split_layer"].is_null() && made["cells"].as_array().unwrap().is_empty());
}

#[test]
fn codecs_on_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples.jsonl");
    let arguments = [
        "--text",
        &path("pocket.txt"),
        "--calibration",
        &path("calibration.txt"),
        "--samples",
        &samples.display().to_string(),
        "--json",
    ];
    let line = "--window 64 --limit 8 --codec noop,int8,klt:values=f32,fc --ratio 4,8 --split 2";
    let output = run("perplexity", line, &arguments);
    ends(&output, 0, &[]);
    let made = json(&output);
    let cells = made["cells"].as_array().unwrap();
    let named: Vec<_> =
        cells.iter().map(|cell| (cell["codec"].as_str().unwrap(), cell["ratio_requested"].as_f64())).collect();
    let klt = "klt:values=f32";
    assert_eq!(
        named,
        [("noop", None), ("int8", None), (klt, Some(4.0)), (klt, Some(8.0)), ("fc", Some(4.0)), ("fc", Some(8.0))]
    );
    let number = |cell: usize, key: &str| cells[cell][key].as_f64().unwrap();
    for key in ["kl_mean", "kl_max", "ln_ppl_ratio", "rel_error", "kl_stderr", "ln_ppl_ratio_stderr"] {
        assert_eq!(number(0, key), 0.0, "{key} of noop");
    }
    assert_eq!((number(0, "top1"), number(0, "ppl")), (1.0, made["ppl"].as_f64().unwrap()));
    assert!((number(0, "acceptance") - 1.0).abs() < 1e-6);
    assert_eq!(number(0, "positions"), 8.0 * 31.0);
    assert!(0.0 < number(1, "kl_mean") && number(1, "kl_mean") < 1e-3 && number(1, "ln_ppl_ratio").abs() < 0.01);
    // A token of D = 192 is 192 bytes and a scale of two.
    assert_eq!(number(1, "wire_bytes_per_token").floor(), 194.0);
    assert!(number(4, "kl_mean") > 10.0 * number(1, "kl_mean") && number(5, "kl_mean") > number(4, "kl_mean"));
    assert!((number(4, "ppl").ln() - made["nll"].as_f64().unwrap() - number(4, "ln_ppl_ratio")).abs() < 1e-9);
    // The samples come to the same.
    let lines: Vec<Value> =
        fs::read_to_string(&samples).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    let kl: Vec<f64> = lines
        .iter()
        .flat_map(|line| line["cells"][5]["kl"].as_array().unwrap())
        .map(|kl| kl.as_f64().unwrap())
        .collect();
    assert_eq!(kl.len(), 8 * 31);
    assert!((kl.iter().sum::<f64>() / kl.len() as f64 - number(5, "kl_mean")).abs() < 1e-6);
    let nll = -lines.iter().map(|line| line["loglik"].as_f64().unwrap()).sum::<f64>() / (8.0 * 31.0);
    assert!((nll - made["nll"].as_f64().unwrap()).abs() < 1e-12);

    // The table has the same, whatever the batch is.
    let output = run(
        "perplexity",
        "--window 64 --limit 8 --codec int8 --split 2 --batch-tokens 70",
        &["--text", &path("pocket.txt")],
    );
    let ppl = made["ppl"].as_f64().unwrap();
    let head = format!("perplexity {ppl:.1} ± ");
    ends(
        &output,
        0,
        &[&head, "the first 8 of", "windows of 64 tokens, the last 31 of each scored", "top-1 %", "194.3"],
    );
}

/// `tests/reference/perplexity.py`: transformers with a hook that does each codec's arithmetic in NumPy.
#[test]
fn transformers_says_the_same() {
    let expected: Value = serde_json::from_str(include_str!("reference/perplexity.json")).unwrap();
    let output = run(
        "perplexity",
        "--window 64 --limit 10 --split 2 --codec int8,fp8,hadamard-int4 --json",
        &["--text", &path("pocket.txt")],
    );
    let made = json(&output);
    let close = |what: &str, a: &Value, b: &Value, relative: f64| {
        let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
        assert!((a - b).abs() <= 2e-6 + relative * b.abs(), "{what}: {a}, transformers {b}");
    };
    assert_eq!((&made["tokens"], &made["scored_per_window"]), (&expected["tokens"], &expected["scored"]));
    close("nll", &made["nll"], &expected["nll"]["mean"], 1e-6);
    close("its error", &made["nll_stderr"], &expected["nll"]["stderr"], 1e-5);
    close("ppl", &made["ppl"], &expected["ppl"], 1e-5);
    let cells = made["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 3);
    for cell in cells {
        let codec = cell["codec"].as_str().unwrap();
        let other = &expected["codecs"][codec];
        // A value next to a tie of the codec may fall to the other side, as the sums before it have another order.
        for (key, there) in [
            ("ln_ppl_ratio", &other["ln_ppl_ratio"]["mean"]),
            ("ln_ppl_ratio_stderr", &other["ln_ppl_ratio"]["stderr"]),
            ("kl_mean", &other["kl"]["mean"]),
            ("kl_stderr", &other["kl"]["stderr"]),
            ("kl_median", &other["percentiles"][0]),
            ("kl_p90", &other["percentiles"][1]),
            ("kl_p99", &other["percentiles"][2]),
            ("kl_max", &other["percentiles"][3]),
            ("top1", &other["top1"]["mean"]),
            ("top1_stderr", &other["top1"]["stderr"]),
            ("acceptance", &other["acceptance"]),
        ] {
            close(&format!("{key} of {codec}"), &cell[key], there, 0.01);
        }
    }
}

#[test]
fn a_cell_that_fails_leaves_the_others_and_exit_code_one() {
    let output = run(
        "perplexity",
        "--window 64 --limit 2 --codec int8,fc,external:cmd=false --ratio 1000000 --accounting wire",
        &["--text", &path("pocket.txt")],
    );
    ends(
        &output,
        1,
        &["194.3", "[1]", "1 of 3 cells failed: external:cmd=false", "its smallest packets reach a ratio of 8"],
    );
}

#[test]
fn bad_input_of_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (short, empty) = (file("short.txt", b"A blueberry grows on a bush."), file("empty.txt", b" \n"));
    let bytes = file("bytes.txt", b"A bush \xff and");
    let copy = file("copy.txt", TEXT.as_bytes());
    let (whole, missing, folder) = (path("pocket.txt"), path("nothing.txt"), folder.path().display().to_string());
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("", &["--text", &short], &["short.txt", "tokens, fewer than one window of 512", "or a window of at most"]),
        ("", &["--text", &empty], &["empty.txt is empty"]),
        ("", &["--text", &bytes], &["bytes.txt is not UTF-8: byte 0xff at offset 7"]),
        ("", &["--text", &folder], &["is a folder; give a file of plain text"]),
        ("", &["--text", &missing], &["reading", "nothing.txt"]),
        ("--window 2", &["--text", &whole], &["--window 2: give 3 to 4096"]),
        ("--window 4097", &["--text", &whole], &["--window 4097: give 3 to 4096, as many as model pocket takes"]),
        ("--codec int9", &["--text", &whole], &["unknown codec \"int9\" (did you mean"]),
        ("--codec int8,noop --ratio 4", &["--text", &whole], &["int8, noop has a rate of its own: leave them out"]),
        ("--codec fc --ratio 0.5", &["--text", &whole], &["finite number of at least 1, got 0.5"]),
        ("--codec fc --ratio 4,4", &["--text", &whole], &["fc after layer 1", "is asked for twice"]),
        ("--codec fc,fc:band=mirrored", &["--text", &whole], &["is asked for twice"]),
        ("--ratio 4", &["--text", &whole], &["--codec"]),
        ("--limit 0", &["--text", &whole], &["give 1 or more"]),
        ("--codec int8 --split 7", &["--text", &whole], &["split layer 7 is outside 1..=6"]),
        ("--codec klt", &["--text", &whole], &["codec klt learns from activations: give --calibration FILE"]),
        ("--codec klt", &["--text", &whole, "--calibration", &whole], &["is the text that is scored"]),
        ("--codec klt", &["--text", &whole, "--calibration", &copy], &["copy.txt is the text that is scored"]),
        (
            "--codec klt",
            &["--text", &whole, "--calibration", &short],
            &["--calibration", "short.txt", "fewer than one window"],
        ),
        ("", &["--text", &whole, "--samples", &whole], &["is a file that is read"]),
    ];
    for (line, more, parts) in cases {
        let output = run("perplexity", line, more);
        assert_ne!(output.status.code(), Some(0), "{line} {more:?}");
        ends(&output, output.status.code().unwrap(), parts);
        assert!(output.stdout.is_empty(), "{line} {more:?}");
    }
}

#[test]
fn the_gate_opens_closes_and_cannot_tell() {
    let file = path("pocket.txt");
    let gate = |line: &str| run("gate", line, &["--text", &file, "--window", "64"]);
    let open = gate("--codec noop --max-kl 0 --min-top1 0.98 --max-ppl-ratio 1");
    ends(&open, 0, &["--max-kl 0: 0, interval 0 to 0: passed", "--min-top1 0.98: 1.0000", "--max-ppl-ratio 1: 1.0000"]);
    ends(&gate("--codec int8 --split 2 --max-kl 0.01 --max-ppl-ratio 1.05"), 0, &["--max-kl 0.01: ", "passed"]);
    let closed = gate("--codec fc --ratio 8 --max-kl 0.01 --min-top1 0.98 --max-ppl-ratio 1e9");
    ends(&closed, 1, &["FAILED", "passed", "of 3 limits 2 failed and 0 cannot be told"]);
    let unsure = gate("--codec noop --limit 3 --min-top1 0.98");
    ends(&unsure, 1, &["cannot tell; about ", " windows (", " tokens) would do", "1 cannot be told"]);
    let missed = gate("--codec fc --ratio 1000000 --max-kl 100");
    ends(&missed, 1, &["passed", "the smallest packets of fc after layer 1", "reach a ratio of "]);
    let one = gate("--codec int8 --limit 1 --max-kl 1");
    ends(&one, 1, &["no interval from a single window: give 2 or more: cannot tell"]);

    // What it said would do does, and much less does not: noop agrees everywhere.
    let made = json(&gate("--codec noop --limit 3 --min-top1 0.98 --json"));
    let limit = &made["limits"][0];
    assert_eq!((limit["verdict"].as_str(), made["passed"].as_bool()), (Some("cannot tell"), Some(false)));
    let needed = limit["needed"].as_u64().unwrap();
    assert!(limit["low"].as_f64().unwrap() < 0.98 && needed > 3);
    ends(&gate(&format!("--codec noop --limit {needed} --min-top1 0.98")), 0, &["passed"]);
}

#[test]
fn the_gate_on_questions() {
    let gate = |line: &str| run("gate", line, &["--dataset", "arc_easy-mini"]);
    let open = gate("--codec noop --limit 30 --max-drop 15 --max-kl 0 --json");
    ends(&open, 0, &[]);
    let made = json(&open);
    assert_eq!((made["clusters"].as_u64(), made["confidence"].as_f64()), (Some(30), Some(0.95)));
    let drop = &made["limits"][1];
    assert_eq!((drop["limit"].as_str(), drop["value"].as_f64()), (Some("max-drop"), Some(0.0)));
    // Tango's interval of no change in n questions ends at q^2 / (n + q^2).
    let square = 1.6448536269514722f64.powi(2);
    assert!((drop["high"].as_f64().unwrap() - 100.0 * square / (30.0 + square)).abs() < 1e-6, "{drop}");
    ends(&gate("--codec fc --ratio 8 --limit 60 --max-drop 0.3"), 1, &["--max-drop 0.3: ", "of 1 limits"]);
    ends(&gate("--codec noop --limit 30 --max-drop 0.3"), 1, &["cannot tell; about ", " questions would do"]);
    ends(&gate("--codec klt --ratio 2 --limit 4 --calibration-rows 8 --max-kl 100"), 0, &["passed"]);
}

#[test]
fn wrong_usage_of_the_gate_is_exit_code_two() {
    let file = path("pocket.txt");
    let cases: &[(&str, &[&str])] = &[
        ("--codec int8 --text FILE", &["--max-kl"]),
        ("--codec int8 --max-kl 1", &["--text", "--dataset"]),
        ("--codec int8 --text FILE --dataset piqa-mini --max-kl 1", &["cannot be used with"]),
        ("--codec int8 --text FILE --max-drop 1", &["--max-drop", "cannot be used with"]),
        ("--codec int8 --text FILE --data-dir . --max-kl 1", &["cannot be used with"]),
        ("--codec int8 --text FILE --skip-long --max-kl 1", &["cannot be used with"]),
        ("--codec int8 --text FILE --max-kl NaN", &["give a number of at least 0"]),
        ("--codec int8 --text FILE --max-kl=-1", &["give a number of at least 0"]),
        ("--codec int8 --text FILE --max-kl inf", &["give a number of at least 0"]),
        ("--codec int8 --text FILE --min-top1 98", &["give 0 to 1"]),
        ("--codec int8 --text FILE --max-ppl-ratio 0", &["give a number above 0"]),
        ("--codec int8 --dataset piqa-mini --max-drop 101", &["give 0 to 100"]),
        ("--codec int8 --dataset piqa-mini --window 64 --max-kl 1", &["--window and --calibration are for --text"]),
        ("--codec int8 --dataset piqa-mimi --max-kl 1", &["piqa-mimi"]),
        ("--codec int9 --text FILE --max-kl 1", &["did you mean"]),
        ("--codec int8 --ratio 8 --text FILE --max-kl 1", &["int8 has a rate of its own"]),
        ("--codec int8 --accounting wire --text FILE --max-kl 1", &["int8 has a rate of its own"]),
        ("--codec fc --ratio 0 --text FILE --max-kl 1", &["at least 1"]),
        ("--codec klt --text FILE --max-kl 1", &["give --calibration FILE"]),
        ("--codec int8 --text FILE --max-kl 1 --window 4097", &["--window 4097"]),
        ("--codec int8 --text FILE --max-kl 1 --split 7", &["split layer 7"]),
        ("--codec int8 --text FILE --max-kl 1 --limit 0", &["give 1 or more"]),
        ("--codec int8 --text nothing.txt --max-kl 1", &["nothing.txt"]),
    ];
    for (line, parts) in cases {
        let output = run("gate", &line.replace("FILE", &file), &[]);
        ends(&output, 2, parts);
        assert!(output.stdout.is_empty(), "{line}");
    }
}
