"""The system calls a child may make: an allow-list compiled to a seccomp filter, for x86-64 and aarch64.

What is not listed answers EPERM, never a kill: a call that merely is missing would show up as random deaths. The
filter is a balanced tree over the call numbers, so that a call costs about seven comparisons. Source of the
numbers: asm/unistd_64.h and asm-generic/unistd.h; of the instruction format: linux/filter.h.
"""

import errno
import struct
from dataclasses import dataclass

__all__ = ["ARCHITECTURES", "Architecture", "build_filter"]

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_AT_LEAST = 0x35
_JUMP_IF_ANY_BIT = 0x45
_RETURN = 0x06

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGS = 0, 4, 16

_CLONE_THREAD = 0x00010000
_CLONE_THREAD_FLAGS = 0x007D0F00  # what glibc and musl pass for a thread: VM FS FILES SIGHAND THREAD SYSVSEM SETTLS …

_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC


@dataclass(frozen=True, slots=True)
class Architecture:
    """One machine's names for the calls.

    Attributes:
        audit: the AUDIT_ARCH_* value that the kernel reports.
        numbers: call name to number, for every call named in this module.
    """

    audit: int
    numbers: dict[str, int]


# Allowed whatever the arguments. No call here opens, names or changes a file, another process or the network.
_FREE = (
    # memory
    "brk", "mmap", "munmap", "mprotect", "mremap", "madvise",
    # descriptors that the child already holds
    "read", "write", "readv", "writev", "pread64", "pwrite64", "lseek", "close", "close_range", "dup", "dup2", "dup3",
    "pipe", "pipe2", "poll", "ppoll", "select", "pselect6", "fstat",
    # time
    "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "times",
    "alarm", "setitimer", "getitimer", "pause",
    # own signals
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait",
    "sigaltstack", "restart_syscall",
    # threads
    "futex", "set_robust_list", "rseq", "set_tid_address", "sched_yield",
    # what it may know
    "getpid", "gettid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid",
    "getresgid", "getrusage", "getrlimit", "getrandom", "getcpu", "getcwd", "uname", "sysinfo",
    "exit", "exit_group",
)  # fmt: skip

_X86_64 = Architecture(
    0xC000003E,
    {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
        "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "pwrite64": 18,
        "readv": 19, "writev": 20, "pipe": 22, "select": 23, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32,
        "dup2": 33, "pause": 34, "nanosleep": 35, "getitimer": 36, "alarm": 37, "setitimer": 38, "getpid": 39,
        "clone": 56, "exit": 60, "kill": 62, "uname": 63, "fcntl": 72, "getcwd": 79, "gettimeofday": 96,
        "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107,
        "getegid": 108, "getppid": 110, "getpgrp": 111, "getgroups": 115, "getresuid": 118, "getresgid": 120,
        "rt_sigpending": 127, "rt_sigtimedwait": 128, "rt_sigsuspend": 130, "sigaltstack": 131, "gettid": 186,
        "time": 201, "futex": 202, "sched_getaffinity": 204, "set_tid_address": 218, "restart_syscall": 219,
        "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234,
        "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "dup3": 292, "pipe2": 293, "prlimit64": 302,
        "getcpu": 309, "getrandom": 318, "rseq": 334, "clone3": 435, "close_range": 436,
    },
)  # fmt: skip

_AARCH64 = Architecture(
    0xC00000B7,
    {
        "getcwd": 17, "dup": 23, "dup3": 24, "fcntl": 25, "close": 57, "pipe2": 59, "lseek": 62, "read": 63,
        "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "pselect6": 72, "ppoll": 73,
        "fstat": 80, "exit": 93, "exit_group": 94, "set_tid_address": 96, "futex": 98, "set_robust_list": 99,
        "nanosleep": 101, "getitimer": 102, "setitimer": 103, "clock_gettime": 113, "clock_getres": 114,
        "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128, "kill": 129,
        "tgkill": 131, "sigaltstack": 132, "rt_sigsuspend": 133, "rt_sigaction": 134, "rt_sigprocmask": 135,
        "rt_sigpending": 136, "rt_sigtimedwait": 137, "rt_sigreturn": 139, "getresuid": 148, "getresgid": 150,
        "times": 153, "getgroups": 158, "uname": 160, "getrlimit": 163, "getrusage": 165, "getcpu": 168,
        "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176,
        "getegid": 177, "gettid": 178, "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216, "clone": 220,
        "mmap": 222, "mprotect": 226, "madvise": 233, "prlimit64": 261, "getrandom": 278, "rseq": 293, "clone3": 435,
        "close_range": 436,
    },
)  # fmt: skip

ARCHITECTURES = {"x86_64": _X86_64, "aarch64": _AARCH64}

_Program = list[tuple[int, int, int, int]]


