//! Claims about accuracies and errors against the cells of one model.

use super::super::super::number;
use super::super::super::table3::paired_variance;
use super::super::super::view::{self, RowView};
use super::super::super::{names, paper};
use super::super::verdict::{ANY, ClaimState, ONE, Uncertain};
use super::{ClaimAnswer, ClaimVerdict, Test, sets};
use crate::record::Row;

/// What the cells of a model say of a claim about accuracies.
pub(super) fn judge(test: &Test, view: &RowView, model: &str) -> Option<ClaimVerdict> {
    let cells = Cells { view, model };
    let (verdict, found, weight) = match *test {
        Test::AverageLoss(most) => cells.average_loss(most),
        Test::EverySet(most) => cells.every_set(&cells.pairs_at("fc", paper_ratio), most),
        Test::NearLossless { from, points } => cells.near_lossless(from, points),
        Test::Beats(codec) => cells.beats(codec),
        Test::LosesMore(codec, least) => cells.loses_more(codec, least),
        Test::AboveBaseline(name) => cells.above_baseline(name),
        Test::FirstLayer => cells.first_layer(),
        Test::FallsWithDepth => cells.falls_with_depth(),
        Test::LeastError => cells.least_error(),
        _ => None,
    }?;
    Some(ClaimVerdict { subject: view.name(model), verdict, found, weight })
}

/// The ratio in the paper's Table III of a data set, or of the one it is named after.
fn paper_ratio(dataset: &str) -> Option<f64> {
    paper::table3_ratio(names::DATASETS[names::paper_place(dataset)?].0)
}

/// A finished cell and the uncompressed model on the same questions.
#[derive(Clone, Copy)]
struct AccuracyPair<'a> {
    cell: &'a Row,
    baseline: &'a Row,
}

impl AccuracyPair<'_> {
    /// Points lost. Its error is never less than that of one changed answer: that none changed does not make it sure.
    fn loss(&self) -> Uncertain {
        let percent = |row: &Row| view::accuracy(row).map_or(f64::NAN, |cell| 100.0 * cell.value);
        let one = 1.0 / (self.cell.questions as f64).powi(2);
        let stderr = paired_variance(self.cell).map(|variance| 100.0 * variance.max(one).sqrt());
        Uncertain { value: percent(self.baseline) - percent(self.cell), stderr }
    }
}

/// Mean over the sets, each weighing alike.
fn mean_loss(pairs: &[AccuracyPair]) -> Uncertain {
    let losses: Vec<Uncertain> = pairs.iter().map(AccuracyPair::loss).collect();
    let n = losses.len() as f64;
    let squares: Option<f64> = losses.iter().map(|loss| loss.stderr.map(|stderr| stderr.powi(2))).sum();
    Uncertain {
        value: losses.iter().map(|loss| loss.value).sum::<f64>() / n,
        stderr: squares.map(|sum| sum.sqrt() / n),
    }
}

fn wire(pairs: &[AccuracyPair]) -> String {
    let mean = number::geometric_mean(pairs.iter().map(|pair| pair.cell.ratio_wire));
    mean.map_or(String::new(), |wire| format!(" (wire {wire:.1})"))
}

/// The cells of one model.
#[derive(Clone, Copy)]
struct Cells<'v, 'a> {
    view: &'v RowView<'a>,
    model: &'v str,
}

