"""Speed of the Python package: what a call costs beside the codec, and `fc` beside the Rust bench.

    python crates/python/bench.py                    # in a checkout with Rust, the wheel installed from it
    python crates/python/bench.py --no-rust

Least of many calls, one thread: other programs on the machine only add to it. The Rust side is
`cargo bench -p splitbench-codec --bench codecs`, which prints microseconds per token at 64 x 2048; the two sides take turns, and the
least of each counts. Build both from one tree.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from splitbench import Codec, encode

ROOT = Path(__file__).resolve().parents[2]
RATIO = 7.6
TOKENS, HIDDEN = 64, 2048


def least_us(call, calls=301, repeats=1):
    """Microseconds of a call: the least over `calls` of the mean over `repeats`."""
    best = float("inf")
    for _ in range(calls):
        clock = time.perf_counter()
        for _ in range(repeats):
            call()
        best = min(best, (time.perf_counter() - clock) / repeats)
    return 1e6 * best


def overhead():
    """Calls whose codec has next to nothing to do: 1 x 16 numbers as they are."""
    array = np.ones((1, 16), np.float32)
    codec = Codec("noop")
    packet = codec.encode(array)
    rows = [
        ("Codec.encode", lambda: codec.encode(array)),
        ("Codec.decode", lambda: codec.decode(packet)),
        ("Codec.round_trip", lambda: codec.round_trip(array)),
        ("encode", lambda: encode(array, "noop")),
    ]
    try:
        import torch

        tensor = torch.from_numpy(array)
        rows.append(("Codec.encode of a tensor", lambda: codec.encode(tensor)))
    except ImportError:
        print("no torch: its tensors are left out")
    return [(name, least_us(call, repeats=100)) for name, call in rows]


def python_side():
    """Microseconds to encode and to decode with `fc`."""
    values = np.random.default_rng(7).uniform(-1, 1, (TOKENS, HIDDEN)).astype(np.float32)
    codec = Codec("fc", ratio=RATIO)
    packet = codec.encode(values)
    # Where an array lies in memory makes a third: caches hold some places side by side and others not.
    places = [values.copy() for _ in range(6)]
    return [min(least_us(lambda: codec.encode(place)) for place in places), least_us(lambda: codec.decode(packet))]


def rust_side(program):
    """The same of the bench in Rust."""
    output = subprocess.run([program, "--bench"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    line = next(line.split() for line in output.splitlines() if line.split()[:1] == ["fc"])
    return [TOKENS * float(number) for number in line[1:3]]


def bench_program():
    """Builds the bench and returns its path."""
    line = ["cargo", "bench", "-p", "splitbench-codec", "--bench", "codecs", "--no-run"]
    output = subprocess.run(line, cwd=ROOT, check=True, stderr=subprocess.PIPE, text=True).stderr
    return ROOT / output.split("Executable")[1].split("(")[1].split(")")[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-rust", action="store_true", help="only what needs no cargo")
    parser.add_argument("--program", type=Path, help="the built bench, instead of building it")
    arguments = parser.parse_args()
    slow = []
    for name, us in overhead():
        print(f"{name:<28} {us:8.2f} us per call")
        slow += [name] if us >= 10 else []
    if slow:
        sys.exit(f"10 us or more: {', '.join(slow)}")
    if arguments.no_rust:
        return
    program = arguments.program or bench_program()
    sides = {"Python": [], "Rust": []}
    for _ in range(5):
        sides["Python"].append(python_side())
        sides["Rust"].append(rust_side(program))
    best = {side: [min(times) for times in zip(*runs)] for side, runs in sides.items()}
    for side, (encode_us, decode_us) in best.items():
        print(f"fc, {TOKENS} x {HIDDEN}, {side:<7} encode {encode_us:7.1f} us   decode {decode_us:7.1f} us")
    ratio = sum(best["Python"]) / sum(best["Rust"])
    print(f"Python over Rust, both directions: {ratio:.3f}")
    if ratio > 1.05:
        sys.exit("more than 5 % over the Rust bench")


if __name__ == "__main__":
    main()
