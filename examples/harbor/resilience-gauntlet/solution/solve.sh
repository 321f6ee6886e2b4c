#!/bin/sh
# The oracle: the same source as examples/solution.py.
cat >/app/process_batch.py <<'EOF'
"""Robust preprocessing for streaming sensor readings: median/MAD filtering, bounded state, telemetry."""
import math
import statistics

MAX_BUFFER = 240
OUTLIER_SCALES = 15.0  # spikes lie far beyond this, small minority groups well within


def parse_reading(value):
    """A finite number, or None for anything corrupt."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return number if isinstance(value, str) else value


def robust_bounds(values):
    """Limits that only gross spikes exceed; no limits where there is nothing to compare."""
    if len(values) < 4:
        return -math.inf, math.inf
    center = statistics.median(values)
    deviations = sorted(abs(v - center) for v in values)
    scale = statistics.median(deviations)
    if scale == 0:
        varied = [d for d in deviations if d > 0]
        if not varied:
            return -math.inf, math.inf
        scale = varied[len(varied) // 4]
    reach = OUTLIER_SCALES * 1.4826 * scale
    return center - reach, center + reach


def mean_and_std(values):
    """Population mean and deviation, scaled so that huge readings cannot overflow."""
    if not values:
        return 0.0, 0.0
    low, high = min(values), max(values)
    if low == high:
        return float(low), 0.0
    unit = max(abs(low), abs(high))
    scaled = [v / unit for v in values]
    mean = math.fsum(scaled) / len(scaled)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in scaled) / len(scaled))
    return min(max(mean * unit, low), high), std * unit


def process_batch(events, state):
    state = state or {}
    limit = state.get("limit", 200)
    z_cutoff = state.get("z_cutoff", 3)

    parsed = []
    for event in events:
        reading = parse_reading(event.get("reading"))
        if reading is not None:
            parsed.append({**event, "reading": reading})
    parsed.sort(key=lambda row: row["ts"])

    low, high = robust_bounds([row["reading"] for row in parsed])
    clean = [row for row in parsed if low <= row["reading"] <= high]
    mean, std = mean_and_std([row["reading"] for row in clean])
    alerts = [row for row in clean if std > 0 and abs(row["reading"] - mean) > z_cutoff * std]

    # Backpressure: only the newest readings stay, whatever kind of buffer came in.
    buffer = [*state.get("buffer", ()), *(row["reading"] for row in clean)][-MAX_BUFFER:]
    backpressure = state.get("seen", 0) + len(events) > limit

    telemetry = {
        "received": len(events),
        "corrupt": len(events) - len(parsed),
        "spikes_dropped": len(parsed) - len(clean),
        "buffered": len(buffer),
        "backpressure": backpressure,
        "guardrail": {"low": low, "high": high} if math.isfinite(low) else {"low": None, "high": None},
    }
    new_state = {
        "seen": state.get("seen", 0) + len(events),
        "limit": limit,
        "buffer": buffer,
        "z_cutoff": z_cutoff,
    }
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": new_state}
EOF
