# suite: classic
# loses: none
# why: centre and spread from a trimmed mean, thirty percent off at either end

import math

TRIM = 0.3
TOO_FEW = 10
TOO_FAR = 15.0
ROWS_HELD = 240


def trimmed(values, share=TRIM):
    values = sorted(values)
    cut = int(len(values) * share)
    return values[cut : len(values) - cut]


def average(values):
    return math.fsum(values) / len(values)


def deviation(values, about):
    return math.sqrt(average([(v - about) * (v - about) for v in values]))


def parse(event):
    raw = event.get("reading")
    if isinstance(raw, (int, float, str)) and raw is not True and raw is not False:
        try:
            number = float(raw)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    return None


def split(rows):
    """Rows to keep, and rows that are spikes."""
    if len(rows) < TOO_FEW:
        return rows, []
    inner = trimmed([number for _, number in rows])
    center = average(inner)
    # of the nearest three fifths: two fifths of the deviation of the whole
    distances = sorted(abs(number - center) for _, number in rows)
    spread = 2 * average(distances[: 3 * len(distances) // 5])
    if spread < 1e-12 * abs(center) or spread == 0.0:
        return rows, []
    kept, spikes = [], []
    for row in rows:
        (spikes if abs(row[1] - center) > TOO_FAR * spread else kept).append(row)
    return kept, spikes


def process_batch(events, state):
    state = dict(state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0})
    monitor = {"events": len(events)}

    parsed = [(event, parse(event)) for event in events]
    rows = sorted(((e, n) for e, n in parsed if n is not None), key=lambda row: row[0]["ts"])
    monitor["corrupt"] = len(parsed) - len(rows)

    kept, spikes = split(rows)
    monitor["spikes"] = len(spikes)
    clean = [dict(event, reading=number) for event, number in kept]

    numbers = [number for _, number in kept]
    mean = std = 0.0
    if numbers:
        mean = max(min(numbers), min(max(numbers), average(numbers)))
        if min(numbers) != max(numbers):
            std = deviation(numbers, mean)

    buffer = [*state["buffer"], *clean]
    monitor["pushed_out"] = max(0, len(buffer) - ROWS_HELD)
    state["buffer"] = buffer[-ROWS_HELD:]
    state["seen"] += len(events)
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": [f"spike of {number} at {event['ts']}" for event, number in spikes],
        "telemetry": monitor,
        "state": state,
    }
