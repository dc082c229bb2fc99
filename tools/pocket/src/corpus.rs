//! The endless stream of training documents.

use std::collections::HashSet;

use anyhow::{Context, Result};
use rand::{
    Rng, SeedableRng,
    distr::{Distribution, weighted::WeightedIndex},
    seq::SliceRandom,
};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::MINI_SETS;
use crate::mini::mini_sets;
use crate::questions::Asker;
use crate::text::{normalise, words};
use crate::world::World;

/// A statement document ends before it would have more words than this.
const MAX_WORDS: usize = 48;

/// One training document.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// Plain text.
    Text(String),
    /// A row in a data set's schema, gold label included; the prompt code turns it into text.
    Row {
        /// One of the ten set names.
        dataset: &'static str,
        /// The row.
        row: Value,
    },
}

/// What kind of document to make.
#[derive(Clone, Copy)]
enum Kind {
    Facts,
    Row(&'static str),
}

/// The training stream: endless, and the same for the same world and seed.
pub struct Corpus<'w> {
    asker: Asker<'w>,
    kinds: Vec<Kind>,
    weights: WeightedIndex<f64>,
    reserved: HashSet<String>,
}

impl<'w> Corpus<'w> {
    /// The stream of a stage of training (from 0) from its beginning.
    pub fn new(world: &'w World, stage: usize, seed: u64) -> Result<Self> {
        let mixture = world.stages.get(stage).with_context(|| format!("the world has no stage {stage}"))?;
        let mut kinds = Vec::new();
        for (name, _) in mixture {
            kinds.push(match (name.as_str(), MINI_SETS.into_iter().find(|set| set == name)) {
                ("facts", _) => Kind::Facts,
                (_, Some(set)) => Kind::Row(set),
                _ => anyhow::bail!("weights: {name} is no kind of document"),
            });
        }
        let weights = WeightedIndex::new(mixture.iter().map(|w| w.1)).context("weights of the stream")?;
        let reserved = mini_sets(world)?.into_iter().flat_map(|set| set.eval_keys).collect();
        let asker = Asker { world, rng: ChaCha8Rng::seed_from_u64(seed), asked: false };
        Ok(Self { asker, kinds, weights, reserved })
    }

    /// The next document.
    pub fn next_document(&mut self) -> Document {
        let kind = self.kinds[self.weights.sample(&mut self.asker.rng)];
        loop {
            let document = match kind {
                Kind::Facts => Some(Document::Text(self.facts())),
                Kind::Row(dataset) => self.row(dataset),
            };
            if let Some(document) = document {
                return document;
            }
        }
    }

    /// A row that is not about an eval question.
    fn row(&mut self, dataset: &'static str) -> Option<Document> {
        let made = self.asker.row(dataset, "train")?;
        (!self.reserved.contains(&normalise(&made.key))).then_some(Document::Row { dataset, row: made.row })
    }

    /// Statements: several facts of an entity, one fact in several wordings, or facts at random.
    fn facts(&mut self) -> String {
        let world = self.asker.world;
        let start = self.asker.rng.random_range(0..world.facts.len());
        let fact = &world.facts[start];
        let table = &world.relations[fact.relation].table;
        let same: Vec<usize> = (0..world.facts.len())
            .filter(|i| {
                world.facts[*i].entity == fact.entity && world.relations[world.facts[*i].relation].table == *table
            })
            .collect();
        let mut order = match self.asker.rng.random_range(0..10) {
            0..4 if same.len() > 1 => same,
            0..8 => vec![start; 3],
            _ => (0..4).map(|_| self.asker.rng.random_range(0..world.facts.len())).collect(),
        };
        order.shuffle(&mut self.asker.rng);
        let (mut text, mut used) = (String::new(), HashSet::new());
        let names = self.asker.two_names();
        for i in order {
            let fact = &world.facts[i];
            let say = &world.relations[fact.relation].say;
            let t = self.asker.rng.random_range(0..say.len());
            if !used.insert((i, t)) {
                continue;
            }
            let sentence = self.asker.state(&say[t], fact, names);
            if !text.is_empty() {
                if words(&text) + words(&sentence) > MAX_WORDS {
                    break;
                }
                text.push(' ');
            }
            text.push_str(&sentence);
        }
        text
    }
}
