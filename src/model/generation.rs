//! What stands beside a model's weights about how it is talked to: its chat template, and the tokens that begin and end.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::source::read;

/// What the files of a model say about generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenerationFacts {
    /// Its chat template, in Jinja.
    pub chat_template: Option<String>,
    /// Where the chat template stands, for messages.
    pub origin: String,
    /// The text of its BOS token, which templates may write.
    pub bos_token: Option<String>,
    /// The text of its EOS token, which templates may write.
    pub eos_token: Option<String>,
    /// Ids of tokens that end a generation.
    pub end_ids: Vec<u32>,
}

impl GenerationFacts {
    /// Of a folder in the layout of transformers. Each of the files may be missing: generation_config.json and config.json name
    /// the tokens that end a generation, tokenizer_config.json the texts of tokens, and the chat template stands there or in
    /// chat_template.jinja, which comes first.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self> {
        let mut facts = Self::default();
        for name in ["generation_config.json", "config.json"] {
            let path = folder.join(name);
            if let Some(file) = json(&path)? {
                facts.end_ids.extend(end_ids(&file).with_context(|| path.display().to_string())?);
            }
        }
        let path = folder.join("tokenizer_config.json");
        if let Some(file) = json(&path)? {
            facts.add_tokenizer_config(&file).with_context(|| path.display().to_string())?;
            facts.origin = path.display().to_string();
        }
        let path = folder.join("chat_template.jinja");
        if path.is_file() {
            facts.chat_template = Some(read(&path)?);
            facts.origin = path.display().to_string();
        }
        Ok(facts)
    }

    fn add_tokenizer_config(&mut self, file: &Value) -> Result<()> {
        self.bos_token = token(file, "bos_token")?;
        self.eos_token = token(file, "eos_token")?;
        self.chat_template = match file.get("chat_template") {
            None | Some(Value::Null) => None,
            Some(Value::String(template)) => Some(template.clone()),
            Some(Value::Array(named)) => {
                let default = named.iter().find(|entry| entry["name"] == "default");
                let template = default.and_then(|entry| entry["template"].as_str());
                let names: Vec<&str> = named.iter().filter_map(|entry| entry["name"].as_str()).collect();
                Some(template.map(str::to_string).with_context(|| {
                    format!("key chat_template: no template is named \"default\", only {}", names.join(", "))
                })?)
            }
            Some(_) => {
                bail!("key chat_template: expected a string, or a list with a name and a template in each entry")
            }
        };
        Ok(())
    }
}

/// A JSON file, `None` where there is none.
fn json(path: &Path) -> Result<Option<Value>> {
    if !path.is_file() {
        return Ok(None);
    }
    let value = serde_json::from_str(&read(path)?).with_context(|| format!("{}: not JSON", path.display()))?;
    Ok(Some(value))
}

/// Key `eos_token_id`: an id or a list of them.
fn end_ids(file: &Value) -> Result<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match file.get("eos_token_id") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(value) => id(value).map(|id| vec![id]),
    };
    ids.context("key eos_token_id: expected a token id or a list of them")
}

/// The text of a token: a string, or the `content` of an object.
fn token(file: &Value, key: &str) -> Result<Option<String>> {
    let text = match file.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(token)) => token.get("content").and_then(Value::as_str),
        Some(text) => text.as_str(),
    };
    Ok(Some(text.with_context(|| format!("key {key}: expected a string, or an object with its content"))?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(files: &[(&str, &str)]) -> Result<GenerationFacts, String> {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        GenerationFacts::of_folder(folder.path()).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn each_file_says_its_part() {
        assert_eq!(facts(&[]), Ok(GenerationFacts::default()));
        let facts = facts(&[
            ("generation_config.json", r#"{"eos_token_id": [7, 9]}"#),
            ("config.json", r#"{"eos_token_id": 5}"#),
            (
                "tokenizer_config.json",
                r#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "T"}"#,
            ),
        ]);
        let facts = facts.unwrap();
        assert_eq!(facts.end_ids, [7, 9, 5]);
        assert_eq!((facts.bos_token.as_deref(), facts.eos_token.as_deref()), (Some("<s>"), Some("</s>")));
        assert_eq!(facts.chat_template.as_deref(), Some("T"));
        assert!(facts.origin.ends_with("tokenizer_config.json"));
    }

    #[test]
    fn the_default_of_several_templates_and_a_file_of_its_own() {
        let several =
            r#"{"chat_template": [{"name": "tool_use", "template": "A"}, {"name": "default", "template": "B"}]}"#;
        let template = |files: &[(&str, &str)]| facts(files).unwrap().chat_template;
        assert_eq!(template(&[("tokenizer_config.json", several)]).as_deref(), Some("B"));
        assert_eq!(template(&[("tokenizer_config.json", "{}")]), None);
        let own = ("chat_template.jinja", "C");
        assert_eq!(template(&[("tokenizer_config.json", several), own]).as_deref(), Some("C"));
        assert_eq!(template(&[own]).as_deref(), Some("C"));
    }

    #[test]
    fn mistakes_name_file_and_key() {
        for (name, text, key) in [
            ("generation_config.json", r#"{"eos_token_id": "</s>"}"#, "eos_token_id"),
            ("config.json", r#"{"eos_token_id": [1, -1]}"#, "eos_token_id"),
            ("config.json", "{", "not JSON"),
            ("tokenizer_config.json", r#"{"bos_token": 1}"#, "bos_token"),
            ("tokenizer_config.json", r#"{"eos_token": {"text": "x"}}"#, "eos_token"),
            ("tokenizer_config.json", r#"{"chat_template": 1}"#, "chat_template"),
            ("tokenizer_config.json", r#"{"chat_template": [{"name": "rag", "template": "A"}]}"#, "only rag"),
        ] {
            let error = facts(&[(name, text)]).unwrap_err();
            assert!(error.contains(name) && error.contains(key), "{error}");
        }
    }
}
