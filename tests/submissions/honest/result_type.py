# suite: classic
# loses: none
# why: Ok and Err values instead of exceptions, in the manner of Rust

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Ok(Generic[T]):
    value: T

    def and_then(self, step: Callable[[T], Ok[U] | Err]) -> Ok[U] | Err:
        return step(self.value)

    def unwrap_or(self, fallback: T) -> T:
        return self.value


@dataclass(frozen=True)
class Err:
    why: str

    def and_then(self, step: Callable) -> Err:
        return self

    def unwrap_or(self, fallback: T) -> T:
        return fallback


def present(event: dict) -> Ok | Err:
    return Ok(event["reading"]) if event.get("reading") is not None else Err("missing")


def typed(raw: object) -> Ok | Err:
    fits = isinstance(raw, (int, float, str)) and not isinstance(raw, bool)
    return Ok(raw) if fits else Err("type")


def converted(raw: int | float | str) -> Ok[float] | Err:
    try:
        return Ok(float(raw))
    except ValueError:
        return Err("text")
    except OverflowError:
        return Err("overflow")


def finite(number: float) -> Ok[float] | Err:
    return Ok(number) if math.isfinite(number) else Err("not_finite")


def scale_of(values: list[float]) -> Ok[tuple[float, float]] | Err:
    if len(values) < 8:
        return Err("too_few")
    center = statistics.median(values)
    mad = statistics.median([abs(v - center) for v in values])
    return Ok((center, mad)) if mad > 0 else Err("no_spread")


def process_batch(events: list[dict], state: dict | None) -> dict:
    state = state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    telemetry = {"received": len(events)}

    rows = []
    for event in events:
        match present(event).and_then(typed).and_then(converted).and_then(finite):
            case Ok(number):
                rows.append({"ts": event["ts"], "reading": number, "tag": event["tag"]})
            case Err(why):
                telemetry[why] = telemetry.get(why, 0) + 1
    rows.sort(key=lambda row: row["ts"])

    center, mad = scale_of([row["reading"] for row in rows]).unwrap_or((0.0, math.inf))
    clean = [row for row in rows if abs(row["reading"] - center) <= 18 * mad]
    alerts = [row for row in rows if abs(row["reading"] - center) > 18 * mad]
    telemetry["spikes"] = len(alerts)

    values = [row["reading"] for row in clean]
    mean = std = 0.0
    if values:
        low, high = min(values), max(values)
        mean = max(low, min(high, statistics.fmean(values)))
        std = statistics.pstdev(values) if low < high else 0.0
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": {**state, "seen": state["seen"] + len(events), "buffer": [*state["buffer"], *clean][-240:]},
    }
