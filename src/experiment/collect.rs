//! Journals of one model and data set, to rows, samples and times.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::cell::{Cell, CellKey};
use super::indicators::indicators;
use super::journal::{Journal, JournalPlan};
use super::outcome::{CellAnswer, Outcome, UnsplitAnswer};
use super::score::blank_row;
use crate::data::Dataset;
use crate::model::source::Model;
use crate::record::{CodecSample, Indicators, Row, RunFolder, Sample, SampleLine, Timing, json_lines};
use crate::save;
use crate::score::{self as scoring, PositionFidelity};

/// What the journals come to: the baseline first, then one entry a cell.
#[derive(Default)]
pub struct RunRecords {
    /// Rows.
    pub rows: Vec<Row>,
    /// Mean codec times of each cell that did not fail.
    pub timings: Vec<Timing>,
    /// Indicators of each cell that did not fail, where they were asked for.
    pub indicators: Vec<Indicators>,
}

impl RunRecords {
    /// Adds what other journals come to.
    pub fn extend(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.timings.extend(other.timings);
        self.indicators.extend(other.indicators);
    }
}

/// Reads the journals of one plan, such as those of all shards. `samples` gets those of the baseline, then each cell's in turn,
/// of one that failed none.
/// Fails where journals are of different plans, where two disagree about a question, and, naming it, where something is missing.
pub fn collect(
    journals: &mut [Journal],
    mut samples: impl FnMut(Option<&CellKey>, &[Sample]) -> Result<()>,
) -> Result<RunRecords> {
    let plan = common_plan(journals)?;
    let name = plan.row.dataset.as_str();
    let mut answers = Vec::with_capacity(plan.questions.len());
    let mut missing = Vec::new();
    for &question in &plan.questions {
        match one(journals, |journal| journal.answer(question), UnsplitAnswer::agrees)
            .with_context(|| format!("data set {name}, question {question}, unsplit model"))?
        {
            Some(answer) => answers.push(answer),
            None => missing.push(question),
        }
    }
    ensure!(missing.is_empty(), "data set {name}: {}", lacking("the unsplit model", &missing, &plan, journals));
    let chance = scoring::chance(answers.iter().map(|a| a.asked.choice_chars.len()));
    let empty = Row { chance, ..plan.row.clone() };
    let logliks: Vec<f64> = answers.iter().flat_map(|answer| answer.loglik.clone()).collect();
    let baseline: Vec<Sample> =
        answers.iter().map(|a| Sample::new(name, &a.asked, a.loglik.clone(), None)).collect::<Result<_>>()?;
    samples(None, &baseline)?;
    let mut collected = RunRecords { rows: vec![with_accuracy(empty.clone(), &baseline)], ..RunRecords::default() };
    for key in &plan.cells {
        let blank = Row {
            split_layer: Some(key.split_layer as u32),
            scope: key.scope.clone(),
            codec: key.codec.clone(),
            ratio_requested: key.ratio(),
            accounting: key.accounting.clone().unwrap_or_default(),
            calibration: key.calibration.clone(),
            ..empty.clone()
        };
        let outcomes = outcomes(journals, key, &plan).with_context(|| format!("data set {name}, {key}"))?;
        let records = outcomes.and_then(|(outcomes, fidelity)| {
            Ok((cell_samples(name, &answers, &outcomes, &fidelity)?, outcomes, fidelity))
        });
        match records {
            Ok((cell, outcomes, fidelity)) => {
                samples(Some(key), &cell)?;
                let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
                let row = cell_row(blank, &baseline, &cell, &outcomes, &fidelity)?;
                collected.indicators.extend(indicators(&row, &outcomes, &logliks));
                collected.rows.push(row);
                collected.timings.push(timing(&plan, key, &outcomes));
            }
            Err(error) => {
                samples(Some(key), &[])?;
                collected.rows.push(Row { err: Some(format!("{error:#}")), ..blank });
            }
        }
    }
    Ok(collected)
}

