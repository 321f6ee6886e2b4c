"""Applies the layers that stand between submitted code and the machine, irrevocably, to the calling process.

Landlock is used with no rule at all: a child reads nothing from disk (the standard library comes from memory), so
every right that the kernel's ABI knows is handled and none is granted. Source of the structures: linux/landlock.h,
linux/seccomp.h, linux/prctl.h. Kernels from 5.13 (Landlock ABI 1) will do: what newer ABIs add, seccomp denies too.
"""

import contextlib
import ctypes
import os
import resource
import struct
from dataclasses import dataclass

from . import seccomp

__all__ = [
    "LAYERS",
    "Limits",
    "Lockdown",
    "LockdownError",
    "become_subreaper",
    "landlock_abi",
    "mapped_bytes",
    "runs_as_root",
    "set_dumpable",
]

LAYERS = ("uid", "rlimits", "landlock", "seccomp")

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 4, 36, 38
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SYS_LANDLOCK_CREATE_RULESET, _SYS_LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_SECCOMP_SET_MODE_FILTER = 1

# (first ABI, bits): landlock_ruleset_attr.handled_access_fs, .handled_access_net, .scoped
_ACCESS_FS = ((1, 0x1FFF), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_ACCESS_NET = ((4, 0b11),)
_SCOPES = ((6, 0b11),)

_DESCRIPTORS_END = (1 << 31) - 1
_PID_PLACEHOLDER = 0x7FFFFFF1  # no Linux pid is this large (PID_MAX_LIMIT is 2**22)

_libc = ctypes.CDLL(None, use_errno=True)


class LockdownError(OSError):
    """A layer could not be applied: nothing may run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use.

    Attributes:
        memory_bytes: address space beyond what the bare interpreter has mapped.
        cpu_seconds: processor time of all its threads, whole seconds; SIGXCPU, one second later SIGKILL.
        open_files: descriptors.
        stack_bytes: of the main thread and, by default, of each other one.
        tasks: processes and threads of the child's user, beyond those it has when the zygote starts.
    """

    memory_bytes: int
    cpu_seconds: int
    open_files: int
    stack_bytes: int = 8 << 20
    tasks: int = 128


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


class Lockdown:
    """The layers, prepared once in the zygote so that a child only has to step behind them."""

    def __init__(self, limits: Limits, layers: frozenset[str], *, uid: int, abi: int, mapped_bytes: int) -> None:
        """Prepares what does not depend on the child.

        Args:
            limits: the resource limits of each child.
            layers: which of `LAYERS` to apply.
            uid: user and group that a child becomes, where "uid" is applied.
            abi: Landlock ABI to build the ruleset for; at most the kernel's own.
            mapped_bytes: address space of the bare interpreter, which comes on top of the memory limit.

        Raises:
            LockdownError: the kernel refused the Landlock ruleset.
        """
        self._limits = limits
        self._layers = layers
        self._uid = uid
        self._ruleset = _create_ruleset(abi) if "landlock" in layers else -1
        self._filter = seccomp.build_filter(os.uname().machine, _PID_PLACEHOLDER) if "seccomp" in layers else b""
        self._mapped_bytes = mapped_bytes
        self._other_tasks = _tasks_of(uid if "uid" in layers else os.getuid()) if "rlimits" in layers else 0

    def apply(self, *, first_free_descriptor: int) -> None:
        """Locks the calling process down; there is no way back.

        Args:
            first_free_descriptor: this descriptor and all above are closed.

        Raises:
            LockdownError: a layer could not be applied.
        """
        self._close_descriptors(first_free_descriptor)
        if "uid" in self._layers:
            _become(self._uid)
        if "rlimits" in self._layers:
            self._set_rlimits()
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if "landlock" in self._layers:
            _check(_libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, self._ruleset, 0), "landlock_restrict_self")
            os.close(self._ruleset)
        if "seccomp" in self._layers:
            self._install_filter()

    def _close_descriptors(self, first: int) -> None:
        if self._ruleset >= 0:
            os.closerange(first, self._ruleset)
            first = self._ruleset + 1
        os.closerange(first, _DESCRIPTORS_END)

    def _set_rlimits(self) -> None:
        limits = self._limits
        memory = self._mapped_bytes + limits.memory_bytes
        tasks = self._other_tasks + limits.tasks
        for what, soft, hard in (
            (resource.RLIMIT_CORE, 0, 0),
            (resource.RLIMIT_FSIZE, 0, 0),
            (resource.RLIMIT_MEMLOCK, 0, 0),
            (resource.RLIMIT_MSGQUEUE, 0, 0),
            (resource.RLIMIT_STACK, limits.stack_bytes, limits.stack_bytes),
            (resource.RLIMIT_NPROC, tasks, tasks),
            (resource.RLIMIT_NOFILE, limits.open_files, limits.open_files),
            (resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1),
            (resource.RLIMIT_AS, memory, memory),
        ):
            _lower(what, soft, hard)

    def _install_filter(self) -> None:
        pid = os.getpid()
        program = self._filter.replace(struct.pack("<I", _PID_PLACEHOLDER), struct.pack("<I", pid))
        argument = _FilterProgram(len(program) // 8, program)
        number = _SYS_SECCOMP[os.uname().machine]
        _check(_libc.syscall(number, _SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(argument)), "seccomp")


def landlock_abi() -> int:
    """The kernel's Landlock ABI, 0 where there is none."""
    abi = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    return max(0, int(abi))


def runs_as_root() -> bool:
    """Whether children could, and so must, be given a user of their own."""
    return os.geteuid() == 0


def set_dumpable(dumpable: bool) -> None:
    """Lets other processes of the same user trace this one and read its /proc entries, or not."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def become_subreaper() -> None:
    """Makes orphaned descendants children of this process, so that none outlives its parent unreaped."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _create_ruleset(abi: int) -> int:
    attributes = struct.pack("<QQQ", *(_bits(table, abi) for table in (_ACCESS_FS, _ACCESS_NET, _SCOPES)))
    # A kernel with a shorter structure accepts a longer one whose surplus is zero.
    descriptor = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    _check(descriptor, "landlock_create_ruleset")
    return int(descriptor)


def _bits(table: tuple[tuple[int, int], ...], abi: int) -> int:
    return sum(bits for first_abi, bits in table if first_abi <= abi)


def mapped_bytes() -> int:
    """Address space of the calling process, bytes."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _tasks_of(uid: int) -> int:
    """How many threads all processes of a user have: the kernel counts them together."""
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == uid or _real_uid(entry.path) == uid:
                    count += len(os.listdir(f"{entry.path}/task"))
    return count


def _real_uid(process: str) -> int:
    with open(f"{process}/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Uid:"))


def _become(uid: int) -> None:
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise LockdownError(error.errno, f"uid: {error.strerror}") from None


def _lower(what: int, soft: int, hard: int) -> None:
    ceiling = resource.getrlimit(what)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    try:
        resource.setrlimit(what, (soft, hard))
    except (OSError, ValueError) as error:
        raise LockdownError(f"rlimits: {error}") from None


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise LockdownError(number, f"{what}: {os.strerror(number)}")
