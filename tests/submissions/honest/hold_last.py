# suite: classic
# loses: none
# why: corrupt rows hold the last ordinary reading of the batch, leading ones take the first

import math
from collections import deque


def as_number(x):
    if type(x) is bool:
        return None
    try:
        x = float(x)
    except (TypeError, ValueError, OverflowError):
        return None
    return x if -math.inf < x < math.inf else None


def median(sorted_values):
    n = len(sorted_values)
    return sorted_values[n // 2] if n % 2 else (sorted_values[n // 2 - 1] + sorted_values[n // 2]) / 2


def process_batch(events, state):
    state = state or {"seen": 0, "limit": 200, "buffer": deque(maxlen=240), "z_cutoff": 3.0}
    telemetry = {"rows": len(events), "held": 0, "spikes": 0, "unusable": 0}

    ordered = sorted(events, key=lambda event: event["ts"])
    numbers = [as_number(event.get("reading")) for event in ordered]
    valid = sorted(x for x in numbers if x is not None)

    # How far from the middle may a reading lie? Three fifths of the batch set the scale.
    reach = math.inf
    middle = 0.0
    if len(valid) >= 8:
        middle = median(valid)
        away = sorted(abs(x - middle) for x in valid)
        scale = away[int(len(away) * 0.6)]
        if scale > 0:
            reach = 13 * scale

    # A spike is neither kept nor held; a gap is filled from the left, at the very start from the right.
    fallback = next((x for x in numbers if x is not None and abs(x - middle) <= reach), None)
    clean, alerts = [], []
    for event, number in zip(ordered, numbers):
        if number is None:
            if fallback is None:
                telemetry["unusable"] += 1
                continue
            telemetry["held"] += 1
            number = fallback
        elif abs(number - middle) > reach:
            telemetry["spikes"] += 1
            alerts.append({"ts": event["ts"], "spike": number})
            continue
        fallback = number
        clean.append({"ts": event["ts"], "reading": number, "tag": event["tag"]})

    readings = [row["reading"] for row in clean]
    if readings:
        low, high = min(readings), max(readings)
        mean = min(high, max(low, math.fsum(readings) / len(readings)))
        std = math.sqrt(math.fsum((x - mean) * (x - mean) for x in readings) / len(readings)) if low < high else 0.0
    else:
        mean, std = 0.0, 0.0

    buffer = deque(maxlen=240)
    buffer.extend(state["buffer"])
    buffer.extend(clean)
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": {
            "seen": state["seen"] + len(events),
            "limit": state["limit"],
            "buffer": buffer,
            "z_cutoff": state["z_cutoff"],
        },
    }
