//! Two runs on the same questions: paired differences with intervals, from their samples.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::{names, number, view};
use crate::experiment::RecordedRun;
use crate::file_name::file_name;
use crate::record::{CodecSample, Sample, SampleLine, json_lines};
use crate::score::{paired, student_quantile};

/// Which cells of a run: the whole name of a codec, a split layer, a ratio; what is absent may be anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CellFilter {
    /// Model name.
    pub model: Option<String>,
    /// Codec with its options, or `baseline`.
    pub codec: Option<String>,
    /// Ratio asked for.
    pub ratio: Option<f64>,
    /// The cut.
    pub layer: Option<u32>,
}

/// What a cell is, the data set aside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedCell {
    /// Model name; as in the file's name where there is no manifest.
    pub model: String,
    /// The cut; none of the baseline.
    pub split_layer: Option<u32>,
    /// What was compressed.
    pub scope: String,
    /// Codec with its options.
    pub codec: String,
    /// Ratio asked for.
    pub ratio: Option<f64>,
    /// What it counts.
    pub accounting: String,
}

impl ComparedCell {
    fn matches(&self, wanted: &CellFilter) -> bool {
        let any = |same: Option<bool>| same.unwrap_or(true);
        any(wanted.model.as_ref().map(|model| *model == self.model))
            && any(wanted.codec.as_ref().map(|codec| *codec == self.codec))
            && any(wanted.ratio.map(|ratio| self.ratio == Some(ratio)))
            && any(wanted.layer.map(|layer| self.split_layer == Some(layer)))
    }

    fn without_model(&self) -> Self {
        Self { model: String::new(), ..self.clone() }
    }

    fn label(&self) -> String {
        self.labelled(&self.model)
    }

    /// By another name of its model.
    pub fn labelled(&self, model: &str) -> String {
        let ratio = self.ratio.map(|ratio| format!(" at ratio {} in {}", number::ratio(ratio), self.accounting));
        let layer = self.split_layer.map(|layer| format!(", layer {layer}, scope {}", self.scope)).unwrap_or_default();
        format!("{model} {}{}{layer}", self.codec, ratio.unwrap_or_default())
    }
}

/// Samples of one cell on one data set, and the file that they are in.
struct CellSamples {
    file: PathBuf,
    dataset: String,
    /// Of a data set of the user's own.
    title: Option<String>,
    cell: ComparedCell,
    samples: Vec<Sample>,
}

/// A mean difference, B minus A, and the 95 % interval of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Mean over questions, or over data sets.
    pub mean: f64,
    /// Half of the interval; none with fewer than two questions.
    pub half: Option<f64>,
}

/// A measure of how near a cell stays to the unsplit model of its run, over the scored positions of both.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Nearness {
    /// Mean a position of A.
    pub a: f64,
    /// Mean a position of B.
    pub b: f64,
    /// B minus A, paired by question.
    pub difference: Difference,
}

/// Two cells on one data set, or on all of them together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellComparison {
    /// Data set name; none for the mean over all of them.
    pub dataset: Option<String>,
    /// Title of a data set of the user's own; none of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Questions that both have.
    pub questions: u64,
    /// Questions of A that B does not have.
    pub only_a: u64,
    /// Questions of B that A does not have.
    pub only_b: u64,
    /// Per cent right in A.
    pub a: f64,
    /// Per cent right in B.
    pub b: f64,
    /// Points, B minus A.
    pub accuracy: Difference,
    /// Right in A, wrong in B.
    pub lost: u64,
    /// Wrong in A, right in B.
    pub gained: u64,
    /// Exact two-sided McNemar p.
    pub mcnemar_p: f64,
    /// Log-likelihood of the gold choice, nats, B minus A; none where A and B are of different models, whose tokens may differ.
    pub gold_loglik: Option<Difference>,
    /// KL(unsplit || codec), nats; like the next two, none where samples of a side lack it, as the unsplit model's do.
    pub kl: Option<Nearness>,
    /// Per cent of positions at which the most likely token is the unsplit model's.
    pub top1: Option<Nearness>,
    /// Per cent of drawn tokens that speculative sampling would accept: the mean of sum min(p, q).
    pub acceptance: Option<Nearness>,
    /// Wire bytes of B over those of A; none where one sent none.
    pub bytes: Option<f64>,
}

/// A question whose answer is right in one of two cells and wrong in the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlippedQuestion {
    /// Data set name.
    pub dataset: String,
    /// The row's own id, or its index.
    pub id: String,
    /// Number of the row in A's file, from 0.
    pub index: usize,
    /// The right choice, from 0.
    pub gold: usize,
    /// What A chose.
    pub a: usize,
    /// What B chose.
    pub b: usize,
    /// How far the right choice is before the best other one in A: log-likelihoods in nats, by `acc_norm` per character. It is below zero
    /// where A is wrong.
    pub margin_a: f64,
    /// The same in B.
    pub margin_b: f64,
}

