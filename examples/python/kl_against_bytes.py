# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # KL against bytes
#
# How far do a model's next-token probabilities move when the activation at the cut has fewer bytes? The rows are those of a
# run: `splitbench run codecs` makes `results/codecs/RUN`. Here it is the committed run of SmolLM2.
#
# `jupytext --to notebook kl_against_bytes.py` makes a notebook of this file, `python kl_against_bytes.py [RUN] [FIGURE.svg]` draws it.

# %%
import sys
from pathlib import Path

import matplotlib

if "ipykernel" not in sys.modules:
    matplotlib.use("svg")
import matplotlib.pyplot as plt
import splitbench

arguments = [] if "ipykernel" in sys.modules else sys.argv[1:]
tree = Path(__file__).resolve().parents[2] if "__file__" in globals() else Path("../..").resolve()
run = Path(arguments[0]) if arguments else tree / "results/codecs/smollm2-135m"
figure = Path(arguments[1]) if len(arguments) > 1 else Path("kl-against-bytes.svg")

# %% [markdown]
# One row per data set, codec and ratio. What changes nothing but roundings (`noop`) is left out.

# %%
rows = splitbench.read_rows(run)
rows = rows[rows["kl_mean"] > 1e-6]
mean = rows.groupby(["codec", "ratio_requested", "accounting"], dropna=False)[["wire_bytes_per_token", "kl_mean"]].mean().reset_index()
assert len(mean) > 0, f"no row of {run} has KL: run `splitbench run codecs` with a model"
mean.sort_values("kl_mean")

# %%
fig, ax = plt.subplots(figsize=(8, 5))
for nth, (name, points) in enumerate(mean.groupby(mean["codec"].str.split(":").str[0])):
    # Ten colours by three markers: no two codecs look alike.
    ax.plot(points["wire_bytes_per_token"], points["kl_mean"], "osv"[nth // 10], color=f"C{nth % 10}", label=name)
ax.set(xscale="log", yscale="log", xlabel="bytes on the wire per token", ylabel="KL per scored token, nats")
ax.legend(fontsize=7, ncols=3)
fig.savefig(figure)
print(f"{len(mean)} points from {len(rows)} rows: {figure}")
