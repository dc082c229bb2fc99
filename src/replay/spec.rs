//! What a replay runs: a file of `experiments/` with a `trace`, or what the command line says.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::backend::{self, Threads};
use super::method::ReplayMethod;
use super::profile;
use crate::data;
use crate::embedded::experiment_text;
use crate::repeats::refuse_repeats;
use splitbench_codec::MAX_SIDE;

/// A replay experiment as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaySpec {
    /// What it is about.
    #[serde(default)]
    pub analysis: String,
    /// The trace: a name or a path.
    pub trace: String,
    /// Hidden sizes, D; where empty that of the recorded activations.
    #[serde(default)]
    pub hidden: Vec<usize>,
    /// Codecs with their options, and `fc-kernel`.
    pub methods: Vec<String>,
    /// Ratio in elements, or `"paper"`: that of each data set in the paper's Table III.
    pub ratio: Ratio,
    /// Back ends.
    #[serde(default = "default_backends")]
    pub backends: Vec<String>,
    /// `"1"`, `"all"`.
    #[serde(default = "default_threads")]
    pub threads: Vec<String>,
    /// Devices whose times are modelled.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Time for timing, s: a sample of the sequences is run and scaled. Every shape where absent.
    pub seconds: Option<f64>,
    /// Seed of the sample and of seeded activations.
    #[serde(default)]
    pub seed: u64,
    /// Make the paper's Table IV of the rows.
    #[serde(default)]
    pub table4: bool,
}

/// A ratio for all data sets, or the word `paper`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a ratio, such as 8.0, or \"paper\"")]
pub enum Ratio {
    /// This one.
    Number(f64),
    /// Only `paper` is allowed.
    Word(String),
}

fn default_backends() -> Vec<String> {
    vec!["cpu".into()]
}

fn default_threads() -> Vec<String> {
    vec!["1".into()]
}

impl std::str::FromStr for Ratio {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(text.parse().map_or_else(|_| Self::Word(text.to_string()), Self::Number))
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(ratio) => ratio.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl Ratio {
    /// The ratio of each data set of a trace.
    pub fn of_dataset(&self, dataset: &str) -> Result<f64> {
        match self {
            Self::Number(ratio) => Ok(*ratio),
            Self::Word(_) => {
                let papers =
                    data::registry().iter().find(|info| info.name == dataset).and_then(|info| info.paper_ratio);
                let papers = papers.map(f64::from);
                papers.with_context(|| {
                    format!("ratio \"paper\": the paper has none for data set {dataset}; give a number")
                })
            }
        }
    }
}

/// Reads a replay experiment: an embedded name, or a path that ends in `.toml`. `None` where `name` is neither.
pub fn find(name: &str) -> Result<Option<(String, ReplaySpec)>> {
    let (text, origin, stem) = match experiment_text(name) {
        Some(text) => (text.to_string(), format!("experiments/{name}.toml"), name),
        None if name.ends_with(".toml") => {
            let text = std::fs::read_to_string(name).with_context(|| format!("reading experiment {name}"))?;
            (text, name.to_string(), Path::new(name).file_stem().and_then(|s| s.to_str()).unwrap_or("experiment"))
        }
        None => return Ok(None),
    };
    let spec: ReplaySpec = toml::from_str(&text)
        .with_context(|| format!("{origin}: not a replay, whose file names a trace; others go to `splitbench run`"))?;
    spec.check().with_context(|| origin)?;
    Ok(Some((stem.to_string(), spec)))
}

impl ReplaySpec {
    /// Fails on a name or number that no replay could use.
    pub fn check(&self) -> Result<()> {
        let methods = self.parsed_methods()?;
        ensure!(!methods.is_empty(), "methods is empty; give codecs, or fc-kernel");
        refuse_repeats("method", &self.methods, |name| ReplayMethod::parse(name).ok())?;
        refuse_repeats("hidden", &self.hidden, |hidden| *hidden)?;
        refuse_repeats("back end", &self.backends, String::clone)?;
        for &hidden in &self.hidden {
            ensure!((1..=MAX_SIDE).contains(&hidden), "hidden {hidden} is outside 1..={MAX_SIDE}");
        }
        match &self.ratio {
            Ratio::Number(ratio) => {
                ensure!(ratio.is_finite() && *ratio >= 1.0, "ratio {ratio} is not a number of at least 1");
            }
            Ratio::Word(word) => ensure!(word == "paper", "ratio is {word:?}; expected \"paper\" or a number"),
        }
        ensure!(!self.backends.is_empty(), "backends is empty; give \"cpu\", \"cuda\" or \"fpga\"");
        for name in &self.backends {
            if !backend::NAMES.contains(&name.as_str()) {
                return Err(splitbench_codec::suggest::unknown("back end", name, backend::NAMES));
            }
        }
        ensure!(!self.threads.is_empty(), "threads is empty; give \"1\" or \"all\"");
        self.parsed_threads()?;
        refuse_repeats("threads", &self.threads, |text| text.parse::<Threads>().ok())?;
        for name in &self.devices {
            profile::load(name)?;
        }
        // A table knows a device by the name in its file.
        refuse_repeats("device", &self.devices, |name| profile::load(name).map(|profile| profile.name).ok())?;
        if let Some(seconds) = self.seconds {
            ensure!(seconds.is_finite() && seconds > 0.0, "seconds is {seconds}; expected a number above 0");
        }
        Ok(())
    }

    /// The methods, in order.
    pub fn parsed_methods(&self) -> Result<Vec<ReplayMethod>> {
        self.methods.iter().map(|name| ReplayMethod::parse(name)).collect()
    }

    /// The ways to use threads, in order.
    pub fn parsed_threads(&self) -> Result<Vec<Threads>> {
        self.threads.iter().map(|text| text.parse()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_replay_is_sound() {
        let (name, spec) = find("table4").unwrap().unwrap();
        assert_eq!(name, "table4");
        assert!(spec.table4 && spec.hidden == [1536, 2048, 3072]);
        let error = format!("{:#}", find("table2").unwrap_err());
        assert!(error.contains("table2.toml") && error.contains("splitbench run"), "{error}");
        assert!(find("ten-sets").unwrap().is_none());
    }

    #[test]
    fn what_no_replay_could_use_is_refused() {
        let (_, good) = find("table4").unwrap().unwrap();
        let error = |edit: fn(&mut ReplaySpec)| {
            let mut spec = good.clone();
            edit(&mut spec);
            format!("{:#}", spec.check().unwrap_err())
        };
        assert!(error(|s| s.methods = vec!["tpk".into()]).contains("\"topk\""));
        assert!(error(|s| s.methods = vec!["fc".into(), "fc:band=mirrored".into()]).contains("twice"));
        assert!(error(|s| s.methods.clear()).contains("methods is empty"));
        assert!(error(|s| s.hidden = vec![0]).contains("hidden 0"));
        assert!(error(|s| s.hidden = vec![MAX_SIDE + 1]).contains("outside"));
        assert!(error(|s| s.ratio = Ratio::Number(0.5)).contains("at least 1"));
        assert!(error(|s| s.ratio = Ratio::Word("papre".into())).contains("\"paper\""));
        assert!(error(|s| s.backends = vec!["cuad".into()]).contains("\"cuda\""));
        assert!(error(|s| s.threads = vec!["4".into()]).contains("all"));
        assert!(error(|s| s.devices = vec!["jetson".into()]).contains("jetson-orin-nano"));
        assert!(error(|s| s.seconds = Some(0.0)).contains("seconds"));
    }
}
