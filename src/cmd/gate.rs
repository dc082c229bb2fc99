//! `splitbench gate`.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;

use super::WrongUsage;
use super::text::{ModelArgs, WindowArgs, at_least_one, parse_ratio, text_cells};
use crate::data::{self, Dataset, RowSource};
use crate::experiment::{
    Cell, ModelInput, ScoreRequest, TextCell, TextRequest, missed_ratio, questions, score_in_memory, score_text, train,
};
use crate::model::SplitPoint;
use crate::model::source::Model;
use crate::record::Row;
use crate::report::digits;
use crate::score::{
    CONFIDENCE, Decision, RatioEstimate, Request, ShareEstimate, Verdict, loss_at_most, mean_at_most, share_at_least,
};
use splitbench_codec::{Accounting, CodecSpec};

/// Say whether a codec stays within limits, by an exit code: for tests of split inference.
///
/// Measures one codec on windows of a text or on a data set, and prints a line for each limit: the measured value, the interval
/// that decides, and passed, FAILED or "cannot tell" with the size of the sample that would do. Both ends of an interval are
/// one-sided 95 % bounds: a limit is passed where the whole interval keeps it. On a text the second half of each window is scored,
/// as by `splitbench perplexity`; on a data set every position where a token of a choice is.
///
/// Exit codes: 0 all limits passed, 1 one failed or nothing can be told, 2 wrong usage or input. Examples:
///   splitbench gate --codec int8 --split 1 --dataset piqa-mini --max-kl 0.01 --min-top1 0.95    # passes
///   splitbench gate --codec fc --ratio 8 --split 1 --dataset piqa-mini --max-drop 1             # does not
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(group = clap::ArgGroup::new("limits").required(true).multiple(true))]
#[command(group = clap::ArgGroup::new("material").required(true))]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Split layer, 1 up to the number of layers.
    #[arg(long, visible_alias = "layer", value_name = "LAYER", default_value_t = 1)]
    split: usize,
    /// Codec with its options, such as fc:band=centered.
    #[arg(long, alias = "codecs", value_parser = CodecSpec::parse)]
    codec: CodecSpec,
    /// Compression ratio, at least 1, or 8 if not given; a codec of fixed rate takes none.
    #[arg(long, alias = "ratios", value_parser = parse_ratio)]
    ratio: Option<f64>,
    /// What the ratio counts: elements, or wire; elements if not given.
    #[arg(long)]
    accounting: Option<Accounting>,
    /// File of plain text, UTF-8.
    #[arg(long, value_name = "FILE", group = "material")]
    text: Option<PathBuf>,
    /// Data set: a name (`splitbench list datasets`), or a TOML file that defines your own.
    #[arg(long, visible_alias = "datasets", group = "material")]
    dataset: Option<String>,
    #[command(flatten)]
    windows: WindowArgs,
    /// First windows of the text, or questions of the data set, only.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
    /// Folder with the rows of the real data sets.
    #[arg(long, value_name = "DIR", conflicts_with = "text")]
    data_dir: Option<PathBuf>,
    /// Training rows of the data set that a codec is calibrated on.
    #[arg(long, value_name = "N", default_value = "128", value_parser = at_least_one, conflicts_with = "text")]
    calibration_rows: usize,
    /// Leave out questions longer than the model takes, which are an error otherwise.
    #[arg(long, conflicts_with = "text")]
    skip_long: bool,
    /// Largest mean KL(unsplit || codec) per scored position, nats.
    #[arg(long, value_name = "NATS", group = "limits", value_parser = |text: &str| limit(text, 0.0, f64::MAX))]
    max_kl: Option<f64>,
    /// Smallest share of scored positions at which the most likely token is the unsplit model's, 0 to 1.
    #[arg(long, value_name = "SHARE", group = "limits", value_parser = |text: &str| limit(text, 0.0, 1.0))]
    min_top1: Option<f64>,
    /// Largest loss of accuracy against the unsplit model on the same questions, in points.
    #[arg(long, value_name = "POINTS", group = "limits", conflicts_with = "text", value_parser = |text: &str| limit(text, 0.0, 100.0))]
    max_drop: Option<f64>,
    /// Largest ratio of the perplexity to the unsplit model's; on a data set, of the right choices' tokens.
    #[arg(long, value_name = "RATIO", group = "limits", value_parser = |text: &str| limit(text, f64::MIN_POSITIVE, f64::MAX))]
    max_ppl_ratio: Option<f64>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

