//! PIQA.

use anyhow::Result;

use super::{Fields, Read};
use crate::data::prompt;

pub fn read(row: &Fields) -> Result<Read> {
    let goal = row.text("goal")?;
    let texts = row.choices(&["sol1", "sol2"])?;
    let gold = row.gold_number("label", texts.len())?;
    Ok(Read { id: row.id()?, gold, choices: prompt::question_answer(&goal, &texts) })
}
