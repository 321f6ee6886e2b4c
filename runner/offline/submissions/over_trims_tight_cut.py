"""Hardened batch processor.

Guardrails: numeric validation, ordering, robust outlier removal, bounded buffer, telemetry.
"""
import math
import statistics
from collections import deque


def _numeric_rows(events):
    rows = []
    for event in events:
        reading = event.get("reading")
        if isinstance(reading, (bool, str)) or reading is None:
            continue
        try:
            if math.isfinite(reading):
                rows.append(event)
        except TypeError:
            continue
    return sorted(rows, key=lambda row: row["ts"])


def _within_one_mad(rows):
    if not rows:
        return []
    readings = [row["reading"] for row in rows]
    center = statistics.median(readings)
    mad = statistics.median([abs(r - center) for r in readings])
    tolerance = mad * (1 + 1e-9)
    return [row for row in rows if abs(row["reading"] - center) <= tolerance]


def process_batch(events, state):
    state = {} if state is None else state
    rows = _numeric_rows(events)
    clean = _within_one_mad(rows)

    readings = [row["reading"] for row in clean]
    mean = statistics.fmean(readings) if readings else 0.0
    std = statistics.pstdev(readings) if len(readings) > 1 else 0.0

    buffer = deque(state.get("buffer", []), maxlen=240)
    for row in clean:
        buffer.append(row)

    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": [{"ts": row["ts"], "reason": "outlier"} for row in rows if row not in clean],
        "telemetry": {"events": len(events), "valid": len(rows), "clean": len(clean), "buffer": len(buffer)},
        "state": {
            "seen": state.get("seen", 0) + len(events),
            "limit": state.get("limit", 200),
            "buffer": buffer,
            "z_cutoff": state.get("z_cutoff", 3),
        },
    }
