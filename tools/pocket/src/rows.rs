//! Questions in the row schemas of the ten data sets.

use rand::{Rng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::questions::{QuestionMaker, WorldQuestion};
use crate::text::{bare, fill, sentence, words};

/// A row and what tells it apart from others.
pub(super) struct MadeRow {
    pub row: Value,
    /// The text of the question, as it would stand in a training document.
    pub key: String,
    /// Equal for rows that differ only in names and wrong choices.
    pub signature: String,
    pub facts: Vec<usize>,
    pub gold: usize,
    pub choices: usize,
}

pub(super) const LETTERS: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];

impl QuestionMaker<'_> {
    /// A row of the data set, or nothing when what was drawn has too few wrong choices.
    pub fn row(&mut self, dataset: &str, id: &str) -> Option<MadeRow> {
        match dataset {
            "openbookqa" => self.openbookqa(id),
            "arc_easy" => self.arc(id, true),
            "arc_challenge" => self.arc(id, false),
            "piqa" => self.piqa(),
            "siqa" => self.siqa(),
            "winogrande" => self.winogrande(),
            "commonsense_qa" => self.commonsense_qa(id),
            "qasc" => self.qasc(id),
            "logiqa" => self.logiqa(),
            "cosmos_qa" => self.cosmos_qa(id),
            _ => None,
        }
    }

    /// The choices in random order, and where the right one stands. Wrong ones of like length come first.
    fn choices(&mut self, question: &WorldQuestion, count: usize) -> Option<(Vec<String>, usize)> {
        let mut wrong: Vec<&String> = question.wrong.iter().filter(|w| **w != question.gold).collect();
        wrong.sort();
        wrong.dedup();
        if wrong.len() + 1 < count {
            return None;
        }
        wrong.shuffle(&mut self.rng);
        let length = words(&question.gold);
        wrong.sort_by_key(|w| words(w).abs_diff(length));
        let mut choices: Vec<String> = wrong[..count - 1].iter().map(|w| (*w).clone()).collect();
        let gold = self.rng.random_range(0..count);
        choices.insert(gold, question.gold.clone());
        Some((choices, gold))
    }

    fn openbookqa(&mut self, id: &str) -> Option<MadeRow> {
        let question = self.stem()?;
        let (choices, gold) = self.choices(&question, 4)?;
        let row = json!({
            "id": id, "question_stem": question.text,
            "choices": { "text": choices, "label": &LETTERS[..4] }, "answerKey": LETTERS[gold],
        });
        Some(build_row(row, question.text.clone(), question, gold, 4))
    }

    fn arc(&mut self, id: &str, easy: bool) -> Option<MadeRow> {
        let question = if easy {
            self.ask()?
        } else if self.rng.random_bool(0.5) {
            self.which()?
        } else {
            self.both()?
        };
        // The real sets hold a few rows with three or five choices, and a few with digits for letters.
        let count = match self.rng.random_range(0..30) {
            0 => 3,
            1 => 5,
            _ => 4,
        };
        let labels = if self.rng.random_bool(0.05) { ["1", "2", "3", "4", "5"] } else { ["A", "B", "C", "D", "E"] };
        let (choices, gold) = self.choices(&question, count)?;
        let row = json!({
            "id": id, "question": question.text,
            "choices": { "text": choices, "label": &labels[..count] }, "answerKey": labels[gold],
        });
        Some(build_row(row, question.text.clone(), question, gold, count))
    }

    fn piqa(&mut self) -> Option<MadeRow> {
        let question = self.goal()?;
        let (choices, gold) = self.choices(&question, 2)?;
        let row = json!({ "goal": question.text, "sol1": choices[0], "sol2": choices[1], "label": gold });
        Some(build_row(row, format!("{} {}", question.text, question.gold), question, gold, 2))
    }

    fn siqa(&mut self) -> Option<MadeRow> {
        let question = self.tell(Some("event"))?;
        let (choices, gold) = self.choices(&question, 3)?;
        let row = json!({
            "context": question.context, "question": question.text,
            "answerA": choices[0], "answerB": choices[1], "answerC": choices[2], "label": (gold + 1).to_string(),
        });
        Some(build_row(row, format!("{} {}", question.context, question.text), question, gold, 3))
    }

    fn winogrande(&mut self) -> Option<MadeRow> {
        let world = self.world;
        let d = self.rng.random_range(0..world.dimensions.len());
        let dimension = &world.dimensions[d];
        let side = |pole: &str| -> Vec<usize> {
            let facts = world.facts_of(dimension.relation).iter().copied();
            facts.filter(|i| world.facts[*i].asked == self.asked && world.facts[*i].value == pole).collect()
        };
        let sides = [side(&dimension.poles[0]), side(&dimension.poles[1])];
        if sides.iter().any(Vec::is_empty) {
            return None;
        }
        let pair = [0, 1].map(|p| sides[p][self.rng.random_range(0..sides[p].len())]);
        let things = pair.map(|i| world.facts[i].entity.as_str());
        let (f, frame) = self.one(&dimension.frames)?;
        let pole = self.rng.random_range(0..2);
        let first = self.rng.random_range(0..2);
        let (one, two) = self.two_names();
        let slots = [("0", things[0]), ("1", things[1]), ("x", things[first]), ("y", things[1 - first])];
        let text = sentence(&fill(frame, &slots));
        let text = fill(&text, &[("v", &dimension.poles[pole]), ("N", one), ("M", two)]);
        let gold = self.rng.random_range(0..2);
        let options =
            [things[if gold == 0 { pole } else { 1 - pole }], things[if gold == 0 { 1 - pole } else { pole }]];
        let row =
            json!({ "sentence": text, "option1": options[0], "option2": options[1], "answer": (gold + 1).to_string() });
        Some(MadeRow {
            row,
            key: text.replace('_', things[pole]),
            signature: format!("{d} {f} {pole} {} {}", pair[0], pair[1]),
            facts: vec![pair[pole]],
            gold,
            choices: 2,
        })
    }

    fn commonsense_qa(&mut self, id: &str) -> Option<MadeRow> {
        let mut question = self.ask()?;
        question.gold = bare(&question.gold).to_owned();
        question.wrong.iter_mut().for_each(|w| *w = bare(w).to_owned());
        // One wrong choice is of the answer's kind; the others are of other kinds, as in the real set, where some of
        // the choices are far off.
        question.wrong.shuffle(&mut self.rng);
        question.wrong.truncate(1);
        while question.wrong.len() < 4 {
            let other = self.far_off(question.facts[0])?;
            if !question.wrong.contains(&other) {
                question.wrong.push(other);
            }
        }
        let (choices, gold) = self.choices(&question, 5)?;
        let row = json!({
            "id": id, "question": question.text, "question_concept": question.concept,
            "choices": { "label": &LETTERS[..5], "text": choices }, "answerKey": LETTERS[gold],
        });
        Some(build_row(row, question.text.clone(), question, gold, 5))
    }

    fn qasc(&mut self, id: &str) -> Option<MadeRow> {
        let question = if self.rng.random_bool(0.5) { self.ask()? } else { self.both()? };
        let (choices, gold) = self.choices(&question, 8)?;
        let listed: Vec<String> = choices.iter().zip(LETTERS).map(|(c, l)| format!("({l}) {c}")).collect();
        let names = self.two_names();
        let state = |i: usize, t: usize| {
            let fact = &self.world.facts[i];
            let say = &self.world.relations[fact.relation].say;
            self.state(&say[t % say.len()], fact, names)
        };
        // The two facts that the question joins; a direct question has its one fact in two wordings.
        let (first, last) = (question.facts[0], *question.facts.last()?);
        let (fact1, fact2) = (state(first, 0), state(last, 1));
        let combined = format!("{} {}", question.text.trim_end_matches('?'), question.gold);
        let row = json!({
            "id": id, "question": question.text,
            "choices": { "text": choices, "label": LETTERS }, "answerKey": LETTERS[gold],
            "fact1": fact1, "fact2": fact2, "combinedfact": combined,
            "formatted_question": format!("{} {}", question.text, listed.join(" ")),
        });
        Some(build_row(row, question.text.clone(), question, gold, 8))
    }

    fn logiqa(&mut self) -> Option<MadeRow> {
        let question = self.deduction()?;
        let (choices, gold) = self.choices(&question, 4)?;
        let label = LETTERS[gold].to_lowercase();
        let row = json!({ "label": label, "context": question.context, "question": question.text, "options": choices });
        Some(build_row(row, format!("{} {}", question.context, question.text), question, gold, 4))
    }

    fn cosmos_qa(&mut self, id: &str) -> Option<MadeRow> {
        let mut question = self.tell(None)?;
        let (one, two) = question.concept.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        let names = [("N", one.as_str()), ("M", two.as_str())];
        let core = question.context.clone();
        let (_, opening) = self.one(&self.world.story.openings)?;
        question.context = format!("{} {core}", fill(opening, &names));
        let (_, closing) = self.one(&self.world.story.closings)?;
        if self.rng.random_bool(0.3) {
            question.context = format!("{} {}", question.context, fill(closing, &names));
        }
        let (mut choices, gold) = self.choices(&question, 4)?;
        if self.rng.random_bool(0.1) {
            choices[(gold + 1) % 4] = "None of the above choices .".to_owned();
        }
        let row = json!({
            "id": id, "context": question.context, "question": question.text,
            "answer0": choices[0], "answer1": choices[1], "answer2": choices[2], "answer3": choices[3], "label": gold,
        });
        Some(build_row(row, format!("{} {}", question.context, question.text), question, gold, 4))
    }
}

fn build_row(row: Value, key: String, question: WorldQuestion, gold: usize, choices: usize) -> MadeRow {
    MadeRow { row, key, signature: question.signature, facts: question.facts, gold, choices }
}
