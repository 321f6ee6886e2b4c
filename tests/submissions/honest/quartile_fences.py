# suite: classic
# loses: none
# why: Tukey-like fences whose width comes from the tighter of the two quartile distances

"""Quartile fences with guardrails.

Ordinary fences (Q3 + 1.5 IQR) are too tight for small groups beside the core, and one-sided spikes widen them. The
tighter of the two distances median-quartile is immune to that, and a wide multiple of it keeps the minorities.
"""
import math
import statistics

WIDTH = 22.0
BUFFER_CAP = 240


def _reading(event):
    raw = event.get("reading")
    if type(raw) is bool:
        return math.nan
    try:
        return float(raw)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _fences(sample):
    if len(sample) < 10 or min(sample) == max(sample):
        return (-math.inf, math.inf)
    q1, mid, q3 = statistics.quantiles(sample, n=4, method="inclusive")
    tighter, wider = sorted((mid - q1, q3 - mid))
    half = max(tighter, wider / 3)
    if half == 0:
        others = sorted({abs(x - mid) for x in sample} - {0.0})
        half = min(others[0], 0.5 * max(1.0, abs(mid)))
    return (mid - WIDTH * half, mid + WIDTH * half)


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}

    parsed = [(event["ts"], _reading(event), event["tag"]) for event in events]
    valid = sorted((row for row in parsed if math.isfinite(row[1])), key=lambda row: row[0])
    lower, upper = _fences([row[1] for row in valid])

    clean = []
    alerts = []
    for ts, reading, tag in valid:
        target = clean if lower <= reading <= upper else alerts
        target.append({"ts": ts, "reading": reading, "tag": tag})

    kept = [row["reading"] for row in clean]
    if not kept:
        mean = std = 0.0
    elif min(kept) == max(kept):
        mean, std = kept[0], 0.0
    else:
        mean, std = statistics.fmean(kept), statistics.pstdev(kept)

    buffer = list(state["buffer"]) + clean
    overflow = max(0, len(buffer) - BUFFER_CAP)
    new_state = {**state, "seen": state["seen"] + len(events), "buffer": buffer[overflow:]}

    telemetry = {
        "input_rows": len(events),
        "corrupt_rows": len(events) - len(valid),
        "fenced_out": len(alerts),
        "buffer_evicted": overflow,
        "fallback_used": len(valid) < 10,
    }
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": new_state,
    }
