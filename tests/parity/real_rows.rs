//! The ten official splits, where `../shared/datasets` holds them; skipped with a line where it does not.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use splitbench::data::{DatasetInfo, RowSource, find, registry};
use splitbench::score::{chance, encode_requests};
use tokenizers::Tokenizer;

pub fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if !path.exists() {
        println!("skipped: ../shared is not there");
    }
    path.exists().then_some(path)
}

fn real() -> impl Iterator<Item = &'static DatasetInfo> {
    registry().iter().filter(|i| !i.mini)
}

#[test]
fn every_row_of_the_ten_splits_is_read_and_equals_the_record() {
    let Some(folder) = shared("datasets") else { return };
    let source = RowSource::Folder(folder);
    for info in real() {
        let eval = find(&info.name).unwrap().load(&source, None).unwrap();
        assert_eq!(Some(eval.questions.len()), info.rows, "{}", info.name);
        assert!(eval.verified && eval.note().is_none(), "{}: {:?}", info.name, eval.note());
        let train = find(&info.name).unwrap().load_train(&source, None).unwrap();
        assert!(train.verified, "{}", info.name);
        assert_eq!(train.excluded, if info.name == "arc_easy" { 2 } else { 0 }, "{}", info.name);
        assert_eq!(train.questions.len() + train.excluded, info.train.as_ref().unwrap().rows.unwrap(), "{}", info.name);
        let chance = chance(eval.questions.iter().map(|q| q.choices.len())).unwrap();
        assert!((0.12..=0.5).contains(&chance), "{}: {chance}", info.name);
    }
}

#[test]
fn sequences_and_tokens_of_the_ten_splits_are_those_counted_elsewhere() {
    let (Some(folder), Some(tokenizer)) = (shared("datasets"), shared("tokenizers/qwen2/tokenizer.json")) else {
        return;
    };
    let tokenizer = Tokenizer::from_file(tokenizer).unwrap();
    let source = RowSource::Folder(folder);
    let mut lengths = Vec::new();
    for info in real() {
        let questions = find(&info.name).unwrap().load(&source, None).unwrap().questions;
        let set: Vec<usize> = questions
            .par_iter()
            .flat_map_iter(|q| encode_requests(&tokenizer, q).unwrap())
            .map(|request| request.tokens.len() + 1)
            .collect();
        let total: usize = set.iter().sum();
        println!("{}: {} sequences, mean {:.1}", info.name, set.len(), total as f64 / set.len() as f64);
        lengths.extend(set);
    }
    let total: usize = lengths.iter().sum();
    println!("total {} {} {:.3} {:?}", lengths.len(), total, total as f64 / lengths.len() as f64, lengths.iter().max());
    assert_eq!(lengths.len(), 56_317);
    assert_eq!(lengths.iter().max(), Some(&491));
    assert_eq!((total as f64 / lengths.len() as f64 * 10.0).round(), 539.0);
}
