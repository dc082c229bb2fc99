use super::*;
use crate::file_name::file_name;
use crate::record::testing::{failed, on, row};
use crate::report::TextPlace;

fn texts(svg: &str) -> Vec<String> {
    let parts = svg.split("<text").skip(1).filter_map(|part| part.split_once('>')?.1.split_once("</text>"));
    parts.map(|(text, _)| text.trim().replace("&amp;", "&").replace("&lt;", "<")).collect()
}

/// Every tag that opens closes, in order, and no bare `&` or `<` is left in text.
fn well_formed(svg: &str) {
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(
            !text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").replace("&quot;", "").contains('&'),
            "{text}"
        );
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
    }
    assert!(open.is_empty(), "{open:?} left open");
}

fn sweep(codecs: &[String], datasets: &[&str], ratios: &[f64]) -> Vec<Row> {
    let mut rows = Vec::new();
    for set in datasets {
        rows.push(on(set, row("baseline", None, 0.7)));
        for (at, codec) in codecs.iter().enumerate() {
            rows.extend(ratios.iter().map(|ratio| on(set, row(codec, Some(*ratio), 0.7 - 0.004 * at as f64 * ratio))));
        }
    }
    rows
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("svd:rank_rule=number_{at}&<long-option>")).collect()
}

#[test]
fn every_series_and_data_set_is_named() {
    let ten = names::DATASETS.map(|(name, _)| name);
    for (series, sets, ratios) in
        [(1, &ten[..1], &[8.0][..]), (3, &ten[..2], &[6.0, 8.0]), (20, &ten[..], &[6.0, 7.0, 8.0, 9.0, 10.0])]
    {
        let codecs = names(series);
        let rows = sweep(&codecs, sets, ratios);
        let view = RowView::new(&rows).unwrap();
        for kind in [SeriesKind::Ratio, SeriesKind::Layer] {
            let drawn = figures(&view, kind);
            assert_eq!(drawn.len(), 2);
            assert_eq!(drawn[1].file, kind.file());
            let svg = drawn[1].figure.svg(TextPlace::Inside).unwrap();
            well_formed(&svg);
            let texts = texts(&svg);
            let averages = texts.iter().filter(|text| text.starts_with("average of")).count();
            assert_eq!(averages, usize::from(sets.len() > 1));
            for set in sets {
                assert!(texts.contains(&names::title(set)), "{set} in {texts:?}");
            }
            for codec in &codecs {
                // A legend entry; a layer figure tells the ratios apart.
                let codec = codec.replace('>', "&gt;");
                assert!(texts.iter().any(|text| text.starts_with(&codec)), "{codec} in {texts:?}");
            }
        }
    }
}

#[test]
fn averages_take_only_points_all_sets_have() {
    let codecs = ["fc".to_string()];
    let mut rows = sweep(&codecs, &["arc_easy", "piqa"], &[6.0, 8.0]);
    let last = rows.pop().unwrap();
    rows.push(failed(last, "out of memory"));
    let view = RowView::new(&rows).unwrap();
    let drawn = figures(&view, SeriesKind::Ratio);
    let average = &drawn[0].figure;
    assert_eq!(average.panels.len(), 1);
    let points = &average.panels[0].series[0];
    assert_eq!(points.len(), 1);
    let stderr = 100.0 * (0.7f64 * 0.3 / 99.0).sqrt() / 2f64.sqrt();
    assert!((points[0].x, points[0].y) == (6.0, 70.0) && (points[0].stderr - stderr).abs() < 1e-9, "{points:?}");
    assert_eq!(drawn[1].figure.panels.iter().map(|panel| panel.series[0].len()).collect::<Vec<_>>(), [2, 1, 1]);
    assert!(average.subtitle.contains("1 of 4 cells failed and are left out."), "{}", average.subtitle);
    rows.pop();
    let view = RowView::new(&rows).unwrap();
    assert!(figures(&view, SeriesKind::Ratio)[0].figure.subtitle.contains("Partial: 1 of 4 cells not run yet."));
}

#[test]
fn layers_are_one_line_a_codec() {
    let mut rows = sweep(&["fc".to_string(), "topk".to_string()], &["arc_easy", "piqa"], &[8.0]);
    let deeper: Vec<Row> = rows.iter().filter(|row| !row.is_baseline()).cloned().collect();
    rows.extend(deeper.into_iter().map(|row| Row { split_layer: Some(4), acc: Some(0.5), ..row }));
    // PIQA at a ratio of its own is still one series.
    rows.iter_mut()
        .filter(|row| row.dataset == "piqa" && !row.is_baseline())
        .for_each(|row| row.ratio_requested = Some(10.0));
    let view = RowView::new(&rows).unwrap();
    let drawn = figures(&view, SeriesKind::Layer);
    assert_eq!(
        drawn.iter().map(|one| one.file.as_str()).collect::<Vec<_>>(),
        ["accuracy-vs-layer-average", "accuracy-vs-layer"]
    );
    let figure = &drawn[1].figure;
    assert_eq!(figure.series, ["fc", "topk"]);
    let xs: Vec<f64> = figure.panels[0].series[0].iter().map(|point| point.x).collect();
    assert_eq!(xs, [1.0, 4.0]);
    assert!(figure.subtitle.contains("ratio ARC-Easy 8, PIQA 10."), "{}", figure.subtitle);
    assert!(!figure.subtitle.contains("Partial"), "{}", figure.subtitle);
    // Against the ratio the same rows are a figure a layer.
    let files: Vec<String> = figures(&view, SeriesKind::Ratio).into_iter().map(|one| one.file).collect();
    assert_eq!(files[1], "accuracy-vs-ratio-l1-prompt-choice-elements");
    assert_eq!(files[3], "accuracy-vs-ratio-l4-prompt-choice-elements");
}

