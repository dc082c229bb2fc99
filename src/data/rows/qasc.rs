//! QASC: eight choices; the two facts are not shown.

use anyhow::Result;

use super::{Fields, Read};
use crate::data::prompt;

pub fn read(row: &Fields) -> Result<Read> {
    let question = row.text("question")?;
    let choices = row.labelled()?;
    let gold = row.gold_label("answerKey", &choices.labels)?;
    Ok(Read { id: row.id()?, gold, choices: prompt::question_answer(&question, &choices.texts) })
}
