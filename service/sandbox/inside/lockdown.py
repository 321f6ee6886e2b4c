"""Applies the layers that stand between submitted code and the machine, irrevocably, to the calling process.

Landlock is used with no rule at all: a child reads nothing from disk (the standard library comes from memory), so
every right that the kernel's ABI knows is handled and none is granted. Source of the structures: linux/landlock.h,
linux/seccomp.h, linux/prctl.h. Kernels from 5.13 (Landlock ABI 1) will do: what newer ABIs add, seccomp denies too.
"""

import contextlib
import ctypes
import os
import re
import resource
import signal
import struct
from dataclasses import dataclass

from . import seccomp

__all__ = [
    "DESCRIPTORS_END",
    "LAYERS",
    "Limits",
    "Lockdown",
    "LockdownError",
    "bits_of",
    "landlock_abi",
    "layers_of",
    "mapped_bytes",
    "runs_as_root",
    "set_dumpable",
]

LAYERS = ("uid", "rlimits", "landlock", "seccomp")


def bits_of(layers: frozenset[str]) -> int:
    """A set of layers as one number, a bit for each of `LAYERS`."""
    return sum(1 << place for place, layer in enumerate(LAYERS) if layer in layers)


def layers_of(bits: int) -> frozenset[str]:
    """The reverse of `bits_of`."""
    return frozenset(layer for place, layer in enumerate(LAYERS) if bits >> place & 1)


_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SYS_LANDLOCK_CREATE_RULESET, _SYS_LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_SECCOMP_SET_MODE_FILTER = 1

# (first ABI, bits): landlock_ruleset_attr.handled_access_fs, .handled_access_net, .scoped
_ACCESS_FS = ((1, 0x1FFF), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_ACCESS_NET = ((4, 0b11),)
_SCOPES = ((6, 0b11),)

DESCRIPTORS_END = (1 << 31) - 1
_PID_PLACEHOLDER = 0x7FFFFFF1  # no Linux pid is this large (PID_MAX_LIMIT is 2**22)

_libc = ctypes.PyDLL(None, use_errno=True)


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
        self._uid = uid if "uid" in layers else None
        self._rlimits: tuple[tuple[int, tuple[int, int]], ...] = ()
        if "rlimits" in layers:
            other_tasks = _tasks_of(os.getuid() if self._uid is None else uid)
            self._rlimits = _rlimits(limits, mapped_bytes=mapped_bytes, other_tasks=other_tasks)
        self._ruleset = _create_ruleset(abi) if "landlock" in layers else -1
        self._filter = _PreparedFilter() if "seccomp" in layers else None

    def apply(self, *, first_free_descriptor: int) -> None:
        """Locks the calling process down; there is no way back.

        Args:
            first_free_descriptor: this descriptor and all above are closed.

        Raises:
            LockdownError: a layer could not be applied.
        """
        self._close_descriptors(first_free_descriptor)
        if self._uid is not None:
            _become(self._uid)
        for what, limit in self._rlimits:
            _lower(what, limit)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after a change of user, which clears it
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        if self._ruleset >= 0:
            _check(_libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, self._ruleset, 0), "landlock_restrict_self")
            os.close(self._ruleset)
        if self._filter is not None:
            self._filter.install(os.getpid())

    def close(self) -> None:
        """Gives the ruleset back."""
        if self._ruleset >= 0:
            os.close(self._ruleset)

    def _close_descriptors(self, first: int) -> None:
        if self._ruleset >= 0:
            os.closerange(first, self._ruleset)
            first = self._ruleset + 1
        os.closerange(first, DESCRIPTORS_END)


class _PreparedFilter:
    """A seccomp filter that lacks nothing but the id of the process it is for."""

    def __init__(self) -> None:
        machine = os.uname().machine
        program = seccomp.build_filter(machine, _PID_PLACEHOLDER)
        placeholder = struct.pack("=I", _PID_PLACEHOLDER)
        self._instructions = ctypes.create_string_buffer(program, len(program))
        self._places = tuple(found.start() for found in re.finditer(re.escape(placeholder), program))
        self._program = _FilterProgram(len(program) // 8, ctypes.cast(self._instructions, ctypes.c_char_p))
        self._arguments = (_SYS_SECCOMP[machine], _SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(self._program))

    def install(self, pid: int) -> None:
        for place in self._places:
            struct.pack_into("=I", self._instructions, place, pid)
        _check(_libc.syscall(*self._arguments), "seccomp")


def _rlimits(limits: Limits, *, mapped_bytes: int, other_tasks: int) -> tuple[tuple[int, tuple[int, int]], ...]:
    """What to set, each soft and hard limit no higher than the one in force."""
    memory, tasks = mapped_bytes + limits.memory_bytes, other_tasks + limits.tasks
    wanted = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_STACK: (limits.stack_bytes, limits.stack_bytes),
        resource.RLIMIT_NPROC: (tasks, tasks),
        resource.RLIMIT_NOFILE: (limits.open_files, limits.open_files),
        resource.RLIMIT_CPU: (limits.cpu_seconds, limits.cpu_seconds + 1),
        resource.RLIMIT_AS: (memory, memory),
    }
    return tuple((what, _within(resource.getrlimit(what)[1], pair)) for what, pair in wanted.items())


def _within(ceiling: int, pair: tuple[int, int]) -> tuple[int, int]:
    soft, hard = pair
    return pair if ceiling == resource.RLIM_INFINITY else (min(soft, ceiling), min(hard, ceiling))


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


def _lower(what: int, limit: tuple[int, int]) -> None:
    try:
        resource.setrlimit(what, limit)
    except (OSError, ValueError) as error:
        raise LockdownError(f"rlimits: {error}") from None


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise LockdownError(number, f"{what}: {os.strerror(number)}")
