"""The trusted side of the sandbox: it owns slots, deadlines and the verdict on how a process ended."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.errors import SandboxError, StartError
from service.sandbox.child_process import (
    ChannelClosedError,
    ChildProcess,
    ForgedAnswerError,
    OutputFloodError,
    OutputLimits,
)
from service.sandbox.inside import lockdown, wire
from service.sandbox.inside.probes import PROBES
from service.sandbox.inside.protocol import Config
from service.sandbox.outcome import Execution, Exit, Outcome, Status, printable
from service.sandbox.zygote_process import Spawned, ZygoteProcess

__all__ = ["Report", "Sandbox", "SandboxConfig", "SandboxProcess"]

_READY_TIMEOUT_S = 10.0
_DRAINED_BYTES = 16 << 20
_MAX_MESSAGE_BYTES = 1 << 30
_KILL_TIMEOUT_S = 5.0
_SPAWN_ATTEMPTS = 3
_NEAR_LIMIT = 0.95
_DYING_S = 0.2  # between the end of a process's descriptors and its own
_MAX_ERROR_CHARS = 8000
_MAX_LINE = 1_000_000
_CLAIMABLE = frozenset({"ok", "error", "syntax_error", "memory_limit", "output_limit"})


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """What every sandboxed process may use, and how many there may be.

    Attributes:
        wall_time_s: from delivery to the end of a graded case, or of an expression that asks for no other.
        cpu_time_s: of all threads of one process.
        memory_bytes: address space beyond the bare interpreter's.
        stdout_bytes: kept of each output stream; 16 MiB are drained before the process is ended for it.
        answer_bytes: one answer.
        open_files: descriptors.
        concurrency: processes at a time.
        uid: user of the processes where this one is root.
        allow_weaker: layers that may be missing.
        landlock_abi: ABI to build rulesets for; 0 for the kernel's own.
    """

    wall_time_s: float = 5.0
    cpu_time_s: int = 5
    memory_bytes: int = 256 << 20
    stdout_bytes: int = 64 << 10
    answer_bytes: int = 1 << 20
    open_files: int = 64
    concurrency: int = 8
    uid: int = 61113
    allow_weaker: frozenset[str] = frozenset()
    landlock_abi: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What stands between submitted code and this machine.

    Attributes:
        layers: the layers in force, each proved at start by trying what it forbids.
        missing: the layers that are not, each allowed to be by name.
        landlock_abi: the Landlock ABI the rulesets are built for, 0 without Landlock.
    """

    layers: tuple[str, ...]
    missing: tuple[str, ...]
    landlock_abi: int


