"""Second opinion on int8 coefficients, masks, calibrated bases and rotations: NumPy. Writes coefficients.json; `--check`
compares.

    python tests/reference/coefficients.py

Written from docs/methodology, not from the Rust code: full complex spectra, sorting, a dynamic programme over all staircases
and a search through all products of rows and columns instead of hulls and alternation.
"""

import itertools
import json
import pathlib
import sys

import numpy as np

PATH = pathlib.Path(__file__).parent / "coefficients.json"
RATIOS = [2.0, 5.0]


def short(values):
    """The shortest decimal of each f32."""
    return [float(str(v)) for v in np.asarray(values, np.float32).ravel()]


def matrices():
    rng = np.random.default_rng(21)
    smooth = lambda s, d: np.cumsum(np.cumsum(rng.standard_normal((s, d)), 0), 1)
    channel = rng.standard_normal((4, 12))
    channel[:, 7] += 300.0
    made = [rng.standard_normal((3, 24)), smooth(5, 8), channel, smooth(6, 9), rng.standard_normal((1, 30))]
    return [m.astype(np.float32) for m in made]


def section_f16(values):
    """f32 numbers as a section of f16 gives them back."""
    values = np.asarray(values, np.float32).astype(np.float64)
    top = np.abs(values).max()
    shift = 2.0 ** (np.frexp(top)[1] - 15) if top > 0 else 1.0
    return (values / shift).astype(np.float16).astype(np.float64) * shift


def int8(numbers):
    """Numbers as blocks of 32 int8 codes with an f16 step give them back."""
    of = np.arange(numbers.size) // 32
    tops = np.array([np.abs(numbers[of == b]).max() for b in range(of[-1] + 1)], np.float64)
    steps = section_f16(np.where(tops > 0, np.maximum(tops, tops.max() / 2**28) / 127, 0.0))[of]
    return np.rint(numbers / np.where(steps > 0, steps, 1.0)).clip(-127, 127) * steps


def topk(a, ratio):
    flat = a.ravel()
    kept = np.sort(np.lexsort((np.arange(flat.size), -np.abs(flat)))[: max(1, int(flat.size / ratio))])
    out = np.zeros(flat.size)
    out[kept] = int8(flat[kept].astype(np.float64))
    return out


def half(s, d):
    """One of each conjugate pair: row by row, position and weight."""
    places = [(u, v) for u in range(s) for v in (range(d // 2 + 1) if u <= s // 2 else range(1, (d - 1) // 2 + 1))]
    return places, np.array([1 if (2 * u % s, 2 * v % d) == (0, 0) else 2 for u, v in places])


def budget(a, ratio, places):
    return min(max(1, int(a.size / ratio)), len(places))


def free(a, ratio):
    spectrum = np.fft.fft2(a.astype(np.float64))
    places, weights = half(*a.shape)
    energy = [w * abs(spectrum[p]) ** 2 for p, w in zip(places, weights)]
    kept = np.zeros(a.shape)
    for i in np.argsort(energy)[::-1][: budget(a, ratio, places)]:
        u, v = places[i]
        kept[u, v] = kept[-u, -v] = 1
    return np.fft.ifft2(spectrum * kept).real


def least_error(a, ratio, worth):
    """Relative error where as much energy as `worth` finds is kept."""
    spectrum = np.fft.fft2(a.astype(np.float64))
    places, weights = half(*a.shape)
    energy = np.array([w * abs(spectrum[p]) ** 2 for p, w in zip(places, weights)])
    rows = [energy[[p[0] == u for p in places]] for u in range(a.shape[0])]
    left = 1 - worth(rows, budget(a, ratio, places), a.shape[1]) / energy.sum()
    return float(np.sqrt(max(left, 0.0)))


def staircase(rows, count, _):
    best = np.zeros(count + 1)
    for row in rows:
        below = np.concatenate([[0], np.cumsum(row)])
        best = np.array([max(best[k - w] + below[w] for w in range(min(k, len(row)) + 1)) for k in range(count + 1)])
    return best[-1]


def separable(rows, count, d):
    most, width = 0.0, d // 2 + 1
    first = [0 if len(row) == width else 1 for row in rows]
    for columns in itertools.product([False, True], repeat=width):
        columns = np.array(columns)
        inside = [columns[f : f + len(row)] for f, row in zip(first, rows)]
        costs, worth = [int(c.sum()) for c in inside], [row[c].sum() for row, c in zip(rows, inside)]
        for chosen in itertools.product([False, True], repeat=len(rows)):
            if sum(itertools.compress(costs, chosen)) <= count:
                most = max(most, sum(itertools.compress(worth, chosen)))
    return most


def klt(a, calibration, ratio):
    rows = calibration.astype(np.float64)
    _, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    basis = vectors[:, ::-1][:, : max(1, int(a.shape[1] / ratio))]
    return a @ basis @ basis.T


def mirrored(a, ratio):
    """`fc` by its definition."""
    s, d = a.shape
    ks = min(max(int(np.floor(s / ratio**0.5 + 0.5)), 1), s)
    kd = min(max(int(s * d / (ratio * ks)), 1), d)
    kept = np.zeros((s, d))
    kept[:ks, :kd] = 1
    kept = np.maximum(kept, np.roll(kept[::-1, ::-1], (1, 1), (0, 1)))
    return np.fft.ifft2(np.fft.fft2(a) * kept).real


def hadamard(a, ratio):
    n, block = a.shape[1] & -a.shape[1], np.ones((1, 1))
    while len(block) < n:
        block = np.kron(block, [[1.0, 1.0], [1.0, -1.0]])
    rotation = np.kron(np.eye(a.shape[1] // n), block / n**0.5)
    return mirrored(a @ rotation, ratio) @ rotation.T


def whiten(a, calibration, ratio):
    rms = np.sqrt((calibration.astype(np.float64) ** 2).mean(0)).astype(np.float32).astype(np.float64)
    return mirrored(a / rms, ratio) * rms


def main():
    cases = []
    rng = np.random.default_rng(22)
    for matrix in matrices():
        # Correlated channels of different sizes.
        d = matrix.shape[1]
        mixed = rng.standard_normal((d + 5, d)) @ rng.standard_normal((d, d)) * rng.gamma(1.0, 1.0, d)
        calibration = mixed.astype(np.float32)
        case = {"tokens": matrix.shape[0], "hidden": d, "values": short(matrix), "calibration": short(calibration)}
        case["decoded"], case["least"] = [], []
        for ratio in RATIOS:
            for spec, made in {
                "topk:values=int8": topk(matrix, ratio),
                "fc-mask:values=f32": free(matrix, ratio),
                "klt:values=f32": klt(matrix, calibration, ratio),
                "fc:rotate=hadamard,values=f32": hadamard(matrix, ratio),
                "fc:rotate=whiten,values=f32": whiten(matrix, calibration, ratio),
            }.items():
                case["decoded"].append({"codec": spec, "ratio": ratio, "values": short(made)})
            for mask, worth in {"staircase": staircase, "separable": separable}.items():
                if mask == "staircase" or d < 10:
                    error = least_error(matrix, ratio, worth)
                    case["least"].append({"codec": f"fc-mask:mask={mask},values=f32", "ratio": ratio, "error": error})
        cases.append(case)
    text = json.dumps({"numpy": np.__version__, "cases": cases}) + "\n"
    if "--check" in sys.argv:
        same = PATH.read_text() == text
        print(f"coefficients.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(text)


if __name__ == "__main__":
    main()
