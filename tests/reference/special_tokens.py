"""Second opinion on BOS and EOS: the token ids that lm-evaluation-harness scores, by its own model class.

    pip install -r tests/reference/requirements.txt
    python tests/reference/special_tokens.py            # writes special-tokens.json
    python tests/reference/special_tokens.py --check    # compares with what is there

The tokenizer is tokenizer.json of this folder with one more special token, <|end|>, and a post-processor.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import lm_eval
from lm_eval.models.huggingface import HFLM
from tokenizers import AddedToken, Tokenizer, processors
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
OUT = HERE / "special-tokens.json"
BOS, EOS = "<|begin|>", "<|end|>"

# What the post-processor makes of a text, and the harness's BOS and EOS.
PROCESSORS = {
    "$A": (BOS, EOS),
    "<|begin|> $A": (BOS, EOS),
    "<|begin|> $A <|end|>": (BOS, EOS),
    "$A <|end|>": (None, EOS),
}
PAIRS = [
    ("Which of these is wet?", " rain"),
    ("<|begin|>Which of these is wet?", " rain"),
    ("<|begin|> Which of these is wet?\n", " rain"),
    ("<|begin|>", " rain"),
    ("<|begin|><|begin|>Which?", " rain"),
    (" <|begin|>Which?", " rain"),
    ("Which?<|begin|>", " the rain"),
    ("<|end|>Which?", " the rain"),
    ("<|beg", "in|> the rain"),
    (" \n", "<|begin|> the rain"),
    ("", " the rain"),
    ("", "<|begin|> the rain"),
]


class Recorder(HFLM):
    """The harness's model without a model: it keeps the token ids it is asked to score."""

    def __init__(self, tokenizer):
        self.tokenizer, self.backend, self.add_bos_token, self.custom_prefix_token_id = tokenizer, "causal", None, None
        self.enable_thinking, self.pairs = False, []

    def _loglikelihood_tokens(self, requests, **kwargs):
        self.pairs += [(context, continuation) for _, context, continuation in requests]
        return [(0.0, False) for _ in requests]


def main():
    cases = []
    for processor, (bos, eos) in PROCESSORS.items():
        tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
        tokenizer.add_special_tokens([AddedToken(EOS, special=True)])
        special = [(token, tokenizer.token_to_id(token)) for token in (BOS, EOS)]
        tokenizer.post_processor = processors.TemplateProcessing(processor, special_tokens=special)
        recorder = Recorder(PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos))
        pairs = [pair for pair in PAIRS if pair[0] or processor.startswith(BOS)]
        recorder.loglikelihood([SimpleNamespace(args=pair) for pair in pairs], disable_tqdm=True)
        requests = [
            {"context": context, "continuation": continuation, "ids": ids}
            for (context, continuation), ids in zip(pairs, recorder.pairs)
            # Where there is nothing to predict from, the harness ends; so do we.
            if ids[0]
        ]
        cases.append({"processor": processor, "requests": requests})
    text = json.dumps({"lm_eval": lm_eval.__version__, "cases": cases}) + "\n"
    if "--check" in sys.argv:
        same = OUT.read_text() == text
        print(f"{OUT.name}: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    OUT.write_text(text)


if __name__ == "__main__":
    main()
