"""Which rows of the rubric were lost, by which episodes, and which of them together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.records import EpisodeRecord

__all__ = ["Pattern", "Row", "Segment", "Strip", "marks", "patterns", "rows_of", "strips"]

_SINGLE_CELLS = 60
"""Up to so many episodes, each has a cell of its own on a strip; beyond, neighbours that are alike share one."""

_MOST_PATTERNS = 12
_EXAMPLES = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the rubric."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring episodes on a strip that all held a row, or all lost it; lengths in percent of the strip."""

    x: float
    width: float
    lost: bool
    words: str


@dataclass(frozen=True, slots=True)
class Strip:
    """What became of a row, episode by episode, the best ones first."""

    row: Row
    lost: int
    graded: int
    segments: Sequence[Segment]

    @property
    def are_cells(self) -> bool:
        """Whether each segment is one episode."""
        return self.graded <= _SINGLE_CELLS


@dataclass(frozen=True, slots=True)
class Pattern:
    """Episodes with one score that lost the same rows; `marks` has a truth value for each row, True where it held."""

    marks: Sequence[bool | None]
    score: float
    episodes: Sequence[int]

    @property
    def examples(self) -> Sequence[int]:
        """The first of them."""
        return self.episodes[:_EXAMPLES]


def rows_of(records: Sequence[EpisodeRecord]) -> list[Row]:
    """The rows that were graded, in the order in which the service names them."""
    titles: dict[str, str] = {}
    for record in records:
        for check in record.checks:
            titles.setdefault(check.id, check.title)
    return [Row(*item) for item in titles.items()]


def marks(record: EpisodeRecord, rows: Sequence[Row]) -> tuple[bool | None, ...]:
    """Whether an episode held each row; None for a row that it has no verdict on."""
    passed = {check.id: check.passed for check in record.checks}
    return tuple(passed.get(row.id) for row in rows)


def strips(records: Sequence[EpisodeRecord], rows: Sequence[Row]) -> list[Strip]:
    """A strip for each row over the graded episodes; all of them in one order, equal episodes side by side."""
    graded = [record for record in records if record.grade is not None]
    ordered = sorted(graded, key=lambda record: (-(record.score or 0.0), _lost(record, rows), record.episode))
    return [_strip(ordered, row) for row in rows]


def _lost(record: EpisodeRecord, rows: Sequence[Row]) -> list[bool]:
    return [mark is False for mark in marks(record, rows)]


def _strip(ordered: Sequence[EpisodeRecord], row: Row) -> Strip:
    lost = [_lost(record, [row])[0] for record in ordered]
    if len(ordered) <= _SINGLE_CELLS:
        runs = [[index] for index in range(len(ordered))]
    else:
        runs = [list(run) for _, run in groupby(range(len(ordered)), key=lost.__getitem__)]
    return Strip(row, sum(lost), len(ordered), [_segment(ordered, run, lost[run[0]]) for run in runs])


def _segment(ordered: Sequence[EpisodeRecord], run: Sequence[int], lost: bool) -> Segment:
    share = 100 / len(ordered)
    first = ordered[run[0]].episode
    who = f"Episode {first}" if len(run) == 1 else f"{len(run)} episodes"
    return Segment(share * run[0], share * len(run), lost, f"{who}: {'lost' if lost else 'held'}")


def patterns(records: Sequence[EpisodeRecord], rows: Sequence[Row]) -> tuple[list[Pattern], int]:
    """Graded episodes by what they lost, the most frequent first.

    Returns:
        The patterns to show, and the number of episodes with rarer ones.
    """
    groups: defaultdict[tuple[tuple[bool | None, ...], float], list[int]] = defaultdict(list)
    for record in records:
        if record.grade is not None:
            groups[marks(record, rows), record.score or 0.0].append(record.episode)
    found = [Pattern(held, score, episodes) for (held, score), episodes in groups.items()]
    found.sort(key=lambda pattern: (-len(pattern.episodes), -pattern.score, pattern.episodes))
    return found[:_MOST_PATTERNS], sum(len(pattern.episodes) for pattern in found[_MOST_PATTERNS:])
