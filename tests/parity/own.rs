//! Data sets that a file defines: what the harness asks where its task says the same, as `tests/reference/own.py` wrote it down.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use splitbench::data::{RowSource, find};

use crate::json;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

/// The example of the documentation has neither definition nor rows here: both are in `examples`.
#[derive(Deserialize)]
struct Case {
    name: String,
    definition: Option<String>,
    rows: Option<Vec<serde_json::Value>>,
    questions: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    requests: Vec<(String, String)>,
    gold: usize,
}

#[test]
fn data_sets_of_the_user_s_own_ask_what_the_harness_asks() {
    let Reference { cases } = json("own.json");
    assert!(cases.len() >= 4);
    let folder = tempfile::tempdir().unwrap();
    for Case { name, definition, rows, questions } in cases {
        let path = match (definition, rows) {
            (Some(definition), Some(rows)) => {
                let path = folder.path().join(format!("{name}.toml"));
                fs::write(&path, format!("file = \"{name}.jsonl\"\n{definition}")).unwrap();
                let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
                fs::write(path.with_extension("jsonl"), lines).unwrap();
                path
            }
            _ => Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/datasets/{name}.toml")),
        };
        let set = find(path.to_str().unwrap()).unwrap().load(&RowSource::Embedded, None).unwrap();
        assert_eq!(set.info.name, name);
        assert_eq!(set.questions.len(), questions.len(), "{name}");
        for (question, expected) in set.questions.iter().zip(&questions) {
            let ours: Vec<_> = question.choices.iter().map(|c| (c.context.clone(), c.continuation.clone())).collect();
            assert_eq!(ours, expected.requests, "{name} {}", question.id);
            assert_eq!(question.gold, expected.gold, "{name} {}", question.id);
        }
    }
}
