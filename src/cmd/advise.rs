//! `splitbench advise`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use splitbench_codec::split_codecs;
use splitbench_planner::{ClientPower, CutLimits, CutObjective, LossLimit};

use super::selection::parse_size;
use super::text::at_least_one;
use crate::advise::loss::{LossFilter, LossTable};
use crate::advise::setting::SplitSetting;
use crate::advise::{AdviceGoal, advise};
use crate::advise::{WantedModel, machine};
use crate::live::link;
use crate::output::{self, Output};
use crate::report;

/// Say where to cut a model and what to send, for a client, a server, a link and a limit on the loss.
///
/// Losses are those of runs' rows, times those of `splitbench profile`. Prints the best cut with its codecs of prompt and steps, the
/// next four, what decides, what cannot be told, and the rates at which another choice would win. Examples:
///   splitbench advise --from results/codecs/RUN --client phone.toml --server server.toml --link home-cable --max-kl 0.02
///   splitbench advise --from results/codecs/RUN --client phone.toml --server server.toml --link 20mbit/5mbit,40ms --memory 2GiB --out DIR
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Folder of a run with codecs at cuts, results/<experiment>/<run>; once for each.
    #[arg(long, value_name = "RUN", required = true)]
    from: Vec<PathBuf>,
    /// The client: a file of `splitbench profile`, the folder of a run that timed requests, or a data sheet such as
    /// jetson-orin-nano.
    #[arg(long, value_name = "MACHINE")]
    client: String,
    /// The server, in the same ways.
    #[arg(long, value_name = "MACHINE")]
    server: String,
    /// The link: a preset, DOWN/UP,DELAY such as 20mbit/5mbit,40ms, or a TOML file.
    #[arg(long)]
    link: String,
    /// Most accuracy that may be lost, points.
    #[arg(long, value_name = "POINTS", value_parser = amount, conflicts_with = "max_kl")]
    max_drop: Option<f64>,
    /// Largest mean KL(unsplit || codec), nats per token.
    #[arg(long, value_name = "NATS", value_parser = amount)]
    max_kl: Option<f64>,
    /// Tokens of the prompt.
    #[arg(long, value_name = "N", default_value = "512", value_parser = at_least_one)]
    prompt: usize,
    /// Tokens generated.
    #[arg(long, value_name = "N", default_value = "128", value_parser = at_least_one)]
    tokens: usize,
    /// Layers that must stay on the client; 0 lets the server have the text.
    #[arg(long, value_name = "LAYER", default_value_t = 1)]
    min_layer: usize,
    /// Memory of the client for weights and cache, such as 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<f64>,
    /// Memory of the server.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    server_memory: Option<f64>,
    /// What is to be small.
    #[arg(long, value_enum, default_value = "response")]
    objective: Objective,
    /// Power of the client in watts, for the energy: COMPUTE,SEND or COMPUTE,SEND,WAIT.
    #[arg(long, value_name = "WATTS", value_parser = power)]
    power: Option<ClientPower>,
    /// Only rows of this model, as it was given to the runs.
    #[arg(long)]
    model: Option<String>,
    /// Only rows of this scope.
    #[arg(long)]
    scope: Option<String>,
    /// Only cuts after these layers, separated by commas.
    #[arg(long, visible_aliases = ["layer", "split"], value_name = "L", value_delimiter = ',')]
    layers: Vec<usize>,
    /// Only these codecs, with or without their options, separated by commas, or the option once for each.
    #[arg(long, visible_alias = "codecs", value_name = "CODEC")]
    codec: Vec<String>,
    /// Write advice.md, advice.json and advice.svg, response time against link rate, into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is to be small, as the command line calls it.
#[derive(Clone, Copy, ValueEnum)]
enum Objective {
    /// Time of the whole answer.
    Response,
    /// Time to the first token.
    Ttft,
    /// Time per token after the first.
    Tpot,
    /// Busy time of the busiest part, for the throughput of many clients.
    Throughput,
    /// Energy of the client.
    Energy,
}

impl From<Objective> for CutObjective {
    fn from(objective: Objective) -> Self {
        match objective {
            Objective::Response => Self::Response,
            Objective::Ttft => Self::FirstToken,
            Objective::Tpot => Self::Step,
            Objective::Throughput => Self::Throughput,
            Objective::Energy => Self::ClientEnergy,
        }
    }
}

fn amount(text: &str) -> Result<f64> {
    let value: f64 = text.parse().with_context(|| format!("{text:?} is no number"))?;
    ensure!(value.is_finite() && value >= 0.0, "give a number of at least 0");
    Ok(value)
}

fn power(text: &str) -> Result<ClientPower> {
    let watts: Vec<f64> = text.split(',').map(|part| amount(part.trim())).collect::<Result<_>>()?;
    match watts[..] {
        [compute_w, send_w] => Ok(ClientPower { compute_w, send_w, wait_w: 0.0 }),
        [compute_w, send_w, wait_w] => Ok(ClientPower { compute_w, send_w, wait_w }),
        _ => anyhow::bail!("give two or three numbers in watts: COMPUTE,SEND or COMPUTE,SEND,WAIT, such as 4,1.2"),
    }
}

impl Args {
    /// Reads, advises, prints.
    pub fn run(self) -> Result<()> {
        let rows = self.from.iter().map(|run| run.join("rows.parquet"));
        let read: Vec<PathBuf> = rows.chain([&self.client, &self.server].map(PathBuf::from)).collect();
        let outputs = self.out.iter().map(|folder| Output::folder("--out", folder)).collect::<Vec<_>>();
        output::check(&read, &outputs)?;
        let filter = LossFilter {
            model: self.model.clone(),
            scope: self.scope.clone(),
            layers: self.layers.clone(),
            codecs: self.codec.iter().flat_map(|list| split_codecs(list)).collect(),
        };
        let losses = LossTable::read(&self.from, &filter)?;
        let wanted = WantedModel { name: &losses.model, sha256: &losses.model_sha256 };
        let setting = SplitSetting {
            client: machine(&self.client, &wanted)?,
            server: machine(&self.server, &wanted)?,
            link: link::find(&self.link)?,
            prompt: self.prompt,
            tokens: self.tokens,
        };
        let limit = self.max_drop.map(LossLimit::DropPoints).or(self.max_kl.map(LossLimit::KlNats));
        let goal = AdviceGoal {
            objective: self.objective.into(),
            limits: CutLimits {
                client_memory_bytes: self.memory.map(|bytes| bytes as u64),
                server_memory_bytes: self.server_memory.map(|bytes| bytes as u64),
                min_layer: self.min_layer,
                loss: limit,
            },
            power: self.power.unwrap_or_default(),
        };
        let advice = advise(&setting, &losses, goal)?;
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(&advice)?)?,
            false => say!("{}", report::advice::text(&advice, 160).trim_end())?,
        }
        let Some(folder) = &self.out else { return Ok(()) };
        std::fs::create_dir_all(folder).with_context(|| crate::save::cannot_write(folder))?;
        for (name, content) in [
            ("advice.md", report::advice::markdown(&advice)),
            ("advice.json", serde_json::to_string_pretty(&advice)?),
            ("advice.svg", report::advice::svg(&advice)?),
        ] {
            let path = folder.join(name);
            crate::save::replace(&path, content.as_bytes())?;
            if !self.json {
                say!("wrote {}", path.display())?;
            }
        }
        Ok(())
    }
}
