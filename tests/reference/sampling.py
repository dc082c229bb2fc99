"""Probabilities after temperature and top-p, by NumPy in f64: tests/reference/sampling.json. `--check` compares instead of writing.

The kept tokens are compared with those of transformers' own TemperatureLogitsWarper and TopPLogitsWarper.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

PATH = pathlib.Path(__file__).with_suffix(".json")


def nucleus(logits, temperature, top_p):
    # The numbers that the program is given are f32.
    scaled = logits.astype(np.float64) / np.float64(np.float32(temperature))
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    # A token is kept where those before it have less than top_p: the one that crosses is in.
    before = np.cumsum(p[order]) - p[order]
    kept = np.sort(order[before < np.float64(np.float32(top_p))]) if top_p < 1 else np.arange(len(p))
    return kept, p[kept] / p[kept].sum()


def warped(logits, temperature, top_p):
    scores = TemperatureLogitsWarper(float(temperature))(None, torch.tensor(logits, dtype=torch.float64)[None])
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    return np.flatnonzero(np.isfinite(scores[0].numpy()))


def main():
    rng = np.random.default_rng(9)
    rows = [(rng.normal(size=size) * scale).astype(np.float32) for size, scale in [(5, 1), (40, 2), (300, 3)]]
    cases = []
    for row, logits in enumerate(rows):
        for temperature in (0.3, 0.7, 1.0, 1.8):
            for top_p in (0.1, 0.5, 0.9, 0.99, 1.0):
                kept, p = nucleus(logits, temperature, top_p)
                assert kept.tolist() == warped(logits, temperature, top_p).tolist(), (row, temperature, top_p)
                if len(kept) <= 60:
                    pairs = [[int(id), float(f"{value:.15g}")] for id, value in zip(kept, p)]
                    cases.append({"logits": row, "temperature": temperature, "top_p": top_p, "kept": pairs})
    text = json.dumps({"logits": [logits.tolist() for logits in rows], "cases": cases}) + "\n"
    if "--check" in sys.argv:
        assert json.loads(PATH.read_text()) == json.loads(text), f"{PATH} is not what this script makes"
    else:
        PATH.write_text(text)


main()
