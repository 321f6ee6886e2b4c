# suite: classic
# loses: none
# why: functools.singledispatch decides by the type of a reading

import math
import statistics
from collections import deque
from functools import singledispatch


@singledispatch
def reading(raw):
    """Anything without a rule of its own is corrupt."""
    return None


@reading.register
def _(raw: float):
    return raw if math.isfinite(raw) else None


@reading.register
def _(raw: int):
    try:
        return float(raw)
    except OverflowError:
        return None


@reading.register
def _(raw: bool):
    return None


@reading.register
def _(raw: str):
    try:
        return reading(float(raw))
    except ValueError:
        return None


@singledispatch
def fallback_state(state):
    return {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}


@fallback_state.register
def _(state: dict):
    return {**fallback_state(None), **state}


def bulk_of(values, factor=18):
    if len(values) < 8:
        return values
    center = statistics.median(values)
    unit = statistics.median(abs(v - center) for v in values)
    return [v for v in values if abs(v - center) <= factor * unit] if unit else values


def process_batch(events, state):
    state = fallback_state(state)
    by_type = {}
    rows = []
    for event in events:
        raw = event.get("reading")
        value = reading(raw)
        if value is None:
            by_type[type(raw).__name__] = by_type.get(type(raw).__name__, 0) + 1
        else:
            rows.append({"ts": event["ts"], "reading": value, "tag": event["tag"]})
    rows.sort(key=lambda row: row["ts"])

    bulk = bulk_of([row["reading"] for row in rows])
    low, high = (min(bulk), max(bulk)) if bulk else (0.0, 0.0)
    clean = [row for row in rows if low <= row["reading"] <= high]
    alerts = [row for row in rows if not low <= row["reading"] <= high]

    buffer = deque(state["buffer"], 240)
    buffer.extend(clean)
    return {
        "clean": clean,
        "mean": max(low, min(high, statistics.fmean(bulk))) if bulk else 0.0,
        "std": statistics.pstdev(bulk) if low < high else 0.0,
        "alerts": alerts,
        "telemetry": {"corrupt_by_type": by_type, "spikes": len(alerts), "kept": len(clean)},
        "state": {**state, "seen": state["seen"] + len(events), "buffer": buffer},
    }
