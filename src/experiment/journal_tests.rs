use std::fs;
use std::time::Duration;

use super::super::outcome::Outcome;
use super::*;
use crate::record::QuestionRecord;
use crate::score::PositionFidelity;

fn row() -> Row {
    Row {
        experiment: "e".into(),
        model: "m".into(),
        model_sha256: "weights".into(),
        tokenizer_sha256: "tokens".into(),
        dataset: "d".into(),
        data_source: "embedded".into(),
        data_sha256: "rows".into(),
        data_verified: true,
        prompt_version: 1,
        split_layer: None,
        codec: "baseline".into(),
        questions: 2,
        requests: 4,
        metric: "acc".into(),
        dtype: "f32".into(),
        device: "cpu".into(),
        version: "1".into(),
        ..Row::default()
    }
}

fn key(codec: &str) -> CellKey {
    CellKey {
        split_layer: 1,
        scope: "prompt".into(),
        codec: codec.into(),
        ratio: Some("7.6".into()),
        accounting: Some("elements".into()),
        calibration: None,
        probed: false,
    }
}

fn plan(codecs: &[&str], questions: usize) -> JournalPlan {
    JournalPlan::new(row(), codecs.iter().map(|codec| key(codec)).collect(), (0..questions).collect())
}

fn answer(index: usize) -> UnsplitAnswer {
    let asked = QuestionRecord {
        id: format!("q{index}"),
        index,
        gold: 1,
        choice_tokens: vec![1, 2],
        choice_chars: vec![3, 4],
        tokens: 9,
        prompt_sha256: "p".into(),
    };
    UnsplitAnswer { asked, loglik: vec![-1.0 / 3.0, -0.1 - index as f64] }
}

fn measured(index: usize) -> CellAnswer {
    let outcome = |loglik: f64| Outcome {
        loglik,
        tokens: 5,
        raw_elements: 50,
        elements: 6,
        wire_bytes: 30,
        rel_error: 2.0 / 3.0,
        encode: Duration::from_nanos(12_345),
        decode: Duration::from_nanos(6),
        probed: None,
    };
    let fidelity = PositionFidelity { kl: vec![1e-7 / 3.0, f32::INFINITY], same_top: 1, acceptance: 1.0 / 3.0 };
    CellAnswer { index, outcomes: vec![outcome(-1e-7 / 3.0), outcome(f64::MIN_POSITIVE)], fidelity }
}

fn filled(path: &Path) {
    let mut journal = Journal::open(path).unwrap();
    journal.begin(plan(&["fc", "topk"], 2)).unwrap();
    journal.append(vec![JournalLine::Baseline(answer(0)), JournalLine::Cell(1, measured(0))]).unwrap();
    journal.append(vec![JournalLine::Baseline(answer(1)), JournalLine::Failed(0, "broken".into())]).unwrap();
}

fn error<T>(made: Result<T>) -> String {
    format!("{:#}", made.err().unwrap())
}

#[test]
fn what_was_appended_is_there_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    filled(&path);
    for mut journal in [Journal::open(&path).unwrap(), Journal::read(&path).unwrap()] {
        assert_eq!(journal.plan(), Some(&plan(&["fc", "topk"], 2)));
        assert_eq!(journal.answer(0).unwrap(), Some(answer(0)));
        assert_eq!(journal.answer(1).unwrap().unwrap().loglik, [-1.0 / 3.0, -1.1]);
        assert_eq!(journal.measured(&key("topk"), 0).unwrap(), Some(measured(0)));
        let outcomes = measured(0).outcomes;
        assert_eq!(outcomes[1].loglik.to_bits(), f64::MIN_POSITIVE.to_bits());
        assert!(journal.has(&key("topk"), 0) && !journal.has(&key("topk"), 1) && !journal.has(&key("fc"), 0));
        assert_eq!(journal.failure(&key("fc")), Some("broken"));
    }
}

#[test]
fn a_journal_goes_on_with_more_cells_and_questions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    filled(&path);
    let mut journal = Journal::open(&path).unwrap();
    // Another order: a cell's number is that of its own plan.
    journal.begin(plan(&["qr", "topk", "fc"], 3)).unwrap();
    journal.append(vec![JournalLine::Cell(0, measured(2)), JournalLine::Cell(1, measured(1))]).unwrap();
    drop(journal);
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!(journal.plan().unwrap().questions, [0, 1, 2]);
    assert!([0, 1].iter().all(|question| journal.has(&key("topk"), *question)) && journal.has(&key("qr"), 2));
    assert_eq!(journal.measured(&key("topk"), 0).unwrap(), Some(measured(0)));
    // The same plan again is not written again.
    let length = fs::metadata(&path).unwrap().len();
    journal.begin(plan(&["qr", "topk", "fc"], 3)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
}

