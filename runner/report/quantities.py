"""Numbers as the page writes them, and what a list of them comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from runner.wording import dollars

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["Spread", "duration", "moment", "money", "percent", "quantile", "spread"]


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction, in percent; what is only nearly nothing or all is not written as if it were."""
    least = 10.0**-digits
    if 0 < 100 * fraction < least / 2:
        return f"<{least:.{digits}f}\xa0%"
    if 0 < 100 * (1 - fraction) < least / 2:
        return f">{100 - least:.{digits}f}\xa0%"
    return f"{100 * fraction:.{digits}f}\xa0%"


def duration(seconds: float) -> str:
    """A time, in the unit that suits it."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f}\xa0ms" if seconds else "0\xa0s"
    if seconds < 59.95:
        return f"{seconds:.1f}\xa0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\xa0min {rest:02}\xa0s"
    return f"{minutes // 60}\xa0h {minutes % 60:02}\xa0min"


def money(cost_usd: float | None) -> str:
    """US dollars, where a column says already that it is a cost."""
    if cost_usd is None:
        return "unknown"
    return dollars(cost_usd) if cost_usd else "$0"


def moment(when: datetime) -> str:
    """A date and a time, in UTC."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile: the least of the values that `share` of them do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """What a list of numbers comes to."""

    count: int
    median: float
    p95: float
    most: float
    total: float


def spread(values: Sequence[float]) -> Spread | None:
    """Median, 95th percentile, maximum and sum; None without a number."""
    if not values:
        return None
    return Spread(len(values), quantile(values, 0.5), quantile(values, 0.95), max(values), math.fsum(values))
