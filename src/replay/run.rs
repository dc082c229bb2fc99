//! The replay itself: methods in turn over the sequences of a trace, rows of what that took.

use std::path::PathBuf;

use anyhow::Result;

use super::backend::{self, Backend, CallTimes, Device, Lane, OpenedLane, ReplayJob};
use super::calibrate::calibrate;
use super::method::{KERNEL, ReplayMethod};
use super::profile::{self, DeviceProfile};
use super::reference;
use super::sample::{Population, SampleTime, TraceSequence, estimate, every, sequences, spread};
use super::source::ActivationSource;
use super::spec::ReplaySpec;
use super::trace::{self, TraceInput};
use crate::clock::{median, wall_seconds};
use crate::file_name::{check_run_name, file_name};
use crate::record::machine::{Machine, load};
use crate::record::manifest::command_line;
use crate::record::replay::{self, Provenance, ReplayManifest, ReplayRow, ReplayTimes, SequenceTiming};
use crate::record::{RunFolder, run_name};
use splitbench_codec::CodecSpec;

/// Fewest sequences of a sample, however little time there is: from fewer its error is not told well.
const LEAST: usize = 20;

/// Most sequences of a sample: more would tell nothing new.
const MOST: usize = 1000;

/// Shares of the sorted sequences at which results are checked against f64.
const CHECKED: [f64; 3] = [0.1, 0.5, 0.9];

/// Where a replay writes.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Where `results/` goes.
    pub out: PathBuf,
    /// Name of the run's folder; date, revision and a hash of the settings where absent.
    pub run: Option<String>,
    /// The experiment's file, where it is not part of the program.
    pub file: Option<PathBuf>,
}

/// What a replay leaves.
pub struct ReplayOutcome {
    /// The run's folder.
    pub results: PathBuf,
    /// From beginning to end, seconds.
    pub wall_seconds: f64,
    /// Files written.
    pub files: Vec<PathBuf>,
    /// The rows.
    pub rows: Vec<ReplayRow>,
    /// Why not all was written, where that is so.
    pub cut_short: Option<anyhow::Error>,
}

/// Runs a replay. A method that fails becomes a row with `err`; an error here means that nothing could be run.
pub fn run(name: &str, spec: &ReplaySpec, options: &ReplayOptions) -> Result<ReplayOutcome> {
    spec.check()?;
    let loaded = trace::load(&spec.trace)?;
    let hidden = match (&loaded.rows, spec.hidden.as_slice()) {
        (Some(rows), []) => vec![rows.hidden()],
        (None, []) => anyhow::bail!("trace {} has shapes only: give hidden sizes with --hidden", loaded.name),
        (_, some) => some.to_vec(),
    };
    let started = jiff::Zoned::now();
    let run = match &options.run {
        Some(run) => run.clone(),
        None => run_name(Some(started.date().to_string()), spec)?,
    };
    check_run_name(&run)?;
    for set in &loaded.trace.datasets {
        spec.ratio.of_dataset(&set.dataset)?;
    }
    let devices = spec.devices.iter().map(PathBuf::from).filter(|path| path.is_file());
    let codecs =
        spec.parsed_methods()?.iter().filter_map(ReplayMethod::codec).flat_map(CodecSpec::files).collect::<Vec<_>>();
    let read: Vec<PathBuf> = loaded.files.iter().chain(&options.file).cloned().chain(devices).chain(codecs).collect();
    let store = RunFolder::create_bare(options.out.join("results").join(file_name(name)).join(&run), &read)?;
    store.json("machine.json", &Machine::detect())?;
    let clock = wall_seconds();
    let mut replay = Replay { name, spec, loaded: &loaded, hidden: &hidden, rows: Vec::new(), timings: Vec::new() };
    replay.all()?;
    let Replay { rows, timings, .. } = replay;
    let written = || -> Result<Vec<PathBuf>> {
        let mut files =
            vec![replay::write(&store.results, &rows)?, store.text("timings.csv", &replay::timings_csv(&timings))?];
        let manifest = ReplayManifest {
            experiment: name.to_string(),
            version: crate::VERSION,
            command: command_line(),
            started: started.to_string(),
            finished: jiff::Zoned::now().to_string(),
            wall_seconds: wall_seconds() - clock,
            trace_sha256: loaded.sha256.clone(),
            spec: serde_json::to_value(spec)?,
        };
        store.json("manifest.json", &manifest)?;
        files.extend(["manifest.json", "machine.json"].map(|file| store.results.join(file)));
        Ok(files)
    };
    let (files, cut_short) = match written() {
        Ok(files) => (files, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    Ok(ReplayOutcome { results: store.results, wall_seconds: wall_seconds() - clock, files, rows, cut_short })
}

struct Replay<'a> {
    name: &'a str,
    spec: &'a ReplaySpec,
    loaded: &'a TraceInput,
    hidden: &'a [usize],
    rows: Vec<ReplayRow>,
    timings: Vec<SequenceTiming>,
}

/// A lane at work.
struct LaneRun<'a> {
    backend: usize,
    method: ReplayMethod,
    variant: String,
    threads: Option<usize>,
    lane: Option<Box<dyn Lane + 'a>>,
    /// Index into the sequences run, and its times.
    done: Vec<(usize, CallTimes)>,
    /// Wall time spent, warm-up included.
    spent: f64,
    err: Option<String>,
}

