"""What a run asks of an engine, and what it tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from runner.answers import TaskSpec
    from runner.budget import Budget
    from runner.caller import Journal, Provider
    from runner.client import GraderClient
    from runner.records import EpisodePlan, EpisodeRecord
    from runner.request import RunRequest

__all__ = ["Engine", "Job", "Play"]


class Play(Protocol):
    """Plays one episode."""

    async def __call__(self, plan: EpisodePlan) -> EpisodeRecord:
        """Play it to its end; its cancellation is recorded, not raised."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the episodes of a run have in common.

    Attributes:
        request: How the run was asked for.
        concurrency: The most episodes at a time.
        task: The prompt and the tools.
        model: The one of this process.
        service: The client of this process.
        budget: Of the whole run.
        journal: Of the whole run.
    """

    request: RunRequest
    concurrency: int
    task: TaskSpec
    model: Provider
    service: GraderClient
    budget: Budget
    journal: Journal


class Engine(Protocol):
    """Plays the episodes of a run."""

    def playing(self, job: Job) -> AbstractAsyncContextManager[Play]:
        """Get ready, and yield what plays one episode after the other, many at a time.

        Raises:
            RunnerError: Nothing could be played.
        """
