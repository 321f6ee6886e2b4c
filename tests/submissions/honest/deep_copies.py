# suite: classic
# loses: none
# why: copies everything before it touches anything, and hands out copies of what it keeps

import copy
import math
import statistics

DEFAULT_STATE = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}


def process_batch(events, state):
    events = copy.deepcopy(events)
    state = copy.deepcopy(DEFAULT_STATE if state is None else state)

    guardrails = {"max_buffer": 240, "min_rows": 8, "max_distance": 18}
    telemetry = {"n_events": len(events), "n_corrupt": 0, "n_spikes": 0, "n_evicted": 0}

    clean = []
    for event in events:
        reading = event.pop("reading", None)
        if isinstance(reading, bool) or not isinstance(reading, (int, float, str)):
            telemetry["n_corrupt"] += 1
            continue
        try:
            event["reading"] = float(reading)
        except (ValueError, OverflowError):
            telemetry["n_corrupt"] += 1
            continue
        if not math.isfinite(event["reading"]):
            telemetry["n_corrupt"] += 1
            continue
        clean.append(event)
    clean.sort(key=lambda event: event["ts"])

    alerts = []
    if len(clean) >= guardrails["min_rows"]:
        center = statistics.median(event["reading"] for event in clean)
        mad = statistics.median(abs(event["reading"] - center) for event in clean)
        for event in clean[:]:
            if mad > 0 and abs(event["reading"] - center) > guardrails["max_distance"] * mad:
                clean.remove(event)
                alerts.append(copy.copy(event))
    telemetry["n_spikes"] = len(alerts)

    readings = [event["reading"] for event in clean]
    mean = std = 0.0
    if readings:
        mean = statistics.fmean(readings)
        mean = max(mean, min(readings))
        mean = min(mean, max(readings))
        if min(readings) < max(readings):
            std = statistics.pstdev(readings)

    buffer = list(state["buffer"])
    buffer.extend(copy.deepcopy(clean))
    telemetry["n_evicted"] = max(0, len(buffer) - guardrails["max_buffer"])
    state["buffer"] = buffer[-guardrails["max_buffer"] :]
    state["seen"] += len(events)

    return copy.deepcopy(
        {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": state}
    )
