"""The baseline: fork from a warm interpreter, a job, a pipe, the end; no sandbox, no HTTP.

It runs in an interpreter like the zygote's, with the modules that its parent names preloaded.
"""

import gc
import importlib
import os
import time
from typing import Any, NoReturn

from benchmarks.job import EXPRESSION, RESULT
from benchmarks.window import Window
from benchmarks.worker import serve

__all__ = ["main"]

_NOTHING = b"."


class _Forker:
    """Forks children that each do one job, or none, and reaps them in the order in which they end."""

    def __init__(self, job: bool) -> None:
        self._job = job
        self._expected = RESULT.encode() if job else _NOTHING
        self._running: dict[int, tuple[int, float]] = {}

    def start(self) -> None:
        started = time.perf_counter()
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become_child(writable)
        os.close(writable)
        self._running[pid] = readable, started

    def finish(self) -> tuple[float, float, bool]:
        """Waits for a child to end: when it was started, when it was gone, and whether its answer was right."""
        pid, status = os.waitpid(-1, 0)
        readable, started = self._running.pop(pid)
        answer = os.read(readable, 4096)
        os.close(readable)
        return started, time.perf_counter(), status == 0 and answer == self._expected

    def run(self, window: Window, clients: int) -> None:
        window.wait()
        for _ in range(clients):
            if window.begin():
                self.start()
        while self._running:
            started, ended, right = self.finish()
            window.note(started, ended, right=right)
            if window.begin():
                self.start()

    def _become_child(self, writable: int) -> NoReturn:
        code = 1
        try:
            os.write(writable, _evaluated() if self._job else _NOTHING)
            code = 0
        finally:
            os._exit(code)


def _evaluated() -> bytes:
    return repr(eval(EXPRESSION, {})).encode()  # noqa: S307 - our own job


def _handle(message: dict[str, Any]) -> dict[str, Any]:
    forker = _Forker(message["job"])
    if message["op"] == "load":
        window = Window(**message["window"])
        forker.run(window, message["clients"])
        return window.answer()
    forker.start()
    started, ended, right = forker.finish()
    return {"seconds": ended - started, "right": right}


def main(modules: list[str]) -> None:
    """Warms this interpreter up as the zygote does and measures what it is told to."""
    for name in modules:
        importlib.import_module(name)
    _evaluated()  # the first compile() of a process takes a millisecond
    gc.collect()
    gc.freeze()
    gc.disable()
    serve(_handle)
