use super::super::compare_text::{flips_text, text};
use super::*;

/// A question of two choices: right or wrong, and the gold choice's log-likelihood.
fn sample(dataset: &str, index: usize, right: bool, gold: f64, wire_bytes: Option<u64>) -> Sample {
    let other = if right { gold - 1.0 } else { gold + 1.0 };
    Sample {
        dataset: dataset.into(),
        id: index.to_string(),
        index,
        gold: 0,
        pred: usize::from(!right),
        pred_norm: 0,
        loglik: vec![gold, other],
        choice_tokens: vec![1, 1],
        choice_chars: vec![1, 1],
        tokens: 10,
        prompt_sha256: format!("{dataset}{index}"),
        codec: wire_bytes.map(|wire_bytes| CodecSample {
            raw_elements: 100,
            elements: 10,
            wire_bytes,
            rel_error: 0.5,
            kl: vec![0.25],
            same_top: 1,
            acceptance: 0.75,
        }),
    }
}

fn write(run: &Path, model: &str, dataset: &str, cells: &[(&str, Vec<Sample>)]) {
    std::fs::create_dir_all(run.join("samples")).unwrap();
    let mut text = String::new();
    for (codec, samples) in cells {
        for sample in samples {
            let mut line = serde_json::to_value(sample).unwrap();
            let object = line.as_object_mut().unwrap();
            let cut = (*codec != "baseline").then_some(1);
            object.insert("split_layer".into(), serde_json::json!(cut));
            object.insert("scope".into(), serde_json::json!("prompt+choice"));
            object.insert("codec".into(), serde_json::json!(codec));
            object.insert("ratio".into(), serde_json::json!(cut.map(|_| 8.0)));
            object.insert("accounting".into(), serde_json::json!(cut.map(|_| "elements")));
            text += &format!("{line}\n");
        }
    }
    std::fs::write(run.join("samples").join(format!("{model}--{dataset}.jsonl")), text).unwrap();
}

fn answers(dataset: &str, right: &[bool], gold: f64, bytes: Option<u64>) -> Vec<Sample> {
    right.iter().enumerate().map(|(at, right)| sample(dataset, at, *right, gold - at as f64, bytes)).collect()
}

const A: [bool; 4] = [true, true, false, true];
const B: [bool; 4] = [true, false, true, false];

#[test]
fn two_versions_are_paired_cell_by_cell() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    for set in ["piqa", "arc_easy"] {
        let of = |right: &[bool], gold, bytes| {
            vec![("baseline", answers(set, &A, -1.0, None)), ("fc", answers(set, right, gold, Some(bytes)))]
        };
        write(&a, "m", set, &of(&A, -1.0, 200));
        write(&b, "m", set, &of(&B, -1.5, 100));
    }
    let found = compare(&a, &b, &CellFilter::default(), &CellFilter::default(), false).unwrap();
    assert_eq!(found.len(), 2, "baseline and fc");
    let same = &found[0].lines[0];
    assert_eq!((same.accuracy.mean, same.lost, same.gained, same.bytes), (0.0, 0, 0, None));
    let fc = &found[1].lines;
    assert_eq!(
        fc.iter().map(|line| line.dataset.as_deref()).collect::<Vec<_>>(),
        [Some("arc_easy"), Some("piqa"), None]
    );
    let line = &fc[0];
    assert_eq!((line.a, line.b, line.lost, line.gained, line.questions), (75.0, 50.0, 2, 1, 4));
    // Differences 0, -100, 100, -100: deviation sqrt(27500 / 3), t = 3.182.
    let half = 3.182 * (27500f64 / 3.0 / 4.0).sqrt();
    assert!((line.accuracy.mean + 25.0).abs() < 1e-9 && (line.accuracy.half.unwrap() - half).abs() < 0.1, "{line:?}");
    let gold = line.gold_loglik.unwrap();
    assert!((gold.mean + 0.5).abs() < 1e-12 && gold.half.unwrap() < 1e-9 && line.bytes == Some(0.5));
    let mean = &fc[2];
    assert!((mean.accuracy.half.unwrap() - half / 2f64.sqrt()).abs() < 0.1 && mean.lost == 4, "{mean:?}");
    let shown = text(&found, false, 200);
    assert!(shown.contains("A: m fc at ratio 8 in elements, layer 1") && shown.contains("-25.0 ±"), "{shown}");
}

