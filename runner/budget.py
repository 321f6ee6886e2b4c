"""What a run may cost, kept before each call and not regretted after it."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runner.errors import BudgetSpentError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Budget"]


class Budget:
    """US dollars for a whole run.

    A call begins only when its dearest possible answer still fits beside those on their way, so that the sum of all
    answers never passes the limit. What an API bills for calls that it did not answer cannot be seen here.

    Args:
        limit_usd: None for no limit.
        spent_usd: What earlier sessions of the run have spent.
    """

    def __init__(self, limit_usd: float | None, spent_usd: float = 0.0) -> None:
        self._limit = limit_usd
        self._reserved: list[float] = []  # one for each call on its way
        self._freed = asyncio.Condition()
        self.spent_usd = spent_usd

    @property
    def is_limited(self) -> bool:
        """Whether a call has to say what it may cost."""
        return self._limit is not None

    @asynccontextmanager
    async def reserved(self, dearest_usd: float) -> AsyncIterator[None]:
        """Hold back what a call may cost while it lasts, waiting for other calls to end where that may help.

        Raises:
            BudgetSpentError: It does not fit, and no call is on its way whose rest could be freed.
        """
        async with self._freed:
            while not self._fits(dearest_usd):
                if not self._reserved:
                    raise BudgetSpentError(
                        f"--max-cost ${self._limit:g} is spent: ${self.spent_usd:.4f} so far, "
                        f"and the next call may cost ${dearest_usd:.4f}"
                    )
                await self._freed.wait()
            self._reserved.append(dearest_usd)
        try:
            yield
        finally:
            self._reserved.remove(dearest_usd)
            async with self._freed:  # nobody holds it while waiting for anything else
                self._freed.notify_all()

    def spend(self, cost_usd: float) -> None:
        """Book an answer."""
        self.spent_usd += cost_usd

    def _fits(self, dearest_usd: float) -> bool:
        return self._limit is None or math.fsum([self.spent_usd, *self._reserved, dearest_usd]) <= self._limit
