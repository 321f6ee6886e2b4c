"""Episodes in the memory of one process."""

import heapq
import math
import secrets
from collections import OrderedDict
from collections.abc import Collection, Iterator

from service.episodes.models import OUTCOMES, EpisodeStatus
from service.episodes.state import EpisodeState
from service.episodes.store import SECRET_BYTES, Added, Change, NoPlaceError, NoShareError, TakenError

__all__ = ["MemoryStore"]

_LEAST_DEADLINES = 64  # that are kept before those that are out of date are thrown away


class MemoryStore:
    """Keeps them in this process."""

    def __init__(self, limit: int, idle_s: float, *, share: int | None = None) -> None:
        """Keeps nothing yet.

        Args:
            limit: most at a time.
            idle_s: seconds without a use after which one is forgotten.
            share: most of one caller at a time; as many as of all where it is None.
        """
        self._idle_s = idle_s
        self._share = share
        self._kept: OrderedDict[str, tuple[float, EpisodeState]] = OrderedDict()  # the longest unused first
        self._places = _Places(limit)
        self._shares: dict[str, _Places] = {}  # of callers that have any
        self._secret = secrets.token_bytes(SECRET_BYTES)

    async def add(self, state: EpisodeState, now: float, *, replace: bool) -> Added:
        """Keeps one more."""
        old = self._get(state.key, now)
        if old is not None and not replace:
            raise TakenError
        forgotten = self._forget_idle(now)
        for victim in self._victims(state, old, now, forgotten):
            self._forget(victim)
        if old is not None:
            self._forget(old.key)
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
            self._forget(key)
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
        self._places.keep(state)
        if self._share is not None:
            self._shares.setdefault(state.caller, _Places(self._share)).keep(state)

    def _forget(self, key: str) -> EpisodeState:
        _, state = self._kept.pop(key)
        self._places.leave(key)
        if (share := self._shares.get(state.caller)) is not None:
            share.leave(key)
            if not len(share):
                del self._shares[state.caller]
        return state

    def _forget_idle(self, now: float) -> int:
        forgotten = 0
        while self._kept and now - next(iter(self._kept.values()))[0] >= self._idle_s:
            forgotten += self._forget(next(iter(self._kept))).outcome is None
        return forgotten

    def _victims(self, state: EpisodeState, old: EpisodeState | None, now: float, forgotten: int) -> list[str]:
        """Those whose places a new episode takes, if it takes any."""
        victims: list[str] = []
        share = self._shares.get(state.caller)
        if share is not None and (old is None or old.caller != state.caller) and not share.find_place(victims, now):
            raise NoShareError(forgotten)
        if old is None and not self._places.find_place(victims, now):
            raise NoPlaceError(forgotten)
        return victims


class _Places:
    """Places for episodes, and which of them may be taken."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ended: OrderedDict[str, None] = OrderedDict()  # the longest unused first
        self._running: dict[str, float] = {}  # when they end by themselves
        self._deadlines: list[tuple[float, str]] = []  # a heap of the same, with some that are out of date

    def __len__(self) -> int:
        return len(self._ended) + len(self._running)

    def keep(self, state: EpisodeState) -> None:
        """Gives an episode a place, or has it known what has become of it."""
        key = state.key
        if state.outcome is not None:
            self._running.pop(key, None)
            self._ended[key] = None
            self._ended.move_to_end(key)
            return
        self._ended.pop(key, None)
        ends_at = state.ends_at if state.status is EpisodeStatus.RUNNING else math.inf
        if self._running.get(key) != ends_at:
            self._running[key] = ends_at
            if ends_at < math.inf:
                heapq.heappush(self._deadlines, (ends_at, key))
            if len(self._deadlines) > 2 * len(self._running) + _LEAST_DEADLINES:
                self._deadlines = sorted((ends_at, key) for key, ends_at in self._running.items())

    def leave(self, key: str) -> None:
        """Frees an episode's place."""
        self._ended.pop(key, None)
        self._running.pop(key, None)

    def find_place(self, victims: list[str], now: float) -> bool:
        """Whether there is a place for one more, once the victims are gone: those that are needed are added to them."""
        lacking = len(self) - len(victims) + 1 - self._most
        found: list[str] = []
        if lacking > 0:
            for key in self._may_go(now, but=set(victims)):
                found.append(key)
                if len(found) == lacking:
                    break
        victims += found
        return len(found) >= lacking

    def _may_go(self, now: float, *, but: Collection[str]) -> Iterator[str]:
        yield from (key for key in self._ended if key not in but)
        overdue: list[tuple[float, str]] = []
        try:
            while self._deadlines and self._deadlines[0][0] <= now:
                ends_at, key = due = heapq.heappop(self._deadlines)
                if self._running.get(key) != ends_at or due in overdue[-1:]:
                    continue  # it is out of date, or there twice
                overdue.append(due)
                if key not in but:
                    yield key
        finally:
            for due in overdue:
                heapq.heappush(self._deadlines, due)
