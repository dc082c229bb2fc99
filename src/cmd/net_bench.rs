//! `splitbench net-bench`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use super::cpu_model::CpuModel;
use super::embedded_text::embedded_text;
use super::text::at_least_one;
use super::threads;
use crate::file_name::{check_run_name, file_name};
use crate::live::address::Address;
use crate::live::bench::{LiveBench, LiveCell, LiveSpec, find};
use crate::live::client::ServerAddress;
use crate::live::generate::ClientHalf;
use crate::model::source;
use crate::record::machine::Machine;
use crate::record::manifest::command_line;
use crate::record::{LOOPBACK, LiveRow, RunFolder, UNSPLIT, read_live, run_name};
use crate::report;
use crate::simulate::live::predict;

/// Measure the split over links: time to the first token and per later token, by link, prompt and codec.
///
/// Starts a server of its own on this machine and a relay that emulates each link, and writes results/live/<run>/live.csv as
/// rows come; the same command goes on where it ended. What the simulation predicts from the times without a link stands beside.
/// Prompts that the model does not take are left out. Examples:
///   splitbench net-bench
///   splitbench net-bench live --model SmolLM2-135M-Instruct.Q4_1.gguf --link home-cable --link 20mbit/5mbit,40ms --prompts 128
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Measurement: live or a TOML file.
    #[arg(default_value = "live")]
    measurement: String,
    #[command(flatten)]
    model: CpuModel,
    /// A link instead of the measurement's, as `splitbench link` takes it, or `loopback` for none; once for each.
    #[arg(long, value_name = "LINK")]
    link: Vec<String>,
    /// Tokens of prompts instead of the measurement's, separated by commas.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    prompts: Vec<usize>,
    /// Tokens to generate instead of the measurement's.
    #[arg(long, value_name = "N")]
    generate: Option<usize>,
    /// Generations that are measured instead of the measurement's.
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// One client only.
    #[arg(long)]
    no_crowd: bool,
    /// Most threads that the client computes with, such as 1 for a slow one; all if not given.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// Most threads that the server computes with.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    server_threads: Option<usize>,
    /// Where results/ goes.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Name of the run's folder; revision and a hash of the settings if not given.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Print the rows as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// `live.json`: what was asked for, and where.
#[derive(Serialize)]
struct LiveManifest<'a> {
    version: &'static str,
    command: Vec<String>,
    started: String,
    model: &'a str,
    model_sha256: &'a str,
    spec: &'a LiveSpec,
    machine: Machine,
}

