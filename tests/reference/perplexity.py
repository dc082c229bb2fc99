"""Second opinion on `splitbench perplexity`: transformers runs the pocket model over tests/text/pocket.txt. Writes perplexity.json;
`--check` compares.

    pip install -r tests/reference/requirements.txt
    python tests/reference/perplexity.py

Windows as llama.cpp's `llama-perplexity` has them. Behind a codec, a forward hook on the layer before the cut puts what NumPy's quantiser
of codecs.py gives back in place of the layer's output.
"""

import importlib.util
import json
import pathlib
import sys

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
POCKET = HERE.parent.parent / "models" / "pocket"
PATH = pathlib.Path(__file__).with_suffix(".json")
WINDOW, WINDOWS, LAYER = 64, 10, 2

# By its path: the standard library has a module of that name.
SPEC = importlib.util.spec_from_file_location("quantisers", HERE / "codecs.py")
quantisers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(quantisers)


def log_probabilities(model, ids, codec):
    """Of every id of the vocabulary at the positions n / 2 .. n - 2, in f64; the last id is not fed."""

    def replace(_, __, output):
        hidden = output[0] if isinstance(output, tuple) else output
        values = quantisers.quantise(hidden[0].numpy(), codec)["values"]
        sent = torch.tensor(values, dtype=torch.float32).reshape(hidden.shape)
        return (sent, *output[1:]) if isinstance(output, tuple) else sent

    hook = model.model.layers[LAYER - 1].register_forward_hook(replace) if codec else None
    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]])).logits[0].to(torch.float64)
    if hook:
        hook.remove()
    return torch.log_softmax(logits, dim=-1).numpy()[len(ids) // 2 :]


def main():
    tokenizer = Tokenizer.from_file(str(POCKET / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(POCKET, dtype=torch.float32, attn_implementation="eager").eval()
    ids = tokenizer.encode((HERE.parent / "text" / "pocket.txt").read_text(encoding="utf-8")).ids
    bos = ids[0]
    windows = [[bos, *ids[at + 1 : at + WINDOW]] for at in range(0, len(ids) - WINDOW + 1, WINDOW)][:WINDOWS]
    unsplit = [log_probabilities(model, window, None) for window in windows]
    targets = [np.array(window[WINDOW // 2 + 1 :]) for window in windows]

    def nll(rows):
        each = [-ln[np.arange(len(ids)), ids] for ln, ids in zip(rows, targets)]
        return np.array([one.sum() for one in each]), each[0].size

    def mean(sums, count):
        return {"mean": float(sums.mean() / count), "stderr": float((sums / count).std(ddof=1) / len(sums) ** 0.5)}

    sums, count = nll(unsplit)
    out = {
        "tokens": len(ids),
        "window": WINDOW,
        "windows": WINDOWS,
        "layer": LAYER,
        "scored": count,
        "logliks": [float(-one) for one in sums],
        "nll": mean(sums, count),
        "ppl": float(np.exp(sums.mean() / count)),
        "codecs": {},
    }
    for codec in ["int8", "fp8", "hadamard-int4"]:
        rows = [log_probabilities(model, window, codec) for window in windows]
        kl = [(np.exp(p) * (p - q)).sum(axis=1) for p, q in zip(unsplit, rows)]
        top = [(p.argmax(axis=1) == q.argmax(axis=1)).sum() for p, q in zip(unsplit, rows)]
        shared = [np.minimum(np.exp(p), np.exp(q)).sum() for p, q in zip(unsplit, rows)]
        every = np.concatenate(kl)
        out["codecs"][codec] = {
            "ln_ppl_ratio": mean(nll(rows)[0] - sums, count),
            "kl": mean(np.array([one.sum() for one in kl]), count),
            "percentiles": [float(v) for v in np.percentile(every, [50, 90, 99, 100])],
            "top1": mean(np.array(top, dtype=np.float64), count),
            "acceptance": float(sum(shared) / every.size),
        }
    if "--check" in sys.argv:
        same = close(json.loads(PATH.read_text()), out)
        print(f"perplexity.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(json.dumps(out, indent=1) + "\n")


def close(a, b):
    """Equal but for the order of torch's sums."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return abs(a - b) <= 1e-6 + 1e-3 * abs(a)


if __name__ == "__main__":
    main()
