//! What a report wants to know of a model beside its cells' scores: measured once a model, after its data sets.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::calibrate::calibrate;
use super::calibration_cache::unnamed_build;
use super::cell::Cell;
use super::energy;
use super::heat;
use super::service;
use super::similarity::{SimilarityMeasure, similarity};
use super::spec::Spec;
use super::spent::{Clock, Stage};
use super::task::Task;
use crate::file_name::file_name;
use crate::model::source::Model;
use crate::model::split::{activation, to_values};
use crate::model::{Packing, SplitPoint, device_name};
use crate::progress;
use crate::record::{Energy, Heat, HeatKind, Service, Similarity, table_file};
use crate::save;
use crate::score::{Request, encode_requests};
use splitbench_codec::Activation;

/// Inputs of a data set that are compared with each other.
const INPUTS: usize = 32;

/// Inputs whose spectrum is looked at.
const SPECTRA: usize = 8;

/// Measures what the experiment's report asks for and adds it to the files of the run in `results`, where it takes the place
/// of what was there of this model. A data set that an earlier process was done with is not measured again.
pub fn observe(
    results: &Path,
    spec: &Spec,
    model: &Model,
    tasks: &[Task],
    most_rows: usize,
    clock: &Clock,
) -> Result<()> {
    if spec.report.response.is_none() && !spec.report.activations {
        return Ok(());
    }
    // `results/<experiment>/<run>`: beside the experiments.
    let calibrations = results.ancestors().nth(2).unwrap_or(results).join("calibrations");
    // What the run no longer asks for.
    let other = |of: &str, dataset: &str| of == model.name && tasks.iter().all(|t| t.dataset.info.name != dataset);
    table_file::replace(results, Vec::new(), |line: &Service| other(&line.model, &line.dataset))?;
    table_file::replace(results, Vec::new(), |line: &Similarity| other(&line.model, &line.dataset))?;
    table_file::replace(results, Vec::new(), |line: &Energy| other(&line.model, &line.dataset))?;
    for (nth, task) in tasks.iter().enumerate() {
        let dataset = task.dataset.info.name.as_str();
        let about = || format!("model {}, data set {dataset}", model.name);
        let mark =
            results.join("journal").join(format!("{}.observed", file_name(&format!("{}--{dataset}", model.name))));
        let inputs = observed_inputs(spec, model, task, nth == 0)?;
        let files = [
            spec.report.response.is_some().then_some("service.csv"),
            spec.report.activations.then_some("similarity.csv"),
            spec.report.activations.then_some("energy.csv"),
            (spec.report.activations && nth == 0).then_some("heat.csv"),
        ];
        let kept = files.into_iter().flatten().all(|file| results.join(file).exists());
        if kept && fs::read_to_string(&mark).is_ok_and(|known| known == inputs) {
            continue;
        }
        let _activity = progress::begin(format!("{} {dataset}: activations and times of single requests", model.title));
        if spec.report.response.is_some() {
            let lines = service::measure(model, task, most_rows, &calibrations, clock).with_context(about)?;
            table_file::replace(results, lines, |line| (&*line.model, &*line.dataset) == (&*model.name, dataset))?;
        }
        if spec.report.activations {
            let (mut alike, mut energies) = (Vec::new(), Vec::new());
            layers(model, task, clock, &mut alike, &mut energies).with_context(about)?;
            table_file::replace(results, alike, |l| (&*l.model, &*l.dataset) == (&*model.name, dataset))?;
            table_file::replace(results, energies, |l| (&*l.model, &*l.dataset) == (&*model.name, dataset))?;
            if nth == 0 {
                let drawn = heat(results, model, task, most_rows, &calibrations, clock).with_context(about)?;
                table_file::replace(results, drawn, |line: &Heat| line.model == model.name)?;
            }
        }
        save::replace(&mark, inputs.as_bytes())?;
    }
    Ok(())
}

/// A hash of all that the measurements of a data set depend on.
fn observed_inputs(spec: &Spec, model: &Model, task: &Task, first: bool) -> Result<String> {
    let of_model =
        (&model.sha256, &model.tokenizer_sha256, device_name(&model.placement.device), model.placement.type_name());
    let of_program = (crate::VERSION, unnamed_build());
    let cells: Vec<String> = task.cells.iter().map(|cell| format!("{cell:?}")).collect();
    let requests: Vec<(&[u32], &[u32])> =
        task.requests.iter().flatten().chain(&task.train).map(|r| (&*r.tokens, &*r.targets)).collect();
    let wanted = (spec.report.response.is_some(), spec.report.activations, first);
    let digest = Sha256::digest(serde_json::to_string(&(of_program, of_model, cells, requests, wanted))?);
    Ok(hex::encode(digest))
}

