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

    Attributes:
        fatal: Why the run cannot go on, in the words of the episode that found out.
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
        self._drained = False
        self._stopped = False
        self.fatal: str | None = None

    @property
    def is_ended(self) -> bool:
        """Whether no further episode will be started."""
        return self._drained

    async def run(self, plans: Iterable[EpisodePlan]) -> None:
        """Run the plans in order of their numbers, until all are done or the batch is ended.

        An unexpected exception of one worker stops the others, whose episodes are still recorded, and is raised.
        """
        queue = iter(plans)
        self._workers = [asyncio.create_task(self._work(queue)) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*self._workers)
        except asyncio.CancelledError:
            if not self._stopped:  # cancelled from outside, not by `stop`
                self.stop()
                raise
        except BaseException:
            self.stop()
            raise
        finally:
            await asyncio.gather(*self._workers, return_exceptions=True)

    def drain(self) -> None:
        """Start no further episode; those in flight go on."""
        self._drained = True

    def stop(self) -> None:
        """Start no further episode and cancel those in flight."""
        self._drained = True
        if not self._stopped:
            self._stopped = True
            for worker in self._workers:
                worker.cancel()

    async def _work(self, queue: Iterator[EpisodePlan]) -> None:
        while not self._drained and (plan := next(queue, None)) is not None:
            record = await self._run_one(plan)
            self._on_record(record)
            if record.error is not None and record.error.fatal:
                self._end(record.outcome, record.error.message)
            if record.outcome is Outcome.CANCELLED:
                return

    def _end(self, outcome: Outcome, reason: str) -> None:
        if self._drained:
            return
        self.fatal = reason
        if outcome is Outcome.CANCELLED:  # nothing is wrong but that no further call can be paid
            self.drain()
        else:
            self.stop()
