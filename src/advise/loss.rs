//! What codecs cost at cuts: the rows of runs, pooled over the data sets that all of them share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use splitbench_codec::{CodecSpec, RowScope};
use splitbench_planner::CutLoss;

use crate::record::{Row, read_rows};
use crate::score::{Decision, RatioEstimate, loss_at_most, mean_at_most};

/// A codec at one ratio: what a row says of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SentAs {
    /// With its options.
    pub codec: String,
    /// The ratio asked for; none of a codec of fixed rate.
    pub ratio: Option<f64>,
    /// `elements` or `wire`; empty without a ratio.
    pub accounting: String,
}

impl SentAs {
    /// Values as they are, in f32: exact by construction.
    pub fn exact() -> Self {
        Self { codec: "noop".into(), ratio: None, accounting: String::new() }
    }

    /// Values in f16, which everything is compared with.
    pub fn half() -> Self {
        Self { codec: "noop:values=f16".into(), ratio: None, accounting: String::new() }
    }
}

impl std::fmt::Display for SentAs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.codec)?;
        self.ratio.map_or(Ok(()), |ratio| write!(f, " at {ratio} {}", self.accounting))
    }
}

/// What a codec costs at a cut, over the data sets at hand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasuredLoss {
    /// The cut: after this layer.
    pub after_layer: usize,
    /// What is sent.
    #[serde(flatten)]
    pub sent: SentAs,
    /// Whether each row is coded by itself, so that a step can be sent as it was measured.
    pub rows_are_local: bool,
    /// Questions behind it.
    pub questions: u64,
    /// Right without the cut, wrong with it.
    pub lost: u64,
    /// Wrong without it, right with it.
    pub gained: u64,
    /// Mean KL per scored position, nats, each data set by its positions; none where no row has it.
    pub kl: Option<f64>,
    /// Its standard error over questions.
    pub kl_stderr: Option<f64>,
    /// Mean bytes of a token that crossed.
    pub bytes_per_token: f64,
}

impl MeasuredLoss {
    /// Accuracy lost, points; below zero where it rose.
    pub fn drop_points(&self) -> f64 {
        100.0 * (self.lost as f64 - self.gained as f64) / self.questions as f64
    }

    /// For the planner.
    pub fn cut_loss(&self) -> CutLoss {
        CutLoss { drop_points: Some(self.drop_points()), kl_nats: self.kl }
    }

    /// Whether its accuracy keeps a limit in points, as far as the questions can tell.
    pub fn drop_at_most(&self, points: f64) -> Decision {
        loss_at_most(self.lost, self.gained, self.questions, points / 100.0)
    }

    /// Whether its KL keeps a limit in nats; none where it was not measured.
    pub fn kl_at_most(&self, nats: f64) -> Option<Decision> {
        let mean = RatioEstimate { value: self.kl?, stderr: self.kl_stderr };
        Some(mean_at_most(mean, self.questions as usize, nats))
    }
}

/// Losses at all cuts of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct LossTable {
    /// The model, as the runs had it.
    pub model: String,
    /// SHA-256 of its files.
    pub model_sha256: String,
    /// What was compressed: the scope of the rows.
    pub scope: String,
    /// The data sets that all share.
    pub datasets: Vec<String>,
    /// One for each cut and codec, in the order of the rows.
    pub losses: Vec<MeasuredLoss>,
    /// What a reader must know: rows left out and why.
    pub notes: Vec<String>,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Default)]
pub struct LossFilter {
    /// Of this model only, as the runs had it.
    pub model: Option<String>,
    /// Of this scope only.
    pub scope: Option<String>,
    /// Only cuts after these layers; all where empty.
    pub layers: Vec<usize>,
    /// Only these codecs, by name with or without options; all where empty.
    pub codecs: Vec<String>,
}

impl LossTable {
    /// Reads the rows of runs' folders.
    pub fn read(runs: &[PathBuf], filter: &LossFilter) -> Result<Self> {
        let mut rows = Vec::new();
        for run in runs {
            rows.extend(run_rows(run)?);
        }
        Self::new(rows, filter)
    }