def build_filter(machine: str, pid: int) -> bytes:
    """Compiles the allow-list for one process.

    Args:
        machine: as `os.uname().machine` names it.
        pid: the child's own id: the only process that it may signal.

    Returns:
        An array of ``struct sock_filter``, eight bytes each.

    Raises:
        KeyError: no table for this machine.
    """
    architecture = ARCHITECTURES[machine]
    program: _Program = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_JUMP_IF_EQUAL, 1, 0, architecture.audit),
        _errno(errno.EPERM),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        *_tree(_leaves(architecture, pid)),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _leaves(architecture: Architecture, pid: int) -> list[tuple[int, _Program]]:
    """The first number of every run of equal verdicts, ascending, with what decides that run.

    The last run is refused and has no end: calls of the x32 ABI, whose numbers carry a high bit, lie in it.
    """
    verdicts: dict[int, _Program] = {}
    for name in _FREE:
        if name in architecture.numbers:
            verdicts[architecture.numbers[name]] = [_allow()]
    for name, program in _conditional(pid).items():
        verdicts[architecture.numbers[name]] = program
    denied = [_errno(errno.EPERM)]
    leaves = [(0, verdicts.get(0, denied))]
    for number in range(1, max(verdicts) + 2):
        program = verdicts.get(number, denied)
        if program != leaves[-1][1]:
            leaves.append((number, program))
    return leaves


def _conditional(pid: int) -> dict[str, _Program]:
    return {
        "clone": _allow_if([_has_bits(0, _CLONE_THREAD), _no_bits(0, ~_CLONE_THREAD_FLAGS)]),
        "clone3": [_errno(errno.ENOSYS)],  # its flags lie behind a pointer: glibc falls back to clone
        "fcntl": _allow_if_one_of(1, _FCNTL_COMMANDS),  # F_SETOWN would send signals to anybody
        "kill": _allow_if([_equals(0, pid)]),
        "tgkill": _allow_if([_equals(0, pid)]),
        "prlimit64": _allow_if([_equals(0, 0), _is_null(2)]),  # read its own, set nobody's
        "sched_getaffinity": _allow_if([_equals(0, 0)]),
    }


def _allow() -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, _ALLOW)


def _errno(number: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, _ERRNO | number)


# A condition is a program in which a jump of _FAIL leads to the refusal; all others fall through.
_FAIL = -1


def _low(argument: int) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, _OFFSET_ARGS + 8 * argument)


def _high(argument: int) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, _OFFSET_ARGS + 8 * argument + 4)


def _equals(argument: int, value: int) -> _Program:
    """For arguments the kernel reads as 32 bits wide."""
    return [_low(argument), (_JUMP_IF_EQUAL, 0, _FAIL, value)]


def _is_null(argument: int) -> _Program:
    return [
        _low(argument),
        (_JUMP_IF_EQUAL, 0, _FAIL, 0),
        _high(argument),
        (_JUMP_IF_EQUAL, 0, _FAIL, 0),
    ]


def _has_bits(argument: int, bits: int) -> _Program:
    return [_low(argument), (_JUMP_IF_ANY_BIT, 0, _FAIL, bits)]


def _no_bits(argument: int, bits: int) -> _Program:
    return [
        _low(argument),
        (_JUMP_IF_ANY_BIT, _FAIL, 0, bits & 0xFFFFFFFF),
        _high(argument),
        (_JUMP_IF_EQUAL, 0, _FAIL, 0),
    ]


def _allow_if(conditions: list[_Program]) -> _Program:
    steps = [step for condition in conditions for step in condition]
    program: _Program = []
    for index, (code, if_true, if_false, value) in enumerate(steps):
        to_refusal = len(steps) - index  # over the remaining steps and the ALLOW, onto the refusal
        program.append(
            (
                code,
                to_refusal if if_true == _FAIL else if_true,
                to_refusal if if_false == _FAIL else if_false,
                value,
            )
        )
    return [*program, _allow(), _errno(errno.EPERM)]


def _allow_if_one_of(argument: int, values: tuple[int, ...]) -> _Program:
    program: _Program = [_low(argument)]
    for index, value in enumerate(values):
        program.append((_JUMP_IF_EQUAL, len(values) - index, 0, value))
    return [*program, _errno(errno.EPERM), _allow()]


def _tree(leaves: list[tuple[int, _Program]]) -> _Program:
    if len(leaves) == 1:
        return leaves[0][1]
    middle = len(leaves) // 2
    below, above = _tree(leaves[:middle]), _tree(leaves[middle:])
    if len(below) > 255:
        raise ValueError("the filter outgrew a jump of 255 instructions")
    return [(_JUMP_IF_AT_LEAST, len(below), 0, leaves[middle][0]), *below, *above]
