"""How many calls may be on their way to one API, and from when on; shared by all episodes of a run."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["Throttle"]


class Throttle:
    """Holds every call back after a rate limit, and lets fewer through at a time until the limit no longer strikes.

    A rate limit halves the number of calls on their way, once for all those that met it together. Each round of
    answered calls then grows it by one, up to what it was (additive increase, multiplicative decrease).

    Args:
        concurrency: The most calls at a time.
        on_change: Told the new number whenever it changes.
    """

    def __init__(self, concurrency: int, on_change: Callable[[int], None] = lambda _: None) -> None:
        self._most = concurrency
        self._allowed = float(concurrency)
        self._on_change = on_change
        self._running = 0
        self._changed = asyncio.Condition()
        self._cooldown_ends = 0.0
        self._halved_at = 0.0

    @property
    def allowed(self) -> int:
        """How many calls may be on their way now."""
        return int(self._allowed)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn, and hold it; yields the seconds that a rate limit took of it, not those in the queue."""
        cooled_s = await self._cooled()
        while not self._entered():
            async with self._changed:
                await self._changed.wait_for(lambda: self._running < self.allowed)
            cooled_s += await self._cooled()
        try:
            yield cooled_s
        finally:
            self._running -= 1
            async with self._changed:  # nobody holds it while waiting for anything else
                self._changed.notify_all()

    def _entered(self) -> bool:
        if self._running >= self.allowed or self._rest_s() > 0:
            return False
        self._running += 1
        return True

    def limited(self, delay_s: float, began_at: float) -> None:
        """A call met a rate limit.

        Args:
            delay_s: Seconds to wait it out.
            began_at: When the call began, by `time.monotonic`.
        """
        self._cooldown_ends = max(self._cooldown_ends, time.monotonic() + delay_s)
        if began_at >= self._halved_at:
            self._halved_at = time.monotonic()
            self._set(max(1.0, self._allowed // 2))

    def answered(self) -> None:
        """A call went through."""
        self._set(min(float(self._most), self._allowed + 1 / self._allowed))

    def resize(self, concurrency: int) -> None:
        """Share the calls anew; what a rate limit took stays taken."""
        is_whole = self._allowed >= self._most
        self._most = concurrency
        self._allowed = float(concurrency) if is_whole else min(self._allowed, float(concurrency))

    def _set(self, allowed: float) -> None:
        before, self._allowed = self.allowed, allowed
        if self.allowed != before:
            self._on_change(self.allowed)

    def _rest_s(self) -> float:
        return self._cooldown_ends - time.monotonic()

    async def _cooled(self) -> float:
        """Wait until no rate limit holds; the seconds that took."""
        began = time.monotonic()
        while (rest_s := self._rest_s()) > 0:  # noqa: ASYNC110  the end may be put off meanwhile
            # Spread out, so that the callers do not run into the same limit together again.
            await asyncio.sleep(rest_s * random.uniform(1.0, 1.25))
        return time.monotonic() - began
