use super::super::super::ReportContext;
use super::super::super::table4::tests::row as timed;
use super::*;
use crate::experiment::{ReportSpec, ResponseSpec};
use crate::record::testing::{failed, on, row};
use crate::record::{Energy, RAW, Row, Similarity};
use crate::record::{Saturation, SweepRecord};

const BASE: f64 = 0.7;

fn source(kind: RunKind) -> RunSource {
    RunSource {
        models: Vec::new(),
        name: "test/run".into(),
        experiment: "test".into(),
        partial: false,
        plots: None,
        manifest: Default::default(),
        machine: Default::default(),
        kind,
    }
}

fn of_rows(rows: Vec<Row>) -> RunSource {
    source(RunKind::Rows { report: ReportSpec::default(), rows, context: ReportContext::default() })
}

fn again(source: &RunSource) -> RunSource {
    let RunKind::Rows { rows, .. } = &source.kind else { unreachable!("these are runs of rows") };
    RunSource { name: source.name.clone(), ..of_rows(rows.clone()) }
}

/// A cell on ARC-Easy, at the ratio it has in the paper's Table III, that loses answers and gains none.
fn cell(codec: &str, layer: u32, acc: f64, questions: u64) -> Row {
    let lost = ((BASE - acc) * questions as f64).round().max(0.0) as u64;
    let gained = ((acc - BASE) * questions as f64).round().max(0.0) as u64;
    let row = row(codec, Some(8.0), acc);
    Row { split_layer: Some(layer), questions, lost: Some(lost), gained: Some(gained), ..row }
}

fn baseline() -> Row {
    row("baseline", None, BASE)
}

/// What is said of a claim, by a part of its words.
fn said(source: RunSource, part: &str) -> ClaimVerdict {
    let lines = lines(std::slice::from_ref(&source));
    let line = lines.into_iter().find(|line| line.says.contains(part)).unwrap();
    line.judged
}

fn verdict(rows: &[Row], part: &str) -> ClaimState {
    said(of_rows([&[baseline()], rows].concat()), part).verdict
}

#[test]
fn a_changed_row_changes_the_verdict() {
    let many = 1_000_000;
    for part in ["less than 0.3 points on average", "on every data set"] {
        assert_eq!(verdict(&[cell("fc", 1, 0.699, many)], part), ClaimState::Holds, "{part}");
        assert_eq!(verdict(&[cell("fc", 1, 0.5, many)], part), ClaimState::Fails, "{part}");
        // Nothing changed among a hundred answers, which is no proof of less than one.
        assert_eq!(verdict(&[cell("fc", 1, BASE, 100)], part), ClaimState::Open, "{part}");
        // Not at the ratio the paper has for this set, not at its cut, another reading, or failed.
        let other = [
            Row { ratio_requested: Some(7.0), ..cell("fc", 1, 0.5, many) },
            cell("fc", 2, 0.5, many),
            Row { scope: "prompt".into(), ..cell("fc", 1, 0.5, many) },
            Row { accounting: "wire".into(), ..cell("fc", 1, 0.5, many) },
            cell("fc:band=centered", 1, 0.5, many),
            failed(cell("fc", 1, 0.5, many), "no"),
            Row { acc: Some(f64::NAN), ..cell("fc", 1, 0.5, many) },
        ];
        for row in other {
            let judged = said(of_rows(vec![baseline(), row]), part);
            assert!(
                judged.verdict == ClaimState::Open && judged.found.contains("`splitbench run table3`"),
                "{judged:?}"
            );
        }
    }
    let near = |acc| verdict(&[Row { ratio_requested: Some(6.0), ..cell("fc", 1, acc, many) }], "near-lossless ratio");
    assert_eq!((near(0.7), near(0.6)), (ClaimState::Holds, ClaimState::Fails));
}

#[test]
fn the_numbers_are_those_of_the_rows() {
    let rows = vec![baseline(), cell("fc", 1, 0.5, 100), cell("topk", 1, 0.6, 100)];
    let found = said(of_rows(rows.clone()), "less than 0.3 points on average").found;
    // 20 of 100 answers lost: the paired error is sqrt((0.2 - 0.04) / 99) = 0.0402.
    assert_eq!(found, "loses 20.0 ± 4.0 points over 1 set, ratio 8.0 (wire 4.0)");
    let found = said(of_rows(rows), "than Top-k").found;
    assert!(found.starts_with("FC (wire 4.0) minus topk (wire 4.0): -10.0 ± 5.0 points over 1 set"), "{found}");
    assert!(found.ends_with("the paper's averages: +6.5, +0.5, +1.1, +1.2"), "{found}");
}

