//! What one request takes when nothing else runs: client half, codec and server half, each timed by itself, and the bytes
//! between them. Figures 6 and 7 are made of these.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::calibrate::calibrate;
use super::cell::Cell;
use super::observe::spread;
use super::scope::Scope;
use super::spent::{Clock, Stage};
use super::task::Task;
use crate::clock;
use crate::model::source::Model;
use crate::model::split::{activation, from_values, to_values};
use crate::model::{Continuation, Decoder, Packing, SplitPoint, device_name};
use crate::record::{RAW, Service, ServicePart};
use crate::score::Request;
use splitbench_codec::{Activation, Codec, Delivery, build, round_trip};

/// Requests of a data set that are timed, spread over its questions.
const REQUESTS: usize = 16;

/// Calls of which the median is taken; odd.
const CALLS: usize = 3;

/// Requests of the batch that tells what a further one adds.
const BATCH: usize = 8;

/// One request at one cut: what both halves take, and what crosses.
struct RequestTimes {
    /// Rows x D.
    rows: Activation,
    /// Rows that are the prompt's.
    prompt_rows: usize,
    client_us: f64,
    server_us: f64,
}

/// Times some requests of a data set in all its cells, and [`RAW`] at each cut and scope, as prompt and as single rows.
pub fn measure(
    model: &Model,
    task: &Task,
    most_rows: usize,
    calibrations: &Path,
    clock: &Clock,
) -> Result<Vec<Service>> {
    ensure!(
        task.cells.iter().all(|cell| cell.scope != Scope::Question),
        "service times are of single requests: scope question, which sends all choices of a question together, has none"
    );
    let requests = spread(model, task, REQUESTS)?;
    let decoder = clock.time(Stage::Load, || model.decoder())?;
    let splits: BTreeSet<SplitPoint> = task.cells.iter().map(|cell| cell.split).collect();
    let mut out = Vec::new();
    for split in splits {
        let cells: Vec<&Cell> = task.cells.iter().filter(|cell| cell.split == split).collect();
        let specs: Vec<_> = cells.iter().map(|cell| cell.codec.clone()).collect();
        let calibration = calibrate(model, &task.train, split, &specs, most_rows, Some(calibrations), clock)
            .with_context(|| format!("calibrating after layer {}", split.after_layer))?;
        for part in [ServicePart::Prompt, ServicePart::Step] {
            let timed = timed(decoder, &requests, split, part)?;
            let more_us = further(decoder, &requests, split, part)?;
            let mean = |of: &dyn Fn(&RequestTimes) -> f64| timed.iter().map(of).sum::<f64>() / timed.len() as f64;
            let line = |scope: Scope| Service {
                model: model.name.clone(),
                dataset: task.dataset.info.name.clone(),
                split_layer: split.after_layer as u32,
                scope: scope.to_string(),
                codec: RAW.into(),
                ratio: None,
                accounting: String::new(),
                part,
                requests: timed.len() as u64,
                tokens: mean(&|one| one.rows.tokens() as f64),
                raw_bytes: mean(&|one| 2.0 * one.rows.values().len() as f64),
                bytes: Some(mean(&|one| 2.0 * one.rows.values().len() as f64)),
                rel_error: None,
                client_us: mean(&|one| one.client_us),
                encode_us: Some(0.0),
                decode_us: Some(0.0),
                server_us: mean(&|one| one.server_us),
                server_more_us: more_us.min(mean(&|one| one.server_us)),
                device: device_name(decoder.device()),
                version: crate::VERSION.into(),
                err: None,
            };
            let mut scopes: Vec<Scope> = Vec::new();
            for cell in &cells {
                if !scopes.contains(&cell.scope) {
                    scopes.push(cell.scope);
                    out.push(line(cell.scope));
                }
                let blank = Service {
                    codec: cell.codec.to_string(),
                    ratio: cell.budget.map(|budget| budget.ratio),
                    accounting: cell.budget.map(|budget| budget.accounting.to_string()).unwrap_or_default(),
                    bytes: None,
                    encode_us: None,
                    decode_us: None,
                    ..line(cell.scope)
                };
                let sent: Result<Vec<CodecService>> = build(&cell.codec, calibration.as_ref())
                    .and_then(|codec| timed.iter().map(|one| send(codec.as_ref(), cell, one, part)).collect());
                out.push(match sent {
                    Ok(sent) => with_codec(blank, &sent),
                    Err(error) => Service { err: Some(format!("{error:#}")), ..blank },
                });
            }
        }
    }
    Ok(out)
}

