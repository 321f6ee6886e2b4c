"""Reads answers: exact builtin types, decoded on this side of the sandbox, of which any part may be missing or odd.

A subclass counts as its base, and what was no plain data is a marker that no reader accepts.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Answer",
    "BrokenError",
    "buffer_length",
    "finite",
    "grown",
    "number_of",
    "result_of",
    "rows_of",
    "shown",
    "state_of",
    "timestamp",
]


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


def result_of(answer: Answer) -> dict[Any, Any]:
    """The dict that was returned."""
    if type(answer.returned) is not dict:
        raise BrokenError(f"process_batch returned {shown(answer.returned)}, not a dict")
    return answer.returned


def rows_of(answer: Answer) -> list[tuple[float, dict[Any, Any]]]:
    """The rows of `clean`, each with its reading as a number."""
    clean = result_of(answer).get("clean")
    if not (type(clean) is list or type(clean) is tuple):
        raise BrokenError(f"clean is {shown(clean)}, not a list")
    rows = []
    for index, row in enumerate(clean):
        if type(row) is not dict:
            raise BrokenError(f"row {index} of clean is {shown(row)}, not a dict")
        reading = number_of(row.get("reading"))
        if reading is None:
            raise BrokenError(f"row {index} of clean has the reading {shown(row.get('reading'))}, not a finite number")
        rows.append((reading, row))
    return rows


def timestamp(row: dict[Any, Any], index: int) -> float:
    """The ``ts`` of a row of `clean`."""
    stamp = number_of(row.get("ts"))
    if stamp is None:
        raise BrokenError(f"row {index} of clean has the ts {shown(row.get('ts'))}, not a finite number")
    return stamp


def finite(result: dict[Any, Any], key: str) -> float:
    """The finite number under a key."""
    number = number_of(result.get(key))
    if number is None:
        raise BrokenError(f"{key} is {shown(result.get(key))}, not a finite number")
    return number


def state_of(result: dict[Any, Any]) -> dict[Any, Any]:
    """The state to hand on."""
    state = result.get("state")
    if type(state) is not dict:
        raise BrokenError(f"state is {shown(state)}, not a dict")
    return state


def buffer_length(state: Any) -> int | None:
    """How many rows the buffer of a state holds; None where there is no buffer."""
    buffer = state.get("buffer") if type(state) is dict else None
    if type(buffer) is list or type(buffer) is deque:
        return len(buffer)
    return getattr(buffer, "length", None)  # one that was only measured


def grown(now: Any, before: int) -> int:
    """By how much ``seen`` has grown."""
    if type(now) is not int:
        raise BrokenError(f"seen is {shown(now)}, not an int")
    return now - before


def number_of(value: Any) -> float | None:
    """The finite number that a decoded value is, None when it is none; bools are none."""
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def shown(value: Any) -> str:
    """A value in a few characters; what was no plain data goes by the name its type claims to have."""
    if value is None or type(value) in (bool, int, float, str):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:40]}…"
    name = getattr(value, "type_name", type(value).__name__)
    return f"a {name[:60]}" if name.isidentifier() else "no plain data"