#[test]
fn codecs_are_compared_on_the_sets_both_have() {
    let of = |fc, topk| verdict(&[cell("fc", 1, fc, 1000), cell("topk", 1, topk, 1000)], "than Top-k");
    assert_eq!(of(0.6, 0.3), ClaimState::Holds);
    assert_eq!(of(0.3, 0.6), ClaimState::Fails);
    assert_eq!(of(0.5, 0.5), ClaimState::Open);
    let rows = [cell("fc", 1, 0.6, 1000), on("piqa", cell("topk", 1, 0.3, 1000))];
    assert_eq!(verdict(&rows, "than Top-k"), ClaimState::Open);
    let losing = |acc| verdict(&[cell("svd-llm", 1, acc, 1000)], "more than 8 points");
    assert_eq!((losing(0.5), losing(0.69)), (ClaimState::Holds, ClaimState::Fails));
}

#[test]
fn of_two_runs_the_one_with_more_sets_counts_and_each_model_has_its_own() {
    let small = of_rows(vec![baseline(), cell("fc", 1, 0.5, 1000)]);
    let piqa = Row { ratio_requested: Some(10.0), ..on("piqa", cell("fc", 1, 0.5, 1000)) };
    let mut more = of_rows(vec![baseline(), cell("fc", 1, 0.5, 1000), on("piqa", baseline()), piqa]);
    more.name = "more/run".into();
    let known = [small, more];
    let all = lines(&known);
    assert_eq!((all[0].from.as_str(), all[0].judged.verdict), ("more/run", ClaimState::Fails));
    assert!(all[0].judged.found.contains("2 sets, ratio 9.0"));
    let llama = |row: Row| Row { model: "llama-3.2-1b".into(), ..row };
    let two =
        of_rows(vec![baseline(), cell("fc", 1, 0.5, 1000), llama(baseline()), llama(cell("fc", 1, BASE, 1_000_000))]);
    let all = lines(&[two]);
    let first: Vec<(&str, ClaimState)> =
        all[..2].iter().map(|line| (line.judged.subject.as_str(), line.judged.verdict)).collect();
    assert_eq!(first, [("pocket", ClaimState::Fails), ("llama-3.2-1b", ClaimState::Holds)]);
}

#[test]
fn of_two_runs_over_layers_the_one_with_more_questions_counts() {
    let few = of_rows((1..=5).map(|layer| cell("fc", layer, 0.5, 8)).chain([baseline()]).collect());
    let unsplit = Row { questions: 10_000, ..baseline() };
    let mut many = of_rows(vec![unsplit, cell("fc", 1, 0.6, 10_000), cell("fc", 2, 0.4, 10_000)]);
    many.name = "many/run".into();
    for runs in [[&few, &many], [&many, &few]] {
        let runs: Vec<RunSource> = runs.into_iter().map(again).collect();
        let line = lines(&runs).into_iter().find(|line| line.says.contains("Layer 1 is the best")).unwrap();
        assert_eq!((line.from.as_str(), line.judged.verdict), ("many/run", ClaimState::Holds));
    }
}

#[test]
fn only_the_named_model_can_exceed_its_baseline() {
    let rows = |model: &str, acc: f64| {
        let of = |row: Row| Row { model: model.into(), ..row };
        of_rows(vec![of(baseline()), of(cell("fc", 1, acc, 1_000_000))])
    };
    let of = |model: &str, acc| said(rows(model, acc), "above the baseline's").verdict;
    assert_eq!((of("qwen2.5-3b", 0.71), of("qwen2.5-3b", 0.69)), (ClaimState::Holds, ClaimState::Fails));
    assert_eq!(of("pocket", 0.71), ClaimState::Open);
}

