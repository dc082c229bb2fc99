//! Rows of our own writing: what must be read, and what must be refused with which words.

use super::*;

/// A good row of every schema.
const GOOD: [(Schema, &str); 9] = [
    (
        Schema::OpenBookQa,
        r#"{"id": "o1", "question_stem": "A kettle sings when", "choices": {"text": ["it boils", "it rests"], "label": ["A", "B"]}, "answerKey": "A"}"#,
    ),
    (
        Schema::Arc,
        r#"{"id": "a1", "question": "Which is a metal?", "choices": {"text": ["tin", "wool", "milk"], "label": ["1", "2", "3"]}, "answerKey": "3"}"#,
    ),
    (Schema::Piqa, r#"{"goal": "dry a cup", "sol1": "with rain ", "sol2": " with a cloth", "label": 1}"#),
    (
        Schema::Siqa,
        r#"{"context": "Ada fell.", "question": "How is Ada?", "answerA": "sore", "answerB": "sore", "answerC": "tall", "label": "2"}"#,
    ),
    (
        Schema::WinoGrande,
        r#"{"sentence": "The mug fits the box as _ is small. ", "option1": "the mug", "option2": "the box", "answer": "1"}"#,
    ),
    (
        Schema::CommonsenseQa,
        r#"{"id": "c1", "question": "Where is\ta pan? ", "question_concept": "pan", "choices": {"label": ["A", "B", "C", "D", "E"], "text": ["sea", "sky", "stove", "sea", "tree"]}, "answerKey": "C"}"#,
    ),
    (
        Schema::Qasc,
        r#"{"id": "q1", "question": "What melts?", "choices": {"text": ["ice", "air"], "label": ["A", "B"]}, "answerKey": "A", "fact1": "", "fact2": "", "combinedfact": "", "formatted_question": ""}"#,
    ),
    (
        Schema::LogiQa,
        r#"{"label": "c", "context": "All cups are blue.", "question": "Which holds?", "options": ["one", "two", "三", "four"]}"#,
    ),
    (
        Schema::CosmosQa,
        r#"{"id": "m1", "context": "It rained .", "question": "Why wet ?", "answer0": "Rain .", "answer1": "Sun .", "answer2": "None of the above choices .", "answer3": "Wind .", "label": 0}"#,
    ),
];

fn error(schema: Schema, text: &str) -> String {
    format!("{:#}", read_rows(schema, "x/eval.jsonl", text.as_bytes(), None).unwrap_err())
}

fn good(schema: Schema) -> &'static str {
    GOOD.iter().find(|(s, _)| *s == schema).unwrap().1
}

#[test]
fn good_rows_of_every_schema_are_read() {
    let gold = [0, 2, 1, 1, 0, 2, 0, 2, 0];
    for ((schema, row), gold) in GOOD.iter().zip(gold) {
        let questions = read_rows(*schema, "x", row.as_bytes(), None).unwrap();
        assert_eq!((questions.len(), questions[0].gold), (1, gold), "{schema:?}");
    }
    let piqa = read_rows(Schema::Piqa, "x", format!("{}\r\n\n{0}", good(Schema::Piqa)).as_bytes(), None).unwrap();
    assert_eq!(piqa.iter().map(|q| (q.index, q.id.as_str())).collect::<Vec<_>>(), [(0, "0"), (1, "1")]);
}

