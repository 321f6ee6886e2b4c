# suite: classic
# loses: none
# why: as short as it gets

from math import isfinite
from statistics import mean, median, pstdev

def process_batch(events, state):
    s = dict(state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3})
    rows = []
    for e in sorted(events, key=lambda e: e["ts"]):
        try:
            x = e.get("reading")
            x = x if isinstance(x, bool) else float(x)
            if x is not True and x is not False and isfinite(x):
                rows.append({**e, "reading": x})
        except (TypeError, ValueError, OverflowError):
            pass
    fallback, out = rows, []
    if len(rows) > 7:
        m = median(r["reading"] for r in rows)
        d = median(abs(r["reading"] - m) for r in rows)
        out = [r for r in rows if abs(r["reading"] - m) > 18 * d > 0]
    clean = [r for r in fallback if r not in out]
    x = [r["reading"] for r in clean] or [0.0]
    s["seen"] += len(events)
    s["buffer"] = [*s["buffer"], *clean][-240:]
    telemetry = {"bad": len(events) - len(rows), "spikes": len(out)}
    return {"clean": clean, "mean": mean(x), "std": pstdev(x), "alerts": out, "telemetry": telemetry, "state": s}
