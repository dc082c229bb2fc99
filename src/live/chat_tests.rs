use std::path::{Path, PathBuf};

use super::*;
use crate::model::Placement;
use crate::model::source::load;

fn template(text: &str) -> Result<ChatTemplate> {
    let facts = GenerationFacts {
        chat_template: Some(text.to_string()),
        origin: "tokenizer_config.json".to_string(),
        bos_token: Some("<s>".to_string()),
        ..GenerationFacts::default()
    };
    ChatTemplate::new(facts).map(|template| template.expect("it was given"))
}

fn render(text: &str) -> Result<String> {
    template(text)?.render(&[ChatMessage::new("system", "Be \"kind\" & <brief>."), ChatMessage::new("user", " Hi! ")])
}

#[derive(Deserialize)]
struct Reference {
    templates: Vec<ReferenceTemplate>,
    chats: Vec<Vec<ChatMessage>>,
}

#[derive(Deserialize)]
struct ReferenceTemplate {
    name: String,
    /// The file of a real model.
    file: Option<String>,
    template: String,
    bos_token: Option<String>,
    eos_token: Option<String>,
    /// One text for each chat; `null` where the template refuses it.
    texts: Vec<Option<String>>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/reference/chat.json")).unwrap()
}

#[test]
fn templates_are_rendered_as_by_transformers() {
    let reference = reference();
    for case in reference.templates {
        let facts = GenerationFacts {
            chat_template: Some(case.template),
            bos_token: case.bos_token,
            eos_token: case.eos_token,
            ..GenerationFacts::default()
        };
        let template = ChatTemplate::new(facts).unwrap().unwrap();
        for (chat, expected) in reference.chats.iter().zip(&case.texts) {
            let text = template.render(chat);
            assert_eq!(text.as_ref().ok(), expected.as_ref(), "{}: {chat:?}: {:?}", case.name, text.as_ref().err());
        }
    }
}

#[test]
fn rules_of_jinja_for_python() {
    for (text, expected) in [
        // Blocks take the blanks before them and the line's end behind them; the file's last line end goes.
        ("{% for m in messages %}\n  {% if true %}\n{{ m.role }};\n  {% endif %}\n{% endfor %}\n", "system;\nuser;\n"),
        ("{{ bos_token }}{{ eos_token }}", "<s>"),
        ("{{ messages[1]['content'].strip() + '!' }}", "Hi!!"),
        ("{{ messages[0].content.split(' ')[-1] }}{{ 'x'.startswith('x') }}", "<brief>.True"),
        ("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}", "system"),
        ("{{ messages[0] | tojson }}", r#"{"role": "system", "content": "Be \"kind\" & <brief>."}"#),
        ("{{ [1, 'é'] | tojson(indent=1) }}", "[\n 1,\n \"é\"\n]"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% if tools is none and not documents %}{{ messages | length }}{% endif %}", "2"),
        ("{% if not add_generation_prompt %}no{% endif %}{{ strftime_now('%%') }}", "%"),
    ] {
        assert_eq!(render(text).unwrap(), expected, "{text}");
    }
    assert_eq!(render("{{ strftime_now('%d %b %Y') }}").unwrap().len(), 11);
}

#[test]
fn templates_that_fail_are_told() {
    for (text, parts) in [
        ("{% if %}", &["tokenizer_config.json", "cannot be read"][..]),
        ("{{ raise_exception('roles must alternate') }}", &["tokenizer_config.json", "roles must alternate"]),
        ("{{ messages[7].role }}", &["undefined"]),
        ("{{ strftime_now('%\u{1}') }}", &["strftime_now"]),
        ("{{ 'x' * 100000000000 }}", &["tokenizer_config.json"]),
        ("{{ messages | tojson(indent=1000000000) }}", &["tojson", "indent=1000000000"]),
        ("{% set s = 'x' * 9000 %}{% for i in range(9000) %}{{ s }}{% endfor %}", &["tokenizer_config.json", "64 MB"]),
        ("{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", &["fuel"]),
    ] {
        let error = format!("{:#}", render(text).unwrap_err());
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
    assert!(ChatTemplate::new(GenerationFacts::default()).unwrap().is_none());
}

#[test]
fn the_embedded_model_has_no_template_and_no_end() {
    let model = load("pocket", &Placement::cpu()).unwrap();
    assert!(ChatTemplate::for_model(&model).unwrap().is_none());
    assert_eq!(EndTokens::for_model(&model).unwrap(), EndTokens::default());
}

/// A tokenizer.json of words with two special tokens, the first of which it puts before every text.
const TOKENIZER: &str = r#"{"version":"1.0","truncation":null,"padding":null,"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},
    "decoder":null,"added_tokens":[
        {"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
        {"id":1,"content":"<|end|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
    "model":{"type":"WordLevel","vocab":{"<s>":0,"<|end|>":1,"x":2,"Hi":3},"unk_token":"x"},
    "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
        "pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}}}"#;

#[test]
fn bos_stands_once_and_the_token_behind_an_answer_ends() {
    let tokenizer: Tokenizer = TOKENIZER.parse().unwrap();
    let chat = [ChatMessage::new("user", "Hi")];
    let chatted = template("{{ bos_token }}{% for m in messages %}{{ m.content }} <|end|> {% endfor %}").unwrap();
    assert_eq!(chatted.encode(&tokenizer, &chat).unwrap(), [0, 3, 1]);
    assert_eq!(leading_special_token(&tokenizer, &chatted.closing().unwrap()), Some(1));
    for text in ["{% for m in messages %}{{ m.content }} x {% endfor %}", "{{ messages[0].content }}"] {
        let closing = template(text).unwrap().closing().unwrap_or_default();
        assert_eq!(leading_special_token(&tokenizer, &closing), None, "{text}");
    }
}

/// The real models, where they are at hand.
#[test]
fn real_models_have_these_templates_and_ends() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models");
    let folder = std::env::var_os("SPLITBENCH_MODELS").map_or(shared, PathBuf::from);
    for case in reference().templates {
        let Some(path) = case.file.map(|file| folder.join(file)) else { continue };
        if !path.is_file() {
            println!("skipped: {} is not there", path.display());
            continue;
        }
        let model = load(&path.display().to_string(), &Placement::cpu()).unwrap();
        let facts = model.generation().unwrap();
        assert_eq!(facts.chat_template.as_ref(), Some(&case.template), "{}", case.name);
        assert_eq!((facts.bos_token, facts.eos_token), (case.bos_token, case.eos_token), "{}", case.name);
        let ends: Vec<String> =
            (EndTokens::for_model(&model).unwrap().ids()).map(|id| model.tokenizer.id_to_token(id).unwrap()).collect();
        assert_eq!(ends, ["<|im_end|>"], "{}", case.name);
        let template = ChatTemplate::for_model(&model).unwrap().unwrap();
        let ids = template.encode(&model.tokenizer, &[ChatMessage::new("user", "Hi")]).unwrap();
        let start = model.tokenizer.token_to_id("<|im_start|>").unwrap();
        assert_eq!(ids.iter().filter(|id| **id == start).count(), 3, "{}", case.name);
        assert_eq!(
            model.tokenizer.decode(&ids, false).unwrap(),
            template.render(&[ChatMessage::new("user", "Hi")]).unwrap()
        );
    }
}
