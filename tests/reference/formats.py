"""Second opinion on the wire formats of other programs: the `gguf` package's own quantisation, torch's f16 and bf16, and
NumPy for the sparse formats of dnet. Writes formats.json; `--check` compares.

    pip install -r tests/reference/requirements.txt
    python tests/reference/formats.py

The sparse formats are written from docs/methodology/formats.md, not from the Rust code.
"""

import json
import math
import pathlib
import sys

import gguf
import numpy as np
import torch

PATH = pathlib.Path(__file__).parent / "formats.json"


def matrices():
    rng = np.random.default_rng(17)
    ordinary = rng.standard_normal((3, 64))
    channel = rng.standard_normal((2, 96))
    channel[:, 41] += 4000.0
    # Quotients that lie between two integers, at scales of 1 and -2.
    ties = np.arange(-32, 32)[None, :] / 2.0
    ties[0, [3, 40]] = [127.0, -16.0]
    # A block of zeros, one of -0, one whose scale is 0 in f16, two near the end of f32.
    small = np.zeros((1, 160))
    small[0, 32:64] = -0.0
    small[0, 64:96] = rng.standard_normal(32) * 1e-8
    small[0, 96:128] = rng.standard_normal(32) * 1e-30
    small[0, 128:] = rng.standard_normal(32) * 5e4
    # Not a multiple of 32, nor of 8, for the formats that take it.
    odd = rng.standard_normal((5, 70)) * rng.uniform(0.1, 3, 70)
    # All of one sign: MLX's largest is zero at least.
    signs = np.abs(rng.standard_normal((4, 128))) * np.repeat([1.0, -1.0], 64)
    return [m.astype(np.float32) for m in (ordinary, channel, ties, small, odd, signs)]


def halves(values):
    """f16, where what is beyond its largest number is that number."""
    return np.clip(values, -65504, 65504).astype(np.float16)


def ggml(matrix, kind):
    with np.errstate(all="ignore"):
        data = gguf.quants.quantize(matrix, kind)
        return data.tobytes(), gguf.quants.dequantize(data, kind)


def plain(matrix, kind):
    sent = torch.from_numpy(matrix).to(kind)
    return b"\0" + sent.view(torch.int16).numpy().tobytes(), sent.to(torch.float32).numpy()


def mask(kept, bits):
    return np.packbits(np.isin(np.arange(bits), kept), bitorder="little").tobytes()


def most(order, tokens, ratio, accounting, cost):
    """The columns kept, ascending."""
    hidden = len(order)
    if accounting == "elements":
        count = math.floor(hidden / ratio)
    else:
        fits = [k for k in range(1, hidden + 1) if cost(order[:k]) <= 2 * tokens * hidden / ratio]
        count = max(fits, default=1)
    return np.sort(order[: max(count, 1)])


def fall(received):
    return np.argsort(-(received.astype(np.float64) ** 2).sum(0), kind="stable")


def sparse(matrix, ratio, accounting):
    tokens, hidden = matrix.shape
    masked = -(-hidden // 8)
    kept = most(fall(matrix), tokens, ratio, accounting, lambda k: 15 + masked + 2 * tokens * len(k))
    sent = halves(matrix[:, kept])
    out = np.zeros_like(matrix)
    out[:, kept] = sent
    return mask(kept, hidden) + sent.tobytes(), out


def half_away(x):
    x = x.astype(np.float64)
    return np.trunc(x + np.copysign(0.5, x)).astype(np.float32)


def affine(group):
    """mx.quantize in 8 bits as its Metal kernel does it, in f32."""
    low, high = group.min(), np.maximum(group.max(), np.float32(0))
    step = np.maximum((high - low) / np.float32(255), np.float32(1e-7))
    edge, scale = (low, step) if abs(low) > abs(high) else (high, -step)
    steps = half_away(edge / scale)
    scale, bias = (edge / steps, edge) if steps != 0 else (scale, np.float32(0))
    codes = np.clip(half_away((group - bias) / scale), 0, 255)
    return codes, halves(scale), halves(bias)


def qsparse(matrix, group, ratio, accounting):
    tokens, hidden = matrix.shape
    group = min(group, hidden)
    groups = -(-hidden // group)
    parts = [[affine(row[g * group : (g + 1) * group]) for g in range(groups)] for row in matrix]
    codes = np.stack([np.concatenate([p[0] for p in row]) for row in parts])
    scales, biases = (np.array([[p[i] for p in row] for row in parts]) for i in (1, 2))
    of = np.arange(hidden) // group
    received = codes * scales.astype(np.float32)[:, of] + biases.astype(np.float32)[:, of]
    fixed = 15 + 4 + -(-hidden // 8) + -(-groups // 8)
    cost = lambda k: fixed + tokens * (len(k) + 4 * len(np.unique(of[k])))
    kept = most(fall(received), tokens, ratio, accounting, cost)
    touched = np.unique(of[kept])
    data = np.uint32(group).tobytes() + mask(kept, hidden) + mask(touched, groups)
    data += codes[:, kept].astype(np.uint8).tobytes() + scales[:, touched].tobytes() + biases[:, touched].tobytes()
    out = np.zeros_like(matrix)
    out[:, kept] = received[:, kept]
    return data, out


def made(matrix):
    """Codec, ratio, accounting and what they make."""
    if matrix.shape[1] % 32 == 0:
        yield "q80", 1, "elements", ggml(matrix, gguf.GGMLQuantizationType.Q8_0)
        yield "q4_0", 1, "elements", ggml(matrix, gguf.GGMLQuantizationType.Q4_0)
    if np.abs(matrix).max() < 65504:
        yield "noop:values=f16", 1, "elements", plain(matrix, torch.float16)
    yield "noop:values=bf16", 1, "elements", plain(matrix, torch.bfloat16)
    for ratio in (1, 2, 7.6):
        for accounting in ("elements", "wire"):
            yield "sparse_v1", ratio, accounting, sparse(matrix, ratio, accounting)
            yield "qsparse8_v1", ratio, accounting, qsparse(matrix, 64, ratio, accounting)
    yield "qsparse8_v1:group=32", 2, "wire", qsparse(matrix, 32, 2, "wire")


def short(values):
    """The shortest decimal of each f32."""
    return [float(str(v)) for v in values.ravel()]


def main():
    cases = []
    for matrix in matrices():
        sent = []
        for codec, ratio, accounting, (body, back) in made(matrix):
            packet = {"codec": codec, "ratio": ratio, "accounting": accounting, "body": body.hex()}
            # At the other ratios more of the same comes back.
            values = {} if ratio < 7 and "sparse" in codec else {"values": short(back.astype(np.float32))}
            sent.append({**packet, **values})
        shape = {"tokens": matrix.shape[0], "hidden": matrix.shape[1]}
        cases.append({**shape, "values": short(matrix), "sent": sent})
    versions = {"numpy": np.__version__, "torch": torch.__version__.split("+")[0], "gguf": "0.19.0"}
    text = json.dumps({"versions": versions, "cases": cases}) + "\n"
    if "--check" in sys.argv:
        same = PATH.read_text() == text
        print(f"formats.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(text)


if __name__ == "__main__":
    main()