    /// Pools rows.
    pub fn new(mut rows: Vec<Row>, filter: &LossFilter) -> Result<Self> {
        rows.retain(|row| !row.is_baseline());
        let mut notes = Vec::new();
        let model = one(&rows, filter.model.as_deref(), "model", |row| &row.model)?;
        rows.retain(|row| row.model == model);
        let hashes: BTreeSet<&str> = rows.iter().map(|row| row.model_sha256.as_str()).collect();
        ensure!(
            hashes.len() == 1,
            "the rows of {model} are of {} different files (model_sha256 {}): take runs of the same weights",
            hashes.len(),
            hashes.iter().map(|hash| hash.chars().take(8).collect::<String>()).collect::<Vec<_>>().join(", ")
        );
        let model_sha256 = rows[0].model_sha256.clone();
        let scope = one(&rows, filter.scope.as_deref(), "scope", |row| &row.scope)?;
        rows.retain(|row| row.scope == scope);
        let versions: BTreeSet<&str> = rows.iter().map(|row| row.version.as_str()).collect();
        if versions.len() > 1 {
            notes.push(format!("rows are of {} versions of the program", versions.len()));
        }
        let failed = rows.iter().filter(|row| row.err.is_some() || row.lost.is_none()).count();
        if failed > 0 {
            notes.push(format!("{failed} rows failed and say nothing"));
        }
        rows.retain(|row| row.err.is_none() && row.lost.is_some() && row.wire_bytes_per_token.is_some());
        if !filter.codecs.is_empty() {
            let wanted = |row: &Row| {
                let base = row.codec.split(':').next().unwrap_or_default();
                filter.codecs.iter().any(|codec| *codec == row.codec || codec == base)
            };
            if let Some(unknown) = filter.codecs.iter().find(|codec| {
                !rows.iter().any(|row| row.codec == **codec || row.codec.split(':').next() == Some(codec.as_str()))
            }) {
                let known: BTreeSet<&str> = rows.iter().map(|row| row.codec.as_str()).collect();
                return Err(splitbench_codec::suggest::unknown("codec", unknown, known)
                    .context("the runs have no rows of a codec that was asked for"));
            }
            rows.retain(wanted);
        }
        let is_after = |row: &Row, layer: usize| row.split_layer.is_some_and(|after| after as usize == layer);
        for &layer in &filter.layers {
            ensure!(
                rows.iter().any(|row| is_after(row, layer)),
                "the runs have no rows of a cut after layer {layer}, only after {}; an experiment with split_layers = [{layer}] \
                 makes them (docs/experiments.md)",
                layers(&rows)
            );
        }
        rows.retain(|row| filter.layers.is_empty() || filter.layers.iter().any(|&layer| is_after(row, layer)));
        ensure!(!rows.is_empty(), "no row of {model} is left: the runs have no codec that did not fail");

        check_questions(&rows)?;
        let mut cells: Vec<(u32, SentAs, Vec<Row>)> = Vec::new();
        for row in rows {
            let Some(layer) = row.split_layer else { continue };
            let (ratio, accounting) = (row.ratio_requested, row.accounting.clone());
            let sent = SentAs { codec: row.codec.clone(), ratio, accounting };
            match cells.iter_mut().find(|(known, what, _)| *known == layer && *what == sent) {
                Some((_, _, of)) if of.iter().any(|known| known.dataset == row.dataset) => {}
                Some((_, _, of)) => of.push(row),
                None => cells.push((layer, sent, vec![row])),
            }
        }
        let datasets = shared(&cells)?;
        let all: BTreeSet<&str> = cells.iter().flat_map(|(.., of)| of).map(|row| row.dataset.as_str()).collect();
        if all.len() > datasets.len() {
            let left = all.len() - datasets.len();
            notes.push(format!("{left} data sets are left out, which not all cuts and codecs were asked on"));
        }
        let losses = cells.iter().map(|(layer, sent, rows)| loss(*layer, sent, rows, &datasets)).collect();
        Ok(Self { model, model_sha256, scope, datasets, losses, notes })
    }