/// Two cells on all data sets that both have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The first run's.
    pub a: ComparedCell,
    /// The second run's.
    pub b: ComparedCell,
    /// A line a data set, then the mean where there are several.
    pub lines: Vec<CellComparison>,
    /// Data sets that only one of the two has, and questions that are not the same.
    pub notes: Vec<String>,
    /// Questions that were lost or gained, data set by data set, those whose margin moved most first.
    pub flips: Vec<FlippedQuestion>,
}

/// Compares two runs, `results/<experiment>/<run>`. Cells that are equal but for the model go together; where exactly one cell
/// of each run is wanted, these two. Accuracy by `acc`, or by `acc_norm` where `by_norm`.
pub fn compare(run_a: &Path, run_b: &Path, a: &CellFilter, b: &CellFilter, by_norm: bool) -> Result<Vec<Comparison>> {
    let (all_a, all_b) = (read(run_a, a)?, read(run_b, b)?);
    let cells = |all: &[CellSamples]| view::distinct(all.iter().map(|one| one.cell.clone()));
    let (cells_a, cells_b) = (cells(&all_a), cells(&all_b));
    let pairs: Vec<(ComparedCell, ComparedCell)> = match (cells_a.as_slice(), cells_b.as_slice()) {
        ([one], [other]) => vec![(one.clone(), other.clone())],
        _ => {
            let same_models = cells_a.iter().any(|one| cells_b.iter().any(|other| one.model == other.model));
            let pair = |one: &ComparedCell| {
                let like = |other: &&ComparedCell| {
                    if same_models { *other == one } else { other.without_model() == one.without_model() }
                };
                let partners: Vec<&ComparedCell> = cells_b.iter().filter(like).collect();
                if let [other] = partners.as_slice() { Some((one.clone(), (*other).clone())) } else { None }
            };
            cells_a.iter().filter_map(pair).collect()
        }
    };
    for (run, cells, alone) in [
        (run_a, &cells_a, cells_a.iter().filter(|cell| pairs.iter().all(|pair| pair.0 != **cell)).count()),
        (run_b, &cells_b, cells_b.iter().filter(|cell| pairs.iter().all(|pair| pair.1 != **cell)).count()),
    ] {
        if alone > 0 && !pairs.is_empty() {
            tell!("note: {alone} of {} cells of {} have no partner and are left out", cells.len(), run.display());
        }
    }
    ensure!(
        !pairs.is_empty(),
        "no cell of {} has one like it in {}: choose one of each with --a and --b (A has {}; B has {})",
        run_a.display(),
        run_b.display(),
        some(&cells_a),
        some(&cells_b)
    );
    let places = |all: &[CellSamples], cell: &ComparedCell| -> Vec<usize> {
        (0..all.len()).filter(|at| all[*at].cell == *cell).collect()
    };
    let mut out = Vec::new();
    for (one, other) in pairs {
        let (ones, others) = (places(&all_a, &one), places(&all_b, &other));
        let mut comparison = Comparison { a: one, b: other, lines: Vec::new(), notes: Vec::new(), flips: Vec::new() };
        for at in &ones {
            let a = &all_a[*at];
            match others.iter().find(|at| all_b[**at].dataset == a.dataset) {
                Some(at) => comparison.add(a, &all_b[*at], by_norm)?,
                None => comparison.notes.push(alone(a, "A")),
            }
        }
        for at in others {
            if !ones.iter().any(|one| all_a[*one].dataset == all_b[at].dataset) {
                comparison.notes.push(alone(&all_b[at], "B"));
            }
        }
        comparison.lines.sort_by_key(|line| line.dataset.as_deref().and_then(names::paper_place).unwrap_or(usize::MAX));
        comparison.add_mean();
        let moved = |flip: &FlippedQuestion| (flip.margin_b - flip.margin_a).abs();
        comparison.flips.sort_by(|one, other| moved(other).total_cmp(&moved(one)));
        let place = |flip: &FlippedQuestion| {
            comparison.lines.iter().position(|line| line.dataset.as_ref() == Some(&flip.dataset))
        };
        comparison.flips.sort_by_key(place);
        out.push(comparison);
    }
    ensure!(
        out.iter().any(|one| !one.lines.is_empty()),
        "{} and {} have no question in common: only runs on the same data sets can be compared",
        run_a.display(),
        run_b.display()
    );
    Ok(out)
}

