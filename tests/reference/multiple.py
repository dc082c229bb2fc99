"""Holm's correction and the smallest loss that McNemar's test sees: writes multiple.json, or compares with --check.

Holm as R's p.adjust defines it, min(1, cummax((m + 1 - i) p_(i))) in the order of p. The loss d solves Connor's (1987) equation
n = ((z_a sqrt(psi) + z_b sqrt(psi - d^2)) / d)^2, psi the share of answers that change, and at least d. Rows: changed, questions, d.
"""

import json
import pathlib
import sys

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

FILE = pathlib.Path(__file__).with_name("multiple.json")
P = [[0.01, 0.04, 0.03, 0.005], [0.5, 0.5], [1.0], [0.02, 0.02, 0.02, 0.9, 0.0001]]
CASES = [(0, 128), (6, 128), (20, 100), (100, 100), (3, 2376), (400, 2376), (1, 50)]


def holm(p):
    p = np.array(p)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]))
    return stepped[np.argsort(order, kind="stable")].tolist()


def smallest(changed, questions):
    a, b = norm.ppf(0.975), norm.ppf(0.8)

    def lacking(d):
        psi = max(changed / questions, d)
        return ((a * np.sqrt(psi) + b * np.sqrt(psi - d * d)) / d) ** 2 - questions

    return brentq(lacking, 1e-6, 1, xtol=1e-14)


def exact_power(changed, questions):
    """Probability that the exact test is below 0.05 at the loss that the formula gives."""
    d = smallest(changed, questions)
    psi = max(changed / questions, d)
    lost = (psi + d) / 2 / psi
    total = 0.0
    for flips in range(questions + 1):
        b = np.arange(flips + 1)
        p = np.minimum(1, 2 * binom.cdf(np.minimum(b, flips - b), flips, 0.5))
        total += binom.pmf(flips, questions, psi) * binom.pmf(b, flips, lost)[p < 0.05].sum()
    return total


assert abs(exact_power(60, 400) - 0.7748) < 1e-4, exact_power(60, 400)
found = {"holm": [[p, holm(p)] for p in P], "smallest_loss_seen": [[c, n, smallest(c, n)] for c, n in CASES]}
if "--check" in sys.argv:
    kept = json.loads(FILE.read_text())
    for name, rows in found.items():
        flat = [np.concatenate([np.ravel(part) for part in row]) for row in rows]
        other = [np.concatenate([np.ravel(part) for part in row]) for row in kept[name]]
        assert all(np.allclose(a, b, rtol=0, atol=1e-10) for a, b in zip(flat, other, strict=True)), name
    print("multiple.json: same")
else:
    lines = [f'"{name}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]" for name, rows in found.items()]
    FILE.write_text("{" + ",\n".join(lines) + "}\n")
