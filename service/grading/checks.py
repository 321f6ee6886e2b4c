"""What must hold of the answers to a case. No check passes on absence, and none calls a method of a submission's.

The answers are exact builtin types, decoded on this side of the sandbox; a subclass counts as its base, and what was
no plain data is a marker that no check accepts.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from service.grading.cases import Case, valid_range
from service.task.contract import BUFFER_LIMIT

__all__ = ["Answer", "BrokenError", "CaseJudge", "check_spread"]

_SPIKE = 900
_TOLERANCE = 1e-9


class BrokenError(Exception):
    """A check does not hold; the message tells the author of the code why, in one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call gave.

    Attributes:
        returned: the returned value.
        given_state: the state that was passed in, as the call left it.
    """

    returned: Any
    given_state: Any


class CaseJudge:
    """Judges the answers to one case as they come, and keeps none of them.

    Attributes:
        row_broken: why the case's row is lost, None while it holds.
        spread_broken: why `mean` or `std` of a call is not valid, None while they are.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._heard = 0
        self._held = len(case.state["buffer"])
        self._ranges: dict[int, tuple[float, float]] = {}
        self.row_broken: str | None = None
        self.spread_broken: str | None = None

    @property
    def next_batch(self) -> int | None:
        """Index of the batch whose answer can still change the verdict."""
        return self._heard if self.row_broken is None and self._heard < len(self._case.batches) else None

    def hear(self, answer: Answer) -> None:
        """Judges the answer to the next batch."""
        events = self._case.batches[self._heard]
        try:
            _ROW_CHECKS[self._case.row](self._case, events, answer)
            if self._case.row == "tier3":
                self._held = _check_buffers(answer, came_with=self._held)
        except BrokenError as broken:
            self.fail(str(broken))
            return
        self._heard += 1
        try:
            check_spread(self._range_of(events), answer)
        except BrokenError as broken:
            self.spread_broken = self.spread_broken or str(broken)

    def _range_of(self, events: list[Any]) -> tuple[float, float]:
        if id(events) not in self._ranges:  # the case keeps it, so nothing else can get its place
            self._ranges[id(events)] = valid_range(events)
        return self._ranges[id(events)]

    def fail(self, reason: str) -> None:
        """Gives the row up because of the next batch."""
        calls = len(self._case.batches)
        self.row_broken = f"call {self._heard + 1} of {calls}: {reason}" if calls > 1 else reason


def check_spread(valid: tuple[float, float], answer: Answer) -> None:
    """Judges `mean` and `std` of a call: the part of `validity` that all cases share.

    Args:
        valid: lowest and highest valid reading of the batch.
        answer: to that batch.

    Raises:
        BrokenError: a mean outside the range of the valid readings, or a deviation wider than it.
    """
    low, high = valid
    slack = _TOLERANCE * max(1.0, abs(low), abs(high))
    result = _result(answer)
    mean, std = _finite(result, "mean"), _finite(result, "std")
    if not low - slack <= mean <= high + slack:
        raise BrokenError(f"mean {mean:g} lies outside the range {low:g} to {high:g} of the valid readings")
    if not 0 <= std <= high - low + slack:
        raise BrokenError(f"std {std:g} lies outside 0 to {high - low:g}, the range of the valid readings")


def _check_tier1(case: Case, events: Sequence[Any], answer: Answer) -> None:
    del events
    rows = _rows(answer)
    readings = [reading for reading, _ in rows]
    if len(rows) < len(case.expected):
        raise BrokenError(f"clean has {len(rows)} rows, {len(case.expected)} valid readings were given")
    lost = [value for value in case.expected if value not in readings]
    if lost:
        raise BrokenError(f"the valid reading {lost[0]!r} is not in clean")
    stamps = [_timestamp(row, index) for index, (_, row) in enumerate(rows)]
    if any(later < earlier for earlier, later in pairwise(stamps)):
        raise BrokenError("clean is not in ts order")


def _check_flat(case: Case, events: Sequence[Any], answer: Answer) -> None:
    del case
    constant = events[0]["reading"]
    kept = sum(reading == constant for reading, _ in _rows(answer))
    if kept < len(events) - 1:
        raise BrokenError(f"kept {kept} of {len(events)} rows of a constant segment, {len(events) - 1} are needed")
    if _finite(_result(answer), "std") < 0:
        raise BrokenError("std is negative")


