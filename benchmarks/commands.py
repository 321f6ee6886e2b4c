"""What else runs a snippet of Python apart from everything: commands that are installed, or not."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from benchmarks.job import PRINT, RESULT
from benchmarks.worker import MeasureError

__all__ = ["COMMANDS", "probe", "sampler"]

IMAGE = "python:3.13-slim-trixie"
_TIMEOUT_S = 60
_PYTHON = [sys.executable, "-I", "-c", PRINT]

COMMANDS: dict[str, list[str]] = {
    "python -I -c": _PYTHON,
    "bubblewrap + python": ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", *_PYTHON],
    "nsjail + python": ["nsjail", "--mode", "o", "--really_quiet", "--chroot", "/", "--", *_PYTHON],
    "docker run --rm": ["docker", "run", "--rm", "--pull", "never", IMAGE, "python", "-c", PRINT],
}


def probe(command: list[str]) -> str | None:
    """Why a command cannot be measured here, None when it works."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    try:
        _seconds(command)
    except MeasureError as error:
        return str(error)
    return None


def sampler(command: list[str]) -> Callable[[], float]:
    """What measures one run of a command, in seconds."""
    return partial(_seconds, command)


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise MeasureError(f"{command[0]} did not end within {_TIMEOUT_S} s") from None
    elapsed = time.perf_counter() - started
    if done.stdout.strip() != RESULT:
        said = (done.stderr.strip().splitlines() or ["nothing"])[0]
        raise MeasureError(f"{command[0]} does not work here: {said[:120]}")
    return elapsed
