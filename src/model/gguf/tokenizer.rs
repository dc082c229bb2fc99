//! The tokenizer of a GGUF file, written as the tokenizer.json that the model was published with.
//!
//! A file names its splitting rule (`tokenizer.ggml.pre`) and holds neither the rule nor the normaliser. Those known here are of the
//! original tokenizer.json files; llama.cpp's own rules are the same but for Qwen2's normaliser, which it leaves out.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::open::GgufModel;
use super::pieces;

/// What to do where a file's own tokenizer cannot be used.
const WAY_OUT: &str =
    "give the model's tokenizer.json with --tokenizer tokenizer.json, which is checked token by token against the file";

/// `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Made of text by merges.
    Normal,
    /// Stands for what has no token.
    Unknown,
    /// `<|im_start|>` and its like: a special token.
    Control,
    /// Taken whole wherever it stands in a text.
    UserDefined,
    /// Never made.
    Unused,
    /// One byte of a text that has no other token.
    Byte,
}

/// A rule of splitting text before merges.
struct Rule {
    name: &'static str,
    normaliser: Option<&'static str>,
    /// What a text is cut by; none where digits are cut off one by one and GPT-2's expression cuts the rest.
    expression: Option<&'static str>,
    single_digits: bool,
    /// Whether a piece that is a token is taken without merges.
    whole_pieces: bool,
    /// llama.cpp's default for BOS.
    bos: bool,
}

const RULES: [Rule; 4] = [
    Rule { name: "gpt-2", normaliser: None, expression: None, single_digits: false, whole_pieces: false, bos: false },
    Rule { name: "smollm", normaliser: None, expression: None, single_digits: true, whole_pieces: false, bos: false },
    Rule {
        name: "qwen2",
        normaliser: Some("NFC"),
        expression: Some(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        ),
        single_digits: false,
        whole_pieces: false,
        bos: false,
    },
    Rule {
        name: "llama-bpe",
        normaliser: None,
        expression: Some(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        ),
        single_digits: false,
        whole_pieces: true,
        bos: true,
    },
];

impl GgufModel {
    /// The text of a tokenizer.json.
    pub fn tokenizer_json(&self) -> Result<String> {
        self.write_tokenizer().with_context(|| format!("{}: its tokenizer", self.origin))
    }

    fn write_tokenizer(&self) -> Result<String> {
        let (tokens, kinds) = (self.tokens()?, self.kinds()?);
        let mut vocabulary = Map::new();
        for (id, token) in tokens.iter().enumerate() {
            if let Some(other) = vocabulary.insert(token.clone(), json!(id)) {
                bail!("tokens {other} and {id} are both {token:?}; {WAY_OUT}");
            }
        }
        let (bos, mut file) = match self.metadata.text("tokenizer.ggml.model")? {
            Some("gpt2") => self.byte_level(&vocabulary)?,
            Some("llama") => self.sentence_piece(tokens, &kinds)?,
            Some(other) => bail!("tokenizer.ggml.model is {other:?}; only \"gpt2\" and \"llama\" are read: {WAY_OUT}"),
            None => bail!("key tokenizer.ggml.model is missing; {WAY_OUT}"),
        };
        file["model"]["vocab"] = Value::Object(vocabulary);
        let added = |special: bool, id: usize| {
            json!({"id": id, "content": tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special})
        };
        let added = (kinds.iter().enumerate()).filter_map(|(id, kind)| match kind {
            TokenKind::Control | TokenKind::Unknown => Some(added(true, id)),
            TokenKind::UserDefined => Some(added(false, id)),
            _ => None,
        });
        file["added_tokens"] = added.collect();
        file["post_processor"] = self.post_processor(bos)?;
        Ok(file.to_string())
    }

