//! What the post-processor of a tokenizer.json adds to a text.

use anyhow::{Result, anyhow};
use tokenizers::{Encoding, Token, Tokenizer};

/// The tokens around every text that is encoded with special tokens on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Before it: BOS or nothing, seldom more.
    pub before: Vec<String>,
    /// After it: nothing or EOS.
    pub after: Vec<String>,
    /// Id of the first token before a text.
    pub first: Option<u32>,
    /// The text that lm-evaluation-harness takes for BOS: that of the first token before a text, else of the first after it.
    pub bos: Option<String>,
}

impl SpecialTokens {
    /// Asks the post-processor what it puts around a token.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self> {
        let token = Token { id: 0, value: String::new(), offsets: (0, 0) };
        let around =
            tokenizer.post_process(Encoding::from_tokens(vec![token], 0), None, true).map_err(|e| anyhow!("{e}"))?;
        // The mask, not the id: that token may be BOS itself.
        let middle = around.get_special_tokens_mask().iter().position(|&special| special == 0);
        let middle = middle.ok_or_else(|| anyhow!("the post-processor drops the text"))?;
        let (tokens, ids) = (around.get_tokens(), around.get_ids());
        let bos = ids.iter().enumerate().find(|(at, _)| *at != middle).map(|(_, id)| tokenizer.decode(&[*id], false));
        let bos = bos.transpose().map_err(|e| anyhow!("{e}"))?;
        Ok(Self {
            before: tokens.get(..middle).unwrap_or_default().to_vec(),
            // A post-processor may give more ids than tokens.
            after: tokens.get(middle + 1..).unwrap_or_default().to_vec(),
            first: ids[..middle].first().copied(),
            // Every text begins with the empty one.
            bos: bos.filter(|text| !text.is_empty()),
        })
    }

    /// What to say where tokens stand behind a text, since scores are then of other tokens than the choice's.
    pub fn note(&self) -> Option<String> {
        let after = self.after.join(" ");
        (!after.is_empty()).then(|| {
            format!(
                "tokenizer.json puts {after} after every text: as in lm-evaluation-harness it stands between a context and its \
                 choice too, and is scored in place of the choice's first token; take {after} out of its post_processor to \
                 score the choices alone"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENIZER: &str = r#"{"version":"1.0","truncation":null,"padding":null,"normalizer":null,"pre_tokenizer":null,
        "decoder":null,"added_tokens":[],"model":{"type":"WordLevel","vocab":{"<s>":0,"</s>":1,"x":2},"unk_token":"x"},
        "post_processor":PROCESSOR}"#;

    fn special(pieces: &[&str]) -> SpecialTokens {
        let piece = |name: &&str| match *name {
            "$A" => r#"{"Sequence":{"id":"A","type_id":0}}"#.to_string(),
            name => format!(r#"{{"SpecialToken":{{"id":"{name}","type_id":0}}}}"#),
        };
        let processor = format!(
            r#"{{"type":"TemplateProcessing","single":[{}],"pair":[{{"Sequence":{{"id":"A","type_id":0}}}},
            {{"Sequence":{{"id":"B","type_id":0}}}}],"special_tokens":{{"<s>":{{"id":"<s>","ids":[0],"tokens":["<s>"]}},
            "</s>":{{"id":"</s>","ids":[1],"tokens":["</s>"]}}}}}}"#,
            pieces.iter().map(piece).collect::<Vec<_>>().join(",")
        );
        SpecialTokens::new(&TOKENIZER.replace("PROCESSOR", &processor).parse().unwrap()).unwrap()
    }

    #[test]
    fn tokens_before_a_text_are_told_from_those_after_it() {
        for (pieces, before, after, bos) in [
            (&["$A"][..], &[][..], &[][..], None),
            (&["<s>", "$A"], &["<s>"], &[], Some("<s>")),
            (&["$A", "</s>"], &[], &["</s>"], Some("</s>")),
            (&["<s>", "$A", "</s>"], &["<s>"], &["</s>"], Some("<s>")),
        ] {
            let special = special(pieces);
            assert_eq!(
                (&special.before[..], &special.after[..], special.bos.as_deref()),
                (
                    &before.iter().map(|t: &&str| t.to_string()).collect::<Vec<_>>()[..],
                    &after.iter().map(|t: &&str| t.to_string()).collect::<Vec<_>>()[..],
                    bos
                )
            );
            assert_eq!(special.note().is_some_and(|note| note.contains("</s> after every text")), !after.is_empty());
        }
        let none = SpecialTokens::new(&TOKENIZER.replace("PROCESSOR", "null").parse().unwrap()).unwrap();
        assert_eq!(none, SpecialTokens::default());
    }
}
