# suite: classic
# loses: none
# why: object-oriented, dataclasses for rows, statistics and telemetry

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, order=True)
class Sample:
    ts: float
    order: int
    reading: float = field(compare=False)
    tag: str = field(compare=False)

    def as_event(self) -> dict:
        return {"ts": self.ts, "reading": self.reading, "tag": self.tag}


@dataclass
class Telemetry:
    received: int = 0
    rejected: int = 0
    spikes: int = 0
    evicted: int = 0
    degraded: bool = False


@dataclass
class Guardrail:
    """Says which readings are too far from the bulk of a batch to be believed."""

    center: float = 0.0
    reach: float = math.inf

    @classmethod
    def fit(cls, readings: list[float], multiple: float = 14.0) -> "Guardrail":
        if len(readings) < 8 or min(readings) == max(readings):
            return cls()
        ordered = sorted(readings)
        center = ordered[len(ordered) // 2]
        distances = sorted(abs(r - center) for r in ordered)
        scale = 1.4826 * distances[len(distances) // 2]
        if scale == 0.0:
            step = next(d for d in distances if d > 0.0)
            scale = distances[len(distances) * 7 // 10] or min(step, 0.5 * max(abs(center), 1.0))
        return cls(center, multiple * scale)

    def allows(self, reading: float) -> bool:
        return abs(reading - self.center) <= self.reach


@dataclass
class Pipeline:
    capacity: int = 240
    telemetry: Telemetry = field(default_factory=Telemetry)

    @staticmethod
    def decode(raw) -> float | None:
        if isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
            try:
                number = float(raw)
            except (ValueError, OverflowError):
                return None
            if math.isfinite(number):
                return number
        return None

    def ingest(self, events) -> list[Sample]:
        samples = []
        for order, event in enumerate(events):
            self.telemetry.received += 1
            number = self.decode(event.get("reading"))
            if number is None:
                self.telemetry.rejected += 1
                continue
            samples.append(Sample(event["ts"], order, number, event["tag"]))
        return sorted(samples)

    @staticmethod
    def moments(readings: list[float]) -> tuple[float, float]:
        """Welford's running mean and deviation."""
        mean = square = 0.0
        for count, reading in enumerate(readings, 1):
            delta = reading - mean
            mean += delta / count
            square += delta * (reading - mean)
        return mean, math.sqrt(max(square, 0.0) / len(readings)) if readings else 0.0

    def remember(self, held, samples: list[Sample]) -> deque:
        buffer = deque(held, maxlen=self.capacity)
        self.telemetry.evicted = max(0, len(held) + len(samples) - self.capacity)
        buffer.extend(sample.as_event() for sample in samples)
        return buffer

    def run(self, events, state: dict) -> dict:
        samples = self.ingest(events)
        guardrail = Guardrail.fit([s.reading for s in samples])
        clean = [s for s in samples if guardrail.allows(s.reading)]
        alerts = [s.as_event() for s in samples if not guardrail.allows(s.reading)]
        self.telemetry.spikes = len(alerts)
        self.telemetry.degraded = not clean
        mean, std = self.moments([s.reading for s in clean])
        buffer = self.remember(state["buffer"], clean)
        return {
            "clean": [s.as_event() for s in clean],
            "mean": mean,
            "std": std,
            "alerts": alerts,
            "telemetry": asdict(self.telemetry),
            "state": {**state, "seen": state["seen"] + self.telemetry.received, "buffer": buffer},
        }


def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": deque(maxlen=240), "z_cutoff": 3.0}
    return Pipeline().run(events, state)
