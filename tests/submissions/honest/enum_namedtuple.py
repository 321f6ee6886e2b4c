# suite: classic
# loses: none
# why: every event gets a verdict of an enum in a named tuple; the results are read off the verdicts

import math
import statistics
from collections import Counter
from enum import Enum, auto
from typing import NamedTuple, Optional


class Verdict(Enum):
    KEPT = auto()
    COERCED = auto()
    CORRUPT = auto()
    SPIKE = auto()

    @property
    def survives(self) -> bool:
        return self in (Verdict.KEPT, Verdict.COERCED)


class Judged(NamedTuple):
    ts: float
    tag: str
    reading: Optional[float]
    verdict: Verdict

    def row(self) -> dict:
        return {"ts": self.ts, "reading": self.reading, "tag": self.tag}


class Monitor(NamedTuple):
    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def around(cls, readings):
        if len(readings) < 8:
            return cls()
        center = statistics.median_high(readings)
        distances = sorted(abs(r - center) for r in readings)
        nearest = distances[: 2 * len(distances) // 3]
        typical = sum(nearest) / len(nearest)
        if typical == 0:
            return cls()
        return cls(center - 30 * typical, center + 30 * typical)


def first_look(event) -> Judged:
    raw = event.get("reading")
    number, verdict = None, Verdict.CORRUPT
    if type(raw) in (int, float, str):
        try:
            number = float(raw)
        except (ValueError, OverflowError):
            number = None
        if number is not None and math.isfinite(number):
            verdict = Verdict.COERCED if isinstance(raw, str) else Verdict.KEPT
    return Judged(event["ts"], event["tag"], number, verdict)


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}

    judged = sorted(map(first_look, events), key=lambda j: j.ts)
    monitor = Monitor.around([j.reading for j in judged if j.verdict.survives])
    judged = [
        j._replace(verdict=Verdict.SPIKE)
        if j.verdict.survives and not monitor.low <= j.reading <= monitor.high
        else j
        for j in judged
    ]

    clean = [j.row() for j in judged if j.verdict.survives]
    alerts = [j.row() for j in judged if j.verdict is Verdict.SPIKE]
    counts = Counter(j.verdict.name.lower() for j in judged)
    telemetry = {verdict.name.lower(): counts[verdict.name.lower()] for verdict in Verdict}

    readings = [row["reading"] for row in clean]
    constant = len(set(readings)) <= 1
    if constant:
        mean, std = (readings[0] if readings else 0.0), 0.0
    else:
        mean, std = statistics.fmean(readings), statistics.pstdev(readings)

    buffer = list(state["buffer"])[-240:]
    buffer.extend(clean[-240:])
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": alerts,
        "telemetry": telemetry,
        "state": {**state, "seen": state["seen"] + len(judged), "buffer": buffer[-240:]},
    }
