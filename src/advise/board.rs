//! All that may be chosen: each cut with each way to send, as the planner's problem.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result};
use serde::Serialize;
use splitbench_planner::{
    ClientPower, CostTable, CutChoice, CutCost, CutLimits, CutLoss, CutObjective, LossLimit, SplitProblem,
};

use super::loss::{LossTable, MeasuredLoss, SentAs};
use super::setting::{CodecCrossing, SplitSetting};
use crate::score::{Decision, Verdict};

/// Codecs that are named where some are left out.
const NAMED: usize = 6;

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

    pub(super) fn is_end(&self) -> bool {
        self.prompt.is_none()
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
        let exact = CutLoss { drop_points: Some(0.0), kl_nats: Some(0.0) };
        self.loss.as_ref().map_or(exact, MeasuredLoss::cut_loss)
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
pub(super) struct AdviceBoard<'a> {
    pub setting: &'a SplitSetting,
    pub goal: AdviceGoal,
    /// By cut.
    options: BTreeMap<usize, Vec<SendOption>>,
    pub problem: SplitProblem,
    pub notes: Vec<String>,
}

/// Sends the text itself.
const TOKEN_IDS: &str = "token-ids";

/// Between the codec of the prompt and that of steps, in the name of a planner's choice.
pub const PAIR: &str = "; steps ";

impl<'a> AdviceBoard<'a> {
    /// Everything that the losses and profiles allow.
    pub fn new(setting: &'a SplitSetting, losses: &LossTable, goal: AdviceGoal) -> Result<Self> {
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

    /// A choice as it is shown.
    pub fn advised(&self, choice: &CutChoice, cost: CutCost) -> AdvisedCut {
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

    /// The activation as it is, in f16, at a cut, with its loss where a row has it.
    pub fn half(&self, after_layer: usize, losses: &LossTable, table: &CostTable) -> Option<AdvisedCut> {
        let sent = SentAs::half();
        let CodecCrossing { prompt, step, .. } = self.setting.crossing(&sent)?;
        let measured = losses.losses.iter().find(|loss| loss.after_layer == after_layer && loss.sent == sent);
        let loss = measured.map_or(CutLoss::default(), MeasuredLoss::cut_loss);
        let choice = CutChoice { after_layer, codec: sent.to_string(), ratio: None, prompt, step, loss };
        let advised = self.advised(&choice, table.cost(&choice));
        Some(AdvisedCut { prompt: Some(sent.clone()), step: Some(sent), verdict: None, ..advised })
    }

    /// Whether the prompt goes by the paper's codec, at a ratio as near to its 8 as there is.
    pub fn is_paper(&self, choice: &CutChoice) -> bool {
        let name = choice.codec.split_once(PAIR).unwrap_or_default().0;
        let far = |option: &SendOption| (option.sent.ratio.unwrap_or(1.0) - 8.0).abs();
        let plain = |option: &&SendOption| option.sent.codec == "fc";
        let at = self.options.get(&choice.after_layer).into_iter().flatten();
        let nearest = at.filter(plain).min_by(|a, b| far(a).total_cmp(&far(b)));
        nearest.is_some_and(|option| option.name == name)
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
