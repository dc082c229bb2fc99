#!/usr/bin/env python3
"""An external codec for splitbench: the low frequencies of a two-dimensional DCT, in f16. Needs NumPy.

    splitbench codec --input A.npy --codec "external:cmd=python3 examples/lowpass.py" --ratio 8

To make a codec of your own, replace encode() and decode(); serve() is the protocol and stays (docs/wire-format.md).
Encoder and decoder are two processes: only the bytes go from one to the other, so keep nothing between requests.
"""

import functools
import io
import json
import struct
import sys

import numpy as np


@functools.cache
def dct(n):
    """The orthonormal DCT-II as an n x n matrix: row k is frequency k."""
    k, i = np.arange(n)[:, None], np.arange(n)[None, :]
    rows = np.cos(np.pi * k * (2 * i + 1) / (2 * n)) * np.sqrt(2 / n)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


HEADER = struct.Struct("<IIf")  # rows kept, columns kept, scale


def encode(a, budget, accounting, ratio):
    """The payload of matrix a (S x D, f32), and how many numbers it keeps."""
    if accounting == "wire":  # the budget is in bytes
        budget = max(1, (budget - HEADER.size) // 2)
    # A block of the matrix's proportions, as the codec fc takes.
    rows = min(max(1, round(a.shape[0] / ratio**0.5)), a.shape[0], budget)
    columns = min(max(1, budget // rows), a.shape[1])
    block = dct(a.shape[0])[:rows] @ a @ dct(a.shape[1])[:columns].T
    scale = float(np.abs(block).max()) or 1.0  # nothing overflows in f16
    return HEADER.pack(rows, columns, scale) + (block / scale).astype("<f2").tobytes(), block.size


def decode(payload, tokens, hidden):
    """The matrix, tokens x hidden, that a payload stands for."""
    rows, columns, scale = HEADER.unpack_from(payload)
    block = np.frombuffer(payload, "<f2", offset=HEADER.size).reshape(rows, columns).astype(np.float32) * scale
    return dct(tokens)[:rows].T @ block @ dct(hidden)[:columns]


def serve():
    """Answers requests until standard input ends. Only answers go to standard output; print() would break it."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        request = json.loads(line)
        body = source.read(request["bytes"])
        if request["op"] == "encode":
            matrix = np.load(io.BytesIO(body))
            payload, kept = encode(matrix, request["budget"], request["accounting"], request["ratio"])
            answer = {"elements": int(kept), "bytes": len(payload)}
        else:
            file = io.BytesIO()
            np.save(file, decode(body, request["tokens"], request["hidden"]))
            payload = file.getvalue()
            answer = {"bytes": len(payload)}
        sink.write(json.dumps(answer).encode() + b"\n" + payload)
        sink.flush()


if __name__ == "__main__":
    serve()
