# suite: classic
# loses: none
# why: rational arithmetic, so that nothing is rounded before the end

import math
from fractions import Fraction
from itertools import filterfalse


class Reading:
    """A row with its exact value."""

    __slots__ = ("ts", "tag", "value", "exact")

    def __init__(self, event, value):
        self.ts = event["ts"]
        self.tag = event["tag"]
        self.value = value
        self.exact = Fraction(value)

    @classmethod
    def parse(cls, event):
        raw = event.get("reading")
        if type(raw) is bool or type(raw) not in {int, float, str}:
            return None
        try:
            value = float(raw)
            return cls(event, value)
        except (ValueError, OverflowError):  # Fraction refuses NaN and infinity, too
            return None

    def row(self):
        return {"ts": self.ts, "reading": self.value, "tag": self.tag}


def exact_median(numbers):
    numbers = sorted(numbers)
    n = len(numbers)
    return (numbers[(n - 1) // 2] + numbers[n // 2]) / 2


def root(fraction):
    """Square root of what may be too large or too small for a float."""
    if fraction == 0:
        return 0.0
    shift = (fraction.numerator.bit_length() - fraction.denominator.bit_length()) // 2
    return math.ldexp(math.sqrt(fraction / Fraction(4) ** shift), shift)


def process_batch(events, state):
    old = state or {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    parsed = [Reading.parse(event) for event in events]
    readings = sorted(filter(None, parsed), key=lambda reading: reading.ts)

    ordinary = lambda reading: True
    if len(readings) > 7:
        center = exact_median(r.exact for r in readings)
        mad = exact_median(abs(r.exact - center) for r in readings)
        if mad:
            ordinary = lambda reading: abs(reading.exact - center) / mad <= 18
    kept = list(filter(ordinary, readings))
    spikes = list(filterfalse(ordinary, readings))

    mean = std = 0.0
    if kept:
        exact_mean = sum(r.exact for r in kept) / len(kept)
        mean = float(exact_mean)
        std = root(sum((r.exact - exact_mean) ** 2 for r in kept) / len(kept))

    clean = [r.row() for r in kept]
    held = [*old["buffer"], *clean]
    overflow = max(0, len(held) - 240)
    telemetry = {
        "events": len(events),
        "corrupt": parsed.count(None),
        "spikes": len(spikes),
        "backpressure": {"overflow": overflow, "over_limit": old["seen"] + len(events) > old["limit"]},
    }
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": [r.row() for r in spikes],
        "telemetry": telemetry,
        "state": {**old, "seen": old["seen"] + len(events), "buffer": held[overflow:]},
    }