/// Writes the samples of one model and data set, the baseline's, then each cell's, and gives what the journals come to.
pub fn collect_into(folder: &RunFolder, model: &str, dataset: &str, journals: &mut [Journal]) -> Result<RunRecords> {
    let path = folder.samples_path(model, dataset);
    save::replace_by(&path, |file| {
        collect(journals, |cell, samples| {
            let mut write = |sample| {
                let line = SampleLine {
                    split_layer: cell.map(|c| c.split_layer as u32),
                    scope: cell.map_or("", |c| &c.scope).into(),
                    codec: cell.map_or("baseline", |c| &c.codec).into(),
                    ratio: cell.and_then(CellKey::ratio),
                    accounting: cell.and_then(|c| c.accounting.as_deref()).map(Cow::Borrowed),
                    sample: Cow::Borrowed(sample),
                };
                json_lines::write_line(file, &line)
            };
            samples.iter().try_for_each(&mut write).with_context(|| crate::save::cannot_write(&path))
        })
    })
}

/// The plan that all journals are of.
fn common_plan(journals: &[Journal]) -> Result<JournalPlan> {
    let mut plans = journals.iter().map(|journal| {
        let path = journal.path().display().to_string();
        journal.plan().map(|plan| (path.clone(), plan)).with_context(|| format!("{path} is empty"))
    });
    let (first, plan) = plans.next().context("there is no journal")??;
    for other in plans {
        let (path, other) = other?;
        plan.check_same_inputs(other).with_context(|| format!("{path} was computed of other inputs than {first}"))?;
        ensure!(
            plan.cells == other.cells && plan.questions == other.questions,
            "{path} was asked for other cells or questions than {first}: give all shards the same command and \
             calibrations, and remove the journals of shares that are not of it"
        );
    }
    Ok(plan.clone())
}

/// What the journals say of one thing. Fails where two of them disagree.
fn one<T>(
    journals: &mut [Journal],
    mut read: impl FnMut(&mut Journal) -> Result<Option<T>>,
    agree: impl Fn(&T, &T) -> bool,
) -> Result<Option<T>> {
    let mut found: Option<(usize, T)> = None;
    for nth in 0..journals.len() {
        let Some(other) = read(&mut journals[nth])? else { continue };
        match &found {
            None => found = Some((nth, other)),
            Some((first, one)) if !agree(one, &other) => bail!(
                "{} and {} disagree; remove the wrong one",
                journals[*first].path().display(),
                journals[nth].path().display()
            ),
            Some(_) => {}
        }
    }
    Ok(found.map(|(_, one)| one))
}

/// Of each question the outcome of each request, and how far its positions are from the unsplit model.
type CellOutcomes = (Vec<Vec<Outcome>>, Vec<PositionFidelity>);

/// What the journals have of a cell; the inner error is the reason why it has none.
fn outcomes(journals: &mut [Journal], key: &CellKey, plan: &JournalPlan) -> Result<Result<CellOutcomes>> {
    let (mut found, mut missing) = (CellOutcomes::default(), Vec::new());
    for &question in &plan.questions {
        match one(journals, |journal| journal.measured(key, question), CellAnswer::agrees)
            .with_context(|| format!("question {question}"))?
        {
            Some(measured) => {
                found.0.push(measured.outcomes);
                found.1.push(measured.fidelity);
            }
            None => missing.push(question),
        }
    }
    if missing.is_empty() {
        return Ok(Ok(found));
    }
    if let Some(error) = journals.iter().find_map(|journal| journal.failure(key)) {
        return Ok(Err(anyhow::anyhow!("{error}")));
    }
    bail!("{}", lacking("this cell", &missing, plan, journals))
}

/// What is said where questions are missing.
fn lacking(what: &str, missing: &[usize], plan: &JournalPlan, journals: &[Journal]) -> String {
    let some: Vec<String> = missing.iter().take(5).map(usize::to_string).collect();
    let files: Vec<String> = journals.iter().map(|journal| journal.path().display().to_string()).collect();
    format!(
        "{what} lacks {} of {} questions (numbers {}{}) in {}{}; give the same command again, of each shard that did not end",
        missing.len(),
        plan.questions.len(),
        some.join(", "),
        if missing.len() > some.len() { ", ..." } else { "" },
        files.join(", "),
        absent(journals).map_or(String::new(), |shares| format!("; nothing is there of shard {shares}"))
    )
}

