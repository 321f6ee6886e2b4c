"""When a closed loop begins and ends, and which of its jobs count; loaded by every process that measures itself."""

import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Window"]


@dataclass
class Window:
    """Jobs that end between the ramp and the deadline are done; those that begin there have a latency; all may err.

    A latency counts by the job's beginning: of those that end before a deadline, the slow ones would be missing.

    Attributes:
        at: start, seconds of the monotonic clock, which all processes share.
        ramp_s: from the start until jobs count, so that neither a cold start nor a stock made before is measured.
        seconds: from there to the deadline.
        limit: most jobs to begin; 0 for any number.
        errors: wrong answers.
        fault: the first of them.
    """

    at: float
    ramp_s: float
    seconds: float
    limit: int = 0
    errors: int = 0
    fault: str = ""
    _begun: int = 0
    _done: int = 0
    _latencies: list[float] = field(default_factory=list)

    def wait(self) -> None:
        """Sleeps until the start."""
        time.sleep(max(0.0, self.at - time.perf_counter()))

    def begin(self) -> bool:
        """Whether one more job is to begin."""
        if self.limit and self._begun >= self.limit:
            return False
        self._begun += 1
        return time.perf_counter() < self._opens + self.seconds

    def note(self, started: float, ended: float, *, right: bool) -> None:
        """Takes down one job that was answered rightly, or was not: then it is an error."""
        if not right:
            self.errors += 1
            return
        if 0 <= ended - self._opens <= self.seconds:
            self._done += 1
        if started >= self._opens:
            self._latencies.append(ended - started)

    def answer(self) -> dict[str, Any]:
        """What is reported: jobs done, latencies in microseconds, errors and the first of them."""
        latencies_us = [round(latency * 1e6) for latency in self._latencies]
        return {"done": self._done, "latencies_us": latencies_us, "errors": self.errors, "fault": self.fault}

    @property
    def _opens(self) -> float:
        return self.at + self.ramp_s
