"""The supervisor's handle on a zygote: it asks for children, has them killed, and learns how they ended."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from service.errors import SandboxError, StartError
from service.sandbox.inside.protocol import Config
from service.sandbox.outcome import Exit

__all__ = ["Spawned", "ZygoteProcess"]

_START_TIMEOUT_S = 20.0
_SPAWN_TIMEOUT_S = 10.0
_MAX_MESSAGE_BYTES = 1 << 16
_DESCRIPTORS = 3  # of a child: channel, stdout, stderr
_POLL_S = 0.001
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from inside.zygote import main; main(int(sys.argv[2]))"

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Spawned:
    """A fresh child: its process id, and our ends of its channel and output pipes."""

    pid: int
    channel: int
    stdout: int
    stderr: int


class ZygoteProcess:
    """One zygote from launch to its end.

    Attributes:
        alive: whether it can still fork.
        landlock_abi: ABI that its children's rulesets are built for.
        mapped_bytes: address space that its interpreter has mapped.
    """

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._unsent: deque[bytes] = deque()
        self._spawning: dict[int, asyncio.Future[Spawned]] = {}
        self._exits: dict[int, asyncio.Future[Exit]] = {}
        self._killed: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_job = 0
        self.alive = True
        self.landlock_abi = 0
        self.mapped_bytes = 0
        self._loop.add_reader(control.fileno(), self._receive)

    @classmethod
    async def launch(cls, config: Config) -> "ZygoteProcess":
        """Starts a zygote in an interpreter that inherits nothing of ours, and waits until it is warm.

        Raises:
            StartError: it did not come up.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            process = _start_interpreter(theirs.fileno())
        zygote = cls(process, ours)
        zygote._send(asdict(config))
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                started = await zygote._started
        except (TimeoutError, SandboxError):
            await zygote.close()
            raise StartError("the sandbox's interpreter did not start; its error output says why") from None
        zygote.landlock_abi, zygote.mapped_bytes = started["landlock_abi"], started["mapped_bytes"]
        return zygote

    async def spawn(self, layers: frozenset[str]) -> Spawned:
        """Has a child forked.

        Raises:
            SandboxError: the zygote died, could not fork, or does not answer.
        """
        if not self.alive:
            raise SandboxError("the sandbox's parent process is gone")
        self._next_job += 1
        job = self._next_job
        spawned = self._spawning[job] = self._loop.create_future()
        self._send({"op": "spawn", "id": job, "layers": sorted(layers)})
        try:
            async with asyncio.timeout(_SPAWN_TIMEOUT_S):
                return await asyncio.shield(spawned)
        except TimeoutError:
            spawned.add_done_callback(self._discard)  # its answer may lie unread
            self.abandon()
            raise SandboxError("the sandbox's parent process does not answer") from None
        except asyncio.CancelledError:
            spawned.add_done_callback(self._discard)
            raise

    def kill(self, pid: int) -> None:
        """Ends a child with SIGKILL; harmless when it has ended."""
        exited = self._exits.get(pid)
        if exited is not None and not exited.done():
            self._killed.add(pid)
            self._send({"op": "kill", "pid": pid})

    async def exited(self, pid: int) -> Exit:
        """Waits until a child is reaped. To be called once for each child."""
        try:
            return await asyncio.shield(self._exits[pid])
        finally:
            if self._exits[pid].done():
                del self._exits[pid]
                self._killed.discard(pid)

    def abandon(self) -> None:
        """Ends a zygote that is in doubt; its children become ours, and those that are to be killed will be."""
        self._process.kill()

    async def close(self) -> None:
        """Ends the zygote and every child it still has, and waits until all of them are reaped."""
        self._killed.update(self._exits)
        self.abandon()
        await self.outlive_children()

    async def outlive_children(self) -> None:
        """Waits until a zygote that was killed is reaped, and its children have ended, by themselves or by `kill`."""
        while self._process.poll() is None or self.alive:  # noqa: ASYNC110 - children are no asyncio objects
            await asyncio.sleep(_POLL_S)
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _send(self, message: dict[str, Any]) -> None:
        if not self.alive:
            return
        if not self._unsent:
            self._loop.add_writer(self._control.fileno(), self._flush)
        self._unsent.append(json.dumps(message).encode())
        self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(OSError):  # full, and to be tried again; or dead, which is found out by reading
            while self._unsent and self.alive:
                self._control.send(self._unsent[0])
                self._unsent.popleft()
            if self.alive:
                self._loop.remove_writer(self._control.fileno())

    def _receive(self) -> None:
        while self.alive:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE_BYTES, _DESCRIPTORS)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._lost()
                return
            self._handle(json.loads(data), descriptors)

    def _handle(self, message: dict[str, Any], descriptors: list[int]) -> None:
        match message["op"]:
            case "started":
                _resolve(self._started, message)
            case "spawned":
                self._exits[message["pid"]] = self._loop.create_future()
                self._adopt(message["id"], message["pid"], descriptors)
            case "failed":
                fault = SandboxError(f"a sandbox process could not be made: {message['error']}")
                _fail(self._spawning.pop(message["id"]), fault)
            case "exited":
                exit_ = Exit(message["status"], message["cpu_ms"], message["max_rss_kb"])
                _resolve(self._exits[message["pid"]], exit_)

    def _adopt(self, job: int, pid: int, descriptors: list[int]) -> None:
        spawned = self._spawning.pop(job)
        if len(descriptors) == _DESCRIPTORS:
            _resolve(spawned, Spawned(pid, *descriptors))
            return
        self._forget(pid, descriptors)
        _fail(spawned, SandboxError("the service has no descriptors left; see `ulimit -n`"))

    def _discard(self, spawned: "asyncio.Future[Spawned]") -> None:
        """Ends a child that nobody waits for any more."""
        if not spawned.cancelled() and spawned.exception() is None:
            child = spawned.result()
            self._forget(child.pid, [child.channel, child.stdout, child.stderr])

    def _forget(self, pid: int, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)
        self.kill(pid)
        self._keep(self.exited(pid))

    def _lost(self) -> None:
        """The zygote is gone: nothing more can be forked, and its children have become ours to reap."""
        self.alive = False
        self._unsent.clear()
        self._loop.remove_reader(self._control.fileno())
        self._loop.remove_writer(self._control.fileno())
        self._control.close()
        fault = SandboxError("the sandbox's parent process died")
        _fail(self._started, fault)
        for spawned in self._spawning.values():
            _fail(spawned, fault)
        self._spawning.clear()
        for pid, exited in self._exits.items():
            if not exited.done():
                self._keep(self._reap_orphan(pid, exited))
        self._keep(self._reap_strangers())

    def _keep(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reap_orphan(self, pid: int, exited: "asyncio.Future[Exit]") -> None:
        while not exited.done():
            try:
                found, status, usage = os.wait4(pid, os.WNOHANG)  # noqa: ASYNC222 - WNOHANG
            except ChildProcessError:
                if self._process.returncode is not None:  # reaped by the zygote, which died before it could say so
                    _resolve(exited, Exit(0, 0.0, 0))
            else:
                if found:
                    cpu_ms = (usage.ru_utime + usage.ru_stime) * 1000
                    _resolve(exited, Exit(status, cpu_ms, usage.ru_maxrss))
                elif pid in self._killed:  # ours to reap, so nobody else can have been given its number
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(_POLL_S)

    async def _reap_strangers(self) -> None:
        """Ends children that were forked and never told of; the zygote's session is theirs, and nobody else's."""
        while self._process.poll() is None:  # noqa: ASYNC110 - the zygote is no asyncio object
            await asyncio.sleep(_POLL_S)
        for pid in _own_children():
            if pid not in self._exits and _session_of(pid) == self._process.pid:
                exited = self._exits[pid] = self._loop.create_future()
                self._killed.add(pid)
                await self._reap_orphan(pid, exited)
                await self.exited(pid)


def _resolve(future: "asyncio.Future[_Result]", result: "_Result") -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", fault: Exception) -> None:
    if not future.done():
        future.set_exception(fault)
        future.exception()  # where nobody waits any more, nobody shall be warned


def _own_children() -> list[int]:
    threads = Path("/proc/self/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _start_interpreter(control: int) -> subprocess.Popen[bytes]:
    # -I would ignore PYTHONHASHSEED; with this environment, -P -s -S isolate as much.
    flags = ["-P", "-s", "-S", "-B"]
    folder = str(Path(__file__).resolve().parent)
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, *flags, "-c", _BOOTSTRAP, folder, str(control)],
        env={"PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[control],
        start_new_session=True,
    )