    /// Layers with a cut, ascending.
    pub fn layers(&self) -> Vec<usize> {
        self.losses.iter().map(|loss| loss.after_layer).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// The rows of a run's folder.
pub(super) fn run_rows(run: &Path) -> Result<Vec<Row>> {
    let path = run.join("rows.parquet");
    ensure!(
        path.is_file(),
        "{} has no rows.parquet: --from takes the folder of a finished run, results/<experiment>/<run>, such as of \
         `splitbench run where-to-cut`",
        run.display()
    );
    read_rows(&path)
}

/// Fails where rows of one data set are not of the same questions: their losses do not compare.
fn check_questions(rows: &[Row]) -> Result<()> {
    let mut first: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in rows {
        let known = *first.entry(&row.dataset).or_insert(row);
        let facts = |row: &Row| [row.questions.to_string(), row.data_sha256.clone(), row.prompt_version.to_string()];
        let differs = facts(known).into_iter().zip(facts(row)).zip(["questions", "data of hash", "prompts of version"]);
        if let Some(((one, other), what)) = differs.into_iter().find(|((one, other), _)| one != other) {
            bail!(
                "the rows of {} are not of the same questions ({what} {one} and {other}): take runs of the same data and --limit",
                row.dataset
            );
        }
    }
    Ok(())
}

/// The one value that rows have; of several the one asked for.
fn one(rows: &[Row], wanted: Option<&str>, what: &str, of: impl Fn(&Row) -> &String) -> Result<String> {
    let values: BTreeSet<&String> = rows.iter().map(of).collect();
    let names = || values.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", ");
    match (wanted, values.len()) {
        (Some(wanted), _) if values.iter().any(|value| *value == wanted) => Ok(wanted.to_string()),
        (Some(wanted), _) => bail!("the runs have no rows of {what} {wanted}, only of {}", names()),
        (None, 1) => Ok(values.first().map(|value| value.to_string()).unwrap_or_default()),
        (None, 0) => bail!("the runs have no rows of a codec"),
        (None, count) => bail!("the runs have rows of {count} {what}s ({}): choose one with --{what}", names()),
    }
}

fn layers(rows: &[Row]) -> String {
    let layers: BTreeSet<u32> = rows.iter().filter_map(|row| row.split_layer).collect();
    layers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Data sets that every cell has.
fn shared(cells: &[(u32, SentAs, Vec<Row>)]) -> Result<Vec<String>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    cells.iter().flat_map(|(.., rows)| rows).for_each(|row| *counts.entry(&row.dataset).or_default() += 1);
    let shared: Vec<String> =
        counts.iter().filter(|(_, count)| **count == cells.len()).map(|(name, _)| name.to_string()).collect();
    if shared.is_empty() {
        // The one that shares least says most.
        let (layer, sent, rows) = cells.iter().min_by_key(|(.., rows)| rows.len()).context("there are no cells")?;
        let has = rows.iter().map(|row| row.dataset.as_str()).collect::<Vec<_>>().join(", ");
        bail!(
            "no data set is shared by all cuts and codecs: {sent} after layer {layer} was asked on {has} only; leave runs out, or \
             choose with --layers or --codec"
        );
    }
    Ok(shared)
}

fn loss(layer: u32, sent: &SentAs, rows: &[Row], datasets: &[String]) -> MeasuredLoss {
    let rows: Vec<&Row> = rows.iter().filter(|row| datasets.contains(&row.dataset)).collect();
    let sum = |of: &dyn Fn(&Row) -> u64| rows.iter().map(|row| of(row)).sum::<u64>();
    let positions = sum(&|row| row.positions.unwrap_or(0)) as f64;
    let share = |row: &Row| row.positions.unwrap_or(0) as f64 / positions;
    let known = positions > 0.0 && rows.iter().all(|row| row.kl_mean.is_some());
    let kl = known.then(|| rows.iter().map(|row| share(row) * row.kl_mean.unwrap_or(0.0)).sum::<f64>());
    let errors: Option<Vec<f64>> = rows.iter().map(|row| Some(share(row) * row.kl_stderr?)).collect();
    let squares = errors.map(|errors| errors.iter().map(|error| error * error).sum::<f64>());
    let tokens = sum(&|row| row.tokens) as f64;
    MeasuredLoss {
        after_layer: layer as usize,
        sent: sent.clone(),
        rows_are_local: CodecSpec::parse(&sent.codec).is_ok_and(|spec| spec.rows() == RowScope::Local),
        questions: sum(&|row| row.questions),
        lost: sum(&|row| row.lost.unwrap_or(0)),
        gained: sum(&|row| row.gained.unwrap_or(0)),
        kl,
        kl_stderr: squares.filter(|_| known).map(f64::sqrt),
        bytes_per_token: rows
            .iter()
            .map(|row| row.tokens as f64 / tokens * row.wire_bytes_per_token.unwrap_or(0.0))
            .sum(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::testing::{failed, on, row};

    pub(crate) fn cell(layer: u32, codec: &str, ratio: Option<f64>, kl: f64, lost: u64) -> Row {
        Row {
            split_layer: Some(layer),
            accounting: ratio.map(|_| "wire".to_string()).unwrap_or_default(),
            questions: 100,
            lost: Some(lost),
            gained: Some(0),
            kl_mean: Some(kl),
            kl_stderr: Some(kl / 10.0),
            positions: Some(1000),
            tokens: 5000,
            wire_bytes_per_token: Some(100.0),
            ..row(codec, ratio, 0.5)
        }
    }

    #[test]
    fn rows_of_data_sets_are_pooled_by_their_size() {
        let small = Row { questions: 50, positions: Some(500), ..on("piqa", cell(1, "int8", None, 0.04, 2)) };
        let table = LossTable::new(
            vec![row("baseline", None, 0.7), cell(1, "int8", None, 0.01, 1), small],
            &LossFilter::default(),
        )
        .unwrap();
        let [loss] = table.losses.as_slice() else { panic!("{:?}", table.losses) };
        assert_eq!((loss.questions, loss.lost, loss.rows_are_local), (150, 3, true));
        assert!((loss.drop_points() - 2.0).abs() < 1e-12);
        assert!((loss.kl.unwrap() - 0.02).abs() < 1e-12);
        let stderr = ((2.0 / 3.0 * 0.001f64).powi(2) + (0.004f64 / 3.0).powi(2)).sqrt();
        assert!((loss.kl_stderr.unwrap() - stderr).abs() < 1e-12);
        assert_eq!(table.datasets.len(), 2);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_the_way_out() {
        let refused = |rows: Vec<Row>, filter: LossFilter, parts: &[&str]| {
            let error = format!("{:#}", LossTable::new(rows, &filter).unwrap_err());
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        let int8 = || cell(1, "int8", None, 0.01, 1);
        let other = Row { model: "other".into(), ..int8() };
        refused(vec![int8(), other.clone()], LossFilter::default(), &["2 models", "other, pocket", "--model"]);
        let filter = LossFilter { model: Some("third".into()), ..LossFilter::default() };
        refused(vec![int8(), other], filter, &["third", "other, pocket"]);
        let weights = Row { model_sha256: "0123456789".into(), ..cell(2, "int8", None, 0.01, 1) };
        refused(vec![int8(), weights], LossFilter::default(), &["2 different files", "01234567"]);
        let filter = LossFilter { layers: vec![3], ..LossFilter::default() };
        refused(vec![int8()], filter, &["after layer 3", "only after 1", "split_layers = [3]"]);
        let filter = LossFilter { codecs: vec!["int9".into()], ..LossFilter::default() };
        refused(vec![int8()], filter, &["int9", "int8"]);
        let fewer = Row { questions: 50, ..cell(2, "int8", None, 0.01, 1) };
        refused(vec![int8(), fewer], LossFilter::default(), &["not of the same questions", "100 and 50", "--limit"]);
        let apart = on("piqa", cell(2, "int8", None, 0.01, 1));
        refused(vec![int8(), apart], LossFilter::default(), &["no data set is shared", "--layers"]);
        refused(vec![failed(int8(), "no")], LossFilter::default(), &["did not fail"]);
        let narrow = Row { scope: "prompt".into(), ..int8() };
        refused(vec![int8(), narrow], LossFilter::default(), &["2 scopes", "--scope"]);
    }

    #[test]
    fn data_sets_that_some_lack_are_left_out_and_told() {
        let rows = vec![
            cell(1, "int8", None, 0.01, 1),
            on("piqa", cell(1, "int8", None, 0.5, 50)),
            cell(2, "fc", Some(8.0), 0.1, 9),
            failed(cell(3, "fc", Some(8.0), 0.1, 9), "no"),
        ];
        let table = LossTable::new(rows, &LossFilter::default()).unwrap();
        assert_eq!(table.losses.len(), 2);
        assert_eq!(table.losses[0].kl, Some(0.01));
        assert_eq!(table.layers(), [1, 2]);
        let notes = table.notes.join("; ");
        assert!(notes.contains("1 rows failed") && notes.contains("1 data sets are left out"), "{notes}");
        assert_eq!(table.losses[1].sent.to_string(), "fc at 8 wire");
    }
}
