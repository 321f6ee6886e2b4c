# suite: classic
# loses: none
# why: imports nothing: math and stats are in the globals, as in the tool

def _num(x):
    if isinstance(x, (int, float, str)) and not isinstance(x, bool):
        try:
            x = float(x)
            return x if math.isfinite(x) else None
        except (ValueError, OverflowError):
            pass
    return None


def process_batch(events, state):
    state = state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    pairs = [(e, _num(e.get("reading"))) for e in events]
    rows = [{"ts": e["ts"], "reading": x, "tag": e["tag"]} for e, x in pairs if x is not None]
    rows.sort(key=lambda r: r["ts"])
    xs = [r["reading"] for r in rows]

    def guardrail(x):
        return True

    if len(xs) > 7 and min(xs) != max(xs):
        center = stats.median(xs)
        far = sorted(abs(x - center) for x in xs)
        mad = stats.median(far) or far[7 * len(far) // 10]
        if mad == 0:
            mad = min(min(d for d in far if d), 0.5 * max(1.0, abs(center)))

        def guardrail(x):
            return abs(x - center) / mad <= 20

    clean = [r for r in rows if guardrail(r["reading"])]
    alerts = [r for r in rows if not guardrail(r["reading"])]
    xs = [r["reading"] for r in clean]
    mean = stats.mean(xs) if xs else 0.0
    std = statistics.pstdev(xs) if xs else 0.0

    buffer = list(state["buffer"])
    buffer += clean
    del buffer[:-240]
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": {"n": len(events), "kept": len(clean), "corrupt": len(events) - len(rows)},
        "state": {**state, "seen": state["seen"] + len(events), "buffer": buffer},
    }
