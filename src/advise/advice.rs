//! The recommendation: which cut, with which codecs, what decides it, and how sure that is.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use splitbench_planner::{
    ClientPower, CostTable, CutChoice, CutCost, CutLimits, CutLoss, CutObjective, CutReason, LossLimit, SplitProblem,
    decide, rank_cuts,
};

use super::loss::{LossTable, MeasuredLoss, SentAs};
use super::planners::{PlannerChoice, choices_of_planners};
use super::setting::{CodecCrossing, SplitSetting};
use crate::score::{Decision, Verdict};

/// Plans that are shown: the best, and the next four.
const SHOWN: usize = 5;
/// Codecs that are named where some are left out.
const NAMED: usize = 6;
/// Rates that a picture spans, bit/s.
pub const RATES: [f64; 2] = [1e5, 1e10];
/// Points of a curve.
const POINTS: usize = 240;

/// What is wanted.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AdviceGoal {
    /// What is to be small.
    pub objective: CutObjective,
    /// What must be kept.
    pub limits: CutLimits,
    /// Of the client, for energy.
    pub power: ClientPower,
}

/// A cut with a codec for the prompt and one for steps.
#[derive(Debug, Clone, Serialize)]
pub struct AdvisedCut {
    /// The cut: after this layer; 0 and N are the whole model on the server and on the client.
    pub after_layer: usize,
    /// What the prompt is sent as; none at the two ends.
    pub prompt: Option<SentAs>,
    /// What steps are sent as.
    pub step: Option<SentAs>,
    /// The larger of the two losses, points; none where it was not measured.
    pub drop_points: Option<f64>,
    /// The larger of the two, nats.
    pub kl_nats: Option<f64>,
    /// The interval of what the limit is on, of whichever of the two is nearer to it, in its unit; each end is a one-sided 95 % bound.
    pub interval: Option<[f64; 2]>,
    /// Whether that keeps the limit: `passed`, `cannot tell` or `FAILED`; none without a limit.
    pub verdict: Option<Verdict>,
    /// Questions that would tell.
    pub questions_needed: Option<u64>,
    /// Bytes of the prompt.
    pub prompt_bytes: f64,
    /// Bytes of a step.
    pub step_bytes: f64,
    /// Whether codec times of one machine stand for the other's.
    pub assumed_times: bool,
    /// What it costs.
    pub cost: CutCost,
}

impl AdvisedCut {
    /// Cut and codecs in a line.
    pub fn name(&self) -> String {
        match (&self.prompt, &self.step) {
            (Some(prompt), Some(step)) if prompt == step => format!("after layer {}: {prompt}", self.after_layer),
            (Some(prompt), Some(step)) => format!("after layer {}: {prompt}; steps {step}", self.after_layer),
            _ if self.after_layer == 0 => "server alone".into(),
            _ => "client alone".into(),
        }
    }

    fn is_end(&self) -> bool {
        self.prompt.is_none()
    }
}

/// From which rate up or down the advised cut is the quicker one.
#[derive(Debug, Clone, Serialize)]
pub struct LinkBreakEven {
    /// What it is compared with.
    pub against: String,
    /// Quicker below this rate of the way up, Mbit/s.
    pub below_mbps: Option<f64>,
    /// Quicker above this one.
    pub above_mbps: Option<f64>,
    /// Quicker whatever the rate.
    pub always: bool,
}

/// Rates of the way up at which one cut has the shortest response.
#[derive(Debug, Clone, Serialize)]
pub struct WinningRange {
    /// The cut.
    pub cut: String,
    /// From, Mbit/s.
    pub from_mbps: f64,
    /// To, Mbit/s.
    pub to_mbps: f64,
}