/// What is said of a data set that one side alone has.
fn alone(answers: &CellSamples, side: &str) -> String {
    format!("{}: only in {side}, {} questions", answers.shown(), answers.samples.len())
}

/// The first few cells by name.
fn some(cells: &[ComparedCell]) -> String {
    let mut text = cells.iter().take(4).map(ComparedCell::label).collect::<Vec<_>>().join("; ");
    if cells.len() > 4 {
        text += &format!("; and {} more", cells.len() - 4);
    }
    text
}

/// Samples of the wanted cells.
fn read(run: &Path, wanted: &CellFilter) -> Result<Vec<CellSamples>> {
    let folder = run.join("samples");
    let entries = std::fs::read_dir(&folder).with_context(|| {
        format!("reading {}: samples are made by `splitbench run EXPERIMENT` and are needed here", folder.display())
    })?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    ensure!(!files.is_empty(), "{} has no samples: let the run score a data set first", folder.display());
    // The file's name may have lost something of the model's, the manifest has not.
    let spec = RecordedRun::find(run).ok().flatten().map(|known| known.spec);
    let models = spec.iter().flat_map(|spec| &spec.models);
    let datasets = spec.iter().flat_map(|spec| spec.dataset_infos().unwrap_or_default());
    let own: Vec<_> = datasets.filter(|info| info.origin.is_some()).collect();
    let (mut out, mut seen): (Vec<CellSamples>, Vec<ComparedCell>) = (Vec::new(), Vec::new());
    for file in files {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let model = stem.rsplit_once("--").map_or(stem, |(model, _)| model);
        let model = models.clone().find(|name| file_name(name) == model).map_or(model, |name| name);
        let mut cells: Vec<CellSamples> = Vec::new();
        for (nth, line) in json_lines::lines(&file, "a sample")?.enumerate() {
            let SampleLine { split_layer, scope, codec, ratio, accounting, sample } = line?;
            sample.check().with_context(|| format!("{} line {}", file.display(), nth + 1))?;
            let cell = ComparedCell {
                model: model.to_string(),
                split_layer,
                scope: scope.into(),
                codec: codec.into(),
                ratio,
                accounting: accounting.unwrap_or_default().into(),
            };
            if !seen.contains(&cell) {
                seen.push(cell.clone());
            }
            if !cell.matches(wanted) {
                continue;
            }
            let sample = sample.into_owned();
            let dataset = sample.dataset.clone();
            match cells.iter_mut().find(|one| one.cell == cell && one.dataset == dataset) {
                Some(one) => one.samples.push(sample),
                None => {
                    let title = own.iter().find(|info| info.name == dataset).map(|info| info.title.clone());
                    cells.push(CellSamples { file: file.clone(), dataset, title, cell, samples: vec![sample] });
                }
            }
        }
        for one in &cells {
            let same = |other: &&CellSamples| other.cell == one.cell && other.dataset == one.dataset;
            if let Some(other) = out.iter().find(same) {
                bail!(
                    "{} and {} both have {} on {}: remove the one that is not of this run",
                    other.file.display(),
                    file.display(),
                    one.cell.label(),
                    one.dataset
                );
            }
        }
        out.extend(cells);
    }
    if out.is_empty() {
        bail!("{} has no cell like that; it has {}", run.display(), some(&seen));
    }
    Ok(out)
}

/// Mean of some differences and half of its 95 % interval, by Student's t.
fn difference(values: &[f64]) -> Difference {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Difference {
        mean,
        half: (values.len() > 1).then(|| student_quantile(0.975, values.len() - 1) * (variance / n).sqrt()),
    }
}

/// A sum over positions of each side, divided by their number; its error over questions by linearisation, as of a ratio (Cochran,
/// Sampling Techniques, 6.4), of both sides at once: what a question adds to both, as a hard one does, cancels.
fn nearness(both: &[(&Sample, &Sample)], sum: impl Fn(&CodecSample) -> f64) -> Option<Nearness> {
    let side = |sample: &Sample| {
        let codec = sample.codec.as_ref().filter(|codec| !codec.kl.is_empty())?;
        Some((sum(codec), codec.kl.len() as f64))
    };
    let a: Vec<_> = both.iter().map(|(a, _)| side(a)).collect::<Option<_>>()?;
    let b: Vec<_> = both.iter().map(|(_, b)| side(b)).collect::<Option<_>>()?;
    let mean = |side: &[(f64, f64)]| {
        let (sum, count) = side.iter().fold((0.0, 0.0), |(sum, count), one| (sum + one.0, count + one.1));
        (sum / count, count)
    };
    let ((mean_a, count_a), (mean_b, count_b)) = (mean(&a), mean(&b));
    let part = |((sum_a, of_a), (sum_b, of_b)): (&(f64, f64), &(f64, f64))| {
        (sum_b - mean_b * of_b) / count_b - (sum_a - mean_a * of_a) / count_a
    };
    let n = both.len() as f64;
    let squares: f64 = a.iter().zip(&b).map(part).map(|part| part * part).sum();
    let half = (both.len() > 1).then(|| student_quantile(0.975, both.len() - 1) * (n / (n - 1.0) * squares).sqrt());
    Some(Nearness { a: mean_a, b: mean_b, difference: Difference { mean: mean_b - mean_a, half } })
}

