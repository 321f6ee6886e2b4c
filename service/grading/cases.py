"""What a submission is called with: the calls of a case, and the cases of the classic suite."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["HANDED_ON", "Call", "Case", "Event", "Role", "classic_cases", "valid_range", "valid_reading"]

Event = dict[str, Any]
Role = str  # "core", "minority", "spike" or "corrupt"


class _HandedOn:
    """Stands for the state that the last call returned."""


HANDED_ON: Final = _HandedOn()


@dataclass(frozen=True, slots=True)
class Call:
    """One batch that a process is given.

    Attributes:
        events: the batch.
        state: what goes with it; `HANDED_ON` for what the call before returned.
        roles: of each event, in cases whose truth is drawn.
        in_new_process: whether the process is replaced before, so that only the reported state goes on.
        whole_state: whether the returned state is looked at item by item.
    """

    events: list[Event]
    state: Any = HANDED_ON
    roles: tuple[Role, ...] = ()
    in_new_process: bool = False
    whole_state: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """Calls that are judged together, and the row they decide.

    Attributes:
        id: name of the case.
        row: the rubric row whose check judges the answers.
        calls: in their order.
        expected: readings that must survive (``tier1`` of the classic suite).
        drawn: whether every event has a role: then the checks of the hardened suite judge.
    """

    id: str
    row: str
    calls: tuple[Call, ...]
    expected: tuple[float, ...] = ()
    drawn: bool = False


def classic_cases() -> tuple[Case, ...]:
    """Fresh copies of the five deterministic, public cases, the same for everyone, the longest first."""
    flood = _flood()
    return (
        Case("flood", "tier3", (Call(flood, _busy_state()), *[Call(flood)] * 11)),
        Case("dirty", "tier1", (Call(_dirty(), _first_state()),), expected=(5.4, 7.2)),
        Case("flat", "tier2_flat", (Call([_event(ts, 9.0, "core") for ts in range(6)], _first_state()),)),
        Case("heavy_tail", "tier2_heavy_tail", (Call(_heavy_tail(), _first_state()),)),
        Case("sanity", "validity", (Call([_event(ts, float(ts), "test") for ts in range(5)], _first_state()),)),
    )


def valid_reading(reading: Any) -> float | None:
    """The number that a reading stands for by the data contract, None when it is corrupt."""
    if type(reading) not in (int, float, str):
        return None
    try:
        number = float(reading)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def valid_range(events: Sequence[Event]) -> tuple[float, float]:
    """Lowest and highest valid reading of a batch, zeros where there is none."""
    valid = [number for event in events if (number := valid_reading(event.get("reading"))) is not None]
    return (min(valid), max(valid)) if valid else (0.0, 0.0)


def _event(ts: float, reading: Any, tag: str) -> Event:
    return {"ts": ts, "reading": reading, "tag": tag}


def _first_state() -> dict[str, Any]:
    return {"seen": 0, "limit": 200, "buffer": deque(maxlen=240), "z_cutoff": 3}


def _busy_state() -> dict[str, Any]:
    held = [_event(ts - 150, float(ts % 7), "stream") for ts in range(150)]
    return {"seen": 190, "limit": 200, "buffer": deque(held, maxlen=260), "z_cutoff": 3}


def _dirty() -> list[Event]:
    return [
        _event(3, " NaN", "sensor"),
        _event(4, "7.2", "healthy"),
        _event(1, None, "sensor"),
        _event(5, "bad", "sensor"),
        _event(2, "5.4", "healthy"),
    ]


def _heavy_tail() -> list[Event]:
    core = [_event(ts, 10 + ts / 10, "core") for ts in range(6)]
    spikes = [_event(ts, 1000.0, "spike") for ts in (100, 101)]
    minority = [_event(ts, 9.5, "minority") for ts in (200, 201)]
    return [*core, *spikes, *minority]


def _flood() -> list[Event]:
    return [_event(ts, ts % 7, "stream") for ts in range(60)]
