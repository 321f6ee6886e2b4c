"""What one run came to, as it is written to ``results.json``."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

__all__ = [
    "ASK", "BARE_FORK", "BUBBLEWRAP", "DOCKER", "EMPTY_POST", "EXECUTE", "GRADE", "IDLE_FORK", "SANDBOX",
    "Latency", "Machine", "Memory", "Results", "Throughput", "read",
]  # fmt: skip

EMPTY_POST = "empty FastAPI POST"
BARE_FORK = "bare fork"
IDLE_FORK = "bare fork without a job"
ASK = "job to answer, below HTTP"
SANDBOX = "sandbox.execute(), below HTTP"
EXECUTE = "POST /execute"
GRADE = "POST /grade"
BUBBLEWRAP = "bubblewrap + python"
DOCKER = "docker run --rm"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(_Value):
    """Where it was measured.

    Attributes:
        load: jobs that ran or wanted to in the minute before; what is not near 0 disturbs.
    """

    cpu: str
    cores: int
    kernel: str
    python: str
    load: float


class Latency(_Value):
    """One row with one client; figures are None where it was skipped."""

    row: str
    samples: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    skipped: str | None = None


class Throughput(_Value):
    """One row with so many clients: medians of the repetitions.

    Attributes:
        variant: how it was driven, where there is a choice; the best is taken.
        errors: wrong answers, over all repetitions.
    """

    row: str
    clients: int
    variant: str
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


class Memory(_Value):
    """Proportional shares of memory in the service's tree, KiB.

    Attributes:
        waiting: processes that were forked ahead and wait for a job.
        waiting_kib: mean of one of them; None where there are none, or they cannot be read.
        note: why there is no figure.
    """

    waiting: int
    waiting_kib: float | None
    zygote_kib: float | None
    service_kib: float | None
    note: str | None = None


class Results(_Value):
    """One run."""

    date: str
    command: str
    machine: Machine
    latency: list[Latency]
    throughput: list[Throughput]
    memory: Memory

    def p50(self, row: str) -> float | None:
        """Latency of a row with one client, ms; None where it was not measured."""
        return next((latency.p50_ms for latency in self.latency if latency.row == row), None)

    def at(self, row: str, clients: int) -> Throughput | None:
        """Throughput of a row with so many clients; None where it was not measured."""
        return next((item for item in self.throughput if (item.row, item.clients) == (row, clients)), None)

    def per_s(self, row: str, clients: int) -> float | None:
        """The same, jobs per second alone."""
        found = self.at(row, clients)
        return found.per_s if found else None

    def levels(self) -> list[int]:
        """Numbers of clients, ascending."""
        return sorted({item.clients for item in self.throughput})

    def rows(self) -> Iterable[str]:
        """Rows whose throughput was measured, in their order."""
        return dict.fromkeys(item.row for item in self.throughput)


def read(path: Path) -> Results:
    """Reads what a run has written."""
    return Results.model_validate_json(path.read_text(encoding="utf-8"))
