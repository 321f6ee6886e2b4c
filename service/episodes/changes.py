"""Changes of episodes where they are kept."""

import contextlib
from collections.abc import Callable

from service.episodes.state import EpisodeState
from service.episodes.store import Change, Store
from service.errors import GauntletError, NoEpisodeError
from service.metrics import Metrics

__all__ = ["Changes"]


class Changes:
    """Makes them on episodes as they are by then, ended by their time if that is over, and counts those that end.

    Every method but `count` raises `NoEpisodeError` where there is none of a key, unless it says otherwise.
    """

    def __init__(self, store: Store, idle_s: int, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._store = store
        self._idle_s = idle_s
        self._metrics = metrics
        self._clock = clock

    async def make(self, key: str, change: Change) -> EpisodeState:
        """Changes an episode; what the change raises leaves it as it was, but for its time."""
        now = self._clock()
        failure: GauntletError | None = None

        def settled_and_changed(state: EpisodeState) -> EpisodeState:
            nonlocal failure
            failure, state = None, state.settled(now)
            try:
                return change(state)
            except GauntletError as error:  # that its time is over is kept all the same
                failure = error
                return state

        states = await self._store.change(key, now, settled_and_changed)
        if states is None:
            raise self._no_episode()
        self.count(*states)
        if failure is not None:
            raise failure
        return states[1]

    async def if_same(self, begun: EpisodeState, change: Change) -> EpisodeState:
        """Changes an episode unless it was begun anew or forgotten; then what it would have become is answered."""
        with contextlib.suppress(NoEpisodeError):
            changed = await self.make(begun.key, lambda state: change(state) if state.birth == begun.birth else state)
            if changed.birth == begun.birth:
                return changed
        return change(begun.abandoned())

    async def if_graded_by(self, owner: str, begun: EpisodeState, change: Change) -> EpisodeState | None:
        """Changes an episode whose submission a process grades.

        Returns:
            What it is now; None, and no change, where another process has taken the grade over.

        Raises:
            NoEpisodeError: also where it was begun anew.
        """
        is_its_own = False

        def if_its_own(state: EpisodeState) -> EpisodeState:
            nonlocal is_its_own
            is_its_own = state.grading is not None and state.grading.owner == owner
            return change(state) if is_its_own and state.birth == begun.birth else state

        changed = await self.make(begun.key, if_its_own)
        if changed.birth != begun.birth:
            raise self._no_episode()
        return changed if is_its_own else None

    async def remove(self, key: str) -> None:
        """Forgets an episode, which is abandoned by that if it is running."""
        now = self._clock()
        state = await self._store.remove(key, now)
        if state is None:
            raise self._no_episode()
        self.count(state, state.settled(now).abandoned())

    def count(self, before: EpisodeState, after: EpisodeState) -> None:
        """Counts an episode that has ended by a change."""
        if before.outcome is None and after.outcome is not None:
            self._metrics.episode_ended(after.outcome)

    def _no_episode(self) -> NoEpisodeError:
        return NoEpisodeError(
            f"There is no such episode: it was never opened, it was closed, or it was idle for {self._idle_s} seconds."
        )
