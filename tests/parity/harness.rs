//! What the harness made of our own rows: contexts and continuations, ids, predictions, accuracy.

use std::collections::BTreeMap;

use serde::Deserialize;
use splitbench::data::registry;
use splitbench::record::{QuestionRecord, Sample};
use splitbench::score::{encode_request, encode_requests, mean, standard_error};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::{json, own_rows, reference};

#[derive(Deserialize)]
struct Reference {
    sets: BTreeMap<String, Set>,
}

#[derive(Deserialize)]
struct Set {
    questions: Vec<Expected>,
    acc: (f64, f64),
    acc_norm: (f64, f64),
}

#[derive(Deserialize)]
struct Expected {
    requests: Vec<(String, String)>,
    loglik: Vec<f64>,
    acc: f64,
    acc_norm: f64,
    tokenizer: Vec<(Vec<u32>, Vec<u32>)>,
    #[serde(rename = "tokenizer-bos")]
    tokenizer_bos: Vec<(Vec<u32>, Vec<u32>)>,
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_file(reference(&format!("{name}.json"))).unwrap()
}

#[test]
fn contexts_and_continuations_are_the_harness_s_character_for_character() {
    let Reference { sets } = json("harness.json");
    let real: Vec<&str> = registry().iter().filter(|i| !i.mini).map(|i| i.name.as_str()).collect();
    assert!(real.iter().all(|name| sets.contains_key(*name)) && sets.len() == real.len());
    for (name, set) in &sets {
        let questions = own_rows(name);
        assert_eq!(questions.len(), set.questions.len(), "{name}");
        for (question, expected) in questions.iter().zip(&set.questions) {
            let ours: Vec<_> = question.choices.iter().map(|c| (c.context.clone(), c.continuation.clone())).collect();
            assert_eq!(ours, expected.requests, "{name} {}", question.id);
        }
    }
}

#[test]
fn token_ids_are_the_harness_s_with_and_without_bos() {
    let Reference { sets } = json("harness.json");
    let (plain, bos) = (tokenizer("tokenizer"), tokenizer("tokenizer-bos"));
    for (name, set) in &sets {
        for (question, expected) in own_rows(name).iter().zip(&set.questions) {
            for (tokenizer, expected) in [(&plain, &expected.tokenizer), (&bos, &expected.tokenizer_bos)] {
                let requests = encode_requests(tokenizer, question).unwrap();
                assert_eq!(requests.len(), expected.len());
                for (request, (context, continuation)) in requests.iter().zip(expected) {
                    let fed = [&context[..], &continuation[..continuation.len() - 1]].concat();
                    assert_eq!(request.tokens, fed, "{name} {}", question.id);
                    assert_eq!(request.prompt_tokens, context.len());
                    assert_eq!(&request.targets, continuation, "{name} {}", question.id);
                    assert_eq!(request.tokens.len() + 1, context.len() + continuation.len());
                }
            }
        }
    }
}

#[test]
fn predictions_accuracy_and_standard_error_are_the_harness_s() {
    let Reference { sets } = json("harness.json");
    let tokenizer = tokenizer("tokenizer");
    for (name, set) in &sets {
        let samples: Vec<Sample> = own_rows(name)
            .iter()
            .zip(&set.questions)
            .map(|(question, expected)| {
                let requests = encode_requests(&tokenizer, question).unwrap();
                Sample::new(name, &QuestionRecord::new(question, &requests), expected.loglik.clone(), None).unwrap()
            })
            .collect();
        for (sample, expected) in samples.iter().zip(&set.questions) {
            assert_eq!(sample.right(), expected.acc == 1.0, "{name} {}", sample.id);
            assert_eq!(sample.right_norm(), expected.acc_norm == 1.0, "{name} {}", sample.id);
        }
        let right: [(Vec<bool>, _); 2] = [
            (samples.iter().map(Sample::right).collect(), set.acc),
            (samples.iter().map(Sample::right_norm).collect(), set.acc_norm),
        ];
        for (right, (accuracy, error)) in right {
            assert!((mean(&right).unwrap() - accuracy).abs() < 1e-12, "{name}");
            assert!((standard_error(&right).unwrap() - error).abs() < 1e-12, "{name}");
        }
    }
}

#[test]
fn a_token_across_the_boundary_leaves_the_context_its_own_ids() {
    let tokenizer = tokenizer("tokenizer");
    let ids = |text: &str| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    let request = encode_request(&tokenizer, "Which of these is wet?\n", " rain").unwrap();
    let (context, joint) = (ids("Which of these is wet?"), ids("Which of these is wet?\n rain"));
    assert_ne!(joint[..context.len()], context, "here `?` and the newline are one token");
    assert_eq!(request.tokens[..context.len()], context);
    assert_eq!(request.targets, joint[context.len()..]);
}

#[test]
fn nothing_to_predict_from_or_nothing_to_predict_is_an_error() {
    let (plain, bos) = (tokenizer("tokenizer"), tokenizer("tokenizer-bos"));
    for empty in ["", " \n"] {
        let error = encode_request(&plain, empty, " tin").unwrap_err().to_string();
        assert!(error.contains("adds no BOS"), "{error}");
        let request = encode_request(&bos, empty, " tin").unwrap();
        assert_eq!((request.prompt_tokens, request.tokens[0]), (1, 0), "BOS is the context");
    }
    let error = encode_request(&plain, "Is it wet?", "").unwrap_err().to_string();
    assert!(error.contains("no token of the continuation"), "{error}");
}

/// Of special_tokens.py: the ids that the harness's model class scores.
#[derive(Deserialize)]
struct Special {
    cases: Vec<SpecialCase>,
}

#[derive(Deserialize)]
struct SpecialCase {
    processor: String,
    requests: Vec<SpecialRequest>,
}

#[derive(Deserialize)]
struct SpecialRequest {
    context: String,
    continuation: String,
    ids: (Vec<u32>, Vec<u32>),
}

#[test]
fn bos_stands_once_where_a_text_brings_its_own_and_eos_where_the_harness_has_it() {
    let Special { cases } = json("special-tokens.json");
    assert_eq!(cases.len(), 4);
    for SpecialCase { processor, requests } in cases {
        let mut tokenizer = tokenizer("tokenizer");
        tokenizer.add_special_tokens([AddedToken::from("<|end|>", true)]).unwrap();
        let special = ["<|begin|>", "<|end|>"].map(|token| (token.to_string(), tokenizer.token_to_id(token).unwrap()));
        let template = TemplateProcessing::builder()
            .try_single(processor.as_str())
            .unwrap()
            .special_tokens(special.to_vec())
            .build()
            .unwrap();
        tokenizer.with_post_processor(Some(template));
        assert!(requests.len() >= 9, "{processor}");
        for SpecialRequest { context, continuation, ids: (prompt, rest) } in requests {
            let place = format!("{processor}: {context:?} {continuation:?}");
            let request = encode_request(&tokenizer, &context, &continuation);
            if rest.is_empty() {
                assert!(request.unwrap_err().to_string().contains("no token of the continuation"), "{place}");
                continue;
            }
            let request = request.unwrap();
            assert_eq!(request.tokens, [&prompt[..], &rest[..rest.len() - 1]].concat(), "{place}");
            assert_eq!((request.prompt_tokens, request.targets), (prompt.len(), rest), "{place}");
        }
    }
}
