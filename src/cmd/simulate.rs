//! `splitbench simulate`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use splitbench_codec::split_codecs;

use crate::file_name::{check_run_name, file_name};
use crate::output::{self, Output};
use crate::record::manifest::command_line;
use crate::record::{RunFolder, SimulationManifest, SweepRecord, run_name};
use crate::report::{page, simulation};
use crate::simulate::{ServiceProfile, Simulate, find, sweep};

/// Simulate many clients that share a link and a server: response time by codec and number of clients.
///
/// Nothing is computed by a model: what one request takes was measured by a run (--from) or is assumed in a profile
/// (--profile). Writes results/<name>/<run>/ and plots/<name>/<run>/. Examples:
///   splitbench simulate --from results/figure6/RUN
///   splitbench simulate figure7 --profile experiments/services/rtx4090-llama-3.2-1b.toml --clients 100,2000
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Simulation: figure7 or a TOML file.
    #[arg(default_value = "figure7")]
    simulation: String,
    /// Folder of a run with times of single requests, results/<experiment>/<run>.
    #[arg(long, value_name = "DIR", conflicts_with = "profile")]
    from: Option<PathBuf>,
    /// Profile of service times in TOML.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Numbers of clients instead of the simulation's, separated by commas.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    clients: Vec<usize>,
    /// Simulated time instead of the simulation's, its warm-up included, of which no number is taken, s.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Number of runs, each with other random numbers, instead of the simulation's.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Most requests that a worker takes at once, instead of the simulation's.
    #[arg(long, value_name = "N")]
    most_batch: Option<usize>,
    /// Codecs instead of the simulation's, as the profile names them or without their ratio, separated by commas, or the option once for
    /// each.
    #[arg(long, visible_alias = "codecs", value_name = "CODEC")]
    codec: Vec<String>,
    /// Where results/ and plots/ go.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Name of the run's folder; date, revision and a hash of the settings if not given.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Print the points as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Simulates and writes.
    pub fn run(self) -> Result<()> {
        let (clock, started) = (std::time::Instant::now(), jiff::Zoned::now());
        let mut scenario = find(&self.simulation)?;
        let simulate = &mut scenario.simulate;
        if !self.clients.is_empty() {
            simulate.clients = self.clients.clone();
        }
        if !self.codec.is_empty() {
            simulate.codecs = Some(self.codec.iter().flat_map(|list| split_codecs(list)).collect());
        }
        simulate.most_batch = self.most_batch.unwrap_or(simulate.most_batch);
        simulate.seeds = self.seeds.unwrap_or(simulate.seeds);
        simulate.seconds = self.seconds.unwrap_or(simulate.seconds);
        simulate.check()?;
        let profiles = match (&self.from, &self.profile) {
            (Some(run), _) => ServiceProfile::from_run(run)?,
            (None, Some(file)) => vec![ServiceProfile::read(file)?],
            (None, None) => bail!("whose times? Give a run with --from results/figure6/RUN, or --profile FILE"),
        };
        let stem = std::path::Path::new(&self.simulation).file_stem().and_then(|stem| stem.to_str());
        let run = match &self.run {
            Some(run) => run.clone(),
            None => run_name(Some(started.date().to_string()), &(&scenario, &self.from, &self.profile))?,
        };
        check_run_name(&run)?;
        let folder = |kind: &str| self.out.join(kind).join(file_name(stem.unwrap_or("simulation"))).join(&run);
        let (results, plots) = (folder("results"), folder("plots"));
        let read = [
            Some(PathBuf::from(&self.simulation)),
            self.from.as_ref().map(|run| run.join("service.csv")),
            self.profile.clone(),
        ];
        let read: Vec<PathBuf> = read.into_iter().flatten().collect();
        output::check(&read, &[Output::folder("--out", &plots)])?;
        let folder = RunFolder::create_bare(results, &read)?;
        let mut swept = SweepRecord::default();
        let mut runs = 0;
        for profile in &profiles {
            for reason in &profile.left_out {
                say!("left out of {}: {reason}", profile.name)?;
            }
            let one = sweep(profile, &scenario.simulate)?;
            runs += one.points.iter().map(|point| point.seeds).sum::<u64>();
            swept.points.extend(one.points);
            swept.saturation.extend(one.saturation);
        }
        swept.about = about(&scenario.simulate, &profiles);
        let manifest = SimulationManifest {
            version: crate::VERSION,
            command: command_line(),
            started: started.to_string(),
            wall_seconds: clock.elapsed().as_secs_f64(),
            runs,
            scenario: serde_json::to_value(&scenario)?,
            sources: profiles.iter().map(|profile| profile.source.clone()).collect(),
        };
        let write = || -> Result<Vec<PathBuf>> {
            let results = &folder.results;
            let mut files = swept.write(&folder)?;
            files.extend(simulation::write(results, &plots, &swept)?);
            folder.json("simulate.json", &manifest)?;
            files.push(results.join("simulate.json"));
            files.extend(page::write(std::slice::from_ref(results), results, Some(&plots))?);
            Ok(files)
        };
        let written = write();
        if self.json {
            say!("{}", serde_json::to_string_pretty(&swept.points)?)?;
            return written.map(drop);
        }
        say!("{}", simulation::terminal(&swept, 160))?;
        say!("{runs} runs simulated in {:.1} s", clock.elapsed().as_secs_f64())?;
        written?.iter().try_for_each(|file| say!("wrote {}", file.display()))
    }
}

/// What stands under every figure: how clients ask and where times come from.
fn about(simulate: &Simulate, profiles: &[ServiceProfile]) -> String {
    let mut sources: Vec<&str> = profiles.iter().map(|profile| profile.source.as_str()).collect();
    sources.dedup();
    let asking = match simulate.arrivals {
        crate::simulate::ArrivalLaw::Closed => {
            format!("A client waits for its answer, thinks for {} s on average, and asks again.", simulate.think_s)
        }
        crate::simulate::ArrivalLaw::Open => {
            format!("A client asks once in {} s on average, whatever it waits for.", simulate.think_s)
        }
    };
    let batch = match simulate.most_batch {
        1 => "A worker of the server takes one request at a time.".to_string(),
        most => format!("A worker of the server takes up to {most} requests at once."),
    };
    format!(
        "{asking} {batch} Round trip {} ms. {} s simulated after {} s of warm-up. Service times: {}. splitbench {}.",
        simulate.round_trip_ms,
        simulate.seconds - simulate.warm_up_s,
        simulate.warm_up_s,
        sources.join("; "),
        crate::VERSION
    )
}