#[test]
fn flips_have_both_margins() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("a");
    let mut b = answers("piqa", &B, -1.0, None);
    // The gained question moves further than the lost ones.
    b[2].loglik = vec![-1.0, -4.0];
    write(&run, "m", "piqa", &[("fc", answers("piqa", &A, -1.0, None)), ("topk", b)]);
    let codec = |codec: &str| CellFilter { codec: Some(codec.into()), ..CellFilter::default() };
    let found = compare(&run, &run, &codec("fc"), &codec("topk"), false).unwrap();
    let flips: Vec<_> = found[0].flips.iter().map(|f| (f.index, f.gold, f.a, f.b, f.margin_a, f.margin_b)).collect();
    assert_eq!(flips, [(2, 0, 1, 0, -1.0, 3.0), (1, 0, 0, 1, 1.0, -1.0), (3, 0, 0, 1, 1.0, -1.0)]);
    let shown = flips_text(&found, false, 200);
    assert!(shown.contains("PIQA 2") && shown.contains("gained") && shown.contains("-1.000    +3.000"), "{shown}");
    let none = compare(&run, &run, &codec("fc"), &codec("fc"), false).unwrap();
    assert!(flips_text(&none, false, 200).starts_with("No question"));
}

#[test]
fn two_codecs_of_one_run_and_two_models() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("a");
    let of = |gold| vec![("fc", answers("piqa", &A, gold, Some(200))), ("topk", answers("piqa", &B, gold, Some(50)))];
    write(&run, "small", "piqa", &of(-1.0));
    let codec = |codec: &str| CellFilter { codec: Some(codec.into()), ..CellFilter::default() };
    let found = compare(&run, &run, &codec("fc"), &codec("topk"), false).unwrap();
    assert_eq!((found.len(), found[0].lines.len()), (1, 1));
    assert_eq!((found[0].lines[0].b, found[0].lines[0].bytes), (50.0, Some(0.25)));
    // By characters all are right.
    assert_eq!(compare(&run, &run, &codec("fc"), &codec("topk"), true).unwrap()[0].lines[0].accuracy.mean, 0.0);
    let other = folder.path().join("b");
    write(&other, "large", "piqa", &of(-9.0));
    let found = compare(&run, &other, &CellFilter::default(), &CellFilter::default(), false).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].a.model.as_str(), found[0].b.model.as_str()), ("small", "large"));
    assert_eq!(found[0].lines[0].gold_loglik, None, "other tokens");
}

#[test]
fn only_the_same_questions_count_and_the_others_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    write(&a, "m", "piqa", &[("fc", answers("piqa", &A, -1.0, Some(1)))]);
    write(&a, "m", "qasc", &[("fc", answers("qasc", &A, -1.0, Some(1)))]);
    let mut fewer = answers("piqa", &B[..3], -1.0, Some(1));
    fewer[0].prompt_sha256 = "another prompt".into();
    write(&b, "m", "piqa", &[("fc", fewer)]);
    let found = compare(&a, &b, &CellFilter::default(), &CellFilter::default(), false).unwrap();
    assert_eq!(found[0].lines.len(), 1);
    assert_eq!(found[0].lines[0].questions, 2);
    assert_eq!((found[0].lines[0].only_a, found[0].lines[0].only_b), (2, 1));
    assert_eq!(
        found[0].notes,
        ["PIQA: 2 questions only in A and 1 only in B are left out", "QASC: only in A, 4 questions"]
    );
    assert!(text(&found, false, 200).contains("QASC: only in A"));
}

/// Compares one cell of one data set that two runs have.
fn compared(a: Vec<Sample>, b: Vec<Sample>) -> Result<Comparison> {
    let folder = tempfile::tempdir().unwrap();
    let (run_a, run_b) = (folder.path().join("a"), folder.path().join("b"));
    write(&run_a, "m", "piqa", &[("fc", a)]);
    write(&run_b, "m", "piqa", &[("fc", b)]);
    Ok(compare(&run_a, &run_b, &CellFilter::default(), &CellFilter::default(), false)?.remove(0))
}

#[test]
fn questions_go_together_by_what_they_are_not_by_their_rows() {
    // Rows of B are numbered anew: its first row is gone, its last two have changed places.
    let a: Vec<Sample> = (0..8).map(|at| sample("piqa", at, at % 2 == 0, -1.0 - at as f64, Some(1))).collect();
    let mut b: Vec<Sample> = a[1..].to_vec();
    b.swap(5, 6);
    for (at, one) in b.iter_mut().enumerate() {
        (one.index, one.id) = (at, at.to_string());
    }
    let line = &compared(a.clone(), b).unwrap().lines[0];
    assert_eq!((line.questions, line.only_a, line.only_b, line.lost, line.gained), (7, 1, 0, 0, 0));
    assert_eq!(line.gold_loglik.unwrap().mean, 0.0);
    // Another right choice is another question.
    let mut other = a.clone();
    (other[0].gold, other[0].pred) = (1, 1);
    let line = &compared(a, other).unwrap().lines[0];
    assert_eq!((line.questions, line.only_a, line.only_b), (7, 1, 1));
}

