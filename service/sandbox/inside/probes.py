"""Tries what each layer forbids, for real: the self-test's half inside a child.

Every probe is named ``layer.attempt`` and is run in a child that has this layer alone, so that no other layer can
cover for one that is not in force.
"""

import _socket
import ctypes
import errno
import os
import resource
from collections.abc import Callable

__all__ = ["PROBES", "not_forbidden"]

_libc = ctypes.CDLL(None, use_errno=True)
_DENIED = {errno.EPERM, errno.EACCES, errno.ENOSYS}


def not_forbidden(names: list[str]) -> list[str]:
    """Runs the named probes and answers those whose attempt was not refused, with what happened instead."""
    return [f"{name}: {happened}" for name in names if (happened := PROBES[name]())]


def _refused(attempt: Callable[[], object]) -> Callable[[], str]:
    def probe() -> str:
        try:
            attempt()
        except OSError as error:
            return "" if error.errno in _DENIED else f"errno {error.errno} instead of a refusal"
        return "succeeded"

    return probe


def _system_call(number: int, *arguments: int) -> Callable[[], object]:
    def attempt() -> None:
        if _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments)) < 0:
            raise OSError(ctypes.get_errno(), "refused")

    return attempt


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _connect() -> None:
    client = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        client.settimeout(1)
        client.connect(("127.0.0.1", 9))
    finally:
        client.close()


def _allocate() -> str:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return "no limit of memory"
    try:
        bytearray(limit)
    except MemoryError:
        return ""
    return f"allocated {limit} bytes"


def _open_many() -> str:
    opened: list[int] = []
    try:
        while len(opened) < 4096:
            opened.append(os.dup(0))
    except OSError as error:
        return "" if error.errno == errno.EMFILE else f"errno {error.errno} instead of EMFILE"
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return "opened 4096 descriptors"


def _limited(what: int) -> Callable[[], str]:
    def probe() -> str:
        hard = resource.getrlimit(what)[1]
        return "no hard limit" if hard == resource.RLIM_INFINITY else ""

    return probe


def _raise_limit() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    except ValueError:  # what the module makes of a refusal to raise a hard limit
        raise PermissionError(errno.EPERM, "refused") from None


def _user() -> str:
    return "runs as root" if 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) else ""


PROBES: dict[str, Callable[[], str]] = {
    "uid.is_not_root": _user,
    "uid.become_root": _refused(lambda: os.setuid(0)),
    "rlimits.memory": _allocate,
    "rlimits.open_files": _open_many,
    "rlimits.cpu": _limited(resource.RLIMIT_CPU),
    "rlimits.file_size": _limited(resource.RLIMIT_FSIZE),
    "landlock.read_file": _refused(lambda: os.open("/proc/version", os.O_RDONLY)),
    "landlock.read_library": _refused(lambda: os.open(os.__file__, os.O_RDONLY)),
    "landlock.list_directory": _refused(lambda: os.listdir("/")),
    "landlock.write_file": _refused(lambda: os.open("/dev/null", os.O_WRONLY)),  # there, and writable, everywhere
    "landlock_abi_4.connect": _refused(_connect),
    "landlock_abi_6.signal_parent": _refused(lambda: os.kill(os.getppid(), 0)),
    "seccomp.open": _refused(lambda: os.open("/proc/version", os.O_RDONLY)),
    "seccomp.stat": _refused(lambda: os.stat("/")),
    "seccomp.chmod": _refused(lambda: os.chmod("/", 0o700)),
    "seccomp.fork": _refused(_fork),
    "seccomp.execute": _refused(lambda: os.execv("/bin/true", ["true"])),  # noqa: S606
    "seccomp.socket": _refused(_socket.socket),
    "seccomp.socketpair": _refused(_socket.socketpair),
    "seccomp.signal_parent": _refused(lambda: os.kill(os.getppid(), 0)),
    "seccomp.signal_all": _refused(lambda: os.kill(-1, 0)),
    "seccomp.limit_parent": _refused(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU)),
    "seccomp.raise_limit": _refused(_raise_limit),
    "seccomp.memfd": _refused(lambda: os.memfd_create("probe")),
    "seccomp.priority": _refused(lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)),
    "seccomp.affinity": _refused(lambda: os.sched_setaffinity(0, {0})),
    "seccomp.io_uring": _refused(_system_call(425, 1, 0)),
    "seccomp.pidfd_open": _refused(lambda: os.pidfd_open(os.getppid())),
}
