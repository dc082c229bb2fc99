//! Practice in tying letters to options, for CommonsenseQA, where the model must answer with a letter.

use rand::{
    Rng,
    seq::{IndexedRandom, SliceRandom},
};
use serde_json::json;

use super::corpus::Document;
use super::questions::Asker;
use super::text::{bare, sentence};

pub(super) const LETTERS: [&str; 5] = ["A", "B", "C", "D", "E"];

impl<'w> Asker<'w> {
    /// One of three exercises, or nothing when too few options were drawn.
    pub fn drill(&mut self) -> Option<Document> {
        match self.rng.random_range(0..3) {
            0 => self.letter_of_option(),
            1 => self.letters_of_list(),
            _ => self.letters_of_answers(),
        }
    }

    /// A row of the set whose question names its answer.
    fn letter_of_option(&mut self) -> Option<Document> {
        let options = self.five_options()?;
        let gold = self.rng.random_range(0..5);
        let row = json!({
            "id": "train", "question": format!("Which letter is {}?", options[gold]), "question_concept": options[gold],
            "choices": { "label": LETTERS, "text": options }, "answerKey": LETTERS[gold],
        });
        Some(Document::Row { dataset: "commonsense_qa", row })
    }

    /// A lettered list, and then the letter of each of its options in another order.
    fn letters_of_list(&mut self) -> Option<Document> {
        let options = self.five_options()?;
        let lines = options.iter().map(|o| format!("{o}: ")).collect::<Vec<_>>();
        Some(self.list(&options, &lines, 5))
    }

    /// A lettered list, and then questions of which each has one of its options as answer.
    fn letters_of_answers(&mut self) -> Option<Document> {
        let world = self.world;
        let relation = world.facts[self.fact(|r| !r.ask.is_empty())?].relation;
        let (_, (question, _)) = self.one(&world.relations[relation].ask)?;
        let chosen = self.five_apart(relation)?;
        let options: Vec<&str> = chosen.iter().map(|i| bare(&world.facts[*i].value)).collect();
        let state = |i: &usize| question.replace("{e}", &world.facts[*i].phrase);
        let lines: Vec<String> = chosen.iter().map(|i| format!("{} ", sentence(&state(i)))).collect();
        Some(self.list(&options, &lines, 3))
    }

    /// Five facts of a relation, none of whose values is right for another.
    pub(super) fn five_apart(&mut self, relation: usize) -> Option<Vec<usize>> {
        let world = self.world;
        let mut order = world.facts_of(relation).to_vec();
        order.shuffle(&mut self.rng);
        let mut chosen: Vec<usize> = Vec::new();
        for i in order {
            let fact = &world.facts[i];
            let apart = |j: &usize| !fact.admits(&world.facts[*j].value) && !world.facts[*j].admits(&fact.value);
            if fact.asked == self.asked && chosen.len() < 5 && chosen.iter().all(apart) {
                chosen.push(i);
            }
        }
        (chosen.len() == 5).then_some(chosen)
    }

    /// The options with their letters, then so many of the lines with their letters, in random order.
    fn list(&mut self, options: &[&str], lines: &[String], count: usize) -> Document {
        let mut text = String::from("Letters:\n");
        for (letter, option) in LETTERS.iter().zip(options) {
            text.push_str(&format!("{letter}. {option}\n"));
        }
        let mut order = [0, 1, 2, 3, 4];
        order.shuffle(&mut self.rng);
        let answers: Vec<String> = order[..count].iter().map(|i| format!("{}{}", lines[*i], LETTERS[*i])).collect();
        text.push_str(&answers.join("\n"));
        Document::Text(text)
    }

    /// Five entities or values of one relation.
    pub(super) fn five_options(&mut self) -> Option<Vec<&'w str>> {
        let world = self.world;
        let relation = world.facts[self.fact(|r| !r.ask.is_empty() || r.table == "property")?].relation;
        let by_entity = self.rng.random_bool(0.4);
        let text = |i: &usize| {
            let fact = &world.facts[*i];
            if by_entity { fact.entity.as_str() } else { bare(&fact.value) }
        };
        let mut options: Vec<&str> = world.facts_of(relation).iter().map(text).collect();
        options.sort_unstable();
        options.dedup();
        let five: Vec<&str> = options.choose_multiple(&mut self.rng, 5).copied().collect();
        (five.len() == 5).then_some(five)
    }
}
