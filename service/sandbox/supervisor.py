"""The trusted side of the sandbox: it owns slots and limits, and proves the layers at start."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Literal

from service.errors import SandboxError, StartError
from service.machine import MemoryKills
from service.sandbox.child_process import ChannelClosedError, ChildProcess, ForgedAnswerError, OutputLimits
from service.sandbox.inside import lockdown
from service.sandbox.inside.probes import PROBES
from service.sandbox.inside.protocol import Config
from service.sandbox.outcome import Execution, printable
from service.sandbox.pool import ChildPool
from service.sandbox.process import ProcessLimits, SandboxProcess
from service.sandbox.zygotes import Zygotes
from service.spans import NO_SPAN, span

__all__ = ["Report", "Sandbox", "SandboxConfig"]

_DRAINED_BYTES = 16 << 20
_ATTEMPTS = 3


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
        pool_low: least processes to keep waiting, forked ahead of need.
        pool_high: most of them; as many are kept as were lately in use at a time.
        zygote_children: processes forked from one interpreter before a fresh one takes over.
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
    pool_low: int = 10
    pool_high: int = 16
    zygote_children: int = 10_000
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


class _Slots(asyncio.Semaphore):
    """Slots for processes, and how many wait for one."""

    waiting = 0

    async def acquire(self) -> Literal[True]:
        self.waiting += 1
        try:
            with span("sandbox.wait") if self.locked() else NO_SPAN:
                return await super().acquire()
        finally:
            self.waiting -= 1


class Sandbox:
    """Runs code in single-use processes; fails closed."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self._slots = _Slots(config.concurrency)
        self._layers: frozenset[str] = frozenset()
        self._processes: set[SandboxProcess] = set()
        self._memory_kills = MemoryKills()
        self._stopped = False
        self._zygotes = Zygotes(
            _zygote_config(config),
            OutputLimits(config.stdout_bytes, _DRAINED_BYTES, config.answer_bytes),
            children_each=config.zygote_children,
        )
        cores = len(os.sched_getaffinity(0))
        self._pool = ChildPool(self._forked, low=config.pool_low, high=config.pool_high, busy_from=cores)

    @property
    def in_use(self) -> int:
        """Processes that have somebody's code, or are about to."""
        return self._pool.in_use

    @property
    def waiting(self) -> int:
        """Processes forked ahead that wait for theirs."""
        return self._pool.waiting

    @property
    def queued(self) -> int:
        """Processes asked for that wait for a slot."""
        return self._slots.waiting

    async def start(self) -> Report:
        """Starts the zygotes, proves every layer by trying what it forbids, and forks the first processes ahead.

        Each layer is tried in a process that has no other. The calling thread must live as long as the sandbox
        does: the kernel ends the processes with it.

        Raises:
            StartError: a layer is missing that may not be; says which, and what got through.
        """
        lockdown.set_dumpable(False)
        wanted = [layer for layer in lockdown.LAYERS if layer != "uid" or lockdown.runs_as_root()]
        await self._zygotes.start(lockdown.bits_of(frozenset(wanted)))
        missing = {layer: fault for layer in wanted if (fault := await self._self_test(layer))}
        refused = [f"{layer} ({fault})" for layer, fault in missing.items() if layer not in self.config.allow_weaker]
        if refused:
            await self.stop()
            raise StartError(
                f"sandbox layers not in force: {'; '.join(refused)}. Use a kernel and a container that allow them, or"
                " name them in GAUNTLET_SANDBOX_ALLOW_WEAKER to go without"
            )
        self._layers = frozenset(wanted) - missing.keys()
        try:
            await self._pool.open()
        except SandboxError as error:
            await self.stop()
            raise StartError(str(error)) from None
        abi = self._zygotes.landlock_abi if "landlock" in self._layers else 0
        return Report(tuple(layer for layer in wanted if layer in self._layers), tuple(missing), abi)

    async def stop(self) -> None:
        """Ends the zygotes and every process there is; what still ran is reported as killed."""
        self._stopped = True
        await self._pool.close()
        await self._zygotes.stop()
        for process in self._processes:
            process.kill()
        self._memory_kills.close()

    @asynccontextmanager
    async def process(self) -> AsyncIterator[SandboxProcess]:
        """A fresh, locked-down process for one submission; killed and reaped when the block is left.

        Raises:
            SandboxError: no process could be had.
        """
        async with self._slots:
            with self._pool.use(), span("sandbox.process"):
                process = self._process(await self._pool.take())
                self._processes.add(process)
                if self._stopped:
                    process.kill()
                try:
                    yield process
                finally:
                    await process.end()
                    self._processes.discard(process)

    async def execute(self, expression: str, *, timeout_s: float | None = None) -> Execution:
        """Runs statements and a last bare expression in a process of their own.

        Args:
            expression: Python source.
            timeout_s: wall clock, seconds; the configured one when None.

        Raises:
            SandboxError: no process could be had, or the kernel killed it for want of memory.
        """
        async with self.process() as process:
            started = time.perf_counter()
            outcome = await process.ask({"op": "execute", "code": expression}, timeout_s=timeout_s)
            duration_ms = (time.perf_counter() - started) * 1000
        answer = outcome.answer or {}
        result, cut = answer.get("result"), answer.get("truncated") is True
        return Execution(
            outcome.status,
            process.printed.stdout,
            process.printed.stderr,
            printable(result[: self.config.stdout_bytes]) if isinstance(result, str) else None,
            outcome.error or None,
            process.printed.truncated or cut,
            round(duration_ms, 3),
            round(process.exit.cpu_ms, 3),
            process.exit.max_rss_kb,
        )

    def _process(self, child: ChildProcess) -> SandboxProcess:
        config, mapped = self.config, self._zygotes.mapped_bytes
        limits = ProcessLimits(config.wall_time_s, config.cpu_time_s, config.memory_bytes, mapped)
        return SandboxProcess(child, limits, self._pool.take, self._memory_kills)

    async def _forked(self, warm: bool) -> ChildProcess:
        """A child behind all layers; one that dies before it is ready is no news but of the third in a row."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(SandboxError):
                return await self._locked_down(self._layers, warm=warm)
        return await self._locked_down(self._layers, warm=warm)

    async def _locked_down(self, layers: frozenset[str], *, warm: bool = False) -> ChildProcess:
        if self._stopped:
            raise SandboxError("the sandbox is not running")
        child = await self._zygotes.fork_child(lockdown.bits_of(layers), warm=warm)
        try:
            await child.ready()
        except (TimeoutError, ChannelClosedError, ForgedAnswerError):
            _, printed = await child.end()
            raise SandboxError(f"a sandbox process did not start: {printed.stderr or 'it ended'}") from None
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(child.end()))
            raise
        return child

    async def _self_test(self, layer: str) -> str:
        """Why a layer is not in force, or an empty text."""
        try:
            child = await self._locked_down(frozenset({layer}))
        except SandboxError as error:
            return str(error)
        process = self._process(child)
        try:
            outcome = await process.ask({"op": "probe", "forbidden": _probes_of(layer, self._zygotes.landlock_abi)})
        finally:
            await process.end()
        if not outcome.ok:
            return f"its self-test ended with {outcome.status}: {outcome.summary}"
        succeeded = (outcome.answer or {}).get("succeeded")
        return ", ".join(succeeded) if isinstance(succeeded, list) else "its self-test gave no answer"


def _zygote_config(config: SandboxConfig) -> Config:
    limits = lockdown.Limits(config.memory_bytes, config.cpu_time_s, config.open_files)
    return Config(asdict(limits), config.uid, config.landlock_abi, config.stdout_bytes, config.answer_bytes)


def _probes_of(layer: str, abi: int) -> list[str]:
    names = []
    for name in PROBES:
        group, _, needed = name.partition(".")[0].partition("_abi_")
        if group == layer and int(needed or 1) <= max(abi, 1):
            names.append(name)
    return names
