//! `splitbench list`.

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::experiment::spec;
use crate::live::link;
use crate::model::source::{self, POCKET};
use crate::replay::backend;
use splitbench_codec as codec;
use splitbench_codec::{AllowedValues, CodecSpec, Rate};

use crate::data;

/// List what there is: models, data sets, codecs, experiments, back ends of replay, links.
///
/// Example: splitbench list codecs
#[derive(clap::Args)]
pub struct Args {
    /// What to list.
    what: ListKind,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ListKind {
    Models,
    Datasets,
    Codecs,
    Experiments,
    Backends,
    Links,
}

impl Args {
    /// Lists.
    pub fn run(self) -> Result<()> {
        let items = match self.what {
            ListKind::Models => models(),
            ListKind::Datasets => datasets(),
            ListKind::Codecs => codecs(),
            ListKind::Experiments => experiments()?,
            ListKind::Backends => backends(),
            ListKind::Links => links()?,
        };
        if self.json {
            say!("{}", serde_json::to_string_pretty(&items)?)?;
            return Ok(());
        }
        for item in items {
            say!("{:<20} {}", text(&item["name"]), text(&item["about"]))?;
            for option in item["options"].as_array().into_iter().flatten() {
                say!("    {:<18} {}", text(&option["name"]), text(&option["about"]))?;
            }
        }
        if let ListKind::Datasets = self.what {
            let about = "your own, given as the path of a file that defines it: columns, prompt, choices, gold";
            say!("{:<20} {about} (docs/add-a-data-set.md)", "PATH.toml")?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn models() -> Vec<Value> {
    let pocket =
        json!({"name": POCKET, "about": "embedded: a small Llama trained on our own world of facts", "here": true});
    let known = source::registry().iter().map(|m| {
        let is_local = source::locate(&m.name).is_ok();
        let gate = if m.gated { " (accept its licence there first)" } else { "" };
        let state = match is_local {
            true => "in the hub cache".to_string(),
            false => format!(
                "not on this machine; `splitbench prepare --model {}`{gate}, or pass its folder as --model",
                m.name
            ),
        };
        json!({"name": m.name, "about": format!("{}, {state}", m.title), "hub": m.hub, "here": is_local})
    });
    std::iter::once(pocket).chain(known).collect()
}

fn datasets() -> Vec<Value> {
    data::registry()
        .iter()
        .map(|d| {
            let is_local = d.mini || data::is_prepared(d);
            let about = match (d.mini, is_local) {
                (true, _) => format!("{}: embedded, our own questions", d.title),
                (false, true) => format!("{}: {} {}, prepared", d.title, d.hub_id, d.split),
                (false, false) => format!(
                    "{}: {} {}, `splitbench prepare --dataset {}` or --data-dir DIR with {}/eval.jsonl",
                    d.title, d.hub_id, d.split, d.name, d.name
                ),
            };
            json!({"name": d.name, "about": about, "rows": d.rows, "licence": d.licence, "metric": d.metric.as_str(),
                "prompt_version": d.prompt_version, "sha256": d.sha256, "here": is_local})
        })
        .collect()
}

fn codecs() -> Vec<Value> {
    codec::registered()
        .iter()
        .map(|c| {
            let options: Vec<Value> = c
                .options
                .iter()
                .map(|o| json!({"name": format!("{}={}", o.key, o.default), "about": format!("{} {}", o.meaning, allowed(&o.allowed))}))
                .collect();
            let (rate, about) = match c.rate {
                Rate::Budget => ("budget", c.summary.to_string()),
                Rate::Fixed => ("fixed", format!("{} Fixed rate: ratios are ignored.", c.summary)),
            };
            // Of what it is without options; `external` is nothing without them.
            let learns = CodecSpec::parse(c.name).ok().and_then(|spec| spec.calibration()).map(|need| need.to_string());
            let calibrated = learns.as_ref().map(|of| format!(" Calibrated on {of}.")).unwrap_or_default();
            let (about, rows) = (format!("{about} Rows: {}.{calibrated}", c.rows), c.rows.to_string());
            json!({"name": c.name, "about": about, "rate": rate, "rows": rows, "learns": learns, "options": options})
        })
        .collect()
}

fn allowed(values: &AllowedValues) -> String {
    match values {
        AllowedValues::Words(words) => {
            format!("[{}]", words.iter().map(|w| w.word).collect::<Vec<_>>().join(", "))
        }
        AllowedValues::Number { min, max } => format!("[{min} to {max}]"),
        AllowedValues::Command => "[must be given; takes the rest of the name, commas and all]".to_string(),
    }
}

fn backends() -> Vec<Value> {
    let about = |name: &&str| {
        let opened = backend::open(name);
        let text = match &opened {
            Ok(backend) => backend.device().name.clone(),
            Err(why) => format!("not here: {why:#}"),
        };
        json!({"name": name, "about": text, "here": opened.is_ok()})
    };
    backend::NAMES.iter().map(about).collect()
}

fn links() -> Result<Vec<Value>> {
    link::presets()
        .into_iter()
        .map(|name| {
            let profile = link::find(name)?;
            let mut item = serde_json::to_value(&profile)?;
            let [down, up] = [profile.down_bits_per_s, profile.up_bits_per_s].map(|rate| rate as f64 / 1e6);
            let [delay, jitter] = [profile.delay, profile.jitter].map(link::show_time);
            item["about"] =
                json!(format!("{}: {down} Mbit/s down, {up} Mbit/s up, {delay} each way, ± {jitter}", profile.about));
            if let Some(basis) = &profile.basis {
                let options =
                    [("down", &basis.down), ("up", &basis.up), ("delay", &basis.delay), ("jitter", &basis.jitter)];
                item["options"] = options.map(|(name, about)| json!({"name": name, "about": about})).as_slice().into();
            }
            Ok(item)
        })
        .collect()
}

fn experiments() -> Result<Vec<Value>> {
    crate::embedded::experiments()
        .into_iter()
        .map(|name| {
            let analysis = spec::analysis(name)?;
            let first = analysis.split_whitespace().collect::<Vec<_>>().join(" ");
            let about = first.split_inclusive(". ").next().unwrap_or_default().trim().to_string();
            Ok(json!({"name": name, "about": about}))
        })
        .collect()
}