#[test]
fn a_figure_a_model_and_none_without_points() {
    let mut rows = sweep(&["fc".to_string()], &["arc_easy"], &[8.0]);
    let other: Vec<Row> = rows.iter().map(|row| Row { model: "meta/Other 1B".into(), ..row.clone() }).collect();
    rows.extend(other);
    let files: Vec<String> =
        figures(&RowView::new(&rows).unwrap(), SeriesKind::Ratio).into_iter().map(|one| one.file).collect();
    assert_eq!(files[1], "accuracy-vs-ratio--pocket");
    assert_eq!(files[2], format!("accuracy-vs-ratio-average--{}", file_name("Other 1B")));
    rows.retain(|row| !row.is_baseline());
    let figure = figures(&RowView::new(&rows).unwrap(), SeriesKind::Ratio).remove(1).figure;
    assert!(figure.subtitle.contains("No baseline for ARC-Easy."), "{}", figure.subtitle);
    assert_eq!(figure.panels[0].baseline, None);
    let lost = [row("baseline", None, 0.7), failed(row("fc", Some(8.0), 0.0), "no")];
    assert!(figures(&RowView::new(&lost).unwrap(), SeriesKind::Ratio).is_empty());
}

#[test]
fn a_codec_of_fixed_rate_is_one_point_at_its_measured_ratio() {
    let mut rows = sweep(&["fc".to_string()], &["arc_easy", "piqa"], &[6.0, 8.0]);
    let int8 = |wire| Row { ratio_elements: Some(1.0), ratio_wire: Some(wire), ..row("int8", None, 0.69) };
    rows.extend([int8(1.9), on("piqa", int8(2.0))]);
    for (accounting, x) in [("elements", 1.0), ("wire", 1.95)] {
        rows.iter_mut().for_each(|row| row.accounting = accounting.into());
        let view = RowView::new(&rows).unwrap();
        for drawing in figures(&view, SeriesKind::Ratio) {
            assert_eq!(drawing.figure.series, ["fc", "int8"]);
            for panel in &drawing.figure.panels {
                let points: Vec<(f64, f64)> = panel.series[1].iter().map(|point| (point.x, point.y)).collect();
                assert_eq!(points, [(x, 69.0)], "{}", panel.title);
                assert_eq!(panel.series[0].len(), 2);
            }
            let subtitle = &drawing.figure.subtitle;
            assert!(subtitle.contains("fixed rate") && !subtitle.contains("Partial"), "{subtitle}");
        }
        let layers = figures(&view, SeriesKind::Layer).remove(1).figure;
        assert_eq!(layers.series, ["fc at ratio 8", "fc at ratio 6", "int8"]);
    }
}

#[test]
fn against_bytes_a_point_has_the_mean_of_its_sets() {
    let mut rows = sweep(&["fc".to_string()], &["arc_easy", "piqa"], &[6.0, 8.0]);
    rows.iter_mut()
        .filter(|row| row.dataset == "piqa")
        .for_each(|row| row.wire_bytes_per_token = row.wire_bytes_per_token.map(|bytes| bytes + 10.0));
    let drawn = figures(&RowView::new(&rows).unwrap(), SeriesKind::Bytes);
    assert_eq!(drawn[1].file, "accuracy-vs-bytes-per-token");
    let xs =
        |panel: usize| -> Vec<f64> { drawn[1].figure.panels[panel].series[0].iter().map(|point| point.x).collect() };
    // 384 bytes over the ratio; fewest first.
    assert_eq!((xs(0), xs(1), xs(2)), (vec![48.0, 64.0], vec![58.0, 74.0], vec![53.0, 69.0]));
    assert!(drawn.iter().all(|one| one.figure.panels.iter().all(|panel| panel.chance.is_some())));
    let svg = drawn[1].figure.svg(TextPlace::Inside).unwrap();
    assert!(svg.contains("packet bytes a token (log scale)") && svg.contains("chance 25.0"));
    // One ratio only, and bytes that are missing.
    rows.retain(|row| row.ratio_requested != Some(6.0));
    rows.iter_mut().filter(|row| row.dataset == "piqa").for_each(|row| row.wire_bytes_per_token = None);
    let figure = figures(&RowView::new(&rows).unwrap(), SeriesKind::Bytes).remove(1).figure;
    assert_eq!(figure.panels.iter().map(|panel| panel.series[0].len()).collect::<Vec<_>>(), [1, 0, 0]);
}

#[test]
fn two_hundred_series_are_drawn_and_named() {
    let codecs: Vec<String> = (0..200).map(|at| format!("codec-{at}")).collect();
    let rows = sweep(&codecs, &["arc_easy"], &[8.0]);
    for kind in [SeriesKind::Ratio, SeriesKind::Bytes, SeriesKind::Layer] {
        let svg = figures(&RowView::new(&rows).unwrap(), kind).remove(0).figure.svg(TextPlace::Inside).unwrap();
        well_formed(&svg);
        assert!(texts(&svg).iter().any(|text| text == "codec-199"));
    }
}
