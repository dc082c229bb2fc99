//! Token ids of tricky strings: as `tokenizers` and `sentencepiece` give them.

use std::collections::BTreeMap;
use std::path::Path;

use splitbench::model::gguf::GgufModel;
use splitbench::model::source::tokenizer_of;
use tokenizers::Tokenizer;

use crate::writer::GgufFile;
use crate::{made, open, reference};

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, true).unwrap().get_ids().to_vec()
}

#[test]
fn tricky_strings_have_the_ids_of_the_reference_tokenizers() {
    for kind in ["gpt-2", "smollm", "qwen2", "llama-bpe", "spm"] {
        let expected: BTreeMap<String, Vec<u32>> =
            serde_json::from_slice(&std::fs::read(made(&format!("tokenizer-{kind}.json"))).unwrap()).unwrap();
        assert!(expected.len() >= 29, "{kind}");
        let (tokenizer, _) = tokenizer_of(made(&format!("tokenizer-{kind}.gguf")).to_str().unwrap()).unwrap();
        for (text, expected) in &expected {
            assert_eq!(&ids(&tokenizer, text), expected, "{kind}: {text:?}");
        }
    }
}

#[test]
fn the_rules_differ_where_they_should() {
    let count = |kind: &str, text: &str| {
        let (tokenizer, _) = tokenizer_of(made(&format!("tokenizer-{kind}.gguf")).to_str().unwrap()).unwrap();
        tokenizer.encode(text, false).unwrap().get_tokens().to_vec()
    };
    assert!(count("smollm", "1234").len() == 4 && count("qwen2", "1234").len() == 4);
    assert!(count("gpt-2", "1234").len() < 4 && count("llama-bpe", "1234")[0].len() <= 3);
}

/// A vocabulary of bytes with two special tokens at its end.
fn bytes(edit: impl FnOnce(&mut GgufFile)) -> anyhow::Result<String> {
    let mut file = GgufFile::new();
    file.text("general.architecture", "llama");
    file.text("tokenizer.ggml.model", "gpt2");
    file.text("tokenizer.ggml.pre", "llama-bpe");
    file.texts("tokenizer.ggml.tokens", &["a", "b", "ab", "<s>", "<t>"]);
    file.numbers("tokenizer.ggml.token_type", &[1, 1, 1, 3, 4]);
    file.texts("tokenizer.ggml.merges", &["a b"]);
    file.count("tokenizer.ggml.bos_token_id", 3);
    edit(&mut file);
    let place = tempfile::tempdir()?;
    let path = place.path().join("vocabulary.gguf");
    std::fs::write(&path, file.bytes())?;
    open(&path)?.tokenizer_json()
}

#[test]
fn bos_is_put_before_a_text_by_the_key_and_else_by_llama_cpps_default() {
    let parse = |text: String| -> Tokenizer { text.parse().unwrap() };
    for (pre, flag, expected) in [
        ("llama-bpe", None, true),
        ("llama-bpe", Some(false), false),
        ("qwen2", None, false),
        ("qwen2", Some(true), true),
        ("gpt-2", None, false),
        ("smollm", None, false),
        ("smollm", Some(true), true),
    ] {
        let text = bytes(|file| {
            file.text("tokenizer.ggml.pre", pre);
            flag.iter().for_each(|flag| file.flag("tokenizer.ggml.add_bos_token", *flag));
        });
        let found = ids(&parse(text.unwrap()), "ab<t><s>");
        assert_eq!(found, if expected { vec![3, 2, 4, 3] } else { vec![2, 4, 3] }, "{pre} {flag:?}");
    }
    let special = parse(bytes(|_| ()).unwrap()).get_added_tokens_decoder();
    assert!(special[&3].special && !special[&4].special, "control tokens are special, user-defined ones are not");
}

#[test]
fn tokenizers_that_cannot_be_read_are_named_with_the_way_out() {
    type Edit = fn(&mut GgufFile);
    let cases: [(Edit, &[&str]); 15] = [
        (
            |f| f.text("tokenizer.ggml.pre", "deepseek-llm"),
            &["deepseek-llm", "gpt-2, smollm, qwen2, llama-bpe", "--tokenizer"],
        ),
        (|f| drop(f.keys.remove("tokenizer.ggml.pre")), &["tokenizer.ggml.pre is missing", "--tokenizer"]),
        (|f| f.text("tokenizer.ggml.model", "t5"), &["\"t5\"", "--tokenizer"]),
        (|f| drop(f.keys.remove("tokenizer.ggml.model")), &["tokenizer.ggml.model is missing"]),
        (|f| drop(f.keys.remove("tokenizer.ggml.tokens")), &["no vocabulary"]),
        (|f| drop(f.keys.remove("tokenizer.ggml.merges")), &["tokenizer.ggml.merges is missing"]),
        (|f| f.count("tokenizer.ggml.tokens", 5), &["tokenizer.ggml.tokens", "array of strings"]),
        (|f| f.texts("tokenizer.ggml.tokens", &["a", "b", "ab", "<s>", "a"]), &["tokens 0 and 4 are both \"a\""]),
        (|f| f.texts("tokenizer.ggml.merges", &["a b", "ab a"]), &["merge 1", "\"ab a\""]),
        (|f| f.texts("tokenizer.ggml.merges", &["ab"]), &["merge 0", "\"ab\""]),
        (|f| f.numbers("tokenizer.ggml.token_type", &[1, 1]), &["2 tokenizer.ggml.token_type for 5 tokens"]),
        (|f| f.numbers("tokenizer.ggml.token_type", &[1, 1, 1, 3, 9]), &["token 4", "9"]),
        (|f| f.count("tokenizer.ggml.bos_token_id", 5), &["BOS token 5"]),
        (|f| f.flag("tokenizer.ggml.add_eos_token", true), &["add_eos_token", "--tokenizer"]),
        (|f| f.flag("tokenizer.ggml.add_space_prefix", true), &["add_space_prefix", "--tokenizer"]),
    ];
    for (edit, expected) in cases {
        let error = format!("{:#}", bytes(edit).unwrap_err());
        for part in ["vocabulary.gguf"].iter().chain(expected) {
            assert!(error.contains(part), "expected {part:?} in: {error}");
        }
    }
}

#[test]
fn a_tokenizer_json_is_checked_token_by_token() {
    let model = GgufModel::open(&[made("llama.gguf")]).unwrap();
    let read = |path: &Path| -> Tokenizer { std::fs::read_to_string(path).unwrap().parse().unwrap() };
    let text = std::fs::read_to_string(reference("tokenizer.json")).unwrap();
    model.check_tokenizer(&read(&reference("tokenizer.json")), "tokenizer.json").unwrap();
    let refused = |text: String, expected: &[&str]| {
        let error = model.check_tokenizer(&text.parse().unwrap(), "other.json").unwrap_err().to_string();
        for part in ["other.json", "llama.gguf"].iter().chain(expected) {
            assert!(error.contains(part), "expected {part:?} in: {error}");
        }
    };
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
    let (a, b) = (vocabulary["A"].clone(), vocabulary["B"].clone());
    vocabulary["A"] = b;
    vocabulary["B"] = a.clone();
    refused(json.to_string(), &[&format!("token {a} is \"B\", and \"A\" in the file")]);
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({"id": 480, "content": "<new>", "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false, "special": true}));
    refused(json.to_string(), &["token 480 is \"<new>\", and \"[PAD480]\" in the file"]);
}
