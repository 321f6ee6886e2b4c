"""Validates readings with a guardrail, then filters them with a robust cut."""
from statistics import fmean, median, pstdev
import math


class Monitor:
    """Counts what the guardrails did."""

    def __init__(self):
        self.counts = {"accepted": 0, "rejected": 0, "spikes": 0}

    def hit(self, name, by=1):
        self.counts[name] += by


def guardrail(reading):
    """True for readings that stand for a finite number."""
    if isinstance(reading, bool):
        return False
    try:
        return math.isfinite(float(reading))
    except (TypeError, ValueError, OverflowError):
        return False


def split_spikes(rows):
    numeric = [r["reading"] for r in rows if not isinstance(r["reading"], str)]
    if len(numeric) < 4:
        return rows, []
    center = median(numeric)
    spread = median(abs(v - center) for v in numeric)
    if spread == 0:
        return rows, []
    kept, spikes = [], []
    for row in rows:
        value = row["reading"]
        far = not isinstance(value, str) and abs(value - center) > 18 * spread
        (spikes if far else kept).append(row)
    return kept, spikes


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3}
    monitor = Monitor()

    rows = []
    for event in events:
        if guardrail(event.get("reading")):
            rows.append(dict(event))
            monitor.hit("accepted")
        else:
            monitor.hit("rejected")
    rows.sort(key=lambda row: row["ts"])
    rows, spikes = split_spikes(rows)
    monitor.hit("spikes", len(spikes))

    numeric = [row["reading"] for row in rows if not isinstance(row["reading"], str)]
    mean = fmean(numeric) if numeric else 0.0
    std = pstdev(numeric) if numeric else 0.0

    buffer = (list(state["buffer"]) + rows)[-200:]
    return {
        "clean": rows,
        "mean": mean,
        "std": std,
        "alerts": spikes,
        "telemetry": {**monitor.counts, "buffer_size": len(buffer)},
        "state": {**state, "seen": state["seen"] + len(events), "buffer": buffer},
    }