/// The samples of each question, which is its prompt and the right choice. Fails where one row was asked twice.
fn by_question(answers: &CellSamples) -> Result<BTreeMap<(&str, usize), Vec<&Sample>>> {
    let mut out: BTreeMap<_, Vec<&Sample>> = BTreeMap::new();
    for sample in &answers.samples {
        let alike = out.entry((sample.prompt_sha256.as_str(), sample.gold)).or_default();
        ensure!(
            alike.iter().all(|other| (&other.id, other.index) != (&sample.id, sample.index)),
            "{}: question {:?} (row {}) is there twice in {}: its samples cannot be told apart; let the run write them again",
            answers.file.display(),
            sample.id,
            sample.index,
            answers.cell.label()
        );
        alike.push(sample);
    }
    Ok(out)
}

/// Takes out of both lists what `same` says of an only partner in each.
fn take_partners<'a>(
    ones: &mut Vec<&'a Sample>,
    others: &mut Vec<&'a Sample>,
    same: impl Fn(&Sample, &Sample) -> bool,
    both: &mut Vec<(&'a Sample, &'a Sample)>,
) {
    let only = |list: &[&Sample], one: &Sample| list.iter().filter(|other| same(one, other)).count() == 1;
    let partners: Vec<(&Sample, &Sample)> = (ones.iter())
        .filter(|one| only(ones, one) && only(others, one))
        .filter_map(|one| Some((*one, *others.iter().find(|other| same(one, other))?)))
        .collect();
    ones.retain(|one| partners.iter().all(|pair| !std::ptr::eq(pair.0, *one)));
    others.retain(|one| partners.iter().all(|pair| !std::ptr::eq(pair.1, *one)));
    both.extend(partners);
}

/// The samples of the questions that both have, whatever their order. Where a data set asks the same more than once, ids tell which is
/// which; where they do not, any order will do if the answers are the same, and if not it fails.
fn partners<'a>(
    a: &'a CellSamples,
    b: &'a CellSamples,
    right: impl Fn(&Sample) -> bool,
) -> Result<Vec<(&'a Sample, &'a Sample)>> {
    let (questions, mut theirs) = (by_question(a)?, by_question(b)?);
    let mut both = Vec::new();
    for (question, mut ones) in questions {
        let Some(mut others) = theirs.remove(&question) else { continue };
        take_partners(&mut ones, &mut others, |one, other| (&one.id, one.index) == (&other.id, other.index), &mut both);
        take_partners(&mut ones, &mut others, |one, other| one.id == other.id, &mut both);
        if ones.is_empty() || others.is_empty() {
            continue;
        }
        for (answers, samples) in [(a, &ones), (b, &others)] {
            ensure!(
                samples.iter().all(|sample| right(sample) == right(samples[0])),
                "{}: rows {} ask the same, have other ids than on the other side and different answers in {}: which belongs to which cannot \
                 be told; compare runs of the same file of rows",
                answers.file.display(),
                samples.iter().map(|sample| sample.index.to_string()).collect::<Vec<_>>().join(", "),
                answers.cell.label()
            );
        }
        both.extend(ones.into_iter().zip(others));
    }
    Ok(both)
}

impl CellSamples {
    fn shown(&self) -> String {
        self.title.clone().unwrap_or_else(|| names::title(&self.dataset))
    }
}

