"""Second opinion on checkpoints that say one thing twice: what transformers makes of config.json and of saved heads.

    pip install -r tests/reference/requirements.txt
    python tests/reference/checkpoints.py            # writes checkpoints.json
    python tests/reference/checkpoints.py --check    # makes it again and compares

Each case is decoder/llama-tied-gqa with keys of config.json set (null: left out) and its head or embedding written as
`tensors` says; a head of its own has ((37 i + 11 j) mod 17 - 8) / 8 in row i and column j. Kept are the logits at the last
position of one sequence, and whether head and embedding are one tensor.
"""

import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from decoder import HERE as CASES
from decoder import close, digits

OUT = Path(__file__).resolve().parent / "checkpoints.json"
IDS = [0, 130, 7, 7, 12, 99, 45, 3, 64, 21]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}

# Name: keys of config.json, which tensors the file has.
PLANS = {
    "as it is": ({}, "embedding"),
    "tied, the head is another": ({}, "another head"),
    "tied, the head is the same": ({}, "same head"),
    "tied, only the head is saved": ({}, "only head"),
    "untied, the head is another": ({"tie_word_embeddings": False}, "another head"),
    "rope in both forms, equal": (
        {"rope_parameters": {**LLAMA3, "rope_theta": 300.0}, "rope_scaling": LLAMA3, "rope_theta": 300.0},
        "embedding",
    ),
    "rope_parameters beside an empty rope_scaling": (
        {"rope_parameters": {**LLAMA3, "rope_theta": 300.0}, "rope_scaling": {}, "rope_theta": None},
        "embedding",
    ),
    "type and rope_type": ({"rope_scaling": {**LLAMA3, "type": "llama3"}, "rope_theta": 300.0}, "embedding"),
    "original positions in both places, equal": (
        {"rope_scaling": LLAMA3, "rope_theta": 300.0, "original_max_position_embeddings": 8},
        "embedding",
    ),
    "rope_theta beside a table without it": ({"rope_parameters": LLAMA3, "rope_scaling": None, "rope_theta": 300.0}, "embedding"),
}


@torch.no_grad()
def measure(folder: Path, keys: dict, tensors: str) -> dict:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CASES / "llama-tied-gqa", folder)
    config = json.loads((folder / "config.json").read_text()) | keys
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    weights = load_file(folder / "model.safetensors")
    embedding = weights[EMBEDDING]
    if tensors == "another head":
        i, j = (torch.arange(n) for n in embedding.shape)
        weights[HEAD] = ((37 * i[:, None] + 11 * j[None]) % 17 - 8).float() / 8
    elif tensors != "embedding":
        weights[HEAD] = embedding.clone()
    if tensors == "only head":
        del weights[EMBEDDING]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return {
        "config": keys,
        "tensors": tensors,
        "tied": model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr(),
        "logits": digits(model(torch.tensor([IDS]), use_cache=False).logits[0, -1]),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        cases = {name: measure(Path(temporary) / "case", *plan) for name, plan in PLANS.items()}
    out = {"transformers": version("transformers"), "ids": IDS, "cases": cases}
    if "--check" in sys.argv:
        same = close(json.loads(OUT.read_text())["cases"], cases)
        print(f"{OUT.name}: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    OUT.write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
