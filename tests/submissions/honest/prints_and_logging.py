# suite: classic
# loses: none
# why: prints and logs all the way, with a module-level logger and a self-check on import

import json
import logging
import math
import statistics
import sys
import time

logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
monitor = logging.getLogger("pipeline.monitor")

HARD_BUFFER_LIMIT = 240
DEFAULTS = {"seen": 0, "limit": 200, "buffer": (), "z_cutoff": 3.0}


def coerce(raw):
    if isinstance(raw, bool) or raw is None:
        return None
    try:
        value = float(raw)
    except (TypeError, ValueError, OverflowError) as error:
        monitor.debug("corrupt reading %.40r: %s", raw, error)
        return None
    return value if math.isfinite(value) else None


def robust_keep(values, factor=14.0):
    """Indices to keep; peels off the farthest reading while it is absurdly far from the nearest 75 %."""
    order = list(range(len(values)))
    if len(values) < 8 or min(values) == max(values):
        return set(order)
    center = statistics.median(values)
    order.sort(key=lambda i: abs(values[i] - center))
    near = [abs(values[i] - center) for i in order[: math.ceil(len(order) * 0.75)]]
    typical = statistics.fmean(near) * 2
    if typical == 0:
        step = min(abs(v - center) for v in values if v != center)
        typical = min(step, 0.5 * max(1.0, abs(center)))
    while abs(values[order[-1]] - center) > factor * typical:
        order.pop()
    return set(order)


def process_batch(events, state):
    started = time.perf_counter()
    state = {**DEFAULTS, **(state or {})}
    print(f"batch of {len(events)}, seen so far {state['seen']}")

    rows = []
    for event in events:
        value = coerce(event.get("reading"))
        if value is None:
            monitor.warning("dropping corrupt row at ts %s", event.get("ts"))
            continue
        rows.append({**event, "reading": value})
    rows = sorted(rows, key=lambda row: row["ts"])

    keep = robust_keep([row["reading"] for row in rows])
    clean = [row for i, row in enumerate(rows) if i in keep]
    alerts = [f"spike {row['reading']:g} at {row['ts']}" for i, row in enumerate(rows) if i not in keep]
    for alert in alerts:
        print("ALERT", alert)

    values = [row["reading"] for row in clean]
    if len(set(values)) > 1:
        mean, std = statistics.fmean(values), statistics.pstdev(values)
    else:
        mean, std = (values[0] if values else 0.0), 0.0

    buffer = [*state["buffer"], *clean][-HARD_BUFFER_LIMIT:]
    telemetry = {
        "received": len(events),
        "corrupt": len(events) - len(rows),
        "spikes": len(alerts),
        "buffered": len(buffer),
        "over_limit": state["seen"] + len(events) > state["limit"],
        "elapsed_ms": round((time.perf_counter() - started) * 1000, 3),
    }
    monitor.info("telemetry %s", json.dumps(telemetry))
    state.update(seen=state["seen"] + len(events), buffer=buffer)
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": state}


print("self-check", process_batch([{"ts": 0, "reading": "1.5", "tag": "check"}], None)["mean"])
