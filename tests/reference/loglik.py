"""Log-likelihoods from lm-evaluation-harness with transformers, on two tiny random checkpoints and the rows in `rows/`.

    pip install -r tests/reference/requirements.txt
    python tests/reference/loglik.py            # writes loglik/
    python tests/reference/loglik.py --check    # makes them again and compares
    python tests/reference/loglik.py --real DIR # also writes real.json: the first rows of DIR/<set>/eval.jsonl, numbers only

Llama with the tokenizer that adds a BOS, Qwen2 with the one that does not. float32, eager attention, one request at a time.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
from decoder import LLAMA, LLAMA3, QWEN2, same_files, tensors, write_checkpoint
from harness import CONFIGS, make_task
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent
# More logits than the tokenizer has ids, as large checkpoints have.
SIZE = {"vocab_size": 509, "max_position_embeddings": 4096, "num_hidden_layers": 2}
CASES = {
    "llama": ({**LLAMA, **SIZE, "num_attention_heads": 4, "rope_scaling": LLAMA3}, "tokenizer-bos.json"),
    "qwen2": ({**QWEN2, **SIZE}, "tokenizer.json"),
}


REAL_ROWS = 200


def score(harness: HFLM, name: str, rows: list[dict]) -> list[dict]:
    task = make_task(name, rows)
    questions = []
    for doc in task.validation_docs():
        requests = task.construct_requests(doc, task.fewshot_context(doc, 0))
        results = harness.loglikelihood(requests, disable_tqdm=True)
        scores = task.process_results(doc, results)
        loglik = [float(f"{value:.8g}") for value, _ in results]
        questions.append({"loglik": loglik, "acc": scores["acc"], "acc_norm": scores["acc_norm"]})
    return questions


def read(path: pathlib.Path, rows: int | None = None) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:rows] if line]


def make(folder: pathlib.Path, real: pathlib.Path | None = None) -> None:
    for seed, (case, (config, tokenizer_file)) in enumerate(CASES.items()):
        place = folder / case
        place.mkdir(parents=True, exist_ok=True)
        write_checkpoint(place, config, tensors(config, 0.3, np.random.default_rng(2000 + seed)), "")
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, attn_implementation="eager")
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(HERE / tokenizer_file), bos_token="<|begin|>", eos_token="<|begin|>"
        )
        harness = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1, device="cpu")
        sets = {name: score(harness, name, read(HERE / "rows" / f"{name}.jsonl")) for name in CONFIGS}
        out = {"tokenizer": tokenizer_file, "sets": sets}
        (place / "loglik.json").write_text(json.dumps(out) + "\n")
        if real:
            out["sets"] = {name: score(harness, name, read(real / name / "eval.jsonl", REAL_ROWS)) for name in CONFIGS}
            (place / "real.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    if "--check" in sys.argv:
        with tempfile.TemporaryDirectory() as temporary:
            make(pathlib.Path(temporary))
            sys.exit(not same_files(pathlib.Path(temporary), HERE / "loglik", {"real.json"}))
    make(HERE / "loglik", pathlib.Path(sys.argv[2]) if sys.argv[1:2] == ["--real"] else None)
