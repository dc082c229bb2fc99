//! Where to cut a split language model, with which codec and ratio, and on which machines: the planners of the literature over
//! one set of tables. `docs/methodology/planners.md` says what was read of each paper and what is ours.
//!
//! [`SplitProblem`] has two devices, a client and a server, and a list of [`CutChoice`]s; [`jalad`], [`neurosurgeon`] and
//! [`edgent`] choose one of them, and [`decide`] says why. [`ShardProblem`] has any number of devices, for EdgeShard's two
//! programmes. [`RewardTable`] has what adaptive layer splitting (ALS) is paid; [`run_bandit`] learns it. [`PoolProblem`] has
//! Splitwise's machines.
//!
//! Everything here is arithmetic on numbers that the caller measured: no model, no file, no clock.

mod als;
mod bandit;
mod check;
mod cost;
mod decide;
mod edgent;
mod jalad;
mod link;
mod neurosurgeon;
mod problem;
mod random;
mod regression;
mod search;
mod shard_latency;
mod shard_problem;
mod shard_programmes;
mod splitwise;

pub use als::{AlsWeights, RewardTable, reward_table};
pub use bandit::{BanditRule, BanditRun, BanditSetting, run_bandit};
pub use cost::{CostTable, CutCost, CutObjective};
pub use decide::{CutDecision, CutReason, decide};
pub use edgent::edgent;
pub use jalad::jalad;
pub use link::OneWayLink;
pub use neurosurgeon::{NeurosurgeonGoal, neurosurgeon};
pub use problem::{
    ClientPower, Crossing, CutChoice, CutLimits, CutLoss, LossLimit, PartCost, PhaseSeconds, SplitProblem,
};
pub use random::SplitMix;
pub use regression::{FeatureScale, LayerTimeModel, TimeSample, fit_by_kind, fit_layer_time};
pub use search::{CutPlan, LimitExcess, NearMiss, best_cut, rank_cuts};
pub use shard_latency::{ShardLatency, shard_latency};
pub use shard_problem::{ModelShard, ShardProblem};
pub use shard_programmes::{ShardPlan, shard_latency_as_published, shard_latency_one_each, shard_throughput};
pub use splitwise::{CacheTransfer, PoolPlan, PoolProblem, PromptMachine, RequestLoad, TokenMachine, plan_pools};
