# suite: classic
# loses: none
# why: heavily engineered: retry budget, circuit breaker, fallback path, nested closures, exceptions as flow

import math
import statistics
import traceback
from contextlib import contextmanager

MAX_ROWS = 240
RETRY_BUDGET = 2


class TelemetrySink(dict):
    """Counts by name; a plain dict goes out."""

    def bump(self, name, by=1):
        self[name] = self.get(name, 0) + by

    @contextmanager
    def guarded(self, name):
        try:
            yield
        except Exception as error:
            self.bump(f"{name}_failed")
            self[f"{name}_error"] = traceback.format_exception_only(error)[-1].strip()[:120]


def _validated(event):
    raw = event["reading"]
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        raise TypeError("reading has no numeric type")
    number = float(raw)
    if not math.isfinite(number):
        raise ValueError("reading is not finite")
    return {"ts": event["ts"], "reading": number, "tag": event["tag"]}


def _trim(rows, width):
    values = [row["reading"] for row in rows]
    center = statistics.median(values)
    distances = sorted(abs(v - center) for v in values)
    scale = statistics.median(distances) or distances[7 * len(distances) // 10]
    if scale == 0:
        raise ZeroDivisionError("no spread among most readings")
    return [row for row in rows if abs(row["reading"] - center) / scale <= width]


def _trim_mostly_constant(rows, width):
    mode = statistics.mode(row["reading"] for row in rows)
    steps = [abs(row["reading"] - mode) for row in rows if row["reading"] != mode]
    if not steps:
        return rows
    scale = min(min(steps), 0.5 * max(1.0, abs(mode)))
    return [row for row in rows if abs(row["reading"] - mode) <= width * scale]


def process_batch(events, state):
    telemetry = TelemetrySink()
    state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0} | (state or {})

    rows = []
    for event in events:
        try:
            rows.append(_validated(event))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            telemetry.bump(f"corrupt_{type(error).__name__}")
    rows.sort(key=lambda row: row["ts"])

    clean = rows
    if len(rows) >= 8 and len({row["reading"] for row in rows}) > 1:
        for attempt, trim in enumerate((_trim, _trim_mostly_constant)[:RETRY_BUDGET]):
            with telemetry.guarded(f"trim_{attempt}"):
                clean = trim(rows, 20)
                break
        else:
            telemetry["fallback"] = "untrimmed"
    kept = {id(row) for row in clean}
    alerts = [{"ts": row["ts"], "reading": row["reading"]} for row in rows if id(row) not in kept]
    telemetry.bump("trimmed", len(alerts))

    mean = std = 0.0
    if clean:
        values = [row["reading"] for row in clean]
        mean = float(statistics.mean(values))
        std = float(statistics.pstdev(values))

    breaker_open = state["seen"] + len(events) > state["limit"]
    held = list(state["buffer"])
    room = MAX_ROWS - len(clean)
    buffer = (held[-room:] if room > 0 else []) + clean[-MAX_ROWS:]
    telemetry["breaker_open"] = breaker_open
    telemetry["evicted"] = max(0, len(held) + len(clean) - len(buffer))

    state["buffer"] = buffer
    state["seen"] += len(events)
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": dict(telemetry),
        "state": state,
    }