impl<'a> LaneRun<'a> {
    fn new(backend: usize, opened: OpenedLane<'a>) -> Self {
        let OpenedLane { method, variant, threads, lane } = opened;
        let (lane, err) = match lane {
            Ok(lane) => (Some(lane), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        Self { backend, method, variant, threads, lane, done: Vec::new(), spent: 0.0, err }
    }

    /// Whether it should get the next sequence.
    fn wants_more(&self, share: Option<f64>) -> bool {
        let enough =
            share.is_some_and(|share| self.done.len() >= MOST || (self.spent >= share && self.done.len() >= LEAST));
        self.lane.is_some() && self.err.is_none() && !enough
    }

    fn estimate(
        &self,
        sequences: &[TraceSequence],
        picks: &[(usize, f64)],
        sample_of: Option<Population>,
        seconds: fn(&CallTimes) -> f64,
    ) -> Option<ReplayTimes> {
        if self.done.is_empty() || self.err.is_some() {
            return None;
        }
        let ran = |(at, timed): &(usize, CallTimes)| {
            let (place, count) = picks[*at];
            SampleTime { place, tokens: sequences[place].tokens, count, value: seconds(timed) }
        };
        Some(estimate(&self.done.iter().map(ran).collect::<Vec<_>>(), sample_of).into())
    }
}

impl Replay<'_> {
    fn all(&mut self) -> Result<()> {
        let ratios: Vec<(&str, f64)> = self
            .loaded
            .trace
            .datasets
            .iter()
            .map(|set| Ok((set.dataset.as_str(), self.spec.ratio.of_dataset(&set.dataset)?)))
            .collect::<Result<_>>()?;
        let ratio = |name: &str| ratios.iter().find(|(set, _)| *set == name).map_or(1.0, |(_, ratio)| *ratio);
        let sequences = sequences(self.loaded, ratio);
        let mut backends: Vec<Box<dyn Backend>> = Vec::new();
        for name in &self.spec.backends {
            match backend::open(name) {
                Ok(backend) => backends.push(backend),
                Err(why) => {
                    let device = Device { name: String::new(), clock_mhz: None, libraries: Vec::new() };
                    let provenance = backend::provenance(name);
                    for &hidden in self.hidden {
                        let row = self.blank(hidden, name, &device, provenance, &ReplayMethod::parse(KERNEL)?);
                        self.rows.push(ReplayRow { err: Some(format!("{why:#}")), ..row });
                    }
                }
            }
        }
        for &hidden in self.hidden {
            self.at(hidden, &sequences, &backends)?;
        }
        self.modelled(&sequences, &backends)
    }

    /// A row with everything but numbers.
    fn blank(
        &self,
        hidden: usize,
        backend: &str,
        device: &Device,
        provenance: Provenance,
        method: &ReplayMethod,
    ) -> ReplayRow {
        ReplayRow {
            experiment: self.name.to_string(),
            trace: self.loaded.name.clone(),
            trace_sha256: self.loaded.sha256.clone(),
            hidden,
            ratio: self.spec.ratio.to_string(),
            backend: backend.to_string(),
            device: device.name.clone(),
            provenance,
            clock_mhz: device.clock_mhz,
            libraries: device.libraries.join(", "),
            method: method.to_string(),
            variant: String::new(),
            threads: None,
            activations: String::new(),
            calibration: None,
            sequences: self.loaded.trace.sequences(),
            run: 0,
            seed: self.spec.seed,
            setup_s: None,
            first_s: None,
            encode: None,
            decode: None,
            both: None,
            error_f64: None,
            checked: Vec::new(),
            wall_over_cpu: None,
            load: load(),
            note: None,
            date: jiff::Zoned::now().to_string(),
            version: crate::VERSION.to_string(),
            err: None,
        }
    }

    /// All lanes at one hidden size, a sequence at a time: what else the machine does meets all alike.
    fn at(&mut self, hidden: usize, sequences: &[TraceSequence], backends: &[Box<dyn Backend>]) -> Result<()> {
        let ReplaySpec { seed, .. } = *self.spec;
        let longest = sequences.last().map_or(0, |sequence| sequence.tokens);
        let source = ActivationSource::new(self.loaded, hidden, longest, seed)?;
        let (methods, threads) = (self.spec.parsed_methods()?, self.spec.parsed_threads()?);
        let calibrated = calibrate(&methods, &source, (sequences, hidden), seed)?;
        let (calibration, about) = calibrated.unzip();
        let job = ReplayJob { hidden, methods: &methods, threads: &threads, calibration: calibration.as_ref() };
        let mut lanes: Vec<LaneRun> = backends
            .iter()
            .enumerate()
            .flat_map(|(at, backend)| backend.lanes(&job).into_iter().map(move |opened| LaneRun::new(at, opened)))
            .collect();
        let idle = |at: &usize| lanes.iter().all(|lane| lane.backend != *at);
        for backend in (0..backends.len()).filter(idle).map(|at| &backends[at]) {
            let row = self.blank(hidden, backend.name(), backend.device(), backend.provenance(), &methods[0]);
            let why = format!("the back end {} runs {KERNEL} alone: add it to the methods", backend.name());
            self.rows.push(ReplayRow { err: Some(why), ..row });
        }
        let share = self.spec.seconds.map(|s| s / self.hidden.len() as f64 / lanes.len().max(1) as f64);
        tell!(
            "D {hidden}: {} ways to compress{}",
            lanes.len(),
            share.map_or(String::new(), |s| format!(", {s:.1} s each"))
        );

        // Places in the sorted list, and how many sequences have that shape where every one is run.
        let mut picks: Vec<(usize, f64)> = Vec::new();
        let mut places: Box<dyn Iterator<Item = (usize, f64)>> = match share {
            Some(_) => Box::new(spread(sequences.len(), seed).map(|place| (place, 0.0))),
            None => Box::new(every_place(sequences).into_iter()),
        };
        while lanes.iter().any(|lane| lane.wants_more(share)) {
            let Some((place, weight)) = places.next() else { break };
            let sequence = sequences[place];
            let activation = source.activation(&sequence, place)?;
            for running in lanes.iter_mut().filter(|lane| lane.wants_more(share)) {
                let Some(lane) = &mut running.lane else { continue };
                let start = wall_seconds();
                match lane.time(&activation, sequence.ratio) {
                    Ok(timed) => running.done.push((picks.len(), timed)),
                    Err(error) => {
                        running.err =
                            Some(format!("at {} tokens, ratio {}: {error:#}", sequence.tokens, sequence.ratio));
                    }
                }
                running.spent += wall_seconds() - start;
            }
            picks.push((place, weight));
        }
        let tokens = sequences.iter().map(|sequence| sequence.tokens).sum();
        let sample_of = share.map(|_| Population { count: sequences.len(), tokens });
        let checked = self.check(&mut lanes, sequences, &source, &job)?;
        for (running, (error, note)) in lanes.iter().zip(checked) {
            let backend = &backends[running.backend];
            let row = self.blank(hidden, backend.name(), backend.device(), backend.provenance(), &running.method);
            let needs = running.method.codec().is_some_and(|codec| codec.calibration().is_some());
            let row = ReplayRow {
                variant: running.variant.clone(),
                threads: running.threads,
                activations: source.kind().to_string(),
                calibration: about.clone().filter(|_| needs),
                run: running.done.len(),
                setup_s: running.lane.as_ref().map(|lane| lane.setup_s()),
                encode: running.estimate(sequences, &picks, sample_of, |t| median(&t.encode_s)),
                decode: running.estimate(sequences, &picks, sample_of, |t| median(&t.decode_s)),
                both: running.estimate(sequences, &picks, sample_of, |t| median(&t.encode_s) + median(&t.decode_s)),
                checked: if error.is_some() { checked_tokens(sequences) } else { Vec::new() },
                error_f64: error,
                wall_over_cpu: wall_over_cpu(running),
                note,
                err: running.err.clone(),
                ..row
            };
            let first: Vec<f64> = running.done.iter().map(|(_, timed)| timed.first_s).collect();
            self.rows.push(ReplayRow { first_s: (!first.is_empty()).then(|| median(&first)), ..row });
            let row = self.rows.len() - 1;
            self.timings.extend(running.done.iter().map(|(pick, timed)| {
                let TraceSequence { tokens, ratio, .. } = sequences[picks[*pick].0];
                let CallTimes { first_s, encode_s, decode_s } = timed.clone();
                SequenceTiming { row, tokens, ratio, first_s, encode_s, decode_s }
            }));
        }
        Ok(())
    }

    /// For each lane the largest difference from f64, and what it has to say.
    fn check(
        &self,
        lanes: &mut [LaneRun],
        sequences: &[TraceSequence],
        source: &ActivationSource,
        job: &ReplayJob,
    ) -> Result<Vec<(Option<f64>, Option<String>)>> {
        let mut errors: Vec<Option<f64>> = vec![None; lanes.len()];
        for place in checked_places(sequences) {
            let sequence = sequences[place];
            let activation = source.activation(&sequence, place)?;
            let mut exact: Vec<(&ReplayMethod, Option<Vec<f64>>)> = Vec::new();
            for method in job.methods {
                exact.push((method, method.exact(&activation, sequence.ratio, job.calibration)?));
            }
            for (running, worst) in lanes.iter_mut().zip(&mut errors).filter(|(running, _)| running.err.is_none()) {
                let known = exact.iter().find(|(method, _)| **method == running.method);
                let (Some((_, Some(exact))), Some(lane)) = (known, &mut running.lane) else { continue };
                match lane.round_trip(&activation, sequence.ratio) {
                    Ok(back) => {
                        let error = reference::rel_error(back.into_iter().map(f64::from), exact);
                        *worst = Some(worst.map_or(error, |worst: f64| worst.max(error)));
                    }
                    Err(error) => running.err = Some(format!("checking {} tokens: {error:#}", sequence.tokens)),
                }
            }
        }
        let note = |running: &LaneRun| running.lane.as_ref().and_then(|lane| lane.note());
        Ok(lanes.iter().zip(errors).map(|(running, error)| (error, note(running))).collect())
    }

    /// Rows of devices that are not here, and of the model's own check: what it says of those that are.
    fn modelled(&mut self, sequences: &[TraceSequence], backends: &[Box<dyn Backend>]) -> Result<()> {
        if self.spec.devices.is_empty() {
            return Ok(());
        }
        let mut profiles: Vec<DeviceProfile> =
            self.spec.devices.iter().map(|name| profile::load(name)).collect::<Result<_>>()?;
        profiles.extend(backends.iter().filter_map(|backend| backend.profile()));
        for profile in profiles {
            let device = Device {
                name: profile.name.clone(),
                clock_mhz: profile.clock_mhz,
                libraries: vec![profile.about.clone()],
            };
            for &hidden in self.hidden {
                let [encode, decode] = profile.model(sequences, hidden);
                let method = ReplayMethod::parse(KERNEL)?;
                let both = ReplayTimes {
                    total_s: encode.total + decode.total,
                    stderr_s: 0.0,
                    // Both grow with the length, so the same sequence is the median of each.
                    median_s: encode.median + decode.median,
                    p99_s: encode.p99 + decode.p99,
                };
                let row = self.blank(hidden, "model", &device, Provenance::Modelled, &method);
                self.rows.push(ReplayRow {
                    variant: profile.variant().to_string(),
                    run: sequences.len(),
                    encode: Some(encode.into()),
                    decode: Some(decode.into()),
                    both: Some(both),
                    load: None,
                    ..row
                });
            }
        }
        Ok(())
    }
}

/// The place of the first of each distinct shape, and how many have it.
fn every_place(sequences: &[TraceSequence]) -> Vec<(usize, f64)> {
    let mut place = 0;
    every(sequences)
        .into_iter()
        .map(|(_, count)| {
            let first = place;
            place += count as usize;
            (first, count)
        })
        .collect()
}

fn checked_places(sequences: &[TraceSequence]) -> [usize; 3] {
    CHECKED.map(|share| (share * (sequences.len() - 1) as f64) as usize)
}

fn checked_tokens(sequences: &[TraceSequence]) -> Vec<usize> {
    checked_places(sequences).map(|place| sequences[place].tokens).to_vec()
}

/// How much longer than its processor time one thread's calls took.
fn wall_over_cpu(running: &LaneRun) -> Option<f64> {
    let cpu: f64 = running
        .done
        .iter()
        .map(|(_, t)| t.first_s + t.encode_s.iter().sum::<f64>() + t.decode_s.iter().sum::<f64>())
        .sum();
    (running.threads == Some(1) && cpu > 0.0).then_some(running.spent / cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::spec::{Ratio, find};

    fn spec(trace: &str, methods: &[&str]) -> ReplaySpec {
        ReplaySpec {
            trace: trace.into(),
            hidden: Vec::new(),
            methods: methods.iter().map(|m| m.to_string()).collect(),
            ratio: Ratio::Number(4.0),
            seconds: None,
            devices: Vec::new(),
            backends: vec!["cpu".into()],
            threads: vec!["1".into(), "all".into()],
            table4: false,
            ..find("table4").unwrap().unwrap().1
        }
    }

    fn replay(spec: &ReplaySpec) -> Result<ReplayOutcome> {
        let folder = tempfile::tempdir().unwrap();
        run("test", spec, &ReplayOptions { out: folder.path().to_path_buf(), run: Some("r".into()), file: None })
    }

    #[test]
    fn every_method_of_table_iv_over_recorded_activations() {
        let methods = ["fwsvd", "asvd", "svd-llm", "qr", "topk", "fc:values=f32", "svd", "fc-kernel", "int8", "fc"];
        let ReplayOutcome { rows, .. } = replay(&spec("tests/replay/pocket.json", &methods)).unwrap();
        assert_eq!(rows.len(), 2 * methods.len());
        for row in &rows {
            assert_eq!(row.err, None, "{}", row.method);
            let (encode, both) = (row.encode.unwrap(), row.both.unwrap());
            assert!(encode.total_s > 0.0 && both.total_s > encode.total_s && both.stderr_s == 0.0);
            assert!(both.median_s <= both.p99_s && both.p99_s < both.total_s);
            assert_eq!((row.hidden, row.activations.as_str(), row.sequences), (192, "recorded", row.run));
            let least = match row.method.as_str() {
                // f16 keeps 11 bits of what is sent; f32 leaves the transform's own rounding.
                "fc-kernel" | "fc:values=f32" => 0.0..2e-6,
                "svd-llm" | "int8" => {
                    assert_eq!(row.error_f64, None);
                    continue;
                }
                _ => 1e-5..1e-3,
            };
            assert!(least.contains(&row.error_f64.unwrap()), "{}: {:?}", row.method, row.error_f64);
        }
        let calibrated: Vec<bool> = rows[..4].iter().map(|row| row.calibration.is_some()).collect();
        assert_eq!(calibrated, [true, true, true, false]);
    }

    #[test]
    fn a_sample_says_how_sure_it_is_and_the_model_stands_beside() {
        let spec = ReplaySpec {
            hidden: vec![64],
            seconds: Some(0.2),
            devices: vec!["jetson-orin-nano".into()],
            threads: vec!["1".into()],
            ..spec("ten-sets", &["fc-kernel", "topk"])
        };
        let ReplayOutcome { rows, .. } = replay(&spec).unwrap();
        let of = |backend: &str| rows.iter().filter(|row| row.backend == backend).collect::<Vec<_>>();
        assert_eq!(of("cpu").len(), 2);
        for row in of("cpu") {
            let both = row.both.unwrap();
            assert!(row.run >= LEAST && row.run < row.sequences && both.stderr_s > 0.0, "{row:?}");
            assert!(both.stderr_s < both.total_s && row.wall_over_cpu.unwrap() > 0.5);
        }
        let modelled = of("model");
        assert!(modelled.iter().all(|row| row.provenance == Provenance::Modelled && row.run == row.sequences));
        assert_eq!(modelled[0].device, "Jetson Orin Nano 8GB");
    }

    #[test]
    fn what_fails_is_a_row_and_what_cannot_be_is_an_error() {
        let cuda = ReplaySpec {
            backends: vec!["cuda".into(), "cpu".into()],
            ..spec("tests/replay/pocket.json", &["fc", "svd-llm:whiten=weights"])
        };
        let ReplayOutcome { rows, .. } = replay(&cuda).unwrap();
        if rows[0].err.is_none() {
            println!("skipped: a GPU is here");
        } else {
            assert!(rows[0].backend == "cuda" && !rows[0].err.as_ref().unwrap().is_empty());
        }
        let failed = rows.iter().find(|row| row.method.starts_with("svd-llm")).unwrap();
        assert!(failed.err.is_some() && failed.both.is_none());
        assert!(rows.iter().any(|row| row.method == "fc" && row.both.is_some()));

        let error = |spec: &ReplaySpec| format!("{:#}", replay(spec).err().expect("it ran"));
        assert!(
            error(&ReplaySpec { hidden: vec![64], ..spec("tests/replay/pocket.json", &["fc"]) }).contains("--hidden")
        );
        assert!(error(&spec("ten-sets", &["fc"])).contains("--hidden"));
        assert!(error(&ReplaySpec { hidden: vec![1 << 20], ..spec("ten-sets", &["fc"]) }).contains("numbers"));
    }

    #[test]
    fn the_fpga_back_end_gives_simulated_rows_or_reasons() {
        let on_fpga = |methods: &[&str], hidden: Vec<usize>| {
            let trace = if hidden.is_empty() { "tests/replay/pocket.json" } else { "ten-sets" };
            let threads = vec!["1".into()];
            let spec = ReplaySpec { backends: vec!["fpga".into()], hidden, threads, ..spec(trace, methods) };
            let mut rows = replay(&ReplaySpec { seconds: (trace == "ten-sets").then_some(0.01), ..spec }).unwrap().rows;
            assert!(rows.iter().all(|row| row.backend == "fpga" && row.provenance == Provenance::Simulated));
            assert!(rows.len() <= 2);
            (rows.remove(0), rows.pop())
        };
        if let Err(why) = backend::open("fpga") {
            assert_eq!(on_fpga(&["fc-kernel"], Vec::new()).0.err, Some(format!("{why:#}")));
            println!("skipped: {why:#}");
            return;
        }
        let refused = |methods: &[&str], hidden: Vec<usize>, part: &str| {
            let (ReplayRow { err, both, .. }, _) = on_fpga(methods, hidden);
            assert!(err.as_ref().is_some_and(|err| err.contains(part)) && both.is_none(), "{err:?}");
        };
        refused(&["fc"], Vec::new(), "runs fc-kernel alone");
        refused(&["fc-kernel:band=centered"], Vec::new(), "band=mirrored alone");
        refused(&["fc-kernel"], vec![64], "192, 1536, 2048 and 3072, not 64");

        let (row, queued) = on_fpga(&["fc-kernel"], Vec::new());
        if let Err(why) = splitbench_fpga::Simulator::find() {
            assert_eq!(row.err, Some(format!("{why:#}")));
            println!("skipped: {why:#}");
            return;
        }
        assert_eq!((row.err, row.run, row.clock_mhz), (None, 12, Some(splitbench_fpga::CLOCK_HZ / 1e6)));
        // 221 tokens of 24 beats take at least as many cycles each way.
        let least = 221.0 * 24.0 / splitbench_fpga::CLOCK_HZ;
        let (encode, decode) = (row.encode.unwrap().total_s, row.decode.unwrap().total_s);
        assert!((least..4.0 * least).contains(&encode) && (least..4.0 * least).contains(&decode), "{encode} {decode}");
        let queued = queued.unwrap().both.unwrap().total_s;
        assert!((2.0 * least..encode + decode).contains(&queued), "{queued}");
        // Words of 16 bits: far from f32's error, and from the thousandth that is asked for.
        assert!((1e-6..1e-3).contains(&row.error_f64.unwrap()), "{:?}", row.error_f64);
        assert!(row.note.as_ref().unwrap().contains("; 0 of "), "{:?}", row.note);
    }
}
