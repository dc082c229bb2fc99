//! From a line of JSON Lines to a `Question`, as the data set's definition says.

mod fields;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::definition::{Choices, DatasetInfo, Labels, Scored};
use super::prompt::{self, Question, letter};
pub(super) use fields::Fields;

/// The questions of a JSON Lines text, at most `limit` of them; `file` is only named in errors. Blank lines are skipped.
pub fn read_rows(info: &DatasetInfo, file: &str, bytes: &[u8], limit: Option<usize>) -> Result<Vec<Question>> {
    let mut questions = Vec::new();
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if limit.is_some_and(|n| questions.len() >= n) {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let question = read_line(info, questions.len(), line);
        questions.push(question.with_context(|| format!("{file} line {}", number + 1))?);
    }
    if questions.is_empty() {
        bail!("{file}: no rows; expected one JSON object a line");
    }
    Ok(questions)
}

fn read_line(info: &DatasetInfo, index: usize, line: &[u8]) -> Result<Question> {
    let text = std::str::from_utf8(line).context("not UTF-8; the file has to be")?;
    let value: Value = serde_json::from_str(text).context("malformed JSON")?;
    let Value::Object(map) = &value else { bail!("expected a JSON object, found {}", fields::kind(&value)) };
    let row = Fields(map);
    let texts = match &info.choices {
        Choices::Field(path) => row.choices(path),
        Choices::Templates(templates) => templates.iter().map(|template| template.render(&row, &[])).collect(),
    };
    // What the prompt lacks is told first.
    let rendered = info.prompt.render(&row, texts.as_deref().unwrap_or_default())?;
    let texts = texts?;
    let choices = prompt::choices(info.scored, &rendered, &texts)
        .with_context(|| format!("prompt {:?}", info.prompt.to_string()))?;
    let id = row.id()?.unwrap_or_else(|| index.to_string());
    Ok(Question { index, id, gold: gold(info, &row, texts.len())?, choices })
}

fn gold(info: &DatasetInfo, row: &Fields, choices: usize) -> Result<usize> {
    let labels = match &info.labels {
        None => return row.gold_number(&info.gold, choices),
        Some(Labels::Words(words)) => {
            ensure!(words.len() >= choices, "labels: expected {choices}, one a choice, found {}", words.len());
            words[..choices].to_vec()
        }
        Some(Labels::Field(path)) => {
            let labels = row.labels(path, choices)?;
            // Where the model sees letters, these are what the gold label has to mean: the harness takes it for the position, and
            // labels in another order would score another choice.
            let listed = info.scored == Scored::Letter;
            for (i, label) in labels.iter().enumerate().filter(|_| listed) {
                let (letter, digit) = (letter(i).to_string(), (i + 1).to_string());
                ensure!(
                    *label == letter || *label == digit,
                    "field {path:?}: expected {letter:?} at position {}, found {label:?}",
                    i + 1
                );
            }
            labels
        }
    };
    row.gold_label(&info.gold, &labels)
}
