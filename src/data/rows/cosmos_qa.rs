//! CosmosQA.

use anyhow::Result;

use super::{Fields, Read};
use crate::data::prompt;

pub fn read(row: &Fields) -> Result<Read> {
    let context = row.text("context")?;
    let question = row.text("question")?;
    let texts = row.choices(&["answer0", "answer1", "answer2", "answer3"])?;
    let gold = row.gold_number("label", texts.len())?;
    Ok(Read { id: row.id()?, gold, choices: prompt::passage_question_answer(&context, &question, &texts) })
}