impl Args {
    /// Measures and writes.
    pub fn run(self) -> Result<()> {
        let started = jiff::Zoned::now();
        threads::limit(self.threads)?;
        threads::check("--server-threads", self.server_threads)?;
        let name = self.model.name();
        let spec = self.spec()?;
        let run = match &self.run {
            Some(run) => run.clone(),
            None => run_name(None, &(&spec, &name, &self.model.dtype, self.threads, self.server_threads))?,
        };
        check_run_name(&run)?;
        let stem = Path::new(&self.measurement).file_stem().and_then(|stem| stem.to_str()).unwrap_or("live");
        let results = self.out.join("results").join(file_name(stem)).join(&run);
        let folder = RunFolder::create_bare(results.clone(), &source::locate(&name)?.paths())?;

        let model = self.model.load()?;
        let mut rows = read_live(&results)?;
        let (fits, too_long): (Vec<LiveCell>, Vec<LiveCell>) = spec
            .cells()
            .into_iter()
            .partition(|cell| cell.prompt.saturating_add(cell.generate) <= model.config.most_tokens());
        if let Some(cell) = too_long.iter().max_by_key(|cell| cell.prompt) {
            tell!(
                "note: prompts of {} tokens and {} more are left out: {} takes {}",
                cell.prompt,
                cell.generate,
                model.name,
                model.config.most_tokens()
            );
        }
        let cells: Vec<LiveCell> = fits.into_iter().filter(|cell| !rows.iter().any(|row| is_of(row, cell))).collect();
        if !cells.is_empty() {
            let server = ServerProcess::start(&name, &self.model.dtype, spec.live.split_layer, self.server_threads)?;
            let address = ServerAddress { address: server.address.clone(), key: None };
            let client = ClientHalf::load(&model, Some(spec.live.split_layer), &address)?;
            let text = embedded_text(&model)?;
            let bench = LiveBench { model: &model, client: &client, server: &address, text: &text, grid: &spec.live };
            let more_step_s = bench.more_step_s()?;
            for (nth, cell) in cells.iter().enumerate() {
                tell!("{} of {}: {}", nth + 1, cells.len(), cell);
                let mut row = bench.measure(cell)?;
                let alone = rows.iter().chain([&row]).find(|alone| row.link != UNSPLIT && is_alone(alone, &row));
                let quality = alone.map(|alone| (alone.same_tokens, alone.kl));
                if let Some(found) = alone.map(|alone| predict(alone, &row, more_step_s)) {
                    row.simulated_ttft_ms = (row.clients == 1).then_some(found.ttft_ms);
                    row.simulated_step_ms = (row.clients == 1).then_some(found.step_ms);
                    row.simulated_response_s = Some(found.response_s);
                }
                (row.same_tokens, row.kl) = quality.unwrap_or_default();
                rows.push(row);
                folder.live(&rows)?;
            }
        }
        folder.json(
            "live.json",
            &LiveManifest {
                version: crate::VERSION,
                command: command_line(),
                started: started.to_string(),
                model: &model.name,
                model_sha256: &model.sha256,
                spec: &spec,
                machine: Machine::detect(),
            },
        )?;
        let written = folder.text("live.md", &report::live::markdown(&rows))?;
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(&rows)?),
            false => {
                say!("{}", report::live::text(&rows, 160).trim_end())?;
                say!("wrote {}", written.display())
            }
        }
    }

    fn spec(&self) -> Result<LiveSpec> {
        let mut spec = find(&self.measurement)?;
        if !self.link.is_empty() {
            // Loopback is measured in any case.
            spec.live.links = self.link.iter().filter(|link| *link != LOOPBACK).cloned().collect();
        }
        if !self.prompts.is_empty() {
            spec.live.prompts = self.prompts.clone();
        }
        spec.live.generate = self.generate.unwrap_or(spec.live.generate);
        spec.live.repeats = self.repeats.unwrap_or(spec.live.repeats);
        if self.no_crowd {
            spec.crowd = None;
        }
        spec.check()?;
        Ok(spec)
    }
}

/// Whether a row is of a cell.
fn is_of(row: &LiveRow, cell: &LiveCell) -> bool {
    row.link == cell.link.to_string()
        && row.clients == cell.clients as u64
        && row.prompt_tokens == cell.prompt as u64
        && row.generated == cell.generate as u64
        && row.prompt_codec == cell.pair.prompt.to_string()
        && row.step_codec == cell.pair.step.to_string()
        && row.ratio == cell.pair.ratio
        && row.accounting == cell.pair.accounting
}

/// Whether a row is what another one is predicted from: one client without a link.
fn is_alone(alone: &LiveRow, row: &LiveRow) -> bool {
    let key = |row: &LiveRow| {
        let LiveRow { prompt_codec, step_codec, accounting, prompt_tokens, generated, .. } = row;
        let codecs = (prompt_codec.clone(), step_codec.clone(), row.ratio.map(f64::to_bits), accounting.clone());
        (codecs, *prompt_tokens, *generated)
    };
    alone.link == LOOPBACK && alone.clients == 1 && key(alone) == key(row)
}

/// A `splitbench serve` of this program, ended with it.
struct ServerProcess {
    child: Child,
    address: Address,
}

impl ServerProcess {
    fn start(model: &str, dtype: &str, layer: usize, threads: Option<usize>) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(["serve", "--model", model, "--dtype", dtype, "--layer", &layer.to_string()]);
        command.args(["--listen", "127.0.0.1:0", "--memory", "4GiB", "--frame", "120"]);
        command.envs(threads.map(|threads| ("RAYON_NUM_THREADS", threads.to_string())));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting a server")?;
        let mut line = String::new();
        let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let address = line.trim().strip_prefix("listening on ").map(str::parse::<Address>);
        let Some(Ok(address)) = address else {
            let status = child.wait()?;
            return Err(anyhow!(
                "the server did not start ({status}, {read:?}): try `splitbench serve --model {model}`"
            ));
        };
        Ok(Self { child, address })
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
