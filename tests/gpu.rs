//! The decoder on a GPU: a split run comes to what it comes to on the CPU, and twice to the same bits. Needs a build
//! with `--features cuda-model`; skipped where no GPU is.
#![cfg(feature = "cuda-model")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;
use splitbench::model::Placement;

/// Client halves, codecs and server halves beside each other; `fwsvd` learns from gradients.
const EXPERIMENT: &str = r#"
analysis = "A small one."
datasets = ["piqa-mini", "qasc-mini"]
split_layers = [1, 3]
codecs = ["noop", "fc", "int8", "fwsvd"]
ratios = [8.0]
calibration_rows = 4
limit = 6
"#;

/// The log-likelihoods of all questions, by codec and cut; `baseline` and none of the unsplit model.
type Logliks = BTreeMap<(String, Option<u64>), Vec<f64>>;

/// A run in a folder of its own, so that nothing is kept from one to the next.
fn run(device: &str) -> Logliks {
    let folder = tempfile::tempdir().unwrap();
    let experiment = folder.path().join("small.toml");
    fs::write(&experiment, EXPERIMENT).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_splitbench"));
    command.arg("run").arg(experiment).args(["--run", "one", "--batch-tokens", "200", "--device", device]);
    let output = command.arg("--out").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "on {device}: {}", String::from_utf8_lossy(&output.stderr));
    let samples = fs::read_dir(folder.path().join("results/small/one/samples")).unwrap();
    let mut files: Vec<_> = samples.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut logliks = Logliks::new();
    for line in files.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<String>().lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let values = sample["loglik"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
        let cell = (sample["codec"].as_str().unwrap().to_string(), sample["split_layer"].as_u64());
        logliks.entry(cell).or_default().extend(values);
    }
    logliks
}

#[test]
fn a_split_run_repeats_to_the_bit_and_agrees_with_the_cpu() {
    if let Err(why) = Placement::open("cuda", "f32") {
        return println!("skipped: {why:#}");
    }
    let (cpu, gpu) = (run("cpu"), run("cuda"));
    assert_eq!(gpu, run("cuda"), "two runs on the GPU");
    assert_eq!(cpu.len(), 9, "{:?}", cpu.keys());
    assert!(cpu.keys().eq(gpu.keys()), "{:?}", gpu.keys());
    for (cell, values) in &gpu {
        let (codec, _) = cell;
        let differs = |from: &[f64]| {
            assert_eq!(values.len(), from.len(), "{cell:?}");
            values.iter().zip(from).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        let nats = differs(&cpu[cell]);
        println!("{cell:?}: {nats:.1e} nats at most from the CPU, {} values", values.len());
        // Another order of summation; where two numbers are nearly equal a codec may then keep or round the other one.
        let lossless = codec == "baseline" || codec == "noop";
        assert!(nats < if lossless { 1e-3 } else { 0.1 }, "{cell:?}: {nats} nats from the CPU");
        // The same sums in other batches.
        if lossless {
            let nats = differs(&gpu[&("baseline".to_string(), None)]);
            assert!(nats < 1e-3, "{cell:?}: {nats} nats from the unsplit model");
        }
    }
}
