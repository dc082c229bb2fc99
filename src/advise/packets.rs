//! What codecs make of a model's activations on this machine: bytes, and times of one thread.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use splitbench_codec::{
    Accounting, Activation, Budget, Calibration, CalibrationNeed, Codec, CodecSpec, EXTERNAL, build, registered,
    round_trip,
};

use super::loss::run_rows;
use super::profile::{CodecFit, PacketSample};
use crate::clock::{median, timed, wall_seconds};
use crate::data::{self, RowSource};
use crate::experiment::{Cell, ModelInput, Scope, calibrate_in_memory, cells, train};
use crate::model::source::Model;
use crate::model::split::to_values;
use crate::model::{Cache, SplitPoint, in_pool};
use crate::progress;

/// Rows of packets.
const ROWS: [usize; 5] = [1, 16, 64, 256, 512];

/// Fewest timed calls of each direction.
const LEAST_CALLS: usize = 3;

/// Most of them; odd, so that the median is one.
const MOST_CALLS: usize = 15;

/// After so long there is no further call.
const ENOUGH_S: f64 = 0.03;

/// Training questions that codecs are calibrated on: no time depends on how many there are.
const CALIBRATION_QUESTIONS: usize = 16;

/// Codecs that were measured, and what is to be known of it.
#[derive(Debug, Default)]
pub struct CodecTimes {
    /// In the order asked for.
    pub fits: Vec<CodecFit>,
    /// Codecs that failed, and why.
    pub failed: Vec<String>,
    /// What codecs were calibrated on, where any was.
    pub calibrated_on: Option<String>,
}

/// Every codec that needs no command, at ratio 8 on the wire where it takes a ratio, and rows in f16 without any.
pub fn every_codec(split: SplitPoint) -> Result<Vec<Cell>> {
    let names = registered().iter().map(|info| info.name).filter(|name| *name != EXTERNAL);
    let specs: Vec<CodecSpec> =
        std::iter::once("noop:values=f16").chain(names).map(CodecSpec::parse).collect::<Result<_>>()?;
    let budget = Budget::new(8.0, Accounting::Wire)?;
    Ok(cells(&[split.after_layer], &[Scope::PromptAndChoice], &specs, &[budget]))
}

/// The codecs of runs.
#[derive(Debug, Default)]
pub struct RunCodecs {
    /// Each codec, ratio and accounting once, in the rows' order.
    pub cells: Vec<Cell>,
    /// Models of the rows.
    pub models: Vec<String>,
    /// Codecs left out, and why.
    pub left_out: Vec<String>,
}

impl RunCodecs {
    /// Of the rows in folders of runs, `results/<experiment>/<run>`; without the uncut model, failed rows and programs of the user's.
    pub fn read(runs: &[PathBuf], split: SplitPoint) -> Result<Self> {
        let mut out = Self::default();
        for run in runs {
            for row in run_rows(run)? {
                if row.is_baseline() || row.err.is_some() {
                    continue;
                }
                if !out.models.contains(&row.model) {
                    out.models.push(row.model.clone());
                }
                let cell = parse(&row.codec, row.ratio_requested, &row.accounting, split);
                match cell {
                    Ok(cell) if cell.codec.name() == EXTERNAL || out.cells.contains(&cell) => {}
                    Ok(cell) => out.cells.push(cell),
                    Err(error) => {
                        let reason = format!("{}: {error:#}", row.codec);
                        if !out.left_out.contains(&reason) {
                            out.left_out.push(reason);
                        }
                    }
                }
            }
        }
        ensure!(
            !out.cells.is_empty(),
            "{} has no row of a codec: `splitbench run EXPERIMENT` with a codec makes some",
            runs.iter().map(|run| run.display().to_string()).collect::<Vec<_>>().join(", ")
        );
        Ok(out)
    }
}

fn parse(codec: &str, ratio: Option<f64>, accounting: &str, split: SplitPoint) -> Result<Cell> {
    let budget = match ratio {
        Some(ratio) => {
            let accounting = accounting.parse().ok().with_context(|| format!("unknown accounting {accounting:?}"))?;
            Some(Budget::new(ratio, accounting)?)
        }
        None => None,
    };
    Ok(Cell { split, scope: Scope::PromptAndChoice, codec: CodecSpec::parse(codec)?, budget })
}

impl CodecTimes {
    /// Measures the codecs of `cells`, all after the layer `split`, on the activation of a text's token ids. Packets of one row have the
    /// last row, as a step sends it: a model's first row is often like no other.
    pub fn measure(model: &Model, text: &[u32], split: SplitPoint, cells: &[Cell]) -> Result<Self> {
        if cells.is_empty() {
            return Ok(Self::default());
        }
        let packets = packets(model, text, split)?;
        let calibrated = CalibratedNeeds::new(model, split, cells)?;
        let mut out = Self { calibrated_on: calibrated.about(), ..Self::default() };
        for cell in cells {
            let _activity = progress::begin(format!("{}: {}", model.title, cell.codec));
            match calibrated.build(&cell.codec).and_then(|codec| fit(codec.as_ref(), cell, &packets)) {
                Ok(fit) => out.fits.push(fit),
                Err(error) => out.failed.push(format!("{cell}: {error:#}")),
            }
        }
        Ok(out)
    }
}

