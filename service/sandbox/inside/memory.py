"""Makes this process cheaper to fork and to end: what both cost is mappings and pages."""

import ctypes
import gc
import itertools
import mmap
import re
from dataclasses import dataclass

__all__ = ["PRIVATE", "compact", "configure_malloc"]

PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
_LARGE_BYTES = 128 << 10
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ ([1-9]\d*)\s")

_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class _Mapping:
    """A part of a file in memory."""

    start: int
    end: int
    access: str
    inode: int

    def goes_on_in(self, other: "_Mapping") -> bool:
        return self.inode == other.inode and self.end == other.start


def configure_malloc() -> None:
    """Keeps what it takes from growing in ways that cost a limited process."""
    _libc.mallopt(_M_ARENA_MAX, 1)  # an arena for each thread would take 64 MiB of its address space
    _libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)  # fixed: else a large block may lie in used pages, all to be cleared


def compact() -> None:
    """Gives back memory that holds nothing, and joins the mappings of each library."""
    gc.collect()
    gc.freeze()
    _libc.malloc_trim(0)
    _join_libraries()


def _join_libraries() -> None:
    """Makes of a library's five mappings two: what is only read becomes executable, what was relocated writable again.

    Hardening that is lost with that is none against code that may change its own mappings.
    """
    mappings = _file_mappings()
    for one, other in itertools.pairwise(mappings):
        if one.goes_on_in(other):
            pair = one.access, other.access
            if pair == ("r--p", "rw-p"):
                _protect(one, mmap.PROT_READ | mmap.PROT_WRITE)
            elif pair == ("r--p", "r-xp"):
                _protect(one, mmap.PROT_READ | mmap.PROT_EXEC)
            elif pair == ("r-xp", "r--p"):
                _protect(other, mmap.PROT_READ | mmap.PROT_EXEC)


def _file_mappings() -> list[_Mapping]:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        found = map(_MAPPING.match, maps)
        return [_Mapping(int(m[1], 16), int(m[2], 16), m[3], int(m[4])) for m in found if m is not None]


def _protect(mapping: _Mapping, access: int) -> None:
    length = mapping.end - mapping.start
    _libc.mprotect(
        ctypes.c_void_p(mapping.start), ctypes.c_size_t(length), access
    )  # where it is refused, nothing is lost
