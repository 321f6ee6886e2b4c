# suite: classic
# loses: none
# why: three detectors vote on every reading; two of three make it a spike

import math
import statistics


def mad_detector(values):
    center = statistics.median(values)
    mad = statistics.median([abs(v - center) for v in values])
    return [mad > 0 and abs(v - center) > 18 * mad for v in values]


def iqr_detector(values):
    q1, _, q3 = statistics.quantiles(values, n=4, method="inclusive")
    iqr = q3 - q1
    return [iqr > 0 and not q1 - 7 * iqr <= v <= q3 + 7 * iqr for v in values]


def shorth_detector(values):
    ordered = sorted(values)
    half = len(ordered) // 2
    low, high = min(zip(ordered, ordered[half:]), key=lambda ends: ends[1] - ends[0])
    width = high - low
    return [width > 0 and not low - 10 * width <= v <= high + 10 * width for v in values]


DETECTORS = (mad_detector, iqr_detector, shorth_detector)


def spikes_among(values, telemetry):
    if len(values) < 8:
        return [False] * len(values)
    votes = [detector(values) for detector in DETECTORS]
    for detector, vote in zip(DETECTORS, votes):
        telemetry[f"votes_of_{detector.__name__}"] = sum(vote)
    return [sum(ballot) >= 2 for ballot in zip(*votes)]


def number_or_none(raw):
    if isinstance(raw, bool):
        return None
    if not isinstance(raw, (int, float, str)):
        return None
    try:
        number = float(raw)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) or math.isinf(number) else number


def process_batch(events, state):
    telemetry = {"received": len(events)}
    monitor_state = dict(state) if state is not None else {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}

    rows = []
    for event in events:
        number = number_or_none(event.get("reading"))
        if number is not None:
            rows.append({"ts": event["ts"], "reading": number, "tag": event["tag"]})
    rows = sorted(rows, key=lambda row: row["ts"])
    telemetry["corrupt"] = len(events) - len(rows)

    flagged = spikes_among([row["reading"] for row in rows], telemetry)
    clean = [row for row, spike in zip(rows, flagged) if not spike]
    alerts = [row for row, spike in zip(rows, flagged) if spike]
    telemetry["outvoted"] = len(alerts)

    values = [row["reading"] for row in clean]
    mean = statistics.fmean(values) if values else 0.0
    std = 0.0
    if values:
        mean = min(max(mean, min(values)), max(values))
        if min(values) < max(values):
            std = statistics.pstdev(values)

    monitor_state["buffer"] = (list(monitor_state["buffer"]) + clean)[-240:]
    monitor_state["seen"] += len(events)
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": monitor_state,
    }
