//! Claims about activations: energy in the block, and how alike inputs are.

use super::super::super::{names, view};
use super::super::verdict::{ANY, ClaimState, ONE, Uncertain};
use super::{ClaimAnswer, ClaimVerdict, sets};
use crate::record::{Energy, Similarity};

/// After layer 1, by the default reading at the ratio nearest to the paper's average; the error is of the mean over the sets.
pub(super) fn energy(lines: &[Energy], all: &[String], least: f64) -> Vec<ClaimVerdict> {
    let models = view::distinct(lines.iter().map(|line| line.model.as_str()));
    let judge = |model: &str| {
        let chosen: Vec<&Energy> = lines
            .iter()
            .filter(|line| line.model == model && line.layer == 1 && line.reading == "fc" && line.ratio == 8.0)
            .filter(|line| line.share.is_finite() && line.noise.is_finite())
            .collect();
        let mean = |what: fn(&Energy) -> f64| {
            Uncertain::mean(&chosen.iter().map(|line| 100.0 * what(line)).collect::<Vec<_>>())
        };
        let (share, noise) = (mean(|line| line.share)?, mean(|line| line.noise)?);
        let bound = 100.0 * least;
        let found = format!(
            "{} % of the energy at ratio 8, mean over {}; of independent noise {:.1} %",
            share.text(1),
            sets(chosen.len()),
            noise.value
        );
        let verdict = ClaimState::judge(share.surely_above(bound, ONE), share.surely_below(bound, ONE));
        let subject = crate::model::short_name(model, all.iter().map(String::as_str));
        Some(ClaimVerdict { subject, verdict, found, weight: chosen.len() })
    };
    models.into_iter().filter_map(judge).collect()
}

/// Judges each model by each measure, since the paper names none.
pub(super) fn alike(
    lines: &[Similarity],
    all: &[String],
    judge: impl Fn(&[&Similarity]) -> ClaimAnswer,
) -> Vec<ClaimVerdict> {
    let places = view::distinct(lines.iter().map(|line| (line.model.as_str(), line.measure.as_str())));
    let one = |(model, measure): (&str, &str)| {
        let is_measured =
            |line: &&Similarity| line.model == model && line.measure == measure && line.cosine.is_finite();
        let measured: Vec<&Similarity> = lines.iter().filter(is_measured).collect();
        let (verdict, found, weight) = judge(&measured)?;
        let name = crate::model::short_name(model, all.iter().map(String::as_str));
        Some(ClaimVerdict { subject: format!("{name}, {measure}"), verdict, found, weight })
    };
    places.into_iter().filter_map(one).collect()
}

fn cosine(line: &Similarity) -> Uncertain {
    Uncertain { value: line.cosine, stderr: line.stderr }
}

/// The largest similarity of the first layers against the largest behind them, set by set.
pub(super) fn early(lines: &[&Similarity], first: u32) -> ClaimAnswer {
    let sets = view::distinct(lines.iter().map(|line| line.dataset.as_str()));
    let ahead = |set: &&str| {
        let most = |of: &dyn Fn(&Similarity) -> bool| {
            let cosines = lines.iter().filter(|line| line.dataset == *set && of(line)).map(|line| cosine(line));
            cosines.max_by(|a, b| a.value.total_cmp(&b.value))
        };
        let (early, late) = (most(&|line| line.layer <= first)?, most(&|line| line.layer > first)?);
        Some((names::title(set), early.minus(late)))
    };
    let ahead: Vec<(String, Uncertain)> = sets.iter().filter_map(ahead).collect();
    let list: Vec<String> = ahead.iter().map(|(set, ahead)| format!("{set} {}", ahead.text(2))).collect();
    let verdict = ClaimState::judge(
        ahead.iter().all(|(_, ahead)| ahead.surely_above(0.0, ONE)),
        ahead.iter().any(|(_, ahead)| ahead.surely_below(0.0, ANY)),
    );
    let found = format!("most alike in layers 1 to {first} minus behind them: {}", list.join(", "));
    (!ahead.is_empty()).then_some((verdict, found, ahead.len()))
}

/// Mean over the sets after the last layer.
pub(super) fn late(lines: &[&Similarity], most: f64) -> ClaimAnswer {
    let last = lines.iter().map(|line| line.layer).max()?;
    let cosines: Vec<Uncertain> = lines.iter().filter(|line| line.layer == last).map(|line| cosine(line)).collect();
    let n = cosines.len() as f64;
    let squares: Option<f64> = cosines.iter().map(|one| one.stderr.map(|stderr| stderr.powi(2))).sum();
    let mean = Uncertain {
        value: cosines.iter().map(|one| one.value).sum::<f64>() / n,
        stderr: squares.map(|sum| sum.sqrt() / n),
    };
    let found = format!("{} after layer {last}, mean over {}", mean.text(2), sets(cosines.len()));
    Some((ClaimState::judge(mean.surely_below(most, ONE), mean.surely_above(most, ONE)), found, cosines.len()))
}