def _check_heavy_tail(case: Case, events: Sequence[Any], answer: Answer) -> None:
    del case, events
    rows = _rows(answer)
    if len(rows) < 4:
        raise BrokenError(f"kept {len(rows)} rows, at least 4 are needed: most of the core must remain")
    highest = max(reading for reading, _ in rows)
    if highest >= _SPIKE:
        raise BrokenError(f"a spike of {highest:g} remains in clean")
    if not any(row.get("tag") == "minority" for _, row in rows):
        raise BrokenError("the minority rows were dropped, though they lie near the core")


def _check_tier3(case: Case, events: Sequence[Any], answer: Answer) -> None:
    del case, events
    telemetry = _result(answer).get("telemetry")
    if telemetry is not True and type(telemetry) is not dict:
        raise BrokenError("telemetry is missing" if telemetry is None else "telemetry is neither a dict nor True")


def _check_buffers(answer: Answer, *, came_with: int) -> int:
    """Judges the buffer that was returned and the one that was passed in; answers how many rows are handed on."""
    held = _buffer_length(_state(_result(answer)))
    if held is None:
        raise BrokenError("state has no buffer that is a list or deque")
    if held > BUFFER_LIMIT:
        raise BrokenError(f"the returned buffer holds {held} rows, at most {BUFFER_LIMIT} are allowed")
    if type(answer.given_state) is not dict:
        raise BrokenError("the state that was passed in is no dict any more")
    left = _buffer_length(answer.given_state) or 0
    if left > max(BUFFER_LIMIT, came_with):
        raise BrokenError(f"the buffer that was passed in has grown to {left} rows")
    return held


def _check_validity(case: Case, events: Sequence[Any], answer: Answer) -> None:
    rows = _rows(answer)
    if not rows:
        raise BrokenError("clean is empty")
    check_spread(valid_range(events), answer)
    state = _state(_result(answer))
    missing = [key for key in ("seen", "limit", "buffer") if key not in state]
    if missing:
        raise BrokenError(f"state lost its {missing[0]}")
    grown = _grown(state["seen"], case.state["seen"])
    if not len(rows) <= grown <= len(events):
        raise BrokenError(f"seen grew by {grown}, expected {len(rows)} (rows kept) to {len(events)} (events given)")


_ROW_CHECKS = {
    "tier1": _check_tier1,
    "tier2_flat": _check_flat,
    "tier2_heavy_tail": _check_heavy_tail,
    "tier3": _check_tier3,
    "validity": _check_validity,
}


def _result(answer: Answer) -> dict[Any, Any]:
    if type(answer.returned) is not dict:
        raise BrokenError(f"process_batch returned {_shown(answer.returned)}, not a dict")
    return answer.returned


def _rows(answer: Answer) -> list[tuple[float, dict[Any, Any]]]:
    """The rows of `clean`, each with its reading as a number."""
    clean = _result(answer).get("clean")
    if not (type(clean) is list or type(clean) is tuple):
        raise BrokenError(f"clean is {_shown(clean)}, not a list")
    rows = []
    for index, row in enumerate(clean):
        if type(row) is not dict:
            raise BrokenError(f"row {index} of clean is {_shown(row)}, not a dict")
        reading = _number(row.get("reading"))
        if reading is None:
            raise BrokenError(f"row {index} of clean has the reading {_shown(row.get('reading'))}, not a finite number")
        rows.append((reading, row))
    return rows


def _timestamp(row: dict[Any, Any], index: int) -> float:
    stamp = _number(row.get("ts"))
    if stamp is None:
        raise BrokenError(f"row {index} of clean has the ts {_shown(row.get('ts'))}, not a finite number")
    return stamp


def _finite(result: dict[Any, Any], key: str) -> float:
    number = _number(result.get(key))
    if number is None:
        raise BrokenError(f"{key} is {_shown(result.get(key))}, not a finite number")
    return number


def _state(result: dict[Any, Any]) -> dict[Any, Any]:
    state = result.get("state")
    if type(state) is not dict:
        raise BrokenError(f"state is {_shown(state)}, not a dict")
    return state


def _buffer_length(state: Any) -> int | None:
    buffer = state.get("buffer") if type(state) is dict else None
    if type(buffer) is list or type(buffer) is deque:
        return len(buffer)
    return getattr(buffer, "length", None)  # one that was only measured


def _grown(now: Any, before: int) -> int:
    if type(now) is not int:
        raise BrokenError(f"seen is {_shown(now)}, not an int")
    return now - before


def _number(value: Any) -> float | None:
    """The finite number that a decoded value is, None when it is none; bools are none."""
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:
    """A value in a few characters; what was no plain data goes by the name its type claims to have."""
    if value is None or type(value) in (bool, int, float, str):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:40]}…"
    name = getattr(value, "type_name", type(value).__name__)
    return f"a {name[:60]}" if name.isidentifier() else "no plain data"
