"""The supervisor's handle on one zygote, which forks children and further zygotes on order."""

import array
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.errors import SandboxError, StartError
from service.sandbox.child_process import ChildProcess, OutputLimits, reap
from service.sandbox.inside.protocol import CHANNEL, CHILD, FORKED, ORDER, WARM_CHILD, ZYGOTE, Config

__all__ = ["ZygoteProcess"]

_START_TIMEOUT_S = 20.0
_ORDER_TIMEOUT_S = 5.0
_MAX_MESSAGE_BYTES = 1 << 16
_DESCRIPTORS = 3  # at most, of anything forked
_POLL_S = 0.005
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from inside.zygote import main; main()"


@dataclass(frozen=True, slots=True)
class _Order:
    """What was asked of a zygote: how many descriptors come with it, and who waits for it."""

    descriptors: int
    done: "asyncio.Future[_Forked]"


@dataclass(frozen=True, slots=True)
class _Forked:
    pid: int
    descriptors: tuple[int, ...]


class ZygoteProcess:
    """One zygote from its launch, or its fork, to its end.

    Attributes:
        alive: whether it can still fork.
        landlock_abi: ABI that its children's rulesets are built for.
        mapped_bytes: address space that its interpreter has mapped.
    """

    def __init__(
        self, pid: int, control: socket.socket, started: Mapping[str, int], reaped: Callable[[int], object]
    ) -> None:
        self.alive = True
        self.landlock_abi = started["landlock_abi"]
        self.mapped_bytes = started["mapped_bytes"]
        self._pid = pid
        self._control = control
        self._started = started
        self._reaped = reaped
        self._loop = asyncio.get_running_loop()
        self._orders: dict[int, _Order] = {}
        self._number = 0
        self._known: set[int] = set()  # what it forked and somebody here looks after
        self._tasks: set[asyncio.Task[None]] = set()
        self._buried: asyncio.Task[None] | None = None
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._receive)

    @classmethod
    async def launch(cls, config: Config) -> "ZygoteProcess":
        """Starts a zygote in an interpreter that inherits nothing of ours, and waits until it is warm.

        Raises:
            StartError: it did not come up.
        """
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            pid = _start_interpreter(theirs.fileno())
        control.setblocking(False)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await asyncio.get_running_loop().sock_sendall(control, json.dumps(asdict(config)).encode())
                started = json.loads(await asyncio.get_running_loop().sock_recv(control, _MAX_MESSAGE_BYTES))
        except BaseException as error:
            control.close()
            os.kill(pid, signal.SIGKILL)
            await reap(pid)
            if isinstance(error, OSError | TimeoutError | ValueError):
                raise StartError("the sandbox's interpreter did not start; its error output says why") from None
            raise
        return cls(pid, control, started, lambda _: None)

    async def fork_child(self, layers: int, limits: OutputLimits, *, warm: bool) -> ChildProcess:
        """Has a child forked, which is not ready yet.

        Args:
            layers: `lockdown.bits_of` the layers that it steps behind.
            limits: how much it may write.
            warm: whether it shall run a job of its own before it is ready.

        Raises:
            SandboxError: the zygote died, could not fork, or does not answer.
        """
        forked = await self._order(WARM_CHILD if warm else CHILD, layers, descriptors=3)
        channel, stdout, stderr = forked.descriptors
        return ChildProcess(forked.pid, (channel, stdout, stderr), limits, self._known.discard)

    async def fork_zygote(self, layers: int) -> "ZygoteProcess":
        """Has another zygote forked that is prepared for children behind these layers.

        Raises:
            SandboxError: this one died, could not fork, or does not answer.
        """
        forked = await self._order(ZYGOTE, layers, descriptors=1)
        control = socket.socket(fileno=forked.descriptors[0])
        return ZygoteProcess(forked.pid, control, self._started, self._known.discard)

    def kill(self) -> None:
        """Ends it at once, whatever it is at; what it forked stays."""
        if self._buried is None or not self._buried.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    async def retire(self) -> None:
        """Lets it do what it was ordered, ends it, and waits until it is reaped."""
        while self.alive and self._orders:  # noqa: ASYNC110 - each has a deadline of its own
            await asyncio.sleep(_POLL_S)
        self.kill()
        await self.gone()

    async def gone(self) -> None:
        """Waits until one that was killed is reaped, and whatever it forked and could not tell of with it."""
        while self._buried is None:  # noqa: ASYNC110 - its socket tells
            await asyncio.sleep(_POLL_S)
        await asyncio.shield(self._buried)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _order(self, what: int, layers: int, *, descriptors: int) -> _Forked:
        if not self.alive:
            raise SandboxError("the sandbox's parent process is gone")
        self._number = (self._number + 1) & 0xFFFFFFFF
        order = self._orders[self._number] = _Order(descriptors, self._loop.create_future())
        overdue = self._loop.call_later(_ORDER_TIMEOUT_S, self._give_up, order)
        try:
            self._control.send(ORDER.pack(self._number, what, layers))
        except OSError:  # its queue is full, so it hangs; or it has died
            self.kill()
        try:
            return await order.done
        except asyncio.CancelledError:
            if not order.done.cancelled() and order.done.exception() is None:
                self._discard(order.done.result())
            raise
        finally:
            overdue.cancel()

    def _give_up(self, order: _Order) -> None:
        _fail(order, "the sandbox's parent process does not answer")
        self.kill()

    def _receive(self) -> None:
        try:
            data, descriptors = _receive_with_descriptors(self._control)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors = b"", []
        order, pid = None, 0
        if len(data) == FORKED.size:
            number, pid = FORKED.unpack(data)
            order = self._orders.pop(number, None)
        if order is None or pid == 0:  # its end, or words that no zygote of ours would say
            _close(descriptors)
            self._lost()
        else:
            self._fulfil(order, pid, descriptors)

    def _fulfil(self, order: _Order, pid: int, descriptors: list[int]) -> None:
        if pid < 0:
            _fail(order, f"a sandbox process could not be made: {os.strerror(-pid)}")
            return
        self._known.add(pid)
        if len(descriptors) == order.descriptors and not order.done.done():
            order.done.set_result(_Forked(pid, tuple(descriptors)))
            return
        _fail(order, "the service has no descriptors left; see `ulimit -n`")  # unless nobody waits any more
        self._discard(_Forked(pid, tuple(descriptors)))

    def _discard(self, forked: _Forked) -> None:
        _close(forked.descriptors)
        self._keep(self._end(forked.pid))

    def _lost(self) -> None:
        """The zygote is gone, or not to be trusted any more: it forks nothing more."""
        self.alive = False
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        self.kill()
        for order in self._orders.values():
            _fail(order, "the sandbox's parent process died")
        self._orders.clear()
        self._buried = self._loop.create_task(self._bury())

    async def _bury(self) -> None:
        """Reaps it, and what it forked and could not tell of: its session is theirs, and nobody else's."""
        await reap(self._pid)
        self._reaped(self._pid)
        for pid in _own_children():
            if pid not in self._known and _session_of(pid) == self._pid:
                await self._end(pid)

    async def _end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)  # a child that nobody has reaped: the number is still its own
        await reap(pid)
        self._known.discard(pid)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _receive_with_descriptors(control: socket.socket) -> tuple[bytes, list[int]]:
    """As `socket.recv_fds`, which forgets its flags: no zygote launched later shall inherit what came."""
    rights = array.array("i")
    room = socket.CMSG_LEN(_DESCRIPTORS * rights.itemsize)
    data, ancillary, _, _ = control.recvmsg(FORKED.size + 1, room, socket.MSG_CMSG_CLOEXEC)
    for _, _, content in ancillary:
        rights.frombytes(content[: len(content) - len(content) % rights.itemsize])
    return data, rights.tolist()


def _fail(order: _Order, reason: str) -> None:
    if not order.done.done():
        order.done.set_exception(SandboxError(reason))
        order.done.exception()  # where nobody waits any more, nobody shall be warned


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _own_children() -> list[int]:
    threads = Path("/proc/self/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _start_interpreter(control: int) -> int:
    # -I would ignore PYTHONHASHSEED; with this environment, -P -s -S isolate as much.
    folder = str(Path(__file__).resolve().parent)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-s", "-S", "-B", "-c", _BOOTSTRAP, folder],
        {"PYTHONHASHSEED": "0"},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, control, CHANNEL),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        # As in any other start of the service: `nohup`, or a shell's `&`, would have children ignore what they send.
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        setsigmask=(),
    )
