"""What must hold of any bytes that a child can send: checked by the fuzzer, by its corpus and by the property tests."""

import json
import math
import time
from collections import deque
from typing import Any

from service.grading.answers import Answer
from service.grading.cases import Case, classic_cases
from service.grading.hardened import hardened_cases
from service.grading.judge import CaseJudge
from service.sandbox import reading
from service.sandbox.inside import wire
from service.sandbox.outcome import Outcome, Status, printable
from service.sandbox.process import _judged

__all__ = ["check", "same"]

_MAX_CPU_S = 1.0  # of all readings of one payload, up to an answer's limit of bytes, instrumented or not
_MAX_DEPTH = 201  # of a text; hence less one of a value
_REFUSED = object()
_CASES = (*classic_cases(), *hardened_cases("fuzz", 1))


def check(payload: bytes) -> Any:
    """Reads bytes as the trusted side does, with every consumer; gives the value, or `reading.WireError` for none.

    Raises:
        AssertionError: something does not hold; any other exception is a finding too.
    """
    started = time.thread_time()
    value, outcome = _decoded(payload), _outcome(payload)
    _check_parsers(payload)
    if value is _REFUSED:
        assert outcome is None
        return reading.WireError
    _check_value(value)
    if outcome is not None:
        _check_outcome(outcome)
        _check_verdicts(Answer(outcome.returned, outcome.given_state))
    _check_verdicts(Answer(value, value))
    assert time.thread_time() - started < _MAX_CPU_S
    return value


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal down to the types, the order of keys, the sign of zero, and NaN."""
    if type(left) is not type(right):
        return False
    if type(left) is dict:
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    if type(left) in (list, tuple, deque):
        bounded = type(left) is not deque or left.maxlen == right.maxlen
        return bounded and len(left) == len(right) and all(map(same, left, right))
    return repr(left) == repr(right) if type(left) is float else bool(left == right)


def _decoded(payload: bytes) -> Any:
    try:
        return reading.decode(payload)
    except reading.WireError:
        return _REFUSED


def _outcome(payload: bytes) -> Outcome | None:
    try:
        return _judged(payload)
    except reading.WireError:
        return None


def _check_parsers(payload: bytes) -> None:
    """The fast parser takes what the standard library's does, and makes the same of it, but for depth."""
    try:
        slowly = json.loads(payload.decode("ascii"), parse_int=reading._short_int, parse_constant=float)
    except (ValueError, RecursionError):
        slowly = _REFUSED
    try:
        parsed = reading._parsed(payload)
    except ValueError:
        assert slowly is _REFUSED or _depth(slowly) > _MAX_DEPTH
    else:
        assert same(parsed, slowly)


def _check_value(value: Any) -> None:
    """Exact types, within the limits, and what is no deeper than `wire.encode` writes comes back the same."""
    if _depth_of_plain(value) <= wire.MAX_DEPTH:
        text = wire.encode(value, max_bytes=1 << 30)
        assert same(reading.decode(text), value)
        assert same(reading.decode(wire._text(value, 1 << 30, wire.MAX_VALUES, in_bulk=False)), value)


def _depth(parsed: Any) -> int:
    deepest = 0
    left = [(parsed, 1)]
    while left:
        item, depth = left.pop()
        if type(item) in (dict, list):
            deepest = max(deepest, depth)
            left += [(inner, depth + 1) for inner in (item.values() if type(item) is dict else item)]
    return deepest


def _depth_of_plain(value: Any) -> int:
    """How many containers lie in each other as text; it is no recursion, for it may be hundreds."""
    deepest, count, odd_keys = 0, 0, 0
    left = [(value, 1)]
    while left:
        item, depth = left.pop()
        if type(item) is dict:
            deepest = max(deepest, depth)
            odd = not wire._are_plain(item)
            odd_keys += len(item) if odd else 0
            left += [(inner, depth + (2 if odd else 1)) for pair in item.items() for inner in pair]
        elif type(item) in (list, tuple, deque):
            deepest = max(deepest, depth)
            left += [(inner, depth + 1) for inner in item]
        else:
            _check_leaf(item)
        count += 1
    assert deepest <= _MAX_DEPTH
    assert count <= 2 * wire.MAX_VALUES + 1  # of plain dicts, the keys are counted here and not there
    assert odd_keys <= wire.MAX_ODD_KEYS
    return deepest


def _check_leaf(leaf: Any) -> None:
    assert type(leaf) in (str, int, float, bool, type(None), wire.Opaque, wire.Held)
    assert type(leaf) is not wire.Held or (leaf.kind in ("list", "deque") and type(leaf.length) is int)
    assert type(leaf) is not int or leaf.bit_length() <= wire.MAX_INT_BITS
    assert type(leaf) is not wire.Opaque or (type(leaf.type_name) is str and len(leaf.type_name) <= 200)


def _check_outcome(outcome: Outcome) -> None:
    """What goes on to people and into JSON is text that can be sent."""
    assert type(outcome.status) is Status
    answer = outcome.answer
    assert answer is not None
    assert outcome.ok is (answer.get("error") is None)
    assert outcome.line is None or 0 < outcome.line < 1_000_000
    assert type(outcome.defined) is bool
    assert outcome.summary.isprintable()
    json.dumps([outcome.status, outcome.error, outcome.summary], ensure_ascii=False).encode()
    result = answer.get("result")
    if type(result) is str:
        printable(result).encode()


def _check_verdicts(answer: Answer) -> None:
    """Every case takes the answer, to each of its calls; one that held all rows would answer no question at all."""
    held = [case.row for case in _CASES if _holds(case, answer)]
    assert len(held) < len(_CASES)


def _holds(case: Case, answer: Answer) -> bool:
    judge = CaseJudge(case)
    while judge.next_call is not None:
        judge.hear(answer)
    for reason in (judge.row_broken, judge.spread_broken):
        assert reason is None or (reason.isprintable() and 0 < len(reason) < 300)
    if judge.row_broken is None:
        _check_held(case, answer)
    return judge.row_broken is None


def _check_held(case: Case, answer: Answer) -> None:
    """What a row cannot hold without."""
    returned = answer.returned
    assert type(returned) is dict
    if case.row == "tier3":
        buffer = returned["state"]["buffer"]
        assert type(buffer) in (list, deque)
        assert len(buffer) <= 240
        assert type(answer.given_state) is dict
        assert returned["telemetry"] is True or type(returned["telemetry"]) is dict
        return
    readings = [row["reading"] for row in returned["clean"]]
    assert readings
    assert all(type(reading) in (int, float) and math.isfinite(reading) for reading in readings)
    assert all(value in readings for value in case.expected)
    if case.row == "validity":
        assert type(returned["state"]["seen"]) is int
        assert 0 <= returned["mean"] <= 5
        assert len(readings) <= returned["state"]["seen"] <= 5
