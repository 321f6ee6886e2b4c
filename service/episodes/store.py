"""Where episodes are kept: what any such place must do, and the memory of one process."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from service.episodes.models import OUTCOMES, EpisodeStatus
from service.episodes.state import EpisodeState

__all__ = ["SECRET_BYTES", "Added", "Change", "MemoryStore", "NoPlaceError", "NoShareError", "Store", "TakenError"]

SECRET_BYTES = 32
Change = Callable[[EpisodeState], EpisodeState]


class NoPlaceError(Exception):
    """Every place is taken by an episode that has not ended."""


class NoShareError(Exception):
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
    """Keeps episodes until they are idle for too long, or have ended and their place is needed."""

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


class MemoryStore:
    """Keeps them in this process."""

    def __init__(self, limit: int, idle_s: float, *, share: int | None = None) -> None:
        """Keeps nothing yet.

        Args:
            limit: most at a time.
            idle_s: seconds without a use after which one is forgotten.
            share: most of one caller at a time; as many as of all where it is None.
        """
        self._limit = limit
        self._share = share
        self._idle_s = idle_s
        self._kept: OrderedDict[str, tuple[float, EpisodeState]] = OrderedDict()  # the longest unused first
        self._secret = secrets.token_bytes(SECRET_BYTES)

    async def add(self, state: EpisodeState, now: float, *, replace: bool) -> Added:
        """Keeps one more."""
        forgotten = self._forget_idle(now)
        _, old = self._kept.get(state.key, (0.0, None))
        if old is not None and not replace:
            raise TakenError
        if old is None:
            self._make_room(state, now)
        self._keep(state, now)
        return Added(old, forgotten)

    async def change(self, key: str, now: float, change: Change) -> tuple[EpisodeState, EpisodeState] | None:
        """Changes an episode."""
        if (before := self._get(key, now)) is None:
            return None
        self._keep(before, now)
        after = change(before)
        self._keep(after, now)
        return before, after

    async def remove(self, key: str, now: float) -> EpisodeState | None:
        """Forgets an episode."""
        if (state := self._get(key, now)) is not None:
            del self._kept[key]
        return state

    async def running(self, now: float) -> int:
        """Counts those that have not ended."""
        return sum(
            now - used_at < self._idle_s and state.settled(now).status not in OUTCOMES
            for used_at, state in self._kept.values()
        )

    async def overdue(self, now: float) -> list[str]:
        """Finds all of those."""
        return [
            key
            for key, (used_at, state) in self._kept.items()
            if now - used_at < self._idle_s and state.settled(now) is not state
        ]

    async def secret(self) -> bytes:
        """Answers its own."""
        return self._secret

    async def close(self) -> None:
        """Has nothing to let go of."""

    def _get(self, key: str, now: float) -> EpisodeState | None:
        used_at, state = self._kept.get(key, (0.0, None))
        return state if now - used_at < self._idle_s else None

    def _keep(self, state: EpisodeState, now: float) -> None:
        self._kept[state.key] = now, state
        self._kept.move_to_end(state.key)

    def _forget_idle(self, now: float) -> int:
        forgotten = 0
        while self._kept and now - next(iter(self._kept.values()))[0] >= self._idle_s:
            _, (_, idle) = self._kept.popitem(last=False)
            forgotten += idle.status is EpisodeStatus.RUNNING
        return forgotten

    def _make_room(self, state: EpisodeState, now: float) -> None:
        if self._share is not None:
            own = [key for key, (_, other) in self._kept.items() if other.caller == state.caller]
            if len(own) >= self._share and not self._drop_an_ended_one(own, now):
                raise NoShareError
        if len(self._kept) >= self._limit and not self._drop_an_ended_one(self._kept, now):
            raise NoPlaceError

    def _drop_an_ended_one(self, keys: Iterable[str], now: float) -> bool:
        victim = next((key for key in keys if self._kept[key][1].settled(now).status in OUTCOMES), None)
        if victim is not None:
            del self._kept[victim]
        return victim is not None