#[test]
fn other_spellings_of_a_row_are_the_same_row() {
    let row = |schema, text: &str| read_rows(schema, "x", text.as_bytes(), None).unwrap().remove(0);
    let lists = r#"{"text": ["tin", "wool", "milk"], "label": ["1", "2", "3"]}"#;
    let objects = r#"[{"label": 1, "text": "tin"}, {"text": "wool", "label": 2}, {"text": "milk", "label": 3}]"#;
    for (schema, from, to) in [
        (Schema::Arc, lists, objects),
        (Schema::Arc, r#"["1", "2", "3"]"#, "[1, 2, 3]"),
        (Schema::Arc, r#""answerKey": "3""#, r#""answerKey": 3"#),
        (Schema::Arc, r#""answerKey": "3""#, r#""answerKey": 3.0"#),
        (Schema::Siqa, r#""label": "2""#, r#""label": 2"#),
        (Schema::Siqa, r#""label": "2""#, r#""label": "2\n""#),
        (Schema::WinoGrande, r#""answer": "1""#, r#""answer": 1.0"#),
        (Schema::Piqa, r#""label": 1"#, r#""label": "1""#),
        (Schema::Piqa, r#""label": 1"#, r#""label": 1.0"#),
        (Schema::Piqa, r#""label": 1"#, r#""label": " 1""#),
        (Schema::CosmosQa, r#""label": 0"#, r#""label": -0.0"#),
    ] {
        let other = good(schema).replacen(from, to, 1);
        assert_ne!(other, good(schema), "{from}");
        assert_eq!(row(schema, &other), row(schema, good(schema)), "{other}");
        assert_eq!(row(schema, &format!("\u{feff}\r\n{other}\r\n\r\n")), row(schema, good(schema)), "{other}");
    }
    for (id, read) in [("7", "7"), ("7.0", "7"), ("-7", "-7"), ("7.5", "7.5"), ("\"007\"", "007"), ("null", "0")] {
        let other = good(Schema::Arc).replacen("\"a1\"", id, 1);
        assert_eq!(row(Schema::Arc, &other).id, read, "{id}");
    }
}

#[test]
fn any_field_that_is_used_is_missed_by_name() {
    for (schema, row) in GOOD {
        let Value::Object(map) = serde_json::from_str(row).unwrap() else { unreachable!() };
        let unused = ["id", "question_concept", "fact1", "fact2", "combinedfact", "formatted_question"];
        for field in map.keys() {
            let mut without = map.clone();
            without.remove(field);
            let text = Value::Object(without).to_string();
            if unused.contains(&field.as_str()) {
                assert!(read_rows(schema, "x", text.as_bytes(), None).is_ok(), "{schema:?} {field}");
            } else {
                let error = error(schema, &text);
                assert!(error.contains(&format!("field {field:?} is missing; expected")), "{schema:?}: {error}");
                assert!(error.starts_with("x/eval.jsonl line 1: "), "{error}");
                let mut wrong = map.clone();
                wrong[field] = Value::Bool(true);
                let error = self::error(schema, &Value::Object(wrong).to_string());
                assert!(error.contains(&format!("field {field:?}: expected")), "{schema:?}: {error}");
                assert!(error.ends_with("found a boolean"), "{error}");
            }
        }
    }
}

#[test]
fn bad_rows_are_refused_in_words_that_help() {
    struct Case {
        schema: Schema,
        from: &'static str,
        to: &'static str,
        says: &'static str,
    }
    let case = |schema, from, to, says| Case { schema, from, to, says };
    let arc = Schema::Arc;
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
        case(Schema::WinoGrande, "_", "it", "expected exactly one `_`, found 0"),
        case(Schema::WinoGrande, "mug fits", "_ fits", "expected exactly one `_`, found 2"),
        case(Schema::WinoGrande, "_ is small. ", "_ ", "expected text after the `_`"),
        case(Schema::WinoGrande, "\"answer\": \"1\"", "\"answer\": \"\"", "no gold; expected one of \"1\", \"2\""),
        case(
            Schema::Piqa,
            "\"label\": 1",
            "\"label\": 2",
            "2 names no choice; expected the gold choice's number, 0 to 1",
        ),
        case(Schema::Piqa, "\"label\": 1", "\"label\": -1", "-1 names no choice"),
        case(Schema::Piqa, "\"label\": 1", "\"label\": 0.5", "0.5 names no choice"),
        case(Schema::Piqa, "\"label\": 1", "\"label\": 1.5", "1.5 names no choice"),
        case(Schema::Piqa, "\"label\": 1", "\"label\": \"2\"", "\"2\" names no choice"),
        case(Schema::Piqa, "\"label\": 1", "\"label\": \"\"", "\"\" names no choice"),
        case(Schema::Piqa, "\"label\": 1", "\"label\": null", "found null"),
        case(Schema::Piqa, "\"label\": 1", "\"label\": NaN", "malformed JSON"),
        case(Schema::LogiQa, "\"label\": \"c\"", "\"label\": 2", "\"2\" names no choice"),
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
            "field \"choices\": expected an object with the arrays",
        ),
        case(
            Schema::Siqa,
            "\"label\": \"2\"",
            "\"label\": \"0\"",
            "names no choice; expected one of \"1\", \"2\", \"3\"",
        ),
        case(Schema::Siqa, "\"tall\"", "\"\"", "\"answerC\": expected text"),
        case(Schema::CommonsenseQa, "\"A\", \"B\"", "\"B\", \"A\"", "expected \"A\" at position 1, found \"B\""),
        case(Schema::LogiQa, "\"label\": \"c\"", "\"label\": \"e\"", "names no choice; expected one of \"a\", \"b\""),
        case(Schema::CosmosQa, "\"label\": 0", "\"label\": 4", "4 names no choice"),
    ];
    for Case { schema, from, to, says } in cases {
        let row = good(schema);
        let bad = row.replacen(from, to, 1);
        assert_ne!(bad, row, "{from}");
        let error = error(schema, &format!("{row}\n{bad}\n"));
        assert!(error.starts_with("x/eval.jsonl line 2: ") && error.contains(says), "wanted {says}\n  got {error}");
    }
}

#[test]
fn text_that_holds_no_rows_is_refused() {
    assert!(error(Schema::Arc, "\n \n").contains("no rows"));
    assert!(error(Schema::Arc, "[1]").contains("expected a JSON object, found an array"));
    let bytes = [good(Schema::Arc).as_bytes(), b"\n\xff\xfe\n"].concat();
    let error = format!("{:#}", read_rows(Schema::Arc, "x", &bytes, None).unwrap_err());
    assert!(error.contains("x line 2: not UTF-8"), "{error}");
    assert_eq!(read_rows(Schema::Arc, "x", &bytes, Some(1)).unwrap().len(), 1, "the limit stops before the bad line");
}
