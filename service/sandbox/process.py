"""One process for one submission: what it is asked, and the verdict on what came of it."""

import asyncio
import pickle
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import SandboxError
from service.machine import MemoryKills
from service.sandbox.child_process import (
    ChannelClosedError,
    ChildProcess,
    ForgedAnswerError,
    OutputFloodError,
    UndeliveredError,
)
from service.sandbox.outcome import Exit, Outcome, Printed, Status, printable
from service.sandbox.reading import WireError, decode

__all__ = ["ProcessLimits", "SandboxProcess"]

_NEAR_LIMIT = 0.95
_DYING_S = 0.2  # between the end of a process's descriptors and its own
_MAX_ERROR_CHARS = 8000
_MAX_LINE = 1_000_000
_CLAIMABLE = frozenset({"ok", "error", "syntax_error", "memory_limit", "output_limit"})


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What one process may use, as far as the verdict depends on it.

    Attributes:
        wall_time_s: from the first message to the last answer, unless a message asks for more.
        cpu_time_s: of all its threads.
        memory_bytes: address space beyond what was mapped before it ran anything.
        mapped_bytes: the latter.
    """

    wall_time_s: float
    cpu_time_s: int
    memory_bytes: int
    mapped_bytes: int


class SandboxProcess:
    """A child with a submission.

    Attributes:
        printed, exit: what it printed and how it ended; known after its end.
    """

    def __init__(
        self,
        child: ChildProcess,
        limits: ProcessLimits,
        another: Callable[[], Awaitable[ChildProcess]],
        memory_kills: MemoryKills,
    ) -> None:
        """Takes a child that waits.

        Args:
            child: it.
            limits: what the verdict depends on.
            another: gives another child, should this one turn out dead before it got anything.
            memory_kills: the kernel's, for want of memory; one while this process ran explains its end by SIGKILL.
        """
        self._child = child
        self._limits = limits
        self._another = another
        self._memory_kills = memory_kills
        self._kills_before = 0
        self._deadline: float | None = None
        self._ended: tuple[Exit, Printed] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def printed(self) -> Printed:
        """What it printed; to be asked after its end."""
        return self._end_result()[1]

    @property
    def exit(self) -> Exit:
        """How it ended; to be asked after its end."""
        return self._end_result()[0]

    async def compile(self, code: str, words: Sequence[str] = ()) -> Outcome:
        """Compiles the source of a submission, and runs nothing of it: what comes back is our own code's word.

        Args:
            code: the source.
            words: to be looked for in its names.
        """
        return await self.ask({"op": "compile", "code": code, "words": list(words)})

    async def load(self, code: str, entry_point: str, compiled: str | None = None) -> Outcome:
        """Runs the source of a submission, which must define the entry point.

        Args:
            code: the source.
            entry_point: name of a callable.
            compiled: what `compile` gave of it, in this process or another one; None to compile it here.
        """
        return await self.ask({"op": "load", "code": code, "entry_point": entry_point, "compiled": compiled})

    async def call(self, events: Sequence[Any], state: Any, *, whole_state: bool = True) -> Outcome:
        """Calls the entry point with a state of ours.

        Args:
            events: the batch.
            state: the state.
            whole_state: whether lists and deques of the state are answered item by item, or as `Held`: their length.
        """
        return await self.ask({"op": "call", "events": events, "whole": whole_state, "state": state})

    async def call_again(self, events: Sequence[Any], *, whole_state: bool = True) -> Outcome:
        """The same with the very state that its last call returned."""
        return await self.ask({"op": "call", "events": events, "whole": whole_state, "hand_on": True})

    async def ask(self, message: dict[str, Any], *, timeout_s: float | None = None) -> Outcome:
        """Sends one message and judges what comes back; the wall clock runs from the first one on.

        Raises:
            SandboxError: no process took the message, and nothing of it has run; or the kernel killed the process for
                want of memory, which its own limit would have kept it from if it had taken too much.
        """
        payload = pickle.dumps(message)  # read by our own code, before it runs any of the submission's
        try:
            if self._deadline is None:
                self._kills_before = self._memory_kills.count()
                return _judged(await self._deliver_first(payload, timeout_s or self._limits.wall_time_s))
            return _judged(await self._child.ask(payload, self._deadline))
        except TimeoutError:
            return await self._overdue()
        except ChannelClosedError:
            return await self._died()
        except OutputFloodError:
            return Outcome(Status.OUTPUT_LIMIT, "it wrote more than the limit")
        except (ForgedAnswerError, WireError):
            return Outcome(Status.ERROR, "the process sent something that is no answer to what it was asked")

    def kill(self) -> None:
        """Ends it where it stands; what it was asked is answered with that."""
        self._child.kill()

    async def end(self) -> None:
        """Kills and reaps it, and takes what it printed."""
        if self._ending is not None:
            await asyncio.shield(self._ending)
        if self._ended is not None:
            return
        try:
            self._ended = await self._child.end()
        except asyncio.CancelledError:  # who is cancelled here leaves nothing behind
            self._ending = asyncio.create_task(self._end())
            raise

    async def _end(self) -> None:
        self._ended = await self._child.end()

    async def _deliver_first(self, payload: bytes, wall_time_s: float) -> bytes:
        """A child that ends before it has read its first message has run nothing of it: another one shall."""
        loop = asyncio.get_running_loop()
        try:
            self._deadline = loop.time() + wall_time_s
            return await self._child.ask(payload, self._deadline)
        except UndeliveredError:
            dead, self._child = self._child, await self._another()
            await asyncio.shield(asyncio.ensure_future(dead.end()))
        try:
            self._deadline = loop.time() + wall_time_s
            return await self._child.ask(payload, self._deadline)
        except UndeliveredError:
            raise SandboxError("two sandbox processes in turn died before they took their code") from None

    def _end_result(self) -> tuple[Exit, Printed]:
        if self._ended is None:
            raise RuntimeError("the process has not ended")
        return self._ended

    async def _overdue(self) -> Outcome:
        used = _peak_memory_bytes(self._child.pid) - self._limits.mapped_bytes
        await self.end()
        if used >= _NEAR_LIMIT * self._limits.memory_bytes or _memory_full(self.exit, self._limits):
            return Outcome(Status.MEMORY_LIMIT, "it was still running at the deadline, with all of its memory used")
        return Outcome(Status.TIMEOUT, "it was still running at the deadline")

    async def _died(self) -> Outcome:
        dead = True
        try:
            async with asyncio.timeout(_DYING_S):
                await self._child.wait()
        except TimeoutError:
            dead = False
        await self.end()
        if not dead:
            return Outcome(Status.ERROR, "the process closed its channel before it answered")
        if self.exit.signal_name == "SIGKILL" and self._memory_kills.count() > self._kills_before:
            raise SandboxError("the kernel killed a sandbox process for want of memory: too many run at a time for it")
        return _verdict(self.exit, self._limits)


def _judged(payload: bytes) -> Outcome:
    """Reads a child's answer; its status is the submission's claim about itself, and only costs itself."""
    answer = decode(payload)
    if not isinstance(answer, dict) or not isinstance(answer.get("status"), str):
        raise WireError("no status")
    if answer["status"] not in _CLAIMABLE:
        raise WireError("unknown status")
    status, error, line = Status(answer["status"]), answer.get("error"), answer.get("line")
    if (status is Status.OK) != (error is None) or not isinstance(error, str | None):
        raise WireError("an error where there is none, or none where there is one")
    return Outcome(
        status,
        printable((error or "")[:_MAX_ERROR_CHARS]),
        answer,
        line if type(line) is int and 0 < line < _MAX_LINE else None,
    )


def _verdict(exit_: Exit, limits: ProcessLimits) -> Outcome:
    """What the end of a process that owed an answer says about its code."""
    if exit_.signal and _memory_full(exit_, limits):
        return Outcome(Status.MEMORY_LIMIT, "it was ended with all of its memory used")
    cpu_spent = exit_.cpu_ms >= limits.cpu_time_s * 1000 * _NEAR_LIMIT
    if exit_.signal_name == "SIGXCPU" or (exit_.signal_name == "SIGKILL" and cpu_spent):
        return Outcome(Status.TIMEOUT, f"it used its {limits.cpu_time_s} s of processor time")
    if exit_.signal:
        return Outcome(Status.KILLED, f"it was ended by {exit_.signal_name} before it answered")
    return Outcome(Status.ERROR, f"the process ended (exit code {exit_.status >> 8}) before it answered")


def _memory_full(exit_: Exit, limits: ProcessLimits) -> bool:
    return exit_.max_rss_kb * 1024 >= limits.memory_bytes * _NEAR_LIMIT


def _peak_memory_bytes(pid: int) -> int:
    """Most address space that a living process has had, 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    peak = re.search(r"^VmPeak:\s+(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) * 1024 if peak else 0
