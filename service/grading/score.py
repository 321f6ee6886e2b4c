"""What the rows are worth, and how a grade reads."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.task.contract import RUBRIC, RubricRow

__all__ = ["GRADER_VERSION", "Grade", "Row", "row_of", "rows_of", "score_rows"]

GRADER_VERSION = "1.1.0"
_ALL_HOLD = "✓ All tiers stable"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a grade.

    Attributes:
        id, title: of the rubric's row.
        passed: whether it holds.
        points, max_points: of 100.
        detail: why, in one line.
    """

    id: str
    title: str
    passed: bool
    points: int
    max_points: int
    detail: str


@dataclass(frozen=True, slots=True)
class Grade:
    """The result of grading one submission.

    Attributes:
        passed: all five checks hold.
        score: share of the five checks that hold, 0.0 to 1.0 in steps of 0.2.
        points: sum over the rows, 0 to 100: half a check counts here.
        feedback: ``✓ All tiers stable``, or ``✗ `` and a message for each failed check.
        rows: the six rows, in the rubric's order.
    """

    passed: bool
    score: float
    points: int
    feedback: str
    rows: tuple[Row, ...]


def row_of(row: str, broken: str | None) -> Row:
    """Makes the row of an id from why it is lost, if it is."""
    return _row(next(rubric for rubric in RUBRIC if rubric.id == row), broken)


def rows_of(broken: Mapping[str, str]) -> tuple[Row, ...]:
    """Makes the six rows from why some of them are lost (row id to reason)."""
    return tuple(_row(row, broken.get(row.id)) for row in RUBRIC)


def score_rows(rows: tuple[Row, ...], *, feedback: str | None = None) -> Grade:
    """Adds the rows up.

    Args:
        rows: all six, in the rubric's order.
        feedback: instead of the failed checks' messages, for a submission that never ran.
    """
    lost = {rubric.check: rubric.message for rubric, row in zip(RUBRIC, rows, strict=True) if not row.passed}
    checks = {rubric.check for rubric in RUBRIC}
    return Grade(
        passed=not lost,
        score=(len(checks) - len(lost)) / len(checks),
        points=sum(row.points for row in rows),
        feedback=feedback or (f"✗ {'; '.join(lost.values())}" if lost else _ALL_HOLD),
        rows=rows,
    )


def _row(rubric: RubricRow, reason: str | None) -> Row:
    passed = reason is None
    return Row(
        rubric.id, rubric.title, passed, rubric.max_points if passed else 0, rubric.max_points, reason or "holds"
    )
