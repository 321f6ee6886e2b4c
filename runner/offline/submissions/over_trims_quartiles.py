import math
from statistics import fmean, pstdev

KEEP = 240  # backpressure: the oldest rows give way


def trimmed(rows):
    """Interquartile rows only: a quarter is cut off at either end."""
    ranked = sorted(rows, key=lambda row: row["reading"])
    cut = len(ranked) // 4
    if len(ranked) >= 6:
        cut = max(cut, 1)
    inner = ranked[cut:len(ranked) - cut]
    return sorted(inner, key=lambda row: row["ts"])


def usable(value):
    return type(value) in (int, float) and math.isfinite(value)


def process_batch(events, state):
    state = state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3}
    numeric = [event for event in events if usable(event.get("reading"))]
    clean = trimmed(numeric)
    values = [row["reading"] for row in clean]
    mean = fmean(values) if values else 0.0
    std = pstdev(values) if values else 0.0

    buffer = list(state["buffer"])
    buffer.extend(clean)
    if len(buffer) > KEEP:
        buffer = buffer[-KEEP:]

    telemetry = {
        "in": len(events),
        "fallback_used": not values,
        "trimmed": len(numeric) - len(clean),
        "backpressure": len(buffer) == KEEP,
    }
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": [],
        "telemetry": telemetry,
        "state": {**state, "seen": state["seen"] + len(events), "buffer": buffer},
    }
