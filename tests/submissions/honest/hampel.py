# suite: classic
# loses: none
# why: a Hampel identifier over the whole batch, as a small library with public and private names

"""Hardened ``process_batch`` with a Hampel identifier."""

from __future__ import annotations

import logging
import math
import statistics
from collections import deque

__all__ = ["process_batch"]

logger = logging.getLogger(__name__)

_GAUSSIAN = 1.482602218505602
_N_SIGMAS = 12.0
_MIN_SAMPLE = 8
_BUFFER_MAX = 240


class HampelGuardrail:
    """Flags what lies more than ``n_sigmas`` robust deviations from the median."""

    def __init__(self, n_sigmas: float = _N_SIGMAS) -> None:
        self.n_sigmas = n_sigmas
        self.center = 0.0
        self.sigma = 0.0
        self.fitted = False

    def fit(self, sample: list[float]) -> HampelGuardrail:
        if len(sample) < _MIN_SAMPLE:
            logger.debug("sample of %d is too small for the identifier", len(sample))
            return self
        self.center = statistics.median(sample)
        deviations = sorted(abs(x - self.center) for x in sample)
        self.sigma = _GAUSSIAN * statistics.median(deviations)
        # ties in more than half of the sample: a higher quantile, still clear of a fifth of spikes
        if self.sigma == 0:
            self.sigma = deviations[int(0.75 * len(deviations))]
        self.fitted = self.sigma > 0
        return self

    def flags(self, x: float) -> bool:
        return self.fitted and abs(x - self.center) > self.n_sigmas * self.sigma


def _to_float(raw: object) -> float | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, (int, float, str)):
        try:
            number = float(raw)
        except (ValueError, OverflowError):
            return None
        if math.isfinite(number):
            return number
    return None


def _describe(sample: list[float]) -> tuple[float, float]:
    if not sample:
        return 0.0, 0.0
    mu = statistics.fmean(sample)
    mu = max(min(sample), min(max(sample), mu))
    if all(x == sample[0] for x in sample):
        return mu, 0.0
    return mu, statistics.pstdev(sample, mu=mu)


def process_batch(events: list[dict], state: dict | None) -> dict:
    previous = dict(state) if state is not None else {}
    seen = previous.get("seen", 0)
    limit = previous.get("limit", 200)

    accepted = []
    for event in events:
        number = _to_float(event.get("reading"))
        if number is not None:
            accepted.append({"ts": event["ts"], "reading": number, "tag": event["tag"]})
    accepted.sort(key=lambda row: row["ts"])

    guardrail = HampelGuardrail().fit([row["reading"] for row in accepted])
    clean = [row for row in accepted if not guardrail.flags(row["reading"])]
    outliers = [row for row in accepted if guardrail.flags(row["reading"])]
    if outliers:
        logger.warning("%d readings flagged", len(outliers))

    mean, std = _describe([row["reading"] for row in clean])
    buffer = deque(previous.get("buffer", ()), _BUFFER_MAX)
    buffer.extend(clean)

    telemetry = {
        "n_in": len(events),
        "n_corrupt": len(events) - len(accepted),
        "n_flagged": len(outliers),
        "sigma": guardrail.sigma,
        "beyond_limit": seen + len(events) > limit,
    }
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": [{"kind": "hampel", **row} for row in outliers],
        "telemetry": telemetry,
        "state": {
            "seen": seen + len(events),
            "limit": limit,
            "buffer": buffer,
            "z_cutoff": previous.get("z_cutoff", 3.0),
        },
    }
