"""maturin's build backend, and the command beside the codecs: a wheel of `pip install .` has both.

`maturin build` itself makes a wheel of the codecs alone, in two minutes.
"""

import json
import pathlib
import shutil
import subprocess

import maturin
from maturin import *  # noqa: F403

ROOT = pathlib.Path(__file__).resolve().parents[2]
# maturin puts what lies here into the folder of scripts.
SCRIPTS = ROOT / "splitbench.data" / "scripts"


def _build_command():
    """Builds the program and returns its path: the same build as `cargo build --release`, of which nothing is done twice."""
    line = ["cargo", "build", "--release", "--message-format", "json-render-diagnostics"]
    output = subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = (json.loads(text) for text in output.splitlines() if text.startswith("{"))
    programs = [message["executable"] for message in messages if message.get("executable")]
    return pathlib.Path(next(path for path in programs if pathlib.Path(path).stem == "splitbench"))


def _with_command(build):
    def build_with_command(wheel_directory, config_settings=None, metadata_directory=None):
        program = _build_command()
        SCRIPTS.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(program, SCRIPTS / program.name)
            return build(wheel_directory, config_settings, metadata_directory)
        finally:
            shutil.rmtree(SCRIPTS.parent)

    return build_with_command


build_wheel = _with_command(maturin.build_wheel)
build_editable = _with_command(maturin.build_editable)
