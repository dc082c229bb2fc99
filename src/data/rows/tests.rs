//! Rows of our own writing: what must be read, and what must be refused with which words.

use super::*;
use crate::data::find;

/// A good row of the sets, of which ARC-Challenge has ARC-Easy's.
const GOOD: [(&str, &str); 9] = [
    (
        "openbookqa",
        r#"{"id": "o1", "question_stem": "A kettle sings when", "choices": {"text": ["it boils", "it rests"], "label": ["A", "B"]}, "answerKey": "A"}"#,
    ),
    (
        "arc_easy",
        r#"{"id": "a1", "question": "Which is a metal?", "choices": {"text": ["tin", "wool", "milk"], "label": ["1", "2", "3"]}, "answerKey": "3"}"#,
    ),
    ("piqa", r#"{"goal": "dry a cup", "sol1": "with rain ", "sol2": " with a cloth", "label": 1}"#),
    (
        "siqa",
        r#"{"context": "Ada fell.", "question": "How is Ada?", "answerA": "sore", "answerB": "sore", "answerC": "tall", "label": "2"}"#,
    ),
    (
        "winogrande",
        r#"{"sentence": "The mug fits the box as _ is small. ", "option1": "the mug", "option2": "the box", "answer": "1"}"#,
    ),
    (
        "commonsense_qa",
        r#"{"id": "c1", "question": "Where is\ta pan? ", "question_concept": "pan", "choices": {"label": ["A", "B", "C", "D", "E"], "text": ["sea", "sky", "stove", "sea", "tree"]}, "answerKey": "C"}"#,
    ),
    (
        "qasc",
        r#"{"id": "q1", "question": "What melts?", "choices": {"text": ["ice", "air"], "label": ["A", "B"]}, "answerKey": "A", "fact1": "", "fact2": "", "combinedfact": "", "formatted_question": ""}"#,
    ),
    (
        "logiqa",
        r#"{"label": "c", "context": "All cups are blue.", "question": "Which holds?", "options": ["one", "two", "三", "four"]}"#,
    ),
    (
        "cosmos_qa",
        r#"{"id": "m1", "context": "It rained .", "question": "Why wet ?", "answer0": "Rain .", "answer1": "Sun .", "answer2": "None of the above choices .", "answer3": "Wind .", "label": 0}"#,
    ),
];

fn read(set: &str, file: &str, text: &[u8], limit: Option<usize>) -> Result<Vec<Question>> {
    read_rows(find(set).unwrap(), file, text, limit)
}

fn error(set: &str, text: &str) -> String {
    format!("{:#}", read(set, "x/eval.jsonl", text.as_bytes(), None).unwrap_err())
}

fn good(set: &str) -> &'static str {
    GOOD.iter().find(|(s, _)| *s == set).unwrap().1
}

#[test]
fn good_rows_of_every_set_are_read() {
    let gold = [0, 2, 1, 1, 0, 2, 0, 2, 0];
    for ((set, row), gold) in GOOD.iter().zip(gold) {
        let questions = read(set, "x", row.as_bytes(), None).unwrap();
        assert_eq!((questions.len(), questions[0].gold), (1, gold), "{set:?}");
    }
    let piqa = read("piqa", "x", format!("{}\r\n\n{0}", good("piqa")).as_bytes(), None).unwrap();
    assert_eq!(piqa.iter().map(|q| (q.index, q.id.as_str())).collect::<Vec<_>>(), [(0, "0"), (1, "1")]);
}

