//! Split layers side by side: what each one's activation is like, what the codec loses there, how the error grows behind the
//! cut, and which layer each number would have chosen.

use std::collections::BTreeSet;

use serde::Serialize;

use super::caption::{self, Coverage};
use super::number::{self, MISSING};
use super::table::{Table, TableSection};
use super::view::{self, RowView};
use super::{TableSet, table3};
use crate::record::{Accuracy, Indicators, Row, table_file};
use crate::score::spearman;

/// One model and codec over its split layers; numbers are means over the data sets, each weighing alike.
#[derive(Debug, Serialize)]
pub struct Sweep<'a> {
    /// Model name.
    pub model: &'a str,
    /// Codec with its options.
    pub codec: &'a str,
    /// What was compressed.
    pub scope: &'a str,
    /// Compression ratio asked for; none of a codec of fixed rate.
    pub ratio: Option<f64>,
    /// What the ratio counts.
    pub accounting: &'a str,
    /// One entry a split layer, ascending.
    pub layers: Vec<LayerLine>,
    /// What each indicator is worth here.
    pub indicators: Vec<IndicatorRecord>,
    #[serde(skip)]
    cells: Vec<Vec<Option<&'a Row>>>,
}

/// One split layer. A number is missing where a data set has none.
#[derive(Debug, Clone, Serialize)]
pub struct LayerLine {
    /// The cut: after this layer.
    pub split_layer: u32,
    /// Per cent of the questions right, and its standard error.
    pub accuracy: Option<f64>,
    /// See `accuracy`.
    pub accuracy_se: Option<f64>,
    /// Points below the unsplit model, and their paired standard error.
    pub drop: Option<f64>,
    /// See `drop`.
    pub drop_se: Option<f64>,
    /// Share of ||A||^2 that FC's block restores.
    pub low_band: Option<f64>,
    /// Mean |difference| of adjacent tokens over mean |A|.
    pub variation_tokens: Option<f64>,
    /// Mean |difference| of adjacent channels over mean |A|.
    pub variation_hidden: Option<f64>,
    /// Mean cosine of adjacent tokens.
    pub adjacent_cosine: Option<f64>,
    /// Effective rank over the largest it could be.
    pub effective_rank: Option<f64>,
    /// Share of ||A||^2 in the largest 1 % of the values.
    pub outlier_share: Option<f64>,
    /// Relative error of the hidden state at the cut and after each later layer.
    pub errors: Vec<f64>,
    /// Mean |change| of a request's log-likelihood, nats.
    pub loglik_change: Option<f64>,
}

/// An indicator against what came of each layer.
#[derive(Debug, Clone, Serialize)]
pub struct IndicatorRecord {
    /// Its name.
    pub indicator: &'static str,
    /// Whether it would cut where it is highest or lowest.
    pub takes: &'static str,
    /// Layers that have it.
    pub layers: usize,
    /// Spearman's rank correlation with the accuracy drop.
    pub rho_drop: Option<f64>,
    /// The same with the codec's relative error at the cut.
    pub rho_error: Option<f64>,
    /// The layer it would cut after; the first of equals.
    pub layer: Option<u32>,
    /// Accuracy there, per cent.
    pub accuracy: Option<f64>,
    /// The layer with the best accuracy; the first of equals.
    pub best_layer: Option<u32>,
    /// Accuracy there, per cent.
    pub best_accuracy: Option<f64>,
}

/// A number of a layer that might tell where to cut.
pub(super) struct Indicator {
    pub name: &'static str,
    /// Column in `layers.csv`.
    key: &'static str,
    highest: bool,
    pub of: fn(&LayerLine) -> Option<f64>,
}

/// All of them; the last two need the server half too.
pub(super) const INDICATORS: [Indicator; 9] = [
    Indicator { name: "low-band energy", key: "low_band", highest: true, of: |line| line.low_band },
    Indicator { name: "variation, tokens", key: "variation_tokens", highest: false, of: |line| line.variation_tokens },
    Indicator {
        name: "variation, channels",
        key: "variation_hidden",
        highest: false,
        of: |line| line.variation_hidden,
    },
    Indicator { name: "adjacent cosine", key: "adjacent_cosine", highest: true, of: |line| line.adjacent_cosine },
    Indicator { name: "effective rank", key: "effective_rank", highest: false, of: |line| line.effective_rank },
    Indicator { name: "outlier share", key: "outlier_share", highest: true, of: |line| line.outlier_share },
    Indicator { name: "error at the cut", key: "error", highest: false, of: |line| line.errors.first().copied() },
    Indicator { name: "error, last layer", key: "last_error", highest: false, of: |line| line.errors.last().copied() },
    Indicator { name: "log-lik. change", key: "loglik_change", highest: false, of: |line| line.loglik_change },
];