#[test]
fn a_last_line_that_was_cut_off_is_dropped_wherever_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    filled(&path);
    let whole = fs::read(&path).unwrap();
    let starts: Vec<usize> = (0..whole.len()).filter(|&i| i == 0 || whole[i - 1] == b'\n').collect();
    for end in [starts[1] + 1, starts[2], starts[2] + 20, starts[4] - 1, whole.len() - 1] {
        fs::write(&path, &whole[..end]).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        let kept = starts.iter().rev().find(|start| **start <= end).copied().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), kept as u64, "cut at {end}");
        assert_eq!(journal.has_answer(0), end >= starts[2]);
        journal.append(vec![JournalLine::Baseline(answer(1))]).unwrap();
        drop(journal);
        assert!(Journal::open(&path).unwrap().has_answer(1));
    }
}

#[test]
fn a_line_that_was_changed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    filled(&path);
    let text = fs::read_to_string(&path).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        error(Journal::open(&path))
    };
    let message = changed("\"wire_bytes\":30", "\"wire_bytes\":10");
    assert!(message.contains("a.journal, line 3") && message.contains("changed or damaged"), "{message}");
    assert!(changed("broken", "BROKEN").contains("line 5"));
    assert!(changed("topk", "klt").contains("line 1"));
    assert!(changed("-1.1]", "\u{7f}").contains("line 4"));
    assert!(changed("{\"baseline\"", "").contains("line 2"));
    // A line of bytes that are no text.
    let mut bytes = text.clone().into_bytes();
    bytes[30] = 0xff;
    fs::write(&path, bytes).unwrap();
    assert!(error(Journal::open(&path)).contains("line 1"));
    // Without the line it is as if it had never been computed.
    let third = text.lines().nth(2).unwrap();
    fs::write(&path, text.replace(&format!("{third}\n"), "")).unwrap();
    assert!(!Journal::open(&path).unwrap().has(&key("topk"), 0));
}

#[test]
fn lines_of_a_plan_that_was_taken_out_are_not_read_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    filled(&path);
    let mut journal = Journal::open(&path).unwrap();
    journal.begin(plan(&["topk", "fc"], 2)).unwrap();
    journal.append(vec![JournalLine::Cell(0, measured(1))]).unwrap();
    drop(journal);
    let text = fs::read_to_string(&path).unwrap();
    let second = text.lines().filter(|line| line.contains("{\"plan\"")).nth(1).unwrap();
    fs::write(&path, text.replace(&format!("{second}\n"), "")).unwrap();
    let message = error(Journal::open(&path));
    assert!(message.contains("line 6"), "{message}");
}

#[test]
fn other_inputs_and_other_formats_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    filled(&path);
    let with = |change: fn(&mut Row)| {
        let mut plan = plan(&["fc"], 2);
        change(&mut plan.row);
        error(Journal::open(&path).unwrap().begin(plan))
    };
    for (message, name) in [
        (with(|row| row.model_sha256 = "others".into()), "weights (SHA-256): weights there, others now"),
        (with(|row| row.data_sha256 = "changed".into()), "rows (SHA-256)"),
        (with(|row| row.tokenizer_sha256 = "changed".into()), "tokenizer"),
        (with(|row| row.version = "2".into()), "version of the program"),
        (with(|row| row.dtype = "bf16".into()), "weight type"),
        (with(|row| row.prompt_version = 2), "prompt version"),
        (with(|row| row.definition_sha256 = Some("d".into())), "definition of the data set"),
    ] {
        assert!(message.contains(name) && message.contains("--run NAME") && message.contains("a.journal"), "{message}");
    }
    let text = fs::read_to_string(&path).unwrap();
    let json = text.lines().next().unwrap().split_once(' ').unwrap().1.replace("\"format\":3", "\"format\":7");
    fs::write(&path, format!("{} {json}\n", checksum("", &json))).unwrap();
    let message = error(Journal::open(&path));
    assert!(message.contains("format 7") && message.contains("reads 3"), "{message}");
}
