"""The program that this package stands on: it proves what is read here, and seals what is written."""

import os
import shutil
import subprocess
import sysconfig
import warnings
from pathlib import Path

# What makes a process a rank of a launcher, which a helper of one isn't.
_LAUNCHERS = ("OMPI_", "PMI_", "PMIX_", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS")


class ProgramError(Exception):
    """What the program says of input, storage, models: `text`, and its exit code `exit` (README.md has them)."""

    def __init__(self, text, exit):
        super().__init__(text)
        self.text = text
        self.exit = exit


def program():
    """The path of the program: `REELSCALE_PROGRAM`, or what was installed with this package, or the first on PATH."""
    named = os.environ.get("REELSCALE_PROGRAM")
    if named:
        return named
    places = [sysconfig.get_path("scripts"), Path(__file__).parents[1] / "bin"]
    for place in [*places, None]:
        found = shutil.which("reelscale", path=place and str(place))
        if found:
            return found
    raise FileNotFoundError("reelscale: no such program; hint: install the wheel, or name one in REELSCALE_PROGRAM")


def run(*arguments):
    """Runs the program on one rank; gives what it prints, and passes its warnings on."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(_LAUNCHERS)}
    command = [program(), arguments[0], "--comm", "serial", *map(os.fspath, arguments[1:])]
    ended = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace"
    )
    if ended.returncode != 0:
        lines = ended.stderr.strip().splitlines()
        start = next((at for at, line in enumerate(lines) if line.startswith("reelscale: ")), 0)
        text = "\n".join(lines[start:]).removeprefix("reelscale: ")
        raise ProgramError(text or f"{command[0]} ended with {ended.returncode}", ended.returncode)
    for line in ended.stderr.splitlines():
        if line.startswith("WARN"):
            warnings.warn(line.removeprefix("WARN").strip(), stacklevel=3)
    return ended.stdout