#[test]
fn other_spellings_of_a_row_are_the_same_row() {
    let row = |set, text: &str| read(set, "x", text.as_bytes(), None).unwrap().remove(0);
    let lists = r#"{"text": ["tin", "wool", "milk"], "label": ["1", "2", "3"]}"#;
    let objects = r#"[{"label": 1, "text": "tin"}, {"text": "wool", "label": 2}, {"text": "milk", "label": 3}]"#;
    for (set, from, to) in [
        ("arc_easy", lists, objects),
        ("arc_easy", r#"["1", "2", "3"]"#, "[1, 2, 3]"),
        ("arc_easy", r#""answerKey": "3""#, r#""answerKey": 3"#),
        ("arc_easy", r#""answerKey": "3""#, r#""answerKey": 3.0"#),
        ("siqa", r#""label": "2""#, r#""label": 2"#),
        ("siqa", r#""label": "2""#, r#""label": "2\n""#),
        ("winogrande", r#""answer": "1""#, r#""answer": 1.0"#),
        ("piqa", r#""label": 1"#, r#""label": "1""#),
        ("piqa", r#""label": 1"#, r#""label": 1.0"#),
        ("piqa", r#""label": 1"#, r#""label": " 1""#),
        ("cosmos_qa", r#""label": 0"#, r#""label": -0.0"#),
    ] {
        let other = good(set).replacen(from, to, 1);
        assert_ne!(other, good(set), "{from}");
        assert_eq!(row(set, &other), row(set, good(set)), "{other}");
        assert_eq!(row(set, &format!("\u{feff}\r\n{other}\r\n\r\n")), row(set, good(set)), "{other}");
    }
    for (id, read) in [("7", "7"), ("7.0", "7"), ("-7", "-7"), ("7.5", "7.5"), ("\"007\"", "007"), ("null", "0")] {
        let other = good("arc_easy").replacen("\"a1\"", id, 1);
        assert_eq!(row("arc_easy", &other).id, read, "{id}");
    }
}

#[test]
fn any_field_that_is_used_is_missed_by_name() {
    for (set, row) in GOOD {
        let Value::Object(map) = serde_json::from_str(row).unwrap() else { unreachable!() };
        let unused = ["id", "question_concept", "fact1", "fact2", "combinedfact", "formatted_question"];
        for field in map.keys() {
            let mut without = map.clone();
            without.remove(field);
            let text = Value::Object(without).to_string();
            if unused.contains(&field.as_str()) {
                assert!(read(set, "x", text.as_bytes(), None).is_ok(), "{set:?} {field}");
            } else {
                let error = error(set, &text);
                assert!(error.contains(&format!("field {field:?} is missing; expected")), "{set:?}: {error}");
                assert!(error.starts_with("x/eval.jsonl line 1: "), "{error}");
                let mut wrong = map.clone();
                wrong[field] = Value::Bool(true);
                let error = self::error(set, &Value::Object(wrong).to_string());
                assert!(error.contains(&format!("field {field:?}: expected")), "{set:?}: {error}");
                assert!(error.ends_with("found a boolean"), "{error}");
            }
        }
    }
}

#[test]
fn bad_rows_are_refused_in_words_that_help() {
    struct Case {
        set: &'static str,
        from: &'static str,
        to: &'static str,
        says: &'static str,
    }
    let case = |set, from, to, says| Case { set, from, to, says };
    let arc = "arc_easy";
    let cases = [
        case(arc, "\"answerKey\"", "answerKey", "malformed JSON"),
        case(arc, "[\"tin\", \"wool\", \"milk\"]", "[]", "\"choices.text\": no choices"),
        case(arc, "[\"tin\", \"wool\", \"milk\"]", "[\"tin\"]", "expected 2 to 26 choices, found 1"),
        case(arc, "[\"tin\", \"wool\", \"milk\"]", "\"tin\"", "expected an array of strings, found a string"),
        case(arc, "\"wool\"", "7", "\"choices.text[1]\": expected a string, found a number"),
        case(arc, "\"wool\"", "\" \"", "choice 2 of 3 is empty"),
        case(arc, "\"1\", ", "", "expected 3 labels, one a choice, found 2"),
        case(
            arc,
            "\"answerKey\": \"3\"",
            "\"answerKey\": \"C\"",
            "\"C\" names no choice; expected one of \"1\", \"2\"",
        ),
        case(arc, "\"answerKey\": \"3\"", "\"answerKey\": \"\"", "no gold; expected one of \"1\""),
        case(arc, "\"text\"", "\"texts\"", "\"choices.text\" is missing"),
        case(arc, "Which is a metal?", "", "\"question\": expected text, found an empty string"),
        case("winogrande", "_", "it", "expected exactly one `_`, found 0"),
        case("winogrande", "mug fits", "_ fits", "expected exactly one `_`, found 2"),
        case("winogrande", "_ is small. ", "_ ", "expected text after the `_`"),
        case("winogrande", "\"answer\": \"1\"", "\"answer\": \"\"", "no gold; expected one of \"1\", \"2\""),
        case("piqa", "\"label\": 1", "\"label\": 2", "2 names no choice; expected the gold choice's number, 0 to 1"),
        case("piqa", "\"label\": 1", "\"label\": -1", "-1 names no choice"),
        case("piqa", "\"label\": 1", "\"label\": 0.5", "0.5 names no choice"),
        case("piqa", "\"label\": 1", "\"label\": 1.5", "1.5 names no choice"),
        case("piqa", "\"label\": 1", "\"label\": \"2\"", "\"2\" names no choice"),
        case("piqa", "\"label\": 1", "\"label\": \"\"", "\"\" names no choice"),
        case("piqa", "\"label\": 1", "\"label\": null", "found null"),
        case("piqa", "\"label\": 1", "\"label\": NaN", "malformed JSON"),
        case("logiqa", "\"label\": \"c\"", "\"label\": 2", "\"2\" names no choice"),
        case(arc, "\"id\": \"a1\"", "\"id\": [1]", "field \"id\": expected a string, found an array"),
        case(
            arc,
            r#"{"text": ["tin", "wool", "milk"], "label": ["1", "2", "3"]}"#,
            r#"[{"text": "tin", "label": "1"}, {"text": "wool"}]"#,
            "field \"choices[1].label\" is missing",
        ),
        case(
            arc,
            r#"{"text": ["tin", "wool", "milk"], "label": ["1", "2", "3"]}"#,
            r#"["tin", "wool"]"#,
            "field \"choices[0].text\" is missing",
        ),
        case(
            arc,
            r#"{"text": ["tin", "wool", "milk"], "label": ["1", "2", "3"]}"#,
            r#""{'text': ...}""#,
            "field \"choices\": expected an object with \"text\", found a string",
        ),
        case("siqa", "\"label\": \"2\"", "\"label\": \"0\"", "names no choice; expected one of \"1\", \"2\", \"3\""),
        case("siqa", "\"tall\"", "\"\"", "\"answerC\": expected text"),
        case("commonsense_qa", "\"A\", \"B\"", "\"B\", \"A\"", "expected \"A\" at position 1, found \"B\""),
        case("logiqa", "\"label\": \"c\"", "\"label\": \"e\"", "names no choice; expected one of \"a\", \"b\""),
        case("cosmos_qa", "\"label\": 0", "\"label\": 4", "4 names no choice"),
    ];
    for Case { set, from, to, says } in cases {
        let row = good(set);
        let bad = row.replacen(from, to, 1);
        assert_ne!(bad, row, "{from}");
        let error = error(set, &format!("{row}\n{bad}\n"));
        assert!(error.starts_with("x/eval.jsonl line 2: ") && error.contains(says), "wanted {says}\n  got {error}");
    }
}

#[test]
fn text_that_holds_no_rows_is_refused() {
    assert!(error("arc_easy", "\n \n").contains("no rows"));
    assert!(error("arc_easy", "[1]").contains("expected a JSON object, found an array"));
    let bytes = [good("arc_easy").as_bytes(), b"\n\xff\xfe\n"].concat();
    let error = format!("{:#}", read("arc_easy", "x", &bytes, None).unwrap_err());
    assert!(error.contains("x line 2: not UTF-8"), "{error}");
    assert_eq!(read("arc_easy", "x", &bytes, Some(1)).unwrap().len(), 1, "the limit stops before the bad line");
}
