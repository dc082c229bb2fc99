//! The template of a prompt or choice: text with fields of a row in it.
//!
//! It is a part of Jinja2, in which lm-evaluation-harness's tasks are written: what is accepted means what it means there, and the
//! rest of that language is refused.

use anyhow::{Context, Error, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::prompt::{is_blank, letter, strip};
use super::rows::Fields;

/// Text with fields of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Stands as it is.
    Text(String),
    /// A field of the row, without blanks at its ends where `strip` is set.
    Field { path: String, strip: bool },
    /// The choices, one line each: `A. text`.
    Listing,
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, after) = after
                .split_once("}}")
                .with_context(|| format!("template {text:?}: `{{{{` without a `}}}}` after it"))?;
            parts.push(Part::Text(before.to_string()));
            parts.push(field(inside.trim()).with_context(|| format!("template {text:?}"))?);
            rest = after;
        }
        parts.push(Part::Text(rest.to_string()));
        parts.retain(|part| *part != Part::Text(String::new()));
        // A field in single braces would be asked as it stands, in every question.
        let brace = |part: &Part| matches!(part, Part::Text(text) if text.contains(['{', '}']));
        ensure!(
            !parts.iter().any(brace),
            "template {text:?}: a single brace; a field is written {{{{field}}}}, and nothing else has braces: no {{% %}}, no {{# #}}"
        );
        Ok(Self { text, parts })
    }
}

/// What stands between the braces.
fn field(inside: &str) -> Result<Part> {
    let stripped =
        inside.strip_suffix(".strip()").or_else(|| inside.strip_suffix("trim")?.trim_end().strip_suffix('|'));
    let path = stripped.unwrap_or(inside).trim();
    if path == "listing" && stripped.is_none() {
        return Ok(Part::Listing);
    }
    let known = |c: char| c.is_alphanumeric() || "_-.[]".contains(c);
    if path.is_empty() || !path.chars().all(known) {
        bail!(
            "{inside:?} is no field; expected its name, such as question, choices.text or choices[0], with .strip() or | trim after \
             it or not, or listing"
        );
    }
    Ok(Part::Field { path: path.to_string(), strip: stripped.is_some() })
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Template {
    /// The text for a row, with these choices. Fails where a field is missing, no text or blank.
    pub(super) fn render(&self, row: &Fields, choices: &[String]) -> Result<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out += text,
                Part::Field { path, strip: false } => out += &row.text(path)?,
                Part::Field { path, strip: true } => out += strip(&row.text(path)?),
                Part::Listing => {
                    choices.iter().enumerate().for_each(|(i, text)| out += &format!("{}. {text}\n", letter(i)));
                }
            }
        }
        Ok(out)
    }

    /// Whether rows have a say in it.
    pub(super) fn has_field(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_)))
    }

    /// Whether it lists the choices.
    pub(super) fn has_listing(&self) -> bool {
        self.parts.contains(&Part::Listing)
    }

    /// Whether nothing of it can be seen.
    pub(super) fn is_blank(&self) -> bool {
        self.text.chars().all(is_blank)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> Result<String> {
        let row = json!({"q": " what\u{1c}", "choices": {"text": ["a", "{{b}}"]}, "blank": " \u{1f}", "year": 7});
        let template = Template::try_from(template.to_string())?;
        template.render(&Fields(row.as_object().context("an object")?), &["x".to_string(), "y ".to_string()])
    }

    #[test]
    fn fields_stand_where_they_are_named_as_in_jinja() {
        for (template, text) in [
            ("Q: {{q}}\nA:", "Q:  what\u{1c}\nA:"),
            ("{{ q.strip() }}|{{q|trim}}|{{ q | trim }}", "what|what|what"),
            ("{{choices.text[1]}}{{choices.text[0]}}", "{{b}}a"),
            ("{{listing}}Answer:", "A. x\nB. y \nAnswer:"),
            ("no field", "no field"),
        ] {
            assert_eq!(render(template).unwrap(), text, "{template}");
        }
    }

    #[test]
    fn what_is_no_template_or_has_no_field_is_refused() {
        for (template, says) in [
            ("{{q", "`{{` without a `}}`"),
            ("{q} {{q}}", "a single brace; a field is written {{field}}"),
            ("{% if q %}{{q}}{% endif %}", "no {% %}"),
            ("{{}}", "\"\" is no field"),
            ("{{q + q}}", "\"q + q\" is no field"),
            ("{{q|upper}}", "\"q|upper\" is no field"),
            ("{{choices['text']}}", "choices[0]"),
            ("{{p}}", "field \"p\" is missing; expected a string"),
            ("{{choices.texts}}", "field \"choices.texts\" is missing"),
            ("{{choices.txt}}", "did you mean \"text\"?"),
            ("{{choices.text[2]}}", "field \"choices.text[2]\" is missing"),
            ("{{q.text}}", "field \"q\": expected an object with \"text\", found a string"),
            ("{{choices.text}}", "field \"choices.text\": expected a string, found an array"),
            ("{{year}}", "field \"year\": expected a string, found a number"),
            ("{{blank}}", "field \"blank\": expected text"),
        ] {
            let error = format!("{:#}", render(template).unwrap_err());
            assert!(error.contains(says), "{template}: wanted {says}\n  got {error}");
        }
    }
}
