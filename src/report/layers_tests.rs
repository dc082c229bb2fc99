use super::*;
use crate::record::testing::{failed, on, row};
use crate::report::TextPlace;

fn indicators(row: &Row, low_band: f64, errors: &[f64]) -> Indicators {
    Indicators {
        model: row.model.clone(),
        dataset: row.dataset.clone(),
        split_layer: row.split_layer,
        scope: row.scope.clone(),
        codec: row.codec.clone(),
        ratio_requested: row.ratio_requested,
        accounting: row.accounting.clone(),
        requests: 400,
        low_band,
        variation_tokens: Some(1.0 - low_band),
        variation_hidden: None,
        adjacent_cosine: Some(0.5),
        effective_rank: Some(0.25),
        outlier_share: None,
        errors: errors.to_vec(),
        loglik_change: 0.1,
    }
}

/// Three layers on two sets; the last cell of the last layer failed.
fn made() -> (Vec<Row>, Vec<Indicators>) {
    let cell = |layer: u32, acc: f64| Row { split_layer: Some(layer), ..row("fc", Some(8.0), acc) };
    let rows = vec![
        row("baseline", None, 0.9),
        on("piqa", row("baseline", None, 0.9)),
        cell(1, 0.5),
        on("piqa", cell(1, 0.7)),
        cell(2, 0.8),
        on("piqa", cell(2, 0.8)),
        cell(3, 0.9),
        on("piqa", failed(cell(3, 0.0), "no")),
    ];
    let known =
        [(2, 0.6, &[0.5, 0.4, 0.3][..]), (3, 0.8, &[0.7, 0.6, 0.5]), (4, 0.4, &[0.3, 0.2]), (5, 0.4, &[0.5, 0.4])];
    let mut all: Vec<Indicators> = known.iter().map(|&(at, low, errors)| indicators(&rows[at], low, errors)).collect();
    all.push(indicators(&rows[6], 0.1, &[0.2]));
    (rows, all)
}

#[test]
fn a_layer_has_means_over_all_sets_or_none() {
    let (rows, all) = made();
    let sweeps = sweeps(&rows, &all).unwrap();
    let [Sweep { layers, indicators, .. }] = sweeps.as_slice() else { panic!("{} sweeps", sweeps.len()) };
    let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-9;
    assert!(close(layers[0].accuracy, 60.0) && close(layers[0].drop, 30.0) && close(layers[0].low_band, 0.7));
    assert!(layers[0].errors.iter().zip([0.6, 0.5, 0.4]).all(|(found, expected)| close(Some(*found), expected)));
    assert_eq!((layers[2].accuracy, layers[2].low_band, layers[2].errors.len()), (None, None, 0));
    let low = &indicators[0];
    assert_eq!((low.indicator, low.takes, low.layers), ("low-band energy", "highest", 2));
    // Both layers have it, and it takes the worse one.
    assert_eq!((low.rho_drop, low.rho_error), (Some(1.0), Some(1.0)));
    assert_eq!((low.layer, low.best_layer), (Some(1), Some(2)));
    assert!(close(low.accuracy, 60.0) && close(low.best_accuracy, 80.0));
    let none = &indicators[2];
    assert_eq!((none.layers, none.rho_drop, none.layer, none.best_layer), (0, None, None, Some(2)));
    // Equal everywhere: no order, and the first layer.
    assert_eq!((indicators[3].rho_drop, indicators[3].layer), (None, Some(1)));
}

#[test]
fn tables_and_csv() {
    let (rows, all) = made();
    let view = RowView::new(&rows).unwrap();
    let [(_, layers), (_, growth), (_, worth)] = tables(&view, &sweeps(&rows, &all).unwrap());
    let text = layers.markdown();
    assert!(
        text.contains(
            "| **pocket** | 1 | 60.0 ± 3.4 | 30.0 ± 1.7 | 0.700 | 0.300 | – | 0.500 | 0.250 | – | 0.600 | 0.400 | 0.100 |"
        ),
        "{text}"
    );
    assert!(text.contains("Partial: 1 of 6 cells not run yet"), "{text}");
    let line = "pocket,fc,8,elements,prompt+choice,2,80.000000,2.842676,10.000000,1.734964,0.400000,0.600000,,0.500000,0.250000,,0.400000,0.300000,0.100000";
    assert!(layers.csv.lines().any(|found| found == line), "{}", layers.csv);
    let text = growth.markdown();
    assert!(text.contains("| cut after | layer 1 | layer 2 | layer 3 |"), "{text}");
    assert!(text.contains("|  | 2 |  | 0.400 | 0.300 |"), "{text}");
    assert!(growth.csv.ends_with("pocket,fc,8,elements,prompt+choice,2,3,0.300000\n"), "{}", growth.csv);
    let text = worth.markdown();
    assert!(text.contains("| low-band energy | highest | 1.00 | 1.00 | 1 | 60.0 | 2 | 80.0 |"), "{text}");
    assert!(worth.csv.contains("\"variation, channels\",lowest,0,,,,,2,80.000000\n"), "{}", worth.csv);
}

#[test]
fn figures_of_one_model() {
    let (rows, all) = made();
    let view = RowView::new(&rows).unwrap();
    let drawn = crate::report::layer_figures::figures(&view, &sweeps(&rows, &all).unwrap());
    assert_eq!(drawn.iter().map(|one| one.file.as_str()).collect::<Vec<_>>(), ["layers", "growth"]);
    assert_eq!(drawn[0].figure.panels.len(), 1 + INDICATORS.len());
    assert_eq!(drawn[1].figure.series, ["cut after layer 1", "cut after layer 2", "cut after layer 3"]);
    assert_eq!(drawn[1].figure.panels[0].series.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 0]);
    assert!(drawn.iter().all(|one| one.figure.svg(TextPlace::Inside).unwrap().contains("<svg")));
}
