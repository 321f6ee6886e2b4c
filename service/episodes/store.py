"""Where episodes are kept: what any such place must do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from service.episodes.state import EpisodeState

__all__ = ["SECRET_BYTES", "Added", "Change", "NoPlaceError", "NoShareError", "Store", "TakenError"]

SECRET_BYTES = 32
Change = Callable[[EpisodeState], EpisodeState]


class NoPlaceError(Exception):
    """Every place is taken by an episode that has not ended.

    Attributes:
        forgotten: as in `Added`.
    """

    def __init__(self, forgotten: int) -> None:
        self.forgotten = forgotten


class NoShareError(NoPlaceError):
    """Every place that one caller may have is taken by an episode of its own that has not ended."""


class TakenError(Exception):
    """An episode of this key is kept."""


@dataclass(frozen=True, slots=True)
class Added:
    """What adding an episode came to.

    Attributes:
        replaced: the episode that it took the place of, if it took its key.
        forgotten: episodes that had not ended, and were idle for too long.
    """

    replaced: EpisodeState | None
    forgotten: int


class Store(Protocol):
    """Keeps episodes until they are idle for too long, or have ended and their place is needed.

    Of those, the longest unused goes first; then, of those whose time is over, the one that it has been for longest.
    """

    async def add(self, state: EpisodeState, now: float, *, replace: bool) -> Added:
        """Keeps one more.

        Args:
            state: it.
            now: Unix time.
            replace: whether it may take the place of one of its key.

        Raises:
            TakenError: there is one of its key, which it may not replace.
            NoShareError: its caller has no place for it.
            NoPlaceError: there is no place for it.
        """

    async def change(self, key: str, now: float, change: Change) -> tuple[EpisodeState, EpisodeState] | None:
        """Changes an episode at once, which counts as a use; what the change raises leaves it as it was.

        Args:
            key: which.
            now: Unix time.
            change: gives the new state; may be called more than once, where others change it at the same time.

        Returns:
            The state before and after; None where there is none.
        """

    async def remove(self, key: str, now: float) -> EpisodeState | None:
        """Forgets an episode, and answers what it was."""

    async def running(self, now: float) -> int:
        """How many have not ended."""

    async def overdue(self, now: float) -> list[str]:
        """Keys of some whose time is over, and that nobody has looked at since."""

    async def secret(self) -> bytes:
        """32 random bytes that all who share the store know, and nobody else."""

    async def close(self) -> None:
        """Lets go of what the store needs."""
