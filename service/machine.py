"""How much of the machine this process may use. A container's share of it is less than what the kernel tells."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

__all__ = ["SERVICE_MIB", "Machine", "MemoryKills", "read_machine", "this_machine"]

SERVICE_MIB = 512
"""Kept for the service itself, and for what waits in its pool at 2 MiB each."""

_SLOTS_PER_CORE = 4
_COUNT_BYTES = 4096
_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Machine:
    """What may be used.

    Attributes:
        cores: processors, a share of one counted as one.
        memory_mib: memory of the service and all sandboxed processes together, MiB.
    """

    cores: int
    memory_mib: int

    def room(self, each_mib: int) -> int:
        """How many processes of that size have room beside the service, if any."""
        return max(0, (self.memory_mib - SERVICE_MIB) // each_mib)

    def slots(self, each_mib: int, *, most: int | None = None) -> int:
        """How many processes should run at a time, at least one.

        Args:
            each_mib: their size.
            most: where they have room; None is four for each core.
        """
        return max(1, min(_SLOTS_PER_CORE * self.cores if most is None else most, self.room(each_mib)))


@cache
def this_machine() -> Machine:
    """The machine as this process found it when it first asked."""
    return read_machine()


def read_machine(root: Path = _ROOT, *, affinity: int | None = None) -> Machine:
    """Asks the kernel.

    Args:
        root: where its files are.
        affinity: how many processors the process may run on; None asks for that, too.
    """
    cores = affinity or len(os.sched_getaffinity(0))
    return Machine(
        cores=max(1, min([cores, *_core_limits(root)])),
        memory_mib=min([_installed(root), *_memory_limits(root)]) >> 20,
    )


class MemoryKills:
    """Counts the processes that the kernel has killed for want of memory, of the group (cgroup) that this one is in."""

    def __init__(self, root: Path = _ROOT) -> None:
        """Opens the kernel's count, until `close`.

        Args:
            root: where the kernel's files are; where none of them has the count, it stays 0.
        """
        names = ("memory.events", "memory.oom_control")  # of the second version and of the first
        files = (group / name for group in _groups(root, "memory") for name in names)
        file = next((file for file in files if _kills(_text(file)) is not None), None)
        self._descriptor = None if file is None else os.open(file, os.O_RDONLY | os.O_CLOEXEC)

    def count(self) -> int:
        """How many there have been so far; it costs a microsecond."""
        if self._descriptor is None:
            return 0
        return _kills(os.pread(self._descriptor, _COUNT_BYTES, 0).decode()) or 0

    def close(self) -> None:
        """Counts no more."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _kills(text: str) -> int | None:
    lines = (line.split() for line in text.splitlines())
    return next((int(words[1]) for words in lines if words[0] == "oom_kill"), None)


def _installed(root: Path) -> int:
    lines = (line.split() for line in _text(root / "proc/meminfo").splitlines())
    return next(int(words[1]) for words in lines if words[0] == "MemTotal:") << 10


def _memory_limits(root: Path) -> Iterator[int]:
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):  # of the second version and of the first
            if (text := _text(group / name)).isdigit():
                yield int(text)


def _core_limits(root: Path) -> Iterator[int]:
    for group in _groups(root, "cpu"):
        first_version = f"{_text(group / 'cpu.cfs_quota_us')} {_text(group / 'cpu.cfs_period_us')}"
        match (_text(group / "cpu.max") or first_version).split():
            case [quota, period] if quota.isdigit() and period.isdigit():  # neither `max` nor -1
                yield -(-int(quota) // int(period))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the process's own group and of those above it, whether they can be seen here or not."""
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        own = PurePosixPath(path.lstrip("/"))
        for mount in (controller, controllers) if controllers else ("", "unified"):
            yield from (mounts / mount / group for group in (own, *own.parents))


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