/// Activations of different numbers of rows, with their token ids.
fn packets(model: &Model, text: &[u32], split: SplitPoint) -> Result<Vec<Activation>> {
    ensure!(!text.is_empty(), "no token to measure with");
    let decoder = model.decoder()?;
    let config = decoder.config();
    let (most, width) = (config.most_tokens(), config.hidden_size);
    let mut sizes: Vec<usize> = ROWS.iter().map(|rows| (*rows).min(most)).collect();
    sizes.dedup();
    let longest = sizes.last().copied().unwrap_or(1);
    let ids: Vec<u32> = text.iter().copied().cycle().take(longest).collect();
    let mut values = to_values(&decoder.embed(&ids)?)?;
    let mut cache = Cache::new(config, 0..split.after_layer, longest);
    in_pool(|| decoder.extend(&mut values, &mut cache))?;
    let rows = |range: std::ops::Range<usize>| {
        let values = values[range.start * width..range.end * width].to_vec();
        Activation::new(range.len(), width, values)?.with_token_ids(ids[range].to_vec(), config.vocab_size)
    };
    sizes.iter().map(|&size| if size == 1 { rows(longest - 1..longest) } else { rows(0..size) }).collect()
}

/// What codecs learn from, by what they need, or why there is none.
struct CalibratedNeeds {
    dataset: &'static str,
    found: Vec<(CalibrationNeed, Result<Calibration, String>)>,
}

impl CalibratedNeeds {
    fn new(model: &Model, split: SplitPoint, cells: &[Cell]) -> Result<Self> {
        let info = data::registry().iter().find(|info| info.mini).context("no data set is part of the program")?;
        let mut needs: Vec<CalibrationNeed> = cells.iter().filter_map(|cell| cell.codec.calibration()).collect();
        needs.sort_unstable();
        needs.dedup();
        let input = ModelInput { name: &model.name, config: &model.config, tokenizer: &model.tokenizer };
        let rows = match needs.is_empty() {
            true => Vec::new(),
            false => train(&input, info, &RowSource::Embedded, CALIBRATION_QUESTIONS, true)?,
        };
        // One at a time: a need that cannot be met takes no other codec along.
        let found = (needs.into_iter())
            .map(|need| {
                let specs: Vec<CodecSpec> = (cells.iter().map(|cell| &cell.codec))
                    .filter(|codec| codec.calibration() == Some(need))
                    .cloned()
                    .collect();
                let calibration = calibrate_in_memory(model, &rows, split, &specs)
                    .and_then(|one| one.context("the codecs ask for a calibration, and none was made"));
                (need, calibration.map_err(|error| format!("{error:#}")))
            })
            .collect();
        Ok(Self { dataset: &info.name, found })
    }

    fn about(&self) -> Option<String> {
        let any = self.found.iter().any(|(_, calibration)| calibration.is_ok());
        any.then(|| format!("{CALIBRATION_QUESTIONS} training questions of {}", self.dataset))
    }

    fn build(&self, spec: &CodecSpec) -> Result<Box<dyn Codec>> {
        let Some(need) = spec.calibration() else { return build(spec, None) };
        let (_, calibration) = self.found.iter().find(|(one, _)| *one == need).context("it was not calibrated")?;
        let calibration = calibration.as_ref().map_err(|error| anyhow::anyhow!("calibrating: {error}"))?;
        build(spec, Some(calibration))
    }
}

fn fit(codec: &dyn Codec, cell: &Cell, packets: &[Activation]) -> Result<CodecFit> {
    let samples = packets
        .iter()
        .map(|rows| sample(codec, rows, cell.budget).with_context(|| format!("a packet of {} rows", rows.tokens())));
    Ok(CodecFit {
        codec: cell.codec.to_string(),
        ratio: cell.budget.map(|budget| budget.ratio),
        accounting: cell.budget.map(|budget| budget.accounting.to_string()),
        samples: samples.collect::<Result<_>>()?,
    })
}

fn sample(codec: &dyn Codec, rows: &Activation, budget: Option<Budget>) -> Result<PacketSample> {
    // The first round trip warms plans and buffers up.
    let packet = round_trip(codec, rows, budget)?.packet;
    Ok(PacketSample {
        tokens: rows.tokens() as f64,
        bytes: packet.len() as f64,
        encode_us: median_us(|| codec.encode(rows, budget))?,
        decode_us: median_us(|| codec.receive(&packet))?,
    })
}