fn limit(text: &str, least: f64, most: f64) -> Result<f64> {
    let value: f64 = text.parse().with_context(|| format!("{text:?} is no number"))?;
    let range = match (least, most) {
        (0.0, f64::MAX) => "a number of at least 0".to_string(),
        (_, f64::MAX) => "a number above 0".to_string(),
        _ => format!("{least} to {most}"),
    };
    ensure!((least..=most).contains(&value), "give {range}");
    Ok(value)
}

/// What is not there is not a number, and does not pass.
const MISSING: RatioEstimate = RatioEstimate { value: f64::NAN, stderr: None };

/// What decides, of a text or of a data set.
struct Evidence {
    /// What was measured on, in words.
    on: String,
    /// What a cluster is: a window or a question.
    clusters_are: &'static str,
    clusters: usize,
    /// Sequences of a cluster.
    alike: f64,
    positions: u64,
    kl: RatioEstimate,
    top1: RatioEstimate,
    ln_ppl_ratio: Option<RatioEstimate>,
    /// Answers lost and gained.
    changes: Option<[u64; 2]>,
    ratio_wire: f64,
    ratio_elements: f64,
}

/// One limit, as `--json` has it.
#[derive(Serialize)]
struct LimitReport {
    /// The option.
    limit: &'static str,
    /// Its value.
    threshold: f64,
    /// As measured.
    value: f64,
    /// Lower end of the interval; empty where one cluster gives none.
    low: Option<f64>,
    /// Upper end.
    high: Option<f64>,
    verdict: Verdict,
    /// Where nothing can be told, how many windows or questions would do if the value stayed; empty where no number would.
    needed: Option<u64>,
    #[serde(skip)]
    times: Option<f64>,
}

#[derive(Serialize)]
struct Gate {
    model: String,
    codec: String,
    ratio_requested: Option<f64>,
    accounting: String,
    split_layer: usize,
    text: Option<String>,
    dataset: Option<String>,
    /// Windows or questions.
    clusters: usize,
    /// Scored positions.
    positions: u64,
    ratio_elements: f64,
    ratio_wire: f64,
    /// Of each end of an interval.
    confidence: f64,
    limits: Vec<LimitReport>,
    passed: bool,
    version: String,
}

/// All that is read before anything is computed.
struct GateInput {
    model: Model,
    cell: Cell,
    material: Material,
    /// What the codec learns from.
    calibration: Vec<Request>,
}

enum Material {
    Text { windows: Vec<Request>, scored: usize },
    Questions { dataset: Dataset, requests: Vec<Vec<Request>> },
}

impl Args {
    /// Measures and decides.
    pub fn run(self) -> Result<()> {
        let prepared = self.prepare().map_err(WrongUsage)?;
        let evidence = match &prepared.material {
            Material::Text { windows, scored } => self.on_text(&prepared, windows, *scored)?,
            Material::Questions { dataset, requests } => self.on_questions(&prepared, dataset, requests)?,
        };
        let limits = self.judge(&evidence);
        let failed = limits.iter().filter(|one| one.verdict == Verdict::Failed).count();
        let undecided = limits.iter().filter(|one| one.verdict == Verdict::CannotTell).count();
        let budget = prepared.cell.budget;
        let missed = missed_ratio(budget, evidence.ratio_elements, evidence.ratio_wire);
        let passed = failed + undecided == 0 && missed.is_none();
        let count = limits.len();
        if self.json {
            let gate = Gate {
                model: prepared.model.name.clone(),
                codec: prepared.cell.codec.to_string(),
                ratio_requested: prepared.cell.budget.map(|budget| budget.ratio),
                accounting: prepared.cell.budget.map(|budget| budget.accounting.to_string()).unwrap_or_default(),
                split_layer: self.split,
                text: self.text.as_ref().map(|path| path.display().to_string()),
                dataset: self.dataset.clone(),
                clusters: evidence.clusters,
                positions: evidence.positions,
                ratio_elements: evidence.ratio_elements,
                ratio_wire: evidence.ratio_wire,
                confidence: CONFIDENCE,
                limits,
                passed,
                version: crate::VERSION.to_string(),
            };
            say!("{}", serde_json::to_string_pretty(&gate)?)?;
        } else {
            say!("{}", head(&prepared, &evidence))?;
            limits.iter().try_for_each(|one| say!("{}", GateRecord { judged: one, evidence: &evidence }))?;
        }
        ensure!(
            missed.is_none(),
            "the gate is closed: the smallest packets of {} reach a ratio of {:.1}, which is what was measured; ask for no more",
            prepared.cell,
            missed.unwrap_or_default()
        );
        ensure!(passed, "the gate is closed: of {count} limits {failed} failed and {undecided} cannot be told");
        Ok(())
    }

