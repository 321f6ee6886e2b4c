# suite: classic
# loses: none
# why: structural pattern matching over whole events and over the state

import math
import statistics
from collections import deque


def reading_of(event):
    match event:
        case {"reading": True | False | None}:
            return None
        case {"reading": str(text)}:
            try:
                return reading_of({"reading": float(text)})
            except ValueError:
                return None
        case {"reading": int(number) | float(number)}:
            try:
                return float(number) if math.isfinite(number) else None
            except OverflowError:
                return None
        case _:
            return None


def opened(state):
    match state:
        case {"seen": int(seen), "limit": limit, "buffer": deque() | list() as buffer, **rest}:
            return seen, limit, list(buffer), rest.get("z_cutoff", 3.0)
        case _:
            return 0, 200, [], 3.0


def limits(values):
    match len(values):
        case 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7:
            return -math.inf, math.inf
    center = statistics.median(values)
    match statistics.median([abs(v - center) for v in values]):
        case 0:
            return -math.inf, math.inf
        case mad:
            return center - 18 * mad, center + 18 * mad


def summary(values):
    match values:
        case []:
            return 0.0, 0.0
        case [only]:
            return only, 0.0
        case [first, *others] if all(other == first for other in others):
            return first, 0.0
        case _:
            return statistics.fmean(values), statistics.pstdev(values)


def process_batch(events, state):
    seen, limit, buffer, z_cutoff = opened(state)
    rows, corrupt = [], 0
    for event in events:
        match reading_of(event), event:
            case None, _:
                corrupt += 1
            case value, {"ts": ts, "tag": tag}:
                rows.append({"ts": ts, "reading": value, "tag": tag})
    rows.sort(key=lambda row: row["ts"])
    low, high = limits([row["reading"] for row in rows])

    clean, alerts = [], []
    for row in rows:
        match row:
            case {"reading": value} if low <= value <= high:
                clean.append(row)
            case {"reading": value, "ts": ts}:
                alerts.append({"ts": ts, "reading": value, "side": "low" if value < low else "high"})
    mean, std = summary([row["reading"] for row in clean])

    match len(buffer) + len(clean) - 240:
        case excess if excess > 0:
            backpressure = excess
        case _:
            backpressure = 0
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": {"given": len(events), "corrupt": corrupt, "spikes": len(alerts), "backpressure": backpressure},
        "state": {
            "seen": seen + len(events),
            "limit": limit,
            "buffer": (buffer + clean)[backpressure:],
            "z_cutoff": z_cutoff,
        },
    }
