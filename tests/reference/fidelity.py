"""How far one softmax is from another, by NumPy in f64: tests/reference/fidelity.json. `--check` compares instead of writing."""

import json
import pathlib
import sys

import numpy as np

PATH = pathlib.Path(__file__).with_suffix(".json")


def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def divergence(p_logits, q_logits):
    ln_p, ln_q = log_softmax(p_logits), log_softmax(q_logits)
    p, q = np.exp(ln_p), np.exp(ln_q)
    return {
        "kl": float((p * (ln_p - ln_q)).sum()),
        "same_top": bool(p_logits.argmax() == q_logits.argmax()),
        "acceptance": float(np.minimum(p, q).sum()),
    }


def main():
    rng = np.random.default_rng(5)
    rows = []
    for size, scale, noise in [(5, 1, 1), (16, 3, 0.5), (37, 8, 2), (64, 5, 0.05), (200, 4, 1e-3), (333, 2, 1e-4), (50, 30, 20)]:
        p = (rng.normal(size=size) * scale).astype(np.float32)
        q = (p + rng.normal(size=size) * noise).astype(np.float32)
        expected = divergence(p.astype(np.float64), q.astype(np.float64))
        rows.append({"p": p.tolist(), "q": q.tolist(), **expected})
    # Questions of several positions: the mean over positions, its error over questions (ratio estimator), percentiles.
    questions = [rng.gamma(0.5, 0.1, size=n).astype(np.float32) for n in (1, 4, 2, 9, 3, 5)]
    tops = [int(rng.integers(0, len(kl) + 1)) for kl in questions]
    kl = np.concatenate(questions).astype(np.float64)

    def stderr(sums, counts):
        sums, counts = np.array(sums, dtype=np.float64), np.array(counts, dtype=np.float64)
        rest = sums - sums.sum() / counts.sum() * counts
        return float(np.sqrt(len(sums) / (len(sums) - 1) * (rest**2).sum()) / counts.sum())

    counts = [len(q) for q in questions]
    summary = {
        "questions": [q.tolist() for q in questions],
        "same_top": tops,
        "kl_mean": float(kl.mean()),
        "kl_stderr": stderr([q.astype(np.float64).sum() for q in questions], counts),
        "percentiles": [float(v) for v in np.percentile(kl, [50, 90, 99, 100])],
        "top1": sum(tops) / len(kl),
        "top1_stderr": stderr(tops, counts),
    }
    text = json.dumps({"rows": rows, "summary": summary}, indent=1) + "\n"
    if "--check" in sys.argv:
        assert json.loads(PATH.read_text()) == json.loads(text), f"{PATH} is not what this script makes"
    else:
        PATH.write_text(text)


main()
