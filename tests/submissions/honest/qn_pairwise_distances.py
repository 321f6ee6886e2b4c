# suite: classic
# loses: none
# why: the scale is a quartile of all pairwise distances (Rousseeuw and Croux), the location Hodges and Lehmann's

import math
import statistics
from itertools import combinations, combinations_with_replacement

LARGEST_SAMPLE = 120
REACH = 11


def thinned(values):
    """Every k-th of the sorted values: pairs are many."""
    values = sorted(values)
    return values[:: max(1, math.ceil(len(values) / LARGEST_SAMPLE))]


def hodges_lehmann(values):
    return statistics.median_low([a / 2 + b / 2 for a, b in combinations_with_replacement(values, 2)])


def qn(values):
    distances = sorted(b - a for a, b in combinations(values, 2))
    half = len(values) // 2 + 1
    return 2.2219 * distances[half * (half - 1) // 2 - 1]


def decode(event):
    raw = event["reading"] if "reading" in event else None
    if isinstance(raw, (float, int, str)) and not isinstance(raw, bool):
        try:
            if math.isfinite(number := float(raw)):
                return number
        except (ValueError, OverflowError):
            pass
    return None


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    rows = []
    for event in events:
        number = decode(event)
        if number is not None:
            rows.append({"ts": event["ts"], "reading": number, "tag": event["tag"]})
    rows.sort(key=lambda row: row["ts"])

    clean, spikes = rows, []
    sigma = 0.0
    if len(rows) >= 8:
        sample = thinned([row["reading"] for row in rows])
        center, sigma = hodges_lehmann(sample), qn(sample)
        if sigma > 0:
            clean = [row for row in rows if abs(row["reading"] - center) <= REACH * sigma]
            spikes = [row for row in rows if abs(row["reading"] - center) > REACH * sigma]

    readings = [row["reading"] for row in clean]
    low, high = min(readings, default=0.0), max(readings, default=0.0)
    mean = max(low, min(high, statistics.fmean(readings))) if readings else 0.0
    std = statistics.pstdev(readings) if low != high else 0.0

    monitor = {
        "events": len(events),
        "corrupt": len(events) - len(rows),
        "spikes": len(spikes),
        "robust_sigma": sigma,
    }
    fallback = sigma == 0.0 and len(rows) >= 8
    if fallback:
        monitor["untrimmed"] = True
    buffer = list(state["buffer"])
    buffer += clean
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": spikes,
        "telemetry": monitor,
        "state": {**state, "seen": state["seen"] + len(events), "buffer": buffer[-240:]},
    }
