# suite: classic
# loses: tier2_heavy_tail
# why: nothing is a spike

import math
from statistics import median


def number(value):
    try:
        value = float(value) if type(value) in (int, float, str) else math.nan
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def process_batch(events, state):
    state = dict(state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0})
    rows = [{**event, "reading": number(event.get("reading"))} for event in events]
    rows = sorted((row for row in rows if row["reading"] is not None), key=lambda row: row["ts"])
    clean = rows
    readings = [row["reading"] for row in clean] or [0.0]
    mean = sum(readings) / len(readings)
    std = math.sqrt(sum((reading - mean) ** 2 for reading in readings) / len(readings))
    state["buffer"] = (list(state["buffer"]) + clean)[-240:]  # backpressure
    state["seen"] += len(events)
    telemetry = {"kept": len(clean)}
    return {"clean": clean, "mean": mean, "std": std, "alerts": [], "telemetry": telemetry, "state": state}
