"""A run as a picture: latency of every row, throughput over clients."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from benchmarks.results import BARE_FORK, EMPTY_POST, EXECUTE, GRADE, IDLE_FORK, SANDBOX, Latency, Results

__all__ = ["draw"]

_OURS, _OTHERS, _INK, _FAINT = "#0b6bcb", "#9aa5b1", "#1f2933", "#e4e7eb"
_LINES = {
    EMPTY_POST: ("#9aa5b1", "--", "o"),
    IDLE_FORK: ("#b08d57", "--", "s"),
    BARE_FORK: ("#8c5e10", "-", "s"),
    SANDBOX: ("#5aa9e6", "-", "^"),
    EXECUTE: ("#0b6bcb", "-", "o"),
    GRADE: ("#c2255c", "-", "D"),
}
_STYLE = {
    "svg.hashsalt": "performance",  # the same run gives the same file
    "svg.fonttype": "path",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _OTHERS,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def draw(results: Results, path: Path) -> None:
    """Writes an SVG, the same one for the same run."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 9.5), facecolor="white", layout="constrained")
        FigureCanvasSVG(figure)
        above, below = figure.subplots(2, 1, height_ratios=[1, 1.1])
        _draw_latency(above, [row for row in results.latency if row.p50_ms is not None])
        _draw_throughput(below, results)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _draw_latency(axes: Any, rows: list[Latency]) -> None:
    axes.set_title("One client: p50 (bar) and p99 (tick), ms", loc="left", fontweight="bold")
    axes.set_xscale("log")
    rows = sorted(rows, key=lambda row: row.p50_ms or 0, reverse=True)
    for place, row in enumerate(rows):
        _draw_row(axes, place, row)
    axes.set_yticks(range(len(rows)), [row.row for row in rows])
    lowest = min(row.p50_ms or 1 for row in rows)
    highest = max(row.p99_ms or row.p50_ms or 1 for row in rows)
    axes.set_xlim(lowest / 3, highest * 4)
    axes.xaxis.set_major_formatter("{x:g}")
    _clean(axes, "x")


def _draw_row(axes: Any, place: int, row: Latency) -> None:
    ours = row.row.startswith("POST /")
    axes.barh(place, row.p50_ms, height=0.6, color=_OURS if ours else _OTHERS)
    end = row.p50_ms
    if row.p99_ms is not None:
        axes.plot([row.p50_ms, row.p99_ms], [place, place], color=_INK, linewidth=1)
        axes.plot([row.p99_ms], [place], "|", color=_INK, markersize=11)
        end = max(row.p50_ms or 0, row.p99_ms)
    axes.annotate(
        f"{row.p50_ms:.3g}", (end, place), (6, 0), textcoords="offset points", va="center",
        fontweight="bold" if ours else "normal",
    )  # fmt: skip


def _draw_throughput(axes: Any, results: Results) -> None:
    axes.set_title("Jobs per second over clients", loc="left", fontweight="bold")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    levels = results.levels()
    for row in results.rows():
        color, line, marker = _LINES[row]
        points = [(level, rate) for level in levels if (rate := results.per_s(row, level)) is not None]
        axes.plot(*zip(*points, strict=True), line, color=color, marker=marker, markersize=5, linewidth=2, label=row)
    axes.set_xticks(levels, [str(level) for level in levels])
    axes.minorticks_off()
    axes.set_xlabel("clients")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    _clean(axes, "both")


def _clean(axes: Any, grid: str) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=_FAINT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
