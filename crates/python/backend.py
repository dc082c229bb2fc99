"""maturin's build backend, and the command beside the codecs: a wheel of `pip install .` has both.

`maturin build` itself makes a wheel of the codecs alone, without the workbench.
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import zipfile

import maturin
from maturin import *  # noqa: F403

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _build_command():
    """Builds the program and returns its path: the same build as `cargo build --release`, of which nothing is done twice."""
    line = ["cargo", "build", "--release", "--message-format", "json-render-diagnostics"]
    output = subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = (json.loads(text) for text in output.splitlines() if text.startswith("{"))
    programs = (pathlib.Path(message["executable"]) for message in messages if message.get("executable"))
    return next(path for path in programs if path.stem == "splitbench")


def add_script(wheel, program):
    """Puts a program among the scripts of a wheel: a file in its `.data/scripts` and a line in its RECORD."""
    with zipfile.ZipFile(wheel) as old:
        files = [(info, old.read(info)) for info in old.infolist()]
    record, text = next((info, data) for info, data in files if info.filename.endswith(".dist-info/RECORD"))
    data = program.read_bytes()
    script = zipfile.ZipInfo(record.filename.replace(".dist-info/RECORD", f".data/scripts/{program.name}"))
    script.compress_type = zipfile.ZIP_DEFLATED
    # A file that everybody may run.
    script.external_attr = 0o100755 << 16
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    line = f"{script.filename},sha256={digest},{len(data)}\n".encode()
    files = [(info, line + text if info is record else data) for info, data in files]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        for info, content in [(script, data), *files]:
            new.writestr(info, content)


def _with_command(build):
    def build_with_command(wheel_directory, config_settings=None, metadata_directory=None):
        program = _build_command()
        name = build(wheel_directory, config_settings, metadata_directory)
        add_script(pathlib.Path(wheel_directory) / name, program)
        return name

    return build_with_command


build_wheel = _with_command(maturin.build_wheel)
build_editable = _with_command(maturin.build_editable)
