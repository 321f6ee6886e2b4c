"""A server as a process of its own, on a free port."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.worker import ROOT, MeasureError

__all__ = ["Server", "running"]

_END_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, and its process."""

    pid: int
    port: int


@contextmanager
def running(module: str, *arguments: str, before: Sequence[str] = (), **environment: str) -> Iterator[Server]:
    """Runs ``python -m module`` until the block is left.

    Args:
        module: it says on its first line where it serves.
        arguments: of the module.
        before: a command that becomes the server, as ``nice`` does.
        environment: all that it gets, beside ``PATH``.

    Raises:
        MeasureError: it did not come up.
    """
    process = subprocess.Popen(
        [*before, sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", os.defpath), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Server(process.pid, _port(process))
    finally:
        _end(process)


def _port(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    if found is None:
        raise MeasureError(f"a server did not come up; it said {line!r}")
    return int(found[1])


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(timeout=_END_TIMEOUT_S)
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.close()
