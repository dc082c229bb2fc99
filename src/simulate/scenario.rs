//! The file of a simulation: what is varied, as data.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::engine::Law;
use crate::repeats::refuse_repeats;

/// A simulation file as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about and what would count as agreement with the paper.
    pub analysis: String,
    /// What is simulated.
    pub simulate: Simulate,
}

/// How clients ask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrivalLaw {
    /// Wait for the answer, think, ask again.
    Closed,
    /// Poisson, whatever became of the last request; a client asks once in `think_s` on average.
    Open,
}

/// Everything is run for each link, number of workers, number of generated tokens, codec and number of clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulate {
    /// Rates of the shared link, Gbit/s.
    pub links_gbps: Vec<f64>,
    /// Round trip, ms.
    pub round_trip_ms: f64,
    /// Workers of the server: GPUs, or whatever the service times are of.
    pub workers: Vec<usize>,
    /// Requests a worker takes at once, if that many wait.
    pub most_batch: usize,
    /// Numbers of clients.
    pub clients: Vec<usize>,
    /// How they ask.
    pub arrivals: ArrivalLaw,
    /// Mean time between an answer and the next request, s; exponential.
    pub think_s: f64,
    /// How service times vary.
    pub service: Law,
    /// Numbers of tokens generated after the prompt.
    pub generate: Vec<usize>,
    /// Simulated time, s.
    pub seconds: f64,
    /// First part of it, of which nothing is reported, s.
    pub warm_up_s: f64,
    /// Runs with different random numbers, of which intervals are made.
    pub seeds: u64,
    /// Only these codecs, by their names in the profile or without ` at ratio ..`; all where absent.
    pub codecs: Option<Vec<String>>,
}

/// Reads a simulation: `figure7`, or a path that ends in `.toml`.
pub fn find(name: &str) -> Result<Scenario> {
    let text = match name {
        "figure7" => include_str!("../../experiments/figure7.toml").to_string(),
        _ if Path::new(name).extension().is_some_and(|e| e == "toml") => {
            std::fs::read_to_string(name).with_context(|| format!("reading simulation {name}"))?
        }
        _ => bail!("no simulation {name:?}: a simulation is `figure7` or a path that ends in .toml"),
    };
    let scenario: Scenario = toml::from_str(&text).with_context(|| name.to_string())?;
    scenario.simulate.check().with_context(|| format!("{name}, section [simulate]"))?;
    Ok(scenario)
}

impl Simulate {
    /// Fails on a number that nothing could be simulated with.
    pub fn check(&self) -> Result<()> {
        let some = |name: &str, empty: bool| {
            ensure!(!empty, "{name} is empty");
            Ok(())
        };
        some("links_gbps", self.links_gbps.is_empty())?;
        some("workers", self.workers.is_empty())?;
        some("clients", self.clients.is_empty())?;
        some("generate", self.generate.is_empty())?;
        refuse_repeats("links_gbps", &self.links_gbps, |rate| *rate)?;
        for (name, list) in [("workers", &self.workers), ("clients", &self.clients), ("generate", &self.generate)] {
            refuse_repeats(name, list, |count| *count)?;
        }
        refuse_repeats("codec", self.codecs.as_deref().unwrap_or_default(), String::clone)?;
        for rate in &self.links_gbps {
            ensure!(rate.is_finite() && *rate > 0.0, "links_gbps has {rate}: a rate must be above 0");
        }
        ensure!(!self.workers.contains(&0), "workers has 0: a server needs at least 1");
        ensure!(!self.clients.contains(&0), "clients has 0: give 1 or more");
        for (name, count) in [("workers", self.workers.iter().max()), ("clients", self.clients.iter().max())] {
            ensure!(count.is_none_or(|count| *count <= 1_000_000), "{name} has more than a million");
        }
        ensure!(self.most_batch > 0, "most_batch is 0; 1 means no batching");
        ensure!((1..=10_000).contains(&self.seeds), "seeds is {}: give 1 to 10000", self.seeds);
        for (name, value) in [("round_trip_ms", self.round_trip_ms), ("warm_up_s", self.warm_up_s)] {
            ensure!(value.is_finite() && value >= 0.0, "{name} is {value}: it must be 0 or more");
        }
        ensure!(
            self.think_s.is_finite() && self.think_s >= 1e-6,
            "think_s is {}: it must be a microsecond or more",
            self.think_s
        );
        ensure!(
            self.seconds.is_finite() && self.seconds > self.warm_up_s,
            "seconds is {}: it must be more than warm_up_s, {}",
            self.seconds,
            self.warm_up_s
        );
        Ok(())
    }
}
