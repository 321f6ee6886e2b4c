"""The supervisor's handle on one child: its channel, its output, its end."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from service.sandbox.inside import wire
from service.sandbox.inside.protocol import READY

__all__ = ["ChannelClosedError", "ChildProcess", "ForgedAnswerError", "OutputFloodError"]

_CHUNK_BYTES = 1 << 16


class ChannelClosedError(Exception):
    """The child closed its channel, most likely by ending."""


class ForgedAnswerError(Exception):
    """What came over the channel is no answer to what was asked."""


class OutputFloodError(Exception):
    """The child wrote more than anybody will read."""


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """How much a child may write.

    Attributes:
        kept_bytes: of each stream, from its beginning.
        drained_bytes: of each stream, before the child is ended for it.
        answer_bytes: one answer on the channel.
    """

    kept_bytes: int
    drained_bytes: int
    answer_bytes: int


class ChildProcess:
    """A child's three descriptors, read as they fill, so that no pipe ever blocks it or us."""

    def __init__(self, pid: int, channel: int, stdout: int, stderr: int, limits: OutputLimits) -> None:
        self.pid = pid
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Exception | None = None
        self._channel = channel
        os.set_blocking(channel, False)
        self._loop.add_reader(channel, self._read_channel)
        self._streams = [_Stream(fd, limits, self._fail) for fd in (stdout, stderr)]

    async def ready(self) -> None:
        """Waits until the child is locked down.

        Raises:
            ChannelClosedError: it ended before that.
        """
        await self._wait_for(len(READY))
        if self._take(len(READY)) != READY:
            raise ForgedAnswerError

    async def ask(self, payload: bytes) -> bytes:
        """Sends one message and waits for its answer.

        Raises:
            ChannelClosedError: the child ended, or closed its channel.
            ForgedAnswerError: it sent what is no answer, or answered before it was asked.
            OutputFloodError: it wrote more than is drained.
        """
        if self._buffer:
            raise ForgedAnswerError
        nonce = secrets.token_bytes(wire.NONCE_BYTES)
        await self._write(wire.frame(nonce + payload))
        await self._wait_for(4)
        length = int.from_bytes(self._take(4), "big")
        if length > self._limits.answer_bytes + wire.NONCE_BYTES:  # the child's own code keeps to the limit
            raise ForgedAnswerError
        await self._wait_for(length)
        answer = self._take(length)
        if not secrets.compare_digest(answer[: wire.NONCE_BYTES], nonce):
            raise ForgedAnswerError
        return answer[wire.NONCE_BYTES :]

    def close(self) -> tuple[str, str, bool]:
        """Takes what is left in the pipes of an ended child and gives every descriptor back.

        Returns:
            The text of stdout and of stderr, and whether any of it was cut.
        """
        self._loop.remove_reader(self._channel)
        os.close(self._channel)
        for stream in self._streams:
            stream.close()
        (stdout, cut_out), (stderr, cut_err) = (stream.text() for stream in self._streams)
        return stdout, stderr, cut_out or cut_err

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._channel, view) :]
            except BlockingIOError:
                await self._writable()
            except OSError:
                raise ChannelClosedError from None

    async def _writable(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        self._loop.add_writer(self._channel, self._wake)
        try:
            await waiter
        finally:
            self._loop.remove_writer(self._channel)

    async def _wait_for(self, count: int) -> None:
        while len(self._buffer) < count:
            if self._fault is not None:
                raise self._fault
            self._waiter = self._loop.create_future()
            await self._waiter

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _read_channel(self) -> None:
        try:
            chunk = os.read(self._channel, _CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._loop.remove_reader(self._channel)
            self._fail(ChannelClosedError())
            return
        self._buffer += chunk
        if len(self._buffer) > self._limits.answer_bytes + _CHUNK_BYTES:
            self._loop.remove_reader(self._channel)
            self._fail(OutputFloodError())
            return
        self._wake()

    def _fail(self, fault: Exception) -> None:
        self._fault = self._fault or fault
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Stream:
    """One output pipe: the beginning is kept, the rest is counted and dropped."""

    def __init__(self, descriptor: int, limits: OutputLimits, fail: Callable[[Exception], None]) -> None:
        self._descriptor = descriptor
        self._limits = limits
        self._fail = fail
        self._kept = bytearray()
        self._total = 0
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def text(self) -> tuple[str, bool]:
        """What was kept, and whether that is not all."""
        return self._kept.decode("utf-8", "replace"), self._total > len(self._kept)

    def close(self) -> None:
        """Reads what is left, and gives the descriptor back."""
        with contextlib.suppress(OSError):
            while self._total <= self._limits.drained_bytes and self._keep(os.read(self._descriptor, _CHUNK_BYTES)):
                pass
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        try:
            chunk = os.read(self._descriptor, _CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if not self._keep(chunk):
            self._loop.remove_reader(self._descriptor)
        elif self._total > self._limits.drained_bytes:
            self._loop.remove_reader(self._descriptor)
            self._fail(OutputFloodError())

    def _keep(self, chunk: bytes) -> bool:
        self._total += len(chunk)
        self._kept += chunk[: self._limits.kept_bytes - len(self._kept)]
        return bool(chunk)
