//! Real GGUF files against transformers and lm-evaluation-harness, whose numbers `tests/reference/real_models.py` wrote down: `just
//! real-models DIR`. Skipped with a line where there are none.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use splitbench::data::{RowSource, find};
use splitbench::experiment::{ScoreRequest, score_in_memory};
use splitbench::model::{Packing, Placement, source};
use splitbench::score::encode_dataset;

/// Largest difference of logits, over the largest of the row.
const LOGITS: f64 = 1e-4;
/// Largest difference of a log-likelihood, nats.
const NATS: f64 = 2e-3;

#[derive(Deserialize)]
struct Reference {
    ids: Vec<Vec<u32>>,
    tokens: BTreeMap<String, Vec<u32>>,
    sets: BTreeMap<String, Vec<Expected>>,
}

#[derive(Deserialize)]
struct Expected {
    loglik: Vec<f64>,
    acc: f64,
    acc_norm: f64,
}

fn folder(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_dir());
    if path.is_none() {
        println!("skipped: {variable} is no folder; `just real-models DIR` sets it");
    }
    path
}

#[test]
fn real_files_compute_what_transformers_and_the_harness_do() {
    let (Some(models), Some(expected), Some(data)) =
        (folder("SPLITBENCH_MODELS"), folder("SPLITBENCH_EXPECTED"), folder("SPLITBENCH_DATA"))
    else {
        return;
    };
    let mut compared = 0;
    for entry in std::fs::read_dir(models).unwrap() {
        let path = entry.unwrap().path();
        let place = expected.join(path.with_extension("json").file_name().unwrap());
        if path.extension().is_none_or(|e| e != "gguf") || !place.exists() {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let reference: Reference = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
        let clock = Instant::now();
        let model = source::load(path.to_str().unwrap(), &Placement::cpu()).unwrap();
        let decoder = model.decoder().unwrap();
        println!("{name}: loaded in {:.2} s", clock.elapsed().as_secs_f64());

        for (text, ids) in &reference.tokens {
            assert_eq!(model.tokenizer.encode(text.as_str(), true).unwrap().get_ids(), ids, "{name}: {text:?}");
        }
        println!("{name}: ids of {} strings are equal", reference.tokens.len());

        let logits = splitbench_codec::npy::read(&place.with_extension("npy")).unwrap();
        let mut worst = 0f64;
        for (ids, expected) in reference.ids.iter().zip(logits.values().chunks(model.config.vocab_size)) {
            let packing = Arc::new(Packing::of([ids.len()]));
            let layers = 0..model.config.num_hidden_layers;
            let hidden = decoder.run_layers(decoder.embed(ids).unwrap(), &packing, layers).unwrap();
            let found = decoder.logits(&hidden.narrow(0, ids.len() - 1, 1).unwrap()).unwrap();
            let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(found.len(), expected.len());
            let largest = expected.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
            let gap = found.iter().zip(expected).fold(0f64, |m, (a, b)| m.max(f64::from((a - b).abs())));
            worst = worst.max(gap / largest);
        }
        println!("{name}: logits differ by {worst:.1e} of the largest");
        assert!(worst <= LOGITS, "{name}");

        for (set, expected) in &reference.sets {
            let dataset = find(set).unwrap().load(&RowSource::Folder(data.clone()), Some(expected.len())).unwrap();
            let request = ScoreRequest {
                experiment: "real",
                model: &model,
                dataset: &dataset,
                requests: &encode_dataset(&model.tokenizer, &dataset).unwrap(),
                train: &[],
                calibrations: None,
                cells: &[],
                limit: Some(expected.len()),
                shard: None,
                batch_tokens: 2048,
                predictor: None,
                probe: None,
            };
            let samples = score_in_memory(&request).unwrap().1.remove(0);
            assert_eq!(samples.len(), expected.len());
            let mut worst = 0f64;
            for (sample, expected) in samples.iter().zip(expected) {
                assert_eq!(sample.loglik.len(), expected.loglik.len());
                let gaps = sample.loglik.iter().zip(&expected.loglik).map(|(a, b)| (a - b).abs());
                worst = gaps.fold(worst, f64::max);
                assert_eq!(sample.right(), expected.acc == 1.0, "{name}: {set} {}: acc", sample.id);
                assert_eq!(sample.right_norm(), expected.acc_norm == 1.0, "{name}: {set} {}: acc_norm", sample.id);
            }
            let right = samples.iter().filter(|sample| sample.right()).count();
            println!("{name}: {set}: {right} of {} right in both, {worst:.1e} nats at worst", samples.len());
            assert!(worst <= NATS, "{name}: {set}");
        }
        compared += 1;
    }
    assert!(compared > 0, "no model of SPLITBENCH_MODELS has numbers in SPLITBENCH_EXPECTED");
}