#[test]
fn layers_are_compared_with_the_first() {
    let of = |first: f64, second: f64, part: &str| {
        verdict(&[cell("fc", 1, first, 10_000), cell("fc", 2, second, 10_000)], part)
    };
    for part in ["Layer 1 is the best", "All methods lose accuracy"] {
        assert_eq!(of(0.6, 0.4, part), ClaimState::Holds, "{part}");
        assert_eq!(of(0.4, 0.6, part), ClaimState::Fails, "{part}");
        assert_eq!(of(0.5, 0.501, part), ClaimState::Open, "{part}");
    }
    assert_eq!(verdict(&[cell("fc", 2, 0.5, 100), cell("fc", 3, 0.5, 100)], "Layer 1 is"), ClaimState::Open);
    let errors = |second: f64| {
        let sets = ["arc_easy", "piqa", "siqa", "qasc"].into_iter().enumerate();
        let both = sets.flat_map(|(nth, set)| {
            let one = |layer, error| Row { rel_error: Some(error), ..on(set, cell("fc", layer, 0.5, 100)) };
            [on(set, baseline()), one(1, 0.5), one(2, second + 0.001 * nth as f64)]
        });
        said(of_rows(both.collect()), "Errors grow").verdict
    };
    assert_eq!((errors(0.6), errors(0.4)), (ClaimState::Holds, ClaimState::Fails));
}

#[test]
fn activations_are_judged_by_what_was_measured() {
    let sets = || ["arc_easy", "piqa", "siqa", "qasc"].into_iter().enumerate();
    let line = |(nth, set): (usize, &str), share: f64| Energy {
        model: "pocket".into(),
        dataset: set.into(),
        layer: 1,
        reading: "fc".into(),
        ratio: 8.0,
        inputs: 8,
        kept: 0.125,
        share: share + 0.001 * nth as f64,
        noise: 0.25,
    };
    let of = |share: f64| {
        let energy = sets().map(|set| line(set, share)).collect();
        let context = ReportContext { energy, ..ReportContext::default() };
        said(
            source(RunKind::Rows { report: ReportSpec::default(), rows: vec![baseline()], context }),
            "Most of the energy",
        )
    };
    assert_eq!(
        (of(0.9).verdict, of(0.3).verdict, of(0.499).verdict),
        (ClaimState::Holds, ClaimState::Fails, ClaimState::Open)
    );
    assert!(of(0.3).found.starts_with("30.1 ± 0.1 % of the energy") && of(0.3).found.ends_with("noise 25.0 %"));

    let cosine = |layer: u32, cosine: f64| Similarity {
        model: "pocket".into(),
        dataset: "arc_easy".into(),
        layer,
        measure: "pooled".into(),
        inputs: 8,
        cosine,
        stderr: Some(0.01),
    };
    let of = |late: f64, part: &str| {
        let similarity = (1..=6).map(|layer| cosine(layer, if layer > 3 { late } else { 0.6 })).collect();
        let context = ReportContext { similarity, ..ReportContext::default() };
        said(source(RunKind::Rows { report: ReportSpec::default(), rows: vec![baseline()], context }), part).verdict
    };
    assert_eq!(
        (of(0.3, "most alike"), of(0.8, "most alike"), of(0.6, "most alike")),
        (ClaimState::Holds, ClaimState::Fails, ClaimState::Open)
    );
    assert_eq!(
        (of(0.3, "below 0.4"), of(0.8, "below 0.4"), of(0.4, "below 0.4")),
        (ClaimState::Holds, ClaimState::Fails, ClaimState::Open)
    );
}

#[test]
fn shares_are_judged_at_every_link() {
    use super::super::super::response::tests::line;
    use crate::record::ServicePart;
    let of = |us: f64, links: &[f64]| {
        let report = ReportSpec {
            response: Some(ResponseSpec { links_mbps: links.to_vec(), round_trip_ms: 0.0 }),
            ..ReportSpec::default()
        };
        let service = [RAW, "fc", "qr"]
            .iter()
            .flat_map(|codec| [ServicePart::Prompt, ServicePart::Step].map(|part| line(codec, part, 1000.0, us)))
            .collect();
        let context = ReportContext { service, ..ReportContext::default() };
        source(RunKind::Rows { report, rows: vec![baseline()], context })
    };
    // 6 ms of compute, and 8 ms of link at 1 Mbit/s.
    assert_eq!(said(of(100.0, &[1.0]), "FC in software takes no more").verdict, ClaimState::Holds);
    assert_eq!(said(of(9000.0, &[1.0, 1000.0]), "FC in software takes no more").verdict, ClaimState::Fails);
    let open = said(of(500.0, &[1.0, 1000.0]), "FC in software takes no more");
    assert!(open.verdict == ClaimState::Open && open.found.contains("depends on the link"), "{open:?}");
    assert_eq!(said(of(90_000.0, &[1.0]), "QR takes most").verdict, ClaimState::Holds);
    assert_eq!(said(of(900.0, &[1.0]), "QR takes most").verdict, ClaimState::Fails);
}

