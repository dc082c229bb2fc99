//! A change of a prompt does not pass unnoticed.

use sha2::{Digest, Sha256};
use splitbench::data::find;

use crate::own_rows;

/// Data set, prompt version, first 16 digits of the hash over the prompts of our own rows.
const RECORDED: [(&str, u32, &str); 10] = [
    ("openbookqa", 1, "1edfce5de75d319c"),
    ("arc_easy", 1, "c1477c39c38ddaa2"),
    ("arc_challenge", 1, "d8e61ca27979bffc"),
    ("piqa", 1, "0adad05cd8c1c726"),
    ("siqa", 1, "3e6ae87e30815a51"),
    ("winogrande", 1, "94c3474bd4dd7617"),
    ("commonsense_qa", 1, "93c94945fb3a77a0"),
    ("qasc", 1, "654d0541d4e40c12"),
    ("logiqa", 1, "ac64d8f705cc7045"),
    ("cosmos_qa", 1, "34dfbb92f2f62842"),
];

#[test]
fn prompts_are_those_on_record() {
    let mut changed = Vec::new();
    for (name, version, recorded) in RECORDED {
        let hashes: String = own_rows(name).iter().map(|q| q.prompt_sha256()).collect();
        let hash: String = Sha256::digest(hashes).iter().take(8).map(|b| format!("{b:02x}")).collect();
        let now = find(name).unwrap().prompt_version;
        if hash != recorded || now != version {
            changed.push(format!(
                "{name}: version {version} is {recorded} on record, version {now} is {hash}; where the prompt was \
                 changed on purpose, raise prompt_version in datasets/{name}.toml and record both here"
            ));
        }
    }
    assert!(changed.is_empty(), "\n{}", changed.join("\n"));
}

#[test]
fn the_prompt_hash_is_of_contexts_and_continuations_in_order() {
    let mut questions = own_rows("piqa");
    let question = &mut questions[0];
    let text = "Question: How do I dry a wet cup?\nAnswer:\0 Rub it with a dry cloth.\0\
                Question: How do I dry a wet cup?\nAnswer:\0 Rub it with a wet cloth.\0";
    let want: String = Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(question.prompt_sha256(), want);
    question.choices.reverse();
    assert_ne!(question.prompt_sha256(), want);
}
