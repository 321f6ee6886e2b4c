"""Always a zygote to fork from, whatever dies."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from service.errors import SandboxError, StartError
from service.sandbox.child_process import ChildProcess, OutputLimits
from service.sandbox.inside.protocol import Config
from service.sandbox.zygote_process import ZygoteProcess

__all__ = ["Zygotes"]

_PATIENCE_S = 5.0
_RETRY_PAUSE_S = 0.01
_RENEWAL_PAUSE_S = 1.0  # after an origin died: whatever kills it may do so again


@dataclass(slots=True)
class _Pair:
    """An origin, which forks nothing but zygotes, and the one of them that forks children.

    Attributes:
        children: how many there were.
    """

    origin: ZygoteProcess
    forker: ZygoteProcess
    children: int = 0


class Zygotes:
    """Keeps a pair of zygotes, and replaces it when it is worn.

    An origin is an interpreter of its own, and takes about 0.1 s to come up; it forks a forker in about a millisecond,
    so that one that dies is replaced before anybody waits. Children of one pair share its address layout: after a
    number of them the next pair is launched.

    Attributes:
        landlock_abi: ABI that the children's rulesets are built for.
        mapped_bytes: address space that a child has mapped before it runs anything.
    """

    def __init__(self, config: Config, limits: OutputLimits, *, children_each: int) -> None:
        """Prepares for `start`.

        Args:
            config: of each zygote.
            limits: how much a child may write.
            children_each: children after which a pair is replaced.
        """
        self._config = config
        self._limits = limits
        self._children_each = children_each
        self._layers = 0
        self._pair: asyncio.Task[_Pair] | None = None
        self._renewing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.landlock_abi = 0
        self.mapped_bytes = 0

    async def start(self, layers: int) -> None:
        """Launches a pair, prepared for children behind these layers.

        Raises:
            StartError: it did not come up.
        """
        self._layers = layers
        self._pair = asyncio.create_task(self._launch(None))
        try:
            await asyncio.shield(self._pair)
        except SandboxError as error:
            raise StartError(str(error)) from None

    async def stop(self) -> None:
        """Ends the pair; children stay."""
        pair, self._pair = self._pair, None
        if pair is not None:
            self._keep(_retire(pair))
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def fork_child(self, layers: int, *, warm: bool = False) -> ChildProcess:
        """Forks a child, which is not ready yet; outlasts zygotes that die meanwhile.

        Args:
            layers: `lockdown.bits_of` the layers that it steps behind.
            warm: whether it shall run a job of its own before it is ready.

        Raises:
            SandboxError: it could not be done within five seconds.
        """
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                pair = await self._living()
                child = await pair.forker.fork_child(layers, self._limits, warm=warm)
            except (SandboxError, StartError) as fault:
                if self._pair is None or time.monotonic() > give_up:
                    raise SandboxError(str(fault)) from None
                await asyncio.sleep(_RETRY_PAUSE_S)
            else:
                self._count(pair)
                return child

    async def _living(self) -> _Pair:
        """The pair, or the next one; making it is everybody's, so nobody's cancellation ends that."""
        if self._pair is None:
            raise SandboxError("the sandbox is not running")
        if self._pair.done() and (self._pair.exception() is not None or not self._pair.result().forker.alive):
            self._pair = asyncio.create_task(self._launch(self._salvage(self._pair)))
        return self._pair.result() if self._pair.done() else await asyncio.shield(self._pair)

    def _count(self, pair: _Pair) -> None:
        pair.children += 1
        if not self._renewing and (pair.children >= self._children_each or not pair.origin.alive):
            self._renewing = True
            self._keep(self._renew(0 if pair.origin.alive else _RENEWAL_PAUSE_S))

    async def _launch(self, origin: ZygoteProcess | None) -> _Pair:
        if origin is None:
            origin = await ZygoteProcess.launch(self._config)
            self.landlock_abi, self.mapped_bytes = origin.landlock_abi, origin.mapped_bytes
        try:
            return _Pair(origin, await origin.fork_zygote(self._layers))
        except BaseException:
            origin.kill()
            self._keep(origin.gone())
            raise

    def _salvage(self, broken: "asyncio.Task[_Pair]") -> ZygoteProcess | None:
        """The origin of a pair whose forker is dead, if that lives."""
        if broken.exception() is not None:
            return None
        pair = broken.result()
        self._keep(pair.forker.gone())
        if pair.origin.alive:
            return pair.origin
        self._keep(pair.origin.gone())
        return None

    async def _renew(self, pause_s: float) -> None:
        """Replaces a worn pair by a new one, and goes on with the old until that is there."""
        try:
            await asyncio.sleep(pause_s)
            pair = asyncio.create_task(self._launch(None))
            await asyncio.wait([pair])
            if self._pair is not None and pair.exception() is None:
                pair, self._pair = self._pair, pair
            await _retire(pair)
        finally:
            self._renewing = False

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _retire(launched: "asyncio.Task[_Pair]") -> None:
    with contextlib.suppress(SandboxError, StartError):
        pair = await launched
        await asyncio.gather(pair.forker.retire(), pair.origin.retire())
