//! Text of tokens that come one at a time.

use anyhow::{Context, Result, anyhow};
use tokenizers::Tokenizer;

/// Turns ids into text as they come. What it has given out never changes, and all of it together is what the tokenizer makes
/// of all the ids.
///
/// `tokenizers::DecodeStream` does the same, but has no end, which loses a text that ends amid a character; and it gives out
/// bytes of SentencePiece as soon as they are a character, which they no longer are when others follow that are none.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    ids: Vec<u32>,
    /// The last ids that gave text begin here. They are decoded again with what follows, since a decoder may treat the
    /// beginning of a text in its own way: SentencePiece's drops its blank.
    context: usize,
    /// The ids behind them, which have given no text yet.
    waiting: usize,
    /// The text of the ids from `context` to `waiting`.
    shown: String,
    /// All that was given out.
    text: String,
}

impl<'a> TextStream<'a> {
    /// A stream at the beginning of a text. Special tokens are left out of the text with `skip_special`.
    pub fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        let (shown, text) = (String::new(), String::new());
        Self { tokenizer, skip_special, ids: Vec::new(), context: 0, waiting: 0, shown, text }
    }

    /// The text that has become certain with one more id: often that of the id, or nothing until the next.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        if !self.is_settled(id) {
            return Ok(String::new());
        }
        let decoded = self.decode(self.context)?;
        let new = match decoded.strip_prefix(&self.shown) {
            // The replacement character stands for bytes that may yet become a character.
            Some(new) if !new.ends_with(char::REPLACEMENT_CHARACTER) => new.to_string(),
            _ => return Ok(String::new()),
        };
        if !new.is_empty() {
            (self.context, self.waiting) = (self.waiting, self.ids.len());
            self.shown = self.decode(self.context)?;
            self.text += &new;
        }
        Ok(new)
    }

    /// What is left at the end of a text: a character that was not completed, as replacement characters.
    pub fn finish(self) -> Result<String> {
        let decoded = self.decode(0)?;
        let rest = decoded.strip_prefix(&self.text).with_context(|| {
            format!("the tokenizer's decoder changes text that it has written: {:?} became {decoded:?}", self.text)
        })?;
        Ok(rest.to_string())
    }

    /// Whether the text could end with this id. It could not with a byte of SentencePiece, `<0xE4>`: its decoder takes a row of
    /// bytes as characters only where all of them are. Nor does it with an id that has no text.
    fn is_settled(&self, id: u32) -> bool {
        let Some(token) = self.tokenizer.id_to_token(id) else { return false };
        let is_left_out = self.skip_special && self.tokenizer.get_added_vocabulary().is_special_token(&token);
        let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        !is_left_out && !is_byte
    }

    /// The text of the ids from one on.
    fn decode(&self, from: usize) -> Result<String> {
        let text = self.tokenizer.decode(&self.ids[from..], self.skip_special);
        text.map_err(|e| anyhow!("decoding the tokens {:?}: {e}", &self.ids[from..]))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::model::gguf::{GgufModel, is_gguf};
    use crate::model::source::{load_tokenizer, tokenizer_file};

    const TEXTS: [&str; 9] = [
        "The capital of France is Paris.",
        "  two blanks, a tab\tand\n\nlines \n",
        "我喜欢吃烤鸭。中文 日本語",
        "🙂🙂 x 👨‍👩‍👧‍👦🇫🇷 👍🏽!",
        "नमस्ते مرحبا 𐍈 e\u{301}",
        "a\u{fffd}b \u{fffd}",
        "don't, it's: 1234567.89 <0xE4> <|im_start|>",
        " ",
        "",
    ];

    /// Fails unless the parts of a stream are the whole text; returns all but the last.
    #[track_caller]
    fn check(tokenizer: &Tokenizer, ids: &[u32], what: &str) -> Vec<String> {
        let mut parts = Vec::new();
        for skip_special in [false, true] {
            let mut stream = TextStream::new(tokenizer, skip_special);
            parts = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
            let text = parts.concat() + &stream.finish().unwrap();
            assert_eq!(text, tokenizer.decode(ids, skip_special).unwrap(), "{what}: {ids:?}");
        }
        parts
    }

    fn check_all(tokenizer: &Tokenizer, what: &str) {
        for text in TEXTS {
            let ids = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
            let parts = check(tokenizer, &ids, what);
            let replaced = parts.concat().matches(char::REPLACEMENT_CHARACTER).count();
            assert!(replaced <= text.matches(char::REPLACEMENT_CHARACTER).count(), "{what}: {parts:?}");
        }
        // What a model may give is no text at all: ids in any order, some that there are not.
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let ids = tokenizer.get_vocab_size(true) as u32 + 3;
        for most in [ids, 300.min(ids)] {
            for length in 0..60 {
                let ids: Vec<u32> = (0..length).map(|_| rng.random_range(0..most)).collect();
                check(tokenizer, &ids, what);
            }
        }
    }

    fn reference(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
    }

    fn of_gguf(path: &Path) -> Tokenizer {
        GgufModel::open(&[path.to_path_buf()]).unwrap().tokenizer_json().unwrap().parse().unwrap()
    }

    #[test]
    fn parts_are_the_whole_with_the_tokenizers_here() {
        check_all(&load_tokenizer("pocket").unwrap(), "pocket");
        for name in ["tokenizer.json", "tokenizer-bos.json"] {
            check_all(&tokenizer_file(&reference(name)).unwrap().0, name);
        }
        for kind in ["gpt-2", "llama-bpe", "qwen2", "smollm", "spm"] {
            check_all(&of_gguf(&reference(&format!("gguf/tokenizer-{kind}.gguf"))), kind);
        }
    }

    #[test]
    fn parts_are_the_whole_with_real_tokenizers() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
        let models = std::env::var_os("SPLITBENCH_MODELS").map_or_else(|| shared.join("models"), PathBuf::from);
        let found = |folder: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        let mut checked = 0;
        for path in found(&shared.join("tokenizers")).iter().map(|folder| folder.join("tokenizer.json")) {
            if path.is_file() {
                check_all(&tokenizer_file(&path).unwrap().0, &path.display().to_string());
                checked += 1;
            }
        }
        for path in found(&models).iter().filter(|path| is_gguf(&path.to_string_lossy())) {
            check_all(&of_gguf(path), &path.display().to_string());
            checked += 1;
        }
        println!("{checked} real tokenizers{}", if checked == 0 { ": skipped, ../shared is not there" } else { "" });
    }

    #[test]
    fn text_comes_as_soon_as_it_is_certain() {
        let tokenizer = load_tokenizer("pocket").unwrap();
        let ids = |text: &str| tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        let words = check(&tokenizer, &ids("The rain is wet"), "words");
        assert!(words.iter().all(|part| !part.is_empty()), "{words:?}");
        let emoji = ids("🙂");
        assert!(emoji.len() > 1, "one token has the character");
        let parts = check(&tokenizer, &emoji, "emoji");
        assert_eq!(parts.last().unwrap(), "🙂");
        assert!(parts[..parts.len() - 1].iter().all(String::is_empty), "{parts:?}");
        // Cut off amid the character.
        let mut stream = TextStream::new(&tokenizer, true);
        assert_eq!(stream.push(emoji[0]).unwrap(), "");
        assert_eq!(stream.finish().unwrap(), "\u{fffd}");
    }

    #[test]
    fn bytes_of_sentence_piece_wait_for_what_follows() {
        let tokenizer = of_gguf(&reference("gguf/tokenizer-spm.gguf"));
        let id = |token: &str| tokenizer.token_to_id(token).unwrap();
        let you: Vec<u32> = ["<0xE4>", "<0xBD>", "<0xA0>"].map(id).to_vec();
        let parts = check(&tokenizer, &[&you[..], &you[..], &[id("a")]].concat(), "characters");
        assert_eq!(parts[6], "你你a");
        // The decoder replaces all bytes of a row with one that belongs to no character.
        let parts = check(&tokenizer, &[&you[..], &you[..1], &[id("a")]].concat(), "a byte too many");
        assert_eq!(parts[4], "\u{fffd}\u{fffd}\u{fffd}\u{fffd}a");
    }
}
