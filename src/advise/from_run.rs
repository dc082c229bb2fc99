//! A machine by a run that timed single requests on it: `service.csv`.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::machine::WantedModel;
use super::profile::{Basis, CodecFit, MachineProfile, ModelShape, PacketSample, PartFit, TimeFit};
use crate::experiment::Scope;
use crate::model::Config;
use crate::record::machine::Machine;
use crate::record::{RAW, Service, ServicePart, find_json, read_rows, table_file};

/// The codec whose decoding time in `service.csv` includes the client half, which the server runs again.
const TOKEN_IDS: &str = "token-ids";

/// A model on the machine of a run, `results/<experiment>/<run>`, as client and as server. A run times two halves and not parts, at one
/// number of tokens per data set: layers take the client half's time per token, the embedding's included, and what the server half
/// takes beyond its layers is the head's.
pub fn from_run(run: &Path, wanted: &WantedModel, config: &Config) -> Result<MachineProfile> {
    ensure!(
        run.join("service.csv").is_file(),
        "{} has no service.csv, the times of single requests: they are measured by `splitbench run figure6`, or by an experiment with a \
         section [report.response]; `splitbench profile` measures a machine",
        run.display()
    );
    let lines: Vec<Service> = table_file::read(run)?;
    let mut models: Vec<&str> = lines.iter().map(|line| line.model.as_str()).collect();
    models.dedup();
    let of_model: Vec<&Service> = lines.iter().filter(|line| line.model == wanted.name).collect();
    ensure!(
        !of_model.is_empty(),
        "{}: its times are of model {}, not of {}: give a run of that model",
        run.display(),
        models.join(", "),
        wanted.name
    );
    // Of several cuts the last: most layers are timed by it. Scopes differ in what codecs get, not in the halves.
    let cut = of_model.iter().map(|line| line.split_layer).max().unwrap_or_default();
    let scope = Scope::PromptAndChoice.to_string();
    let scope = of_model.iter().find(|line| line.scope == scope).map_or(of_model[0].scope.clone(), |_| scope);
    let chosen: Vec<&Service> =
        of_model.into_iter().filter(|line| line.split_layer == cut && line.scope == scope).collect();
    let layers = config.num_hidden_layers;
    ensure!(
        (1..=layers).contains(&(cut as usize)),
        "{}: a cut after layer {cut} of a model of {layers} layers: {} is another model now",
        run.display(),
        wanted.name
    );
    let halves = |part| Halves::new(&chosen, part, cut as usize, layers).with_context(|| run.display().to_string());
    let (prompt, step) = (halves(ServicePart::Prompt)?, halves(ServicePart::Step)?);
    let machine: Machine = find_json(run, "machine")?.unwrap_or_default();
    let dtype = dtype(run, wanted)?;
    let bytes = if dtype == "f32" { 4 } else { 2 };
    let line = chosen[0];
    let constant = |us: f64, tokens: f64| TimeFit { fixed_us: us, samples: vec![(tokens, us)], ..TimeFit::default() };
    let profile = MachineProfile {
        machine: match machine.cpu.as_str() {
            "" => format!("the machine of {}", run.display()),
            cpu => format!("{cpu}, {} of {} threads", machine.threads, machine.cores),
        },
        basis: Basis::Measured,
        about: format!(
            "From {}, on {}, splitbench {}: linear in tokens from {:.1} tokens. A layer is the client half over its {cut}, the embedding \
             included; the head is what the server half takes beyond its {} layers. Steps are of one token without those before it.",
            run.display(),
            line.device,
            line.version,
            prompt.tokens,
            layers - cut as usize
        ),
        version: line.version.clone(),
        model: ModelShape::new(wanted.name, wanted.sha256, config, &dtype, bytes),
        embedding: PartFit::default(),
        layer: PartFit {
            prompt: TimeFit {
                per_token_us: prompt.layer_us / prompt.tokens,
                samples: vec![(prompt.tokens, prompt.layer_us)],
                ..TimeFit::default()
            },
            step: constant(step.layer_us, 0.0),
        },
        layer_spread: 0.0,
        head: PartFit { prompt: constant(prompt.head_us, prompt.tokens), step: constant(step.head_us, 0.0) },
        codecs: codecs(&chosen),
    };
    profile.check().with_context(|| format!("times of {}", run.display()))?;
    Ok(profile)
}

