"""Second opinion on awq, spinquant, atom and agile-quant: NumPy. Writes table1.json; `--check` compares.

    python tests/reference/table1.py

Written from docs/methodology/table1-quantisers.md, not from the Rust code: errors of a projection by its weights and not by
their Gram matrix, and Cayley transforms by whole D x D inverses.
"""

import json
import pathlib
import sys

import numpy as np

PATH = pathlib.Path(__file__).parent / "table1.json"
RATIOS = [1.0, 2.0, 6.0]


def short(values):
    """The shortest decimal of each f32."""
    return [float(str(v)) for v in np.asarray(values, np.float32).ravel()]


def rounded(values):
    """Six digits: codes one step off would still show."""
    return [float(f"{v:.6g}") for v in np.ravel(values)]


def section_f16(values):
    """f32 numbers as a section of f16 gives them back."""
    values = np.asarray(values, np.float32).astype(np.float64)
    top = np.abs(values).max()
    shift = 2.0 ** (np.frexp(top)[1] - 15) if top > 0 else 1.0
    return (values / shift).astype(np.float16).astype(np.float64) * shift


def groups(a, group):
    return [slice(at, min(at + group, a.shape[1])) for at in range(0, a.shape[1], group)]


def quantise(a, group, largest, clip=1.0):
    """Rows on a grid of integers, with one f16 scale per group of channels."""
    a = np.asarray(a, np.float64)
    tops = clip * np.stack([np.abs(a[:, part]).max(1) for part in groups(a, group)], 1)
    steps = section_f16(np.where(tops > 0, np.maximum(tops, tops.max() / 2**28) / largest, 0.0))
    steps = np.where(steps > 0, steps, 1.0).repeat(group, axis=1)[:, : a.shape[1]]
    return np.rint(a / steps).clip(-largest, largest) * steps


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def awq_scales(rows, weights, group):
    """`rows` are all that calibrated; fewer than 257, so all are tried."""
    mean = np.abs(rows.astype(np.float64)).mean(0)
    best = (np.inf, None)
    for i in range(20):
        powers = np.maximum((mean / mean.mean()) ** (i / 20), 1e-4)
        scales = (powers / np.sqrt(powers.max() * powers.min())).astype(np.float32).astype(np.float64)
        x = unit(rows)
        divided = x / scales
        off = np.empty_like(x)
        for part in groups(x, group):
            step = np.abs(divided[:, part]).max(1, keepdims=True) / 7
            off[:, part] = np.rint(divided[:, part] / step).clip(-7, 7) * step - divided[:, part]
        error = (((off * scales) @ weights.T) ** 2).sum()
        if error < best[0]:
            best = (error, scales)
    return best[1]


def awq(a, rows, weights, group):
    scales = awq_scales(rows, weights, group)
    return quantise(a / scales, group, 7) * scales


def hadamard(d):
    n, block = d & -d, np.ones((1, 1))
    while len(block) < n:
        block = np.kron(block, [[1.0, 1.0], [1.0, -1.0]])
    return np.kron(np.eye(d // n), block / n**0.5)


def learned_rotation(rows):
    x, d = unit(rows), rows.shape[1]
    r, one = hadamard(d), np.eye(d)
    for t in range(200):
        batch = x[np.arange(64 * t, 64 * t + 64) % len(x)]
        y = batch @ r
        norm = (y**8).sum(1, keepdims=True)
        g = batch.T @ (y**7 * norm ** (2 / 8 - 1))
        skew = g @ r.T - r @ g.T
        a = 0.05 * 0.5 * (1 + np.cos(np.pi * t / 200)) * np.sqrt(d) / np.linalg.norm(skew)
        r = np.linalg.solve(one + a / 2 * skew, (one - a / 2 * skew) @ r)
    return r


def spinquant(a, rows):
    r = learned_rotation(rows).astype(np.float32).astype(np.float64)
    return quantise(a @ r, a.shape[1], 7) @ r.T


def atom(a, rows, outliers, group, clip):
    order = np.argsort((rows.astype(np.float64) ** 2).sum(0), kind="stable")
    cut = a.shape[1] - min(outliers, a.shape[1] // 2)
    out = np.empty(a.shape)
    out[:, order[cut:]] = quantise(a[:, order[cut:]], a.shape[1], 127)
    out[:, order[:cut]] = quantise(a[:, order[:cut]], group, 7, clip)
    return out


def agile_quant(a, ratio, group, largest):
    a = a.astype(np.float64)
    count = min(max(int(len(a) / ratio), 1), len(a))
    kept = count if count == len(a) else max(count - 1, 1)
    norms = (a**2).sum(1)
    norms[-1] = np.inf
    chosen = np.sort(np.argsort(-norms, kind="stable")[:kept])
    pruned = np.setdiff1d(np.arange(len(a)), chosen)
    sent = np.vstack([a[chosen], a[pruned].mean(0)[None]]) if count > kept else a[chosen]
    back = quantise(sent, group, largest)
    out = np.zeros(a.shape)
    out[chosen] = back[:kept]
    if count > kept:
        out[pruned] = back[kept]
    return out


def main():
    rng = np.random.default_rng(31)
    cases = []
    for tokens, d in [(3, 24), (4, 72)]:
        mixing = rng.standard_normal((6, d))
        sizes = rng.gamma(0.7, 1.0, d) + 0.05
        sizes[d // 3] *= 30
        draw = lambda n: np.round(64 * (rng.standard_normal((n, 6)) @ mixing + rng.standard_normal((n, d))) * sizes) / 64
        rows, a = draw(40).astype(np.float32), draw(tokens).astype(np.float32)
        weights = np.round(64 * rng.standard_normal((12, d)) * rng.gamma(0.5, 1.0, d)) / 64
        case = {"tokens": tokens, "hidden": d, "values": short(a), "calibration": short(rows), "weights": short(weights)}
        one = np.eye(d)
        case["decoded"] = [
            {"codec": "awq", "ratio": 1.0, "values": rounded(awq(a, rows, weights, 128))},
            {"codec": "awq:group=32", "ratio": 1.0, "values": rounded(awq(a, rows, weights, 32))},
            {"codec": "awq:error=activation,group=token", "ratio": 1.0, "values": rounded(awq(a, rows, one, d))},
            {"codec": "spinquant", "ratio": 1.0, "values": rounded(spinquant(a, rows))},
            {"codec": "atom", "ratio": 1.0, "values": rounded(atom(a, rows, 128, 128, 0.9))},
            {"codec": "atom:outliers=32,group=32,clip=1", "ratio": 1.0, "values": rounded(atom(a, rows, 32, 32, 1.0))},
        ]
        for ratio in RATIOS:
            for spec, group, largest in [("agile-quant", d, 7), ("agile-quant:bits=8,group=32", 32, 127)]:
                values = rounded(agile_quant(a, ratio, group, largest))
                case["decoded"].append({"codec": spec, "ratio": ratio, "values": values})
        cases.append(case)
    text = json.dumps({"numpy": np.__version__, "cases": cases}) + "\n"
    if "--check" in sys.argv:
        same = PATH.read_text() == text
        print(f"table1.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(text)


if __name__ == "__main__":
    main()
