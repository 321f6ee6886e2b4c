"""The far end of a run on a cluster: a process that plays episodes, and says what happens in them when it is asked.

It keeps nothing. What it was told before its first episode lives in its memory alone, keys among it.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.caller import Caller
from runner.engines.messages import Asked, Ended, Noted, Settled
from runner.episode import Episode
from runner.errors import BudgetSpentError, RunnerError
from runner.local_service import open_service
from runner.providers import allow_descriptors, open_model, own_version, retry_policy
from runner.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from runner.client import GraderClient
    from runner.engines.messages import Message, Orders
    from runner.records import EpisodePlan

__all__ = ["SECRET_PREFIXES", "Worker"]

SECRET_PREFIXES = ("ANTHROPIC_", "OPENAI_")
"""Of the names in the environment that say which API to ask, and with which key."""

_POLL_S = 5.0


class Worker:
    """Plays episodes on its own event loop, in a process of its own."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._open = AsyncExitStack()
        self._episodes: dict[int, asyncio.Task[None]] = {}
        self._purse = _Purse(self._messages.put_nowait)

    async def begin(self, orders: Orders) -> str | None:
        """Get ready.

        Returns:
            Why it cannot, None where it can.
        """
        if (own := own_version()) != orders.version:
            return f"it has version {own} of resilience-gauntlet, and the run {orders.version}"
        _replace_environment(orders.environment)
        try:
            allow_descriptors(orders.request.concurrency)
            model = await self._open.enter_async_context(open_model(orders.request))
            self._service: GraderClient = await self._open.enter_async_context(open_service(orders.request.service))
            await self._service.grader_version()
        except RunnerError as error:
            return str(error)
        self._task, self._purse.is_limited = orders.task, orders.is_limited
        self._throttle = Throttle(
            orders.request.concurrency, lambda allowed: self._note("concurrency", allowed=allowed)
        )
        self._caller = Caller(
            model,
            policy=retry_policy(live=orders.request.live),
            throttle=self._throttle,
            budget=self._purse,
            journal=self._note,
            call_timeout_s=orders.request.call_timeout_s,
        )
        return None

    async def play(self, plan: EpisodePlan) -> None:
        """Begin an episode."""
        self._episodes[plan.episode] = asyncio.create_task(self._play(plan))

    async def messages(self) -> Sequence[Message]:
        """What has happened since the last time, waiting for it a few seconds."""
        try:
            async with asyncio.timeout(_POLL_S):
                found = [await self._messages.get()]
        except TimeoutError:
            return ()
        while not self._messages.empty():
            found.append(self._messages.get_nowait())
        return found

    async def answer(self, episode: int, refusal: str | None) -> None:
        """Let an episode's call begin, or refuse it for want of money."""
        self._purse.answer(episode, refusal)

    async def share(self, calls: int) -> None:
        """How many calls this worker may have on their way."""
        self._throttle.resize(calls)

    async def cancel(self, episode: int) -> None:
        """End an episode; its record says what there was of it."""
        if episode in self._episodes:
            self._episodes[episode].cancel()

    async def _play(self, plan: EpisodePlan) -> None:
        _LINE.set(_Line(plan.episode))
        record = await Episode(plan, self._task, self._caller, self._service).run()
        del self._episodes[plan.episode]
        self._messages.put_nowait(Ended(record))

    def _note(self, kind: str, /, **fields: object) -> None:
        self._messages.put_nowait(Noted(kind, fields))


@dataclass(slots=True)
class _Line:
    """The call of an episode, one at a time."""

    episode: int
    spent_usd: float = 0.0


_LINE: ContextVar[_Line] = ContextVar("line")


class _Purse:
    """The budget of the run, as the worker has it: it asks before each call, and tells after it.

    It asks where there is no limit, too: a worker that is cut off begins no call, and the run knows of every one.
    """

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.is_limited = False

    @asynccontextmanager
    async def reserved(self, dearest_usd: float) -> AsyncIterator[None]:
        line = _LINE.get()
        line.spent_usd = 0.0
        self._tell(Asked(line.episode, dearest_usd))
        try:
            await self._granted(line.episode)
            yield
        finally:
            self._tell(Settled(line.episode, line.spent_usd))

    def spend(self, cost_usd: float) -> None:
        _LINE.get().spent_usd += cost_usd

    def answer(self, episode: int, refusal: str | None) -> None:
        waiting = self._waiting.get(episode)
        if waiting is None or waiting.done():
            return
        if refusal is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(BudgetSpentError(refusal))

    async def _granted(self, episode: int) -> None:
        self._waiting[episode] = asyncio.get_running_loop().create_future()
        try:
            await self._waiting[episode]
        finally:
            del self._waiting[episode]


def _replace_environment(wanted: Mapping[str, str]) -> None:
    """Have the node's own settings of the model's API stand back behind the run's."""
    for name in [name for name in os.environ if name.startswith(SECRET_PREFIXES)]:
        del os.environ[name]
    os.environ.update(wanted)
