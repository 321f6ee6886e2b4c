"""Children forked ahead of need: single-use, locked down, each waiting for one job."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from service.errors import SandboxError
from service.sandbox.child_process import ChildProcess
from service.spans import span

__all__ = ["ChildPool"]

_REVIEW_S = 10.0


class ChildPool:
    """Keeps as many children waiting as were lately in use at a time, between a low and a high mark.

    Under pressure it forks none ahead: there, a child costs less made on demand. A child is never put back.

    Attributes:
        in_use: children that were taken and are not gone yet.
    """

    def __init__(self, fork: Callable[[bool], Awaitable[ChildProcess]], *, low: int, high: int, busy_from: int) -> None:
        """Starts empty.

        Args:
            fork: makes one child, warm or not, and waits until it is ready.
            low: least to keep waiting.
            high: most to keep waiting.
            busy_from: children in use from which on none is forked ahead.
        """
        self._fork = fork
        self._low = low
        self._high = high
        self._busy_from = busy_from
        self._waiting: deque[ChildProcess] = deque()
        self.in_use = 0
        self._peak = 0
        self._refilling: asyncio.Task[None] | None = None
        self._review: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = True

    @property
    def waiting(self) -> int:
        """Children that wait for a job."""
        return len(self._waiting)

    async def open(self) -> None:
        """Forks the first ones.

        Raises:
            SandboxError: it could not.
        """
        self._closed = False
        while len(self._waiting) < self._low:
            self._waiting.append(await self._fork(True))
        self._watch()

    async def close(self) -> None:
        """Ends all that wait."""
        self._closed = True
        if self._review is not None:
            self._review.cancel()
        if self._refilling is not None:
            await asyncio.wait([self._refilling])
        self._drop(len(self._waiting))
        if self._tasks:
            await asyncio.wait(self._tasks)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Counts one more child in use while the block lasts."""
        self.in_use += 1
        self._peak = max(self._peak, self.in_use)
        try:
            yield
        finally:
            self.in_use -= 1
            self._refill()

    async def take(self) -> ChildProcess:
        """The child that came last, whose memory is warmest, or one made on the spot.

        Raises:
            SandboxError: none could be made.
        """
        while self._waiting:
            child = self._waiting.pop()
            if child.waiting:
                return child
            self._keep(child.end())  # somebody else ended it
        with span("sandbox.fork"):
            return await self._fork(False)

    def _refill(self) -> None:
        if self._refilling is None and not self._closed and self._is_short():
            self._refilling = asyncio.create_task(self._fork_ahead())

    async def _fork_ahead(self) -> None:
        try:
            while not self._closed and self._is_short():
                self._waiting.append(await self._fork(True))
        except SandboxError:  # whoever needs a child next will hear of it
            return
        finally:
            self._refilling = None

    def _is_short(self) -> bool:
        return self.in_use < self._busy_from and len(self._waiting) < self._wanted()

    def _wanted(self) -> int:
        return min(self._high, max(self._low, self._peak))

    def _watch(self) -> None:
        """From time to time forgets a past peak, a child at a time, and whatever died waiting."""
        self._peak = max(self.in_use, self._peak - 1)
        for child in [child for child in self._waiting if not child.waiting]:
            self._waiting.remove(child)
            self._keep(child.end())
        self._drop(len(self._waiting) - self._wanted())
        self._refill()
        self._review = asyncio.get_running_loop().call_later(_REVIEW_S, self._watch)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._keep(self._waiting.popleft().end())

    def _keep(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