#[test]
fn a_question_that_is_there_twice_is_told_apart_or_refused() {
    let same = |right: [bool; 3], first: usize| -> Vec<Sample> {
        let one = |(at, right): (usize, &bool)| Sample {
            prompt_sha256: "one prompt".into(),
            ..sample("piqa", first + at, *right, -1.0, Some(1))
        };
        right.iter().enumerate().map(one).collect()
    };
    // By their ids, whatever the order.
    let mut turned = same([true, false, false], 0);
    turned.reverse();
    let line = &compared(same([true, true, false], 0), turned).unwrap().lines[0];
    assert_eq!((line.questions, line.lost, line.gained), (3, 1, 0));
    // Other ids, but it makes no difference which belongs to which.
    let line = &compared(same([true; 3], 0), same([false; 3], 10)).unwrap().lines[0];
    assert_eq!((line.questions, line.lost, line.gained), (3, 3, 0));
    // It does.
    let error = format!("{:#}", compared(same([true, false, true], 0), same([true; 3], 10)).err().unwrap());
    assert!(error.contains("rows 0, 1, 2 ask the same") && error.contains("m--piqa.jsonl"), "{error}");
    // The very row again.
    let twice = [same([true; 3], 0), same([true; 3], 0)].concat();
    let error = format!("{:#}", compared(same([true; 3], 0), twice).err().unwrap());
    assert!(error.contains("is there twice") && error.contains("(row 0)"), "{error}");
}

#[test]
fn one_cell_in_two_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("a");
    write(&run, "m", "piqa", &[("fc", answers("piqa", &A, -1.0, Some(1)))]);
    std::fs::copy(run.join("samples/m--piqa.jsonl"), run.join("samples/m--piqa-copy.jsonl")).unwrap();
    let error = compare(&run, &run, &CellFilter::default(), &CellFilter::default(), false).unwrap_err().to_string();
    assert!(error.contains("m--piqa-copy.jsonl") && error.contains("m--piqa.jsonl"), "{error}");
}

#[test]
fn a_small_p_value_is_not_shown_as_nothing() {
    let a: Vec<Sample> = (0..20).map(|at| sample("piqa", at, true, -1.0, Some(1))).collect();
    let b: Vec<Sample> = (0..20).map(|at| sample("piqa", at, false, -1.0, Some(1))).collect();
    let shown = text(&[compared(a, b).unwrap()], false, 200);
    assert!(shown.contains(" < 0.001 "), "{shown}");
}

#[test]
fn what_cannot_be_compared_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let fails = |a: &Path, b: &Path, wanted: &CellFilter, parts: &[&str]| {
        let error = format!("{:#}", compare(a, b, wanted, wanted, false).unwrap_err());
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    fails(&a, &b, &CellFilter::default(), &["samples", "splitbench run"]);
    std::fs::create_dir_all(a.join("samples")).unwrap();
    fails(&a, &b, &CellFilter::default(), &["no samples"]);
    write(&a, "m", "piqa", &[("fc", answers("piqa", &A, -1.0, Some(1)))]);
    write(&b, "m", "qasc", &[("fc", answers("qasc", &A, -1.0, Some(1)))]);
    fails(&a, &b, &CellFilter::default(), &["no question in common"]);
    fails(
        &a,
        &b,
        &CellFilter { codec: Some("qr".into()), ..CellFilter::default() },
        &["no cell like that", "m fc at ratio 8"],
    );
    write(&b, "m", "piqa", &[("topk", answers("piqa", &A, -1.0, Some(1))), ("qr", answers("piqa", &A, -1.0, Some(1)))]);
    std::fs::remove_file(b.join("samples/m--qasc.jsonl")).unwrap();
    fails(&a, &b, &CellFilter::default(), &["--a and --b", "m topk at ratio 8"]);
    std::fs::write(a.join("samples/m--piqa.jsonl"), "{\"codec\":").unwrap();
    fails(&a, &b, &CellFilter::default(), &["m--piqa.jsonl line 1", "not a sample"]);
}

