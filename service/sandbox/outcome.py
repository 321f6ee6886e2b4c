"""What came of code in the sandbox, as values."""

import os
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Execution", "Exit", "Outcome", "Printed", "Status", "printable"]


class Status(StrEnum):
    """How submitted code ended; all but ``ok`` are its own doing, and data rather than errors."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    KILLED = "killed"
    SYNTAX_ERROR = "syntax_error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one message, or why there is none.

    Attributes:
        status: how it ended.
        error: for the author of the code; empty when ``ok``.
        answer: members of the child's answer, exact builtin types and `Opaque` only; None when there was none.
        line: of the source, where the failure has one.
    """

    status: Status
    error: str = ""
    answer: dict[str, Any] | None = None
    line: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the code answered."""
        return self.status is Status.OK

    @property
    def compiled(self) -> str | None:
        """What a compiled source can be loaded from, None where it is too large to be sent."""
        compiled = (self.answer or {}).get("compiled")
        return compiled if isinstance(compiled, str) else None

    @property
    def found(self) -> list[str]:
        """After compiling: the words that its names hold."""
        found = (self.answer or {}).get("found")
        return [word for word in found if isinstance(word, str)] if isinstance(found, list) else []

    @property
    def defined(self) -> bool:
        """Whether a loaded submission defines the entry point."""
        return (self.answer or {}).get("defined") is True

    @property
    def returned(self) -> Any:
        """What the graded call returned."""
        return (self.answer or {}).get("returned")

    @property
    def given_state(self) -> Any:
        """The state that was passed in, as the graded call left it behind."""
        answer = self.answer or {}
        if answer.get("handed_back") is True and isinstance(answer.get("returned"), dict):
            return answer["returned"].get("state")
        return answer.get("given_state")

    @property
    def summary(self) -> str:
        """The failure in one line: the exception and its message, and where."""
        lines = self.error.split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no reason given")[:300]
        text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in last)
        where = f" (line {self.line})" if self.line and f"line {self.line}" not in text else ""
        named = self.status in (Status.ERROR, Status.SYNTAX_ERROR)
        return f"{text}{where}" if named else f"{self.status}: {text}{where}"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended, as the kernel told its parent.

    Attributes:
        status: as `os.wait` gives it.
        cpu_ms: user and system time of all its threads, from the delivery of its first message on.
        max_rss_kb: most resident memory it had.
    """

    status: int
    cpu_ms: float
    max_rss_kb: int

    @property
    def signal(self) -> int:
        """Number of the signal that ended it, 0 for none."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0

    @property
    def signal_name(self) -> str:
        """Name of that signal, as far as it has one."""
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"


@dataclass(frozen=True, slots=True)
class Printed:
    """What a process wrote.

    Attributes:
        stdout, stderr: text, cut at the limit.
        truncated: whether any was cut.
    """

    stdout: str = ""
    stderr: str = ""
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of one `python_expression`.

    Attributes:
        status: how it ended.
        stdout: what it printed, cut at the limit.
        stderr: the same of the error stream.
        result: repr of a last bare expression's value, or None.
        error: a short traceback, or why it was ended; None when ``ok``.
        truncated: whether any of the texts was cut.
        duration_ms: wall clock from delivery to the answer.
        cpu_ms: processor time of all its threads.
        max_rss_kb: most resident memory.
    """

    status: Status
    stdout: str
    stderr: str
    result: str | None
    error: str | None
    truncated: bool
    duration_ms: float
    cpu_ms: float
    max_rss_kb: int


def printable(text: str) -> str:
    """Escapes what no UTF-8 text can hold: lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
