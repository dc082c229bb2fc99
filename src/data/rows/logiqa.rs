//! LogiQA: gold is by position in the options, as in the hub's loader, even where the printed letters say otherwise.

use anyhow::Result;

use super::{Fields, Read};
use crate::data::prompt;

pub fn read(row: &Fields) -> Result<Read> {
    let context = row.text("context")?;
    let question = row.text("question")?;
    let options = row.array("options")?;
    let labels: Vec<String> = (0..options.len()).map(|i| prompt::letter(i).to_ascii_lowercase().to_string()).collect();
    let gold = row.gold_label("label", &labels)?;
    Ok(Read { id: row.id()?, gold, choices: prompt::logiqa(&context, &question, &options) })
}
