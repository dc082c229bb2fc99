use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use crate::mini::json_lines;
use crate::mini::*;
use crate::text::normalise;
use crate::world::*;
use crate::*;

fn world() -> World {
    World::embedded().expect("the embedded world is valid")
}

/// The text a document would have in training, close enough to look for questions in it.
fn rendered(document: &Document) -> String {
    let (dataset, row) = match document {
        Document::Text(text) => return text.clone(),
        Document::Row { dataset, row } => (*dataset, row),
    };
    let s = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
    match dataset {
        "openbookqa" => s("question_stem"),
        "piqa" => format!("{} {}", s("goal"), s(if row["label"] == 0 { "sol1" } else { "sol2" })),
        "winogrande" => s("sentence").replace('_', &s(if row["answer"] == "1" { "option1" } else { "option2" })),
        "siqa" | "cosmos_qa" | "logiqa" => format!("{} {}", s("context"), s("question")),
        _ => s("question"),
    }
}

#[test]
fn counts_are_as_documented() {
    let facts = world().facts.len();
    assert!(facts > 1_000, "{facts}");
}

#[test]
fn mini_sets_are_large_and_balanced() {
    for set in mini_sets(&world()).unwrap() {
        assert!(set.eval.len() >= 110 && set.train.len() >= 50, "{}", set.dataset);
        let keys: HashSet<_> = set.eval_keys.iter().collect();
        assert_eq!(keys.len(), set.eval.len(), "{}: repeated question", set.dataset);
    }
}

#[test]
fn no_eval_question_occurs_in_training() {
    let world = world();
    let mut documents = Vec::new();
    for stage in 0..world.stages.len() {
        let mut corpus = Corpus::new(&world, stage, 1).unwrap();
        documents.extend((0..20_000).map(|_| normalise(&rendered(&corpus.next_document()))));
    }
    let all = documents.join("\n");
    for set in mini_sets(&world).unwrap() {
        for key in &set.eval_keys {
            assert!(!all.contains(key.as_str()), "{}: in training: {key}", set.dataset);
        }
    }
}

#[test]
fn the_stream_depends_on_the_seed_only() {
    let world = world();
    let take = |seed| {
        let mut corpus = Corpus::new(&world, 0, seed).unwrap();
        (0..300).map(|_| corpus.next_document()).collect::<Vec<_>>()
    };
    assert_eq!(take(3), take(3));
    assert_ne!(take(3), take(4));
}

#[test]
fn committed_mini_sets_are_what_the_generator_makes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/mini");
    for set in mini_sets(&world()).unwrap() {
        for (name, rows) in [("eval.jsonl", &set.eval), ("train.jsonl", &set.train)] {
            let committed = std::fs::read_to_string(dir.join(set.dataset).join(name)).unwrap_or_default();
            assert!(
                committed == json_lines(rows),
                "{}/{name} is out of date: `cargo run --release -p pocket-train -- --mini datasets/mini` makes it",
                set.dataset
            );
        }
    }
}

/// The share of eval rows that a choice's frequency as right answer in other rows would solve.
#[test]
fn frequent_answers_do_not_solve_the_sets() {
    for set in mini_sets(&world()).unwrap() {
        let field = "choices";
        if set.eval[0][field].is_null() {
            continue;
        }
        let gold = |row: &Value| {
            let labels = row[field]["label"].as_array().unwrap();
            let at = labels.iter().position(|l| *l == row["answerKey"]).unwrap();
            row[field]["text"][at].clone()
        };
        let golds: Vec<Value> = set.eval.iter().map(gold).collect();
        let mut right = 0.0;
        let mut chance = 0.0;
        for (i, row) in set.eval.iter().enumerate() {
            let count = |c: &Value| golds.iter().enumerate().filter(|(j, g)| *j != i && *g == c).count();
            let choices = row[field]["text"].as_array().unwrap();
            let best = choices.iter().map(count).max().unwrap();
            let ties = choices.iter().filter(|c| count(c) == best).count();
            right += if count(&golds[i]) == best { 1.0 / ties as f64 } else { 0.0 };
            chance += 1.0 / choices.len() as f64;
        }
        let n = set.eval.len() as f64;
        println!("{}: frequency solves {:.2}, chance {:.2}", set.dataset, right / n, chance / n);
        assert!(right / n < chance / n + 0.15, "{}: {right} of {n}", set.dataset);
    }
}