    fn prepare(&self) -> Result<GateInput> {
        let split = SplitPoint { after_layer: self.split };
        let mut cells = text_cells(split, std::slice::from_ref(&self.codec), self.ratio.as_slice(), self.accounting)?;
        let name = self.model.name();
        let load = || self.model.load(split);
        if let Some(text) = &self.text {
            let model = load()?;
            let input = ModelInput { name: &name, config: &model.config, tokenizer: &model.tokenizer };
            let read = self.windows.read(&input, text, self.limit, &cells)?;
            let scored = read.windows.scored();
            let material = Material::Text { windows: read.windows.requests, scored };
            return Ok(GateInput { model, cell: cells.remove(0), material, calibration: read.calibration });
        }
        let dataset = self.dataset.as_deref().context("give --text or --dataset")?;
        ensure!(
            !self.windows.are_given(),
            "--window and --calibration are for --text, and a data set has training rows"
        );
        let source = RowSource::new(self.data_dir.as_deref());
        let info = data::find(dataset)?;
        let rows = info.load(&source, self.limit)?;
        if let Some(note) = rows.note() {
            tell!("note: {note}");
        }
        let model = load()?;
        let input = ModelInput { name: &name, config: &model.config, tokenizer: &model.tokenizer };
        let (rows, requests) = questions(&input, rows, self.skip_long)?;
        let calibration = match self.codec.calibration() {
            Some(_) => train(&input, info, &source, self.calibration_rows, self.skip_long)?,
            None => Vec::new(),
        };
        let material = Material::Questions { dataset: rows, requests };
        Ok(GateInput { model, cell: cells.remove(0), material, calibration })
    }

    fn on_text(&self, prepared: &GateInput, windows: &[Request], scored: usize) -> Result<Evidence> {
        let cells = std::slice::from_ref(&prepared.cell);
        let scores = score_text(&TextRequest {
            model: &prepared.model,
            windows,
            calibration: &prepared.calibration,
            split: prepared.cell.split,
            cells,
            batch_tokens: self.model.batch_tokens,
        })?;
        let TextCell { measured, err, .. } = scores.summaries(cells, scored).remove(0);
        let measured = measured.ok_or_else(|| anyhow!("{}", err.unwrap_or("the text has no window".into())))?;
        let fidelity = measured.fidelity;
        let text = self.text.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        Ok(Evidence {
            on: text,
            clusters_are: "window",
            clusters: windows.len(),
            alike: 1.0,
            positions: fidelity.positions,
            kl: RatioEstimate { value: fidelity.kl_mean, stderr: fidelity.kl_stderr },
            top1: RatioEstimate { value: fidelity.top1, stderr: fidelity.top1_stderr },
            ln_ppl_ratio: Some(RatioEstimate { value: measured.ln_ppl_ratio, stderr: measured.ln_ppl_ratio_stderr }),
            changes: None,
            ratio_wire: measured.ratio_wire,
            ratio_elements: measured.ratio_elements,
        })
    }

    fn on_questions(&self, prepared: &GateInput, dataset: &Dataset, requests: &[Vec<Request>]) -> Result<Evidence> {
        let (collected, _) = score_in_memory(&ScoreRequest {
            experiment: "gate",
            model: &prepared.model,
            dataset,
            requests,
            train: &prepared.calibration,
            calibrations: None,
            cells: std::slice::from_ref(&prepared.cell),
            limit: self.limit,
            shard: None,
            batch_tokens: self.model.batch_tokens,
            predictor: None,
            probe: None,
        })?;
        let row = &collected.rows[collected.rows.len() - 1];
        if let Some(error) = &row.err {
            anyhow::bail!("{error}");
        }
        let number = |value: Option<f64>, what: &str| value.with_context(|| format!("the data set gives no {what}"));
        let Row { lost, gained, .. } = *row;
        Ok(Evidence {
            on: row.dataset.clone(),
            clusters_are: "question",
            clusters: requests.len(),
            alike: requests.iter().map(Vec::len).sum::<usize>() as f64 / requests.len() as f64,
            positions: row.positions.context("the data set has no scored position")?,
            kl: RatioEstimate { value: number(row.kl_mean, "KL")?, stderr: row.kl_stderr },
            top1: RatioEstimate { value: number(row.top1, "top-1 agreement")?, stderr: row.top1_stderr },
            ln_ppl_ratio: row.ln_ppl_ratio.map(|value| RatioEstimate { value, stderr: row.ln_ppl_ratio_stderr }),
            changes: lost.zip(gained).map(|(lost, gained)| [lost, gained]),
            ratio_wire: number(row.ratio_wire, "ratio")?,
            ratio_elements: number(row.ratio_elements, "ratio")?,
        })
    }