class Sandbox:
    """Runs code in single-use processes; fails closed."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self._slots = asyncio.Semaphore(config.concurrency)
        self._zygote: asyncio.Task[ZygoteProcess] | None = None
        self._layers: frozenset[str] = frozenset()
        self._retired: set[asyncio.Task[None]] = set()
        self.in_use = 0

    async def start(self) -> Report:
        """Starts the zygote and proves every layer by trying what it forbids, in a process with that layer alone.

        Raises:
            StartError: a layer is missing that may not be; says which, and what got through.
        """
        lockdown.become_subreaper()
        lockdown.set_dumpable(False)
        self._zygote = asyncio.create_task(self._launch())
        zygote = await self._zygote
        missing: dict[str, str] = {}
        wanted = [layer for layer in lockdown.LAYERS if layer != "uid" or lockdown.runs_as_root()]
        for layer in wanted:
            if fault := await self._self_test(zygote, layer):
                missing[layer] = fault
        refused = [f"{layer} ({fault})" for layer, fault in missing.items() if layer not in self.config.allow_weaker]
        if refused:
            await self.stop()
            raise StartError(
                f"sandbox layers not in force: {'; '.join(refused)}. Use a kernel and a container that allow them, or"
                " name them in GAUNTLET_SANDBOX_ALLOW_WEAKER to go without"
            )
        self._layers = frozenset(wanted) - missing.keys()
        abi = zygote.landlock_abi if "landlock" in self._layers else 0
        return Report(tuple(layer for layer in wanted if layer in self._layers), tuple(missing), abi)

    async def stop(self) -> None:
        """Ends the zygote and every process that it still has."""
        launched, self._zygote = self._zygote, None
        if launched is not None:
            with contextlib.suppress(StartError):
                await (await launched).close()
        if self._retired:
            await asyncio.wait(self._retired)

    @asynccontextmanager
    async def process(self) -> AsyncIterator["SandboxProcess"]:
        """A fresh, locked-down process for one submission; killed and reaped when the block is left.

        Raises:
            SandboxError: no process could be had.
        """
        async with self._slots:
            self.in_use += 1
            try:
                process = await self._fresh_process()
                try:
                    yield process
                finally:
                    await process.end()
            finally:
                self.in_use -= 1

    async def execute(self, expression: str, *, timeout_s: float | None = None) -> Execution:
        """Runs statements and a last bare expression in a process of their own.

        Args:
            expression: Python source.
            timeout_s: wall clock, seconds; the configured one when None.

        Raises:
            SandboxError: no process could be had.
        """
        async with self.process() as process:
            started = time.perf_counter()
            outcome = await process.ask({"op": "execute", "code": expression}, timeout_s=timeout_s)
            duration_ms = (time.perf_counter() - started) * 1000
        answer = outcome.answer or {}
        result, cut = answer.get("result"), answer.get("truncated") is True
        return Execution(
            outcome.status,
            process.stdout,
            process.stderr,
            printable(result[: self.config.stdout_bytes]) if isinstance(result, str) else None,
            outcome.error or None,
            process.truncated or cut,
            round(duration_ms, 3),
            round(process.exit.cpu_ms, 3),
            process.exit.max_rss_kb,
        )

    async def _fresh_process(self) -> "SandboxProcess":
        """One that is locked down and waits; what dies before that is tried again."""
        for _ in range(_SPAWN_ATTEMPTS - 1):
            with contextlib.suppress(SandboxError):
                return await self._locked_down(await self._living_zygote(), self._layers)
        return await self._locked_down(await self._living_zygote(), self._layers)

    async def _living_zygote(self) -> ZygoteProcess:
        """The zygote, or the next one; its launch is everybody's, so nobody's cancellation ends it."""
        if self._zygote is None:
            raise SandboxError("the sandbox is not running")
        if self._zygote.done() and not _is_alive(self._zygote):
            self._retire(self._zygote)
            self._zygote = asyncio.create_task(self._launch())
        try:
            return await asyncio.shield(self._zygote)
        except StartError as error:
            raise SandboxError(str(error)) from None

    def _retire(self, launched: "asyncio.Task[ZygoteProcess]") -> None:
        if launched.exception() is None:
            task = asyncio.create_task(launched.result().outlive_children())
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _launch(self) -> ZygoteProcess:
        config = self.config
        limits = lockdown.Limits(config.memory_bytes, config.cpu_time_s, config.open_files)
        return await ZygoteProcess.launch(
            Config(asdict(limits), config.uid, config.landlock_abi, config.stdout_bytes, config.answer_bytes)
        )

    async def _locked_down(self, zygote: ZygoteProcess, layers: frozenset[str]) -> "SandboxProcess":
        process = SandboxProcess(zygote, await zygote.spawn(layers), self.config)
        try:
            await process.ready()
        except BaseException:
            await process.end()
            raise
        return process

    async def _self_test(self, zygote: ZygoteProcess, layer: str) -> str:
        """Why a layer is not in force, or an empty text."""
        probes = _probes_of(layer, zygote.landlock_abi)
        try:
            process = await self._locked_down(zygote, frozenset({layer}))
        except SandboxError as error:
            return str(error)
        try:
            outcome = await process.ask({"op": "probe", "forbidden": probes})
        finally:
            await process.end()
        if not outcome.ok:
            return f"its self-test ended with {outcome.status}: {outcome.summary}"
        succeeded = (outcome.answer or {}).get("succeeded")
        return ", ".join(succeeded) if isinstance(succeeded, list) else "its self-test gave no answer"


def _is_alive(launched: "asyncio.Task[ZygoteProcess]") -> bool:
    return launched.exception() is None and launched.result().alive


def _probes_of(layer: str, abi: int) -> list[str]:
    names = []
    for name in PROBES:
        group, _, needed = name.partition(".")[0].partition("_abi_")
        if group == layer and int(needed or 1) <= max(abi, 1):
            names.append(name)
    return names


class SandboxProcess:
    """One process for one submission.

    Attributes:
        stdout, stderr, truncated, exit: what it printed and how it ended; known after its end.
    """

    def __init__(self, zygote: ZygoteProcess, spawned: Spawned, config: SandboxConfig) -> None:
        self._zygote = zygote
        self._config = config
        limits = OutputLimits(config.stdout_bytes, _DRAINED_BYTES, config.answer_bytes)
        self._child = ChildProcess(spawned.pid, spawned.channel, spawned.stdout, spawned.stderr, limits)
        self._deadline: float | None = None
        self._exited = asyncio.create_task(zygote.exited(spawned.pid))
        self._ending: asyncio.Task[None] | None = None
        self.stdout = self.stderr = ""
        self.truncated = False

    @property
    def exit(self) -> Exit:
        """How it ended; to be asked after the end only."""
        return self._exited.result()

    async def ready(self) -> None:
        """Waits until it is locked down.

        Raises:
            SandboxError: it never was.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await self._child.ready()
        except (TimeoutError, ChannelClosedError, ForgedAnswerError, OutputFloodError):
            await self.end()
            raise SandboxError(f"a sandbox process did not start: {self.stderr or 'it ended'}") from None

    async def load(self, code: str, entry_point: str) -> Outcome:
        """Runs the source of a submission, which must define the entry point."""
        return await self.ask({"op": "load", "code": code, "entry_point": entry_point})

    async def call(self, events: Sequence[Any], state: Any) -> Outcome:
        """Calls the entry point with a state of ours."""
        return await self.ask({"op": "call", "events": events, "state": state})

    async def call_again(self, events: Sequence[Any]) -> Outcome:
        """Calls the entry point with the very state that its last call returned."""
        return await self.ask({"op": "call", "events": events, "hand_on": True})

    async def ask(self, message: dict[str, Any], *, timeout_s: float | None = None) -> Outcome:
        """Sends one message and judges what comes back; the wall clock runs from the first one on."""
        if self._deadline is None:
            self._deadline = time.monotonic() + (timeout_s or self._config.wall_time_s)
        payload = wire.encode(message, max_bytes=_MAX_MESSAGE_BYTES, max_values=_MAX_MESSAGE_BYTES)
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                return _judged(await self._child.ask(payload))
        except TimeoutError:
            return await self._overdue()
        except ChannelClosedError:
            return await self._died()
        except OutputFloodError:
            return Outcome(Status.OUTPUT_LIMIT, "it wrote more than the limit")
        except (ForgedAnswerError, wire.WireError):
            return Outcome(Status.ERROR, "the process sent something that is no answer to what it was asked")

    async def end(self) -> None:
        """Kills and reaps it, and takes what it printed."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)  # who is cancelled here leaves nothing behind

    async def _end(self) -> None:
        self._zygote.kill(self._child.pid)
        done, _ = await asyncio.wait([self._exited], timeout=_KILL_TIMEOUT_S)
        if not done:
            self._zygote.abandon()  # it does not reap: so this process will
            await asyncio.wait([self._exited])
        self.stdout, self.stderr, self.truncated = self._child.close()

    async def _overdue(self) -> Outcome:
        used = _peak_memory_bytes(self._child.pid) - self._zygote.mapped_bytes
        await self.end()
        if used >= _NEAR_LIMIT * self._config.memory_bytes or _memory_full(self.exit, self._config):
            return Outcome(Status.MEMORY_LIMIT, "it was still running at the deadline, with all of its memory used")
        return Outcome(Status.TIMEOUT, "it was still running at the deadline")

    async def _died(self) -> Outcome:
        dead, _ = await asyncio.wait([self._exited], timeout=_DYING_S)
        await self.end()
        if not dead:
            return Outcome(Status.ERROR, "the process closed its channel before it answered")
        return _verdict(self.exit, self._config)


def _judged(payload: bytes) -> Outcome:
    """Reads a child's answer; its status is the submission's claim about itself, and only costs itself."""
    answer = wire.decode(payload)
    if not isinstance(answer, dict) or not isinstance(answer.get("status"), str):
        raise wire.WireError("no status")
    if answer["status"] not in _CLAIMABLE:
        raise wire.WireError("unknown status")
    status, error, line = Status(answer["status"]), answer.get("error"), answer.get("line")
    if (status is Status.OK) != (error is None) or not isinstance(error, str | None):
        raise wire.WireError("an error where there is none, or none where there is one")
    return Outcome(
        status,
        printable((error or "")[:_MAX_ERROR_CHARS]),
        answer,
        line if isinstance(line, int) and 0 < line < _MAX_LINE else None,
    )


def _verdict(exit_: Exit, config: SandboxConfig) -> Outcome:
    """What the end of a process that owed an answer says about its code."""
    if exit_.signal and _memory_full(exit_, config):
        return Outcome(Status.MEMORY_LIMIT, "it was ended with all of its memory used")
    cpu_spent = exit_.cpu_ms >= config.cpu_time_s * 1000 * _NEAR_LIMIT
    if exit_.signal_name == "SIGXCPU" or (exit_.signal_name == "SIGKILL" and cpu_spent):
        return Outcome(Status.TIMEOUT, f"it used its {config.cpu_time_s} s of processor time")
    if exit_.signal:
        return Outcome(Status.KILLED, f"it was ended by {exit_.signal_name} before it answered")
    return Outcome(Status.ERROR, f"the process ended (exit code {exit_.status >> 8}) before it answered")


def _memory_full(exit_: Exit, config: SandboxConfig) -> bool:
    return exit_.max_rss_kb * 1024 >= config.memory_bytes * _NEAR_LIMIT


def _peak_memory_bytes(pid: int) -> int:
    """Most address space that a living process has had, 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    peak = re.search(r"^VmPeak:\s+(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) * 1024 if peak else 0
