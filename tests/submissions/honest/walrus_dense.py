# suite: classic
# loses: none
# why: dense, with walrus operators, unpacking and conditional expressions everywhere

from math import isfinite
from statistics import fmean, median, pstdev


def num(x):
    try:
        return f if type(x) in (int, float, str) and isfinite(f := float(x)) else None
    except (ValueError, OverflowError):
        return None


def process_batch(events, state):
    st = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0, **(state or {})}
    rows = [{**e, "reading": x} for e in sorted(events, key=lambda e: e["ts"]) if (x := num(e.get("reading"))) is not None]
    guardrail = float("inf")
    if (n := len(xs := [r["reading"] for r in rows])) > 7 and (mad := median(abs(x - (mid := median(xs))) for x in xs)) > 0:
        guardrail = 18 * mad
    else:
        mid = 0.0
    clean = [r for r in rows if abs(r["reading"] - mid) <= guardrail]
    spikes = [r for r in rows if abs(r["reading"] - mid) > guardrail]
    if len(set(ys := [r["reading"] for r in clean])) > 1:
        mean, std = min(max(fmean(ys), min(ys)), max(ys)), pstdev(ys)
    else:
        mean, std = next(iter(ys), 0.0), 0.0
    st |= {"seen": st["seen"] + len(events), "buffer": [*st["buffer"], *clean][-240:]}
    return {
        "clean": clean, "mean": mean, "std": std, "alerts": spikes, "state": st,
        "telemetry": {"events": (m := len(events)), "valid": n, "corrupt": m - n, "spikes": len(spikes)},
    }
