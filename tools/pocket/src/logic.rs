//! Deductions from a short passage and a fact about what it names (LogiQA's shape).

use rand::seq::SliceRandom;

use crate::questions::{Asker, Question};
use crate::text::{fill, sentence};

impl Asker<'_> {
    /// A passage that leads to one entity, and what must be true of it; or what must be true, and which entity it is.
    pub fn deduction(&mut self) -> Option<Question> {
        let world = self.world;
        let i = self.fact(|r| r.clue.is_some() && world.logic.tables.contains(&r.table))?;
        let fact = &world.facts[i];
        let relation = &world.relations[fact.relation];
        let mut others: Vec<_> = world.facts_of(fact.relation).iter().map(|j| &world.facts[*j]).collect();
        others.retain(|other| !fact.admits(&other.value) && !other.admits(&fact.value));
        others.shuffle(&mut self.rng);
        // The entity that the passage sets beside the right one comes first, and so is always a wrong choice.
        let other = *others.first()?;
        let mut either = [fact, other];
        either.shuffle(&mut self.rng);
        let (t, [context, text, answer]) = self.one(&world.logic.frames)?;
        let (one, two) = self.two_names();
        let clue = |value: &str| fill(relation.clue.as_deref().unwrap_or_default(), &[("v", value)]);
        let shaped = |template: &str, entity: &str, value: &str| {
            let (a, b) = (&either[0].phrase, &either[1].phrase);
            let slots = [("e", entity), ("o", &other.phrase), ("a", a), ("b", b), ("N", one), ("M", two)];
            fill(&fill(template, &slots), &[("c", &clue(value))])
        };
        let mut wrong = Vec::new();
        for other in others {
            let choice = shaped(answer, &other.phrase, &other.value);
            if wrong.len() < 3 && !wrong.contains(&choice) {
                wrong.push(choice);
            }
        }
        Some(Question {
            context: sentence(&shaped(context, &fact.phrase, &fact.value)),
            text: sentence(&shaped(text, &fact.phrase, &fact.value)),
            gold: shaped(answer, &fact.phrase, &fact.value),
            wrong,
            facts: vec![i],
            signature: format!("deduction {t} {i}"),
            concept: fact.entity.clone(),
        })
    }
}
