from collections.abc import Callable

import pytest

from benchmarks.results import (
    ASK,
    BARE_FORK,
    BUBBLEWRAP,
    DOCKER,
    EMPTY_POST,
    EXECUTE,
    GRADE,
    Latency,
    Machine,
    Memory,
    Results,
    Throughput,
)

GOOD_MS = {EMPTY_POST: 0.3, EXECUTE: 1.2, GRADE: 6.0, ASK: 0.3, BUBBLEWRAP: 30.0, DOCKER: 320.0}
GOOD_RATES = {BARE_FORK: 1000.0, EXECUTE: 750.0, GRADE: 150.0}


@pytest.fixture
def made() -> Callable[..., Results]:
    """Makes the results of a run that meets every bar, but for what is given."""

    def make(
        *, ms: dict[str, float] | None = None, rates: dict[str, float] | None = None, p99_ms: float = 25.0,
        waiting_kib: float | None = 1000.0, errors: int = 0, skipped: dict[str, str] | None = None,
    ) -> Results:  # fmt: skip
        skipped = skipped or {}
        measured = {row: p50 for row, p50 in (GOOD_MS | (ms or {})).items() if row not in skipped}
        latency = [Latency(row=row, samples=100, p50_ms=p50, p99_ms=2 * p50) for row, p50 in measured.items()]
        latency += [Latency(row=row, skipped=reason) for row, reason in skipped.items()]
        throughput = [
            Throughput(row=row, clients=16, variant="", per_s=rate, p50_ms=10.0, p99_ms=p99_ms, errors=errors)
            for row, rate in (GOOD_RATES | (rates or {})).items()
        ]
        return Results(
            date="2026-01-01",
            command="python -m benchmarks",
            machine=Machine(cpu="a cpu", cores=2, kernel="6.18", python="3.13.1", load=0.0),
            latency=latency,
            throughput=throughput,
            memory=Memory(waiting=8, waiting_kib=waiting_kib, zygote_kib=9000, service_kib=40000, note="none"),
        )

    return make
