"""The command that comes with the package, and packets that are the same from either."""

import subprocess
import sys

import numpy as np
import pytest
import splitbench
from conftest import ROOT

# A form of every codec, and options of some.
FORMS = [
    "fc:band=centered,aspect=adaptive", "fc:values=int8,coder=rans", "fc:rotate=hadamard", "fc:rotate=whiten",
    "fc-mask:mask=separable", "topk:values=int8", "klt:values=int8", "noop:values=bf16,coder=rans", "fp8:format=e5m2",
    "int4:group=64,coder=rans", "awq:error=activation", "svd:values=bf16", "sparse-rans:group=32,scales=f32",
]  # fmt: skip
# What `splitbench codec` has no input for: token ids, gradients, weights of a model. `external` is beside.
WITHOUT = {"token-ids", "fwsvd", "awq", "external"}


def run(command, *arguments):
    return subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)


def test_packets_are_those_of_the_command_line(command, matrix, tmp_path):
    program = f"external:cmd={sys.executable} {ROOT / 'examples/lowpass.py'}"
    names = [info.name for info in splitbench.codecs() if info.name not in WITHOUT]
    rows = np.random.default_rng(1).normal(size=(256, 192)).astype("f4")
    np.save(tmp_path / "A.npy", matrix)
    np.save(tmp_path / "C.npy", rows)
    others = []
    for codec in [*names, *FORMS, program]:
        for accounting, ratio in [("elements", 8), ("wire", 3)]:
            given = {"ratio": ratio, "accounting": accounting}
            line = ["codec", "--input", tmp_path / "A.npy", "--codec", codec, "--ratio", ratio, "--accounting", accounting]
            line += ["--packet", tmp_path / "P.bin", "--output", tmp_path / "B.npy"]
            try:
                packet = splitbench.encode(matrix, codec, **given)
                both = {}
            except ValueError as error:
                assert "calibration" in str(error), error
                packet = splitbench.encode(matrix, codec, calibration=rows, **given)
                line += ["--calibration", tmp_path / "C.npy"]
                both = {"calibration": rows}
            done = run(command, *line)
            assert done.returncode == 0, done.stderr
            received = splitbench.decode(packet, codec, **both)
            if (tmp_path / "P.bin").read_bytes() != packet or not np.array_equal(np.load(tmp_path / "B.npy"), received):
                others.append(f"{codec} at {ratio} in {accounting}")
    assert not others


def test_errors_are_the_sentences_of_the_command_line(command, matrix, tmp_path):
    matrix[3, 4] = np.nan
    for codec in ["tokp", "fc:band=centred", "noop:coder=rans"]:
        np.save(tmp_path / "A.npy", matrix)
        done = run(command, "codec", "--input", tmp_path / "A.npy", "--codec", codec)
        with pytest.raises(ValueError) as caught:
            splitbench.encode(matrix, codec)
        assert done.stderr.strip() == f"error: {caught.value}"


def test_the_module_is_the_command(command):
    run_module = lambda *arguments: run(sys.executable, "-m", "splitbench", *arguments)  # noqa: E731
    if "this wheel has the codecs alone" in run_module("--version").stderr:
        pytest.skip("this wheel has no command")
    assert run_module("--version").stdout == run(command, "--version").stdout != ""
    assert run_module("list", "codecs").stdout == run(command, "list", "codecs").stdout
    wrong = run_module("no-such-command")
    assert wrong.returncode == 2 and "no-such-command" in wrong.stderr


def test_rows_of_a_committed_run():
    path = ROOT / "results/codecs/pocket"
    for to, package in [("pandas", "pandas"), ("polars", "polars"), ("arrow", "pyarrow")]:
        if package not in sys.modules and not __import__("importlib").util.find_spec(package):
            print(f"skipped: no {package}")
            continue
        rows = splitbench.read_rows(path, to)
        assert rows.shape[0] > 100 and len(rows["codec"]) == rows.shape[0]
        assert splitbench.read_rows(path / "rows.parquet", to).shape == rows.shape
    with pytest.raises(ValueError, match="expected"):
        splitbench.read_rows(path, "excel")
    with pytest.raises(FileNotFoundError, match="no rows at"):
        splitbench.read_rows(ROOT / "docs")
