# suite: classic
# loses: none
# why: fully typed, TypedDicts, structural pattern matching, enum-keyed counters

from __future__ import annotations

import math
import statistics
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, TypedDict

Number = int | float
BUFFER_CAP: Final[int] = 240
REACH: Final[float] = 18.0


class Event(TypedDict):
    ts: Number
    reading: Number
    tag: str


class State(TypedDict):
    seen: int
    limit: int
    buffer: deque[Any] | list[Any]
    z_cutoff: Number


class Result(TypedDict):
    clean: list[Event]
    mean: float
    std: float
    alerts: list[Event]
    telemetry: dict[str, int]
    state: State


class Fault(Enum):
    MISSING = "missing"
    TYPE = "type"
    TEXT = "text"
    NOT_FINITE = "not_finite"


class Band(NamedTuple):
    low: float
    high: float

    def holds(self, value: Number) -> bool:
        return self.low <= value <= self.high


def parse(event: dict[str, Any]) -> Number | Fault:
    match event.get("reading"):
        case None:
            return Fault.MISSING
        case bool():
            return Fault.TYPE
        case int() as whole:
            try:
                float(whole)
            except OverflowError:
                return Fault.NOT_FINITE
            return whole if abs(whole) < 2**53 else float(whole)
        case float() as number:
            return number if math.isfinite(number) else Fault.NOT_FINITE
        case str() as text:
            try:
                number = float(text)
            except ValueError:
                return Fault.TEXT
            return number if math.isfinite(number) else Fault.NOT_FINITE
        case _:
            return Fault.TYPE


def band(values: Sequence[Number]) -> Band:
    """Guardrail around the bulk of the batch."""
    everything = Band(-math.inf, math.inf)
    if len(values) < 8 or min(values) == max(values):
        return everything
    center = statistics.median(values)
    spreads = sorted(abs(v - center) for v in values)
    scale = statistics.median(spreads)
    if not scale:
        step = next(s for s in spreads if s)
        scale = spreads[7 * len(spreads) // 10] or min(step, 0.5 * max(1.0, abs(center)))
    return Band(center - REACH * scale, center + REACH * scale)


def describe(values: Sequence[Number]) -> tuple[float, float]:
    match len(set(values)):
        case 0:
            return 0.0, 0.0
        case 1:
            return float(values[0]), 0.0
        case _:
            return statistics.fmean(values), statistics.pstdev(values)


def bounded(held: Iterable[Any], fresh: Iterable[Event]) -> deque[Any]:
    kept: deque[Any] = deque(maxlen=BUFFER_CAP)
    kept.extend(held)
    kept.extend(fresh)
    return kept


def process_batch(events: list[dict[str, Any]], state: State | None) -> Result:
    current: State = state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    telemetry: Counter[str] = Counter(received=len(events))
    rows: list[Event] = []
    for event in events:
        match parse(event):
            case Fault() as fault:
                telemetry[f"corrupt_{fault.value}"] += 1
            case number:
                rows.append({"ts": event["ts"], "reading": number, "tag": event["tag"]})
    rows.sort(key=lambda row: row["ts"])
    guardrail = band([row["reading"] for row in rows])
    clean = [row for row in rows if guardrail.holds(row["reading"])]
    alerts = [row for row in rows if not guardrail.holds(row["reading"])]
    telemetry["spikes"] += len(alerts)
    mean, std = describe([row["reading"] for row in clean])
    after: State = {
        "seen": current["seen"] + len(events),
        "limit": current["limit"],
        "buffer": bounded(current["buffer"], clean),
        "z_cutoff": current["z_cutoff"],
    }
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": dict(telemetry),
        "state": after,
    }
