"""A run as cells: for the terminal, and for the documentation."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bars import judge
from benchmarks.figures import ratio
from benchmarks.results import BARE_FORK, EMPTY_POST, EXECUTE, Latency, Memory, Results, Throughput

__all__ = ["Table", "markdown", "tables"]

_RATIO_CLIENTS = 16


@dataclass(frozen=True, slots=True)
class Table:
    """Its title, its head and its rows; the first column is text, the others are figures where `figures` says so."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    figures: bool = True


def tables(results: Results) -> list[Table]:
    """Everything that a run tells."""
    return [_latency(results), _throughput(results), _memory(results.memory), _bars(results)]


def _latency(results: Results) -> Table:
    head = ("one client", "p50", "p99", "empty POST ×", "bare fork ×", "/execute ×", "samples")
    return Table("Latency, ms", head, [_latency_row(row, results) for row in results.latency])


def _latency_row(row: Latency, results: Results) -> tuple[str, ...]:
    if row.skipped is not None:
        return (f"{row.row} (skipped: {row.skipped})", *[""] * 6)
    bases = (results.p50(base) for base in (EMPTY_POST, BARE_FORK, EXECUTE))
    return (
        row.row,
        _number(row.p50_ms),
        _number(row.p99_ms),
        *(_number(ratio(row.p50_ms, base)) for base in bases),
        str(row.samples),
    )


def _throughput(results: Results) -> Table:
    levels = results.levels()
    head = ("clients", *map(str, levels), f"of bare fork, {_RATIO_CLIENTS}")
    rows = [(row, *_throughput_cells(row, results)) for row in results.rows()]
    return Table("Throughput, jobs per second (p50 / p99 in ms)", head, rows)


def _throughput_cells(row: str, results: Results) -> list[str]:
    cells = [_throughput_cell(results.at(row, level)) for level in results.levels()]
    share = ratio(results.per_s(row, _RATIO_CLIENTS), results.per_s(BARE_FORK, _RATIO_CLIENTS))
    return [*cells, "" if share is None else f"{share:.0%}"]


def _throughput_cell(found: Throughput | None) -> str:
    if found is None:
        return ""
    wrong = f", {found.errors} wrong" if found.errors else ""
    return f"{found.per_s:,.0f} ({_number(found.p50_ms)} / {_number(found.p99_ms)}{wrong})"


def _memory(memory: Memory) -> Table:
    each = _mib(memory.waiting_kib) or memory.note or ""
    rows = [
        (f"a waiting process ({memory.waiting} of them)" if memory.waiting else "a waiting process", each),
        ("the zygote", _mib(memory.zygote_kib)),
        ("the service", _mib(memory.service_kib)),
    ]
    return Table("Memory, PSS at rest", ("", "MiB"), rows)


def _mib(kib: float | None) -> str:
    return "" if kib is None else f"{kib / 1024:.2f}"


def _bars(results: Results) -> Table:
    rows = [(verdict.bar, verdict.measured, verdict.text) for verdict in judge(results)]
    return Table("Bars", ("bar", "measured", ""), rows, figures=False)


def _number(value: float | None) -> str:
    """Three figures, and no exponent."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def markdown(table: Table) -> str:
    """A table as Markdown."""
    ruler = ["---", *["---:" if table.figures else "---"] * (len(table.head) - 1)]
    return "\n".join(_line(cells) for cells in (table.head, ruler, *table.rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
