"""What passes between a run and the processes that play its episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.answers import Json, TaskSpec
    from runner.records import EpisodeRecord
    from runner.request import RunRequest

__all__ = ["Asked", "Ended", "Message", "Noted", "Orders", "Settled"]


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told before its first episode.

    Attributes:
        request: As the run was asked for; its service has a URL.
        task: The prompt and the tools.
        is_limited: Whether the run has a limit in dollars, so that each call has to say what it may cost.
        version: Of the run's own distribution, which must be the worker's.
        environment: Names, addresses and keys of the model's API, as the run sees them.
    """

    request: RunRequest
    task: TaskSpec
    is_limited: bool
    version: str
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Noted:
    """A line for the journal."""

    kind: str
    fields: Json


@dataclass(frozen=True, slots=True)
class Asked:
    """A call waits to begin, and may cost so much."""

    episode: int
    dearest_usd: float


@dataclass(frozen=True, slots=True)
class Settled:
    """That call is over, and has cost so much; nothing where it was not answered."""

    episode: int
    spent_usd: float


@dataclass(frozen=True, slots=True)
class Ended:
    """An episode is over."""

    record: EpisodeRecord


Message = Noted | Asked | Settled | Ended
