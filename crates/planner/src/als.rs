//! ALS, adaptive layer splitting (Chen et al., FITEE 2025): its reward for each cut and each state of the link.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::check;
use crate::problem::SplitProblem;

/// How much ALS is paid for what.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AlsWeights {
    /// For the output's quality.
    pub inference: f64,
    /// For layers taken off the client.
    pub load: f64,
}

impl Default for AlsWeights {
    /// Those of the training script published under the paper's name: 10.5 and 1.
    fn default() -> Self {
        Self { inference: 10.5, load: 1.0 }
    }
}

/// Rewards by rate of the link and cut.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RewardTable {
    /// Layers on the client of each column.
    pub cuts: Vec<usize>,
    /// `rewards[rate][cut]`; empty where no choice at that cut fits into the time for sending.
    pub rewards: Vec<Vec<Option<f64>>>,
}

impl RewardTable {
    /// The column of the best cut for a rate, and its reward: the exact optimum, as one cut does not change what the next is
    /// paid. The lowest cut of equal ones.
    pub fn best(&self, rate: usize) -> (usize, f64) {
        let mut best = (0, f64::NEG_INFINITY);
        for (column, reward) in self.rewards[rate].iter().enumerate() {
            if let Some(reward) = reward.filter(|&reward| reward > best.1) {
                best = (column, reward);
            }
        }
        best
    }

    /// Fails unless every rate has a cut, and each reward is a number.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.rewards.is_empty(), "no rate of the link was given");
        for (rate, row) in self.rewards.iter().enumerate() {
            ensure!(row.len() == self.cuts.len(), "rate {rate} has {} rewards for {} cuts", row.len(), self.cuts.len());
            ensure!(
                row.iter().flatten().all(|reward| reward.is_finite()),
                "rate {rate} has a reward that is no number"
            );
            ensure!(row.iter().any(Option::is_some), "at rate {rate} no cut can be chosen");
        }
        Ok(())
    }
}

/// Rewards of all cuts from max(1, `min_layer`) to N under each rate of the link up, in bit/s.
///
/// The paper's reward is `inference (P - P') / P + load (N - l) / N`, with the perplexity before and after. Its link is noisy:
/// it drops activations, and a worse link means a higher perplexity. Ours carries all or is slow: of a cut's choices those can be
/// used whose prompt packet arrives within `slot_s`, and the one with the least KL is. So here, too, a worse link means a higher
/// loss. exp(KL), KL in nats, stands for P' / P.
pub fn reward_table(problem: &SplitProblem, rates: &[f64], slot_s: f64, weights: AlsWeights) -> Result<RewardTable> {
    problem.check()?;
    check::positive("the time for sending in s", slot_s)?;
    check::amount("weight of the output's quality", weights.inference)?;
    check::amount("weight of the client's load", weights.load)?;
    let layers = problem.layers.len();
    let cuts: Vec<usize> = (problem.limits.min_layer.max(1)..=layers).collect();
    let mut rewards = Vec::new();
    for &rate in rates {
        let mut up = problem.up;
        up.bits_per_s = rate;
        up.check("the changing link")?;
        let row: Vec<Option<f64>> = cuts
            .iter()
            .map(|&cut| {
                let usable = problem.choices.iter().filter(|choice| {
                    choice.after_layer == cut && (cut == layers || up.send_s(choice.prompt.bytes) <= slot_s)
                });
                let kl = usable.filter_map(|choice| choice.loss.kl_nats).min_by(f64::total_cmp)?;
                let load = (layers - cut) as f64 / layers as f64;
                Some(weights.inference * (1.0 - kl.exp()) + weights.load * load)
            })
            .collect();
        ensure!(
            row.iter().any(Option::is_some),
            "at {rate} bit/s no packet with a measured KL arrives within {slot_s} s: allow more time, or give harder ratios"
        );
        rewards.push(row);
    }
    let table = RewardTable { cuts, rewards };
    table.check()?;
    Ok(table)
}
