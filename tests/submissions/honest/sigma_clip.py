# suite: classic
# loses: none
# why: sigma clipping, started from the median absolute deviation and repeated until nothing changes

import math
import statistics

MAX_ITER = 10
K_START = 20.0
K_LATER = 12.0
CAPACITY = 240


def sigma_clip(values):
    """Returns a list of booleans: True where a value is kept."""
    keep = [True] * len(values)
    if len(values) < 8:
        return keep, 0
    center = statistics.median(values)
    sigma = 1.4826 * statistics.median([abs(v - center) for v in values])
    k = K_START * 0.65
    rounds = 0
    for rounds in range(1, MAX_ITER + 1):
        if sigma <= 1e-13 * max(1.0, abs(center)) and sigma <= 1e-13 * abs(center):
            break
        now = [abs(v - center) <= k * sigma for v in values]
        if now == keep and rounds > 1:
            break
        keep = now
        survivors = [v for v, kept in zip(values, keep) if kept]
        center = statistics.fmean(survivors)
        sigma = max(sigma, statistics.pstdev(survivors))
        k = K_LATER
    return keep, rounds


def parse_float(x):
    if isinstance(x, bool):
        return None
    if isinstance(x, str):
        x = x.strip()
        if not x:
            return None
    elif not isinstance(x, (int, float)):
        return None
    try:
        f = float(x)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(f) or math.isinf(f) else f


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}

    parsed = []
    n_corrupt = 0
    for e in events:
        f = parse_float(e.get("reading"))
        if f is None:
            n_corrupt += 1
        else:
            parsed.append((e["ts"], f, e["tag"]))
    parsed.sort(key=lambda p: p[0])

    keep, rounds = sigma_clip([f for _, f, _ in parsed])
    clean = [{"ts": t, "reading": f, "tag": g} for (t, f, g), k in zip(parsed, keep) if k]
    alerts = [{"ts": t, "reading": f, "tag": g, "alert": "clipped"} for (t, f, g), k in zip(parsed, keep) if not k]

    xs = [r["reading"] for r in clean]
    if len(xs) == 0:
        mean, std = 0.0, 0.0
    elif max(xs) == min(xs):
        mean, std = xs[0], 0.0
    else:
        mean = min(max(statistics.fmean(xs), min(xs)), max(xs))
        std = statistics.pstdev(xs)

    new_buffer = list(state.get("buffer", []))
    for r in clean:
        new_buffer.append(r)
    backpressure = 0
    while len(new_buffer) > CAPACITY:
        new_buffer.pop(0)
        backpressure += 1

    telemetry = {"total": len(events), "corrupt": n_corrupt, "clipped": len(alerts), "rounds": rounds}
    telemetry["backpressure_dropped"] = backpressure
    new_state = {
        "seen": state.get("seen", 0) + len(events),
        "limit": state.get("limit", 200),
        "buffer": new_buffer,
        "z_cutoff": state.get("z_cutoff", 3.0),
    }
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": new_state}
