"""What transformers and lm-evaluation-harness compute of real GGUF files, for the test `real_files` of tests/gguf.

    python tests/reference/real_models.py DIR DATA OUT    # *.gguf in DIR, rows in DATA/<set>/eval.jsonl

transformers reads the files by itself and dequantises with the package gguf; float32, eager attention, one request at a time. For each
file OUT gets NAME.json (token ids of strings, log-likelihoods of the first rows of the harness's eight sets) and NAME.npy (logits after
some texts, a row each). Only numbers and our own strings are written, no rows.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from gguf_files import STRINGS
from harness import CONFIGS
from lm_eval.models.huggingface import HFLM
from loglik import read, score
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

ROWS = 20
TEXTS = ["The capital of France is", "def fibonacci(n):\n    if n < 2:\n        return n\n    return", "1, 2, 3, 4, 5, 6,"]


@torch.no_grad()
def main(file: Path, data: Path, out: Path) -> None:
    place = out / f"{file.stem}.json"
    known = json.loads(place.read_text()) if place.exists() else {"sets": {}}
    sets = known["sets"]
    wanted = [name for name, task in CONFIGS.items() if isinstance(task, str) and name not in sets]
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # transformers 5.23 leaves two things out that the published tokenizer.json files have.
    if "smollm" in file.name.lower():
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    if "qwen" in file.name.lower():
        tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    known["tokens"] = {text: tokenizer(text).input_ids for text in STRINGS}
    known["ids"] = [tokenizer(text).input_ids for text in TEXTS]
    if not wanted:
        place.write_text(json.dumps(known) + "\n")
        return
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    logits = np.stack([model(torch.tensor([i])).logits[0, -1].numpy() for i in known["ids"]])
    np.save(out / f"{file.stem}.npy", logits)
    harness = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1, device="cpu")
    for name in wanted:
        sets[name] = score(harness, name, read(data / name / "eval.jsonl", ROWS))
        place.write_text(json.dumps(known) + "\n")
        print(f"{file.name}: {name}, acc {np.mean([question['acc'] for question in sets[name]])}", flush=True)


if __name__ == "__main__":
    files, data, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(files.glob("*.gguf"), key=lambda file: file.stat().st_size):
        main(file, data, out)
