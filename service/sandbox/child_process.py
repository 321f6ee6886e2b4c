"""The supervisor's handle on one child: its channel, its output, its end."""

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.sandbox.inside import wire
from service.sandbox.inside.protocol import READY
from service.sandbox.outcome import Exit, Printed

__all__ = [
    "ChannelClosedError",
    "ChildProcess",
    "ForgedAnswerError",
    "OutputFloodError",
    "OutputLimits",
    "UndeliveredError",
    "reap",
]

_CHUNK_BYTES = 1 << 16
_QUIET_S = 0.01  # most jobs end within this and fit their pipes: only those that do not are listened to while they run
_POLL_S = 0.001
_HANGING_UP_S = 0.05
_READY_TIMEOUT_S = 10.0
_CPU_CLOCK = 2  # CPUCLOCK_SCHED, as in clock_getcpuclockid(3)


class ChannelClosedError(Exception):
    """The child closed its channel, most likely by ending."""


class UndeliveredError(ChannelClosedError):
    """The child was gone before it had read the whole of what it was sent."""


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
    """A child of this process: read as it writes, so that no pipe ever blocks it or us, and ended by us alone."""

    def __init__(
        self, pid: int, descriptors: tuple[int, int, int], limits: OutputLimits, reaped: Callable[[int], object]
    ) -> None:
        """Takes a child over.

        Args:
            pid: its process id.
            descriptors: our ends of its channel, stdout and stderr.
            limits: how much it may write.
            reaped: called with its process id once it is no more.
        """
        self.pid = pid
        self._limits = limits
        self._reaped = reaped
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Exception | None = None
        self._exit: Exit | None = None
        self._hung_up = False
        self._timer: asyncio.TimerHandle
        self._cpu_clock = ~pid << 3 | _CPU_CLOCK
        self._cpu_s_before = 0.0
        self._channel, stdout, stderr = descriptors
        self._streams = [_Stream(descriptor, limits, self._fail) for descriptor in (stdout, stderr)]
        os.set_blocking(self._channel, False)
        self._loop.add_reader(self._channel, self._read_channel)

    @property
    def waiting(self) -> bool:
        """Whether it is still there and has said nothing unasked."""
        return self._fault is None and not self._buffer

    async def ready(self) -> None:
        """Waits until the child is locked down.

        Raises:
            ChannelClosedError: it ended before that.
            ForgedAnswerError: it said something else.
            TimeoutError: it said nothing.
        """
        overdue = self._loop.call_later(_READY_TIMEOUT_S, self._fail, TimeoutError())
        try:
            await self._wait_for(len(READY))
        finally:
            overdue.cancel()
        if self._take(len(READY)) != READY:
            raise ForgedAnswerError

    async def ask(self, payload: bytes, deadline: float) -> bytes:
        """Sends one message and waits for its answer.

        Args:
            payload: the message.
            deadline: on the event loop's clock, seconds.

        Raises:
            TimeoutError: the deadline has come.
            UndeliveredError: the child ended before it had read the message.
            ChannelClosedError: the child ended later, or closed its channel.
            ForgedAnswerError: it sent what is no answer, or answered before it was asked.
            OutputFloodError: it wrote more than is drained.
        """
        if self._buffer:
            raise ForgedAnswerError
        nonce = secrets.token_bytes(wire.NONCE_BYTES)
        with contextlib.suppress(OSError):  # it has ended: the channel will tell
            self._cpu_s_before = self._cpu_s_before or time.clock_gettime(self._cpu_clock)
        self._timer = self._loop.call_later(_QUIET_S, self._listen, deadline)
        try:
            await self._write(wire.frame(nonce + payload))
            await self._wait_for(4)
            length = int.from_bytes(self._take(4), "big")
            if length > self._limits.answer_bytes + wire.NONCE_BYTES:  # the child's own code keeps to the limit
                raise ForgedAnswerError
            await self._wait_for(length)
        finally:
            self._timer.cancel()
        answer = self._take(length)
        if not secrets.compare_digest(answer[: wire.NONCE_BYTES], nonce):
            raise ForgedAnswerError
        return answer[wire.NONCE_BYTES :]

    async def wait(self) -> Exit:
        """Waits for its end, and reaps it."""
        while (exit_ := self._exit or self._reap()) is None:
            await (_ended(self.pid) if self._hung_up else self._hanging_up())
        return exit_

    async def end(self) -> tuple[Exit, Printed]:
        """Kills it, reaps it, takes what is left in its pipes and gives every descriptor back. To be called once."""
        self.kill()
        exit_ = await self.wait()
        self._loop.remove_reader(self._channel)
        os.close(self._channel)
        for stream in self._streams:
            stream.close()
        (stdout, cut_out), (stderr, cut_err) = (stream.text() for stream in self._streams)
        return exit_, Printed(stdout, stderr, cut_out or cut_err)

    def kill(self) -> None:
        """Ends it where it stands."""
        if self._exit is None:  # not reaped, so the number is still its own
            os.kill(self.pid, signal.SIGKILL)

    def _listen(self, deadline: float) -> None:
        """This job is one of the long or loud ones."""
        for stream in self._streams:
            stream.listen()
        self._timer = self._loop.call_at(deadline, self._fail, TimeoutError())

    def _reap(self) -> Exit | None:
        found, status, usage = os.wait4(self.pid, os.WNOHANG)
        if not found:
            return None
        cpu_s = usage.ru_utime + usage.ru_stime - self._cpu_s_before
        self._exit = Exit(status, max(0.0, cpu_s * 1000), usage.ru_maxrss)
        self._reaped(self.pid)
        return self._exit

    async def _hanging_up(self) -> None:
        """Waits for its channel to close, which comes a moment before its end; not for long, others may hold it."""
        waiter = self._waiter = self._loop.create_future()
        patience = self._loop.call_later(_HANGING_UP_S, self._hang_up)
        try:
            await waiter
        finally:
            patience.cancel()

    def _hang_up(self) -> None:
        self._hung_up = True
        self._wake()

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._channel, view) :]
            except BlockingIOError:
                await self._writable()
            except OSError:
                raise UndeliveredError from None

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
        fault: Exception = ChannelClosedError()
        try:
            chunk = os.read(self._channel, _CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError:  # says the kernel when the other end had something left to read
            chunk, fault = b"", UndeliveredError()
        except OSError:
            chunk = b""
        self._buffer += chunk
        if len(self._buffer) > self._limits.answer_bytes + _CHUNK_BYTES:
            chunk, fault = b"", OutputFloodError()
        if not chunk:
            self._hung_up = True
            self._loop.remove_reader(self._channel)
            self._fail(fault)
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
        self._heard = False
        os.set_blocking(descriptor, False)

    def listen(self) -> None:
        """From now on, reads what comes as it comes."""
        if not self._heard:
            self._heard = True
            self._loop.add_reader(self._descriptor, self._read)

    def text(self) -> tuple[str, bool]:
        """What was kept, and whether that is not all."""
        return self._kept.decode("utf-8", "replace"), self._total > len(self._kept)

    def close(self) -> None:
        """Reads what is left, and gives the descriptor back."""
        with contextlib.suppress(OSError):
            while self._total <= self._limits.drained_bytes and self._keep(os.read(self._descriptor, _CHUNK_BYTES)):
                pass
        if self._heard:
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


async def reap(pid: int) -> tuple[int, resource.struct_rusage]:
    """Waits until a child of this process has ended, and takes its remains.

    Returns:
        Its status as `os.wait` gives it, and the resources it used.
    """
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)  # noqa: ASYNC222 - WNOHANG
        if found:
            return status, usage
        await _ended(pid)


async def _ended(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:  # denied by an older container engine
        await asyncio.sleep(_POLL_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
