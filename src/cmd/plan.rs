//! `splitbench plan`.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::selection::{Selection, SelectionPart};
use super::text::at_least_one;
use crate::advise::loss::SentAs;
use crate::advise::setting::{CutTimes, SplitSetting};
use crate::advise::{WantedModel, machine};
use crate::experiment::plan::{Plan, plan};
use crate::experiment::spec::Experiment;
use crate::experiment::{Scope, cells};
use crate::live::link;
use crate::model::Placement;
use crate::record::manifest::PredictedSeconds;
use crate::report;
use splitbench_codec::Budget;

/// Show what a run would do and take, without doing it; or what its codecs would take over a link.
///
/// With --link, times to the first token and per later token, from profiles of client and server (`splitbench profile`), and no
/// cell is counted. Examples:
///   splitbench plan table2 --data-dir DIR
///   splitbench plan codecs --link home-cable --client phone.toml --server server.toml --prompt 512
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// A link, as `splitbench link` takes it: what each codec of the experiment takes over it.
    #[arg(long, requires = "client")]
    link: Option<String>,
    /// The client: a file of `splitbench profile`, the folder of a run that timed requests, or a data sheet.
    #[arg(long, value_name = "MACHINE", requires = "link")]
    client: Option<String>,
    /// The server, in the same ways; the client if not given.
    #[arg(long, value_name = "MACHINE", requires = "link")]
    server: Option<String>,
    /// Tokens of a prompt over the link.
    #[arg(long, value_name = "N", default_value = "512", value_parser = at_least_one, requires = "link")]
    prompt: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Plans.
    pub fn run(mut self) -> Result<()> {
        let experiment = self.selection.resolve()?;
        if let (Some(link), Some(client)) = (&self.link, &self.client) {
            return self.over_link(&experiment, link, client);
        }
        let SelectionPart { data_dir, batch_tokens, dtype, skip_long, .. } = self.selection.part;
        let dtype = Placement::open("cpu", &dtype)?.dtype;
        let plan = plan(&experiment, data_dir.as_deref(), dtype, batch_tokens, skip_long)?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&plan)?)?;
        } else {
            print(&plan)?;
        }
        Ok(())
    }
}

impl Args {
    fn over_link(&self, experiment: &Experiment, link: &str, client: &str) -> Result<()> {
        let [model] = experiment.spec.models.as_slice() else {
            bail!(
                "--link is for one model, and the experiment has {}: choose with --model",
                experiment.spec.models.len()
            );
        };
        let wanted = WantedModel { name: model, sha256: "" };
        let setting = SplitSetting {
            client: machine(client, &wanted)?,
            server: machine(self.server.as_deref().unwrap_or(client), &wanted)?,
            link: link::find(link)?,
            prompt: self.prompt,
            // A step in the middle of as many tokens as the prompt has.
            tokens: self.prompt + 1,
        };
        setting.check()?;
        let mut times: Vec<CutTimes> = Vec::new();
        let mut unknown: BTreeSet<String> = BTreeSet::new();
        let spec = &experiment.spec;
        let model = &setting.client.model;
        let (splits, codecs) = (spec.splits(model.layers)?, spec.codec_specs()?);
        let mut budgets: Vec<Budget> = Vec::new();
        for info in spec.datasets_for(&model.name, true)? {
            budgets.extend(
                spec.budgets_for(info).into_iter().filter(|budget| !budgets.contains(budget)).collect::<Vec<_>>(),
            );
        }
        for cell in cells(&splits, &[Scope::Prompt], &codecs, &budgets) {
            let budget = cell.budget.map(|budget| (budget.ratio, budget.accounting.to_string()));
            let sent = SentAs {
                codec: cell.codec.to_string(),
                ratio: budget.as_ref().map(|(ratio, _)| *ratio),
                accounting: budget.map(|(_, accounting)| accounting).unwrap_or_default(),
            };
            match setting.times(cell.split.after_layer, &sent)? {
                Some(one) if !times.contains(&one) => times.push(one),
                Some(_) => {}
                None if cell.split.after_layer >= setting.layers() => {}
                None => drop(unknown.insert(sent.to_string())),
            }
        }
        if self.json {
            return say!("{}", serde_json::to_string_pretty(&times)?);
        }
        say!("{}", report::advice::plan_text(&setting, &times).trim_end())?;
        if !unknown.is_empty() {
            let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
            say!(
                "not profiled, so not shown (`splitbench profile --codec CODEC --ratio R --accounting A` measures them): {names}"
            )?;
        }
        Ok(())
    }
}

fn print(plan: &Plan) -> Result<()> {
    say!(
        "{:<16} {:<20} {:>9} {:>9} {:>10} {:>8} {:>6} {:>10} {:>10}",
        "model",
        "data set",
        "questions",
        "requests",
        "tokens",
        "longest",
        "cells",
        "GFLOP",
        "seconds"
    )?;
    for line in &plan.lines {
        say!(
            "{:<16} {:<20} {:>9} {:>9} {:>10} {:>8} {:>6} {:>10.0} {:>10.1}",
            line.model,
            line.dataset,
            line.questions,
            line.requests,
            line.tokens,
            line.longest,
            line.cells,
            line.flops / 1e9,
            line.predicted.seconds()
        )?;
    }
    let cells: usize = plan.lines.iter().map(|l| l.cells).sum();
    say!("{cells} cells and {} baselines, {:.0} GFLOP", plan.lines.len(), plan.flops / 1e9)?;
    let sum = |part: fn(&PredictedSeconds) -> f64| plan.lines.iter().map(|line| part(&line.predicted)).sum::<f64>();
    say!(
        "about {:.0} s: client half {:.1}, codecs {:.1}, server half {:.1}; reading models, calibration and tables come on top",
        plan.seconds,
        sum(|p| p.client_s),
        sum(|p| p.codec_s),
        sum(|p| p.server_s)
    )?;
    say!("measured now: {:.0} GFLOP/s in a layer of this shape, and every codec", plan.flops_per_second / 1e9)?;
    say!("memory: about {:.1} GB", plan.memory_bytes / 1e9)?;
    Ok(())
}
