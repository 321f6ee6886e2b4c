"""Many episodes, a few at a time; every one that ends is handed on at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runner.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from runner.records import EpisodePlan, EpisodeRecord

__all__ = ["Batch"]


class Batch:
    """Runs planned episodes on a fixed number of workers.

    Args:
        run_one: Runs an episode; records its own cancellation instead of raising it.
        on_record: Called with each record as it comes, before the worker takes the next episode.
        concurrency: The number of workers.
    """

    def __init__(
        self,
        run_one: Callable[[EpisodePlan], Awaitable[EpisodeRecord]],
        on_record: Callable[[EpisodeRecord], None],
        *,
        concurrency: int,
    ) -> None:
        self._run_one = run_one
        self._on_record = on_record
        self._concurrency = concurrency
        self._workers: list[asyncio.Task[None]] = []
        self._stopped = False
        self.records: list[EpisodeRecord] = []
        self.fatal: str | None = None

    async def run(self, plans: Iterable[EpisodePlan]) -> None:
        """Run the plans in order of their numbers, until all are done or the batch is stopped.

        An unexpected exception of one worker stops the others, whose episodes are still recorded, and is raised.
        """
        queue = iter(plans)
        self._workers = [asyncio.create_task(self._work(queue)) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*self._workers)
        except asyncio.CancelledError:
            if not self._stopped:  # cancelled from outside, not by `stop`
                raise
        finally:
            self.stop()
            await asyncio.gather(*self._workers, return_exceptions=True)

    def stop(self) -> None:
        """Start no further episode and cancel those in flight."""
        if not self._stopped:
            self._stopped = True
            for worker in self._workers:
                worker.cancel()

    async def _work(self, queue: Iterator[EpisodePlan]) -> None:
        for plan in queue:
            record = await self._run_one(plan)
            self.records.append(record)
            self._on_record(record)
            if record.error is not None and record.error.fatal and not self._stopped:
                self.fatal = record.error.message
                self.stop()
            if self._stopped or record.outcome is Outcome.CANCELLED:
                return
