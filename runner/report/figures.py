"""The geometry of the page's drawings.

Lengths are percentages of the drawing's width, or of its plot's height, so that a figure fits any screen while its text
keeps its size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.report.quantities import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.records import Interval, RunSummary

__all__ = ["Bar", "Bars", "IntervalLine", "IntervalPlot", "Tick", "histogram", "interval_plot", "score_bars"]

SCORE_STEPS = 5
"""A score is the share of so many checks."""

_MOST_BINS = 16
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on the axis; `anchor` is the end of the text that stands at `x`."""

    x: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Bar:
    """So many episodes or calls."""

    x: float
    width: float
    height: float
    count: int
    words: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A distribution; `words` says in a sentence what the drawing shows."""

    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    words: str


@dataclass(frozen=True, slots=True)
class IntervalLine:
    """A share with its confidence interval, if there is one."""

    name: str
    value: float
    label: str
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class IntervalPlot:
    """Shares on an axis from 0 to 100 %, and the band that the first one should lie in."""

    lines: Sequence[IntervalLine]
    band_x: float
    band_width: float
    ticks: Sequence[Tick]
    words: str


def interval_plot(summary: RunSummary) -> IntervalPlot | None:
    """Pass rate and mean score with their intervals; None without a valid episode."""
    if summary.pass_rate is None or summary.mean_score is None:
        return None
    band = summary.band
    lines = [
        _line("Pass rate", summary.pass_rate, summary.pass_rate_interval),
        _line("Mean score", summary.mean_score, summary.mean_score_interval),
    ]
    target = f"the target for the pass rate is {100 * band.low:g} to {100 * band.high:g} %"
    return IntervalPlot(
        lines=lines,
        band_x=100 * band.low,
        band_width=100 * (band.high - band.low),
        ticks=[Tick(x, f"{x}\xa0%", _anchor(x)) for x in range(0, 101, 20)],
        words="; ".join([*(f"{line.name} {line.label}" for line in lines), target]),
    )


def _line(name: str, value: float, interval: Interval | None) -> IntervalLine:
    if interval is None:
        return IntervalLine(name, 100 * value, percent(value), None, None)
    label = f"{percent(value)} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"
    return IntervalLine(name, 100 * value, label, 100 * interval.low, 100 * interval.high)


def score_bars(scores: Sequence[float]) -> Bars | None:
    """How many episodes have each score, those that none has included; None without a score."""
    if not scores:
        return None
    possible = {round(100 * step / SCORE_STEPS, 1): 0 for step in range(SCORE_STEPS + 1)}
    for score in scores:
        rounded = round(100 * score, 1)
        possible[rounded] = possible.get(rounded, 0) + 1
    counts = sorted(possible.items())
    bars = _bars([count for _, count in counts], [f"score {score:g} %" for score, _ in counts], "episode", gap=0.3)
    ticks = [Tick(bar.x + bar.width / 2, f"{score:g}\xa0%") for bar, (score, _) in zip(bars, counts, strict=True)]
    return Bars(bars, ticks, "; ".join(bar.words for bar in bars))


def histogram(values: Sequence[float], written: Callable[[float], str], noun: str) -> Bars | None:
    """How numbers that are not negative are spread, in bins of one round width; None without a number.

    Args:
        values: In any unit.
        written: Writes one of them.
        noun: What each of them belongs to, such as "episode".
    """
    if not values:
        return None
    width = _round_width(max(values) / _MOST_BINS)
    bins = max(1, math.floor(max(values) / width) + 1)
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, math.floor(value / width))] += 1
    ranges = [f"{written(index * width)} to {written((index + 1) * width)}" for index in range(bins)]
    bars = _bars(counts, ranges, noun, gap=0.0)
    ticks = [
        Tick(100 * index / bins, written(index * width), _anchor(100 * index / bins))
        for index in range(0, bins + 1, math.ceil(bins / _TICKS))
    ]
    return Bars(bars, ticks, "; ".join(bar.words for bar in bars if bar.count))


def _round_width(least: float) -> float:
    """The next number of 1, 2 or 5 times a power of ten."""
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


def _bars(counts: Sequence[int], names: Sequence[str], noun: str, *, gap: float) -> list[Bar]:
    slot, most = 100 / len(counts), max(1, *counts)
    return [
        Bar(
            x=slot * (index + gap / 2),
            width=slot * (1 - gap),
            height=100 * count / most,
            count=count,
            words=f"{name}: {count} {noun}{'' if count == 1 else 's'}",
        )
        for index, (count, name) in enumerate(zip(counts, names, strict=True))
    ]


def _anchor(x: float) -> str:
    """Labels at an end of the axis stay inside of the drawing."""
    return "start" if x < 1 else "end" if x > 99 else "middle"
