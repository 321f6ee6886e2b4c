"""A process that measures itself, told over a pipe to do so: JSON lines in both directions."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

__all__ = ["ROOT", "MeasureError", "Worker", "serve"]

ROOT = Path(__file__).resolve().parents[1]


class MeasureError(Exception):
    """Something could not be measured, or answered what it must not."""


class Worker:
    """The handle on such a process; it says something once it is ready."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
        )
        try:
            self.hear()
        except MeasureError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Tells it something and waits for the answer."""
        self.tell(message)
        return self.hear()

    def tell(self, message: dict[str, Any]) -> None:
        """Sends one message."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `hear` says that it ended
            self._process.stdin.write(json.dumps(message) + "\n")

    def hear(self) -> dict[str, Any]:
        """Waits for one answer.

        Raises:
            MeasureError: the process ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise MeasureError(f"{' '.join(self._command)} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends it: by the end of its input, or by force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def serve(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The other side: answers every message until the input ends."""
    say({"ready": True})
    for line in sys.stdin:
        say(handle(json.loads(line)))


def say(message: dict[str, Any]) -> None:
    """Sends one message to the process that started this one."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
