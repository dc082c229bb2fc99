"""Second opinion on `threshold-split`, `slicer` and `sparse-rans`: NumPy. Writes adaptive.json; `--check` compares.

    python tests/reference/adaptive.py

Written from docs/methodology/split-papers.md, not from the Rust code.
"""

import json
import pathlib
import sys

import numpy as np

PATH = pathlib.Path(__file__).parent / "adaptive.json"


def short(values):
    """The shortest decimal of each f32."""
    return [float(str(v)) for v in np.asarray(values, np.float32).ravel()]


def matrices():
    rng = np.random.default_rng(12)
    ordinary = rng.standard_normal((3, 20))
    channel = rng.standard_normal((2, 40))
    channel[:, 11] += 500.0
    positive = rng.gamma(0.7, 1.0, (2, 9))
    zeros = rng.standard_normal((3, 6)) * [[1e20], [0.0], [1e-3]]
    ties = np.array([[4.0, -4.0, 1.0, 3.0, -2.0, 2.0, 0.0, -1.0]])
    return [m.astype(np.float32) for m in (ordinary, channel, positive, zeros, ties)]


def section_f16(values):
    """f32 numbers as a section of f16 gives them back."""
    values = np.asarray(values, np.float32).astype(np.float64)
    top = np.abs(values).max()
    shift = 2.0 ** (np.frexp(top)[1] - 15) if top > 0 else 1.0
    return (values / shift).astype(np.float16).astype(np.float64) * shift


def middles(values, low, high, width):
    """Code and middle of the cell of each value."""
    if high <= low:
        return np.zeros(len(values), int), np.full(len(values), low)
    cells = 2**width
    codes = np.floor((values - low) / (high - low) * cells).clip(0, cells - 1)
    return codes.astype(int), low + (high - low) * (codes + 0.5) / cells


def ranges(matrix):
    """Each row as a block: codes, middles and squared errors at some widths, its range sent in f16 and exact."""
    out = []
    for row in matrix.astype(np.float64):
        by_width = []
        for width in (1, 2, 4, 7):
            low, high = section_f16([row.min(), row.max()])
            codes, values = middles(row, low, high, width)
            _, exact = middles(row, row.min(), row.max(), width)
            error = float(((row - exact) ** 2).sum())
            by_width.append({"width": width, "codes": codes.tolist(), "values": short(values), "error": error})
        mean = np.float32(row.mean())
        out.append({"mean": float(mean), "error": float(((row - np.float64(mean)) ** 2).sum()), "widths": by_width})
    return out


def slices(matrix):
    """For each k and number of blocks: the block of each of the k largest, by ascending position."""
    flat = matrix.ravel().astype(np.float64)
    order = np.lexsort((np.arange(flat.size), -np.abs(flat)))
    out = []
    for k in sorted({1, flat.size // 3, flat.size}):
        tails = [[i for i in order[:k] if flat[i] >= 0], [i for i in order[:k] if flat[i] < 0]]
        for most in (1, 4, 16):
            members = next((m for m in range(1, k + 1) if sum(-(-len(t) // m) for t in tails) <= most), None)
            if members is None:
                out.append({"k": k, "most": most, "blocks": None})
                continue
            block, first = {}, 0
            for tail in tails:
                block.update({i: first + rank // members for rank, i in enumerate(tail)})
                first += -(-len(tail) // members)
            out.append({"k": k, "most": most, "blocks": [block[i] for i in sorted(block)]})
    return out


def integers(matrix):
    """Zero points, integers and values at some numbers of levels and groups, the scales in f16."""
    out = []
    x = matrix.astype(np.float64)
    for group in (matrix.shape[1], 32):
        of = np.arange(x.shape[1]) // min(group, x.shape[1])
        parts = lambda reduce: np.stack([[reduce(row[of == g]) for g in range(of[-1] + 1)] for row in x])
        low, high = np.minimum(parts(np.min), 0), np.maximum(parts(np.max), 0)
        for levels in (2, 5, 16, 256):
            span = high - low
            exact = np.where(span > 0, np.maximum(span, span.max() / 2**28) / (levels - 1), 0.0).astype(np.float32)
            scales = section_f16(exact)
            steps = np.where(scales > 0, scales, 1.0)
            zeros = np.rint(-low / steps).clip(0, levels - 1)
            q = (np.rint(x / steps[:, of]) + zeros[:, of]).clip(0, levels - 1)
            values = (q - zeros[:, of]) * scales[:, of]
            case = {"group": min(group, x.shape[1]), "levels": levels, "zeros": zeros.astype(int).ravel().tolist()}
            out.append({**case, "integers": q.astype(int).ravel().tolist(), "values": short(values)})
    return out


def main():
    cases = []
    for matrix in matrices():
        shape = {"tokens": matrix.shape[0], "hidden": matrix.shape[1], "values": short(matrix)}
        cases.append({**shape, "ranges": ranges(matrix), "slices": slices(matrix), "integers": integers(matrix)})
    text = json.dumps({"numpy": np.__version__, "cases": cases}) + "\n"
    if "--check" in sys.argv:
        same = PATH.read_text() == text
        print(f"adaptive.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(text)


if __name__ == "__main__":
    main()
