"""What must hold of the answers to the drawn cases, where the role of every event is known."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

from service.grading.answers import (
    Answer,
    BrokenError,
    finite,
    number_of,
    result_of,
    rows_of,
    shown,
    state_of,
    timestamp,
)
from service.grading.cases import Call, Case, Event, Role, valid_range, valid_reading
from service.grading.checks import (
    Given,
    RowCheck,
    check_buffers,
    check_order,
    check_seen,
    check_spread,
    check_telemetry,
)
from service.grading.hardened import RECENT_CALLS
from service.task.contract import STATE_LIMIT

__all__ = ["HARDENED_CHECKS", "TelemetryEvidence"]

_CORE_KEPT = 0.9
_TEXT_CHARS = 16  # a text counts as one value for each so many characters
_SLACK = 1e-9
_MOST_NUMBERS = 1000


def _check_tier1(case: Case, call: Call, given: Given, answer: Answer) -> None:
    del case, given
    kept, roles = _kept(call, answer), Counter(call.roles)
    check_order(rows_of(answer))
    if kept["core"] < roles["core"]:
        raise BrokenError(f"{kept['core']} of {roles['core']} valid readings are in clean, all lie in one band")


def _check_flat(case: Case, call: Call, given: Given, answer: Answer) -> None:
    del case, given
    kept, count = _kept(call, answer)["core"], call.roles.count("core")
    if kept < count - 1:
        raise BrokenError(f"kept {kept} of {count} rows of a constant segment, {count - 1} are needed")
    if finite(result_of(answer), "std") < 0:
        raise BrokenError("std is negative")


def _check_heavy_tail(case: Case, call: Call, given: Given, answer: Answer) -> None:
    del case, given
    kept, roles = _kept(call, answer), Counter(call.roles)
    if kept["minority"] < roles["minority"]:
        lost = roles["minority"] - kept["minority"]
        raise BrokenError(f"{lost} of {roles['minority']} minority rows were dropped, though they lie near the core")
    if kept["core"] < _CORE_KEPT * roles["core"]:
        raise BrokenError(f"kept {kept['core']} of {roles['core']} core rows, 90 % are needed")


def _check_tier3(case: Case, call: Call, given: Given, answer: Answer) -> None:
    check_telemetry(answer)
    if result_of(answer)["telemetry"] == {}:
        raise BrokenError("telemetry is empty")
    check_buffers(given, answer)
    if call.whole_state:
        state = state_of(result_of(answer))
        _check_plain(state)
        if call is case.calls[-1]:
            _check_recent(state["buffer"], [event for each in case.calls[-RECENT_CALLS:] for event in each.events])


def _check_validity(case: Case, call: Call, given: Given, answer: Answer) -> None:
    del case
    _kept(call, answer)
    if not rows_of(answer):
        raise BrokenError("clean is empty")
    check_spread(valid_range(call.events), answer)
    check_seen(call, given, answer)


HARDENED_CHECKS: Mapping[str, RowCheck] = {
    "tier1": _check_tier1,
    "tier2_flat": _check_flat,
    "tier2_heavy_tail": _check_heavy_tail,
    "tier3": _check_tier3,
    "validity": _check_validity,
}


class TelemetryEvidence:
    """Whether the telemetry of a flood is about the calls: its numbers are not the same after different batches."""

    def __init__(self) -> None:
        self._broken: str | None = "the flood case gave no telemetry"
        self._first: dict[tuple[Any, ...], float] = {}
        self._batches: list[list[Event]] = []
        self._varies = False

    @property
    def broken(self) -> str | None:
        """Why it is no evidence, None when it is."""
        if self._broken is None and len(self._batches) > 1 and not self._varies:
            return "the numbers of telemetry are the same after every batch of the flood"
        return self._broken

    def hear(self, call: Call, answer: Answer) -> None:
        """Takes one more answer into account."""
        telemetry = answer.returned.get("telemetry") if type(answer.returned) is dict else None
        if type(telemetry) is not dict or not telemetry:
            self._broken = "telemetry of the flood case is no dict, or is empty"
            return
        numbers = dict(_numbers(telemetry))
        if not self._batches:
            self._broken, self._first = None, numbers
        self._varies = self._varies or any(self._first.get(path, value) != value for path, value in numbers.items())
        if not any(call.events is batch for batch in self._batches):
            self._batches.append(call.events)


def _numbers(telemetry: dict[Any, Any]) -> Iterator[tuple[tuple[Any, ...], float]]:
    pending: list[tuple[tuple[Any, ...], Any]] = [((), telemetry)]
    left = _MOST_NUMBERS
    while pending and left > 0:
        path, value = pending.pop()
        if type(value) is dict:
            pending += [((*path, key), item) for key, item in value.items()][:left]
        elif (number := number_of(value)) is not None:
            yield path, number
        left -= 1


def _kept(call: Call, answer: Answer) -> Counter[Role]:
    """Finds the event behind every row of `clean`, and counts by role those whose reading was kept.

    Raises:
        BrokenError: a row is of no event, is there too often, has a reading that is not the event's though it was
            valid, or is a spike.
    """
    events, low, high = _Events(call), *_bulk(call)
    kept: Counter[Role] = Counter()
    for index, (reading, row) in enumerate(rows_of(answer)):
        stamp, tag = timestamp(row, index), row.get("tag")
        role = events.take(stamp, tag, reading)
        if role is None:
            raise BrokenError(
                f"row {index} of clean (ts {stamp:g}, tag {shown(tag)}) is no event that was given, or one too many"
            )
        if role == "valid":
            raise BrokenError(
                f"row {index} of clean (ts {stamp:g}) has the reading {reading:g}, which is not the event's"
            )
        if role == "spike":
            raise BrokenError(f"a spike of {reading:g} remains in clean")
        if role == "altered" and not low <= reading <= high:
            raise BrokenError(f"the imputed or clipped reading {reading:g} lies outside the bulk of the batch")
        kept[role] += 1
    return kept


class _Events:
    """The events of a call that no row of `clean` has been found for yet."""

    def __init__(self, call: Call) -> None:
        self._rows: Counter[tuple[float, str]] = Counter()
        self._alterable: Counter[tuple[float, str]] = Counter()
        self._exact: dict[tuple[float, str, float], list[Role]] = {}
        for event, role in zip(call.events, call.roles, strict=True):
            place = (float(event["ts"]), event["tag"])
            self._rows[place] += 1
            if role in ("corrupt", "spike"):
                self._alterable[place] += 1
            if (reading := valid_reading(event.get("reading"))) is not None:
                self._exact.setdefault((*place, reading), []).append(role)

    def take(self, stamp: float, tag: Any, reading: float) -> Role | None:
        """The role of the event behind a row; "altered", "valid" where it must not be, None where there is none."""
        if type(tag) is not str or not self._rows[stamp, tag]:
            return None
        self._rows[stamp, tag] -= 1
        if roles := self._exact.get((stamp, tag, reading)):
            return roles.pop()
        if self._alterable[stamp, tag] > 0:
            self._alterable[stamp, tag] -= 1
            return "altered"
        return "valid"


def _bulk(call: Call) -> tuple[float, float]:
    """Where an imputed or clipped reading may lie: the range of what is no spike, and as much again on either side."""
    bulk = [
        reading
        for event, role in zip(call.events, call.roles, strict=True)
        if role in ("core", "minority") and (reading := valid_reading(event["reading"])) is not None
    ]
    if not bulk:
        return float("-inf"), float("inf")
    low, high = min(bulk), max(bulk)
    slack = high - low + _SLACK * max(1.0, abs(low), abs(high))
    return low - slack, high + slack


def _check_plain(state: dict[Any, Any]) -> None:
    """Judges that a state can be reloaded elsewhere, and that nothing piles up in it."""
    values = 0
    pending: list[tuple[Any, Any]] = list(state.items())
    while pending:
        name, value = pending.pop()
        if type(value) is dict:
            pending += [(name, item) for item in value.values()]
        elif type(value) in (list, tuple, deque):
            pending += [(name, item) for item in value]
        elif value is None or type(value) in (bool, int, float, str):
            values += 1 + (len(value) // _TEXT_CHARS if type(value) is str else 0)
        else:
            raise BrokenError(
                f"state[{shown(name)}] holds {shown(value)}: only plain data can be reloaded after a restart"
            )
    if values > STATE_LIMIT:
        raise BrokenError(f"the state holds {values} values, at most {STATE_LIMIT} are allowed")


def _check_recent(buffer: Any, events: list[Event]) -> None:
    """Judges that most of what a buffer holds came lately."""
    readings = {valid_reading(event.get("reading")) for event in events} - {None}
    held = [number_of(item.get("reading") if type(item) is dict else item) for item in buffer]
    recent = sum(number in readings for number in held if number is not None)
    if recent == 0 or 2 * recent < len(held):
        raise BrokenError(f"after the flood, {recent} of {len(held)} rows in the buffer are from its last batches")
