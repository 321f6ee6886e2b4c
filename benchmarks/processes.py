"""What a service's processes hold, read from ``/proc``."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "children",
    "descriptors",
    "files",
    "memory_kib",
    "pss_kib",
    "settle",
    "tree",
    "waiting",
    "zombies",
    "zygotes",
]

_STABLE_S = 1.0
_POLL_S = 0.05


def children(pid: int) -> list[int]:
    """The direct children of all threads of a process."""
    with contextlib.suppress(OSError):
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sorted(int(child) for thread in threads for child in (thread / "children").read_text().split())
    return []


def tree(pid: int) -> list[int]:
    """A process and everything below it."""
    return [pid, *(descendant for child in children(pid) for descendant in tree(child))]


def zygotes(service: int) -> list[int]:
    """The interpreters that the service's sandboxed processes are forked from: they lead a session of their own."""
    return [pid for pid in tree(service) if _is_zygotic(pid) and _session(pid) == pid]


def waiting(service: int) -> list[int]:
    """The service's own children that were forked ahead: they share their zygote's command line, not its session."""
    return [pid for pid in children(service) if _is_zygotic(pid) and _session(pid) != pid]


def zombies(service: int) -> list[int]:
    """Processes of the tree that ended and were not reaped."""
    return [pid for pid in tree(service) if re.search(r"^State:\s+Z", _status(pid), re.MULTILINE)]


def descriptors(pid: int) -> int:
    """Open descriptors of a process, 0 when it is gone."""
    with contextlib.suppress(FileNotFoundError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return 0


def memory_kib(pid: int) -> int:
    """Resident memory of a process, 0 when it is gone."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", _status(pid), re.MULTILINE)
    return int(found[1]) if found else 0


def pss_kib(pid: int) -> int:
    """Its proportional share of memory, 0 when it is gone.

    Raises:
        PermissionError: only root may read that of a process that is not dumpable.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        return int(found[1]) if found else 0
    return 0


def settle(service: int, timeout_s: float = 20.0) -> None:
    """Waits until a service's processes and descriptors have not changed for a second."""
    deadline = time.monotonic() + timeout_s
    last, since = None, time.monotonic()
    while time.monotonic() < min(since + _STABLE_S, deadline):
        time.sleep(_POLL_S)
        now = tree(service), descriptors(service)
        if now != last:
            last, since = now, time.monotonic()


def files(folder: Path) -> Iterator[Path]:
    """Everything in a folder, however deep."""
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent) / name for name in (*folders, *names))


def _is_zygotic(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _session(pid: int) -> int:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid)
    return 0


def _status(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/status").read_text()
    return ""