/// Every model and codec of a run, over its split layers.
pub fn sweeps<'a>(rows: &'a [Row], indicators: &'a [Indicators]) -> anyhow::Result<Vec<Sweep<'a>>> {
    let view = RowView::new(rows)?;
    let key = |one: &'a Indicators| {
        (one.model.as_str(), one.codec.as_str(), one.scope.as_str(), one.ratio_requested, one.accounting.as_str())
    };
    let sweep = |(model, codec, scope, ratio, accounting)| {
        let mine = (model, codec, scope, ratio, accounting);
        let own: Vec<&Indicators> = indicators.iter().filter(|one| key(one) == mine).collect();
        let mut layers = view::distinct(own.iter().filter_map(|one| one.split_layer));
        layers.sort_unstable();
        let baseline: Vec<Option<&Row>> = view.datasets.iter().map(|name| view.baseline(model, name)).collect();
        let (lines, cells): (Vec<LayerLine>, Vec<_>) = layers
            .into_iter()
            .map(|layer| {
                let find = |name: &&str| own.iter().rfind(|one| one.split_layer == Some(layer) && one.dataset == *name);
                let sets: Vec<Option<&Indicators>> = view.datasets.iter().map(|name| find(name).copied()).collect();
                let cell = |one: &Option<&Indicators>| one.and_then(|one| rows.iter().rfind(|row| one.is_of(row)));
                let cells: Vec<Option<&Row>> = sets.iter().map(cell).collect();
                (line(layer, &sets, &cells, &baseline), cells)
            })
            .unzip();
        let indicators = INDICATORS.iter().map(|indicator| judge(indicator, &lines)).collect();
        Sweep { model, codec, scope, ratio, accounting, layers: lines, indicators, cells }
    };
    Ok(view::distinct(indicators.iter().map(key)).into_iter().map(sweep).collect())
}

fn line(
    split_layer: u32,
    sets: &[Option<&Indicators>],
    cells: &[Option<&Row>],
    baseline: &[Option<&Row>],
) -> LayerLine {
    let mean = |of: &dyn Fn(&Indicators) -> Option<f64>| number::mean(sets.iter().map(|one| one.and_then(of)));
    let layers = sets.iter().flatten().map(|one| one.errors.len()).max().unwrap_or(0);
    let accuracies: Vec<Option<Accuracy>> = cells.iter().map(|cell| cell.and_then(view::accuracy)).collect();
    let accuracy = number::average(&accuracies);
    let drop = accuracy.and_then(|_| table3::drop(cells, baseline)).filter(|found| found.sets == cells.len());
    LayerLine {
        split_layer,
        accuracy: accuracy.map(|found| 100.0 * found.value),
        accuracy_se: accuracy.map(|found| 100.0 * found.stderr),
        drop: drop.as_ref().map(|found| found.points),
        drop_se: drop.and_then(|found| found.stderr),
        low_band: mean(&|one| Some(one.low_band)),
        variation_tokens: mean(&|one| one.variation_tokens),
        variation_hidden: mean(&|one| one.variation_hidden),
        adjacent_cosine: mean(&|one| one.adjacent_cosine),
        effective_rank: mean(&|one| one.effective_rank),
        outlier_share: mean(&|one| one.outlier_share),
        errors: (0..layers).map_while(|nth| mean(&|one| one.errors.get(nth).copied())).collect(),
        loglik_change: mean(&|one| Some(one.loglik_change)),
    }
}

fn judge(indicator: &Indicator, lines: &[LayerLine]) -> IndicatorRecord {
    let with = |other: &dyn Fn(&LayerLine) -> Option<f64>| {
        spearman(&lines.iter().filter_map(|line| Some(((indicator.of)(line)?, other(line)?))).collect::<Vec<_>>())
    };
    let most = |of: &dyn Fn(&LayerLine) -> Option<f64>| {
        let known = lines.iter().filter_map(|line| Some((of(line)?, line)));
        known.reduce(|best, one| if one.0 > best.0 { one } else { best }).map(|(_, line)| line)
    };
    let sign = if indicator.highest { 1.0 } else { -1.0 };
    let chosen = most(&|line| (indicator.of)(line).map(|value| sign * value));
    let best = most(&|line| line.accuracy);
    IndicatorRecord {
        indicator: indicator.name,
        takes: if indicator.highest { "highest" } else { "lowest" },
        layers: lines.iter().filter(|line| (indicator.of)(line).is_some()).count(),
        rho_drop: with(&|line| line.drop),
        rho_error: with(&|line| line.errors.first().copied()),
        layer: chosen.map(|line| line.split_layer),
        accuracy: chosen.and_then(|line| line.accuracy),
        best_layer: best.map(|line| line.split_layer),
        best_accuracy: best.and_then(|line| line.accuracy),
    }
}

