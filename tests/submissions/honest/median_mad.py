# suite: classic
# loses: none
# why: median and MAD decide what is a spike; one helper per step

import math
from collections import deque
from statistics import median

MAX_BUFFER = 240
REACH = 13  # in robust deviations: spikes lie far outside, minority groups inside


def to_number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def spike_limits(values):
    if len(values) < 8 or min(values) == max(values):
        return -math.inf, math.inf
    center = median(values)
    distances = [abs(v - center) for v in values]
    scale = 1.4826 * median(distances)
    if scale == 0:
        # More than half are identical: fall back to a wider quantile, then to the smallest step within reason.
        distances.sort()
        step = next(d for d in distances if d > 0)
        scale = distances[7 * len(distances) // 10] or min(step, 0.5 * max(abs(center), 1.0))
    return center - REACH * scale, center + REACH * scale


def summarize(values):
    if not values:
        return 0.0, 0.0
    low, high = min(values), max(values)
    if low == high:
        return low, 0.0
    mean = sum(v / len(values) for v in values)
    std = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    return min(max(mean, low), high), std


def process_batch(events, state):
    state = dict(state) if state else {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}

    rows, corrupt = [], 0
    for event in events:
        number = to_number(event.get("reading"))
        if number is None:
            corrupt += 1
        else:
            rows.append({"ts": event["ts"], "reading": number, "tag": event["tag"]})
    rows.sort(key=lambda row: row["ts"])

    low, high = spike_limits([row["reading"] for row in rows])
    clean = [row for row in rows if low <= row["reading"] <= high]
    alerts = [row for row in rows if not low <= row["reading"] <= high]
    mean, std = summarize([row["reading"] for row in clean])

    # backpressure: the oldest rows make room, whatever came in
    buffer = deque(state["buffer"], maxlen=MAX_BUFFER)
    buffer.extend(clean)
    state["buffer"] = buffer
    state["seen"] += len(events)

    telemetry = {
        "received": len(events),
        "corrupt": corrupt,
        "spikes": len(alerts),
        "kept": len(clean),
        "backpressure": state["seen"] > state["limit"],
    }
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": state}
