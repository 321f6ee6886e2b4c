"""What the service promises of its speed, and whether a run kept it."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import ratio
from benchmarks.results import ASK, BARE_FORK, BUBBLEWRAP, DOCKER, EMPTY_POST, EXECUTE, GRADE, Results

__all__ = ["Verdict", "judge"]

_CLIENTS = 16
_GRADED_CASES = 5  # processes of one grade


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bar.

    Attributes:
        bar: what was promised.
        measured: the figure with its unit, or why there is none.
        met: None where it was not measured.
    """

    bar: str
    measured: str
    met: bool | None

    @property
    def text(self) -> str:
        """The verdict in a word or two."""
        return {True: "met", False: "NOT met", None: "not measured"}[self.met]


def judge(results: Results) -> list[Verdict]:
    """Holds a run against every bar."""
    above, asked, graded = _above_empty(results), results.p50(ASK), results.p50(GRADE)
    return [
        _verdict("POST /execute: at most 1 ms above the empty POST, p50", above, "ms", lambda ms: ms <= 1),
        _verdict("job to answer below HTTP: under 0.4 ms, p50", asked, "ms", lambda ms: ms < 0.4),
        _verdict("POST /grade, honest, classic: under 8 ms, p50", graded, "ms", lambda ms: ms < 8),
        *_at_sixteen(results),
        _memory(results),
        _faster(results, BUBBLEWRAP, 20),
        _faster(results, DOCKER, 200),
        _errors(results),
    ]


def _verdict(bar: str, value: float | None, unit: str, holds: Callable[[float], bool], why: str = "") -> Verdict:
    if value is None:
        return Verdict(bar, why or "not measured", None)
    return Verdict(bar, f"{value:.3g} {unit}".rstrip(), holds(value))


def _above_empty(results: Results) -> float | None:
    ours, empty = results.p50(EXECUTE), results.p50(EMPTY_POST)
    return None if ours is None or empty is None else ours - empty


def _at_sixteen(results: Results) -> list[Verdict]:
    fork = results.per_s(BARE_FORK, _CLIENTS)
    execute = results.at(EXECUTE, _CLIENTS)
    spread = ratio(execute.p99_ms, execute.p50_ms) if execute else None
    fifth = fork and fork / _GRADED_CASES
    return [
        _share("POST /execute, 16 clients: at least 70 % of bare fork", results.per_s(EXECUTE, _CLIENTS), fork),
        _verdict("POST /execute, 16 clients: p99 under 3 times p50", spread, "times", lambda times: times < 3),
        _share("POST /grade, 16 clients: at least 70 % of a fifth of bare fork", results.per_s(GRADE, _CLIENTS), fifth),
    ]


def _share(bar: str, rate: float | None, base: float | None) -> Verdict:
    share = ratio(rate, base)
    return _verdict(bar, None if share is None else share * 100, "%", lambda percent: percent >= 70)


def _memory(results: Results) -> Verdict:
    share = ratio(results.memory.waiting_kib, 1024)
    return _verdict(
        "memory of a waiting process: under 2 MiB, PSS", share, "MiB", lambda mib: mib < 2, results.memory.note or ""
    )


def _faster(results: Results, other: str, times: int) -> Verdict:
    """Our whole way, HTTP included, against the other's without it."""
    factor = ratio(results.p50(other), results.p50(EXECUTE))
    reason = next((row.skipped for row in results.latency if row.row == other and row.skipped), "")
    bar = f"POST /execute: at least {times} times faster than {other}, p50"
    return _verdict(bar, factor, "times", lambda found: found >= times, reason)


def _errors(results: Results) -> Verdict:
    wrong = sum(item.errors for item in results.throughput)
    return Verdict("every answer under load is right", f"{wrong} wrong", wrong == 0)
