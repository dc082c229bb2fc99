//! Log-likelihoods of whole questions against lm-evaluation-harness with transformers (`tests/reference/loglik.py`): tiny
//! random checkpoints of both families, our own rows, and the first real rows where they are at hand.

use std::collections::BTreeMap;

use serde::Deserialize;
use splitbench::data::{Dataset, Question, RowSource, find};
use splitbench::experiment::{ScoreRequest, score_in_memory};
use splitbench::model::{Placement, source};
use splitbench::score::encode_dataset;

use crate::real_rows::shared;
use crate::{json, own_rows, reference};

/// Largest difference of a log-likelihood, nats.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Reference {
    tokenizer: String,
    sets: BTreeMap<String, Vec<Expected>>,
}

#[derive(Deserialize)]
struct Expected {
    loglik: Vec<f64>,
    acc: f64,
    acc_norm: f64,
}

/// Scores what a reference file of a case holds, as a run does.
fn compare(case: &str, file: &str, questions: impl Fn(&str) -> Vec<Question>) {
    let Reference { tokenizer, sets } = json(&format!("loglik/{case}/{file}"));
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(reference(&format!("loglik/{case}/{name}")), folder.path().join(name)).unwrap();
    }
    std::fs::copy(reference(&tokenizer), folder.path().join("tokenizer.json")).unwrap();
    let model = source::load(folder.path().to_str().unwrap(), &Placement::cpu()).unwrap();
    assert_eq!(sets.len(), 10);
    let mut worst = 0f64;
    for (name, set) in &sets {
        let questions = questions(name);
        assert!(questions.len() >= set.len() && !set.is_empty(), "{name}");
        let dataset = Dataset {
            info: find(name).unwrap(),
            questions: questions[..set.len()].to_vec(),
            sha256: String::new(),
            verified: true,
            source: "test".into(),
            excluded: 0,
            skipped: 0,
        };
        let request = ScoreRequest {
            experiment: "parity",
            model: &model,
            dataset: &dataset,
            requests: &encode_dataset(&model.tokenizer, &dataset).unwrap(),
            train: &[],
            calibrations: None,
            cells: &[],
            limit: None,
            shard: None,
            batch_tokens: 512,
            predictor: None,
            probe: None,
        };
        let samples = score_in_memory(&request).unwrap().1.remove(0);
        for (sample, expected) in samples.iter().zip(set) {
            let place = format!("{case}: {name} {}", sample.id);
            assert_eq!(sample.loglik.len(), expected.loglik.len(), "{place}");
            for (found, expected) in sample.loglik.iter().zip(&expected.loglik) {
                let error = (found - expected).abs();
                worst = worst.max(error);
                assert!(error <= TOLERANCE, "{place}: {found} and {expected} nats");
            }
            assert_eq!(sample.right(), expected.acc == 1.0, "{place}: acc");
            assert_eq!(sample.right_norm(), expected.acc_norm == 1.0, "{place}: acc_norm");
        }
    }
    println!("{case}, {file}: {worst:.1e} nats at worst");
}

#[test]
fn llama_with_bos_scores_our_rows_as_the_harness_does() {
    compare("llama", "loglik.json", own_rows);
}

#[test]
fn qwen2_without_bos_scores_our_rows_as_the_harness_does() {
    compare("qwen2", "loglik.json", own_rows);
}

fn real_rows(case: &str) {
    let Some(folder) = shared("datasets") else { return };
    let source = RowSource::Folder(folder);
    compare(case, "real.json", |name| find(name).unwrap().load(&source, Some(200)).unwrap().questions);
}

#[test]
fn llama_with_bos_scores_the_first_real_rows_as_the_harness_does() {
    real_rows("llama");
}

#[test]
fn qwen2_without_bos_scores_the_first_real_rows_as_the_harness_does() {
    real_rows("qwen2");
}
