"""What must hold of the answers to a case of the classic suite, and what both suites have in common.

No check passes on absence, and none calls a method of a submission's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from service.grading.answers import (
    Answer,
    BrokenError,
    buffer_length,
    finite,
    grown,
    result_of,
    rows_of,
    state_of,
    timestamp,
)
from service.grading.cases import Call, Case, valid_range
from service.task.contract import BUFFER_LIMIT

__all__ = [
    "CLASSIC_CHECKS",
    "Given",
    "RowCheck",
    "check_buffers",
    "check_order",
    "check_seen",
    "check_spread",
    "check_telemetry",
]

_SPIKE = 900
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Given:
    """What is known of the state that a call is given.

    Attributes:
        seen: its ``seen``.
        held: rows in its buffer.
        is_dict: whether it is a dict, not None.
    """

    seen: int
    held: int
    is_dict: bool

    @classmethod
    def by(cls, state: Any) -> "Given":
        """A state of ours, or one that has been judged."""
        if type(state) is not dict:
            return cls(0, 0, is_dict=False)
        seen = state.get("seen")
        return cls(seen if type(seen) is int else 0, buffer_length(state) or 0, is_dict=True)


RowCheck = Callable[[Case, Call, Given, Answer], None]


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
    result = result_of(answer)
    mean, std = finite(result, "mean"), finite(result, "std")
    if not low - slack <= mean <= high + slack:
        raise BrokenError(f"mean {mean:g} lies outside the range {low:g} to {high:g} of the valid readings")
    if not 0 <= std <= high - low + slack:
        raise BrokenError(f"std {std:g} lies outside 0 to {high - low:g}, the range of the valid readings")


def _check_tier1(case: Case, call: Call, given: Given, answer: Answer) -> None:
    del call, given
    rows = rows_of(answer)
    readings = [reading for reading, _ in rows]
    if len(rows) < len(case.expected):
        raise BrokenError(f"clean has {len(rows)} rows, {len(case.expected)} valid readings were given")
    lost = [value for value in case.expected if value not in readings]
    if lost:
        raise BrokenError(f"the valid reading {lost[0]!r} is not in clean")
    check_order(rows)


def check_order(rows: list[tuple[float, dict[Any, Any]]]) -> None:
    """Judges the order of the rows of `clean`."""
    stamps = [timestamp(row, index) for index, (_, row) in enumerate(rows)]
    if any(later < earlier for earlier, later in pairwise(stamps)):
        raise BrokenError("clean is not in ts order")


def _check_flat(case: Case, call: Call, given: Given, answer: Answer) -> None:
    del case, given
    events = call.events
    constant = events[0]["reading"]
    kept = sum(reading == constant for reading, _ in rows_of(answer))
    if kept < len(events) - 1:
        raise BrokenError(f"kept {kept} of {len(events)} rows of a constant segment, {len(events) - 1} are needed")
    if finite(result_of(answer), "std") < 0:
        raise BrokenError("std is negative")


def _check_heavy_tail(case: Case, call: Call, given: Given, answer: Answer) -> None:
    del case, call, given
    rows = rows_of(answer)
    if len(rows) < 4:
        raise BrokenError(f"kept {len(rows)} rows, at least 4 are needed: most of the core must remain")
    highest = max(reading for reading, _ in rows)
    if highest >= _SPIKE:
        raise BrokenError(f"a spike of {highest:g} remains in clean")
    if not any(row.get("tag") == "minority" for _, row in rows):
        raise BrokenError("the minority rows were dropped, though they lie near the core")


def _check_tier3(case: Case, call: Call, given: Given, answer: Answer) -> None:
    del case, call
    check_telemetry(answer)
    check_buffers(given, answer)


def check_telemetry(answer: Answer) -> None:
    """Judges that there is telemetry: a dict or exactly True."""
    telemetry = result_of(answer).get("telemetry")
    if telemetry is not True and type(telemetry) is not dict:
        raise BrokenError("telemetry is missing" if telemetry is None else "telemetry is neither a dict nor True")


def check_buffers(given: Given, answer: Answer) -> None:
    """Judges the buffer that was returned and the one that was passed in."""
    held = buffer_length(state_of(result_of(answer)))
    if held is None:
        raise BrokenError("state has no buffer that is a list or deque")
    if held > BUFFER_LIMIT:
        raise BrokenError(f"the returned buffer holds {held} rows, at most {BUFFER_LIMIT} are allowed")
    if not given.is_dict:
        return
    if type(answer.given_state) is not dict:
        raise BrokenError("the state that was passed in is no dict any more")
    left = buffer_length(answer.given_state) or 0
    if left > max(BUFFER_LIMIT, given.held):
        raise BrokenError(f"the buffer that was passed in has grown to {left} rows")


def _check_validity(case: Case, call: Call, given: Given, answer: Answer) -> None:
    del case
    rows = rows_of(answer)
    if not rows:
        raise BrokenError("clean is empty")
    check_spread(valid_range(call.events), answer)
    check_seen(call, given, answer)


def check_seen(call: Call, given: Given, answer: Answer) -> None:
    """Judges that the state has its keys, and that ``seen`` counts this batch."""
    state = state_of(result_of(answer))
    missing = [key for key in ("seen", "limit", "buffer") if key not in state]
    if missing:
        raise BrokenError(f"state lost its {missing[0]}")
    kept, came, by = len(rows_of(answer)), len(call.events), grown(state["seen"], given.seen)
    if not kept <= by <= came:
        raise BrokenError(f"seen grew by {by}, expected {kept} (rows kept) to {came} (events given)")


CLASSIC_CHECKS: Mapping[str, RowCheck] = {
    "tier1": _check_tier1,
    "tier2_flat": _check_flat,
    "tier2_heavy_tail": _check_heavy_tail,
    "tier3": _check_tier3,
    "validity": _check_validity,
}
