# suite: classic
# loses: none
# why: readings are sorted and cut where a gap is huge against the width of the bulk

import math
from collections import deque


class GapCutter:
    """Walks outward from the bulk and cuts at the first gap that is wider than the bulk itself, several times over."""

    MIN_ROWS = 8
    GAP = 7.0

    def __init__(self, readings):
        self.sorted = sorted(readings)
        self.low, self.high = -math.inf, math.inf
        self.cut = False

    def find(self):
        n = len(self.sorted)
        if n < self.MIN_ROWS:
            return self
        # the narrowest window that holds 55 % of the readings
        size = max(2, math.ceil(0.55 * n))
        start = min(range(n - size + 1), key=lambda i: self.sorted[i + size - 1] - self.sorted[i])
        end = start + size - 1
        width = self.sorted[end] - self.sorted[start]
        if width == 0:
            return self
        while end + 1 < n and self.sorted[end + 1] - self.sorted[end] <= self.GAP * width:
            end += 1
        while start > 0 and self.sorted[start] - self.sorted[start - 1] <= self.GAP * width:
            start -= 1
        self.low, self.high = self.sorted[start], self.sorted[end]
        self.cut = start > 0 or end < n - 1
        return self

    def __contains__(self, reading):
        return self.low <= reading <= self.high


def to_float(raw):
    if isinstance(raw, bool) or not isinstance(raw, (str, float, int)):
        raise TypeError(raw)
    number = float(raw)
    if math.isnan(number) or math.isinf(number):
        raise ValueError(raw)
    return number


def process_batch(events, state):
    if not state:
        state = {"seen": 0, "limit": 200, "buffer": deque(), "z_cutoff": 3.0}
    telemetry = {"in": len(events), "type_errors": 0, "value_errors": 0, "cut": 0, "fallback": False}

    rows = []
    for event in events:
        try:
            rows.append({"ts": event["ts"], "reading": to_float(event.get("reading")), "tag": event["tag"]})
        except TypeError:
            telemetry["type_errors"] += 1
        except (ValueError, OverflowError):
            telemetry["value_errors"] += 1
    rows.sort(key=lambda r: r["ts"])

    cutter = GapCutter(r["reading"] for r in rows).find()
    clean = [r for r in rows if r["reading"] in cutter]
    alerts = [("cut", r["ts"], r["reading"]) for r in rows if r["reading"] not in cutter]
    telemetry["cut"] = len(alerts)
    telemetry["fallback"] = not cutter.cut

    mean = std = 0.0
    if clean:
        base = clean[0]["reading"]
        shifted = [r["reading"] - base for r in clean]
        offset = math.fsum(shifted) / len(shifted)
        mean = base + offset
        std = math.hypot(*(s - offset for s in shifted)) / math.sqrt(len(shifted))

    held = deque(state["buffer"], maxlen=240)
    held.extend(clean)
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": dict(state, seen=state["seen"] + len(events), buffer=held),
    }
