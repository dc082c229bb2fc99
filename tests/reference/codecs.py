"""Second opinion on the quantisers: NumPy, with torch's tables of e4m3fn and e5m2. Writes codecs.json; `--check` compares.

    pip install -r tests/reference/requirements.txt
    python tests/reference/codecs.py

Written from docs/methodology, not from the Rust code: a Hadamard matrix and a product instead of butterflies, a search for
the nearest number of a table instead of bit operations.
"""

import json
import pathlib
import sys

import numpy as np
import torch

PATH = pathlib.Path(__file__).parent / "codecs.json"

# All 256 numbers of OCP e4m3fn, two of them NaN.
E4M3 = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).to(torch.float64).numpy()
# All 256 numbers of OCP e5m2, six of them NaN and two infinite.
E5M2 = torch.arange(256, dtype=torch.uint8).view(torch.float8_e5m2).to(torch.float64).numpy()

SPECS = ["int8", "int8:group=32", "int8:group=64,scales=f32", "int4", "int4:group=32", "fp8", "fp8:group=32,scales=f32"]
SPECS += ["hadamard-int4", "hadamard-int4:group=32"]
SPECS += ["int8:group=tensor,scales=f32", "fp8:group=tensor", "fp8:format=e5m2", "fp8:format=e5m2,group=tensor"]


def matrices():
    rng = np.random.default_rng(11)
    ordinary = rng.standard_normal((3, 20))
    channel = rng.standard_normal((2, 96))
    channel[:, 41] += 800.0
    heavy = rng.standard_t(2, (1, 130)) * 1e-3
    zeros = rng.standard_normal((3, 6)) * [[1e30], [0.0], [1e-5]]
    ties = np.array([[14.0, 1.0, 3.0, -5.0, 7.0, -9.0, 11.0]])
    return [m.astype(np.float32) for m in (ordinary, channel, heavy, zeros, ties)]


def rotation(hidden):
    n = hidden & -hidden
    block = np.ones((1, 1))
    while len(block) < n:
        block = np.kron(block, [[1.0, 1.0], [1.0, -1.0]])
    return np.kron(np.eye(hidden // n), block / np.sqrt(n))


def nearest(x, table):
    """The nearest of the positive numbers by code, ties to the even code; the sign is the highest bit."""
    positive = table[:128][np.isfinite(table[:128])]
    above = np.searchsorted(positive, np.abs(x)).clip(1, len(positive) - 1)
    low, high = np.abs(x) - positive[above - 1], positive[above] - np.abs(x)
    up = (high < low) | ((high == low) & (above % 2 == 0))
    return np.where(up, above, above - 1) + 128 * np.signbit(x)


def quantise(matrix, spec):
    name, _, rest = spec.partition(":")
    options = dict(pair.split("=") for pair in rest.split(",") if pair)
    tokens, hidden = matrix.shape
    x = matrix.astype(np.float64)
    rotated = name.startswith("hadamard")
    if rotated:
        x = x @ rotation(hidden)
    shape = x.shape
    if options.get("group") == "tensor":
        # One row of all values, with one group.
        x, hidden = x.reshape(1, -1), x.size
        del options["group"]
    group = min(int(options.get("group", hidden)), hidden)
    of = np.arange(hidden) // group
    tops = np.stack([[np.abs(row[of == g]).max() for g in range(of[-1] + 1)] for row in x])
    table = E5M2 if options.get("format") == "e5m2" else E4M3
    top = {"int8": 127.0, "fp8": table[np.isfinite(table)].max()}.get(name, 7.0)
    # f64, then f32 (its range is left by no matrix here), then the type of the section.
    scales = np.where(tops > 0, np.maximum(tops, tops.max() / 2**28) / top, 0.0).astype(np.float32)
    if options.get("scales") != "f32":
        shift = 2.0 ** (np.frexp(scales.max())[1] - 15)
        scales = (scales / shift).astype(np.float16).astype(np.float64) * shift
    steps = scales.astype(np.float64)[:, of]
    scaled = x / np.where(steps > 0, steps, 1.0)
    if name == "fp8":
        codes = nearest(scaled, table)
        numbers = table[codes]
    else:
        codes = numbers = np.rint(scaled).clip(-top, top)
    back = (numbers * steps).reshape(shape)
    if rotated:
        # Symmetric, and its own inverse.
        back = back @ rotation(hidden)
    return {"codes": [int(c) for c in codes.ravel()], "values": short(back.astype(np.float32))}


def short(values):
    """The shortest decimal of each f32."""
    return [float(str(v)) for v in values.ravel()]


def main():
    cases = []
    for matrix in matrices():
        made = {spec: quantise(matrix, spec) for spec in SPECS}
        cases.append({"tokens": matrix.shape[0], "hidden": matrix.shape[1], "values": short(matrix), "codecs": made})
    tables = {name: [float(v) if np.isfinite(v) else None for v in t] for name, t in [("e4m3", E4M3), ("e5m2", E5M2)]}
    versions = {"numpy": np.__version__, "torch": torch.__version__.split("+")[0]}
    text = json.dumps({"versions": versions, **tables, "cases": cases}) + "\n"
    if "--check" in sys.argv:
        same = PATH.read_text() == text
        print(f"codecs.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(text)


if __name__ == "__main__":
    main()
