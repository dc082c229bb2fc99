//! What the published planners would choose from the same tables: `docs/methodology/planners.md` says what each of them sees.

use anyhow::Result;
use serde::Serialize;
use splitbench_planner::{
    AlsWeights, CostTable, CutChoice, CutPlan, LossLimit, ModelShard, NeurosurgeonGoal, OneWayLink, ShardPlan,
    ShardProblem, SplitProblem, edgent, jalad, neurosurgeon, reward_table, shard_latency, shard_throughput,
};

/// How much later than the best Edgent's deadline is.
const DEADLINE: f64 = 1.1;
/// Time in which ALS wants the prompt's packet at the server, s.
const SLOT_S: f64 = 1.0;
/// Memory of a device that has no limit, bytes.
const UNBOUND: u64 = 1 << 50;

/// A planner's choice.
#[derive(Debug, Clone, Serialize)]
pub struct PlannerChoice {
    /// Its name, and what it was told where there is a choice.
    pub planner: String,
    /// Cut and codecs; none where it has no answer.
    pub plan: Option<CutPlan>,
    /// Why it has none.
    pub err: Option<String>,
}

/// The choices of all of them. `raw` names the choices that send values as they are, `paper` those of the paper's codec;
/// `best_s` is the best response known.
pub(super) fn choices_of_planners(
    problem: &SplitProblem,
    raw: &str,
    paper: impl Fn(&CutChoice) -> bool,
    best_s: f64,
) -> Result<Vec<PlannerChoice>> {
    let table = CostTable::new(problem)?;
    let plan = |choice: &CutChoice| CutPlan { choice: choice.clone(), cost: table.cost(choice) };
    let least = |choices: Vec<&CutChoice>| {
        let plans = choices.into_iter().map(plan);
        plans.min_by(|a, b| a.cost.response_s.total_cmp(&b.cost.response_s))
    };
    let limit = problem.limits.loss;
    let measure = limit.unwrap_or(LossLimit::KlNats(0.0));
    let first = problem.choices.iter().filter(|choice| choice.after_layer == 1 && paper(choice)).collect();
    let mut out = vec![
        answer("FourierCompress: fc after layer 1", least(first).map_or_else(none("no row of fc after layer 1"), Ok)),
        answer("Neurosurgeon, latency", neurosurgeon(problem, raw, NeurosurgeonGoal::Latency)),
    ];
    if problem.power.compute_w > 0.0 || problem.power.send_w > 0.0 {
        out.push(answer("Neurosurgeon, energy", neurosurgeon(problem, raw, NeurosurgeonGoal::Energy)));
    }
    if let Some(limit) = limit {
        out.push(answer("JALAD", jalad(problem, limit)));
    }
    out.push(answer("Edgent, a tenth later than the best", edgent(problem, DEADLINE * best_s, measure)));
    let shards = shard_problem(problem, raw);
    let cut = |found: Result<ShardPlan>| -> Result<CutPlan> {
        let layer = client_layers(&found?.shards, problem.layers.len());
        let at = |choice: &&CutChoice| {
            choice.after_layer == layer && (choice.codec == raw || layer == 0 || layer == problem.layers.len())
        };
        least(problem.choices.iter().filter(at).collect()).map_or_else(none("no choice at its cut"), Ok)
    };
    out.push(answer("EdgeShard, latency", cut(shard_latency(&shards).map(|found| found.plan))));
    out.push(answer("EdgeShard, throughput", cut(shard_throughput(&shards))));
    let rewards = reward_table(problem, &[problem.up.bits_per_s], SLOT_S, AlsWeights::default());
    out.push(answer(
        "ALS, a second per prompt",
        rewards.and_then(|rewards| {
            let layer = rewards.cuts[rewards.best(0).0];
            let arrives = |choice: &&CutChoice| {
                choice.after_layer == layer
                    && (layer == problem.layers.len() || problem.up.send_s(choice.prompt.bytes) <= SLOT_S)
            };
            let kl = |choice: &CutChoice| choice.loss.kl_nats.unwrap_or(f64::INFINITY);
            let usable: Vec<&CutChoice> = problem.choices.iter().filter(arrives).collect();
            let lowest = usable.iter().map(|choice| kl(choice)).fold(f64::INFINITY, f64::min);
            least(usable.into_iter().filter(|choice| kl(choice) == lowest).collect())
                .map_or_else(none("no choice at its cut"), Ok)
        }),
    ));
    Ok(out)
}

fn none(why: &'static str) -> impl FnOnce() -> Result<CutPlan> {
    move || anyhow::bail!(why)
}

fn answer(planner: &str, found: Result<CutPlan>) -> PlannerChoice {
    let (plan, err) = match found {
        Ok(plan) => (Some(plan), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    PlannerChoice { planner: planner.into(), plan, err }
}

/// Embedding, layers and head of a whole answer on two devices, the first of which has the input.
fn shard_problem(problem: &SplitProblem, raw: &str) -> ShardProblem {
    let rounds = 1.0 + problem.steps as f64;
    let parts: Vec<_> =
        std::iter::once(&problem.embedding).chain(&problem.layers).chain(std::iter::once(&problem.head)).collect();
    let total = |prompt: f64, step: f64| prompt + problem.steps as f64 * step;
    let sent = problem.choices.iter().find(|choice| choice.codec == raw);
    let bytes = sent.map_or(0.0, |choice| total(choice.prompt.bytes, choice.step.bytes));
    let mut output_bytes = vec![bytes; parts.len()];
    output_bytes[parts.len() - 1] = rounds * problem.answer_bytes;
    // Each token makes the way again.
    let whole = |link: OneWayLink| OneWayLink { delay_s: rounds * link.delay_s, ..link };
    let limits = &problem.limits;
    ShardProblem {
        layer_s: vec![
            parts.iter().map(|part| total(part.client.prompt_s, part.client.step_s)).collect(),
            parts.iter().map(|part| total(part.server.prompt_s, part.server.step_s)).collect(),
        ],
        layer_memory_bytes: parts.iter().map(|part| part.memory_bytes).collect(),
        device_memory_bytes: [limits.client_memory_bytes, limits.server_memory_bytes]
            .map(|memory| memory.unwrap_or(UNBOUND))
            .to_vec(),
        output_bytes,
        links: vec![vec![problem.up, whole(problem.up)], vec![whole(problem.down), problem.down]],
        source: 0,
        min_source_layers: 1 + limits.min_layer,
    }
}

/// Decoder layers of the first shards on the client. EdgeShard may come back to it; what it sends first is the cut.
fn client_layers(shards: &[ModelShard], layers: usize) -> usize {
    let own = shards.iter().take_while(|shard| shard.device == 0).map(|shard| shard.end_layer).max().unwrap_or(0);
    // The first of its layers is the embedding, the last one the head.
    own.saturating_sub(1).min(layers)
}
