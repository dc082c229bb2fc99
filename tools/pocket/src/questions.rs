//! Questions about facts, before they take the shape of a data set's row.

use std::collections::BTreeSet;

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::text::{bare, fill, sentence};
use crate::world::{Fact, Relation, World};

/// How often a fact is drawn before a kind of question is given up.
const TRIES: usize = 400;

/// A question with its answer and everything that is surely wrong.
pub(super) struct Question {
    pub context: String,
    pub text: String,
    pub gold: String,
    pub wrong: Vec<String>,
    /// The facts it asks about.
    pub facts: Vec<usize>,
    /// Tells apart questions that differ in more than names and wrong choices.
    pub signature: String,
    /// The entity that it is about.
    pub concept: String,
}

/// Draws questions about one side of the split.
pub(super) struct Asker<'w> {
    pub world: &'w World,
    pub rng: ChaCha8Rng,
    /// Whether questions are about asked facts (for `eval.jsonl`) or the others.
    pub asked: bool,
}

impl<'w> Asker<'w> {
    /// Two different first names.
    pub fn two_names(&mut self) -> (&'w str, &'w str) {
        let names = self.pick_names(2);
        (names[0], names[1])
    }

    /// So many different first names.
    pub fn pick_names(&mut self, count: usize) -> Vec<&'w str> {
        let world = self.world;
        world.names.choose_multiple(&mut self.rng, count).map(String::as_str).collect()
    }

    /// One of the texts, with its place.
    pub fn one<T>(&mut self, texts: &'w [T]) -> Option<(usize, &'w T)> {
        if texts.is_empty() {
            return None;
        }
        let i = self.rng.random_range(0..texts.len());
        Some((i, &texts[i]))
    }

    /// A fact on this side of the split whose relation has what is wanted.
    pub fn fact(&mut self, wanted: impl Fn(&Relation) -> bool) -> Option<usize> {
        let facts = &self.world.facts;
        for _ in 0..TRIES {
            let i = self.rng.random_range(0..facts.len());
            if facts[i].asked == self.asked && wanted(&self.world.relations[facts[i].relation]) {
                return Some(i);
            }
        }
        None
    }

    /// The template filled with the fact and two names, with capitals.
    pub fn state(&self, template: &str, fact: &Fact, names: (&str, &str)) -> String {
        sentence(&self.plain(template, fact, names))
    }

    fn plain(&self, template: &str, fact: &Fact, names: (&str, &str)) -> String {
        let (e, n, v) = (fact.phrase.as_str(), fact.entity.as_str(), fact.value.as_str());
        fill(template, &[("e", e), ("n", n), ("v", v), ("w", bare(v)), ("N", names.0), ("M", names.1)])
    }

    /// The sentence of OpenBookQA that a value completes.
    pub fn stem(&mut self) -> Option<Question> {
        let i = self.fact(|r| !r.stem.is_empty())?;
        let fact = &self.world.facts[i];
        let (t, stem) = self.one(&self.world.relations[fact.relation].stem)?;
        let names = self.two_names();
        let text = self.state(stem, fact, names);
        Some(self.for_value(i, &format!("stem {t}"), String::new(), text, "{v}", names))
    }

    /// A direct question for a value.
    pub fn ask(&mut self) -> Option<Question> {
        let i = self.fact(|r| !r.ask.is_empty())?;
        let fact = &self.world.facts[i];
        let (t, (question, answer)) = self.one(&self.world.relations[fact.relation].ask)?;
        let names = self.two_names();
        let text = self.state(question, fact, names);
        Some(self.for_value(i, &format!("ask {t}"), String::new(), text, answer, names))
    }

    /// The answer to a question of another kind: its relation shares no value with the fact's, and it is no value of
    /// the fact's entity.
    pub fn far_off(&mut self, i: usize) -> Option<String> {
        let world = self.world;
        let fact = &world.facts[i];
        let j = self.fact(|r| !r.ask.is_empty())?;
        let other = &world.facts[j];
        if world.share_values(fact.relation, other.relation) || other.entity == fact.entity {
            return None;
        }
        let (_, (_, answer)) = self.one(&world.relations[other.relation].ask)?;
        Some(bare(&fill(answer, &[("v", &other.value)])).to_owned())
    }

    /// A question about a small story; `table` limits it to one table.
    pub fn tell(&mut self, table: Option<&str>) -> Option<Question> {
        let i = self.fact(|r| !r.tell.is_empty() && table.is_none_or(|t| r.table == t))?;
        let fact = &self.world.facts[i];
        let (t, (context, question, answer)) = self.one(&self.world.relations[fact.relation].tell)?;
        let names = self.two_names();
        let context = self.state(context, fact, names);
        let text = self.state(question, fact, names);
        let mut question = self.for_value(i, &format!("tell {t}"), context, text, answer, names);
        // Names of the story are kept for what is told around it.
        question.concept = format!("{} {}", names.0, names.1);
        Some(question)
    }

    /// A question for the entity that has a value.
    pub fn which(&mut self) -> Option<Question> {
        let i = self.fact(|r| !r.which.is_empty())?;
        let fact = &self.world.facts[i];
        let (t, which) = self.one(&self.world.relations[fact.relation].which)?;
        let names = self.two_names();
        let text = self.state(which, fact, names);
        Some(self.for_entity(i, &format!("which {t}"), text, "{e}", names))
    }

    /// A goal and what to do for it.
    pub fn goal(&mut self) -> Option<Question> {
        let i = self.fact(|r| !r.goal.is_empty())?;
        let fact = &self.world.facts[i];
        let (t, (goal, solution)) = self.one(&self.world.relations[fact.relation].goal)?;
        let names = self.two_names();
        let text = self.state(goal, fact, names);
        let kind = format!("goal {t}");
        Some(if solution.contains("{v}") {
            self.for_value(i, &kind, String::new(), text, solution, names)
        } else {
            self.for_entity(i, &kind, text, solution, names)
        })
    }

    /// Two facts of one entity, of which the entity is asked.
    pub fn both(&mut self) -> Option<Question> {
        let facts = &self.world.facts;
        let clue = |i: usize| self.world.relations[facts[i].relation].clue.as_deref();
        let first = self.fact(|r| r.clue.is_some())?;
        let table = &self.world.relations[facts[first].relation].table;
        let same = |i: &usize| {
            let fact = &facts[*i];
            let relation = &self.world.relations[fact.relation];
            let other = fact.relation != facts[first].relation && fact.entity == facts[first].entity;
            other && fact.asked == facts[first].asked && relation.table == *table && relation.clue.is_some()
        };
        let second: Vec<usize> = (0..facts.len()).filter(same).collect();
        let (a, b) = (first, *second.choose(&mut self.rng)?);
        let kind = match table.as_str() {
            "animal" => "Which animal",
            "job" => "Who",
            "food" => "What food",
            _ => "Which of these",
        };
        let clues = [a, b].map(|i| fill(clue(i).unwrap_or_default(), &[("v", &facts[i].value)]));
        let wrong_of = |i: usize| -> BTreeSet<String> {
            let other = self.world.facts_of(facts[i].relation).iter().map(|j| &facts[*j]);
            other.filter(|g| !g.admits(&facts[i].value)).map(|g| g.phrase.clone()).collect()
        };
        let wrong = wrong_of(a).intersection(&wrong_of(b)).cloned().collect();
        let text = format!("{kind} {} and {}?", clues[0], clues[1]);
        let (entity, phrase) = (facts[a].entity.clone(), facts[a].phrase.clone());
        let signature = format!("both {} {}", a.min(b), a.max(b));
        Some(Question {
            context: String::new(),
            text,
            gold: phrase,
            wrong,
            facts: vec![a, b],
            signature,
            concept: entity,
        })
    }

    fn for_value(
        &self,
        i: usize,
        kind: &str,
        context: String,
        text: String,
        answer: &str,
        names: (&str, &str),
    ) -> Question {
        let fact = &self.world.facts[i];
        let others = self.world.facts_of(fact.relation).iter().map(|j| &self.world.facts[*j].value);
        let values: BTreeSet<&String> = others.filter(|v| !fact.admits(v)).collect();
        let answer = answer.replace("{N}", names.0).replace("{M}", names.1);
        let shaped = |v: &str| polish(&answer, fill(&answer, &[("v", v), ("w", bare(v))]));
        Question {
            context,
            text,
            gold: shaped(&fact.value),
            wrong: values.iter().map(|v| shaped(v)).collect(),
            facts: vec![i],
            signature: format!("{kind} {i}"),
            concept: fact.entity.clone(),
        }
    }

    fn for_entity(&self, i: usize, kind: &str, text: String, answer: &str, names: (&str, &str)) -> Question {
        let fact = &self.world.facts[i];
        let others = self.world.facts_of(fact.relation).iter().map(|j| &self.world.facts[*j]);
        let phrases: BTreeSet<&String> = others.filter(|g| !g.admits(&fact.value)).map(|g| &g.phrase).collect();
        let answer = answer.replace("{N}", names.0).replace("{M}", names.1);
        let shaped = |e: &str| polish(&answer, fill(&answer, &[("e", e)]));
        Question {
            context: String::new(),
            text,
            gold: shaped(&fact.phrase),
            wrong: phrases.iter().map(|e| shaped(e)).collect(),
            facts: vec![i],
            signature: format!("{kind} {i}"),
            concept: fact.entity.clone(),
        }
    }
}

/// Capitals for an answer that is a whole sentence.
fn polish(template: &str, answer: String) -> String {
    if template.ends_with('.') { sentence(&answer) } else { answer }
}
