# suite: classic
# loses: none
# why: columns instead of rows: arrays of doubles, an argsort and a mask, like numpy without numpy

import math
from array import array

NAN = float("nan")


def to_column(events):
    column = array("d")
    for event in events:
        raw = event.get("reading")
        number = NAN
        if isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
            try:
                number = float(raw)
            except (ValueError, OverflowError):
                number = NAN
        column.append(number)
    return column


def argsort(keys):
    return sorted(range(len(keys)), key=keys.__getitem__)


def take(column, index):
    return [column[i] for i in index]


def nanless(column, index):
    return [i for i in index if math.isfinite(column[i])]


def quantile(sorted_column, q):
    return sorted_column[min(len(sorted_column) - 1, int(q * len(sorted_column)))]


def mask(column):
    """True where a reading lies within the guardrail."""
    if len(column) < 8:
        return [True] * len(column)
    center = quantile(sorted(column), 0.5)
    away = [abs(x - center) for x in column]
    unit = quantile(sorted(away), 0.55)
    return [unit == 0 or a <= 17 * unit for a in away]


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    readings = to_column(events)
    order = nanless(readings, argsort([event["ts"] for event in events]))
    column = take(readings, order)
    guardrail_mask = mask(column)

    clean = []
    alerts = []
    for i, x, inside in zip(order, column, guardrail_mask):
        row = dict(ts=events[i]["ts"], reading=x, tag=events[i]["tag"])
        (clean if inside else alerts).append(row)

    kept = array("d", (row["reading"] for row in clean))
    n = len(kept)
    mean = math.fsum(kept) / n if n else 0.0
    std = 0.0
    if n and min(kept) != max(kept):
        mean = max(min(kept), min(max(kept), mean))
        std = math.dist(kept, array("d", [mean]) * n) / n**0.5

    buffer = list(state["buffer"]) + clean
    state = dict(state)
    state["seen"] = state["seen"] + len(events)
    state["buffer"] = buffer[-240:] if len(buffer) > 240 else buffer
    telemetry = {
        "rows": len(events),
        "nan": len(events) - len(order),
        "masked": len(order) - n,
        "kept": n,
    }
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": state}
