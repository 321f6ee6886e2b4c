"""When to try again, and after how long; shared by the model and the service client."""

from __future__ import annotations

import email.utils
import math
import random
import time
from dataclasses import dataclass

__all__ = ["RetryPolicy", "parse_retry_after"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter, bounded in attempts and in every single wait.

    Attributes:
        attempts: How often a call is made at most, the first one included.
        first_delay_s: Wait after the first failure, in seconds; doubles with each further one.
        max_delay_s: The longest single wait in seconds, whatever the server asks for.
    """

    attempts: int = 8
    first_delay_s: float = 1.0
    max_delay_s: float = 60.0

    def delay_s(self, attempt: int, retry_after_s: float | None = None) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1).

        A server's own wish is a floor: jitter is only added to it. Without one, the jitter spreads callers that
        failed together over the upper half of the interval.
        """
        if retry_after_s is not None and retry_after_s > 0:
            return min(retry_after_s * random.uniform(1.0, 1.1), self.max_delay_s)
        ceiling = min(self.first_delay_s * 2.0 ** min(attempt - 1, 30), self.max_delay_s)
        return ceiling * random.uniform(0.5, 1.0)


def parse_retry_after(value: str | None) -> float | None:
    """Read a Retry-After header, given in seconds or as an HTTP date.

    Returns:
        Seconds from now, never negative; None when the header is absent or unreadable.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_tz(value)
            seconds = email.utils.mktime_tz(date) - time.time() if date is not None else math.nan
        except (ValueError, OverflowError):  # such as the year 99999
            return None
    return max(seconds, 0.0) if seconds < float("inf") else None