impl<'a> Cells<'_, 'a> {
    /// Rows in the paper's scope and accounting after some layer; codecs of fixed rate have no accounting.
    fn rows(&self, layer: Option<u32>) -> impl Iterator<Item = &'a Row> {
        let model = self.model.to_string();
        self.view.rows.iter().filter(move |row| {
            row.model == model
                && !row.is_baseline()
                && (layer.is_none() || row.split_layer == layer)
                && row.scope == "prompt+choice"
                && (row.accounting == "elements" || row.accounting.is_empty())
        })
    }

    fn baseline(&self, dataset: &str) -> Option<&'a Row> {
        let is_baseline = |row: &&Row| row.is_baseline() && row.model == self.model && row.dataset == dataset;
        self.view.rows.iter().rfind(is_baseline).filter(|row| view::accuracy(row).is_some())
    }

    /// Finished cells of a codec after a layer at a ratio that may depend on the data set.
    fn after(&self, layer: u32, codec: &str, ratio: impl Fn(&str) -> Option<f64>) -> Vec<AccuracyPair<'a>> {
        let rows: Vec<&Row> = self.rows(Some(layer)).filter(|row| row.codec == codec).collect();
        let pair = |dataset: &&'a str| {
            let ratio = ratio(dataset)?;
            let is_cell = |row: &&&Row| row.dataset == *dataset && row.ratio_requested == Some(ratio);
            let cell = rows.iter().copied().rfind(|row| is_cell(&row)).filter(|row| view::accuracy(row).is_some())?;
            Some(AccuracyPair { cell, baseline: self.baseline(dataset)? })
        };
        self.view.datasets.iter().filter_map(pair).collect()
    }

    fn pairs_at(&self, codec: &str, ratio: impl Fn(&str) -> Option<f64>) -> Vec<AccuracyPair<'a>> {
        self.after(1, codec, ratio)
    }

    fn average_loss(&self, most: f64) -> ClaimAnswer {
        let pairs = self.pairs_at("fc", paper_ratio);
        (!pairs.is_empty()).then(|| {
            let loss = mean_loss(&pairs);
            let ratio = pairs.iter().filter_map(|pair| pair.cell.ratio_requested).sum::<f64>() / pairs.len() as f64;
            let found =
                format!("loses {} points over {}, ratio {ratio:.1}{}", loss.text(1), sets(pairs.len()), wire(&pairs));
            (ClaimState::judge(loss.surely_below(most, ONE), loss.surely_above(most, ONE)), found, pairs.len())
        })
    }

    fn every_set(&self, pairs: &[AccuracyPair], most: f64) -> ClaimAnswer {
        let worst = pairs.iter().max_by(|a, b| a.loss().value.total_cmp(&b.loss().value))?;
        let beyond = pairs.iter().filter(|pair| pair.loss().surely_above(most, ANY)).count();
        let holds = pairs.iter().all(|pair| pair.loss().surely_below(most, ANY));
        let found = format!(
            "{beyond} of {} surely lose more than {most} points; worst: {}, {}",
            sets(pairs.len()),
            names::row_title(worst.cell),
            worst.loss().text(1)
        );
        Some((ClaimState::judge(holds, beyond > 0), found, pairs.len()))
    }

    /// At the least ratio from `from` on, which should hold if any does; not one much larger.
    fn near_lossless(&self, from: f64, points: f64) -> ClaimAnswer {
        let tried = self.rows(Some(1)).filter(|row| row.codec == "fc").filter_map(|row| row.ratio_requested);
        let ratio = tried.filter(|ratio| (from..from + 0.7).contains(ratio)).reduce(f64::min)?;
        let pairs = self.pairs_at("fc", |_| Some(ratio));
        let (verdict, found, weight) = self.every_set(&pairs, points)?;
        Some((verdict, format!("at ratio {ratio}: {found}; on average {}", mean_loss(&pairs).text(1)), weight))
    }

    fn beats(&self, codec: &str) -> ClaimAnswer {
        let (mut ours, mut theirs) = (self.pairs_at("fc", paper_ratio), self.pairs_at(codec, paper_ratio));
        let has =
            |pairs: &[AccuracyPair], one: &AccuracyPair| pairs.iter().any(|pair| pair.cell.dataset == one.cell.dataset);
        ours.retain(|pair| has(&theirs, pair));
        theirs.retain(|pair| has(&ours, pair));
        if ours.is_empty() {
            return None;
        }
        let gain = mean_loss(&theirs).minus(mean_loss(&ours));
        let papers: Vec<f64> = paper::models()
            .iter()
            .filter_map(|model| Some(paper::table3(model, "fc", "avg")? - paper::table3(model, codec, "avg")?))
            .collect();
        let found = format!(
            "FC{} minus {codec}{}: {} points over {}; the paper's averages: {}",
            wire(&ours),
            wire(&theirs),
            gain.text(1),
            sets(ours.len()),
            papers.iter().map(|points| number::signed(*points)).collect::<Vec<_>>().join(", ")
        );
        Some((ClaimState::judge(gain.surely_above(0.0, ONE), gain.surely_below(0.0, ONE)), found, ours.len()))
    }

    fn loses_more(&self, codec: &str, least: f64) -> ClaimAnswer {
        let pairs = self.pairs_at(codec, paper_ratio);
        (!pairs.is_empty()).then(|| {
            let loss = mean_loss(&pairs);
            let found = format!("loses {} points over {}", loss.text(1), sets(pairs.len()));
            (ClaimState::judge(loss.surely_above(least, ONE), loss.surely_below(least, ONE)), found, pairs.len())
        })
    }

    fn above_baseline(&self, name: &str) -> ClaimAnswer {
        let pairs = self.pairs_at("fc", paper_ratio);
        if paper::model(self.model) != Some(name) || pairs.is_empty() {
            return None;
        }
        let loss = mean_loss(&pairs);
        let found = format!("loses {} points over {}", loss.text(2), sets(pairs.len()));
        Some((ClaimState::judge(loss.surely_below(0.0, ONE), loss.surely_above(0.0, ONE)), found, pairs.len()))
    }

    /// Cells of a codec by layer, first and others, at the ratio that most of its rows have; only sets that every layer has.
    fn by_layer(&self, codec: &str) -> Vec<(u32, Vec<AccuracyPair<'a>>)> {
        let rows: Vec<&Row> = self.rows(None).filter(|row| row.codec == codec).collect();
        let mut layers = view::distinct(rows.iter().filter_map(|row| row.split_layer));
        layers.sort_unstable();
        let count = |ratio: &f64| rows.iter().filter(|row| row.ratio_requested == Some(*ratio)).count();
        let Some(ratio) = view::ratios(&rows).into_iter().max_by_key(count) else { return Vec::new() };
        let mut out: Vec<(u32, Vec<AccuracyPair>)> =
            layers.into_iter().map(|layer| (layer, self.after(layer, codec, |_| Some(ratio)))).collect();
        // A layer without a finished cell is not there.
        out.retain(|(_, pairs)| !pairs.is_empty());
        let sets: Vec<Vec<String>> =
            out.iter().map(|(_, pairs)| pairs.iter().map(|pair| pair.cell.dataset.clone()).collect()).collect();
        for (_, pairs) in &mut out {
            pairs.retain(|pair| sets.iter().all(|names| names.contains(&pair.cell.dataset)));
        }
        out.retain(|(_, pairs)| !pairs.is_empty());
        if out.first().is_some_and(|(layer, _)| *layer == 1) && out.len() > 1 { out } else { Vec::new() }
    }

    fn first_layer(&self) -> ClaimAnswer {
        let layers = self.by_layer("fc");
        let (first, others) = layers.split_first()?;
        // How much less is lost after layer 1.
        let ahead = |(_, pairs): &(u32, Vec<AccuracyPair>)| mean_loss(pairs).minus(mean_loss(&first.1));
        let (layer, best) =
            others.iter().map(|one| (one.0, ahead(one))).min_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
        let verdict = ClaimState::judge(
            others.iter().all(|one| ahead(one).surely_above(0.0, ONE)),
            others.iter().any(|one| ahead(one).surely_below(0.0, ANY)),
        );
        let found = format!(
            "points kept after layer 1 minus those after layer {layer}, the best of layers 2 to {}: {}, over {}",
            others.last().map_or(0, |(layer, _)| *layer),
            best.text(1),
            sets(first.1.len())
        );
        Some((verdict, found, first.1.len()))
    }

    fn falls_with_depth(&self) -> ClaimAnswer {
        let codecs = view::distinct(self.rows(None).map(|row| row.codec.as_str()));
        let fall = |codec: &&str| {
            let layers = self.by_layer(codec);
            let ((_, first), (deepest, last)) = (layers.first()?, layers.last()?);
            Some((codec.to_string(), *deepest, mean_loss(last).minus(mean_loss(first)), first.len()))
        };
        let falls: Vec<(String, u32, Uncertain, usize)> = codecs.iter().filter_map(fall).collect();
        let (_, deepest, _, count) = falls.first()?;
        let text = |(codec, to, points, over): &(String, u32, Uncertain, usize)| {
            let other = format!(" (to layer {to}, over {})", sets(*over));
            format!("{codec} {}{}", points.text(1), if (to, over) == (deepest, count) { "" } else { &other })
        };
        let list: Vec<String> = falls.iter().map(text).collect();
        let verdict = ClaimState::judge(
            falls.iter().all(|(_, _, points, _)| points.surely_above(0.0, ONE)),
            falls.iter().any(|(_, _, points, _)| points.surely_below(0.0, ANY)),
        );
        let found = format!("points lost from layer 1 to layer {deepest}, over {}: {}", sets(*count), list.join(", "));
        Some((verdict, found, falls.iter().map(|(.., over)| over).sum()))
    }

    fn least_error(&self) -> ClaimAnswer {
        let layers = self.by_layer("fc");
        let (first, others) = layers.split_first()?;
        let more = |(layer, pairs): &(u32, Vec<AccuracyPair>)| {
            let differences: Option<Vec<f64>> = pairs
                .iter()
                .zip(&first.1)
                .map(|(one, at_first)| Some(one.cell.rel_error? - at_first.cell.rel_error?))
                .collect();
            Some((*layer, Uncertain::mean(&differences?)?))
        };
        let more: Vec<(u32, Uncertain)> = others.iter().map(more).collect::<Option<_>>()?;
        let verdict = ClaimState::judge(
            more.iter().all(|(_, more)| more.surely_above(0.0, ONE)),
            more.iter().any(|(_, more)| more.surely_below(0.0, ANY)),
        );
        let list: Vec<String> = more.iter().map(|(layer, more)| format!("layer {layer} {}", more.text(3))).collect();
        let found =
            format!("relative error minus that after layer 1, mean over {}: {}", sets(first.1.len()), list.join(", "));
        Some((verdict, found, first.1.len() * more.len()))
    }
}