#[test]
fn speed_is_judged_by_the_rows_of_a_replay() {
    let of = |topk: f64, device: &str| {
        let rows = vec![
            timed("cpu", "fc", Some(2.0)),
            timed("cpu", "topk", Some(topk)),
            timed(device, "fc-kernel", Some(0.1)),
        ];
        source(RunKind::Replay { rows, table4: true })
    };
    let software = |topk| said(of(topk, "model"), "3.5 times as fast as Top-k").verdict;
    assert_eq!(
        (software(20.0), software(1.0), software(7.0)),
        (ClaimState::Holds, ClaimState::Fails, ClaimState::Open)
    );
    // What is only modelled is no measurement, whatever the model says.
    for topk in [1.0, 20.0] {
        assert_eq!(said(of(topk, "model"), "hardware").verdict, ClaimState::Open);
    }
    // A simulated circuit's clock is not achieved: it can fall short, and no more.
    assert_eq!(said(of(1.0, "fpga"), "hardware").verdict, ClaimState::Fails);
    assert_eq!(said(of(20.0, "fpga"), "hardware").verdict, ClaimState::Open);
    let mut measured = of(20.0, "cuda");
    let RunKind::Replay { rows, .. } = &mut measured.kind else { unreachable!() };
    rows[2].device = "a device".into();
    assert_eq!(said(measured, "hardware").verdict, ClaimState::Holds);
}

#[test]
fn many_clients_are_judged_by_the_simulation() {
    let line = |workers: usize, codec: &str, bottleneck: &str, clients: f64| Saturation {
        profile: "p".into(),
        workers,
        link_gbps: 10.0,
        generate: 0,
        codec: codec.into(),
        bytes: 1.0,
        alone_s: 1.0,
        link_per_s: 10.0,
        compute_per_s: 1.0,
        bottleneck: bottleneck.into(),
        clients,
        doubled_at: None,
        best_per_s: Some(1.0),
    };
    let of = |lines: Vec<Saturation>, part: &str| {
        let swept = SweepRecord { saturation: lines, ..SweepRecord::default() };
        said(source(RunKind::Simulated(swept)), part)
    };
    let fc = "fc at ratio 8 in elements";
    let one = |fc_by: &str| vec![line(1, RAW, "compute", 10.0), line(1, fc, fc_by, 10.0)];
    assert_eq!(of(one("compute"), "With one device").verdict, ClaimState::Holds);
    let failed = of(one("link"), "With one device");
    assert!(
        failed.verdict == ClaimState::Fails && failed.found.contains("not so: fc at ratio 8 in elements at 10 Gbit/s"),
        "{failed:?}"
    );
    let eight = |raw_by: &str, fc_clients| vec![line(8, RAW, raw_by, 150.0), line(8, fc, "compute", fc_clients)];
    assert_eq!(of(eight("link", 1.0), "With eight devices").verdict, ClaimState::Holds);
    assert_eq!(of(eight("compute", 1.0), "With eight devices").verdict, ClaimState::Fails);
    assert_eq!(of(eight("link", 1500.0), "At 10 Gbit/s").verdict, ClaimState::Holds);
    assert!(of(eight("link", 300.0), "At 10 Gbit/s").found.starts_with("2.00 times at 10 Gbit/s: 300 against 150"));
    assert_eq!(of(eight("link", 300.0), "At 10 Gbit/s").verdict, ClaimState::Fails);
    assert_eq!(of(eight("link", 300.0), "more clients than f16").verdict, ClaimState::Holds);
    assert_eq!(of(eight("link", 140.0), "more clients than f16").verdict, ClaimState::Fails);
}

#[test]
fn without_runs_every_claim_says_what_would_judge_it() {
    let all = lines(&[]);
    assert_eq!(all.len(), CLAIMS.len());
    for (line, claim) in all.iter().zip(&CLAIMS) {
        assert_eq!(line.judged.verdict, ClaimState::Open);
        assert!(line.judged.found.contains("`splitbench"), "{}", line.judged.found);
        let words: Vec<&str> = claim.needs.split(' ').collect();
        let exists = match words[0] {
            "run" => crate::experiment::spec::find(words[1]).is_ok(),
            "replay" => crate::replay::spec::find(words[1]).is_ok_and(|found| found.is_some()),
            _ => crate::simulate::find(words[1]).is_ok(),
        };
        assert!(exists, "{}", claim.needs);
    }
}