    /// Each limit that was given.
    fn judge(&self, evidence: &Evidence) -> Vec<LimitReport> {
        let Evidence { clusters, alike, positions, kl, top1, .. } = *evidence;
        let judged = |limit, threshold, decision: Decision, show: fn(f64) -> f64| LimitReport {
            limit,
            threshold,
            value: show(decision.value),
            low: decision.interval.map(|[low, _]| show(low)),
            high: decision.interval.map(|[_, high]| show(high)),
            verdict: decision.verdict,
            needed: decision.times.map(|times| rounded_up(times * clusters as f64)),
            times: decision.times,
        };
        let mut out = Vec::new();
        if let Some(limit) = self.max_kl {
            out.push(judged("max-kl", limit, mean_at_most(kl, clusters, limit), |value| value));
        }
        if let Some(limit) = self.min_top1 {
            let share = ShareEstimate { estimate: top1, positions, clusters, alike };
            out.push(judged("min-top1", limit, share_at_least(share, limit), |value| value));
        }
        if let Some(limit) = self.max_ppl_ratio {
            let ratio = evidence.ln_ppl_ratio.unwrap_or(MISSING);
            out.push(judged("max-ppl-ratio", limit, mean_at_most(ratio, clusters, limit.ln()), f64::exp));
        }
        if let Some(limit) = self.max_drop {
            let decision = match evidence.changes {
                Some([lost, gained]) => loss_at_most(lost, gained, clusters as u64, limit / 100.0),
                None => mean_at_most(MISSING, clusters, limit),
            };
            out.push(judged("max-drop", limit, decision, |share| 100.0 * share));
        }
        out
    }
}

/// A number of two digits that is not below a value.
fn rounded_up(value: f64) -> u64 {
    let unit = 10f64.powf((value.log10().floor() - 1.0).max(0.0));
    ((value / unit).ceil() * unit) as u64
}

fn head(prepared: &GateInput, evidence: &Evidence) -> String {
    let Evidence { on, clusters, clusters_are, positions, ratio_elements, ratio_wire, .. } = evidence;
    format!(
        "{}, {}: ratio {ratio_elements:.2} in elements, {ratio_wire:.2} on the wire; {on}: {clusters} {clusters_are}s, {positions} scored \
         positions; each end of an interval is a one-sided 95 % bound",
        prepared.model.name, prepared.cell
    )
}

/// A limit in words.
struct GateRecord<'a> {
    judged: &'a LimitReport,
    evidence: &'a Evidence,
}

impl fmt::Display for GateRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitReport { limit, threshold, value, low, high, verdict, needed, times } = self.judged;
        let Evidence { clusters_are, positions, .. } = self.evidence;
        let number = |value: f64| match *limit {
            "min-top1" | "max-ppl-ratio" => format!("{value:.4}"),
            "max-drop" => format!("{value:.2}"),
            _ => digits(value),
        };
        write!(f, "--{limit} {threshold}: {}", number(*value))?;
        match (low, high) {
            (Some(low), Some(high)) => write!(f, ", interval {} to {}", number(*low), number(*high))?,
            _ => write!(f, ", no interval from a single {clusters_are}: give 2 or more")?,
        }
        write!(f, ": {verdict}")?;
        match (verdict, needed, times) {
            (Verdict::CannotTell, Some(needed), Some(times)) => {
                write!(f, "; about {needed} {clusters_are}s")?;
                if *limit != "max-drop" {
                    write!(f, " ({} tokens)", rounded_up(times * *positions as f64))?;
                }
                f.write_str(" would do if the value stayed")
            }
            (Verdict::CannotTell, ..) if low.is_some() => {
                f.write_str("; the value is the limit, so no number would do")
            }
            _ => Ok(()),
        }
    }
}