/// The type of the weights that rows of the model name; f32 where there are none.
fn dtype(run: &Path, wanted: &WantedModel) -> Result<String> {
    let path = run.join("rows.parquet");
    if !path.is_file() {
        return Ok("f32".into());
    }
    let row = read_rows(&path)?.into_iter().find(|row| row.model == wanted.name);
    let Some(row) = row else { return Ok("f32".into()) };
    wanted.check(&row.model_sha256, &format!("run {}", run.display()))?;
    Ok(row.dtype)
}

/// What a layer and the head take, as means over data sets.
struct Halves {
    tokens: f64,
    layer_us: f64,
    head_us: f64,
}

impl Halves {
    fn new(lines: &[&Service], part: ServicePart, cut: usize, layers: usize) -> Result<Self> {
        let raw: Vec<&&Service> = lines.iter().filter(|line| line.part == part && line.codec == RAW).collect();
        let mean = |value: &dyn Fn(&Service) -> f64| raw.iter().map(|line| value(line)).sum::<f64>() / raw.len() as f64;
        let tokens = mean(&|line| line.tokens);
        let layer_us = mean(&|line| line.client_us) / cut as f64;
        ensure!(
            tokens > 0.0 && tokens.is_finite() && layer_us > 0.0 && layer_us.is_finite(),
            "service.csv has no times of {part:?} by {RAW}: run the experiment again (`splitbench run figure6`)"
        );
        let rest_us = mean(&|line| line.server_us) - layer_us * (layers - cut) as f64;
        Ok(Self { tokens, layer_us, head_us: rest_us.max(0.0) })
    }
}

/// Codecs with both parts on some data set: a step is a packet of one row, a prompt one of its rows.
fn codecs(lines: &[&Service]) -> Vec<CodecFit> {
    let mut out: Vec<CodecFit> = Vec::new();
    for line in lines.iter().filter(|line| line.codec != RAW) {
        let is_same = |other: &Service| {
            (&other.codec, other.ratio, &other.accounting) == (&line.codec, line.ratio, &line.accounting)
        };
        let accounting = Some(line.accounting.clone()).filter(|text| !text.is_empty());
        if out.iter().any(|fit| fit.codec == line.codec && fit.ratio == line.ratio && fit.accounting == accounting) {
            continue;
        }
        let sample = |part: ServicePart| {
            let samples: Vec<PacketSample> = lines
                .iter()
                .filter(|other| other.part == part && is_same(other))
                .filter_map(|line| packet(line))
                .collect();
            let mean =
                |value: &dyn Fn(&PacketSample) -> f64| samples.iter().map(value).sum::<f64>() / samples.len() as f64;
            (!samples.is_empty()).then(|| PacketSample {
                tokens: mean(&|one| one.tokens),
                bytes: mean(&|one| one.bytes),
                encode_us: mean(&|one| one.encode_us),
                decode_us: mean(&|one| one.decode_us),
            })
        };
        let (Some(step), Some(prompt)) = (sample(ServicePart::Step), sample(ServicePart::Prompt)) else { continue };
        if prompt.tokens > step.tokens {
            let (codec, samples) = (line.codec.clone(), vec![step, prompt]);
            out.push(CodecFit { codec, ratio: line.ratio, accounting, samples });
        }
    }
    out
}