/// A response time against the rate of the way up.
#[derive(Debug, Clone, Serialize)]
pub struct ResponseCurve {
    /// The cut.
    pub cut: String,
    /// Rates in Mbit/s and seconds.
    pub points: Vec<(f64, f64)>,
}

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub struct Advice {
    /// Model, tokens and link, in words.
    pub setting: String,
    /// The client and where its numbers are from.
    pub client: String,
    /// The server.
    pub server: String,
    /// What was asked for.
    pub goal: AdviceGoal,
    /// Data sets behind the losses; none where no run was given.
    pub datasets: Vec<String>,
    /// The best and the next, each with another cut or another codec of the prompt.
    pub cuts: Vec<AdvisedCut>,
    /// At the best cut, the next codecs of steps.
    pub steps: Vec<AdvisedCut>,
    /// For comparison: the whole model on the server, on the client, and f16 at the best cut.
    pub compared: Vec<AdvisedCut>,
    /// What decides where the cut is.
    pub decided_by: String,
    /// The same as words of a list.
    pub reasons: Vec<CutReason>,
    /// What cannot be told with the rows and times at hand.
    pub unsure: Vec<String>,
    /// Against the next and against `compared`.
    pub break_even: Vec<LinkBreakEven>,
    /// Who wins at which rate.
    pub ranges: Vec<WinningRange>,
    /// The curves of winners and of `compared`.
    pub curves: Vec<ResponseCurve>,
    /// What published planners choose from the same tables.
    pub planners: Vec<PlannerChoice>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// A response time as the rate of the way up makes it: `fixed + bits / rate`.
#[derive(Clone, Copy)]
struct ResponseLine {
    fixed_s: f64,
    bits: f64,
}

impl ResponseLine {
    fn at(self, bits_per_s: f64) -> f64 {
        self.fixed_s + self.bits / bits_per_s
    }

    /// Where two are equal, bit/s.
    fn meets(self, other: Self) -> Option<f64> {
        let rate = (other.bits - self.bits) / (self.fixed_s - other.fixed_s);
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

/// A way to send at a cut.
struct SendOption {
    name: String,
    sent: SentAs,
    crossing: CodecCrossing,
    /// None of what is exact.
    loss: Option<MeasuredLoss>,
    /// Whether its loss keeps the limit, as far as the questions can tell, in the limit's unit; none without a limit and of what is
    /// exact.
    decision: Option<Decision>,
    local: bool,
}

impl SendOption {
    fn exact(crossing: CodecCrossing) -> Self {
        let sent = SentAs::exact();
        Self { name: sent.to_string(), sent, crossing, loss: None, decision: None, local: true }
    }

    fn measured(loss: &MeasuredLoss, crossing: CodecCrossing, limit: Option<LossLimit>) -> Self {
        let decision = limit.and_then(|limit| match limit {
            LossLimit::DropPoints(points) => {
                let decision = loss.drop_at_most(points);
                let interval = decision.interval.map(|ends| ends.map(|end| 100.0 * end));
                Some(Decision { value: 100.0 * decision.value, interval, ..decision })
            }
            LossLimit::KlNats(nats) => loss.kl_at_most(nats),
        });
        let sent = loss.sent.clone();
        Self { name: sent.to_string(), sent, crossing, decision, local: loss.rows_are_local, loss: Some(loss.clone()) }
    }

    fn cut_loss(&self) -> CutLoss {
        match &self.loss {
            Some(loss) => CutLoss { drop_points: Some(loss.drop_points()), kl_nats: loss.kl },
            None => CutLoss { drop_points: Some(0.0), kl_nats: Some(0.0) },
        }
    }

    /// Whether nothing speaks for another one as codec of steps.
    fn is_dominated_by(&self, other: &Self) -> bool {
        let numbers = |option: &Self| {
            let (step, loss) = (option.crossing.step, option.cut_loss());
            [
                step.bytes,
                step.encode_s,
                step.decode_s,
                loss.drop_points.unwrap_or(f64::INFINITY),
                loss.kl_nats.unwrap_or(f64::INFINITY),
            ]
        };
        let (own, theirs) = (numbers(self), numbers(other));
        own.iter().zip(theirs).all(|(own, theirs)| theirs <= *own) && own != theirs
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a?.max(b?))
}

/// Everything that may be chosen, and the problem over it.
struct AdviceBoard<'a> {
    setting: &'a SplitSetting,
    goal: AdviceGoal,
    /// By cut.
    options: BTreeMap<usize, Vec<SendOption>>,
    problem: SplitProblem,
    notes: Vec<String>,
}

/// Sends the text itself.
const TOKEN_IDS: &str = "token-ids";

/// Between the codec of the prompt and that of steps, in the name of a planner's choice.
pub const PAIR: &str = "; steps ";

impl<'a> AdviceBoard<'a> {
    fn new(setting: &'a SplitSetting, losses: &LossTable, goal: AdviceGoal) -> Result<Self> {
        setting.check()?;
        let layers = setting.layers();
        let (mut options, mut notes) = (BTreeMap::new(), losses.notes.clone());
        let mut untimed: HashSet<String> = HashSet::new();
        for layer in 1..layers {
            let exact = setting.crossing(&SentAs::exact()).context("exact values always have a way")?;
            let mut at = vec![SendOption::exact(exact)];
            let is_option = |sent: &SentAs| *sent != SentAs::exact() && sent.codec != TOKEN_IDS;
            for loss in losses.losses.iter().filter(|loss| loss.after_layer == layer && is_option(&loss.sent)) {
                let Some(crossing) = setting.crossing(&loss.sent) else {
                    untimed.insert(loss.sent.to_string());
                    continue;
                };
                at.push(SendOption::measured(loss, crossing, goal.limits.loss));
            }
            options.insert(layer, at);
        }
        if losses.losses.iter().any(|loss| loss.sent.codec == TOKEN_IDS) {
            notes.push(
                "token-ids is left out: it gives the server the text, and then `server alone` computes less".into(),
            );
        }
        if !untimed.is_empty() {
            let mut names: Vec<String> = untimed.into_iter().collect();
            names.sort_unstable();
            let more = names.len().saturating_sub(NAMED);
            names.truncate(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.push(format!(
                "left out, as no profile has their times (`splitbench profile --from RUN` measures them): {}{more}",
                names.join(", ")
            ));
        }
        if losses.losses.iter().any(|loss| loss.after_layer >= layers) {
            notes.push(format!("rows after layer {layers} are left out: all layers are on the client there"));
        }
        let mut choices = vec![setting.server_alone(), setting.client_alone()];
        for (&layer, at) in &options {
            for prompt in at {
                choices.extend(steps_of(at).map(|step| choice(layer, prompt, step)));
            }
        }
        let problem = setting.problem(choices, goal.power, goal.limits);
        Ok(Self { setting, goal, options, problem, notes })
    }

    fn option(&self, layer: usize, name: &str) -> Option<&SendOption> {
        self.options.get(&layer)?.iter().find(|option| option.name == name)
    }

    fn advised(&self, choice: &CutChoice, cost: CutCost) -> AdvisedCut {
        let (prompt, step) = choice.codec.split_once(PAIR).unwrap_or_default();
        let options = [prompt, step].map(|name| self.option(choice.after_layer, name));
        let decided = |option: &SendOption| Some((option.decision?, option.loss.as_ref()?.questions));
        let decisions: Vec<(Decision, u64)> = options.iter().flatten().filter_map(|option| decided(option)).collect();
        let rank = |decision: &Decision| match decision.verdict {
            Verdict::Passed => 0,
            Verdict::CannotTell => 1,
            Verdict::Failed => 2,
        };
        let nearest = decisions.iter().max_by(|(a, _), (b, _)| {
            rank(a).cmp(&rank(b)).then(a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal))
        });
        let has_limit = self.goal.limits.loss.is_some();
        AdvisedCut {
            after_layer: choice.after_layer,
            prompt: options[0].map(|option| option.sent.clone()),
            step: options[1].map(|option| option.sent.clone()),
            drop_points: choice.loss.drop_points,
            kl_nats: choice.loss.kl_nats,
            interval: nearest.and_then(|(decision, _)| decision.interval),
            verdict: nearest.map(|(decision, _)| decision.verdict).or(has_limit.then_some(Verdict::Passed)),
            questions_needed: nearest
                .and_then(|(decision, questions)| Some((decision.times? * *questions as f64).ceil() as u64)),
            prompt_bytes: choice.prompt.bytes,
            step_bytes: choice.step.bytes,
            assumed_times: options.iter().flatten().any(|option| option.crossing.assumed),
            cost,
        }
    }

    /// Whether the prompt goes by the paper's codec, at a ratio as near to its 8 as there is.
    fn is_paper(&self, choice: &CutChoice) -> bool {
        let name = choice.codec.split_once(PAIR).unwrap_or_default().0;
        let far = |option: &SendOption| (option.sent.ratio.unwrap_or(1.0) - 8.0).abs();
        let plain = |option: &&SendOption| option.sent.codec == "fc";
        let at = self.options.get(&choice.after_layer).into_iter().flatten();
        let nearest = at.filter(plain).min_by(|a, b| far(a).total_cmp(&far(b)));
        nearest.is_some_and(|option| option.name == name)
    }

    fn line(&self, cut: &AdvisedCut) -> ResponseLine {
        let bits = 8.0 * (cut.prompt_bytes + self.problem.steps as f64 * cut.step_bytes);
        ResponseLine { fixed_s: cut.cost.response_s - bits / self.problem.up.bits_per_s, bits }
    }
}

/// Codecs that may send steps at a cut: those whose rows were coded each by itself, and which no other beats in everything.
fn steps_of(at: &[SendOption]) -> impl Iterator<Item = &SendOption> {
    let local = || at.iter().filter(|option| option.local);
    local().filter(move |option| !local().any(|other| option.is_dominated_by(other)))
}

fn choice(layer: usize, prompt: &SendOption, step: &SendOption) -> CutChoice {
    let (a, b) = (prompt.cut_loss(), step.cut_loss());
    CutChoice {
        after_layer: layer,
        codec: format!("{}{PAIR}{}", prompt.name, step.name),
        ratio: None,
        prompt: prompt.crossing.prompt,
        step: step.crossing.step,
        loss: CutLoss { drop_points: larger(a.drop_points, b.drop_points), kl_nats: larger(a.kl_nats, b.kl_nats) },
    }
}

/// Advises. Fails with what comes nearest where nothing keeps the limits.
pub fn advise(setting: &SplitSetting, losses: &LossTable, goal: AdviceGoal) -> Result<Advice> {
    ensure!(
        goal.objective != CutObjective::ClientEnergy || goal.power.compute_w > 0.0 || goal.power.send_w > 0.0,
        "energy needs the client's power: give --power COMPUTE,SEND[,WAIT] in watts, such as 4,1.2"
    );
    if let Some(LossLimit::KlNats(_)) = goal.limits.loss {
        ensure!(
            losses.losses.is_empty() || losses.losses.iter().any(|loss| loss.kl.is_some()),
            "no row has a KL: the runs are of a version that did not measure it; run them again, or give --max-drop"
        );
    }
    let board = AdviceBoard::new(setting, losses, goal)?;
    let ranked = rank_cuts(&board.problem, goal.objective).map_err(|error| {
        let has = losses.layers().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        error.context(format!("{} (rows are of cuts after layer {has})", setting.describe()))
    })?;
    let all: Vec<AdvisedCut> = ranked.iter().map(|plan| board.advised(&plan.choice, plan.cost)).collect();
    let best = all[0].clone();
    let mut cuts: Vec<AdvisedCut> = Vec::new();
    for cut in &all {
        if cuts.len() < SHOWN
            && !cuts.iter().any(|known| known.after_layer == cut.after_layer && known.prompt == cut.prompt)
        {
            cuts.push(cut.clone());
        }
    }
    let same = |cut: &&AdvisedCut| cut.after_layer == best.after_layer && cut.prompt == best.prompt && !cut.is_end();
    let steps = if setting.steps() > 0 { all.iter().filter(same).take(SHOWN).cloned().collect() } else { Vec::new() };

    let table = CostTable::new(&board.problem)?;
    let mut compared: Vec<AdvisedCut> = Vec::new();
    for end in [setting.server_alone(), setting.client_alone()] {
        compared.push(board.advised(&end, table.cost(&end)));
    }
    let cut = if best.is_end() { 1 } else { best.after_layer };
    let measured = losses.losses.iter().find(|loss| loss.after_layer == cut && loss.sent == SentAs::half());
    if let Some(crossing) = setting.crossing(&SentAs::half()) {
        let mut half = SendOption::exact(crossing);
        (half.sent, half.name) = (SentAs::half(), SentAs::half().to_string());
        let loss = measured
            .map_or(CutLoss::default(), |loss| CutLoss { drop_points: Some(loss.drop_points()), kl_nats: loss.kl });
        let choice = CutChoice { loss, ..choice(cut, &half, &half) };
        let advised = board.advised(&choice, table.cost(&choice));
        let sent = Some(SentAs::half());
        compared.push(AdvisedCut { prompt: sent.clone(), step: sent, verdict: None, ..advised });
    }
    let decision = decide(&board.problem, goal.objective)?;
    let ranges = ranges(&board, &all);
    let mut shown: Vec<&AdvisedCut> = Vec::new();
    for range in &ranges {
        shown.extend(all.iter().find(|cut| cut.name() == range.cut));
    }
    for cut in compared.iter().chain(&cuts[..1]) {
        if !shown.iter().any(|known| known.name() == cut.name()) {
            shown.push(cut);
        }
    }
    shown.dedup_by_key(|cut| cut.name());
    Ok(Advice {
        setting: setting.describe(),
        client: SplitSetting::profile_of(&setting.client)?,
        server: SplitSetting::profile_of(&setting.server)?,
        goal,
        datasets: losses.datasets.clone(),
        decided_by: decision.to_string(),
        reasons: decision.reasons,
        unsure: unsure(&board, &cuts, losses),
        break_even: break_even(&board, &best, cuts.iter().skip(1).chain(&compared)),
        curves: curves(&board, &shown),
        planners: choices_of_planners(
            &board.problem,
            &format!("{}{PAIR}{}", SentAs::exact(), SentAs::exact()),
            |choice| board.is_paper(choice),
            ranked.iter().map(|plan| plan.cost.response_s).fold(f64::INFINITY, f64::min),
        )?,
        cuts,
        steps,
        compared,
        ranges,
        notes: board.notes,
    })
}

/// What cannot be told: losses whose interval reaches over the limit, quicker cuts that may keep it, and cuts whose times are nearer than
/// the fits are sure.
fn unsure(board: &AdviceBoard, cuts: &[AdvisedCut], losses: &LossTable) -> Vec<String> {
    let mut out = Vec::new();
    let best = &cuts[0];
    let value = |cut: &AdvisedCut| board.goal.objective.value(&cut.cost);
    if let Some(limit) = board.goal.limits.loss {
        let told = |cut: &AdvisedCut, keeps: &str| {
            let [low, high] = cut.interval.unwrap_or([f64::NAN; 2]);
            let would = cut.questions_needed.map_or("no number of questions would tell".to_string(), |questions| {
                format!("about {} questions would tell, if the value stayed", two_digits(questions))
            });
            format!(
                "{} {keeps} the limit: its loss is between {low:.4} and {high:.4} {}; {would}",
                cut.name(),
                limit.unit()
            )
        };
        out.extend(
            cuts.iter().filter(|cut| cut.verdict == Some(Verdict::CannotTell)).map(|cut| told(cut, "may not keep")),
        );
        // What the estimate rules out and the interval does not, where it would be better.
        let mut open = board.problem.clone();
        open.limits.loss = None;
        if let Ok(ranked) = rank_cuts(&open, board.goal.objective) {
            let ruled_out = ranked.iter().map(|plan| board.advised(&plan.choice, plan.cost));
            let better = ruled_out.take_while(|cut| value(cut) < value(best));
            let may = better.filter(|cut| cut.verdict == Some(Verdict::CannotTell)).take(1);
            out.extend(may.map(|cut| told(&cut, "would be better and may keep")));
        }
    }
    for cut in cuts.iter().skip(1) {
        let layers = cut.after_layer.abs_diff(best.after_layer);
        let apart = (cut.cost.response_s - best.cost.response_s).abs();
        if layers > 0 && apart < board.setting.uncertainty_s(layers) {
            out.push(format!(
                "{} and the best are {:.1} ms apart in the whole answer, less than the residuals of the fitted layer times ({:.1} ms)",
                cut.name(),
                1e3 * apart,
                1e3 * board.setting.uncertainty_s(layers)
            ));
        }
    }
    let nearer = |a: &MeasuredLoss, b: &MeasuredLoss| match (a.kl, b.kl, a.kl_stderr, b.kl_stderr) {
        (Some(a), Some(b), Some(e), Some(f)) => (a - b).abs() < 1.96 * (e * e + f * f).sqrt(),
        _ => false,
    };
    let of = |cut: &AdvisedCut| {
        losses.losses.iter().find(|loss| loss.after_layer == cut.after_layer && Some(&loss.sent) == cut.prompt.as_ref())
    };
    let alike: Vec<String> = (cuts.iter().skip(1))
        .filter(|cut| of(best).zip(of(cut)).is_some_and(|(a, b)| nearer(a, b)))
        .map(AdvisedCut::name)
        .collect();
    if !alike.is_empty() {
        out.push(format!("the KL of the prompt's codec is no different from the best's in: {}", alike.join("; ")));
    }
    out
}

/// To two digits: more would pretend to know.
fn two_digits(number: u64) -> u64 {
    let power = 10u64.pow(number.max(1).ilog10().saturating_sub(1));
    number.div_ceil(power) * power
}

fn break_even<'c>(
    board: &AdviceBoard,
    best: &AdvisedCut,
    others: impl Iterator<Item = &'c AdvisedCut>,
) -> Vec<LinkBreakEven> {
    let own = board.line(best);
    let mut seen = HashSet::from([best.name()]);
    let mut out = Vec::new();
    for other in others {
        if !seen.insert(other.name()) {
            continue;
        }
        let line = board.line(other);
        let (fewer_bits, quicker) = (own.bits <= line.bits, own.fixed_s <= line.fixed_s);
        let rate = own.meets(line).map(|rate| rate / 1e6);
        out.push(LinkBreakEven {
            against: other.name(),
            below_mbps: rate.filter(|_| fewer_bits && !quicker),
            above_mbps: rate.filter(|_| quicker && !fewer_bits),
            always: fewer_bits && quicker,
        });
    }
    out
}

fn rates() -> impl Iterator<Item = f64> {
    let [from, to] = RATES.map(f64::log10);
    (0..=POINTS).map(move |nth| 10f64.powf(from + (to - from) * nth as f64 / POINTS as f64))
}

/// Who has the shortest response at each rate, of those that keep all limits.
fn ranges(board: &AdviceBoard, all: &[AdvisedCut]) -> Vec<WinningRange> {
    let lines: Vec<ResponseLine> = all.iter().map(|cut| board.line(cut)).collect();
    let winner = |rate: f64| (0..lines.len()).min_by(|&a, &b| lines[a].at(rate).total_cmp(&lines[b].at(rate)));
    let mut out: Vec<(usize, f64, f64)> = Vec::new();
    for rate in rates() {
        let Some(nth) = winner(rate) else { continue };
        match out.last_mut() {
            Some((known, _, to)) if *known == nth => *to = rate,
            Some((known, _, to)) => {
                let meets =
                    lines[*known].meets(lines[nth]).filter(|meets| (*to..=rate).contains(meets)).unwrap_or(rate);
                *to = meets;
                out.push((nth, meets, rate));
            }
            None => out.push((nth, rate, rate)),
        }
    }
    out.into_iter()
        .map(|(nth, from, to)| WinningRange { cut: all[nth].name(), from_mbps: from / 1e6, to_mbps: to / 1e6 })
        .collect()
}

fn curves(board: &AdviceBoard, shown: &[&AdvisedCut]) -> Vec<ResponseCurve> {
    let curve = |cut: &&AdvisedCut| {
        let line = board.line(cut);
        ResponseCurve { cut: cut.name(), points: rates().map(|rate| (rate / 1e6, line.at(rate))).collect() }
    };
    shown.iter().map(curve).collect()
}

impl Advice {
    /// The objective in words.
    pub fn objective(&self) -> &'static str {
        objective_name(self.goal.objective)
    }
}

