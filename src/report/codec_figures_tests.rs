use super::*;
use crate::record::testing::{older, on, row};
use crate::report::TextPlace;
use crate::report::figure::Figure;

/// A codec's row on two sets, with bytes and KL of its own.
fn sized(codec: &str, accounting: &str, bytes: f64, acc: f64, kl: f64) -> Vec<Row> {
    let ratio = (!accounting.is_empty()).then_some(8.0);
    let row = Row {
        accounting: accounting.into(),
        wire_bytes_per_token: Some(bytes),
        kl_mean: Some(kl),
        kl_stderr: Some(kl / 10.0),
        ..row(codec, ratio, acc)
    };
    vec![row.clone(), on("piqa", row)]
}

fn rows() -> Vec<Row> {
    let baseline = row("baseline", None, 0.9);
    [
        vec![baseline.clone(), on("piqa", baseline)],
        sized("fc", "elements", 96.0, 0.5, 3.0),
        sized("int8", "", 200.0, 0.9, 0.01),
        sized("topk", "elements", 60.0, 0.7, 0.3),
        sized("fc", "wire", 48.0, 0.4, 4.0),
        sized("topk", "wire", 48.0, 0.6, 0.5),
        sized("noop", "", 768.0, 0.9, 1e-11),
        sized("token-ids", "", 2.0, 0.9, 0.0),
    ]
    .concat()
}

fn named(rows: &[Row]) -> Vec<(String, Figure)> {
    figures(&RowView::new(rows).unwrap()).into_iter().map(|drawn| (drawn.file, drawn.figure)).collect()
}

fn corners(panel: &Panel) -> Vec<(f64, f64, &str)> {
    panel.front.iter().map(|corner| (corner.x, corner.y, corner.label.as_str())).collect()
}

#[test]
fn accuracy_and_kl_with_their_fronts_on_log_axes() {
    let drawn = named(&rows());
    assert_eq!(drawn.iter().map(|one| one.0.as_str()).collect::<Vec<_>>(), ["accuracy-vs-bytes", "kl-vs-bytes"]);
    let Figure { axis, panels, series, .. } = &drawn[0].1;
    assert_eq!(*axis, Axis::Log);
    assert_eq!(series, &["fc", "topk", "int8", "noop"]);
    // What sends no activation is not drawn; noop, no better than int8 in fewer bytes, is not on the front.
    let front = [(48.0, 60.0, "topk@8 wire"), (60.0, 70.0, "topk@8 elements"), (200.0, 90.0, "int8")];
    assert_eq!(corners(&panels[0]), front);
    let kl = &drawn[1].1;
    let front =
        [(48.0, 0.5, "topk@8 wire"), (60.0, 0.3, "topk@8 elements"), (200.0, 0.01, "int8"), (768.0, 1e-11, "noop")];
    assert_eq!(corners(&kl.panels[0]), front);
    assert!((kl.panels[0].series[0][0].stderr - 0.3 / 2f64.sqrt()).abs() < 1e-12, "of the mean of two sets");
    // What is too small for the axis does not stretch it, and is named.
    assert_eq!(kl.panels[0].scale, Scale::log(0.01, 4.0));
    assert!(
        kl.subtitle.contains(
            "At the lower edge, with a KL under 1e-6 that is rounding or 0: noop. Not drawn: token-ids, 2.0 bytes"
        ),
        "{}",
        kl.subtitle
    );
    for (file, figure) in drawn {
        let svg = figure.svg(TextPlace::Inside).unwrap();
        assert!(["topk@8 wire", "int8"].iter().all(|label| svg.contains(label)), "{file}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{file}");
    }
}

#[test]
fn rows_without_kl_have_no_figure_of_it() {
    let files: Vec<String> = named(&older(&rows())).into_iter().map(|one| one.0).collect();
    assert_eq!(files, ["accuracy-vs-bytes"]);
}

#[test]
fn only_what_is_lossless_is_at_the_lower_edge() {
    let mut rows = rows();
    rows.retain(|row| row.is_baseline() || row.codec == "noop");
    let drawn = named(&rows);
    assert!(drawn[1].1.svg(TextPlace::Inside).unwrap().contains("noop"));
}

#[test]
fn more_codecs_than_markers_are_drawn_by_families() {
    let mut rows = rows();
    for codec in ["fc:band=centered", "fc-mask", "svd", "klt:values=int8", "int4", "fp8"] {
        rows.extend(sized(codec, "", 100.0, 0.8, 0.1));
    }
    let (_, figure) = named(&rows).remove(0);
    assert_eq!(figure.series.len(), 5, "{:?}", figure.series);
    let points: usize = figure.panels[0].series.iter().map(Vec::len).sum();
    assert_eq!(points, 6 + 6, "each codec at each budget is a point of one family");
    assert_eq!(figure.panels[0].series[0].len(), 2 + 2, "fc at two budgets, its option and fc-mask");
}

#[test]
fn several_models_stand_side_by_side() {
    let mut rows = rows();
    let other: Vec<Row> = rows.iter().map(|row| Row { model: "/m/Other.gguf".into(), ..row.clone() }).collect();
    rows.extend(other);
    let drawn = named(&rows);
    let (file, figure) = drawn.last().unwrap();
    assert_eq!((file.as_str(), drawn.len()), ("fidelity-vs-bytes", 5));
    let titles: Vec<&str> = figure.panels.iter().map(|panel| panel.title.as_str()).collect();
    assert_eq!(titles[0], "pocket: KL, nats (log scale)");
    assert_eq!(titles[3], "Other: drop, points");
    let drop = &figure.panels[2];
    assert!(corners(drop).is_empty() && drop.baseline == Some(0.0));
    let fc = drop.named.iter().map(|one| (one.label.as_str(), one.y.round()));
    assert_eq!(fc.collect::<Vec<_>>(), [("fc@8 elements", 40.0), ("fc@8 wire", 50.0)]);
    assert_eq!(drop.series[0].len(), 2);
    assert!(figure.svg(TextPlace::Inside).unwrap().contains("Other: KL"));
    // A model without KL leaves one alone, and then there is no such figure.
    let one: Vec<Row> = rows
        .iter()
        .flat_map(|row| if row.model == "pocket" { vec![row.clone()] } else { older(std::slice::from_ref(row)) })
        .collect();
    assert!(named(&one).iter().all(|drawn| drawn.0 != "fidelity-vs-bytes"));
}
