//! The fields of a row, with errors that name the field and what was expected in it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Number, Value};

use crate::data::prompt::strip;
use splitbench_codec::suggest;

/// The fields of one row. A field is found by its path, such as `question`, `choices.text` or `choices[0]`.
pub struct Fields<'a>(pub &'a Map<String, Value>);

/// A JSON type in words.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn string(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => bail!("field {name:?}: expected a string, found {}", kind(other)),
    }
}

/// A name that may be written as a number, which pandas does in two ways: 7 and 7.0 are "7".
fn label(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::Number(number) => Ok(whole(number).map_or_else(|| number.to_string(), |whole| whole.to_string())),
        other => string(name, other),
    }
}

/// The integer that a number is, whether it is written as one or as a float.
fn whole(number: &Number) -> Option<i64> {
    let exact = |float: &f64| float.fract() == 0.0 && float.abs() < 9e15;
    number.as_i64().or_else(|| number.as_f64().filter(exact).map(|float| float as i64))
}

/// A field that a row lacks.
fn missing<'k>(name: &str, expected: &str, last: &str, known: impl Iterator<Item = &'k String>) -> anyhow::Error {
    suggest::unknown("field", last, known.map(String::as_str))
        .context(format!("field {name:?} is missing; expected {expected}"))
}

impl Fields<'_> {
    fn get(&self, path: &str, expected: &str) -> Result<&Value> {
        let parts = path.replace('[', ".").replace(']', "");
        let mut parts = parts.split('.');
        let first = parts.next().unwrap_or_default();
        let mut name = first.to_string();
        let mut value = self.0.get(first).ok_or_else(|| missing(&name, expected, first, self.0.keys()))?;
        for part in parts {
            value = match value {
                Value::Object(map) => {
                    name = format!("{name}.{part}");
                    map.get(part).ok_or_else(|| missing(&name, expected, part, map.keys()))?
                }
                Value::Array(items) if part.parse::<usize>().is_ok() => {
                    name = format!("{name}[{part}]");
                    let item = part.parse().ok().and_then(|at: usize| items.get(at));
                    item.with_context(|| {
                        format!("field {name:?} is missing; expected {expected}, found {} items", items.len())
                    })?
                }
                other => bail!("field {name:?}: expected an object with {part:?}, found {}", kind(other)),
            };
        }
        Ok(value)
    }

    /// A text that is not blank.
    pub fn text(&self, name: &str) -> Result<String> {
        let text = string(name, self.get(name, "a string")?)?;
        ensure!(!strip(&text).is_empty(), "field {name:?}: expected text, found an empty string");
        Ok(text)
    }

    /// The field `id`: text or a number; `None` where there is none.
    pub fn id(&self) -> Result<Option<String>> {
        match self.0.get("id") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => label("id", value).map(Some),
        }
    }

    /// The items of an array, or of an array of objects the same field of each: `choices.text` may be either. Each with its path.
    fn items(&self, path: &str) -> Result<Vec<(String, &Value)>> {
        if let Some((parent, last)) = path.rsplit_once('.')
            && let Value::Array(items) = self.get(parent, &format!("an object with {last:?}"))?
        {
            let found = items.iter().enumerate().map(|(i, item)| {
                let field = format!("{parent}[{i}].{last}");
                let value = item.get(last);
                let value = value.with_context(|| format!("field {field:?} is missing; expected a string"))?;
                Ok((field, value))
            });
            return found.collect();
        }
        match self.get(path, "an array of strings")? {
            Value::Array(items) => Ok(items.iter().enumerate().map(|(i, v)| (format!("{path}[{i}]"), v)).collect()),
            other => bail!("field {path:?}: expected an array of strings, found {}", kind(other)),
        }
    }

    /// An array of choices, each not blank.
    pub fn choices(&self, path: &str) -> Result<Vec<String>> {
        let texts: Vec<String> =
            self.items(path)?.into_iter().map(|(field, value)| string(&field, value)).collect::<Result<_>>()?;
        ensure!(!texts.is_empty(), "field {path:?}: no choices; expected at least two");
        ensure!((2..=26).contains(&texts.len()), "field {path:?}: expected 2 to 26 choices, found {}", texts.len());
        if let Some(i) = texts.iter().position(|t| strip(t).is_empty()) {
            bail!("field {path:?}: choice {} of {} is empty", i + 1, texts.len());
        }
        Ok(texts)
    }

    /// An array of the choices' labels, one each.
    pub fn labels(&self, path: &str, choices: usize) -> Result<Vec<String>> {
        let labels: Vec<String> =
            self.items(path)?.into_iter().map(|(field, value)| label(&field, value)).collect::<Result<_>>()?;
        ensure!(
            labels.len() == choices,
            "field {path:?}: expected {choices} labels, one a choice, found {}",
            labels.len()
        );
        Ok(labels)
    }

    /// A gold field that holds one of `labels`: the position of that label, the first where it occurs twice.
    pub fn gold_label(&self, name: &str, labels: &[String]) -> Result<usize> {
        let known = || labels.iter().map(|l| format!("{l:?}")).collect::<Vec<_>>().join(", ");
        let gold = label(name, self.get(name, &format!("the gold label, one of {}", known()))?)?;
        ensure!(!strip(&gold).is_empty(), "field {name:?}: no gold; expected one of {}", known());
        labels
            .iter()
            .position(|label| *label == gold || *label == strip(&gold))
            .with_context(|| format!("field {name:?}: {gold:?} names no choice; expected one of {}", known()))
    }

    /// A gold field that holds the number of the choice, from 0, as a number or as text.
    pub fn gold_number(&self, name: &str, choices: usize) -> Result<usize> {
        let expected = format!("the gold choice's number, 0 to {}", choices - 1);
        let value = self.get(name, &expected)?;
        let gold = match value {
            Value::Number(number) => whole(number),
            Value::String(text) => strip(text).parse().ok().and_then(|number| whole(&number)),
            other => bail!("field {name:?}: expected {expected}, found {}", kind(other)),
        };
        let gold = gold.and_then(|gold| usize::try_from(gold).ok()).filter(|gold| *gold < choices);
        gold.with_context(|| format!("field {name:?}: {value} names no choice; expected {expected}"))
    }
}
