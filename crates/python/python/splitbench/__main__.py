"""`python -m splitbench`: the command, which lies beside the interpreter's other ones."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig


def find_command() -> str:
    """Path of the program `splitbench` that was installed with this package."""
    name = "splitbench" + (sysconfig.get_config_var("EXE") or "")
    user = sysconfig.get_preferred_scheme("user") if sys.version_info >= (3, 10) else f"{os.name}_user"
    folders = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", scheme=user)]
    # `pip install --target FOLDER` puts it into FOLDER/bin.
    folders.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin"))
    for folder in folders:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(
        f"no {name} in {', '.join(folders)}: this wheel has the codecs alone; `pip install .` in a checkout brings the command"
    )


def main() -> int:
    """Runs the command with this process's arguments."""
    try:
        command = [find_command(), *sys.argv[1:]]
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if os.name == "posix":
        # In place of the interpreter, so that signals and exit codes are the command's own.
        os.execv(command[0], command)
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
