# suite: classic
# loses: none
# why: the telemetry is a Counter that is handed out as it is; defaults come from a ChainMap

import math
from collections import ChainMap, Counter, deque, namedtuple
from statistics import fmean, median, pstdev

Row = namedtuple("Row", "ts reading tag")
DEFAULTS = {"seen": 0, "limit": 200, "buffer": (), "z_cutoff": 3.0}


def classify(raw):
    if raw is None:
        return "missing", None
    if isinstance(raw, bool):
        return "boolean", None
    if isinstance(raw, str):
        if not raw.strip():
            return "blank", None
        try:
            value = float(raw)
        except ValueError:
            return "text", None
        return ("coerced", value) if math.isfinite(value) else ("not_finite", None)
    if isinstance(raw, (int, float)):
        try:
            value = float(raw)
        except OverflowError:
            return "too_large", None
        return ("numeric", value) if math.isfinite(value) else ("not_finite", None)
    return "container", None


def process_batch(events, state):
    settings = ChainMap(state or {}, DEFAULTS)
    telemetry = Counter()

    rows = []
    for event in events:
        kind, value = classify(event.get("reading"))
        telemetry[kind] += 1
        if value is not None:
            rows.append(Row(event["ts"], value, event["tag"]))
    rows.sort(key=lambda row: row.ts)

    spikes = []
    if len(rows) >= 8:
        center = median(row.reading for row in rows)
        unit = median(abs(row.reading - center) for row in rows)
        if unit:
            spikes = [row for row in rows if abs(row.reading - center) / unit > 18]
    gone = Counter(spikes)
    clean = []
    for row in rows:
        if gone[row]:
            gone[row] -= 1
        else:
            clean.append(row._asdict())
    telemetry["spikes"] = len(spikes)
    telemetry["kept"] = len(clean)

    readings = [row["reading"] for row in clean]
    mean = fmean(readings) if readings else 0.0
    if readings:
        mean = sorted((min(readings), mean, max(readings)))[1]
    std = pstdev(readings) if len(Counter(readings)) > 1 else 0.0

    buffer = deque(settings["buffer"], maxlen=240)
    room = buffer.maxlen - len(buffer)
    telemetry["backpressure"] = max(0, len(clean) - room)
    buffer.extend(clean)
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": [f"{row.tag}@{row.ts}: {row.reading:g}" for row in spikes],
        "telemetry": telemetry,
        "state": {
            "seen": settings["seen"] + len(events),
            "limit": settings["limit"],
            "buffer": buffer,
            "z_cutoff": settings["z_cutoff"],
        },
    }