/// By hand, and against the jackknife over questions, which agrees with linearisation where questions are many and alike in length.
#[test]
fn nearness_is_a_mean_a_position_and_its_difference_is_paired() {
    let near = |at: usize, kl: Vec<f32>, same_top: usize, acceptance: f64| {
        let mut one = sample("piqa", at, true, -1.0, Some(1));
        let codec = one.codec.take().unwrap();
        one.codec = Some(CodecSample { kl, same_top, acceptance, ..codec });
        one
    };
    // Two questions, of one and of three positions. KL of A: (0.5 + 0.25 + 0.25 + 0) / 4; of B twice as much on the first alone.
    let a = vec![near(0, vec![0.5], 0, 0.5), near(1, vec![0.25, 0.25, 0.0], 2, 2.5)];
    let b = vec![near(0, vec![1.0], 1, 0.25), near(1, vec![0.25, 0.25, 0.0], 3, 2.5)];
    let line = &compared(a, b).unwrap().lines[0];
    let kl = line.kl.unwrap();
    assert_eq!((kl.a, kl.b, kl.difference.mean), (0.25, 0.375, 0.125));
    // Differences of the sums 0.5 and 0 over 1 and 3 positions: residuals 0.5 - 0.125 and 0 - 0.375, t = 12.706 at 1 degree of freedom.
    let half = 12.706 * (2.0 * 2.0 * 0.375f64.powi(2)).sqrt() / 4.0;
    assert!((kl.difference.half.unwrap() - half).abs() < 1e-3, "{kl:?} {half}");
    let top1 = line.top1.unwrap();
    assert_eq!((top1.a, top1.b, top1.difference.mean), (50.0, 100.0, 50.0));
    // One position more in each: residuals 1 - 0.5 and 1 - 1.5, in per cent.
    let half = 12.706 * 100.0 * (2.0 * 2.0 * 0.25f64).sqrt() / 4.0;
    assert!((top1.difference.half.unwrap() - half).abs() < 1e-1, "{top1:?} {half}");
    let acceptance = line.acceptance.unwrap();
    assert_eq!((acceptance.a, acceptance.b), (75.0, 68.75));

    // Many questions, and sides of other lengths, as of two models.
    let side = |seed: usize, longer: usize| -> Vec<Sample> {
        let kl = |at: usize, position: usize| ((seed + 7 * at + 3 * position) % 11) as f32 / 8.0;
        (0..60).map(|at| near(at, (0..2 + (at + longer) % 2).map(|p| kl(at, p)).collect(), 0, 0.0)).collect()
    };
    let (a, b) = (side(0, 0), side(5, 1));
    let mean = |samples: &[Sample], without: usize| {
        let kls = samples.iter().filter(|one| one.index != without).flat_map(|one| &one.codec.as_ref().unwrap().kl);
        let kls: Vec<f64> = kls.map(|kl| f64::from(*kl)).collect();
        kls.iter().sum::<f64>() / kls.len() as f64
    };
    let left_out: Vec<f64> = (0..60).map(|at| mean(&b, at) - mean(&a, at)).collect();
    let center = left_out.iter().sum::<f64>() / 60.0;
    let jackknife = (59.0 / 60.0 * left_out.iter().map(|one| (one - center).powi(2)).sum::<f64>()).sqrt();
    let kl = compared(a.clone(), b.clone()).unwrap().lines[0].kl.unwrap();
    assert!((kl.difference.mean - (mean(&b, 60) - mean(&a, 60))).abs() < 1e-12);
    let stderr = kl.difference.half.unwrap() / student_quantile(0.975, 59);
    assert!((stderr / jackknife - 1.0).abs() < 0.03, "{stderr} {jackknife}");
}

#[test]
fn nearness_is_shown_where_both_sides_have_it_and_says_what_its_sign_means() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("a");
    for set in ["piqa", "arc_easy"] {
        let older = |mut one: Sample| {
            one.codec.as_mut().unwrap().kl.clear();
            one
        };
        let fc = answers(set, &A, -1.0, Some(200));
        let old = fc.iter().cloned().map(older).collect();
        let cells = [("baseline", answers(set, &A, -1.0, None)), ("fc", fc), ("old", old)];
        write(&run, "models-a", set, &cells);
    }
    let cell = |codec: &str| CellFilter { codec: Some(codec.into()), ..CellFilter::default() };
    let pair = |a, b| compare(&run, &run, &cell(a), &cell(b), false).unwrap();
    let same = pair("fc", "fc");
    let mean = same[0].lines[2].kl.unwrap();
    assert_eq!((mean.a, mean.b, mean.difference), (0.25, 0.25, Difference { mean: 0.0, half: Some(0.0) }));
    let shown = text(&same, false, 200);
    assert!(shown.contains("below 0") && shown.contains("0.250") && shown.contains("+0 ± 0"), "{shown}");
    for other in ["baseline", "old"] {
        let found = pair(other, "fc");
        assert!(found[0].lines.iter().all(|line| line.kl.is_none() && line.top1.is_none()));
        assert!(!text(&found, false, 200).contains("KL"));
    }
}
