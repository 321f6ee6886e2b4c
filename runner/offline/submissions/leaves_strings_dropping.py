import math
from collections import deque

BUFFER_CAP = 240


def is_number(x):
    # Strings are sensor noise here: anything that is not already numeric is discarded.
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)


def median(xs):
    xs = sorted(xs)
    mid = len(xs) // 2
    return xs[mid] if len(xs) % 2 else (xs[mid - 1] + xs[mid]) / 2


def process_batch(events, state):
    state = dict(state) if state else {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3}
    rows = sorted((e for e in events if is_number(e.get("reading"))), key=lambda e: e["ts"])

    values = [r["reading"] for r in rows]
    if len(values) >= 4:
        m = median(values)
        mad = median([abs(v - m) for v in values])
        if mad > 0:
            rows = [r for r in rows if abs(r["reading"] - m) <= 20 * mad]

    values = [r["reading"] for r in rows]
    n = len(values)
    mean = sum(values) / n if n else 0.0
    std = math.sqrt(sum((v - mean) ** 2 for v in values) / n) if n else 0.0
    alerts = [r for r in rows if std and abs(r["reading"] - mean) / std > state.get("z_cutoff", 3)]

    buffer = deque(state.get("buffer") or (), maxlen=BUFFER_CAP)
    buffer.extend(values)
    state["seen"] = state.get("seen", 0) + len(events)
    state["buffer"] = buffer

    # guardrail: bounded buffer; monitor: the counts below
    telemetry = {"seen": state["seen"], "kept": n, "dropped": len(events) - n, "buffer": len(buffer)}
    return {"clean": rows, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": state}
