"""Second opinion on the statistics: NumPy and SciPy. Writes metrics.json; `--check` compares with what is there.

    pip install -r tests/reference/requirements.txt
    python tests/reference/metrics.py
"""

import json
import pathlib
import sys

import numpy as np
import scipy
from scipy.special import log_softmax
from scipy.stats import binomtest

PATH = pathlib.Path(__file__).parent / "metrics.json"

# (lost, gained): none, few, the size of our sets, far larger, and where 2^-n is no longer a number.
PAIRS = [(0, 0), (0, 1), (1, 0), (0, 5), (1, 5), (3, 3), (2, 11), (7, 9), (8, 8), (17, 40), (150, 190), (300, 180)]
PAIRS += [(499, 501), (0, 900), (1200, 1300), (5000, 5400), (40, 2000), (0, 2000), (60000, 61000)]


def main():
    rng = np.random.default_rng(5)
    mcnemar = []
    for lost, gained in PAIRS:
        n = lost + gained
        p = binomtest(min(lost, gained), n, 0.5).pvalue if n else 1.0
        mcnemar.append([lost, gained, float(p)])
    stderr = []
    for n, p in [(2, 0.5), (7, 0.3), (50, 0.9), (500, 0.37), (2985, 0.25)]:
        values = (rng.random(n) < p).astype(int)
        deviation = float(np.std(values, ddof=1) / np.sqrt(n))
        stderr.append({"values": "".join(map(str, values)), "mean": float(values.mean()), "stderr": deviation})
    softmax = []
    for n, scale in [(1, 1), (5, 3), (37, 0.1), (130, 30), (400, 8)]:
        logits = (rng.standard_normal(n) * scale).astype(np.float32)
        target = int(rng.integers(n))
        value = float(log_softmax(logits.astype(np.float64))[target])
        softmax.append({"logits": [float(x) for x in logits], "target": target, "value": value})
    versions = {"numpy": np.__version__, "scipy": scipy.__version__}
    out = {"versions": versions, "mcnemar": mcnemar, "stderr": stderr, "log_softmax": softmax}
    text = json.dumps(out) + "\n"
    if "--check" in sys.argv:
        same = PATH.read_text() == text
        print(f"metrics.json: {'equal' if same else 'DIFFERS'}")
        sys.exit(not same)
    PATH.write_text(text)


if __name__ == "__main__":
    main()
