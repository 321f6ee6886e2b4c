# suite: classic
# loses: none
# why: an M-estimator: Tukey's biweight, reweighted until it settles; weightless readings are spikes

import math
import statistics
from collections import deque

TUNING = 18.0


def biweights(values):
    """Weights between 0 and 1, and the location they lead to."""
    location = statistics.median(values)
    mad = statistics.median(abs(v - location) for v in values)
    if mad == 0 or len(values) < 8:
        return [1.0] * len(values), location
    weights = []
    for _ in range(6):
        weights = [max(0.0, 1 - ((v - location) / mad / TUNING) ** 2) ** 2 for v in values]
        total = math.fsum(weights)
        if total <= 0:
            return [1.0] * len(values), location
        moved = math.fsum(w * v for w, v in zip(weights, values)) / total
        if abs(moved - location) < 1e-9 * mad:
            break
        location = moved
    return weights, location


def numeric(raw):
    kind = type(raw)
    if kind is int or kind is float or kind is str:
        try:
            number = float(raw)
        except (ValueError, OverflowError):
            return None
        if abs(number) != math.inf and number == number:
            return number
    return None


def process_batch(events, state):
    state = {"seen": 0, "limit": 200, "buffer": deque(maxlen=240), "z_cutoff": 3.0, **(state or {})}
    telemetry = {"rows": len(events), "corrupt": 0, "weightless": 0, "location": None}

    rows = []
    for event in sorted(events, key=lambda event: event["ts"]):
        number = numeric(event.get("reading"))
        if number is None:
            telemetry["corrupt"] += 1
        else:
            rows.append((event, number))

    clean, alerts = [], []
    mean = std = 0.0
    if rows:
        weights, telemetry["location"] = biweights([number for _, number in rows])
        for (event, number), weight in zip(rows, weights):
            row = {"ts": event["ts"], "reading": number, "tag": event["tag"]}
            (clean if weight > 0 else alerts).append(row)
        telemetry["weightless"] = len(alerts)
        kept = [row["reading"] for row in clean]
        mean = max(min(kept), min(max(kept), statistics.fmean(kept)))
        std = statistics.pstdev(kept) if max(kept) > min(kept) else 0.0

    backpressure = deque(state["buffer"], maxlen=240)
    backpressure.extend(clean)
    state.update(seen=state["seen"] + len(events), buffer=backpressure)
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": state}
