# suite: classic
# loses: none
# why: context managers for each risky step; a raised step leaves its fallback in place

import math
import statistics
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress


@contextmanager
def fallback(telemetry, step):
    """What raises inside is counted and swallowed: whatever was assigned before stays."""
    began = time.monotonic()
    try:
        yield
    except (ArithmeticError, ValueError, TypeError, KeyError, LookupError) as error:
        telemetry.setdefault("fallbacks", []).append(f"{step}: {type(error).__name__}")
    finally:
        telemetry[f"{step}_ms"] = (time.monotonic() - began) * 1e3


class SpikeMonitor:
    """Used as `with SpikeMonitor(rows) as split:`; `split` is (ordinary, spikes)."""

    def __init__(self, rows):
        self.rows = rows

    def __enter__(self):
        values = [row["reading"] for row in self.rows]
        if len(values) < 10:
            return self.rows, []
        center = statistics.median(values)
        distances = sorted(abs(value - center) for value in values)
        unit = distances[int(0.6 * len(distances))]
        if unit / max(1e-300, abs(center)) < 1e-14:
            return self.rows, []
        ordinary = [row for row in self.rows if abs(row["reading"] - center) <= 13 * unit]
        spikes = [row for row in self.rows if abs(row["reading"] - center) > 13 * unit]
        return ordinary, spikes

    def __exit__(self, *exception):
        return False


def process_batch(events, state):
    telemetry = {"events": len(events), "corrupt": 0}
    current = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    with suppress(TypeError):
        current.update(state)

    rows, clean, spikes = [], [], []
    mean = std = 0.0
    with fallback(telemetry, "parse"):
        for event in events:
            reading = math.nan
            with suppress(ValueError, OverflowError):
                raw = event.get("reading")
                if isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
                    reading = float(raw)
            if math.isfinite(reading):
                rows.append({"ts": event["ts"], "reading": reading, "tag": event["tag"]})
            else:
                telemetry["corrupt"] += 1
        rows.sort(key=lambda row: row["ts"])

    clean = rows
    with ExitStack() as stack:
        stack.enter_context(fallback(telemetry, "trim"))
        clean, spikes = stack.enter_context(SpikeMonitor(rows))
        telemetry["spikes"] = len(spikes)

    with fallback(telemetry, "describe"):
        values = [row["reading"] for row in clean]
        mean = statistics.fmean(values)
        mean = max(min(values), min(max(values), mean))
        if max(values) > min(values):
            std = statistics.pstdev(values)

    buffer = deque(maxlen=240)
    with fallback(telemetry, "buffer"):
        buffer.extend(current["buffer"])
        buffer.extend(clean)

    current["buffer"] = buffer
    current["seen"] += len(events)
    return {"clean": clean, "mean": mean, "std": std, "alerts": spikes, "telemetry": telemetry, "state": current}
