"""Score intervals of a difference of paired shares, by number: writes paired.json, or compares with --check.

For each hypothetical loss the likelihood of (lost, gained, neither) is maximised numerically under it; the interval holds
the losses whose score statistic is within 1.96. Rows: lost, gained, questions, lower end, upper end.
"""

import json
import pathlib
import sys

import numpy as np
from scipy.optimize import brentq, minimize_scalar

FILE = pathlib.Path(__file__).with_name("paired.json")
CASES = [(0, 0, 128), (1, 0, 128), (0, 1, 128), (12, 2, 50), (5, 5, 100), (40, 3, 128), (3, 40, 500), (0, 0, 2376),
         (20, 13, 2376), (150, 90, 1172), (1, 1, 10)]
Z = 1.959963984540054


def statistic(loss, b, c, n):
    """(b - c - n loss) over its standard deviation at the likeliest shares with p_lost - p_gained = loss."""

    def unlikely(gained):
        shares = np.array([gained + loss, gained, 1 - 2 * gained - loss])
        counts = np.array([b, c, n - b - c])
        if np.any(shares < -1e-15):
            return 1e12
        return -np.sum(counts * np.log(np.maximum(shares, 1e-300)))

    low, high = max(0.0, -loss), (1 - loss) / 2
    # The maximum may lie at the lower end, where nothing was lost or gained.
    found = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-14, "maxiter": 2000})
    gained = low if unlikely(low) <= found.fun else found.x
    variance = n * (2 * gained + loss - loss * loss)
    return (b - c - n * loss) / np.sqrt(max(variance, 1e-300))


def interval(b, c, n):
    middle = (b - c) / n
    ends = []
    for wanted, a, z in [(Z, -1 + 1e-9, middle - 1e-12), (-Z, middle + 1e-12, 1 - 1e-9)]:
        ends.append(brentq(lambda loss: statistic(loss, b, c, n) - wanted, a, z, xtol=1e-13))
    return ends


rows = [[b, c, n, *interval(b, c, n)] for b, c, n in CASES]
if "--check" in sys.argv:
    kept = json.loads(FILE.read_text())
    assert np.allclose(kept, rows, rtol=0, atol=1e-6), "paired.json is not what this script makes"
    print("paired.json: same")
else:
    FILE.write_text("[\n" + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]\n")
