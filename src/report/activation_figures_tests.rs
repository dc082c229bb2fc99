use super::*;
use crate::report::TextPlace;

fn alike(dataset: &str, layer: u32, measure: &str, cosine: f64) -> Similarity {
    Similarity {
        model: "pocket".into(),
        dataset: dataset.into(),
        layer,
        measure: measure.into(),
        inputs: 32,
        cosine,
        stderr: Some(0.01),
    }
}

fn energy(dataset: &str, layer: u32, reading: &str, ratio: f64, share: f64) -> Energy {
    Energy {
        model: "pocket".into(),
        dataset: dataset.into(),
        layer,
        reading: reading.into(),
        ratio,
        inputs: 8,
        kept: 1.0 / ratio,
        share,
        noise: 0.5 / ratio,
    }
}

#[test]
fn a_line_a_set_and_a_line_a_layer() {
    let mut similar = Vec::new();
    let mut energies = Vec::new();
    for set in ["piqa-mini", "arc_easy-mini"] {
        for layer in 1..=3 {
            similar.extend(["pooled", "aligned"].map(|measure| alike(set, layer, measure, 0.9 / f64::from(layer))));
            for reading in ["fc", "fc-mask"] {
                energies.extend([8.0, 4.0].map(|ratio| energy(set, layer, reading, ratio, 2.0 / ratio)));
            }
        }
    }
    let drawn = figures(&similar, &energies);
    assert_eq!(drawn.iter().map(|one| one.file.as_str()).collect::<Vec<_>>(), ["similarity", "energy"]);
    let (first, second) = (&drawn[0].figure, &drawn[1].figure);
    assert_eq!(first.series, ["PIQA mini", "ARC-Easy mini"]);
    assert_eq!(first.panels.iter().map(|panel| panel.series[1].len()).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(second.series, ["after layer 1", "after layer 2", "after layer 3", "independent noise"]);
    let points: Vec<(f64, f64)> = second.panels[1].series[3].iter().map(|point| (point.x, point.y)).collect();
    assert_eq!(points, [(12.5, 6.25), (25.0, 12.5)]);
    assert!(
        drawn.iter().all(|one| one.figure.svg(TextPlace::Inside).unwrap().contains("<svg")
            && !one.figure.subtitle.contains("left out"))
    );
}

#[test]
fn numbers_that_are_not_finite_are_left_out_and_counted() {
    let similar = [alike("piqa", 1, "pooled", f64::NAN), alike("piqa", 2, "pooled", 0.5)];
    let energies = [energy("piqa", 1, "fc", 8.0, f64::NAN), energy("piqa", 1, "fc", 4.0, 0.5)];
    let drawn = figures(&similar, &energies);
    assert_eq!(drawn[0].figure.panels[0].series[0].len(), 1);
    assert!(drawn[0].figure.subtitle.contains("1 line without a finite number is left out."));
    assert_eq!(drawn[1].figure.panels[0].series[0].len(), 1);
    assert!(drawn.iter().all(|one| one.figure.svg(TextPlace::Inside).is_ok()));
    assert!(figures(&[], &[]).is_empty());
}

#[test]
fn half_of_a_run_is_drawn_where_all_sets_have_it() {
    let energies =
        [energy("piqa", 1, "fc", 8.0, 0.4), energy("qasc", 1, "fc", 8.0, 0.6), energy("piqa", 2, "fc", 8.0, 0.4)];
    let figure = figures(&[], &energies).remove(0).figure;
    assert_eq!(figure.panels[0].series.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0]);
    assert!((figure.panels[0].series[0][0].y - 50.0).abs() < 1e-9);
}
