"""Forks for a single-threaded zygote; what it forks is a child of the zygote's own parent, the service.

`os.fork` repairs in the child what other threads may have left behind (locks, thread states, the seeds of `random`)
and that costs a child about 180 page faults, more than all else it does. A zygote has one thread, so there is
nothing to repair. With CLONE_PARENT the service itself kills and reaps what was forked, without asking a zygote,
and a zygote that dies takes nothing with it. Source of the calls: clone(2), prctl(2), linux/sched.h.
"""

import ctypes
import os
import signal

__all__ = ["fork_sibling"]

_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT, _CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
_PR_GET_TID_ADDRESS = 40

_libc = ctypes.PyDLL(None, use_errno=True)  # keeps the GIL: there is nobody to take it


def _thread_id_address() -> int:
    """Where the C library keeps this thread's id, 0 where the kernel does not tell."""
    address = ctypes.c_void_p()
    told = _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0)
    return address.value or 0 if told == 0 else 0


def _clone_arguments() -> tuple[ctypes.c_long, ...]:
    flags, address = signal.SIGCHLD | _CLONE_PARENT, _thread_id_address()
    if address:
        flags |= _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID
    # number, flags, stack, parent's thread id, then in either order: TLS (unused), child's thread id
    return tuple(map(ctypes.c_long, (_SYS_CLONE[os.uname().machine], flags, 0, 0, address, address)))


_arguments = _clone_arguments()


def fork_sibling() -> int:
    """Forks this process, which must have one thread.

    Returns:
        0 in the child, its process id here.

    Raises:
        OSError: the kernel refused.
    """
    pid = int(_libc.syscall(*_arguments))
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid
