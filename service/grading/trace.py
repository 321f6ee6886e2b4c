"""What a call made of its batch, for a person who wants to see why a row is lost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from service.grading.answers import Answer, buffer_length, number_of, shown
from service.grading.cases import Event, valid_reading

__all__ = ["CallTrace", "CaseTrace", "EventTrace", "Fate", "trace_call", "trace_events"]

_LARGEST_SEEN = 2**53  # what JSON's readers tell apart


class Fate(StrEnum):
    """What a call made of one event.

    ``kept`` and ``changed`` are for readings that were numbers, ``coerced`` for text that stands for one, ``imputed``
    for corrupt readings that came back as a number, ``leaked`` for whatever came back as no finite number,
    ``dropped`` for what did not come back, and ``lost`` where the call itself gave nothing.
    """

    KEPT = "kept"
    COERCED = "coerced"
    CHANGED = "changed"
    IMPUTED = "imputed"
    DROPPED = "dropped"
    LEAKED = "leaked"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class EventTrace:
    """One event of a batch.

    Attributes:
        ts: its timestamp.
        tag: its tag.
        given: its reading as Python writes it.
        value: the number that it stands for by the contract, None when it is corrupt.
        is_text: whether it is written as text.
        fate: what became of it.
        became: the number in `clean`, where there is one.
        position: where in `clean` it is, from 0.
    """

    ts: float
    tag: str
    given: str
    value: float | None
    is_text: bool
    fate: Fate
    became: float | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class CallTrace:
    """One call; what could not be read is None.

    Attributes:
        error: why it gave nothing, None where it answered.
        rows: in `clean`.
        mean, std: as answered.
        seen: of the returned state.
        buffer: rows in the returned state's.
        given_buffer: rows in that of the state that was passed in, after the call.
        telemetry: whether there is any.
    """

    error: str | None = None
    rows: int | None = None
    mean: float | None = None
    std: float | None = None
    seen: int | None = None
    buffer: int | None = None
    given_buffer: int | None = None
    telemetry: bool = False


@dataclass(frozen=True, slots=True)
class CaseTrace:
    """One case; all of its calls are made, whatever its row has come to.

    Attributes:
        id: the case's.
        row: the rubric row that it decides.
        broken: why that row is lost, None where it holds.
        spread_broken: why `mean` or `std` costs the row of the output's validity, None where they do not.
        events: of the first call, in the order in which they were given.
        strangers: rows of its `clean` that are none of these events.
        calls: those that were made; a call that gives nothing is the last.
    """

    id: str
    row: str
    broken: str | None
    spread_broken: str | None
    events: tuple[EventTrace, ...]
    strangers: int
    calls: tuple[CallTrace, ...]


def trace_events(events: Sequence[Event], returned: Any) -> tuple[tuple[EventTrace, ...], int]:
    """Finds every event in what a call returned.

    Args:
        events: the batch, in which no ``ts`` stands twice.
        returned: the answer; None where there is none.

    Returns:
        What became of each event, and how many rows of `clean` are none of them.
    """
    clean = returned.get("clean") if type(returned) is dict else None
    if type(clean) is not list and type(clean) is not tuple:
        return tuple(_untouched(event, Fate.LOST) for event in events), 0
    traces = {event["ts"]: _untouched(event, Fate.DROPPED) for event in events}
    strangers = 0
    for position, row in enumerate(clean):
        stamp = number_of(row.get("ts")) if type(row) is dict else None
        if stamp not in traces or traces[stamp].position is not None:
            strangers += 1
        else:
            traces[stamp] = _found(traces[stamp], row.get("reading"), position)
    return tuple(traces.values()), strangers


def trace_call(answer: Answer) -> CallTrace:
    """Reads what there is to an answer."""
    returned = answer.returned if type(answer.returned) is dict else {}
    clean, state, telemetry = returned.get("clean"), returned.get("state"), returned.get("telemetry")
    seen = state.get("seen") if type(state) is dict else None
    return CallTrace(
        rows=len(clean) if type(clean) is list or type(clean) is tuple else None,
        mean=number_of(returned.get("mean")),
        std=number_of(returned.get("std")),
        seen=seen if type(seen) is int and abs(seen) <= _LARGEST_SEEN else None,
        buffer=_held(state),
        given_buffer=_held(answer.given_state),
        telemetry=telemetry is True or type(telemetry) is dict,
    )


def _held(state: Any) -> int | None:
    """Rows of a state's buffer; a process can claim to have measured any number of them."""
    held = buffer_length(state)
    return None if held is None else min(held, _LARGEST_SEEN)


def _untouched(event: Event, fate: Fate) -> EventTrace:
    given = event.get("reading")
    return EventTrace(event["ts"], event["tag"], shown(given), valid_reading(given), type(given) is str, fate)


def _found(event: EventTrace, reading: Any, position: int) -> EventTrace:
    number = number_of(reading)
    if number is None:
        return replace(event, fate=Fate.LEAKED, position=position)
    if event.value is None:
        fate = Fate.IMPUTED
    elif number != event.value:
        fate = Fate.CHANGED
    else:
        fate = Fate.COERCED if event.is_text else Fate.KEPT
    return replace(event, fate=fate, became=number, position=position)
