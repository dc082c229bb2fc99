//! What a model is told, as its chat template writes it, and the tokens at which its answer ends.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter};
use tokenizers::Tokenizer;

use crate::model::GenerationFacts;
use crate::model::source::Model;

/// Name of the template in its environment.
const TEMPLATE: &str = "chat_template";
/// Work that a template may do: some thousand times what a long chat takes. Templates come from strangers.
const FUEL: u64 = 100_000_000;
/// Longest text that a template may write, bytes: more than the longest context takes.
const MOST_TEXT: usize = 64 << 20;
/// Most blanks a level that `tojson` indents by.
const MOST_INDENT: usize = 64;

/// A part of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who says it: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message of a role.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_string(), content: content.to_string() }
    }
}

/// The Jinja template with which a model was trained to be talked to, rendered as transformers does.
pub struct ChatTemplate {
    environment: Environment<'static>,
    origin: String,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

/// What a template may refer to. What transformers leaves undefined is left out.
#[derive(Serialize)]
struct ChatContext<'a> {
    messages: &'a [ChatMessage],
    tools: Option<()>,
    documents: Option<()>,
    add_generation_prompt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bos_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eos_token: Option<&'a str>,
}

impl ChatTemplate {
    /// The template of a model; `None` where it has none, as the embedded model, and its prompt is to be used as it is.
    pub fn for_model(model: &Model) -> Result<Option<Self>> {
        Self::new(model.generation()?)
    }

    /// Fails where the template is not Jinja.
    pub fn new(facts: GenerationFacts) -> Result<Option<Self>> {
        let GenerationFacts { chat_template: Some(text), origin, bos_token, eos_token, .. } = facts else {
            return Ok(None);
        };
        let mut environment = Environment::new();
        // What follows is what transformers' `_compile_jinja_template` does.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| anyhow!("{e:#}"))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("tojson", python_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(TEMPLATE, text)
            .map_err(|e| anyhow!("{origin}: a template that cannot be read: {e}"))?;
        Ok(Some(Self { environment, origin, bos_token, eos_token }))
    }

    /// The text that a model goes on from to answer.
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String> {
        self.write(messages, true).map_err(|e| anyhow!("{}: rendering it: {e}", self.origin))
    }

    /// The tokens of [`ChatTemplate::render`]. None are added: a template writes BOS itself where the model wants one.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[ChatMessage]) -> Result<Vec<u32>> {
        let encoding = tokenizer.encode_fast(self.render(messages)?, false);
        Ok(encoding.map_err(|e| anyhow!("encoding a chat: {e}"))?.get_ids().to_vec())
    }

    fn write(&self, messages: &[ChatMessage], add_generation_prompt: bool) -> Result<String, Error> {
        let context = ChatContext {
            messages,
            tools: None,
            documents: None,
            add_generation_prompt,
            bos_token: self.bos_token.as_deref(),
            eos_token: self.eos_token.as_deref(),
        };
        let mut text = BoundedText::default();
        let written = self.environment.get_template(TEMPLATE)?.render_captured_to(Serde(&context), &mut text);
        let failed = |why: String| Error::new(ErrorKind::InvalidOperation, why);
        if text.is_full {
            return Err(failed(format!("it writes more than {} MB", MOST_TEXT >> 20)));
        }
        written?;
        String::from_utf8(text.bytes).map_err(|e| failed(e.to_string()))
    }

    /// What the template writes behind an answer that another message could follow.
    fn closing(&self) -> Option<String> {
        let (question, answer) = (ChatMessage::new("user", "Where?"), ChatMessage::new("assistant", "Nowhere"));
        let text = self.write(&[question, answer], false).ok()?;
        text.rsplit_once("Nowhere").map(|(_, closing)| closing.trim_start().to_string())
    }
}

/// The token ids that end a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndTokens(BTreeSet<u32>);

impl EndTokens {
    /// Those of a model's files; and the special token that its chat template writes behind an answer, such as
    /// `<|im_end|>`: some files name only the end of a text.
    pub fn for_model(model: &Model) -> Result<Self> {
        let facts = model.generation()?;
        let eos = facts.eos_token.as_deref().and_then(|token| model.tokenizer.token_to_id(token));
        let mut ids: BTreeSet<u32> = facts.end_ids.iter().copied().chain(eos).collect();
        if let Some(closing) = ChatTemplate::new(facts)?.and_then(|template| template.closing()) {
            ids.extend(leading_special_token(&model.tokenizer, &closing));
        }
        Ok(Self(ids))
    }

    /// Whether a generation ends at this token.
    pub fn contains(&self, id: u32) -> bool {
        self.0.contains(&id)
    }

    /// All of them, ascending.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

/// The first token of a text, where it is a special one.
fn leading_special_token(tokenizer: &Tokenizer, text: &str) -> Option<u32> {
    let encoding = tokenizer.encode_fast(text, false).ok()?;
    let first = *encoding.get_ids().first()?;
    tokenizer.get_added_vocabulary().is_special_token(&tokenizer.id_to_token(first)?).then_some(first)
}

/// Python's `json.dumps` with `ensure_ascii=False`, in place of the filter that escapes HTML.
fn python_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let (indent, mut out) = (options.get::<Option<usize>>("indent")?, Vec::new());
    options.assert_all_used()?;
    let written = match indent {
        Some(indent) if indent > MOST_INDENT => {
            let message = format!("tojson: indent={indent}: at most {MOST_INDENT} are written");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        Some(indent) => {
            let spaces = vec![b' '; indent];
            value
                .serialize(&mut serde_json::Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(&spaces)))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, SpacedFormatter)),
    };
    let failed = |e: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidOperation, format!("tojson: {e}"));
    written.map_err(|e| failed(&e))?;
    String::from_utf8(out).map(Value::from).map_err(|e| failed(&e))
}

/// What a template writes, as long as it is no more than [`MOST_TEXT`].
#[derive(Default)]
struct BoundedText {
    bytes: Vec<u8>,
    is_full: bool,
}

impl std::io::Write for BoundedText {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        self.is_full |= self.bytes.len() + part.len() > MOST_TEXT;
        if self.is_full {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// JSON on one line with blanks behind commas and colons.
struct SpacedFormatter;

impl Formatter for SpacedFormatter {
    fn begin_array_value<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// The time of this machine's clock: a prompt that has it differs from day to day, as with transformers.
fn strftime_now(format: String) -> Result<String, Error> {
    jiff::fmt::strtime::format(&format, &jiff::Zoned::now())
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {e}")))
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
