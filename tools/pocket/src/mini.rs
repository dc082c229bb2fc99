//! The mini sets: rows to evaluate on (asked facts) and to calibrate on (the others), made once and committed.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::MINI_SETS;
use crate::questions::Asker;
use crate::text::normalise;
use crate::world::World;
use splitbench::save;

/// Rows of each `eval.jsonl`.
pub const EVAL_ROWS: usize = 128;
/// Rows of each `train.jsonl`.
pub const TRAIN_ROWS: usize = 64;
const MINI_SEED: u64 = 7_001;
/// Draws after which a fact may be asked once more in the same set.
const PATIENCE: usize = 3_000;

/// The rows of one mini set.
pub struct MiniRows {
    /// Name, one of [`MINI_SETS`].
    pub dataset: &'static str,
    /// Rows about facts that training never asks.
    pub eval: Vec<Value>,
    /// Rows about facts that training does ask.
    pub train: Vec<Value>,
    /// Normalised question text of each eval row.
    pub eval_keys: Vec<String>,
}

/// The ten mini sets of the world; the same world gives the same rows.
pub fn mini_sets(world: &World) -> Result<Vec<MiniRows>> {
    let mut sets = Vec::new();
    for (i, dataset) in MINI_SETS.into_iter().enumerate() {
        let seed = MINI_SEED + 2 * i as u64;
        let (eval, eval_keys) = draw(world, dataset, true, seed, EVAL_ROWS)?;
        sets.push(MiniRows { dataset, eval, train: Vec::new(), eval_keys });
    }
    // A question for an entity may be right for facts of both sides; then it is an eval question.
    let taken: HashSet<String> = sets.iter().flat_map(|s| s.eval_keys.iter().cloned()).collect();
    for (i, set) in sets.iter_mut().enumerate() {
        let seed = MINI_SEED + 2 * i as u64 + 1;
        set.train = draw_free(world, set.dataset, false, seed, TRAIN_ROWS, &taken)?.0;
    }
    Ok(sets)
}

/// Writes `<dir>/<set>/eval.jsonl` and `train.jsonl` for the ten sets.
pub fn write_mini(world: &World, dir: &Path) -> Result<()> {
    for set in mini_sets(world)? {
        let folder = dir.join(set.dataset);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        for (name, rows) in [("eval.jsonl", &set.eval), ("train.jsonl", &set.train)] {
            let path = folder.join(name);
            save::replace(&path, json_lines(rows).as_bytes())?;
        }
    }
    Ok(())
}

/// The rows as JSON Lines.
pub(super) fn json_lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn draw(world: &World, dataset: &str, asked: bool, seed: u64, count: usize) -> Result<(Vec<Value>, Vec<String>)> {
    draw_free(world, dataset, asked, seed, count, &HashSet::new())
}

fn draw_free(
    world: &World,
    dataset: &str,
    asked: bool,
    seed: u64,
    count: usize,
    taken: &HashSet<String>,
) -> Result<(Vec<Value>, Vec<String>)> {
    let mut asker = Asker { world, rng: ChaCha8Rng::seed_from_u64(seed), asked };
    let (mut rows, mut keys) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    let mut uses: HashMap<usize, usize> = HashMap::new();
    let mut golds: HashMap<usize, Vec<usize>> = HashMap::new();
    let (mut limit, mut misses, mut total) = (1, 0, 0);
    while rows.len() < count {
        total += 1;
        ensure!(total < 100 * PATIENCE, "{dataset}: only {} of {count} questions can be made", rows.len());
        let split = if asked { "eval" } else { "train" };
        let id = format!("mini-{dataset}-{split}-{:03}", rows.len() + 1);
        let made = asker.row(dataset, &id);
        let fresh = made.filter(|made| {
            let key = normalise(&made.key);
            let free = !taken.contains(&key) && !seen.contains(&key) && !seen.contains(&made.signature);
            let spread = made.facts.iter().all(|f| uses.get(f).copied().unwrap_or(0) < limit);
            let counts = golds.entry(made.choices).or_insert_with(|| vec![0; made.choices]);
            let balanced = counts[made.gold] == counts.iter().copied().min().unwrap_or(0);
            free && spread && balanced
        });
        let Some(made) = fresh else {
            misses += 1;
            if misses == PATIENCE {
                (limit, misses) = (limit + 1, 0);
            }
            continue;
        };
        misses = 0;
        let key = normalise(&made.key);
        if let Some(counts) = golds.get_mut(&made.choices) {
            counts[made.gold] += 1;
        }
        made.facts.iter().for_each(|f| *uses.entry(*f).or_default() += 1);
        seen.extend([key.clone(), made.signature]);
        keys.push(key);
        rows.push(made.row);
    }
    Ok((rows, keys))
}
