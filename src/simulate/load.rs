//! What a request takes by each codec: measured by a run, or assumed in a profile.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::engine::Round;
use crate::model::short_name;
use crate::record::table_file;
use crate::record::{RAW, Service, ServicePart};

/// What one round takes, seconds and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Client half.
    pub client_s: f64,
    /// Encoding, on the client.
    pub encode_s: f64,
    /// Bytes that are sent.
    pub bytes: f64,
    /// Decoding, on the server.
    pub decode_s: f64,
    /// Server half.
    pub server_s: f64,
    /// What a further one adds to a batch of the server half.
    pub more_s: f64,
}

impl Cost {
    /// On a link of `bits_per_s` whose round trip takes `round_trip_s`. A worker decodes each packet of its batch.
    pub fn round(&self, bits_per_s: f64, round_trip_s: f64) -> Round {
        Round {
            client_s: self.client_s + self.encode_s,
            link_s: 8.0 * self.bytes / bits_per_s,
            there_s: round_trip_s / 2.0,
            server_s: self.decode_s + self.server_s,
            more_s: self.decode_s + self.more_s,
            back_s: round_trip_s / 2.0,
        }
    }
}

/// A prompt and each token generated after it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ServicePair {
    /// The prompt at once.
    pub prompt: Cost,
    /// One row.
    pub step: Cost,
}

/// A codec at a budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// `fc at ratio 8 in elements`.
    pub codec: String,
    /// One a data set.
    pub classes: Vec<ServicePair>,
}

/// All codecs of one model at one cut.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceProfile {
    /// What it is of.
    pub name: String,
    /// Where its numbers come from.
    pub source: String,
    /// The codecs; first the activation as it is, where it is there.
    pub loads: Vec<Load>,
    /// Codecs left out, and why.
    pub left_out: Vec<String>,
}

/// `fc at ratio 8 in elements`; the codec alone where it has a rate of its own.
pub fn label(line: &Service) -> String {
    match line.ratio {
        Some(ratio) => format!("{} at ratio {ratio} in {}", line.codec, line.accounting),
        None => line.codec.clone(),
    }
}

impl ServiceProfile {
    /// Those of a run, `results/<experiment>/<run>`: one a model, cut and scope.
    pub fn from_run(run: &Path) -> Result<Vec<Self>> {
        let path = run.join("service.csv");
        ensure!(
            path.exists(),
            "{} has no service.csv, the times of single requests: they are measured by `splitbench run figure6`, or by an experiment with a section [report.response]",
            run.display()
        );
        let lines: Vec<Service> = table_file::read(run)?;
        let profiles: Vec<Self> =
            Self::from_lines(&lines, &run.display().to_string()).into_iter().map(|(profile, _)| profile).collect();
        ensure!(
            !profiles.is_empty(),
            "{} has no lines: run the experiment again (`splitbench run figure6`)",
            path.display()
        );
        Ok(profiles)
    }