/// Three kinds of tables: the layers, how errors grow, and what the indicators are worth.
pub(super) fn tables(view: &RowView, sweeps: &[Sweep]) -> [(&'static str, TableSet); 3] {
    let table_set = |table: &dyn Fn(&Sweep) -> Table, columns: &str, csv: &dyn Fn(&Sweep) -> Vec<Vec<String>>| {
        let mut lines = table_file::fields(&format!("model,codec,ratio,accounting,scope,{columns}"));
        for sweep in sweeps {
            let key = [sweep.model, sweep.codec, &number::field(sweep.ratio), sweep.accounting, sweep.scope];
            lines.extend(csv(sweep).into_iter().map(|line| [key.map(String::from).to_vec(), line].concat()));
        }
        TableSet { tables: sweeps.iter().map(table).collect(), csv: table_file::text(&lines) }
    };
    let keys = INDICATORS.iter().map(|indicator| indicator.key);
    let layers =
        ["split_layer,accuracy,accuracy_se,drop,drop_se"].into_iter().chain(keys).collect::<Vec<_>>().join(",");
    let worth = "indicator,takes,layers,rho_drop,rho_error,layer,accuracy,best_layer,best_accuracy";
    [
        ("layers", table_set(&|sweep| sweep.table(view), &layers, &|sweep| sweep.csv())),
        ("growth", table_set(&|sweep| sweep.growth(view), "split_layer,layer,rel_error", &|sweep| sweep.growth_csv())),
        ("indicators", table_set(&|sweep| sweep.worth(view), worth, &|sweep| sweep.worth_csv())),
    ]
}

fn text(value: Option<f64>, digits: usize) -> String {
    value.map_or(MISSING.into(), |value| format!("{value:.digits$}"))
}

fn field(value: Option<f64>) -> String {
    number::field_to(value, 6)
}

impl Sweep<'_> {
    /// `fc at ratio 8 in elements`.
    pub(super) fn label(&self) -> String {
        let ratio = self.ratio.map(|ratio| format!(" at ratio {} in {}", number::ratio(ratio), self.accounting));
        format!("{}{}", self.codec, ratio.unwrap_or_default())
    }

    /// The rows of its cells.
    pub(super) fn rows(&self) -> Vec<&Row> {
        self.cells.iter().flatten().flatten().copied().collect()
    }

    fn titled(
        &self,
        view: &RowView,
        what: &str,
        caption: Vec<String>,
        columns: Vec<String>,
        rows: Vec<Vec<String>>,
    ) -> Table {
        Table {
            title: format!("{what}: {} by {}, scope {}", view.name(self.model), self.label(), self.scope),
            caption,
            columns: ["model".to_string()].into_iter().chain(columns).collect(),
            sections: vec![TableSection { name: view.name(self.model), rows }],
            ..Table::default()
        }
    }

    fn table(&self, view: &RowView) -> Table {
        let mut coverage = Coverage::default();
        self.cells.iter().flatten().for_each(|cell| coverage.count(*cell));
        let columns = ["split layer", "accuracy", "drop"].into_iter().chain(INDICATORS.iter().map(|one| one.name));
        let with_stderr = |value: Option<f64>, stderr: Option<f64>| match (value, stderr) {
            (Some(value), Some(stderr)) => format!("{} ± {}", number::tenths(value), number::tenths(stderr)),
            (value, _) => text(value, 1),
        };
        let row = |line: &LayerLine| {
            let first = [
                line.split_layer.to_string(),
                with_stderr(line.accuracy, line.accuracy_se),
                with_stderr(line.drop, line.drop_se),
            ];
            first.into_iter().chain(INDICATORS.iter().map(|one| text((one.of)(line), 3))).collect()
        };
        let unsplit: Vec<Option<Accuracy>> =
            view.datasets.iter().map(|name| view.baseline(self.model, name).and_then(view::accuracy)).collect();
        let mut caption = vec![
            "Accuracy in per cent ± 1 standard error, mean over the data sets; drop: unsplit model minus codec in points, ± 1 paired standard error.".to_string(),
            "The other numbers are means over the requests of a set, each weighing alike, then over the sets.".into(),
            "low-band energy: share of ||A||² that FC's block at this ratio restores; variation: mean |difference| of neighbours over mean |A|; effective rank: exp of the entropy of the squared singular values, over min(S, D); outlier share: of ||A||² in the largest 1 % of the values; error: ||H - H'||_F / ||H||_F of the hidden state; log-lik. change: mean |change| in nats.".into(),
        ];
        caption
            .extend(number::average(&unsplit).map(|cell| format!("The unsplit model has {}.", number::percent(cell))));
        caption.extend(coverage.sentence());
        caption.extend(caption::provenance(view, &self.rows()));
        self.titled(
            view,
            "Split layers",
            caption,
            columns.map(String::from).collect(),
            self.layers.iter().map(row).collect(),
        )
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let line = |line: &LayerLine| {
            let first = [line.accuracy, line.accuracy_se, line.drop, line.drop_se];
            let values = first.into_iter().chain(INDICATORS.iter().map(|one| (one.of)(line)));
            [line.split_layer.to_string()].into_iter().chain(values.map(field)).collect()
        };
        self.layers.iter().map(line).collect()
    }

    fn growth(&self, view: &RowView) -> Table {
        let known =
            |line: &LayerLine| (line.split_layer..).zip(&line.errors).map(|(layer, _)| layer).collect::<Vec<u32>>();
        let layers: BTreeSet<u32> = self.layers.iter().flat_map(known).collect();
        let columns = ["cut after".to_string()].into_iter().chain(layers.iter().map(|layer| format!("layer {layer}")));
        let row = |line: &LayerLine| {
            let cell = |layer: &u32| match layer.checked_sub(line.split_layer) {
                Some(later) => text(line.errors.get(later as usize).copied(), 3),
                None => String::new(),
            };
            [line.split_layer.to_string()].into_iter().chain(layers.iter().map(cell)).collect()
        };
        let caption = "Relative error ||H - H'||_F / ||H||_F of the hidden state after each layer, against the uncompressed run; mean over requests, then over the data sets.";
        self.titled(
            view,
            "Error growth",
            vec![caption.into()],
            columns.collect(),
            self.layers.iter().map(row).collect(),
        )
    }

    fn growth_csv(&self) -> Vec<Vec<String>> {
        let line = |line: &LayerLine| {
            let split = line.split_layer;
            let each = (split..).zip(line.errors.clone());
            each.map(move |(layer, error)| vec![split.to_string(), layer.to_string(), field(Some(error))])
        };
        self.layers.iter().flat_map(line).collect()
    }

    fn worth(&self, view: &RowView) -> Table {
        let columns = [
            "indicator",
            "cuts at its",
            "ρ with drop",
            "ρ with error",
            "its layer",
            "accuracy",
            "best layer",
            "accuracy",
        ];
        let row = |one: &IndicatorRecord| {
            let layer = |layer: Option<u32>| layer.map_or(MISSING.into(), |layer| layer.to_string());
            vec![
                one.indicator.to_string(),
                one.takes.to_string(),
                text(one.rho_drop, 2),
                text(one.rho_error, 2),
                layer(one.layer),
                text(one.accuracy, 1),
                layer(one.best_layer),
                text(one.best_accuracy, 1),
            ]
        };
        let caption = vec![
            format!("ρ: Spearman's rank correlation over {} split layers of one model.", self.layers.len()),
            "An indicator that always chose well would have -1 with the drop where it takes the highest, 1 where it takes the lowest.".into(),
        ];
        let rows = self.indicators.iter().map(row).collect();
        self.titled(view, "Indicators", caption, columns.map(String::from).to_vec(), rows)
    }

    fn worth_csv(&self) -> Vec<Vec<String>> {
        let line = |one: &IndicatorRecord| {
            vec![
                one.indicator.into(),
                one.takes.into(),
                one.layers.to_string(),
                field(one.rho_drop),
                field(one.rho_error),
                number::field(one.layer),
                field(one.accuracy),
                number::field(one.best_layer),
                field(one.best_accuracy),
            ]
        };
        self.indicators.iter().map(line).collect()
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
