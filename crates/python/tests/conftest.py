"""What the tests share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from splitbench.__main__ import find_command

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def matrix():
    """64 tokens x 192 channels of float32, of which one channel is large, as in real activations."""
    values = np.random.default_rng(7).normal(size=(64, 192)).astype(np.float32)
    values[:, 5] *= 40
    return values


@pytest.fixture(scope="session")
def command():
    """The program: the one installed with the package, else what SPLITBENCH names."""
    try:
        return find_command()
    except FileNotFoundError:
        program = os.environ.get("SPLITBENCH") or shutil.which("splitbench")
        if program is None:
            pytest.skip("this wheel has no command, and SPLITBENCH names none")
        return program


def run_python(code):
    """Runs a script in a Python of its own; fails, with what it said, unless it ends well within a minute."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
