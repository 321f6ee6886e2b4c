"""The zygote: a clean, warm, single-threaded interpreter that forks a locked-down child for every job.

It never sees a submission, and nothing of what it forks is its own: children and further zygotes belong to the
service. What is said over its socket stands in `protocol`; the end of that socket is its end.
"""

import _socket
import array
import atexit
import importlib
import json
import linecache
import os
import random
import sys
import threading
from dataclasses import dataclass
from typing import NoReturn

from . import child, lockdown, memory, stdlib
from .forking import fork_sibling
from .protocol import CHANNEL, FORKED, ORDER, READY, WARM_CHILD, ZYGOTE, Config

__all__ = ["PRELOADED", "main"]

# What submissions import, and extension modules that the rest of the library wants: a child can load no file.
PRELOADED = (
    "abc", "array", "ast", "base64", "bisect", "cmath", "collections", "collections.abc", "contextlib", "contextvars",
    "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "heapq", "inspect", "io",
    "itertools", "json", "logging", "math", "mmap", "numbers", "operator", "pickle", "random", "re", "resource",
    "signal", "statistics", "string", "struct", "textwrap", "threading", "time", "traceback", "types", "typing",
    "unicodedata", "warnings", "weakref", "zlib",
    "_blake2", "_csv", "_md5", "_posixsubprocess", "_sha1", "_sha3", "_socket", "fcntl", "select",
    *(("_sha2",) if sys.version_info >= (3, 12) else ("_sha256", "_sha512")),
)  # fmt: skip

_MAX_MESSAGE_BYTES = 1 << 16
_STARTUP_FAILED = 70
_NICENESS = 10  # the service and its zygotes go first
_THREAD_STACK_BYTES = 4 << 20


@dataclass
class _Zygote:
    control: _socket.socket
    config: Config
    abi: int
    mapped_bytes: int
    session: child.Session
    prepared: tuple[int, lockdown.Lockdown] | None = None  # for which layers, and how to step behind them

    def run(self, *, own_session: bool = True) -> NoReturn:
        while order := self.control.recv(ORDER.size):
            if not own_session:  # now that somebody knows it, what it forks is told apart by its session
                os.setsid()
                own_session = True
            number, what, layers = ORDER.unpack(order)
            if what == ZYGOTE:
                self._fork_zygote(number, layers)
            else:
                self._fork_child(number, layers, warm=what == WARM_CHILD)
        os._exit(0)

    def _fork_child(self, number: int, layers: int, *, warm: bool) -> None:
        ends: list[int] = []  # ours and theirs of the channel, stdout's reading and writing end, stderr's
        try:
            ends += _socketpair(_socket.SOCK_STREAM)
            ends += os.pipe()
            ends += os.pipe()
            prepared = self._lockdown(layers)
            pid = fork_sibling()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            self._become_child(prepared, ends, warm=warm)
        self._answer(number, pid, ends[::2] if pid > 0 else [])
        for descriptor in ends:
            os.close(descriptor)

    def _become_child(self, prepared: lockdown.Lockdown, ends: list[int], *, warm: bool) -> NoReturn:
        code = _STARTUP_FAILED
        try:
            nothing = os.open(os.devnull, os.O_RDONLY)  # its own: flags of an open file outlive who set them
            for descriptor, place in ((nothing, 0), (ends[3], 1), (ends[5], 2), (ends[1], CHANNEL)):
                os.dup2(descriptor, place)
            os.nice(_NICENESS)
            prepared.apply(first_free_descriptor=CHANNEL + 1)
            if warm:
                self.session.rehearse()
            os.write(CHANNEL, READY)
            self.session.serve()
            code = 0
        except OSError as error:
            os.write(2, str(error).encode())
        finally:
            os._exit(code)

    def _fork_zygote(self, number: int, layers: int) -> None:
        ends: list[int] = []
        try:
            ends += _socketpair(_socket.SOCK_SEQPACKET)
            self._lockdown(layers)
            pid = fork_sibling()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            os.dup2(ends[1], CHANNEL, inheritable=False)
        else:
            self._answer(number, pid, ends[:1] if pid > 0 else [])
        for descriptor in ends:
            os.close(descriptor)
        if pid == 0:
            self.run(own_session=False)

    def _answer(self, number: int, pid: int, descriptors: list[int]) -> None:
        rights = array.array("i", descriptors)
        try:
            self.control.sendmsg([FORKED.pack(number, pid)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        except OSError:  # the service is gone
            os._exit(0)

    def _lockdown(self, layers: int) -> lockdown.Lockdown:
        """Keeps what it prepared last, for all but the self-test ask for the same."""
        if self.prepared is None or self.prepared[0] != layers:
            if self.prepared is not None:
                self.prepared[1].close()
            self.prepared = (
                layers,
                lockdown.Lockdown(
                    lockdown.Limits(**self.config.limits),
                    lockdown.layers_of(layers),
                    uid=self.config.uid,
                    abi=self.abi,
                    mapped_bytes=self.mapped_bytes,
                ),
            )
        return self.prepared[1]


def _socketpair(kind: int) -> tuple[int, int]:
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
    return ours.detach(), theirs.detach()


def main() -> NoReturn:
    """Prepares this interpreter, says so, and serves the supervisor at the other end of `CHANNEL`."""
    os.closerange(CHANNEL + 1, lockdown.DESCRIPTORS_END)  # whatever the service itself was started with
    control = _socket.socket(fileno=CHANNEL)
    config = Config(**json.loads(control.recv(_MAX_MESSAGE_BYTES)))
    _prepare_process()
    session = _warm_up(config)
    kernel_abi = lockdown.landlock_abi()
    abi = min(kernel_abi, config.landlock_abi or kernel_abi)
    zygote = _Zygote(control, config, abi, lockdown.mapped_bytes(), session)
    control.send(json.dumps({"landlock_abi": zygote.abi, "mapped_bytes": zygote.mapped_bytes}).encode())
    zygote.run()


def _prepare_process() -> None:
    os.chdir("/")
    os.environ.clear()
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("1000")  # inherited: where memory runs out, a submission goes, not the service
    lockdown.set_dumpable(False)
    threading.stack_size(_THREAD_STACK_BYTES)
    memory.configure_malloc()


def _warm_up(config: Config) -> child.Session:
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
    session = child.Session(config.max_result_chars, config.max_answer_bytes)
    session.rehearse_at_length()
    atexit._clear()  # noqa: SLF001 - of the modules', not of any submission
    random.seed(0)  # the same draws in every run: a grade is repeatable
    linecache.clearcache()
    memory.compact()
    return session