/// An objective in words.
pub fn objective_name(objective: CutObjective) -> &'static str {
    match objective {
        CutObjective::FirstToken => "time to the first token",
        CutObjective::Step => "time per token",
        CutObjective::Response => "time of the whole answer",
        CutObjective::Throughput => "busy time of the busiest part",
        CutObjective::ClientEnergy => "energy of the client",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::loss::LossFilter;
    use crate::advise::loss::tests::cell;
    use crate::advise::profile::tests::profile;
    use crate::live::link;

    /// A client forty times slower than the server, over a link; ten layers.
    fn setting(link: &str) -> SplitSetting {
        SplitSetting {
            client: profile(40.0),
            server: profile(1.0),
            link: link::find(link).unwrap(),
            prompt: 200,
            tokens: 11,
        }
    }

    fn losses() -> LossTable {
        let rows = vec![
            cell(1, "noop:values=f16", None, 1e-9, 0),
            cell(1, "int8", None, 0.001, 0),
            cell(1, "fc", Some(8.0), 0.5, 20),
            cell(5, "int8", None, 0.002, 1),
            cell(5, "fc", Some(8.0), 0.019, 20),
        ];
        LossTable::new(rows, &LossFilter::default()).unwrap()
    }

    fn goal(limit: Option<LossLimit>) -> AdviceGoal {
        AdviceGoal {
            objective: CutObjective::Response,
            limits: CutLimits { min_layer: 1, loss: limit, ..CutLimits::default() },
            power: ClientPower::default(),
        }
    }

    #[test]
    fn the_best_is_that_of_all_pairs_by_hand() {
        let setting = setting("1mbit/1mbit,20ms");
        let advice = advise(&setting, &losses(), goal(Some(LossLimit::KlNats(0.01)))).unwrap();
        let best = &advice.cuts[0];
        assert_eq!((best.after_layer, best.name().as_str()), (1, "after layer 1: int8"));
        // Client: embedding 40 (1 + 20) us, a layer 40 (100 + 2000), encoding 8000 us; 20,822 bytes at 1 Mbit/s; server: decoding 200 us,
        // nine layers of 2100, head 200; the answer's 57 bytes; two delays.
        let first =
            1e-6 * (840.0 + 84000.0 + 8000.0 + 200.0 + 18900.0 + 200.0) + 8e-6 * (104.0 * 200.0 + 22.0 + 57.0) + 0.04;
        assert!((best.cost.ttft_s - first).abs() < 1e-9, "{} for {first}", best.cost.ttft_s);
        // A step after 205 tokens: 40 + 40 * 70.5 + 40 | 1 + 9 * 70.5 + 200 us, 104 + 22 + 57 bytes.
        let step = 1e-6 * (40.0 + 2820.0 + 40.0 + 1.0 + 634.5 + 200.0) + 8e-6 * (104.0 + 22.0 + 57.0) + 0.04;
        assert!((best.cost.step_s - step).abs() < 1e-9, "{} for {step}", best.cost.step_s);
        assert!((best.cost.response_s - first - 10.0 * step).abs() < 1e-9);
        // It keeps the limit for sure; fc after layer 5 does not; the joint codec never sends a step.
        assert_eq!(best.verdict, Some(Verdict::Passed));
        assert!(advice.cuts.iter().chain(&advice.steps).all(|cut| !cut.name().contains("fc")), "{:?}", advice.cuts);
        let all = advise(&setting, &losses(), goal(None)).unwrap();
        assert_eq!(all.cuts[0].name(), "after layer 1: fc at 8 wire; steps int8");
        // Whoever wins at the link's rate is the best.
        for (rate, name) in [(1.0, best.name()), (0.11, advice.ranges[0].cut.clone())] {
            let at = advice.ranges.iter().find(|range| (range.from_mbps..=range.to_mbps).contains(&rate)).unwrap();
            assert_eq!(at.cut, name);
        }
        assert_eq!(advice.ranges.first().map(|range| range.from_mbps), Some(RATES[0] / 1e6));
    }

    #[test]
    fn break_even_is_where_both_take_the_same() {
        let advice = advise(&setting("1mbit/1mbit,20ms"), &losses(), goal(Some(LossLimit::KlNats(0.01)))).unwrap();
        for one in &advice.break_even {
            let at = one.below_mbps.or(one.above_mbps);
            let (Some(mbps), Some(other)) = (at, advice.compared.iter().find(|cut| cut.name() == one.against)) else {
                continue;
            };
            let link = format!("1mbit/{}kbit,20ms", (mbps * 1e3).round());
            let there = advise(&setting(&link), &losses(), goal(Some(LossLimit::KlNats(0.01)))).unwrap();
            let of = |name: &str| {
                let cuts = there.cuts.iter().chain(&there.compared).chain(&there.steps);
                cuts.filter(|cut| cut.name() == name).map(|cut| cut.cost.response_s).next()
            };
            let (a, b) = (of(&advice.cuts[0].name()), of(&other.name()));
            let (Some(a), Some(b)) = (a, b) else { continue };
            assert!((a / b - 1.0).abs() < 1e-2, "{}: {a} and {b}", one.against);
        }
        let half = advice.break_even.iter().find(|one| one.against.contains("f16")).unwrap();
        assert!(half.below_mbps.is_none() && half.always || half.below_mbps.is_some(), "{half:?}");
        assert!(advice.break_even.iter().any(|one| one.against == "client alone"));
    }

    #[test]
    fn what_cannot_be_told_is_said_with_the_number_of_questions() {
        // 0.019 +- 0.0019 of 100 questions against 0.018: the estimate rules it out, the interval does not.
        let advice = advise(&setting("1mbit/1mbit,20ms"), &losses(), goal(Some(LossLimit::KlNats(0.018)))).unwrap();
        let told = advice.unsure.join("; ");
        // After layer 5 it is slower than int8 after layer 1 on the slow client, so nobody asks.
        assert!(!told.contains("after layer 5: fc"), "{told}");
        let near = vec![cell(1, "int8", None, 0.03, 0), cell(1, "fc", Some(8.0), 0.019, 20)];
        let near = LossTable::new(near, &LossFilter::default()).unwrap();
        let advice = advise(&setting("1mbit/1mbit,20ms"), &near, goal(Some(LossLimit::KlNats(0.018)))).unwrap();
        assert_eq!(advice.cuts[0].name(), "client alone");
        let told = advice.unsure.join("; ");
        assert!(told.contains("fc at 8 wire; steps noop would be better and may keep the limit"), "{told}");
        assert!(told.contains("questions would tell"), "{told}");
        let passes = advise(&setting("1mbit/1mbit,20ms"), &near, goal(Some(LossLimit::KlNats(0.0195)))).unwrap();
        assert_eq!(passes.cuts[0].verdict, Some(Verdict::CannotTell));
        assert!(passes.unsure[0].contains("may not keep"), "{:?}", passes.unsure);
    }

    #[test]
    fn ends_win_where_nothing_speaks_for_a_cut() {
        let free = |min_layer, memory: Option<u64>| AdviceGoal {
            limits: CutLimits { min_layer, client_memory_bytes: memory, ..CutLimits::default() },
            ..goal(None)
        };
        let quick = setting("1gbit/1gbit,1ms");
        let server = advise(&quick, &losses(), free(0, None)).unwrap();
        assert_eq!((server.cuts[0].name().as_str(), server.cuts[0].after_layer), ("server alone", 0));
        // Generation needs no round trip a token there.
        let cost = &server.cuts[0].cost;
        assert!(cost.step_s < 1e-6 * (1.0 + 705.0 + 200.0) + 1e-6, "{}", cost.step_s);
        // A link so slow that nothing pays, until the client is too small for the model.
        let slow = setting("1kbit/1kbit,1s");
        assert_eq!(advise(&slow, &losses(), free(1, None)).unwrap().cuts[0].name(), "client alone");
        let small = advise(&slow, &losses(), free(1, Some(10_000_000))).unwrap();
        assert!((1..10).contains(&small.cuts[0].after_layer));
        assert!(small.reasons.contains(&CutReason::Memory), "{:?}", small.reasons);
    }

    #[test]
    fn impossible_limits_say_what_comes_nearest() {
        let goal = AdviceGoal {
            limits: CutLimits { min_layer: 3, client_memory_bytes: Some(1000), ..CutLimits::default() },
            ..goal(None)
        };
        let error = format!("{:#}", advise(&setting("home-cable"), &losses(), goal).unwrap_err());
        assert!(error.contains("nearest comes layer 0") && error.contains("3 layers too few"), "{error}");
        let energy = AdviceGoal { objective: CutObjective::ClientEnergy, ..self::goal(None) };
        assert!(format!("{:#}", advise(&setting("home-cable"), &losses(), energy).unwrap_err()).contains("--power"));
        let mut other = setting("home-cable");
        other.server.model.layers = 12;
        let error = advise(&other, &losses(), self::goal(None)).unwrap_err().to_string();
        assert!(error.contains("profile one model on both"), "{error}");
    }

    #[test]
    fn planners_choose_by_what_they_see() {
        let limit = LossLimit::KlNats(0.01);
        let bound = AdviceGoal { limits: CutLimits { min_layer: 3, ..goal(Some(limit)).limits }, ..goal(Some(limit)) };
        let setting = setting("1mbit/1mbit,20ms");
        let advice = advise(&setting, &losses(), bound).unwrap();
        let of = |name: &str| {
            let found = advice.planners.iter().find(|one| one.planner.starts_with(name));
            found.unwrap_or_else(|| panic!("{name}: {:?}", advice.planners)).plan.clone()
        };
        // JALAD and Neurosurgeon see no privacy, EdgeShard does and sends values as they are, the paper always cuts after layer 1.
        assert_eq!(of("JALAD").unwrap().choice.after_layer, 0);
        assert_eq!(of("Neurosurgeon, latency").unwrap().choice.after_layer, 0);
        assert_eq!(of("FourierCompress").unwrap().choice.codec, "fc at 8 wire; steps int8");
        let shards = of("EdgeShard, latency").unwrap();
        assert!(shards.choice.after_layer >= 3, "{shards:?}");
        let edgent = of("Edgent").unwrap();
        assert!(edgent.cost.response_s <= 1.1 * advice.cuts[0].cost.response_s + 1e-9);
        let als = of("ALS").unwrap();
        assert!(als.choice.after_layer >= 3 && als.choice.loss.kl_nats.unwrap() <= 0.002, "{als:?}");
    }

    #[test]
    fn codecs_without_times_are_named() {
        let rows = vec![cell(1, "int8", None, 0.001, 0), cell(1, "topk", Some(8.0), 0.001, 0)];
        let table = LossTable::new(rows, &LossFilter::default()).unwrap();
        let advice = advise(&setting("home-cable"), &table, goal(None)).unwrap();
        assert!(advice.notes.iter().any(|note| note.contains("topk at 8 wire")), "{:?}", advice.notes);
    }
}
