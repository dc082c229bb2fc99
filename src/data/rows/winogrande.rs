//! WinoGrande.

use anyhow::{Result, bail, ensure};

use super::{Fields, Read};
use crate::data::prompt;

pub fn read(row: &Fields) -> Result<Read> {
    let sentence = row.text("sentence")?;
    let parts: Vec<&str> = sentence.split('_').collect();
    let [before, after] = parts[..] else {
        bail!("field \"sentence\": expected exactly one `_`, found {}", parts.len() - 1)
    };
    ensure!(
        !prompt::strip(after).is_empty(),
        "field \"sentence\": expected text after the `_`, which is what is scored; found none"
    );
    let options = row.choices(&["option1", "option2"])?;
    let gold = row.gold_label("answer", &["1", "2"])?;
    Ok(Read { id: row.id()?, gold, choices: prompt::winogrande(before, after, &options) })
}