/// The gold choices of `count` questions, spread over the data set.
pub(super) fn spread(model: &Model, task: &Task, count: usize) -> Result<Vec<Request>> {
    let questions = &task.dataset.questions;
    let every = questions.len().div_ceil(count).max(1);
    let one = |question: &crate::data::Question| {
        let mut requests = encode_requests(&model.tokenizer, question)
            .with_context(|| format!("data set {}, question {}", task.dataset.info.name, question.id))?;
        Ok(requests.swap_remove(question.gold))
    };
    questions.iter().step_by(every).map(one).collect()
}

/// Similarity and energy after every layer.
fn layers(
    model: &Model,
    task: &Task,
    clock: &Clock,
    alike: &mut Vec<Similarity>,
    energies: &mut Vec<Energy>,
) -> Result<()> {
    let requests = spread(model, task, INPUTS)?;
    let ids: Vec<u32> = requests.iter().flat_map(|request| &request.tokens).copied().collect();
    let packing = Arc::new(Packing::of(requests.iter().map(|request| request.tokens.len())));
    let decoder = clock.time(Stage::Load, || model.decoder())?;
    let layers = model.config.num_hidden_layers;
    let splits: Vec<SplitPoint> = (1..=layers).map(|after_layer| SplitPoint { after_layer }).collect();
    for (split, hidden) in splits.iter().zip(decoder.client(&ids, &packing, &splits)?) {
        let values = to_values(&hidden)?;
        let inputs: Vec<Activation> =
            (0..requests.len()).map(|nth| activation(&values, &packing, nth)).collect::<Result<_>>()?;
        let layer = split.after_layer as u32;
        for measure in SimilarityMeasure::ALL {
            alike.extend(similarity(&inputs, measure).map(|(cosine, stderr)| Similarity {
                model: model.name.clone(),
                dataset: task.dataset.info.name.clone(),
                layer,
                measure: measure.as_str().into(),
                inputs: inputs.len() as u64,
                cosine,
                stderr,
            }));
        }
        let some = &inputs[..inputs.len().min(SPECTRA)];
        energies.extend(energy::curve(some)?.into_iter().map(|(reading, ratio, [kept, share, noise])| Energy {
            model: model.name.clone(),
            dataset: task.dataset.info.name.clone(),
            layer,
            reading: reading.into(),
            ratio,
            inputs: some.len() as u64,
            kept,
            share,
            noise,
        }));
    }
    Ok(())
}

/// The first question's activation at the first, the middle and the last cut, by each codec at its first budget.
fn heat(
    results: &Path,
    model: &Model,
    task: &Task,
    most_rows: usize,
    calibrations: &Path,
    clock: &Clock,
) -> Result<Vec<Heat>> {
    let mut splits: Vec<SplitPoint> = task.cells.iter().map(|cell| cell.split).collect();
    splits.sort_unstable();
    splits.dedup();
    let (Some(question), false) = (task.dataset.questions.first(), splits.is_empty()) else { return Ok(Vec::new()) };
    let mut shown = vec![splits[0], splits[splits.len() / 2], splits[splits.len() - 1]];
    shown.dedup();
    let request = spread(model, task, 1)?.swap_remove(0);
    let decoder = clock.time(Stage::Load, || model.decoder())?;
    let packing = Arc::new(Packing::of([request.tokens.len()]));
    let mut out = Vec::new();
    for (split, hidden) in shown.iter().zip(decoder.client(&request.tokens, &packing, &shown)?) {
        let a = activation(&to_values(&hidden)?, &packing, 0)?
            .with_token_ids(request.tokens.clone(), model.config.vocab_size)?;
        let mut cells: Vec<&Cell> = Vec::new();
        for cell in task.cells.iter().filter(|cell| cell.split == *split) {
            if cells.iter().all(|known| known.codec != cell.codec) {
                cells.push(cell);
            }
        }
        let specs: Vec<_> = task.cells.iter().filter(|c| c.split == *split).map(|cell| cell.codec.clone()).collect();
        let calibration = calibrate(model, &task.train, *split, &specs, most_rows, Some(calibrations), clock)?;
        let blank = Heat {
            model: model.name.clone(),
            dataset: task.dataset.info.name.clone(),
            question: question.id.clone(),
            split_layer: split.after_layer as u32,
            kind: HeatKind::Activation,
            codec: String::new(),
            ratio: None,
            accounting: String::new(),
            tokens: a.tokens() as u64,
            hidden: a.hidden() as u64,
            rel_error: None,
            file: String::new(),
            err: None,
        };
        out.extend(heat::draw(results, &blank, &a, &cells, calibration.as_ref())?);
    }
    Ok(out)
}
