# suite: classic
# loses: none
# why: folds: functools.reduce builds rows, telemetry, moments and buffer; nothing is ever changed in place

from functools import reduce
from math import inf, isfinite, nan, sqrt


def number(raw):
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return nan
    try:
        return float(raw)
    except (ValueError, OverflowError):
        return nan


def step(acc, event):
    rows, telemetry = acc
    value = number(event.get("reading"))
    if isfinite(value):
        return (*rows, (event["ts"], value, event["tag"])), {**telemetry, "parsed": telemetry["parsed"] + 1}
    return rows, {**telemetry, "corrupt": telemetry["corrupt"] + 1}


def middle(values):
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2 if ordered else 0.0


def guardrail(values):
    center = middle(values)
    unit = middle(abs(v - center) for v in values)
    return (center, 18.5 * unit) if unit > 0 and len(values) >= 8 else (center, inf)


def welford(acc, value):
    count, mean, square = acc
    delta = value - mean
    moved = mean + delta / (count + 1)
    return count + 1, moved, square + delta * (value - moved)


def push(buffer, row):
    return [*buffer[-239:], row]


def process_batch(events, state):
    before = state if state else {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    parsed, counts = reduce(step, events, ((), {"parsed": 0, "corrupt": 0}))
    ordered = tuple(sorted(parsed, key=lambda row: row[0]))
    center, reach = guardrail(tuple(row[1] for row in ordered))
    rows = tuple({"ts": t, "reading": v, "tag": g} for t, v, g in ordered)
    clean = list(filter(lambda row: abs(row["reading"] - center) <= reach, rows))
    spikes = list(filter(lambda row: abs(row["reading"] - center) > reach, rows))
    count, mean, square = reduce(welford, (row["reading"] for row in clean), (0, 0.0, 0.0))
    low = min((row["reading"] for row in clean), default=0.0)
    high = max((row["reading"] for row in clean), default=0.0)
    return {
        "clean": clean,
        "mean": min(high, max(low, mean)),
        "std": sqrt(max(0.0, square) / count) if count and low < high else 0.0,
        "alerts": spikes,
        "telemetry": {**counts, "spikes": len(spikes)},
        "state": {
            **before,
            "seen": before["seen"] + len(events),
            "buffer": reduce(push, clean, list(before["buffer"])[-240:]),
        },
    }