/// The shards of which there is no journal, where all journals are of shards of one number.
fn absent(journals: &[Journal]) -> Option<String> {
    let share = |journal: &Journal| -> Option<(usize, usize)> {
        let (number, of) = journal.path().file_stem()?.to_str()?.rsplit_once('.')?.1.split_once("-of-")?;
        Some((number.parse().ok()?, of.parse().ok()?))
    };
    let shares: Vec<(usize, usize)> = journals.iter().map(share).collect::<Option<_>>()?;
    let &(_, of) = shares.first()?;
    let has_journal = |number: usize| shares.contains(&(number, of));
    let missing: Vec<String> = (1..=of).filter(|&n| !has_journal(n)).map(|number| format!("{number}/{of}")).collect();
    (!missing.is_empty() && shares.iter().all(|(_, one)| *one == of)).then(|| missing.join(", "))
}

fn cell_samples(
    dataset: &str,
    answers: &[UnsplitAnswer],
    outcomes: &[Vec<Outcome>],
    fidelity: &[PositionFidelity],
) -> Result<Vec<Sample>> {
    let sample = |((answer, outcomes), fidelity): ((&UnsplitAnswer, &Vec<Outcome>), &PositionFidelity)| {
        let loglik = outcomes.iter().map(|o| o.loglik).collect();
        Sample::new(dataset, &answer.asked, loglik, Some(codec_sample(outcomes, fidelity)))
    };
    answers.iter().zip(outcomes).zip(fidelity).map(sample).collect()
}

fn codec_sample(outcomes: &[Outcome], fidelity: &PositionFidelity) -> CodecSample {
    CodecSample {
        kl: fidelity.kl.clone(),
        same_top: fidelity.same_top,
        acceptance: fidelity.acceptance,
        raw_elements: outcomes.iter().map(|o| o.raw_elements as u64).sum(),
        elements: outcomes.iter().map(|o| o.elements as u64).sum(),
        wire_bytes: outcomes.iter().map(|o| o.wire_bytes as u64).sum(),
        rel_error: outcomes.iter().map(|o| o.rel_error).sum::<f64>() / outcomes.len() as f64,
    }
}

/// The row of samples that did not come from a journal: accuracy, bytes and error, without what compares them with the unsplit
/// model.
pub fn sampled_row(
    experiment: &str,
    model: &Model,
    dataset: &Dataset,
    limit: Option<usize>,
    cell: &Cell,
    samples: &[Sample],
) -> Row {
    let key = CellKey::new(cell, None, false);
    let codecs = || samples.iter().filter_map(|sample| sample.codec.as_ref());
    let total = |of: fn(&CodecSample) -> u64| codecs().map(of).sum::<u64>() as f64;
    let (raw, wire) = (total(|codec| codec.raw_elements), total(|codec| codec.wire_bytes));
    let row = with_accuracy(blank_row(experiment, model, dataset, limit), samples);
    let requests = samples.iter().map(|sample| sample.loglik.len()).sum::<usize>() as f64;
    let errors =
        samples.iter().filter_map(|sample| Some(sample.codec.as_ref()?.rel_error * sample.loglik.len() as f64));
    let weighted: f64 = errors.sum();
    Row {
        split_layer: Some(key.split_layer as u32),
        scope: key.scope.clone(),
        codec: key.codec.clone(),
        ratio_requested: key.ratio(),
        accounting: key.accounting.clone().unwrap_or_default(),
        chance: scoring::chance(samples.iter().map(|sample| sample.choice_chars.len())),
        ratio_elements: Some(raw / total(|codec| codec.elements)),
        ratio_wire: Some(2.0 * raw / wire),
        wire_bytes_per_token: Some(wire / row.tokens as f64),
        rel_error: Some(weighted / requests),
        ..row
    }
}

