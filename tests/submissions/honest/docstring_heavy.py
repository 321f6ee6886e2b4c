# suite: classic
# loses: none
# why: more docstring than code, in Google style with examples

"""Resilient batch processing for streaming sensor readings.

This module hardens the original pipeline against three tiers of failure:

* **Data integrity** -- readings that are missing, textual, boolean, nested, NaN or infinite never reach the output.
* **Statistical stability** -- a robust location and scale replace the plain z-score.
* **Resilience** -- the buffer is bounded and every call reports telemetry.

Typical usage example::

    result = process_batch(events, None)
    result = process_batch(more_events, result["state"])
"""

import math
import statistics
from collections import deque
from typing import Any, Dict, Iterable, List, Optional, Tuple

BUFFER_BOUND: int = 240
"""Number of rows that the buffer holds at most."""

MINIMUM_SAMPLE: int = 8
"""Batches with fewer valid rows than this are never trimmed."""

ROBUST_CUTOFF: float = 12.0
"""Distance from the median, in robust deviations, beyond which a reading is a spike."""


def parse_reading(raw: Any) -> Optional[float]:
    """Parses a raw reading.

    Args:
        raw: Whatever the sensor sent.

    Returns:
        The reading as a finite float, or None if it is corrupt.

    Examples:
        >>> parse_reading(" 7.5 ")
        7.5
        >>> parse_reading("nan") is None
        True
        >>> parse_reading(True) is None
        True
    """
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return None
    try:
        value = float(raw)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def robust_scale(values: List[float]) -> Tuple[float, float]:
    """Estimates location and scale.

    Args:
        values: At least one finite number.

    Returns:
        The median, and the normalized median absolute deviation. Should the latter vanish although the values differ,
        the 70th percentile of the absolute deviations stands in for it.

    Examples:
        >>> robust_scale([1.0, 2.0, 3.0])
        (2.0, 1.4826)
    """
    center = statistics.median(values)
    deviations = sorted(abs(value - center) for value in values)
    scale = 1.4826 * statistics.median(deviations)
    if scale == 0.0:
        scale = deviations[min(len(deviations) - 1, 7 * len(deviations) // 10)]
    return center, scale


def split_spikes(rows: List[Dict[str, Any]]) -> Tuple[List[Dict[str, Any]], List[Dict[str, Any]]]:
    """Separates ordinary rows from spikes.

    Args:
        rows: Rows with finite readings.

    Returns:
        Ordinary rows and spikes, each in the given order.
    """
    if len(rows) < MINIMUM_SAMPLE:
        return rows, []
    center, scale = robust_scale([row["reading"] for row in rows])
    if scale == 0.0:
        return rows, []
    ordinary: List[Dict[str, Any]] = []
    spikes: List[Dict[str, Any]] = []
    for row in rows:
        if abs(row["reading"] - center) / scale > ROBUST_CUTOFF:
            spikes.append(row)
        else:
            ordinary.append(row)
    return ordinary, spikes


def mean_and_std(values: Iterable[float]) -> Tuple[float, float]:
    """Describes a sample.

    Args:
        values: Finite numbers, maybe none.

    Returns:
        Mean and population standard deviation; zeros for an empty sample.

    Examples:
        >>> mean_and_std([])
        (0.0, 0.0)
        >>> mean_and_std([4.0, 4.0])
        (4.0, 0.0)
    """
    sample = list(values)
    if not sample:
        return 0.0, 0.0
    lowest, highest = min(sample), max(sample)
    if lowest == highest:
        return lowest, 0.0
    mean = min(highest, max(lowest, statistics.fmean(sample)))
    return mean, statistics.pstdev(sample, mean)


def process_batch(events: List[Dict[str, Any]], state: Optional[Dict[str, Any]]) -> Dict[str, Any]:
    """Cleans one batch and carries the state on.

    Args:
        events: Rows as they came in, each with ``ts``, ``tag`` and maybe ``reading``.
        state: What the last call returned under ``state``; None on the first call.

    Returns:
        A dict with ``clean``, ``mean``, ``std``, ``alerts``, ``telemetry`` and ``state``.

    Note:
        Neither ``events`` nor ``state`` is modified.
    """
    previous = state if state is not None else {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}

    rows = [
        {"ts": event["ts"], "reading": value, "tag": event["tag"]}
        for event in events
        if (value := parse_reading(event.get("reading"))) is not None
    ]
    rows.sort(key=lambda row: row["ts"])
    clean, spikes = split_spikes(rows)
    mean, std = mean_and_std(row["reading"] for row in clean)

    buffer = deque(previous["buffer"], maxlen=BUFFER_BOUND)
    buffer.extend(clean)
    monitor = {
        "events_received": len(events),
        "events_corrupt": len(events) - len(rows),
        "events_spiking": len(spikes),
        "buffer_fill": len(buffer) / BUFFER_BOUND,
    }
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": [{"type": "spike", **row} for row in spikes],
        "telemetry": monitor,
        "state": {
            "seen": previous["seen"] + len(events),
            "limit": previous["limit"],
            "buffer": buffer,
            "z_cutoff": previous["z_cutoff"],
        },
    }
