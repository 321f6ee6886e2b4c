# suite: classic
# loses: none
# why: spikes are not dropped but clipped to the outermost ordinary reading

import math
import statistics


def process_batch(events, state):
    """Winsorising variant: every valid row is kept, spikes are pulled back into the range of the bulk.

    Guardrails: parsing never raises, the spread may be zero, the buffer is bounded, telemetry is always there.
    """
    CAP = 240
    FACTOR = 25

    if not state:
        state = {}
    seen = state.get("seen", 0)
    limit = state.get("limit", 200)
    buffer = state.get("buffer", [])
    z_cutoff = state.get("z_cutoff", 3)

    telemetry = {"events": len(events), "corrupt": 0, "coerced": 0, "clipped": 0, "buffer_dropped": 0}

    rows = []
    for event in events:
        value = event.get("reading", None)
        if isinstance(value, str):
            telemetry["coerced"] += 1
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            telemetry["corrupt"] += 1
            continue
        try:
            value = float(value)
        except (ValueError, OverflowError):
            telemetry["corrupt"] += 1
            continue
        if math.isnan(value) or math.isinf(value):
            telemetry["corrupt"] += 1
            continue
        row = dict(event)
        row["reading"] = value
        rows.append(row)
    rows.sort(key=lambda r: r["ts"])

    alerts = []
    if rows:
        values = sorted(r["reading"] for r in rows)
        center = statistics.median_low(values)
        distances = sorted(abs(v - center) for v in values)
        # mean distance of the nearest 70 %: never zero unless most of the batch is constant, and blind to spikes
        near = distances[: max(1, math.ceil(0.7 * len(distances)))]
        spread = math.fsum(near) / len(near)
        if spread == 0:
            nonzero = [d for d in distances if d > 0]
            spread = min(nonzero[0], 0.5 * max(1.0, abs(center))) if nonzero else 0.0
        inside = [v for v in values if abs(v - center) <= FACTOR * spread or len(values) < 8]
        floor, ceiling = inside[0], inside[-1]
        for r in rows:
            clipped = min(max(r["reading"], floor), ceiling)
            if clipped != r["reading"]:
                alerts.append({"ts": r["ts"], "reading": r["reading"], "clipped_to": clipped})
                telemetry["clipped"] += 1
                r["reading"] = clipped
        readings = [r["reading"] for r in rows]
        if floor == ceiling:
            mean, std = floor, 0.0
        else:
            mean = math.fsum(readings) / len(readings)
            std = math.sqrt(math.fsum((v - mean) * (v - mean) for v in readings) / len(readings))
    else:
        mean, std = 0.0, 0.0

    merged = list(buffer)
    merged.extend({"ts": r["ts"], "reading": r["reading"], "tag": r.get("tag", "")} for r in rows)
    backpressure = len(merged) > CAP
    if backpressure:
        telemetry["buffer_dropped"] = len(merged) - CAP
        merged = merged[-CAP:]

    return {
        "clean": rows,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": {"seen": seen + len(events), "limit": limit, "buffer": merged, "z_cutoff": z_cutoff},
    }
