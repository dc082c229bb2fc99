//! The fields of a row, with errors that name the field and what was expected in it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Number, Value};

use crate::data::prompt::strip;

/// The fields of one row.
pub struct Fields<'a>(pub &'a Map<String, Value>);

/// Labels and texts of the choices of a row, of one length, at least two.
pub struct Labelled {
    /// What the gold field may name.
    pub labels: Vec<String>,
    /// The choices themselves.
    pub texts: Vec<String>,
}

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

fn strings(name: &str, value: &Value) -> Result<Vec<String>> {
    let Value::Array(items) = value else {
        bail!("field {name:?}: expected an array of strings, found {}", kind(value))
    };
    items.iter().enumerate().map(|(i, item)| string(&format!("{name}[{i}]"), item)).collect()
}

fn checked(name: &str, texts: Vec<String>) -> Result<Vec<String>> {
    ensure!(!texts.is_empty(), "field {name:?}: no choices; expected at least two");
    ensure!((2..=26).contains(&texts.len()), "field {name:?}: expected 2 to 26 choices, found {}", texts.len());
    if let Some(i) = texts.iter().position(|t| strip(t).is_empty()) {
        bail!("field {name:?}: choice {} of {} is empty", i + 1, texts.len());
    }
    Ok(texts)
}

impl Fields<'_> {
    fn get(&self, name: &str, expected: &str) -> Result<&Value> {
        self.0.get(name).with_context(|| format!("field {name:?} is missing; expected {expected}"))
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

    /// One choice a field, each not empty.
    pub fn choices(&self, names: &[&str]) -> Result<Vec<String>> {
        names.iter().map(|name| self.text(name)).collect()
    }

    /// An array of choices.
    pub fn array(&self, name: &str) -> Result<Vec<String>> {
        checked(name, strings(name, self.get(name, "an array of strings")?)?)
    }

    /// The field `choices`: an object of two arrays, `text` and `label`, or an array of objects with one of each.
    pub fn labelled(&self) -> Result<Labelled> {
        let expected = "an object with the arrays \"text\" and \"label\"";
        let value = self.get("choices", expected)?;
        // Each value with the field it stands in.
        let part = |name: &str| -> Result<Vec<(String, &Value)>> {
            let full = format!("choices.{name}");
            match value {
                Value::Object(map) => {
                    let list = map.get(name);
                    let list =
                        list.with_context(|| format!("field {full:?} is missing; expected an array of strings"))?;
                    let Value::Array(items) = list else {
                        bail!("field {full:?}: expected an array of strings, found {}", kind(list))
                    };
                    Ok(items.iter().enumerate().map(|(i, item)| (format!("{full}[{i}]"), item)).collect())
                }
                Value::Array(items) => {
                    let named = items.iter().enumerate().map(|(i, item)| {
                        let field = format!("choices[{i}].{name}");
                        let value = item.get(name);
                        let value = value.with_context(|| format!("field {field:?} is missing; expected a string"))?;
                        Ok((field, value))
                    });
                    named.collect()
                }
                other => bail!("field \"choices\": expected {expected}, found {}", kind(other)),
            }
        };
        let texts: Result<Vec<String>> =
            part("text")?.into_iter().map(|(field, value)| string(&field, value)).collect();
        let texts = checked("choices.text", texts?)?;
        let labels: Result<Vec<String>> =
            part("label")?.into_iter().map(|(field, value)| label(&field, value)).collect();
        let labels = labels?;
        ensure!(
            labels.len() == texts.len(),
            "field \"choices.label\": expected {} labels, one a choice, found {}",
            texts.len(),
            labels.len()
        );
        Ok(Labelled { labels, texts })
    }

    /// A gold field that holds one of `labels`: the position of that label, the first where it occurs twice.
    pub fn gold_label<S: AsRef<str>>(&self, name: &str, labels: &[S]) -> Result<usize> {
        let known = || labels.iter().map(|l| format!("{:?}", l.as_ref())).collect::<Vec<_>>().join(", ");
        let gold = label(name, self.get(name, &format!("the gold label, one of {}", known()))?)?;
        ensure!(!strip(&gold).is_empty(), "field {name:?}: no gold; expected one of {}", known());
        labels
            .iter()
            .position(|label| label.as_ref() == gold || label.as_ref() == strip(&gold))
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
