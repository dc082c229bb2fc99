"""Threads, forked processes, memory."""

import os
import sys
import threading
import time

import pytest
import splitbench
from conftest import run_python
from splitbench import Codec


def test_threads_share_a_codec(matrix):
    codec = Codec("fc", ratio=4)
    expected = codec.encode(matrix)
    wrong = []

    def work():
        for _ in range(200):
            if codec.encode(matrix) != expected or codec.encode([matrix, matrix]) != [expected] * 2:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def test_the_interpreter_goes_on_while_a_codec_works(matrix):
    codec = Codec("svd", ratio=4)
    started, ends = threading.Event(), []

    def work():
        started.set()
        while len(ends) == 0:
            codec.encode(matrix)

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    # An interpreter that is held for a whole call would let this thread run once per call at most.
    calls = 0
    clock = time.perf_counter()
    while time.perf_counter() - clock < 0.2:
        calls += 1
    ends.append(1)
    thread.join()
    clock = time.perf_counter()
    codec.encode(matrix)
    per_call = time.perf_counter() - clock
    assert calls > 20 * 0.2 / per_call


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_processes():
    """Forked with warm threads, and while another thread encodes."""
    run_python(
        """
import os, threading, numpy as np, splitbench
codec = splitbench.Codec("fc", ratio=4)
arrays = [np.random.default_rng(n).normal(size=(64, 192)).astype("f4") for n in range(8)]
expected = codec.encode(arrays)
ends = []
def work():
    while not ends:
        codec.encode(arrays)
threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
for _ in range(10):
    child = os.fork()
    if child == 0:
        good = codec.encode(arrays) == expected and codec.decode(expected)[3].shape == (64, 192)
        os._exit(0 if good else 7)
    assert os.waitpid(child, 0)[1] == 0
ends.append(1)
[thread.join() for thread in threads]
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(codec_encode := codec.encode, []) == []
    assert pool.starmap(splitbench.encode, [(array, "int8") for array in arrays]) == splitbench.encode(arrays, "int8")
"""
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_programs_of_an_external_codec_belong_to_one_process(matrix):
    example = os.path.join(os.path.dirname(__file__), "../../../examples/lowpass.py")
    codec = Codec(f"external:cmd={sys.executable} {os.path.abspath(example)}", ratio=4)
    expected = codec.encode(matrix)
    child = os.fork()
    if child == 0:
        try:
            codec.encode(matrix)
        except ValueError as error:
            # Its end must leave the parent's program alone.
            del codec
            os._exit(0 if "before the fork" in str(error) else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert codec.encode(matrix) == expected


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from /proc")
def test_a_hundred_thousand_calls_leave_no_memory_behind():
    run_python(
        """
import numpy as np, splitbench
array = np.random.default_rng(0).normal(size=(4, 64)).astype("f4")
other = array.astype("f2")
codec = splitbench.Codec("int8")
bad = np.full((4, 64), np.nan, "f4")
def calls(count):
    for nth in range(count):
        codec.decode(codec.encode(array))
        codec.encode(other)
        if nth % 10 == 0:
            splitbench.round_trip(array, "fc", ratio=2)
            codec.encode([array, other])
            try:
                codec.encode(bad)
            except ValueError:
                pass
            try:
                splitbench.decode(b"SPLB")
            except ValueError:
                pass
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
calls(5_000)
before = resident()
calls(100_000)
grown = resident() - before
# A byte left behind per call would be 100 kB; pages of the allocator come and go.
assert grown < 2_000_000, grown
"""
    )