    /// GPT-2's kind: merges of the bytes of pieces.
    fn byte_level(&self, vocabulary: &Map<String, Value>) -> Result<(bool, Value)> {
        let name = self.metadata.text("tokenizer.ggml.pre")?.unwrap_or("missing");
        let rule = RULES.iter().find(|rule| rule.name == name).with_context(|| {
            let known = RULES.map(|rule| rule.name).join(", ");
            format!("its splitting rule tokenizer.ggml.pre is {name}; known are {known}: {WAY_OUT}")
        })?;
        ensure!(
            !self.metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(false),
            "tokenizer.ggml.add_space_prefix is true, which is not supported for this kind; {WAY_OUT}"
        );
        let merges = self.metadata.texts("tokenizer.ggml.merges")?.context("key tokenizer.ggml.merges is missing")?;
        let mut pairs = Vec::with_capacity(merges.len());
        for (i, merge) in merges.iter().enumerate() {
            // A piece may begin with a space.
            let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
            let pair = at.map(|at| (&merge[..at], &merge[at + 1..]));
            let known = |(left, right): &(&str, &str)| {
                [*left, *right, &format!("{left}{right}")].iter().all(|token| vocabulary.contains_key(*token))
            };
            let pair = pair.filter(known);
            pairs.push(pair.with_context(|| {
                format!("merge {i} of tokenizer.ggml.merges, {merge:?}, is not two tokens that make a third; {WAY_OUT}")
            })?);
        }
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let first = match rule.expression {
            Some(expression) => Some(
                json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false}),
            ),
            None => rule.single_digits.then(|| json!({"type": "Digits", "individual_digits": true})),
        };
        let steps: Vec<Value> = first.into_iter().chain([bytes(rule.expression.is_none())]).collect();
        let file = json!({
            "version": "1.0",
            "normalizer": rule.normaliser.map(|kind| json!({"type": kind})),
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "decoder": bytes(true),
            "model": {"type": "BPE", "fuse_unk": false, "byte_fallback": false, "ignore_merges": rule.whole_pieces, "merges": pairs},
        });
        Ok((rule.bos, file))
    }

    /// SentencePiece's kind: merges of characters by the score of what they make, and bytes of what has no token.
    fn sentence_piece(&self, tokens: &[String], kinds: &[TokenKind]) -> Result<(bool, Value)> {
        let scores = self.metadata.numbers("tokenizer.ggml.scores")?.context("key tokenizer.ggml.scores is missing")?;
        ensure!(scores.len() == tokens.len(), "{} tokenizer.ggml.scores for {} tokens", scores.len(), tokens.len());
        let unknown = self.metadata.count("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
        let unknown =
            tokens.get(unknown as usize).with_context(|| format!("the unknown token {unknown} is no token"))?;
        let mut steps = Vec::new();
        if self.metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true) {
            steps.push(json!({"type": "Prepend", "prepend": "▁"}));
        }
        steps.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
        ensure!(
            !self.metadata.flag("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
            "tokenizer.ggml.remove_extra_whitespaces is true, which is not supported; {WAY_OUT}"
        );
        let file = json!({
            "version": "1.0",
            "normalizer": {"type": "Sequence", "normalizers": steps},
            "pre_tokenizer": null,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "unk_token": unknown, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "merges": pieces::merges(tokens, kinds, scores)},
        });
        Ok((true, file))
    }

    /// What puts BOS before a text, if `default` or the file says so.
    fn post_processor(&self, default: bool) -> Result<Value> {
        for name in ["add_eos_token", "add_sep_token"] {
            ensure!(
                !self.metadata.flag(&format!("tokenizer.ggml.{name}"))?.unwrap_or(false),
                "tokenizer.ggml.{name} is true: a text would not be followed by its choices; {WAY_OUT}"
            );
        }
        if !self.metadata.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(default) {
            return Ok(Value::Null);
        }
        let id = self.metadata.count("tokenizer.ggml.bos_token_id")?;
        let id =
            id.context("a BOS token is to be put before a text, and key tokenizer.ggml.bos_token_id is missing")?;
        let token = self.tokens()?.get(id as usize).with_context(|| format!("the BOS token {id} is no token"))?;
        let (special, text) =
            (json!({"SpecialToken": {"id": token, "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
        let second =
            [json!({"SpecialToken": {"id": token, "type_id": 1}}), json!({"Sequence": {"id": "B", "type_id": 1}})];
        Ok(
            json!({"type": "TemplateProcessing", "single": [special, text], "pair": [special, text, second[0], second[1]],
            "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}}}),
        )
    }

    fn kinds(&self) -> Result<Vec<TokenKind>> {
        let tokens = self.tokens()?.len();
        let Some(numbers) = self.metadata.numbers("tokenizer.ggml.token_type")? else {
            return Ok(vec![TokenKind::Normal; tokens]);
        };
        ensure!(numbers.len() == tokens, "{} tokenizer.ggml.token_type for {tokens} tokens", numbers.len());
        let kind = |(id, number): (usize, &f64)| {
            Ok(match *number {
                0.0 | 1.0 => TokenKind::Normal,
                2.0 => TokenKind::Unknown,
                3.0 => TokenKind::Control,
                4.0 => TokenKind::UserDefined,
                5.0 => TokenKind::Unused,
                6.0 => TokenKind::Byte,
                other => bail!("token {id} has tokenizer.ggml.token_type {other}; known are 0 to 6"),
            })
        };
        numbers.iter().enumerate().map(kind).collect()
    }

    /// Fails where a tokenizer has another token for an id than the file. Unused ids pad a vocabulary and may be missing.
    pub fn check_tokenizer(&self, tokenizer: &Tokenizer, origin: &str) -> Result<()> {
        let (tokens, kinds) = (self.tokens()?, self.kinds().with_context(|| self.origin.clone())?);
        for (id, (token, kind)) in tokens.iter().zip(&kinds).enumerate() {
            let other = tokenizer.id_to_token(id as u32);
            ensure!(
                other.as_ref() == Some(token) || (other.is_none() && *kind == TokenKind::Unused),
                "{origin}: does not fit {}: token {id} is {}, and {token:?} in the file; take the tokenizer.json of the very model that \
                 the file was made of",
                self.origin,
                other.map_or_else(|| "missing".to_string(), |other| format!("{other:?}"))
            );
        }
        let beyond = tokenizer
            .get_vocab(true)
            .into_iter()
            .filter(|(_, id)| *id as usize >= tokens.len())
            .min_by_key(|(_, id)| *id);
        if let Some((token, id)) = beyond {
            bail!(
                "{origin}: does not fit {}: it has token {id} {token:?}, and the file only {} tokens",
                self.origin,
                tokens.len()
            );
        }
        Ok(())
    }
}