fn timed(decoder: &Decoder, requests: &[Request], split: SplitPoint, part: ServicePart) -> Result<Vec<RequestTimes>> {
    let one = |request: &Request| -> Result<RequestTimes> {
        let whole = Arc::new(Packing::of([request.tokens.len()]));
        // Values and not tensors: a GPU is done when they are here.
        let client = |ids: &[u32], packing| to_values(&decoder.client(ids, packing, &[split])?[0]);
        let last = [request.tokens[request.tokens.len() - 1]];
        let single = Arc::new(Packing::of([1]));
        let (rows, client_us) = match part {
            ServicePart::Prompt => {
                let (values, client_us) = median(|| client(&request.tokens, &whole))?;
                (activation(&values, &whole, 0)?, client_us)
            }
            ServicePart::Step => {
                // The row as it is after the prompt; the time without the prompt's keys, of which there is no cache here.
                let values = client(&request.tokens, &whole)?;
                let width = decoder.config().hidden_size;
                let row = Activation::new(1, width, values[values.len() - width..].to_vec())?;
                (row, median(|| client(&last, &single))?.1)
            }
        };
        let rows = rows.with_token_ids(
            if part == ServicePart::Prompt { request.tokens.clone() } else { last.to_vec() },
            decoder.config().vocab_size,
        )?;
        let server_us = server(decoder, &rows, request, split, part, 1)?;
        let prompt_rows = if part == ServicePart::Prompt { request.prompt_tokens } else { 1 };
        Ok(RequestTimes { rows, prompt_rows, client_us, server_us })
    };
    if let Some(request) = requests.first() {
        one(request)?; // To warm up.
    }
    requests.iter().map(one).collect()
}

/// Time of the server half on `count` copies of a request.
fn server(
    decoder: &Decoder,
    rows: &Activation,
    request: &Request,
    split: SplitPoint,
    part: ServicePart,
    count: usize,
) -> Result<f64> {
    let packing = Arc::new(Packing::of(std::iter::repeat_n(rows.tokens(), count)));
    let targets = if part == ServicePart::Prompt { request.targets.as_slice() } else { &request.targets[..1] };
    let scored: Vec<Continuation> = (0..count).map(|sequence| Continuation { sequence, targets }).collect();
    let values = rows.values().repeat(count);
    Ok(median(|| {
        let hidden = from_values(values.clone(), packing.rows(), decoder)?;
        decoder.server(hidden, &packing, split, &scored)
    })?
    .1)
}

/// What one more request adds to a batch of the server half: of the request of median length, eight against one.
fn further(decoder: &Decoder, requests: &[Request], split: SplitPoint, part: ServicePart) -> Result<f64> {
    let mut by_length: Vec<&Request> = requests.iter().collect();
    by_length.sort_by_key(|request| request.tokens.len());
    let Some(request) = by_length.get(by_length.len() / 2) else { return Ok(0.0) };
    let packing = Arc::new(Packing::of([request.tokens.len()]));
    let values = to_values(&decoder.client(&request.tokens, &packing, &[split])?[0])?;
    let rows = match part {
        ServicePart::Prompt => activation(&values, &packing, 0)?,
        ServicePart::Step => {
            Activation::new(1, decoder.config().hidden_size, values[..decoder.config().hidden_size].to_vec())?
        }
    };
    let one = server(decoder, &rows, request, split, part, 1)?;
    let many = server(decoder, &rows, request, split, part, BATCH)?;
    Ok(((many - one) / (BATCH - 1) as f64).max(0.0))
}

/// What a codec made of one request.
struct CodecService {
    bytes: f64,
    rel_error: f64,
    encode_us: f64,
    decode_us: f64,
}

fn send(codec: &dyn Codec, cell: &Cell, one: &RequestTimes, part: ServicePart) -> Result<CodecService> {
    let (tokens, hidden) = (one.rows.tokens(), one.rows.hidden());
    let rows = if cell.scope == Scope::Prompt { one.prompt_rows } else { tokens };
    let mut packed = Activation::new(rows, hidden, one.rows.values()[..rows * hidden].to_vec())?;
    if let Some(ids) = one.rows.token_ids() {
        packed = packed.with_token_ids(ids.ids[..rows].to_vec(), ids.vocabulary as usize)?;
    }
    let what = || format!("{cell}, {}", if part == ServicePart::Step { "a single row" } else { "a request" });
    // The first round trip warms plans and buffers up.
    let packet = round_trip(codec, &packed, cell.budget).with_context(what)?.packet;
    let (_, encode_us) = median(|| codec.encode(&packed, cell.budget)).with_context(what)?;
    let (received, decode_us) = median(|| codec.receive(&packet)).with_context(what)?;
    let rest = 2.0 * ((tokens - rows) * hidden) as f64;
    let (rel_error, again_us) = match received {
        Delivery::Activation(received) => (packed.rel_error(&received), 0.0),
        Delivery::TokenIds(_) => (0.0, one.client_us),
    };
    Ok(CodecService { bytes: packet.len() as f64 + rest, rel_error, encode_us, decode_us: decode_us + again_us })
}

fn with_codec(blank: Service, sent: &[CodecService]) -> Service {
    let mean = |of: &dyn Fn(&CodecService) -> f64| Some(sent.iter().map(of).sum::<f64>() / sent.len() as f64);
    Service {
        bytes: mean(&|one| one.bytes),
        rel_error: mean(&|one| one.rel_error),
        encode_us: mean(&|one| one.encode_us),
        decode_us: mean(&|one| one.decode_us),
        ..blank
    }
}

/// The last result of some calls and the median of their times, microseconds.
fn median<T>(mut call: impl FnMut() -> Result<T>) -> Result<(T, f64)> {
    let mut times = [0.0; CALLS];
    let mut last = None;
    for time in &mut times {
        let begin = Instant::now();
        last = Some(call()?);
        *time = 1e6 * begin.elapsed().as_secs_f64();
    }
    last.map(|last| (last, clock::median(&times))).context("nothing was called")
}