impl Comparison {
    fn add(&mut self, a: &CellSamples, b: &CellSamples, by_norm: bool) -> Result<()> {
        let right = |sample: &Sample| if by_norm { sample.right_norm() } else { sample.right() };
        let both = partners(a, b, right)?;
        let [only_a, only_b] = [a, b].map(|side| (side.samples.len() - both.len()) as u64);
        if only_a + only_b > 0 {
            let title = a.shown();
            self.notes.push(format!("{title}: {only_a} questions only in A and {only_b} only in B are left out"));
        }
        if both.is_empty() {
            return Ok(());
        }
        let (was, is): (Vec<bool>, Vec<bool>) = both.iter().map(|(a, b)| (right(a), right(b))).unzip();
        let flips = paired(&was, &is)?;
        for (one, other) in both.iter().filter(|(one, other)| right(one) != right(other)) {
            let chosen = |sample: &Sample| if by_norm { sample.pred_norm } else { sample.pred };
            self.flips.push(FlippedQuestion {
                dataset: a.dataset.clone(),
                id: one.id.clone(),
                index: one.index,
                gold: one.gold,
                a: chosen(one),
                b: chosen(other),
                margin_a: one.margin(by_norm),
                margin_b: other.margin(by_norm),
            });
        }
        let share = |right: &[bool]| 100.0 * right.iter().filter(|right| **right).count() as f64 / right.len() as f64;
        let points: Vec<f64> = was.iter().zip(&is).map(|(a, b)| 100.0 * (f64::from(*b) - f64::from(*a))).collect();
        let gold: Vec<f64> = both.iter().map(|(a, b)| b.gold_loglik() - a.gold_loglik()).collect();
        let same = self.a.model == self.b.model && gold.iter().all(|change| change.is_finite());
        let bytes = |samples: &mut dyn Iterator<Item = &Sample>| -> Option<u64> {
            samples.map(|sample| sample.codec.as_ref().map(|codec| codec.wire_bytes)).sum()
        };
        let (sent_a, sent_b) = (bytes(&mut both.iter().map(|pair| pair.0)), bytes(&mut both.iter().map(|pair| pair.1)));
        self.lines.push(CellComparison {
            dataset: Some(a.dataset.clone()),
            title: a.title.clone(),
            questions: both.len() as u64,
            only_a,
            only_b,
            a: share(&was),
            b: share(&is),
            accuracy: difference(&points),
            lost: flips.lost,
            gained: flips.gained,
            mcnemar_p: flips.mcnemar_p,
            gold_loglik: same.then(|| difference(&gold)),
            kl: nearness(&both, |codec| codec.kl.iter().map(|kl| f64::from(*kl)).sum()),
            top1: nearness(&both, |codec| 100.0 * codec.same_top as f64),
            acceptance: nearness(&both, |codec| 100.0 * codec.acceptance),
            bytes: sent_a.zip(sent_b).map(|(a, b)| b as f64 / a as f64),
        });
        Ok(())
    }

    /// Over the data sets, each weighing alike; their intervals are independent.
    fn add_mean(&mut self) {
        let n = self.lines.len() as f64;
        if self.lines.len() < 2 {
            return;
        }
        let mean = |of: &dyn Fn(&CellComparison) -> f64| self.lines.iter().map(of).sum::<f64>() / n;
        let over = |of: &dyn Fn(&CellComparison) -> Option<Difference>| {
            let all: Vec<Difference> = self.lines.iter().map(of).collect::<Option<_>>()?;
            let halves: Option<Vec<f64>> = all.iter().map(|one| one.half).collect();
            Some(Difference {
                mean: all.iter().map(|one| one.mean).sum::<f64>() / n,
                half: halves.map(|halves| halves.iter().map(|half| half * half).sum::<f64>().sqrt() / n),
            })
        };
        let nearness = |of: &dyn Fn(&CellComparison) -> Option<Nearness>| {
            let difference = over(&|line| of(line).map(|one| one.difference))?;
            let side = |side: fn(Nearness) -> f64| mean(&|line| of(line).map_or(f64::NAN, side));
            Some(Nearness { a: side(|one| one.a), b: side(|one| one.b), difference })
        };
        let (lost, gained) =
            (self.lines.iter().map(|line| line.lost).sum(), self.lines.iter().map(|line| line.gained).sum());
        let Some(accuracy) = over(&|line| Some(line.accuracy)) else { return };
        let line = CellComparison {
            dataset: None,
            title: None,
            questions: self.lines.iter().map(|line| line.questions).sum(),
            only_a: self.lines.iter().map(|line| line.only_a).sum(),
            only_b: self.lines.iter().map(|line| line.only_b).sum(),
            a: mean(&|line| line.a),
            b: mean(&|line| line.b),
            accuracy,
            lost,
            gained,
            mcnemar_p: crate::score::mcnemar_exact(lost, gained),
            gold_loglik: over(&|line| line.gold_loglik),
            kl: nearness(&|line| line.kl),
            top1: nearness(&|line| line.top1),
            acceptance: nearness(&|line| line.acceptance),
            bytes: number::geometric_mean(self.lines.iter().map(|line| line.bytes)),
        };
        self.lines.push(line);
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
