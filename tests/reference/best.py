"""Second opinion on best: NumPy. Writes best.json; `--check` compares.

Which step fills a budget only the entropy coder knows: STEPS has those the program found, in 1/256 octaves, and the test asks
for the same ones. Everything else is computed here by the text of docs/methodology/best.md.
"""

import json
import pathlib
import sys

import numpy as np

PATH = pathlib.Path(__file__).with_suffix(".json")
RATIOS = [2.0, 8.0]
STEPS = json.loads(PATH.read_text())["steps"] if PATH.exists() else {}


def floor_octaves(x, per):
    return int(np.floor(np.log2(x) * per + 1e-9))


def sizes(rows):
    """What each row is over: its root mean square, down to an eighth of an octave."""
    rms = np.sqrt((rows.astype("f8") ** 2).mean(1))
    return np.array([2.0 ** (floor_octaves(r, 8) / 8) for r in rms])[:, None]


def above(t):
    return 0.5 * (1 + t * t / 4) ** -1.5


def below(t):
    x = t / np.sqrt(4 + t * t)
    return 0.5 + 0.75 * (x - x**3 / 3)


def means(spread):
    """What magnitudes 0 to 63 come back as, of Student's t with four degrees of freedom, where they have a code."""
    out = np.arange(64.0)
    for m in range(1, 64):
        low, high = (m - 0.4) / spread, (m + 0.6) / spread
        share = below(high) - below(low)
        mean = (above(low) - above(high)) / share * spread if share > 1e-9 else 0
        if abs(mean - (m + 0.1)) <= 0.5 and share * 4096 + 0.5 >= 1:
            out[m] = mean
    return out


def principal(rows):
    _, vectors = np.linalg.eigh(rows.astype("f8").T @ rows.astype("f8") / len(rows))
    vectors = vectors[:, ::-1]
    return vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])


def best(a, rows, step, klt):
    basis = principal(rows) if klt else np.eye(a.shape[1])
    known, sent, size = rows / sizes(rows) @ basis, a / sizes(a) @ basis, sizes(a)
    mean = known.mean(0)
    spread = np.abs(known - mean).mean(0)
    spread = np.maximum(spread, 1e-3 * spread.mean())
    weight = np.ones_like(spread) if klt else (spread / spread.mean()) ** -0.25
    quarters = [(floor_octaves(s, 256) - step + 32) // 64 for s in spread * weight]
    scaled = (sent - mean) * weight / 2 ** (step / 256)
    integers = np.sign(scaled) * np.floor(np.abs(scaled) + 0.4)
    back = integers.copy()
    for channel, q in enumerate(quarters):
        if q <= 11:
            table, m = means(2.0 ** (max(q, -20) / 4)), np.abs(integers[:, channel]).astype(int)
            back[:, channel] = np.sign(integers[:, channel]) * np.where(m < 64, table[np.minimum(m, 63)], m)
    return (back * 2 ** (step / 256) / weight + mean) @ basis.T * size


def main():
    rng = np.random.default_rng(41)
    short = lambda x: [float(v) for v in x.ravel()]
    rounded = lambda x: [float(f"{v:.6g}") for v in x.ravel()]
    cases = []
    for tokens, d in [(3, 24), (5, 40)]:
        mixing, width = rng.standard_normal((6, d)), rng.gamma(0.7, 1.0, d) + 0.05
        width[d // 3] *= 30
        draw = lambda n: np.round(64 * (rng.standard_normal((n, 6)) @ mixing + rng.standard_normal((n, d))) * width) / 64
        rows, a = draw(60).astype("f4"), draw(tokens).astype("f4")
        case = {"tokens": tokens, "hidden": d, "values": short(a), "calibration": short(rows), "decoded": []}
        for spec in ["best", "best:basis=klt"]:
            for ratio in RATIOS:
                step = STEPS.get(f"{spec} {d} {ratio}", 0)
                values = rounded(best(a.astype("f8"), rows.astype("f8"), step, "klt" in spec))
                case["decoded"].append({"codec": spec, "ratio": ratio, "step": step, "values": values})
        cases.append(case)
    text = json.dumps({"numpy": np.__version__, "steps": STEPS, "cases": cases}) + "\n"
    if "--check" in sys.argv:
        same = PATH.read_text() == text
        print(f"best.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(text)


if __name__ == "__main__":
    main()
