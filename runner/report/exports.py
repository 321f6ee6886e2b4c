"""A run as JSON and as a table."""

from __future__ import annotations

import csv
import io
import json
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from runner.records import Usage
from runner.report.rubric import rows_of
from runner.wording import neutralised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.records import EpisodeRecord, RunSummary
    from runner.store import Run

__all__ = ["csv_text", "json_text"]

_COMMANDS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a text for a formula."""

_FIRST = ("run_id", "episode", "attempt", "scripted", "model", "suite", "seed")
_VERDICT = ("outcome", "passed", "score", "points", "limit", "feedback")
_USED = ("steps", *(f"usage.{name}" for name in Usage.model_fields), "cost_usd", "duration_s", "work_s", "wait_s")
_COLUMNS: dict[str, Callable[[EpisodeRecord], Any]] = {
    **{path.rpartition(".")[2]: attrgetter(path) for path in (*_FIRST, *_VERDICT, *_USED)},
    "retries": lambda record: sum(call.attempts - 1 for call in record.calls),
    "stop_reasons": lambda record: " ".join(record.stop_reasons),
    "started_at": lambda record: record.started_at.isoformat(),
    "ended_at": lambda record: record.ended_at.isoformat(),
    "code_sha256": lambda record: record.grade and record.grade.code_sha256,
    "error_kind": lambda record: record.error and record.error.kind,
    "error_status": lambda record: record.error and record.error.status,
    "error_message": lambda record: record.error and record.error.message,
    "request_ids": lambda record: " ".join(record.request_ids),
}


def json_text(run: Run, summary: RunSummary) -> str:
    """Configuration, summary and counted episodes without their conversations; pure ASCII."""
    found = {
        "config": run.config.model_dump(mode="json"),
        "summary": summary.model_dump(mode="json"),
        "episodes": [record.model_dump(mode="json") for record in run.counted],
    }
    return json.dumps(found, indent=2)


def csv_text(run: Run) -> str:
    """One line for each counted episode, and a column with the points of each row of the rubric.

    An empty cell is a value that is unknown or does not apply. In texts, control characters are written out, and what a
    spreadsheet would take for a formula begins with an apostrophe.
    """
    rows = [row.id for row in rows_of(run.counted)]
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_cell(name) for name in [*_COLUMNS, *(f"points_{row}" for row in rows)])
    writer.writerows(_line(record, rows) for record in run.counted)
    return table.getvalue()


def _line(record: EpisodeRecord, rows: Sequence[str]) -> list[object]:
    points = {check.id: check.points for check in record.checks}
    values = [read(record) for read in _COLUMNS.values()]
    return [_cell(value) for value in [*values, *(points.get(row) for row in rows)]]


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = neutralised(value)
    return f"'{text}" if text.startswith(_COMMANDS) else text