fn with_accuracy(row: Row, samples: &[Sample]) -> Row {
    let right: Vec<bool> = samples.iter().map(Sample::right).collect();
    let right_norm: Vec<bool> = samples.iter().map(Sample::right_norm).collect();
    Row {
        tokens: samples.iter().map(|s| s.tokens as u64).sum(),
        acc: scoring::mean(&right),
        acc_stderr: scoring::standard_error(&right),
        acc_norm: scoring::mean(&right_norm),
        acc_norm_stderr: scoring::standard_error(&right_norm),
        ..row
    }
}

fn cell_row(
    blank: Row,
    baseline: &[Sample],
    samples: &[Sample],
    outcomes: &[Outcome],
    positions: &[PositionFidelity],
) -> Result<Row> {
    let by_norm = blank.metric == "acc_norm";
    let right = |s: &Sample| if by_norm { s.right_norm() } else { s.right() };
    let list = |samples: &[Sample]| samples.iter().map(right).collect::<Vec<bool>>();
    let gold = |samples: &[Sample]| samples.iter().map(Sample::gold_loglik).collect::<Vec<f64>>();
    let paired = scoring::paired(&list(baseline), &list(samples))?;
    let total = |f: fn(&Outcome) -> usize| outcomes.iter().map(|o| f(o) as u64).sum::<u64>() as f64;
    let (raw, wire) = (total(|o| o.raw_elements), total(|o| o.wire_bytes));
    let fidelity = scoring::fidelity(positions);
    let change = scoring::gold_loglik_change(&gold(baseline), &gold(samples))?;
    let loss = |(b, s): (&Sample, &Sample)| (b.gold_loglik() - s.gold_loglik(), b.choice_tokens[b.gold] as f64);
    let perplexity = scoring::ln_perplexity_ratio(&baseline.iter().zip(samples).map(loss).collect::<Vec<_>>());
    Ok(Row {
        positions: fidelity.map(|f| f.positions),
        kl_mean: fidelity.map(|f| f.kl_mean),
        kl_stderr: fidelity.and_then(|f| f.kl_stderr),
        kl_median: fidelity.map(|f| f.kl_median),
        kl_p90: fidelity.map(|f| f.kl_p90),
        kl_p99: fidelity.map(|f| f.kl_p99),
        kl_max: fidelity.map(|f| f.kl_max),
        top1: fidelity.map(|f| f.top1),
        top1_stderr: fidelity.and_then(|f| f.top1_stderr),
        acceptance: fidelity.map(|f| f.acceptance),
        ln_ppl_ratio: perplexity.map(|p| p.value),
        ln_ppl_ratio_stderr: perplexity.and_then(|p| p.stderr),
        ratio_elements: Some(raw / total(|o| o.elements)),
        ratio_wire: Some(2.0 * raw / wire),
        wire_bytes_per_token: Some(wire / total(|o| o.tokens)),
        rel_error: Some(outcomes.iter().map(|o| o.rel_error).sum::<f64>() / outcomes.len() as f64),
        lost: Some(paired.lost),
        gained: Some(paired.gained),
        mcnemar_p: Some(paired.mcnemar_p),
        gold_loglik_change: change.map(|change| change.value),
        gold_loglik_change_stderr: change.and_then(|change| change.stderr),
        ..with_accuracy(blank, samples)
    })
}

/// Mean times, to a hundredth of a microsecond.
fn timing(plan: &JournalPlan, key: &CellKey, outcomes: &[Outcome]) -> Timing {
    let mean = |time: fn(&Outcome) -> Duration| {
        let seconds: f64 = outcomes.iter().map(|outcome| time(outcome).as_secs_f64()).sum();
        (1e8 * seconds / outcomes.len() as f64).round() / 100.0
    };
    Timing {
        model: plan.row.model.clone(),
        dataset: plan.row.dataset.clone(),
        split_layer: key.split_layer as u32,
        scope: key.scope.clone(),
        codec: key.codec.clone(),
        ratio: key.ratio(),
        accounting: key.accounting.clone().unwrap_or_default(),
        activations: outcomes.len() as u64,
        encode_us: mean(|outcome| outcome.encode),
        decode_us: mean(|outcome| outcome.decode),
    }
}
