//! A bandit that learns where to cut from rewards alone, in place of the paper's policy network: what learning costs.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::als::RewardTable;
use crate::check;
use crate::random::SplitMix;

/// How the next cut is chosen, after each has been tried once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum BanditRule {
    /// Any cut with this probability, else the one with the best mean so far.
    EpsilonGreedy(f64),
    /// UCB1 (Auer, Cesa-Bianchi and Fischer 2002): the best mean + c sqrt(2 ln t / n). c is the range of rewards.
    Ucb(f64),
}

/// What surrounds a bandit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BanditSetting {
    /// How it chooses.
    pub rule: BanditRule,
    /// Whether it knows the state of the link and learns for each apart.
    pub sees_link: bool,
    /// A reward is seen as itself plus a number between minus and plus this.
    pub noise: f64,
    /// Seed of noise and exploration.
    pub seed: u64,
}

/// What a bandit did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BanditRun {
    /// The column chosen at each time.
    pub columns: Vec<usize>,
    /// Regret up to each time: sum over times of best minus chosen reward, without noise.
    pub regret: Vec<f64>,
}

/// Runs a bandit over a sequence of states, each a row of the table.
pub fn run_bandit(table: &RewardTable, states: &[usize], setting: BanditSetting) -> Result<BanditRun> {
    table.check()?;
    let rates = table.rewards.len();
    ensure!(states.iter().all(|&state| state < rates), "a state of the link is not one of the {rates} of the table");
    check::amount("noise of a reward", setting.noise)?;
    match setting.rule {
        BanditRule::EpsilonGreedy(p) => ensure!((0.0..=1.0).contains(&p), "epsilon is {p}: 0 to 1 was expected"),
        BanditRule::Ucb(c) => check::amount("UCB's factor", c)?,
    }
    let mut random = SplitMix::new(setting.seed);
    let contexts = if setting.sees_link { rates } else { 1 };
    let (mut counts, mut sums) =
        (vec![vec![0u32; table.cuts.len()]; contexts], vec![vec![0.0; table.cuts.len()]; contexts]);
    let mut run = BanditRun { columns: Vec::new(), regret: Vec::new() };
    let mut regret = 0.0;
    for &state in states {
        let context = if setting.sees_link { state } else { 0 };
        let (counts, sums) = (&mut counts[context], &mut sums[context]);
        let row = &table.rewards[state];
        let open: Vec<usize> = (0..row.len()).filter(|&column| row[column].is_some()).collect();
        let column = choose(&open, counts, sums, setting.rule, &mut random);
        let reward = row[column].unwrap_or(f64::NEG_INFINITY);
        counts[column] += 1;
        sums[column] += reward + random.range(-setting.noise, setting.noise);
        regret += table.best(state).1 - reward;
        run.columns.push(column);
        run.regret.push(regret);
    }
    Ok(run)
}

fn choose(open: &[usize], counts: &[u32], sums: &[f64], rule: BanditRule, random: &mut SplitMix) -> usize {
    if let Some(&untried) = open.iter().find(|&&column| counts[column] == 0) {
        return untried;
    }
    let mean = |column: usize| sums[column] / f64::from(counts[column]);
    let score = |column: usize| match rule {
        BanditRule::EpsilonGreedy(_) => mean(column),
        BanditRule::Ucb(factor) => {
            let total = f64::from(counts.iter().sum::<u32>());
            mean(column) + factor * (2.0 * total.ln() / f64::from(counts[column])).sqrt()
        }
    };
    match rule {
        BanditRule::EpsilonGreedy(epsilon) if random.unit() < epsilon => open[random.below(open.len())],
        _ => open.iter().copied().fold(open[0], |best, column| if score(column) > score(best) { column } else { best }),
    }
}
