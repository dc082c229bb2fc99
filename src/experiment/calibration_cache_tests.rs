use std::path::Path;

use super::super::calibrate::calibrate;
use super::super::spent::Clock;
use super::*;
use crate::data::{self, Question, RowSource};
use crate::model::{Placement, source};
use crate::score::encode_requests;
use splitbench_codec::{Activation, CodecSpec};

const HIDDEN: usize = 3;

fn entry(folder: &Path) -> CacheEntry {
    CacheEntry { path: folder.join("a/b.safetensors"), key: "b".to_string(), hidden: HIDDEN }
}

fn calibration() -> Calibration {
    let mut builder = CalibrationBuilder::new(HIDDEN);
    builder.push_gradient(&[0.1, 0.2, 0.3]).unwrap();
    builder.set_next_weights(vec![1.0, 0.1, 0.0, 0.1, 1.0, 0.0, 0.0, 0.0, 1.0 / 3.0]).unwrap();
    builder.finish().unwrap()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn what_is_kept_has_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let made = entry(folder.path()).or_make(|| Ok(calibration())).unwrap();
    let kept = entry(folder.path()).or_make(|| panic!("it was kept")).unwrap();
    assert_eq!((made.parts(), made.rows(), made.sha256()), (kept.parts(), kept.rows(), kept.sha256()));
    assert_eq!(files(&folder.path().join("a")), 1);
}

#[test]
fn damage_is_seen_and_made_good() {
    let folder = tempfile::tempdir().unwrap();
    let entry = entry(folder.path());
    let made = entry.or_make(|| Ok(calibration())).unwrap();
    let sound = fs::read(&entry.path).unwrap();
    for at in 0..sound.len() {
        assert!(entry.read(&sound[..at]).is_err(), "cut off at {at}");
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        // A name or a number of the header in another spelling is no damage.
        if let Ok(found) = entry.read(&bytes) {
            assert_eq!((found.sha256(), found.rows()), (made.sha256(), made.rows()), "byte {at}");
        }
        if at % 40 == 0 {
            fs::write(&entry.path, &bytes).unwrap();
            let mut calls = 0;
            let again = entry.or_make(|| {
                calls += 1;
                Ok(calibration())
            });
            assert_eq!((again.unwrap().sha256(), calls), (made.sha256(), 1), "byte {at}");
            assert!(entry.read(&fs::read(&entry.path).unwrap()).is_ok(), "byte {at}");
        }
    }
    let other = CacheEntry { key: "c".to_string(), path: entry.path.clone(), ..entry };
    assert!(other.read(&sound).unwrap_err().to_string().contains("other inputs"));
    let wider = CacheEntry { hidden: HIDDEN + 1, key: "b".to_string(), ..other };
    assert!(wider.read(&sound).unwrap_err().to_string().contains("numbers"));
}

#[test]
fn a_folder_that_cannot_be_made_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "a file where the folder would be").unwrap();
    let made = entry(folder.path()).or_make(|| Ok(calibration())).unwrap();
    assert_eq!(made.sha256(), calibration().sha256());
}

#[test]
fn other_rows_splits_and_needs_are_other_calibrations() {
    let folder = tempfile::tempdir().unwrap();
    let model = source::load("pocket", &Placement::cpu()).unwrap();
    let mut questions =
        data::find("arc_easy-mini").unwrap().load_train(&RowSource::Embedded, Some(4)).unwrap().questions;
    let encode = |questions: &[Question]| -> Vec<Request> {
        let gold = |q: &Question| encode_requests(&model.tokenizer, q).unwrap().swap_remove(q.gold);
        questions.iter().map(gold).collect()
    };
    let train = encode(&questions);
    questions[3].gold = (questions[3].gold + 1) % questions[3].choices.len();
    let changed = encode(&questions);
    let of = |train: &[Request], after_layer, codecs: &[&str], kept| {
        let codecs: Vec<CodecSpec> = codecs.iter().map(|codec| CodecSpec::parse(codec).unwrap()).collect();
        calibrate(&model, train, SplitPoint { after_layer }, &codecs, 100, kept, &Clock::default()).unwrap().unwrap()
    };
    let mut files_there = 0;
    for (train, after_layer, codecs) in [
        (&train[..], 2, &["asvd"][..]),
        (&train[..], 2, &["fwsvd"]),
        (&train[..], 2, &["fwsvd", "asvd", "svd-llm:whiten=weights"]),
        (&train[..], 3, &["asvd"]),
        (&train[..3], 2, &["asvd"]),
        (&changed[..], 2, &["asvd"]),
    ] {
        let computed = of(train, after_layer, codecs, None);
        files_there += 1;
        for _ in 0..2 {
            let found = of(train, after_layer, codecs, Some(folder.path()));
            assert_eq!((found.sha256(), found.parts()), (computed.sha256(), computed.parts()));
            assert_eq!(files(folder.path()), files_there, "after layer {after_layer}, {codecs:?}");
        }
    }
    // The order of codecs says nothing.
    of(&train, 2, &["svd-llm:whiten=weights", "asvd", "fwsvd", "klt"], Some(folder.path()));
    assert_eq!(files(folder.path()), files_there);
}

/// A collection that goes on from what another process kept has the bits of one in one go.
#[test]
fn an_unfinished_collection_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let entry = entry(folder.path());
    let rows =
        |from: usize, to: usize| -> Vec<f32> { (from..to).map(|i| ((i * 31 % 17) as f32 - 8.0) / 3.0).collect() };
    let push = |builder: &mut CalibrationBuilder, from: usize, to: usize| {
        let values = rows(from * HIDDEN, to * HIDDEN);
        builder.push_gradient(&values).unwrap();
        builder.push_activation(&Activation::new(to - from, HIDDEN, values).unwrap()).unwrap();
    };
    // The covariance takes 256 rows at a time, so some wait on either side.
    for cut in [1, 200, 256, 300] {
        let (mut whole, mut first) = (CalibrationBuilder::new(HIDDEN), CalibrationBuilder::new(HIDDEN));
        push(&mut whole, 0, 600);
        push(&mut first, 0, cut);
        assert!(entry.unfinished().is_none());
        entry.keep_unfinished(cut, &first).unwrap();
        let (done, mut second) = entry.unfinished().unwrap();
        assert_eq!(done, cut);
        push(&mut second, cut, 600);
        let kept = second.finish().unwrap();
        assert_eq!(kept.sha256(), whole.finish().unwrap().sha256(), "cut at {cut}");
        let mut damaged = fs::read(entry.unfinished_path()).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(entry.unfinished_path(), damaged).unwrap();
        assert!(entry.unfinished().is_none(), "damage is seen");
        // What is whole takes the place of what was not.
        entry.write(&kept).unwrap();
        assert!(!entry.unfinished_path().exists());
    }
}