/// A finished line; none of one that failed.
fn packet(line: &Service) -> Option<PacketSample> {
    let again_us = if line.codec == TOKEN_IDS { line.client_us } else { 0.0 };
    let sample = PacketSample {
        tokens: line.tokens,
        bytes: line.bytes?,
        encode_us: line.encode_us?,
        decode_us: (line.decode_us? - again_us).max(0.0),
    };
    line.err.is_none().then_some(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::{POCKET, load_config};

    const WANTED: WantedModel = WantedModel { name: POCKET, sha256: "" };

    /// Two cuts of two data sets: the client half 100 us per layer and token, the head 30 us, a step 40 us.
    fn lines() -> Vec<Service> {
        let mut out = Vec::new();
        for (cut, dataset, tokens) in [(1u32, "a", 10.0), (2, "a", 10.0), (2, "b", 30.0)] {
            for (part, tokens, layer_us) in
                [(ServicePart::Prompt, tokens, 100.0 * tokens), (ServicePart::Step, 1.0, 40.0)]
            {
                let raw = Service {
                    model: POCKET.into(),
                    dataset: dataset.into(),
                    split_layer: cut,
                    scope: "prompt+choice".into(),
                    codec: RAW.into(),
                    ratio: None,
                    accounting: String::new(),
                    part,
                    requests: 16,
                    tokens,
                    raw_bytes: 384.0 * tokens,
                    bytes: Some(384.0 * tokens),
                    rel_error: None,
                    client_us: layer_us * f64::from(cut),
                    encode_us: Some(0.0),
                    decode_us: Some(0.0),
                    server_us: layer_us * f64::from(6 - cut) + 30.0,
                    server_more_us: 1.0,
                    device: "cpu".into(),
                    version: "1".into(),
                    err: None,
                };
                let fc = Service {
                    codec: "fc".into(),
                    ratio: Some(8.0),
                    accounting: "wire".into(),
                    bytes: Some(48.0 * tokens),
                    encode_us: Some(2.0 * tokens),
                    decode_us: Some(3.0 * tokens),
                    ..raw.clone()
                };
                let ids = Service {
                    codec: TOKEN_IDS.into(),
                    bytes: Some(2.0 * tokens),
                    encode_us: Some(1.0),
                    decode_us: Some(raw.client_us + 5.0),
                    ..raw.clone()
                };
                let failed = Service { codec: "klt".into(), err: Some("no".into()), bytes: None, ..fc.clone() };
                out.extend([raw, fc, ids, failed]);
            }
        }
        out
    }

    #[test]
    fn halves_become_layers_and_a_head() {
        let folder = tempfile::tempdir().unwrap();
        table_file::write(folder.path(), &lines()).unwrap();
        let profile = from_run(folder.path(), &WANTED, &load_config(POCKET).unwrap()).unwrap();
        // The last cut only: 10 and 30 tokens.
        let close = |found: f64, us: f64| assert!((1e6 * found / us - 1.0).abs() < 1e-9, "{found} s, not {us} us");
        close(profile.layer.prompt.seconds(50.0), 5000.0);
        close(profile.layer.step.seconds(50.0), 40.0);
        close(profile.head.prompt.seconds(50.0), 30.0);
        close(profile.head.step.seconds(50.0), 30.0);
        assert_eq!(profile.embedding.prompt.seconds(50.0), 0.0);
        assert!(profile.basis == Basis::Measured && profile.about.contains("linear in tokens from 20.0 tokens"));
        let names: Vec<&str> = profile.codecs.iter().map(|fit| fit.codec.as_str()).collect();
        assert_eq!(names, ["fc", "token-ids"]);
        let fc = profile.codec("fc", Some(8.0), "wire").unwrap();
        let at = fc.at(20.0);
        assert_eq!((fc.samples.len(), at.bytes, at.encode_us, at.decode_us), (2, 960.0, 40.0, 60.0));
        assert!((profile.codecs[1].at(20.0).decode_us - 5.0).abs() < 1e-9, "decoding includes the client half");
    }

    #[test]
    fn a_run_without_the_times_or_of_another_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = load_config(POCKET).unwrap();
        let error = |wanted: &WantedModel| format!("{:#}", from_run(folder.path(), wanted, &config).unwrap_err());
        assert!(error(&WANTED).contains("splitbench run figure6"));
        table_file::write(folder.path(), &lines()).unwrap();
        let other = error(&WantedModel { name: "other", sha256: "" });
        assert!(other.contains("are of model pocket, not of other"), "{other}");
        let steps: Vec<Service> = lines().into_iter().filter(|line| line.part == ServicePart::Step).collect();
        table_file::write(folder.path(), &steps).unwrap();
        assert!(error(&WANTED).contains("Prompt"));
    }
}
