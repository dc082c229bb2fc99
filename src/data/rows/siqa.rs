//! SIQA.

use anyhow::Result;

use super::{Fields, Read};
use crate::data::prompt;

pub fn read(row: &Fields) -> Result<Read> {
    let context = row.text("context")?;
    let question = row.text("question")?;
    let texts = row.choices(&["answerA", "answerB", "answerC"])?;
    let gold = row.gold_label("label", &["1", "2", "3"])?;
    Ok(Read { id: row.id()?, gold, choices: prompt::siqa(&context, &question, &texts) })
}