/// Median time of some calls. Codecs have one thread, that of the caller.
fn median_us<T>(call: impl Fn() -> Result<T>) -> Result<f64> {
    let start = wall_seconds();
    let mut times = Vec::new();
    while times.len() < LEAST_CALLS || (times.len() < MOST_CALLS && wall_seconds() - start < ENOUGH_S) {
        let (result, seconds) = timed(wall_seconds, &call);
        result?;
        times.push(1e6 * seconds);
    }
    Ok(median(&times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Placement;
    use crate::model::source::{POCKET, load};
    use crate::record::testing::row;
    use crate::record::write_parquet;

    const SPLIT: SplitPoint = SplitPoint { after_layer: 1 };

    fn measure(specs: &[&str]) -> CodecTimes {
        let model = load(POCKET, &Placement::cpu()).unwrap();
        let specs: Vec<CodecSpec> = specs.iter().map(|spec| CodecSpec::parse(spec).unwrap()).collect();
        let budget = Budget::new(8.0, Accounting::Wire).unwrap();
        let cells = cells(&[1], &[Scope::PromptAndChoice], &specs, &[budget]);
        let text: Vec<u32> = (0..600).map(|i| (i * 37 + 5) % 1408).collect();
        CodecTimes::measure(&model, &text, SPLIT, &cells).unwrap()
    }

    #[test]
    fn packets_have_the_bytes_of_their_format_and_one_failure_stays_alone() {
        let found = measure(&["noop:values=f16", "external:cmd=/no/such/program", "fc", "klt", "token-ids"]);
        let names: Vec<&str> = found.fits.iter().map(|fit| fit.codec.as_str()).collect();
        assert_eq!(names, ["noop:values=f16", "fc", "klt", "token-ids"]);
        assert!(found.failed.len() == 1 && found.failed[0].contains("/no/such/program"), "{:?}", found.failed);
        assert!(found.calibrated_on.unwrap().contains("training questions of"));
        for fit in &found.fits {
            assert_eq!(fit.samples.iter().map(|one| one.tokens).collect::<Vec<_>>(), ROWS.map(|n| n as f64));
            assert!(fit.samples.iter().all(|one| one.bytes > 0.0 && one.encode_us > 0.0 && one.decode_us > 0.0));
            assert!(fit.samples.windows(2).all(|pair| pair[0].bytes < pair[1].bytes), "{fit:?}");
        }
        let noop = found.fits[0].at(256.0).bytes - 2.0 * 256.0 * 192.0;
        assert!((1.0..64.0).contains(&noop), "a header of {noop} bytes");
        let ratio = 2.0 * 512.0 * 192.0 / found.fits[1].at(512.0).bytes;
        assert!((7.5..8.5).contains(&ratio) && found.fits[1].accounting.as_deref() == Some("wire"), "{ratio}");
    }

    #[test]
    fn every_registered_codec_is_wanted_but_the_user_s_own() {
        let cells = every_codec(SPLIT).unwrap();
        assert_eq!(cells.len(), registered().len());
        assert!(cells.iter().all(|cell| cell.codec.name() != EXTERNAL && cell.budget.is_none_or(|b| b.ratio == 8.0)));
    }

    #[test]
    fn a_run_gives_its_codecs_once() {
        let folder = tempfile::tempdir().unwrap();
        let error = format!("{:#}", RunCodecs::read(&[folder.path().into()], SPLIT).unwrap_err());
        assert!(error.contains("has no rows.parquet") && error.contains("results/<experiment>/<run>"), "{error}");
        let with = |codec: &str, ratio: Option<f64>| {
            let accounting = if ratio.is_some() { "wire" } else { "" };
            crate::record::Row { accounting: accounting.into(), ..row(codec, ratio, 0.5) }
        };
        let failed = crate::record::Row { err: Some("no".into()), ..with("topk", Some(4.0)) };
        let rows = [
            with("baseline", None),
            with("fc", Some(8.0)),
            with("fc", Some(8.0)),
            with("fc", Some(4.0)),
            with("int8", None),
            with("external:cmd=a", Some(4.0)),
            with("fcc", Some(4.0)),
            failed,
        ];
        write_parquet(&folder.path().join("rows.parquet"), &rows).unwrap();
        let found = RunCodecs::read(&[folder.path().into()], SPLIT).unwrap();
        let named: Vec<String> =
            found.cells.iter().map(|c| format!("{} {:?}", c.codec, c.budget.map(|b| b.ratio))).collect();
        assert_eq!(named, ["fc Some(8.0)", "fc Some(4.0)", "int8 None"]);
        assert!(found.left_out.len() == 1 && found.left_out[0].contains("fcc"), "{:?}", found.left_out);
        write_parquet(&folder.path().join("rows.parquet"), &rows[..1]).unwrap();
        assert!(RunCodecs::read(&[folder.path().into()], SPLIT).is_err());
    }
}
