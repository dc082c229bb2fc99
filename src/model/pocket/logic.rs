//! Puzzles that are solved from their passage alone (LogiQA's shape), with names and words drawn at random.

use rand::{
    Rng,
    seq::{IndexedRandom, SliceRandom},
};

use super::questions::{Asker, Question};
use super::text::{sentence, with_article};

impl Asker<'_> {
    /// One puzzle; a single one is picked among five kinds.
    pub fn puzzle(&mut self) -> Question {
        match self.rng.random_range(0..5) {
            0 => self.rule(),
            1 => self.order(),
            2 => self.elimination(),
            3 => self.condition(),
            _ => self.owner(),
        }
    }

    fn words(&mut self, from: &[String], count: usize) -> Vec<String> {
        from.choose_multiple(&mut self.rng, count).cloned().collect()
    }

    /// Every job has its trait, and someone has the job.
    fn rule(&mut self) -> Question {
        let jobs = self.words(&self.world.logic.jobs, 2);
        let traits = self.words(&self.world.logic.traits, 4);
        let names = self.pick_names(2);
        let mut rules = [0, 1].map(|i| format!("every {} is {}.", jobs[i], traits[i]));
        let mut people = [0, 1].map(|i| format!("{} is {}.", names[i], with_article(&jobs[i])));
        rules.shuffle(&mut self.rng);
        people.shuffle(&mut self.rng);
        let text = format!("What must be true of {}?", names[0]);
        puzzle(&[rules, people].concat(), text, &traits[0], &traits[1..])
    }

    /// Three people in a row, and who stands at one end.
    fn order(&mut self) -> Question {
        let names = self.pick_names(4);
        let (more, most, least) = self.order_words();
        let mut facts = [0, 1].map(|i| format!("{} is {more} than {}.", names[i], names[i + 1]));
        if self.rng.random_bool(0.3) {
            facts.reverse();
        }
        let top = self.rng.random_bool(0.5);
        let (word, gold) = if top { (most, 0) } else { (least, 2) };
        let wrong: Vec<&str> = (0..4).filter(|i| *i != gold).map(|i| names[i]).collect();
        puzzle(&facts, format!("Who is the {word}?"), names[gold], &wrong)
    }

    fn order_words(&mut self) -> (String, String, String) {
        let i = self.rng.random_range(0..self.world.logic.orders.len());
        let [more, most, least] = self.world.logic.orders[i].clone();
        (more, most, least)
    }

    /// One of three people has it, and two have not.
    fn elimination(&mut self) -> Question {
        let names = self.pick_names(4);
        let thing = &self.words(&self.world.logic.things, 1)[0];
        let mut three = [names[0], names[1], names[2]];
        three.shuffle(&mut self.rng);
        let mut not = [names[1], names[2]];
        not.shuffle(&mut self.rng);
        let mut facts = vec![format!("{} or {} or {} has the {thing}.", three[0], three[1], three[2])];
        facts.extend(not.iter().map(|n| format!("{n} does not have the {thing}.")));
        puzzle(&facts, format!("Who has the {thing}?"), names[0], &names[1..])
    }

    /// Two rules of the form "if .. then", of which one applies.
    fn condition(&mut self) -> Question {
        let names = self.pick_names(4);
        let things = self.words(&self.world.logic.things, 4);
        let has = |i: usize, j: usize| format!("{} has the {}", names[i], things[j]);
        let mut rules = [format!("if {}, {}.", has(0, 0), has(1, 1)), format!("if {}, {}.", has(2, 2), has(3, 3))];
        rules.shuffle(&mut self.rng);
        let mut facts = rules.to_vec();
        facts.push(format!("{}.", has(0, 0)));
        puzzle(&facts, "What must be true?".to_owned(), &has(1, 1), &[has(3, 3), has(1, 3), has(3, 1)])
    }

    /// Things are given to people.
    fn owner(&mut self) -> Question {
        let names = self.pick_names(4);
        let things = self.words(&self.world.logic.things, 2);
        let mut facts =
            [(0, 1, 0), (2, 3, 1)].map(|(a, b, t)| format!("{} gave the {} to {}.", names[a], things[t], names[b]));
        facts.shuffle(&mut self.rng);
        puzzle(&facts, format!("Who has the {} now?", things[0]), names[1], &[names[0], names[2], names[3]])
    }
}

fn puzzle<S: AsRef<str>, W: AsRef<str>>(facts: &[S], text: String, gold: &str, wrong: &[W]) -> Question {
    let facts: Vec<&str> = facts.iter().map(AsRef::as_ref).collect();
    let context = sentence(&facts.join(" "));
    Question {
        signature: format!("{context} {text}"),
        context,
        text,
        gold: gold.to_owned(),
        wrong: wrong.iter().map(|w| w.as_ref().to_owned()).collect(),
        facts: Vec::new(),
        concept: String::new(),
    }
}
