"""The zygote: a clean, warm, single-threaded interpreter that forks a locked-down child for every job.

It never sees a submission. It speaks with the supervisor over a SOCK_SEQPACKET socket, JSON in both directions:

=============  ==============================================  =============================================
direction      message                                         meaning
=============  ==============================================  =============================================
to zygote      members of `Config`                             first message: what to prepare
from zygote    ``{"op": "started", "landlock_abi", …}``        ready to fork
to zygote      ``{"op": "spawn", "id", "layers"}``             fork a child
from zygote    ``{"op": "spawned", "id", "pid"}`` + 3 fds      its channel, stdout, stderr
to zygote      ``{"op": "kill", "pid"}``                       SIGKILL a child
from zygote    ``{"op": "exited", "pid", "status", …}``        a child was reaped; always the last of a child
=============  ==============================================  =============================================
"""

import contextlib
import ctypes
import gc
import importlib
import json
import linecache
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from . import child, lockdown, running, stdlib
from .protocol import CHANNEL, READY, Config

__all__ = ["PRELOADED", "main"]

# What submissions import, and every extension module that an honest one may want: children can load no file.
PRELOADED = (
    "abc", "array", "ast", "base64", "bisect", "calendar", "cmath", "collections", "collections.abc", "contextlib",
    "contextvars", "copy", "csv", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib",
    "heapq", "inspect", "io", "itertools", "json", "logging", "math", "mmap", "numbers", "operator", "pickle",
    "pprint", "queue", "random", "re", "resource", "secrets", "select", "signal", "socket", "statistics", "string",
    "struct", "subprocess", "textwrap", "threading", "time", "traceback", "types", "typing", "unicodedata", "uuid",
    "warnings", "weakref", "zlib", "zoneinfo",
)  # fmt: skip

_WARM_UP = "import statistics\n[statistics.median([1.0, 2.0]), f'{1.5:.2f}', sorted({3: 4}.items())]"
_MAX_MESSAGE_BYTES = 1 << 16
_STARTUP_FAILED = 70
_NICENESS = 10  # the service and this zygote go first
_THREAD_STACK_BYTES = 4 << 20
_M_ARENA_MAX = -8  # malloc.h


@dataclass
class _Zygote:
    control: socket.socket
    config: Config
    abi: int
    mapped_bytes: int
    wakeup: int
    lockdowns: dict[frozenset[str], lockdown.Lockdown] = field(default_factory=dict)
    children: set[int] = field(default_factory=set)

    def run(self) -> NoReturn:
        self._send({"op": "started", "landlock_abi": self.abi, "mapped_bytes": self.mapped_bytes})
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wakeup, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self.wakeup:
                    self._reap()
                else:
                    self._receive()

    def _receive(self) -> None:
        data = self.control.recv(_MAX_MESSAGE_BYTES)
        if not data:
            self._end()
        message = json.loads(data)
        if message["op"] == "spawn":
            self._spawn(message["id"], frozenset(message["layers"]))
        elif message["op"] == "kill" and message["pid"] in self.children:
            os.kill(message["pid"], signal.SIGKILL)

    def _spawn(self, job: int, layers: frozenset[str]) -> None:
        with contextlib.ExitStack() as ends:
            try:
                channel, stdout, stderr = (_pair(make, ends) for make in (_socketpair, os.pipe, os.pipe))
                prepared = self._lockdown(layers)
                pid = os.fork()
            except OSError as error:
                self._send({"op": "failed", "id": job, "error": str(error)})
                return
            if pid == 0:
                self._become_child(prepared, channel[1], stdout[1], stderr[1])
            self.children.add(pid)
            self._send({"op": "spawned", "id": job, "pid": pid}, (channel[0], stdout[0], stderr[0]))

    def _lockdown(self, layers: frozenset[str]) -> lockdown.Lockdown:
        if layers not in self.lockdowns:
            limits = lockdown.Limits(**self.config.limits)
            self.lockdowns[layers] = lockdown.Lockdown(
                limits, layers, uid=self.config.uid, abi=self.abi, mapped_bytes=self.mapped_bytes
            )
        return self.lockdowns[layers]

    def _become_child(self, prepared: lockdown.Lockdown, channel: int, stdout: int, stderr: int) -> NoReturn:
        code = _STARTUP_FAILED
        try:
            nothing = os.open(os.devnull, os.O_RDONLY)  # its own: flags of an open file outlive who set them
            for descriptor, number in ((nothing, 0), (stdout, 1), (stderr, 2), (channel, CHANNEL)):
                os.dup2(descriptor, number)
            os.nice(_NICENESS)
            child.reset_signals()
            prepared.apply(first_free_descriptor=CHANNEL + 1)
            os.write(CHANNEL, READY)
            child.serve(self.config.max_result_chars, self.config.max_answer_bytes)
            code = 0
        except OSError as error:
            os.write(2, str(error).encode())
        finally:
            os._exit(code)

    def _reap(self) -> None:
        os.read(self.wakeup, 4096)
        while self.children:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            self.children.discard(pid)
            cpu_ms = (usage.ru_utime + usage.ru_stime) * 1000
            self._send({"op": "exited", "pid": pid, "status": status, "cpu_ms": cpu_ms, "max_rss_kb": usage.ru_maxrss})

    def _send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        try:
            socket.send_fds(self.control, [json.dumps(message).encode()], descriptors)
        except OSError:  # the supervisor is gone
            self._end()

    def _end(self) -> NoReturn:
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        for _ in self.children:
            os.wait()
        os._exit(0)


def _socketpair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def _pair(make: Callable[[], tuple[int, int]], ends: contextlib.ExitStack) -> tuple[int, int]:
    """Two connected descriptors, closed with the stack."""
    pair = make()
    for descriptor in pair:
        ends.callback(os.close, descriptor)
    return pair


def main(control_descriptor: int) -> NoReturn:
    """Prepares this interpreter, says so, and serves the supervisor until it goes away.

    Args:
        control_descriptor: number of the inherited end of the control socket.
    """
    os.dup2(control_descriptor, CHANNEL, inheritable=False)
    os.close(control_descriptor)
    control = socket.socket(fileno=CHANNEL)
    config = Config(**json.loads(control.recv(_MAX_MESSAGE_BYTES)))
    _prepare_process()
    _warm_up()
    kernel_abi = lockdown.landlock_abi()
    abi = min(kernel_abi, config.landlock_abi or kernel_abi)
    zygote = _Zygote(control, config, abi, lockdown.mapped_bytes(), _wake_on_exit())
    zygote.run()


def _prepare_process() -> None:
    os.chdir("/")
    os.environ.clear()
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("1000")  # inherited: where memory runs out, a submission goes, not the service
    lockdown.set_dumpable(False)
    threading.stack_size(_THREAD_STACK_BYTES)
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)  # an arena for each thread would take 64 MiB of its address space
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _warm_up() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    stdlib.isolate_imports()
    for name in [name for name in sys.modules if name.partition(".")[0] == __package__.partition(".")[0]]:
        del sys.modules[name]
    sys.argv[:] = [""]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(  # type: ignore[union-attr]
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
    running.evaluate(_WARM_UP, running.main_module())
    linecache.clearcache()
    gc.collect()
    gc.freeze()


def _wake_on_exit() -> int:
    """A descriptor that becomes readable when a child has exited."""
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    return readable
