"""Second opinion on the cosine transforms of fc and fc-mask, and on fcanet, dynamic-pruning, cobla and split-fine-tuning: SciPy.

    python tests/reference/table1_transforms.py

Writes table1-transforms.json; `--check` compares. Written from docs/methodology/table1-transforms.md, not from the Rust code:
transforms by scipy.fft, singular values by LAPACK, ranks by trying all of them.
"""

import itertools
import json
import pathlib
import sys

import numpy as np
import scipy
from scipy.fft import dct, dctn, idct, idctn

PATH = pathlib.Path(__file__).parent / "table1-transforms.json"
RATIOS = [2.0, 6.0]


def short(values):
    """The shortest decimal of each f32."""
    return [float(str(v)) for v in np.asarray(values, np.float32).ravel()]


def rounded(values):
    return [float(f"{v:.6g}") for v in np.ravel(values)]


def fc(a, ratio, aspect):
    s, d = a.shape
    c = dctn(a, norm="ortho")
    if aspect == "proportional":
        ks = min(max(int(s / ratio**0.5 + 0.5), 1), s)
        kd = max(int(s * d / (ratio * ks)), 1)
        ks, kd = (max(int(s * d / (ratio * d)), 1), d) if kd > d else (ks, kd)
    elif aspect == "tokens":
        ks, kd = s, max(int(d / ratio), 1)
    else:
        pairs = [(u, min(int(s * d / (ratio * u)), d)) for u in range(1, s + 1)]
        ks, kd = max((pair for pair in pairs if pair[1] > 0), key=lambda pair: (c[: pair[0], : pair[1]] ** 2).sum())
    kept = np.zeros_like(c)
    kept[:ks, :kd] = c[:ks, :kd]
    return idctn(kept, norm="ortho")


def largest(c, k, ranks=None):
    order = np.argsort(-np.abs(c if ranks is None else ranks).ravel(), kind="stable")[:k]
    kept = np.zeros(c.size)
    kept[order] = c.ravel()[order]
    return kept.reshape(c.shape)


def fc_mask(a, ratio):
    return idctn(largest(dctn(a, norm="ortho"), int(a.size / ratio)), norm="ortho")


def groups_of(d, count):
    width = -(-d // min(count, d))
    return [slice(at, min(at + width, d)) for at in range(0, d, width)]


def fcanet(a, ratio, count):
    c, kept, left = dct(a, axis=0, norm="ortho"), np.zeros(a.shape), int(a.size / ratio)
    units = [(u, part) for u in range(len(a)) for part in groups_of(a.shape[1], count)]
    for nth, (u, part) in enumerate(sorted(units, key=lambda unit: -(c[unit] ** 2).mean())):
        if nth > 0 and c[u, part].size > left:
            break
        left -= c[u, part].size
        kept[u, part] = c[u, part]
    return idct(kept, axis=0, norm="ortho")


def dynamic_pruning(a, ratio, block, slope):
    d = a.shape[1]
    block = min(block, d)
    parts = [slice(at, min(at + block, d)) for at in range(0, d, block)]
    c = np.concatenate([dct(a[:, part], norm="ortho") for part in parts], 1)
    thresholds = 1 + slope * (np.arange(d) % block) / max(block - 1, 1)
    kept = largest(c, int(a.size / ratio), c / thresholds)
    return np.concatenate([idct(kept[:, part], norm="ortho") for part in parts], 1)


def cobla(a, ratio, count):
    """The best of all ranks, by trying them."""
    parts = groups_of(a.shape[1], count)
    spectra = [np.linalg.svd(a[:, part], full_matrices=False) for part in parts]
    costs = [len(a) + a[:, part].shape[1] for part in parts]
    best = (-1.0, None)
    for ranks in itertools.product(*[range(len(s) + 1) for _, s, _ in spectra]):
        if sum(r * cost for r, cost in zip(ranks, costs)) <= a.size / ratio and any(ranks):
            kept = sum((s[:r] ** 2).sum() for r, (_, s, _) in zip(ranks, spectra))
            best = max(best, (kept, ranks))
    return np.concatenate([(u[:, :r] * s[:r]) @ v[:r] for r, (u, s, v) in zip(best[1], spectra)], 1)


def draw(position):
    """Splitmix64 of a counter from zero on."""
    whole = (1 << 64) - 1
    x = (position + 1) * 0x9E3779B97F4A7C15 & whole
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & whole
    x = (x ^ x >> 27) * 0x94D049BB133111EB & whole
    return ((x ^ x >> 31) >> 11) / 2.0**53


def split_fine_tuning(a, ratio, bits):
    kept = np.sort(np.argsort(-np.abs(a).ravel(), kind="stable")[: int(a.size / ratio)])
    least, out, levels = np.abs(a.ravel()[kept]).min(), np.zeros(a.size), 2 ** (bits - 1)
    for p in kept:
        token = kept[kept // a.shape[1] == p // a.shape[1]]
        step = (np.abs(a.ravel()[token]).max() - least) / (levels - 1)
        place = (abs(a.ravel()[p]) - least) / step if step > 0 else 0.0
        level = min(int(place) + (place % 1 > draw(int(p))), levels - 1)
        out[p] = np.sign(a.ravel()[p]) * (least + step * level)
    return out.reshape(a.shape)


def main():
    rng = np.random.default_rng(33)
    cases = []
    # Unequal last blocks and groups too, but for cobla: its choice is the best of all only where groups are equal.
    for tokens, d, equal in [(7, 24, True), (5, 18, False)]:
        mixing = rng.standard_normal((3, d)).cumsum(1)
        a = np.round(64 * (rng.standard_normal((tokens, 3)).cumsum(0) @ mixing + rng.standard_normal((tokens, d)))) / 64
        case = {"tokens": tokens, "hidden": d, "values": short(a), "decoded": []}
        for ratio in RATIOS:
            decoded = {f"fc:transform=dct{more}": fc(a, ratio, aspect) for more, aspect in [("", "proportional"), (",aspect=tokens", "tokens"), (",aspect=adaptive", "adaptive")]}
            decoded["fc-mask:transform=dct"] = fc_mask(a, ratio)
            decoded |= {f"fcanet:groups={count}": fcanet(a, ratio, count) for count in [1, 4, 16]}
            for block, slope in [(8, 1), (16, 0), (64, 2)]:
                decoded[f"dynamic-pruning:block={block},slope={slope}"] = dynamic_pruning(a, ratio, block, slope)
            if equal:
                decoded |= {f"cobla:groups={count}": cobla(a, ratio, count) for count in [2, 4, 8]}
            decoded |= {f"split-fine-tuning:bits={bits}": split_fine_tuning(a, ratio, bits) for bits in [2, 4, 8]}
            case["decoded"] += [{"codec": codec, "ratio": ratio, "values": rounded(v)} for codec, v in decoded.items()]
        cases.append(case)
    text = json.dumps({"numpy": np.__version__, "scipy": scipy.__version__, "cases": cases}) + "\n"
    if "--check" in sys.argv:
        same = PATH.read_text() == text
        print(f"table1-transforms.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(text)


if __name__ == "__main__":
    main()
