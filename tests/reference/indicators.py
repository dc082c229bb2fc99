"""Second opinion on the indicators of a split layer: NumPy in f64. Writes indicators.json; `--check` compares.

    python tests/reference/indicators.py

Written from docs/methodology/indicators.md and fourier-compress.md, not from the Rust code.
"""

import json
import pathlib
import sys

import numpy as np

PATH = pathlib.Path(__file__).parent / "indicators.json"


def matrices():
    rng = np.random.default_rng(31)
    smooth = rng.standard_normal((9, 24)).cumsum(0).cumsum(1)
    noise = rng.standard_normal((16, 30))
    channel = rng.standard_normal((7, 20))
    channel[:, 3] += 80.0
    zero_row = rng.standard_normal((5, 8))
    zero_row[2] = 0.0
    one = rng.standard_normal((1, 16))
    return [(m.astype(np.float32), r) for m, r in ((smooth, 8), (noise, 4), (channel, 8), (zero_row, 3), (one, 2))]


def clamp(value, low, high):
    return int(min(max(value, low), high))


def block(s, d, ratio, most):
    ks = clamp(np.floor(s / ratio**0.5 + 0.5), 1, s)
    kd = max(int(s * d // (ratio * ks)), 1)
    if kd > most:
        return clamp(s * d // (ratio * most), 1, s), most
    return ks, kd


def low_band(a, ratio, band):
    """The share of the energy that the block restores: 1 - ||A - A'||^2 / ||A||^2, by complex transforms of the whole."""
    s, d = a.shape
    ks, kd = block(s, d, ratio, d // 2 + 1 if band == "centered" else d)
    first = -(ks // 2) if band == "centered" else 0
    rows = [(first + i) % s for i in range(ks)]
    held = np.zeros((s, d), bool)
    held[np.ix_(rows, range(kd))] = True
    spectrum = np.fft.fft2(a)
    if band != "corner":
        held |= held[(-np.arange(s)) % s][:, (-np.arange(d)) % d]
    back = np.fft.ifft2(np.where(held, spectrum, 0)).real
    return 1 - ((a - back) ** 2).sum() / (a**2).sum()


def indicators(a, ratio):
    a = a.astype(np.float64)
    size = np.abs(a).mean()
    variation = lambda axis: float(np.abs(np.diff(a, axis=axis)).mean() / size) if a.shape[axis] > 1 else None
    cosines = []
    for x, y in zip(a[:-1], a[1:]):
        norms = np.linalg.norm(x) * np.linalg.norm(y)
        if norms > 0:
            cosines.append(x @ y / norms)
    return {
        **{band: float(low_band(a, ratio, band)) for band in ("mirrored", "corner", "centered")},
        "variation_tokens": variation(0),
        "variation_hidden": variation(1),
        "adjacent_cosine": float(np.mean(cosines)) if cosines else None,
    }


def rounded(numbers):
    """To ten digits: sums of another NumPy may differ beyond."""
    return {key: value if value is None else float(f"{value:.10g}") for key, value in numbers.items()}


def main():
    cases = []
    for matrix, ratio in matrices():
        values = [float(str(v)) for v in matrix.ravel()]
        shape = {"tokens": matrix.shape[0], "hidden": matrix.shape[1], "ratio": ratio, "values": values}
        cases.append({**shape, **rounded(indicators(matrix, ratio))})
    text = json.dumps({"numpy": np.__version__, "cases": cases}) + "\n"
    if "--check" in sys.argv:
        same = PATH.read_text() == text
        print(f"indicators.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(text)


if __name__ == "__main__":
    main()
