//! From a line of JSON Lines to a `Question`: one reader a schema, each with the hub's field names.

mod arc;
mod commonsense_qa;
mod cosmos_qa;
mod fields;
mod logiqa;
mod openbookqa;
mod piqa;
mod qasc;
mod siqa;
#[cfg(test)]
mod tests;
mod winogrande;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::prompt::{Choice, Question};
use fields::Fields;

/// Row schema of a data set, named after the set that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// `question_stem`, `choices{text, label}`, `answerKey`.
    #[serde(rename = "openbookqa")]
    OpenBookQa,
    /// `question`, `choices{text, label}`, `answerKey`.
    Arc,
    /// `goal`, `sol1`, `sol2`, `label` 0 or 1.
    Piqa,
    /// `context`, `question`, `answerA`..`answerC`, `label` "1".."3".
    Siqa,
    /// `sentence` with one `_`, `option1`, `option2`, `answer` "1" or "2".
    #[serde(rename = "winogrande")]
    WinoGrande,
    /// `question`, `choices{label, text}`, `answerKey`; the letter is scored.
    CommonsenseQa,
    /// `question`, `choices{text, label}`, `answerKey`.
    Qasc,
    /// `context`, `question`, `options`, `label` "a".."d".
    #[serde(rename = "logiqa")]
    LogiQa,
    /// `context`, `question`, `answer0`..`answer3`, `label` 0..3.
    CosmosQa,
}

/// What a reader makes of a row; its place in the file is added by the caller.
struct Read {
    id: Option<String>,
    gold: usize,
    choices: Vec<Choice>,
}

impl Schema {
    fn read(self, row: &Fields) -> Result<Read> {
        match self {
            Schema::OpenBookQa => openbookqa::read(row),
            Schema::Arc => arc::read(row),
            Schema::Piqa => piqa::read(row),
            Schema::Siqa => siqa::read(row),
            Schema::WinoGrande => winogrande::read(row),
            Schema::CommonsenseQa => commonsense_qa::read(row),
            Schema::Qasc => qasc::read(row),
            Schema::LogiQa => logiqa::read(row),
            Schema::CosmosQa => cosmos_qa::read(row),
        }
    }
}

/// The questions of a JSON Lines text, at most `limit` of them; `file` is only named in errors. Blank lines are skipped.
pub fn read_rows(schema: Schema, file: &str, bytes: &[u8], limit: Option<usize>) -> Result<Vec<Question>> {
    let mut questions = Vec::new();
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if limit.is_some_and(|n| questions.len() >= n) {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let read = read_line(schema, line).with_context(|| format!("{file} line {}", number + 1))?;
        let index = questions.len();
        let id = read.id.unwrap_or_else(|| index.to_string());
        questions.push(Question { index, id, gold: read.gold, choices: read.choices });
    }
    if questions.is_empty() {
        bail!("{file}: no rows; expected one JSON object a line");
    }
    Ok(questions)
}

fn read_line(schema: Schema, line: &[u8]) -> Result<Read> {
    let text = std::str::from_utf8(line).context("not UTF-8; the file has to be")?;
    let value: Value = serde_json::from_str(text).context("malformed JSON")?;
    let Value::Object(map) = &value else { bail!("expected a JSON object, found {}", fields::kind(&value)) };
    schema.read(&Fields(map))
}
