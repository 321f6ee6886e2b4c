# suite: classic
# loses: none
# why: interquartile fences far out, what lies beyond is clipped to the outermost reading inside

import math
import statistics
from typing import Any

FENCE = 7.0
BUFFER_LIMIT = 240


def parse_reading(raw: Any) -> float:
    """The number behind a raw reading, NaN when there is none."""
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return math.nan
    try:
        return float(raw)
    except (ValueError, OverflowError):
        return math.nan


def clip_range(values: list[float]) -> tuple[float, float]:
    lowest, highest = min(values), max(values)
    if len(values) < 8:
        return lowest, highest
    q1, _, q3 = statistics.quantiles(values, n=4, method="inclusive")
    iqr = q3 - q1
    if iqr <= 0:
        return lowest, highest
    inside = [v for v in values if q1 - FENCE * iqr <= v <= q3 + FENCE * iqr]
    return min(inside), max(inside)


def process_batch(events: list[dict[str, Any]], state: dict[str, Any] | None) -> dict[str, Any]:
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}

    telemetry = {"received": len(events), "dropped_corrupt": 0, "coerced_strings": 0, "clipped_spikes": 0}
    alerts: list[str] = []

    rows = []
    for event in sorted(events, key=lambda e: e["ts"]):
        number = parse_reading(event.get("reading"))
        if not math.isfinite(number):
            telemetry["dropped_corrupt"] += 1
            continue
        telemetry["coerced_strings"] += isinstance(event["reading"], str)
        rows.append((event, number))

    clean: list[dict[str, Any]] = []
    mean = std = 0.0
    if rows:
        low, high = clip_range([number for _, number in rows])
        for event, number in rows:
            guarded = max(low, min(high, number))
            if guarded != number:
                telemetry["clipped_spikes"] += 1
                alerts.append(f"ts={event['ts']}: {number!r} clipped to {guarded!r}")
            clean.append({"ts": event["ts"], "reading": guarded, "tag": event["tag"]})
        values = [row["reading"] for row in clean]
        mean = min(max(statistics.fmean(values), low), high)
        std = statistics.pstdev(values) if low < high else 0.0

    held = list(state["buffer"])
    backpressure = max(0, len(held) + len(clean) - BUFFER_LIMIT)
    telemetry["backpressure"] = backpressure
    state = {**state, "seen": state["seen"] + len(events), "buffer": (held + clean)[backpressure:]}
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": state}
