//! The facts and sentence templates of `models/pocket/world.toml`, read and checked.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use crate::text::{bare, with_article};

const SOURCE: &str = include_str!("../../../models/pocket/world.toml");
/// The part of each relation's facts that is never put as a question in training.
const ASKED_SHARE: f64 = 0.35;
const SPLIT_SEED: u64 = 20_260_101;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    names: String,
    stage: Vec<Weights>,
    story: Story,
    table: Vec<Table>,
    relation: Vec<RelationText>,
    wino: Wino,
    dimension: Vec<DimensionText>,
    logic: LogicText,
}

/// How often the stream takes each kind of document, in file order: a data set's name or "facts", and its weight.
pub(super) type Weights = toml::Table;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Story {
    pub openings: Vec<String>,
    pub closings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    #[serde(default)]
    article: bool,
    #[serde(default)]
    mass: String,
    columns: Vec<String>,
    rows: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RelationText {
    table: String,
    column: String,
    say: Vec<String>,
    #[serde(default)]
    stem: Vec<String>,
    #[serde(default)]
    ask: Vec<String>,
    #[serde(default)]
    which: Vec<String>,
    clue: Option<String>,
    #[serde(default)]
    goal: Vec<String>,
    #[serde(default)]
    tell: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wino {
    mass: String,
    say: Vec<String>,
    frames: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DimensionText {
    poles: [String; 2],
    things: [String; 2],
    frames: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogicText {
    tables: String,
    frames: Vec<String>,
}

/// One kind of fact with every sentence that states or asks it; slots as explained in world.toml.
#[derive(Debug)]
pub struct Relation {
    /// The table whose entities it is about ("property" for the WinoGrande adjectives).
    pub table: String,
    /// The column that holds its values.
    pub column: String,
    /// Statements.
    pub say: Vec<String>,
    /// Sentences that stop just before the value.
    pub stem: Vec<String>,
    /// Questions for the value, each with the shape of its answer.
    pub ask: Vec<(String, String)>,
    /// Questions for the entity.
    pub which: Vec<String>,
    /// A verb phrase that holds of the entity.
    pub clue: Option<String>,
    /// Goals, each with the shape of its solution.
    pub goal: Vec<(String, String)>,
    /// Stories: context, question, and the shape of the answer.
    pub tell: Vec<(String, String, String)>,
}

/// One atomic fact: this entity has this value in this relation.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Index into [`World::relations`].
    pub relation: usize,
    /// The entity without article.
    pub entity: String,
    /// The entity as a noun phrase.
    pub phrase: String,
    /// The value that is stated and asked.
    pub value: String,
    /// Values that are true as well and so never wrong choices.
    pub also: Vec<String>,
    /// Whether only the mini sets' `eval.jsonl` may ask it.
    pub asked: bool,
}

impl Fact {
    /// Whether the value may be true of this fact's entity.
    pub fn admits(&self, value: &str) -> bool {
        self.value == value || self.also.iter().any(|v| v == value)
    }
}

/// Two opposite adjectives and the sentences that set them against each other.
#[derive(Debug)]
pub(super) struct Dimension {
    pub relation: usize,
    pub poles: [String; 2],
    pub frames: Vec<String>,
}

/// Passages that lead to one entity.
#[derive(Debug)]
pub(super) struct Logic {
    /// Tables whose entities they may name.
    pub tables: Vec<String>,
    /// Passage, question, and the shape of the answer.
    pub frames: Vec<[String; 3]>,
}

/// Everything the pocket model is told about: facts, sentences, and the words of stories and deductions.
#[derive(Debug)]
pub struct World {
    /// Kinds of facts.
    pub relations: Vec<Relation>,
    /// All facts, grouped by relation.
    pub facts: Vec<Fact>,
    pub(super) names: Vec<String>,
    /// Mixture of each stage of training.
    pub(super) stages: Vec<Vec<(String, f64)>>,
    pub(super) story: Story,
    pub(super) dimensions: Vec<Dimension>,
    pub(super) logic: Logic,
    by_relation: Vec<Vec<usize>>,
}

impl World {
    /// The world that is part of the program.
    pub fn embedded() -> Result<Self> {
        Self::parse(SOURCE).context("reading models/pocket/world.toml")
    }

    /// Reads and checks a world.
    pub fn parse(source: &str) -> Result<Self> {
        let file: File = toml::from_str(source)?;
        let mut world = World {
            relations: Vec::new(),
            facts: Vec::new(),
            names: list(&file.names, ' '),
            stages: file.stage.iter().map(weights).collect::<Result<_>>()?,
            story: file.story,
            dimensions: Vec::new(),
            logic: Logic {
                tables: list(&file.logic.tables, ' '),
                frames: file.logic.frames.iter().map(|f| parts(f, "=>")).collect::<Result<_>>()?,
            },
            by_relation: Vec::new(),
        };
        for text in file.relation {
            let at = format!("{}.{}", text.table, text.column);
            let table = file.table.iter().find(|t| t.name == text.table).with_context(|| format!("{at}: no table"))?;
            let column = table.columns.iter().position(|c| *c == text.column);
            let column = column.with_context(|| format!("{at}: no column"))?;
            let facts = table_facts(table, column, world.relations.len()).context(at)?;
            world.add(Relation::from_text(text)?, facts);
        }
        for dimension in file.dimension {
            let relation = world.relations.len();
            let mut facts = Vec::new();
            for (pole, things) in dimension.poles.iter().zip(&dimension.things) {
                for thing in list(things, ',') {
                    let mass = file.wino.mass.split_whitespace().any(|m| m.replace('_', " ") == thing);
                    let phrase = if mass { format!("the {thing}") } else { with_article(&thing) };
                    facts.push(Fact::new(relation, thing, phrase, pole.clone(), Vec::new()));
                }
            }
            let column = dimension.poles.join(" or ");
            world.add(Relation::property(column, file.wino.say.clone()), facts);
            let frames = dimension.frames.into_iter().chain(file.wino.frames.iter().cloned()).collect();
            world.dimensions.push(Dimension { relation, poles: dimension.poles, frames });
        }
        world.check()?;
        Ok(world)
    }

    /// Adds a relation and marks a fixed share of the facts of each of its values as asked.
    fn add(&mut self, relation: Relation, mut facts: Vec<Fact>) {
        let index = self.relations.len();
        let mut rng = ChaCha8Rng::seed_from_u64(SPLIT_SEED + index as u64);
        let mut order: Vec<usize> = (0..facts.len()).collect();
        order.shuffle(&mut rng);
        // By value, so that every value of a relation with few of them is found on both sides.
        order.sort_by(|a, b| facts[*a].value.cmp(&facts[*b].value));
        let offset = 0.5;
        for (rank, i) in order.iter().enumerate() {
            let before = (rank as f64 * ASKED_SHARE + offset).floor();
            facts[*i].asked = ((rank + 1) as f64 * ASKED_SHARE + offset).floor() > before;
        }
        self.by_relation.push((self.facts.len()..self.facts.len() + facts.len()).collect());
        self.facts.extend(facts);
        self.relations.push(relation);
    }

    fn check(&self) -> Result<()> {
        ensure!(self.names.len() >= 8, "at least eight names are needed");
        let mut seen = HashSet::new();
        for fact in &self.facts {
            let relation = &self.relations[fact.relation];
            let at = format!("{}.{} of {}", relation.table, relation.column, fact.entity);
            ensure!(seen.insert((fact.relation, &fact.entity)), "{at} is stated twice");
            ensure!(!fact.value.is_empty() && !fact.also.contains(&fact.value), "{at}: bad value");
        }
        for relation in &self.relations {
            let at = format!("{}.{}", relation.table, relation.column);
            ensure!(relation.say.len() >= 5, "{at}: at least five statements are needed");
            for say in &relation.say {
                let whole = (say.contains("{e}") || say.contains("{n}")) && say.contains("{v}");
                ensure!(whole, "{at}: statement without entity or value: {say}");
            }
        }
        Ok(())
    }

    /// The indices of a relation's facts.
    pub(super) fn facts_of(&self, relation: usize) -> &[usize] {
        &self.by_relation[relation]
    }

    /// Whether a value of one relation is also one of the other.
    pub(super) fn share_values(&self, a: usize, b: usize) -> bool {
        let values = |r: usize| -> HashSet<&str> {
            let facts = self.facts_of(r).iter().map(|i| &self.facts[*i]);
            facts.flat_map(|f| f.also.iter().chain([&f.value])).map(|v| bare(v)).collect()
        };
        a == b || !values(a).is_disjoint(&values(b))
    }
}

impl Relation {
    fn property(column: String, say: Vec<String>) -> Self {
        let (table, clue) = ("property".to_owned(), None);
        Self { table, column, say, clue, stem: vec![], ask: vec![], which: vec![], goal: vec![], tell: vec![] }
    }

    fn from_text(text: RelationText) -> Result<Self> {
        let ask = text.ask.iter().map(|a| match a.split_once("=>") {
            Some((question, answer)) => (question.trim().to_owned(), answer.trim().to_owned()),
            None => (a.trim().to_owned(), "{v}".to_owned()),
        });
        let goal = text.goal.iter().map(|g| {
            let (goal, solution) = g.split_once("=>").with_context(|| format!("goal without =>: {g}"))?;
            Ok((goal.trim().to_owned(), solution.trim().to_owned()))
        });
        let tell = text.tell.iter().map(|t| {
            let [context, question, answer] = parts(t, "=>")?;
            Ok((context, question, answer))
        });
        Ok(Self {
            ask: ask.collect(),
            goal: goal.collect::<Result<_>>()?,
            tell: tell.collect::<Result<_>>()?,
            table: text.table,
            column: text.column,
            say: text.say,
            stem: text.stem,
            which: text.which,
            clue: text.clue,
        })
    }
}

impl Fact {
    fn new(relation: usize, entity: String, phrase: String, value: String, also: Vec<String>) -> Self {
        Self { relation, entity, phrase, value, also, asked: false }
    }
}

fn table_facts(table: &Table, column: usize, relation: usize) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    for line in table.rows.lines().filter(|l| !l.trim().is_empty()) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        ensure!(cells.len() == table.columns.len() + 1, "wrong number of cells: {line}");
        let mut values = cells[column + 1].split('/').map(|v| v.trim().to_owned());
        let value = values.next().unwrap_or_default();
        if value == "-" {
            continue;
        }
        let mass = table.mass.split(',').any(|m| m.trim() == cells[0]);
        let phrase = if table.article && !mass { with_article(cells[0]) } else { cells[0].to_owned() };
        facts.push(Fact::new(relation, bare(cells[0]).to_owned(), phrase, value, values.collect()));
    }
    Ok(facts)
}

fn list(text: &str, separator: char) -> Vec<String> {
    text.split(separator).map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect()
}

fn weights(table: &Weights) -> Result<Vec<(String, f64)>> {
    let number = |v: &toml::Value| v.as_float().or_else(|| v.as_integer().map(|i| i as f64));
    let mut weights = Vec::new();
    for (kind, value) in table {
        match number(value) {
            Some(weight) if weight > 0.0 => weights.push((kind.clone(), weight)),
            _ => bail!("stage: {kind}: not a positive number"),
        }
    }
    Ok(weights)
}

fn parts(text: &str, separator: &str) -> Result<[String; 3]> {
    let parts: Vec<String> = text.split(separator).map(|p| p.trim().to_owned()).collect();
    parts.try_into().map_err(|_| anyhow::anyhow!("three parts expected: {text}"))
}
