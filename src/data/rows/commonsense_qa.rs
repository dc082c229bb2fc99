//! CommonsenseQA: choices are listed under letters, so labels have to be in order.

use anyhow::{Result, ensure};

use super::{Fields, Read};
use crate::data::prompt;

pub fn read(row: &Fields) -> Result<Read> {
    let question = row.text("question")?;
    let choices = row.labelled()?;
    for (i, label) in choices.labels.iter().enumerate() {
        // The harness takes the gold letter itself for the position: labels in another order would score another choice.
        let (letter, digit) = (prompt::letter(i).to_string(), (i + 1).to_string());
        ensure!(
            *label == letter || *label == digit,
            "field \"choices.label\": expected {letter:?} at position {}, found {label:?}",
            i + 1
        );
    }
    let gold = row.gold_label("answerKey", &choices.labels)?;
    Ok(Read { id: row.id()?, gold, choices: prompt::commonsense_qa(&question, &choices.texts) })
}
