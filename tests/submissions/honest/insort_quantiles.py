# suite: classic
# loses: none
# why: keeps readings in sorted order with bisect and decides by interpolated percentiles

from bisect import bisect_left, bisect_right, insort
from math import fsum, isfinite, sqrt


class SortedReadings:
    def __init__(self):
        self._data = []

    def add(self, x):
        insort(self._data, x)

    def __len__(self):
        return len(self._data)

    def percentile(self, p):
        position = (len(self._data) - 1) * p / 100
        below = int(position)
        above = min(below + 1, len(self._data) - 1)
        return self._data[below] + (self._data[above] - self._data[below]) * (position - below)

    def between(self, low, high):
        return self._data[bisect_left(self._data, low) : bisect_right(self._data, high)]


def valid(raw):
    if raw is None or isinstance(raw, (bool, list, dict, tuple, set, bytes)):
        return None
    try:
        x = float(raw)
    except (TypeError, ValueError, OverflowError):
        return None
    return x if isfinite(x) else None


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}

    readings = SortedReadings()
    rows = []
    for event in events:
        x = valid(event.get("reading"))
        if x is not None:
            readings.add(x)
            insort(rows, {"ts": event["ts"], "reading": x, "tag": event["tag"]}, key=lambda row: row["ts"])

    low = high = None
    if len(readings) >= 10:
        # A fifth of spikes on one side shifts all percentiles: the narrowest of three windows is clear of them.
        p50 = readings.percentile(50)
        half = min(readings.percentile(p + 40) - readings.percentile(p) for p in (20, 30, 40)) / 2
        if half > 0:
            low, high = p50 - 30 * half, p50 + 30 * half

    def guardrail_holds(row):
        return low is None or low <= row["reading"] <= high

    clean = [row for row in rows if guardrail_holds(row)]
    alerts = [{"reason": "outlier", "row": row} for row in rows if not guardrail_holds(row)]

    kept = [row["reading"] for row in clean]
    if kept and min(kept) < max(kept):
        mean = fsum(kept) / len(kept)
        std = sqrt(fsum((x - mean) ** 2 for x in kept) / len(kept))
    else:
        mean, std = (kept[0] if kept else 0.0), 0.0

    buffer = list(state["buffer"])
    buffer[len(buffer) :] = clean
    del buffer[: max(0, len(buffer) - 240)]
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": {
            "events": len(events),
            "valid": len(rows),
            "invalid": len(events) - len(rows),
            "outliers": len(alerts),
        },
        "state": {
            "seen": state["seen"] + len(events),
            "limit": state["limit"],
            "buffer": buffer,
            "z_cutoff": state["z_cutoff"],
        },
    }
