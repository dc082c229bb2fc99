//! Practice in looking things up in the text itself: the second stage of training. Many answers a document, because one
//! answer a list teaches a small model too slowly that lists are to be read at all.

use rand::{
    Rng,
    seq::{IndexedRandom, SliceRandom},
};

use super::corpus::{Document, Part};
use super::drill::LETTERS;
use super::questions::Asker;
use super::text::{bare, sentence};

impl<'w> Asker<'w> {
    /// Words at random, said twice: the second time each follows from the first.
    pub fn echo(&mut self) -> Option<Document> {
        let count = self.rng.random_range(6..14);
        let facts: Vec<usize> = (0..count).map(|_| self.rng.random_range(0..self.world.facts.len())).collect();
        let words: Vec<&str> = facts.iter().map(|&i| self.world.facts[i].entity.as_str()).collect();
        let said = words.join(", ");
        Some(Document::Parts(vec![Part::plain(format!("{said}.")), Part::answer(format!(" {said}."))]))
    }

    /// Who has what, in sentences; then each of it asked for, one way or the other.
    pub fn ledger(&mut self) -> Option<Document> {
        let count = self.rng.random_range(3..6);
        let names = self.pick_names(count);
        let things: Vec<String> = self.world.logic.things.choose_multiple(&mut self.rng, count).cloned().collect();
        let has = |i: usize| format!("{} has the {}.", names[i], things[i]);
        let mut text = (0..count).map(has).collect::<Vec<_>>().join(" ");
        let listed = self.rng.random_bool(0.4);
        if listed {
            text = format!("Passage: {text}");
        }
        let mut parts = vec![Part::plain(text)];
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut self.rng);
        for (nth, &i) in order.iter().enumerate() {
            if listed {
                parts.push(Part::plain(format!("\nQuestion: Who has the {}?", things[i])));
                if nth == 0 {
                    let mut shown: Vec<&str> = names.clone();
                    shown.shuffle(&mut self.rng);
                    let lines: Vec<String> =
                        LETTERS.iter().zip(&shown).take(4).map(|(letter, name)| format!("{letter}. {name}")).collect();
                    parts.push(Part::plain(format!("\nChoices:\n{}", lines.join("\n"))));
                }
                parts.push(Part::plain("\nAnswer:".to_owned()));
                parts.push(Part::answer(format!(" {}", names[i])));
            } else if self.rng.random_bool(0.5) {
                parts.push(Part::plain(format!("\nWho has the {}?", things[i])));
                parts.push(Part::answer(format!(" {}", names[i])));
            } else {
                parts.push(Part::plain(format!("\nWhat does {} have? The", names[i])));
                parts.push(Part::answer(format!(" {}", things[i])));
            }
        }
        Some(Document::Parts(parts))
    }

    /// A lettered list, then the letter of every option in another order, and again in a third.
    pub fn letters(&mut self) -> Option<Document> {
        let options = self.five_options()?;
        let mut parts = vec![Part::plain(listing(&options))];
        for _ in 0..2 {
            let mut order = [0, 1, 2, 3, 4];
            order.shuffle(&mut self.rng);
            for i in order {
                parts.push(Part::plain(format!("\n{}:", options[i])));
                parts.push(Part::answer(format!(" {}", LETTERS[i])));
            }
        }
        Some(Document::Parts(parts))
    }

    /// A list of two to five options, then the letter of each. Options are asked for inside a sentence: at the start of
    /// a line they would be other tokens than in the list.
    pub fn pairs(&mut self) -> Option<Document> {
        let mut options = self.five_options()?;
        if self.rng.random_bool(0.6) {
            options.retain(|o| !o.contains(' '));
        }
        let count = self.rng.random_range(2..6).min(options.len());
        if count < 2 {
            return None;
        }
        let options = &options[..count];
        let mut parts = Vec::new();
        // Half of the lists say each letter again after its option: so an option learns to know its letter.
        let said = self.rng.random_bool(0.5);
        for (nth, (letter, option)) in LETTERS.iter().zip(options).enumerate() {
            parts.push(Part::plain(format!("{}{letter}. {option}", if nth == 0 { "" } else { "\n" })));
            if said {
                parts.push(Part::answer(format!(" {letter}")));
            }
        }
        let asking = if self.rng.random_bool(0.5) { ("Answer: ", " is") } else { ("Which letter is ", "?") };
        for _ in 0..2 {
            let mut order: Vec<usize> = (0..count).collect();
            order.shuffle(&mut self.rng);
            for i in order {
                parts.push(Part::plain(format!("\n{}{}{}", asking.0, options[i], asking.1)));
                parts.push(Part::answer(format!(" {}", LETTERS[i])));
            }
        }
        Some(Document::Parts(parts))
    }

    /// A question with its lettered options as CommonsenseQA puts it, then more questions with the same options.
    pub fn quiz(&mut self) -> Option<Document> {
        let world = self.world;
        let relation = world.facts[self.fact(|r| !r.ask.is_empty())?].relation;
        let chosen = self.five_apart(relation)?;
        let options: Vec<&str> = chosen.iter().map(|i| bare(&world.facts[*i].value)).collect();
        let mut asked = [0, 1, 2, 3, 4];
        asked.shuffle(&mut self.rng);
        let mut parts = Vec::new();
        for (nth, i) in asked.into_iter().enumerate() {
            let (_, (question, _)) = self.one(&world.relations[relation].ask)?;
            let question = sentence(&question.replace("{e}", &world.facts[chosen[i]].phrase));
            let lead = if nth == 0 { "" } else { "\n" };
            let list = if nth == 0 { format!("\n{}", listing(&options)) } else { String::new() };
            parts.push(Part::plain(format!("{lead}Question: {question}{list}\nAnswer:")));
            parts.push(Part::answer(format!(" {}", LETTERS[i])));
        }
        Some(Document::Parts(parts))
    }
}

fn listing(options: &[&str]) -> String {
    let lines: Vec<String> =
        LETTERS.iter().zip(options).map(|(letter, option)| format!("{letter}. {option}")).collect();
    lines.join("\n")
}
