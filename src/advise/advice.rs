//! The recommendation: which cut, with which codecs, what decides it, and how sure that is.

use anyhow::{Result, ensure};
use serde::Serialize;
use splitbench_planner::{CostTable, CutObjective, CutReason, LossLimit, decide, rank_cuts};

use super::board::{AdviceBoard, AdviceGoal, AdvisedCut, PAIR};
use super::by_rate::{LinkBreakEven, ResponseCurve, WinningRange, break_even, curves, ranges};
use super::doubt::unsure;
use super::loss::{LossTable, SentAs};
use super::planners::{PlannerChoice, choices_of_planners};
use super::setting::SplitSetting;

/// Plans that are shown: the best, and the next four.
const SHOWN: usize = 5;

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
    compared.extend(board.half(if best.is_end() { 1 } else { best.after_layer }, losses, &table));
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
    Ok(Advice {
        setting: setting.describe(),
        client: setting.client.describe(),
        server: setting.server.describe(),
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

impl Advice {
    /// The objective in words.
    pub fn objective(&self) -> &'static str {
        match self.goal.objective {
            CutObjective::FirstToken => "time to the first token",
            CutObjective::Step => "time per token",
            CutObjective::Response => "time of the whole answer",
            CutObjective::Throughput => "busy time of the busiest part",
            CutObjective::ClientEnergy => "energy of the client",
        }
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
