"""The supervisor's handle on a zygote: it asks for children, has them killed, and learns how they ended."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.errors import SandboxError, StartError
from service.sandbox.inside.protocol import Config
from service.sandbox.outcome import Exit

__all__ = ["Spawned", "ZygoteProcess"]

_START_TIMEOUT_S = 20.0
_MAX_MESSAGE_BYTES = 1 << 16
_ORPHAN_POLL_S = 0.001
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from inside.zygote import main; main(int(sys.argv[2]))"


@dataclass(frozen=True, slots=True)
class Spawned:
    """A fresh child: its process id, and our ends of its channel and output pipes."""

    pid: int
    channel: int
    stdout: int
    stderr: int


class ZygoteProcess:
    """One zygote from launch to its end."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._spawning: dict[int, asyncio.Future[Spawned]] = {}
        self._exits: dict[int, asyncio.Future[Exit]] = {}
        self._killed: set[int] = set()
        self._orphans: set[asyncio.Task[None]] = set()
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
        ours.send(json.dumps(asdict(config)).encode())
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                started = await zygote._started
        except (TimeoutError, SandboxError):
            await zygote.close()
            raise StartError("the sandbox's interpreter did not start; its error output says why") from None
        zygote.landlock_abi, zygote.mapped_bytes = started["landlock_abi"], started["mapped_bytes"]
        return zygote

    @property
    def pid(self) -> int:
        """Process id of the zygote."""
        return self._process.pid

    async def spawn(self, layers: frozenset[str]) -> Spawned:
        """Has a child forked.

        Raises:
            SandboxError: the zygote died, or could not fork.
        """
        if not self.alive:
            raise SandboxError("the sandbox's parent process is gone")
        self._next_job += 1
        job = self._next_job
        spawned: asyncio.Future[Spawned] = self._loop.create_future()
        self._spawning[job] = spawned
        self._send({"op": "spawn", "id": job, "layers": sorted(layers)})
        try:
            return await asyncio.shield(spawned)
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

    async def close(self) -> None:
        """Ends the zygote and every child it still has, and waits until all of them are reaped."""
        self._killed.update(self._exits)
        self._process.kill()
        await self.outlive_children()

    async def outlive_children(self) -> None:
        """Waits until a zygote that was killed is reaped, and its children have ended, by themselves or by `kill`."""
        while self._process.poll() is None or self.alive:  # noqa: ASYNC110 - poll() does not wait
            await asyncio.sleep(_ORPHAN_POLL_S)
        if self._orphans:
            await asyncio.wait(self._orphans)

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a zygote that died is found out by reading
            self._control.send(json.dumps(message).encode())

    def _receive(self) -> None:
        while self.alive:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE_BYTES, 3)
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
                self._started.set_result(message)
            case "spawned":
                pid = message["pid"]
                self._exits[pid] = self._loop.create_future()
                self._spawning.pop(message["id"]).set_result(Spawned(pid, *descriptors))
            case "failed":
                error = SandboxError(f"a sandbox process could not be made: {message['error']}")
                self._spawning.pop(message["id"]).set_exception(error)
            case "exited":
                exit_ = Exit(message["status"], message["cpu_ms"], message["max_rss_kb"])
                self._exits[message["pid"]].set_result(exit_)

    def _discard(self, spawned: "asyncio.Future[Spawned]") -> None:
        """Ends a child that nobody waits for any more."""
        if spawned.cancelled() or spawned.exception() is not None:
            return
        child = spawned.result()
        for descriptor in (child.channel, child.stdout, child.stderr):
            os.close(descriptor)
        self.kill(child.pid)
        self._keep(self._loop.create_task(self._forget(child.pid)))

    async def _forget(self, pid: int) -> None:
        await self.exited(pid)

    def _lost(self) -> None:
        """The zygote is gone: nothing more can be forked, and its children have become ours to reap."""
        self.alive = False
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        error = SandboxError("the sandbox's parent process died")
        waiting: list[asyncio.Future[Any]] = [self._started, *self._spawning.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # where nobody waits any more, nobody shall be warned
        self._spawning.clear()
        for pid, exited in self._exits.items():
            if not exited.done():
                self._keep(self._loop.create_task(self._reap_orphan(pid, exited)))

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._orphans.add(task)
        task.add_done_callback(self._orphans.discard)

    async def _reap_orphan(self, pid: int, exited: "asyncio.Future[Exit]") -> None:
        while not exited.done():
            try:
                found, status, usage = os.wait4(pid, os.WNOHANG)  # noqa: ASYNC222 - WNOHANG
            except ChildProcessError:
                if self._process.returncode is not None:
                    exited.set_result(Exit(0, 0.0, 0))
            else:
                if found:
                    cpu_ms = (usage.ru_utime + usage.ru_stime) * 1000
                    exited.set_result(Exit(status, cpu_ms, usage.ru_maxrss))
                elif pid in self._killed:  # ours to reap, so nobody else can have been given its number
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(_ORPHAN_POLL_S)


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
