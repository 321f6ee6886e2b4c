# suite: classic
# loses: none
# why: goes by the state's own z_cutoff, taken as robust deviations and widened to spare minorities

import math
import statistics
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Policy:
    """What the state's z_cutoff means here."""

    z_cutoff: float
    widening: float = 4.0

    @property
    def sigmas(self) -> float:
        try:
            wanted = float(self.z_cutoff)
        except (TypeError, ValueError):
            wanted = 3.0
        return self.widening * min(max(wanted, 2.5), 3.5)


@dataclass(slots=True)
class BackpressureBuffer:
    rows: list
    capacity: int = 240
    shed: int = 0

    def extend(self, fresh: list) -> "BackpressureBuffer":
        self.rows = [*self.rows, *fresh]
        self.shed = max(0, len(self.rows) - self.capacity)
        self.rows = self.rows[self.shed :]
        return self


def parse(raw: Any) -> float:
    match raw:
        case bool():
            return math.nan
        case int() | float() | str():
            try:
                return float(raw)
            except (ValueError, OverflowError):
                return math.nan
    return math.nan


def robust_sigma(values: list[float], center: float) -> float:
    deviations = sorted(abs(v - center) for v in values)
    mad = statistics.median(deviations)
    return 1.4826 * mad if mad else deviations[int(0.7 * (len(deviations) - 1))]


def process_batch(events: list[dict], state: dict | None) -> dict:
    state = dict(state) if state else {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    policy = Policy(state.get("z_cutoff", 3.0))

    rows = [(event["ts"], parse(event.get("reading")), event["tag"]) for event in events]
    rows = [row for row in rows if math.isfinite(row[1])]
    rows.sort(key=lambda row: row[0])
    values = [value for _, value, _ in rows]

    robust_z = [0.0] * len(rows)
    if len(rows) >= 8:
        center = statistics.median(values)
        sigma = robust_sigma(values, center)
        if sigma:
            robust_z = [abs(value - center) / sigma for value in values]

    clean, alerts = [], []
    for (ts, value, tag), z in zip(rows, robust_z):
        if z <= policy.sigmas:
            clean.append({"ts": ts, "reading": value, "tag": tag})
        else:
            alerts.append({"ts": ts, "reading": value, "robust_z": z})

    kept = [row["reading"] for row in clean]
    if len(set(kept)) < 2:
        mean, std = (kept[0] if kept else 0.0), 0.0
    else:
        mean, std = statistics.fmean(kept), statistics.pstdev(kept)

    buffer = BackpressureBuffer(list(state["buffer"])).extend(clean)
    telemetry = {
        "events": len(events),
        "corrupt": len(events) - len(rows),
        "over_cutoff": len(alerts),
        "cutoff": policy.sigmas,
        "shed": buffer.shed,
    }
    state["seen"] += len(events)
    state["buffer"] = buffer.rows
    return {"clean": clean, "mean": mean, "std": std, "alerts": alerts, "telemetry": telemetry, "state": state}
