"""Second opinion on `fc`, `topk`, `qr` and the SVD family: NumPy's FFT and SVD, SciPy's pivoted QR, in f64. Writes
transforms.json; `--check` compares.

    pip install -r tests/reference/requirements.txt
    python tests/reference/transforms.py

Written from docs/methodology, not from the Rust code: masks over the full spectrum and `ifft2`, sorting, LAPACK.
"""

import json
import math
import pathlib
import sys

import numpy as np
import scipy.linalg

PATH = pathlib.Path(__file__).parent / "transforms.json"
SHAPES = [(5, 12), (9, 10), (1, 24), (6, 64)]
RATIOS = [2.5, 7.6]


def block(band, aspect, s, d, ratio):
    cap = d // 2 + 1 if band == "centered" else d
    if aspect == "tokens":
        return s, min(max(math.floor(s * d / (ratio * s)), 1), cap)
    if aspect == "hidden":
        return min(max(math.floor(s * d / (ratio * cap)), 1), s), cap
    ks = min(max(math.floor(s / math.sqrt(ratio) + 0.5), 1), s)
    kd = max(math.floor(s * d / (ratio * ks)), 1)
    return (ks, kd) if kd <= cap else (min(max(math.floor(s * d / (ratio * cap)), 1), s), cap)


def fc(a, ratio, band, aspect):
    s, d = a.shape
    ks, kd = block(band, aspect, s, d, ratio)
    kept = np.zeros((s, d))
    for i in range(ks):
        u = (i - ks // 2) % s if band == "centered" else i
        for v in range(kd):
            kept[u, v] = 1
            if band != "corner":
                kept[-u % s, -v % d] = 1
    return np.fft.ifft2(np.fft.fft2(a) * kept).real


def topk(a, ratio):
    flat = a.flatten()
    order = np.argsort(-abs(flat), kind="stable")[: max(1, int(a.size / ratio))]
    kept = np.zeros_like(flat)
    kept[order] = flat[order]
    return kept.reshape(a.shape)


def rank(a, ratio):
    s, d = a.shape
    return min(max(1, int(s * d / (ratio * (s + d)))), s, d)


def error(a, left, r):
    """Of A projected on the first r columns of `left`."""
    q = left[:, :r]
    return float(np.linalg.norm(a - q @ (q.T @ a)) / np.linalg.norm(a))


def weighted(a, weight, ratio):
    return error(a, np.linalg.svd(a @ weight, full_matrices=False)[0], rank(a, ratio))


def main():
    rng = np.random.default_rng(23)
    thousandths = lambda *shape: np.round(rng.standard_normal(shape), 3)
    cases = []
    for s, d in SHAPES:
        # Of falling singular values, so that ranks matter, and with a large channel.
        a = np.round(thousandths(s, d) @ np.diag(1.0 / (1 + np.arange(d)) ** 0.5), 3).astype(np.float32)
        a[:, d // 3] *= 8
        a = a.astype(np.float64)
        rows, gradients, weights = thousandths(d + 4, d) * (1 + np.arange(d) % 5), thousandths(3, d), thousandths(d + 2, d)
        fisher = np.diag(np.sqrt((gradients.astype(np.float32).astype(np.float64) ** 2).mean(axis=0)))
        rows32 = rows.astype(np.float32).astype(np.float64)
        gram = weights.T @ weights
        decoded, errors = [], []
        for ratio in RATIOS:
            for band in ("corner", "mirrored", "centered"):
                for aspect in ("proportional", "tokens", "hidden"):
                    made = fc(a, ratio, band, aspect)
                    decoded.append({"codec": f"fc:band={band},aspect={aspect},values=f32", "ratio": ratio, "values": made})
            decoded.append({"codec": "topk:values=f32", "ratio": ratio, "values": topk(a, ratio)})
            add = lambda codec, value: errors.append({"codec": codec + "values=f32", "ratio": ratio, "error": value})
            add("qr:", error(a, scipy.linalg.qr(a, pivoting=True)[0], rank(a, ratio)))
            add("svd:", weighted(a, np.eye(d), ratio))
            add("fwsvd:", weighted(a, fisher, ratio))
            add("asvd:alpha=0.5,", weighted(a, np.diag(abs(rows32).mean(axis=0) ** 0.5), ratio))
            add("svd-llm:", weighted(a, np.linalg.cholesky(rows32.T @ rows32 / len(rows)), ratio))
            add("svd-llm:whiten=weights,", weighted(a, np.linalg.cholesky(gram), ratio))
        for one in decoded:
            one["values"] = [float(f"{v:.8g}") for v in one["values"].flatten()]
        flat = lambda m: [float(v) for v in np.asarray(m).flatten()]
        case = {"tokens": s, "hidden": d, "values": flat(a.astype(np.float32)), "calibration": flat(rows)}
        case |= {"gradients": flat(gradients), "gram": [float(f"{v:.12g}") for v in gram.flatten()]}
        cases.append(case | {"decoded": decoded, "errors": errors})
    for case in cases:
        case["values"] = [float(f"{v:.9g}") for v in case["values"]]
    text = json.dumps({"cases": cases}, separators=(",", ":")) + "\n"
    if "--check" not in sys.argv:
        PATH.write_text(text)
        return
    same = close(json.loads(PATH.read_text()), json.loads(text))
    print("transforms.json:", "equal" if same else "DIFFERENT")
    sys.exit(not same)


def close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b))
    return abs(a - b) <= 1e-6 * max(1.0, abs(a)) if isinstance(a, float) and isinstance(b, float) else a == b


if __name__ == "__main__":
    main()
