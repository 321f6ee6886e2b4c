"""Which episodes there are."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from service.access import Access
from service.episodes.episode import Episode
from service.episodes.models import EpisodeRequest, EpisodeView, ToolResponse
from service.errors import CapacityError, EpisodeExistsError, InputError, NoEpisodeError, Refusal
from service.gauntlet import Gauntlet
from service.metrics import Metrics
from service.settings import Settings

__all__ = ["Episodes"]

_RETRY_AFTER_S = 5


class Episodes:
    """Every episode that the service keeps, by id. An id is 128 random bits, and the only key there is.

    Ended episodes are kept, too, so that a reward can be asked for again: until they are idle for too long, or their
    place is needed.
    """

    def __init__(
        self,
        settings: Settings,
        gauntlet: Gauntlet,
        access: Access,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._gauntlet = gauntlet
        self._access = access
        self._metrics = metrics
        self._clock = clock
        self._kept: OrderedDict[str, Episode] = OrderedDict()  # the longest unused first

    @property
    def limit(self) -> int:
        """Most episodes at a time."""
        return self._settings.episodes

    @property
    def running(self) -> int:
        """Episodes that have not ended."""
        self._forget_idle()
        return sum(not episode.done for episode in self._kept.values())

    def open(
        self, request: EpisodeRequest, *, authorization: str | None = None, episode_id: str | None = None
    ) -> EpisodeView:
        """Begins an episode.

        Args:
            request: what it is about.
            authorization: the header that came with it.
            episode_id: one that the protocol has already handed out, as hard to guess as those drawn here.

        Raises:
            CapacityError: all places are taken by episodes that have not ended.
            ForbiddenError: seeds of the test split, without the evaluation token.
            EpisodeExistsError: the id is in use.
            InputError: limits beyond the service's own.
        """
        if episode_id in self._kept:
            raise EpisodeExistsError("There is an episode of this id already.")
        return self.reset(episode_id or secrets.token_hex(16), request, authorization=authorization)

    def reset(self, episode_id: str, request: EpisodeRequest, *, authorization: str | None = None) -> EpisodeView:
        """Begins an episode anew, under its id and in its place, if it is kept still.

        Args:
            episode_id: one that was handed out to whoever asks.
            request: what the new one is about.
            authorization: the header that came with it.

        Raises:
            CapacityError, ForbiddenError, InputError: as `open`; the old one is left as it is.
        """
        request = request.drawn()
        self._access.check_seed(request.seed, authorization)
        steps = _bounded("step_limit", request.step_limit, self._settings.episode_steps)
        seconds = _bounded("time_limit_s", request.time_limit_s, self._settings.episode_time_s)
        if episode_id not in self._kept:
            self._make_room()
        else:
            self._kept[episode_id].abandon()
        episode = Episode(
            episode_id,
            request,
            self._gauntlet,
            self._clock,
            step_limit=int(steps),
            time_limit_s=seconds,
            on_end=self._metrics.episode_ended,
        )
        self._kept[episode_id] = episode
        self._kept.move_to_end(episode_id)
        return episode.view()

    def view(self, episode_id: str) -> EpisodeView:
        """An episode as it is.

        Raises:
            NoEpisodeError: there is none of this id.
        """
        return self._used(episode_id).view()

    async def call(self, episode_id: str, tool: str, arguments: Any) -> ToolResponse:
        """Calls a tool.

        Args:
            episode_id: of the episode.
            tool: ``python_expression`` or ``submit_code``.
            arguments: an object with its one member, ``expression`` or ``code``.

        Raises:
            NoEpisodeError: there is no episode of this id.
            EpisodeFinishedError: it has ended, or is being graded.
            UnknownToolError: no such tool.
            InputError: the arguments do not fit; costs no step.
            OverloadedError: no capacity now; costs no step, and a submission may be handed in again.
            SandboxError: the expression could not be run; costs no step.
        """
        return await self._used(episode_id).call(tool, arguments)

    async def end(self, episode_id: str) -> EpisodeView:
        """Ends an episode that is still running, without a submission; a grade under way is waited for.

        Raises:
            NoEpisodeError: there is none of this id.
            OverloadedError: there was no capacity for the grade that was waited for; the episode goes on.
        """
        episode = self._used(episode_id)
        await episode.end()
        return episode.view()

    def close(self, episode_id: str) -> None:
        """Forgets an episode.

        Raises:
            NoEpisodeError: there is none of this id.
        """
        self._used(episode_id).abandon()
        del self._kept[episode_id]

    def _used(self, episode_id: str) -> Episode:
        self._forget_idle()
        if episode_id not in self._kept:
            raise NoEpisodeError(
                "There is no such episode: it was never opened, it was closed, or it was idle for"
                f" {self._settings.episode_idle_s} seconds."
            )
        self._kept.move_to_end(episode_id)
        episode = self._kept[episode_id]
        episode.used_at = self._clock()
        return episode

    def _forget_idle(self) -> None:
        since = self._clock() - self._settings.episode_idle_s
        while self._kept and next(iter(self._kept.values())).used_at <= since:
            _, idle = self._kept.popitem(last=False)
            idle.abandon()

    def _make_room(self) -> None:
        self._forget_idle()
        if len(self._kept) < self.limit:
            return
        ended = next((episode for episode in self._kept.values() if episode.done), None)
        if ended is None:
            self._metrics.refused(Refusal.CAPACITY)
            raise CapacityError(
                f"{self.limit} episodes are open, which is all that the service keeps.", retry_after_s=_RETRY_AFTER_S
            )
        del self._kept[ended.id]


def _bounded(name: str, wanted: float | None, most: int) -> float:
    if wanted is not None and wanted > most:
        raise InputError(name, f"Input should be less than or equal to {most}")
    return most if wanted is None else wanted
