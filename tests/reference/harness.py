"""Second opinion on prompts, token ids and accuracy: what lm-evaluation-harness itself makes of the rows in `rows/`.

    pip install -r tests/reference/requirements.txt
    python tests/reference/harness.py            # writes harness.json, tokenizer.json and tokenizer-bos.json
    python tests/reference/harness.py --check    # compares with what is there

Its task files are loaded as they are; only the data source is replaced by our rows. Two sets have no task there: their
prompt is given below and goes through the same code.
"""

import json
import pathlib
import random
import sys

import datasets
import lm_eval
from lm_eval.api.metrics import mean, mean_stderr
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
TASKS = pathlib.Path(lm_eval.__file__).parent / "tasks"
BOTH = [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")]

CONFIGS = {
    "openbookqa": "openbookqa/openbookqa.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "piqa": "piqa/piqa.yaml",
    "siqa": "siqa/siqa.yaml",
    "winogrande": "winogrande/default.yaml",
    "commonsense_qa": "commonsense_qa/default.yaml",
    "logiqa": "logiqa/logiqa.yaml",
    "qasc": {
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{choices.text}}",
        "doc_to_target": "{{choices.label.index(answerKey)}}",
    },
    "cosmos_qa": {
        "doc_to_text": "{{context}}\nQuestion: {{question}}\nAnswer:",
        "doc_to_choice": "{{[answer0, answer1, answer2, answer3]}}",
        "doc_to_target": "{{label}}",
    },
}

# As Qwen2's tokenizer.json has it: NFC, this pattern, byte-level BPE.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Recorder(TemplateLM):
    """A model that only keeps the token ids it is asked to score."""

    eot_token_id = 0

    def __init__(self, tokenizer):
        super().__init__()
        self.hf, self.pairs = tokenizer, []

    def tok_encode(self, string, add_special_tokens=None, **kwargs):
        return self.hf.encode(string, add_special_tokens=add_special_tokens is not False).ids

    def _loglikelihood_tokens(self, requests, **kwargs):
        self.pairs += [(context, continuation) for _, context, continuation in requests]
        return [(0.0, False) for _ in requests]

    def loglikelihood_rolling(self, requests, **kwargs):
        raise NotImplementedError

    def generate_until(self, requests, **kwargs):
        raise NotImplementedError


def make_task(name, rows):
    config = CONFIGS[name]
    config = dict(config) if isinstance(config, dict) else load_yaml(TASKS / config)
    splits = ("train", "validation", "test")
    config |= {
        "task": name,
        "dataset_path": None,
        "dataset_name": None,
        "output_type": "multiple_choice",
        "validation_split": "validation",
        "metric_list": BOTH,
        "custom_dataset": lambda **_: datasets.DatasetDict({s: datasets.Dataset.from_list(rows) for s in splits}),
    }
    config.pop("tag", None)
    return ConfigurableTask(config=config)


def make_tokenizers(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<|begin|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # A merge of "?" and a newline, as large vocabularies have: a token that spans context and continuation.
    tokenizer.train_from_iterator(texts + ["?\n"] * 50, trainer)
    plain = tokenizer.to_str()
    tokenizer.post_processor = processors.TemplateProcessing("<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return {"tokenizer": plain, "tokenizer-bos": tokenizer.to_str()}


def main():
    sets, texts = {}, []
    rng = random.Random(1)
    for name in CONFIGS:
        rows = [json.loads(line) for line in (HERE / "rows" / f"{name}.jsonl").open(encoding="utf-8")]
        task = make_task(name, rows)
        questions = []
        for doc in task.validation_docs():
            requests = task.construct_requests(doc, task.fewshot_context(doc, 0))
            pairs = [list(request.args) for request in requests]
            # Multiples of 1/8, so that ties occur and JSON holds them exactly.
            loglik = [-rng.randrange(1, 60) / 8 for _ in pairs]
            if rng.random() < 0.4:
                loglik[-1] = max(loglik)
            result = task.process_results(doc, [(value, False) for value in loglik])
            questions.append({"requests": pairs, "loglik": loglik, "acc": result["acc"], "acc_norm": result["acc_norm"]})
            texts += [context + continuation for context, continuation in pairs]
            questions[-1]["instances"] = requests
        sets[name] = questions

    tokenizers = make_tokenizers(texts)
    spanning = 0
    for kind, text in tokenizers.items():
        recorder = Recorder(Tokenizer.from_str(text))
        for questions in sets.values():
            for question in questions:
                recorder.pairs = []
                recorder.loglikelihood(question["instances"], disable_tqdm=True)
                question[kind] = recorder.pairs
                for (context, continuation), (ids, rest) in zip(question["requests"], recorder.pairs):
                    spanning += recorder.tok_encode(context + continuation) != ids + rest
    assert spanning > 0, "the rows should hold a token that spans the boundary"

    out = {"lm_eval": lm_eval.__version__, "sets": {}}
    for name, questions in sets.items():
        for question in questions:
            del question["instances"]
        out["sets"][name] = {"questions": questions}
        for metric in ("acc", "acc_norm"):
            values = [question[metric] for question in questions]
            out["sets"][name][metric] = [mean(values), mean_stderr(values)]

    files = {"harness.json": json.dumps(out, ensure_ascii=False, indent=None) + "\n"}
    files |= {f"{kind}.json": json.dumps(json.loads(text), ensure_ascii=False) + "\n" for kind, text in tokenizers.items()}
    for name, text in files.items():
        path = HERE / name
        if "--check" in sys.argv:
            same = path.read_text(encoding="utf-8") == text
            print(f"{name}: {'equal' if same else 'DIFFERS'}")
            if not same:
                sys.exit(1)
        else:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
