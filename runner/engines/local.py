"""All episodes in this process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runner.caller import Caller
from runner.episode import Episode
from runner.providers import retry_policy
from runner.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runner.engines.engine import Job, Play
    from runner.records import EpisodePlan, EpisodeRecord

__all__ = ["LocalEngine"]


class LocalEngine:
    """Plays on the event loop that it is called on."""

    @asynccontextmanager
    async def playing(self, job: Job) -> AsyncIterator[Play]:
        """Yield what plays one episode."""
        caller = Caller(
            job.model,
            policy=retry_policy(live=job.request.live),
            throttle=Throttle(job.concurrency, lambda allowed: job.journal("concurrency", allowed=allowed)),
            budget=job.budget,
            journal=job.journal,
            call_timeout_s=job.request.call_timeout_s,
        )

        async def play(plan: EpisodePlan) -> EpisodeRecord:
            return await Episode(plan, job.task, caller, job.service).run()

        yield play