    /// Those of measured lines, read from `origin`, each with its lines.
    pub fn from_lines<'a>(lines: &'a [Service], origin: &str) -> Vec<(Self, Vec<&'a Service>)> {
        let mut out = Vec::new();
        let mut keys: Vec<(&str, u32, &str)> = Vec::new();
        for line in lines {
            let key = (line.model.as_str(), line.split_layer, line.scope.as_str());
            if keys.contains(&key) {
                continue;
            }
            keys.push(key);
            let chosen: Vec<&Service> =
                lines.iter().filter(|one| (one.model.as_str(), one.split_layer, one.scope.as_str()) == key).collect();
            let model = short_name(&line.model, lines.iter().map(|line| line.model.as_str()));
            let name = format!("{model} after layer {}, scope {}", line.split_layer, line.scope);
            out.push((Self::of_cut(name, &chosen, origin), chosen));
        }
        out
    }

    fn of_cut(name: String, lines: &[&Service], origin: &str) -> Self {
        let mut codecs: Vec<String> = Vec::new();
        let mut sets: Vec<&str> = Vec::new();
        for line in lines {
            let codec = label(line);
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
            if !sets.contains(&line.dataset.as_str()) {
                sets.push(&line.dataset);
            }
        }
        codecs.sort_by_key(|codec| codec != RAW);
        let (mut loads, mut left_out) = (Vec::new(), Vec::new());
        for codec in codecs {
            let find = |set: &&str, part: ServicePart| {
                let line = lines.iter().rfind(|line| line.dataset == *set && line.part == part && label(line) == codec);
                line.and_then(|line| cost(line))
            };
            let classes: Option<Vec<ServicePair>> = sets
                .iter()
                .map(|set| {
                    Some(ServicePair { prompt: find(set, ServicePart::Prompt)?, step: find(set, ServicePart::Step)? })
                })
                .collect();
            match classes {
                Some(classes) => loads.push(Load { codec, classes }),
                None => left_out.push(format!("{codec}: not measured on every data set")),
            }
        }
        let line = lines[0];
        Self {
            name,
            source: format!(
                "client half, codecs and server half measured one request at a time on {} ({} data sets; {origin}, splitbench {})",
                line.device,
                sets.len(),
                line.version
            ),
            loads,
            left_out,
        }
    }

    /// Reads a profile in TOML; fails, naming file and field, on a number that is missing, negative or not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let file: ProfileFile = toml::from_str(text)?;
        ensure!(!file.codec.is_empty(), "no [[codec]]: give at least one");
        let mut loads: Vec<Load> = Vec::new();
        for codec in &file.codec {
            ensure!(loads.iter().all(|load| load.codec != codec.name), "[[codec]] {:?} is there twice", codec.name);
            let cost = |half: &PairHalf, bytes: f64, encode_ms: f64, decode_ms: f64| Cost {
                client_s: half.client_ms / 1e3,
                encode_s: encode_ms / 1e3,
                bytes,
                decode_s: decode_ms / 1e3,
                server_s: half.server_ms / 1e3,
                more_s: half.server_more_ms / 1e3,
            };
            loads.push(Load {
                codec: codec.name.clone(),
                classes: vec![ServicePair {
                    prompt: cost(&file.prompt, codec.prompt_bytes, codec.encode_ms, codec.decode_ms),
                    step: cost(&file.step, codec.step_bytes, codec.step_encode_ms, codec.step_decode_ms),
                }],
            });
        }
        for (part, half) in [("prompt", &file.prompt), ("step", &file.step)] {
            check(&format!("[{part}]"), &half.fields())?;
            if half.server_more_ms > half.server_ms {
                bail!("[{part}] server_more_ms is {}, more than server_ms {}", half.server_more_ms, half.server_ms);
            }
        }
        file.codec.iter().try_for_each(|codec| check(&format!("[[codec]] {:?}", codec.name), &codec.fields()))?;
        Ok(Self { name: file.name, source: file.source, loads, left_out: Vec::new() })
    }
}

/// What a finished line says; none where a number is missing or not finite.
fn cost(line: &Service) -> Option<Cost> {
    let cost = Cost {
        client_s: line.client_us / 1e6,
        encode_s: line.encode_us? / 1e6,
        bytes: line.bytes?,
        decode_s: line.decode_us? / 1e6,
        server_s: line.server_us / 1e6,
        more_s: line.server_more_us / 1e6,
    };
    let numbers = [cost.client_s, cost.encode_s, cost.bytes, cost.decode_s, cost.server_s, cost.more_s];
    (line.err.is_none() && numbers.iter().all(|number| number.is_finite() && *number >= 0.0)).then_some(cost)
}

fn check(what: &str, fields: &[(&str, f64)]) -> Result<()> {
    for (name, value) in fields {
        ensure!(value.is_finite() && *value >= 0.0, "{what} {name} is {value}: it must be 0 or more");
    }
    Ok(())
}

/// A profile as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    name: String,
    source: String,
    prompt: PairHalf,
    step: PairHalf,
    codec: Vec<CodecPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairHalf {
    client_ms: f64,
    server_ms: f64,
    server_more_ms: f64,
}

impl PairHalf {
    fn fields(&self) -> [(&'static str, f64); 3] {
        [("client_ms", self.client_ms), ("server_ms", self.server_ms), ("server_more_ms", self.server_more_ms)]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodecPart {
    name: String,
    prompt_bytes: f64,
    step_bytes: f64,
    #[serde(default)]
    encode_ms: f64,
    #[serde(default)]
    decode_ms: f64,
    #[serde(default)]
    step_encode_ms: f64,
    #[serde(default)]
    step_decode_ms: f64,
}

impl CodecPart {
    fn fields(&self) -> [(&'static str, f64); 6] {
        [
            ("prompt_bytes", self.prompt_bytes),
            ("step_bytes", self.step_bytes),
            ("encode_ms", self.encode_ms),
            ("decode_ms", self.decode_ms),
            ("step_encode_ms", self.step_encode_ms),
            ("step_decode_ms", self.step_decode_ms),
        ]
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
