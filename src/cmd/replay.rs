//! `splitbench replay`.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::selection::split_list;
use crate::replay::run::{ReplayOptions, ReplayOutcome, run};
use crate::replay::spec::{Ratio, ReplaySpec, find};
use crate::replay::{ReplayMethod, trace};
use crate::report::{page, table4};

/// Time codecs and the FC kernel over the activations of a trace; no model is needed.
///
/// Writes rows, every single time and tables to results/<name>/<run>/. Where a trace has shapes only, activations are seeded
/// numbers. Examples:
///   splitbench replay table4
///   splitbench replay ten-sets --hidden 2048 --codecs fc,topk --ratio 7.6 --seconds 30
///   splitbench replay piqa.json --codecs fc-kernel,svd --threads 1,all --json
///   splitbench replay ten-sets --hidden 2048 --codecs fc-kernel --backend cpu,fpga --ratio 7.6 --seconds 20
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A replay experiment (`table4`, or a .toml file with a trace), or a trace: `ten-sets`, or a .json file.
    what: String,
    /// Codecs, and fc-kernel for the transform alone, separated by commas, or the option once for each. A comma after external:cmd=
    /// belongs to the command.
    #[arg(long, visible_alias = "codec", value_name = "LIST")]
    codecs: Vec<String>,
    /// Where they run: cpu, cuda, fpga (`splitbench list backends`), separated by commas. cuda and fpga run fc-kernel alone; fpga is
    /// a simulation, whose seconds are cycles over a stated clock.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    backend: Vec<String>,
    /// Hidden sizes, separated by commas; that of the trace's activations if not given.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    hidden: Vec<usize>,
    /// Compression ratio in elements, at least 1, or paper: each data set's of the paper's Table III.
    #[arg(long, alias = "ratios")]
    ratio: Option<Ratio>,
    /// 1, all, or both separated by a comma.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    threads: Vec<String>,
    /// Devices whose time for the FC kernel is modelled: jetson-orin-nano, jetson-orin-nx, jetson-agx-orin, or a .toml file; separated by
    /// commas, or the option once for each. A comma that belongs to a path is written `\,`.
    #[arg(long, value_name = "LIST")]
    devices: Vec<String>,
    /// Seconds to spend on timing: a sample of the sequences is run and scaled up, and the error of that is printed.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Seed of the sample and of seeded activations.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where results/ goes.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Name of the run's folder; date, revision and a hash of the settings if not given.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Print the rows as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Replays.
    pub fn run(self) -> Result<()> {
        let (name, spec) = self.resolve()?;
        let file = Some(PathBuf::from(&self.what)).filter(|path| path.is_file());
        let ReplayOutcome { results, rows, mut files, cut_short, wall_seconds } =
            run(&name, &spec, &ReplayOptions { out: self.out, run: self.run, file })?;
        let mut tables = || -> Result<()> {
            files.extend(table4::write(&results, &rows, spec.table4)?);
            files.extend(page::write(std::slice::from_ref(&results), &results, None)?);
            Ok(())
        };
        // What was measured is shown whatever could not be written.
        let failure = cut_short.or_else(|| tables().err());
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(&rows)?)?,
            false => {
                say!("{}\n{wall_seconds:.0} s", table4::terminal(&rows, spec.table4))?;
                files.iter().try_for_each(|file| say!("wrote {}", file.display()))?;
            }
        }
        failure.map_or(Ok(()), Err)?;
        let reason = rows.iter().find_map(|row| row.err.as_deref()).unwrap_or("there was nothing to time");
        ensure!(rows.iter().any(|row| row.err.is_none()), "nothing was timed: {reason}");
        Ok(())
    }

    /// The experiment, or a replay of the trace, with what the command line changes.
    fn resolve(&self) -> Result<(String, ReplaySpec)> {
        let (name, mut spec) = match find(&self.what)? {
            Some(found) => found,
            None => {
                // Before anything else is said: what is neither a trace nor an experiment.
                trace::check_name(&self.what)?;
                let of_trace = |methods: &[&str]| methods.iter().map(|m| m.to_string()).collect();
                let spec = ReplaySpec {
                    analysis: String::new(),
                    trace: self.what.clone(),
                    hidden: Vec::new(),
                    methods: of_trace(&["fc"]),
                    ratio: Ratio::Number(8.0),
                    backends: of_trace(&["cpu"]),
                    threads: of_trace(&["1"]),
                    devices: Vec::new(),
                    seconds: None,
                    seed: 0,
                    table4: false,
                };
                ("replay".to_string(), spec)
            }
        };
        if !self.codecs.is_empty() {
            let methods = self.codecs.iter().map(|list| ReplayMethod::parse_list(list)).collect::<Result<Vec<_>>>()?;
            spec.methods = methods.iter().flatten().map(ReplayMethod::to_string).collect();
        }
        let devices = split_list("--devices", &self.devices, ',')?;
        for (given, field) in
            [(&self.backend, &mut spec.backends), (&self.threads, &mut spec.threads), (&devices, &mut spec.devices)]
        {
            if !given.is_empty() {
                field.clone_from(given);
            }
        }
        if !self.hidden.is_empty() {
            spec.hidden.clone_from(&self.hidden);
        }
        if let Some(ratio) = &self.ratio {
            spec.ratio = ratio.clone();
        }
        spec.seconds = self.seconds.or(spec.seconds);
        spec.seed = self.seed.unwrap_or(spec.seed);
        spec.check()?;
        Ok((name, spec))
    }
}
