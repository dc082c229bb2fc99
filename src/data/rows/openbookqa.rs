//! OpenBookQA.

use anyhow::Result;

use super::{Fields, Read};
use crate::data::prompt;

pub fn read(row: &Fields) -> Result<Read> {
    let stem = row.text("question_stem")?;
    let choices = row.labelled()?;
    let gold = row.gold_label("answerKey", &choices.labels)?;
    Ok(Read { id: row.id()?, gold, choices: prompt::openbookqa(&stem, &choices.texts) })
}
