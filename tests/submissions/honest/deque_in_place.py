# suite: classic
# loses: none
# why: changes the given state in place, pops from the left until the buffer fits

import bisect
import math

BUFFER_ROWS = 240
MONITORED = ("parsed", "corrupt", "trimmed", "buffered", "evicted", "redelivery_pressure")


def insert_sorted(rows, keys, row):
    at = bisect.bisect_right(keys, row["ts"])
    keys.insert(at, row["ts"])
    rows.insert(at, row)


def shortest_half(values):
    """Ends of the narrowest window with more than half of the sorted values."""
    count = len(values) // 2 + 1
    starts = range(len(values) - count + 1)
    begin = min(starts, key=lambda i: values[i + count - 1] - values[i])
    return values[begin], values[begin + count - 1]


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    monitor = dict.fromkeys(MONITORED, 0)

    rows, keys = [], []
    for event in events:
        raw = event["reading"] if "reading" in event else None
        if raw is None or raw is True or raw is False or isinstance(raw, (list, tuple, dict, set)):
            monitor["corrupt"] += 1
            continue
        try:
            value = float(raw)
            if not -math.inf < value < math.inf:
                raise ValueError("not finite")
        except (TypeError, ValueError, OverflowError):
            monitor["corrupt"] += 1
            continue
        monitor["parsed"] += 1
        insert_sorted(rows, keys, {"ts": event["ts"], "reading": value, "tag": event["tag"]})

    low = high = None
    if len(rows) >= 10:
        ordered = sorted(row["reading"] for row in rows)
        bottom, top = shortest_half(ordered)
        width = top - bottom
        if width == 0:
            steps = [abs(v - bottom) for v in ordered if v != bottom]
            width = min(min(steps), 0.5 * max(1.0, abs(bottom))) if steps else 0.0
        low, high = bottom - 12 * width, top + 12 * width

    clean, alerts = [], []
    for row in rows:
        if low is not None and not low <= row["reading"] <= high:
            alerts.append({"ts": row["ts"], "reading": row["reading"], "why": "spike"})
        else:
            clean.append(row)
    monitor["trimmed"] = len(alerts)

    mean = std = 0.0
    if clean:
        anchor = clean[0]["reading"]  # deviations from a member of the batch neither overflow nor cancel
        offsets = [row["reading"] - anchor for row in clean]
        shift = math.fsum(offsets) / len(offsets)
        mean = anchor + shift
        std = math.sqrt(math.fsum((o - shift) ** 2 for o in offsets) / len(offsets))

    buffer = state["buffer"]
    if getattr(buffer, "maxlen", 0) is not None and not isinstance(buffer, list) and buffer.maxlen < BUFFER_ROWS:
        buffer = state["buffer"] = type(buffer)(buffer, BUFFER_ROWS)
    buffer.extend(clean)
    while len(buffer) > BUFFER_ROWS:
        del buffer[0]
        monitor["evicted"] += 1
    monitor["buffered"] = len(buffer)

    state["seen"] += len(events)
    monitor["redelivery_pressure"] = int(state["seen"] > state["limit"])
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": monitor, "state": state}
