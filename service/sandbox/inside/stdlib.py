"""Imports from memory: once locked down, a child can open no file, so the zygote brings the standard library along.

The whole library's compiled code (or source, where no bytecode is cached) lies in one private mapping of a file in
memory, about 10 MB that no fork copies and no child can change for another. Extension modules cannot be loaded
without opening files: those that submissions may want are imported before the first fork, and stay.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import io
import marshal
import mmap
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType

__all__ = ["MemoryStdlib", "isolate_imports"]

_LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter",
     "turtledemo", "pydoc_data", "lib-dynload", "distutils", "__phello__"}
)  # fmt: skip
_PYC_HEADER = 16


@dataclass(frozen=True, slots=True)
class _Entry:
    offset: int
    length: int
    compiled: bool
    package: bool


class MemoryStdlib(importlib.abc.Loader):
    """A finder and loader of pure-Python modules of the library."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        image = io.BytesIO()
        for name, path, package in _modules(os.path.dirname(os.__file__)):
            data, compiled = _code_bytes(path)
            self._entries[name] = _Entry(image.tell(), len(data), compiled, package)
            image.write(data)
        self._image = _private_mapping(image.getbuffer())

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Finds a module by its full name; the path is of no meaning here."""
        del path, target
        entry = self._entries.get(name)
        if entry is None:
            return None
        return importlib.util.spec_from_loader(name, self, origin=f"<{name}>", is_package=entry.package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leaves the making of the module object to the import system."""

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module's code in its namespace."""
        exec(self._code(module.__name__), module.__dict__)

    def _code(self, name: str) -> CodeType:
        entry = self._entries[name]
        data = self._image[entry.offset : entry.offset + entry.length]
        code = marshal.loads(data) if entry.compiled else compile(data, f"<{name}>", "exec", dont_inherit=True)
        if not isinstance(code, CodeType):
            raise ImportError(  # noqa: TRY004
                f"damaged bytecode of {name}"
            )
        return code


def _private_mapping(data: memoryview) -> mmap.mmap:
    """Maps a copy of the data for reading; who makes it writable, which a child can, writes to a page of its own."""
    descriptor = os.memfd_create("stdlib")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        return mmap.mmap(descriptor, len(data), flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)


def _modules(root: str) -> Iterator[tuple[str, str, bool]]:
    """Full name, source path and whether it is a package, for every module below the library's directory."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and name.isidentifier())
        prefix = os.path.relpath(folder, root).replace(os.sep, ".") + "."
        prefix = "" if prefix == ".." else prefix
        for file in sorted(files):
            stem, extension = os.path.splitext(file)
            if extension != ".py":
                continue
            path = os.path.join(folder, file)
            if stem != "__init__":
                yield prefix + stem, path, False
            elif prefix:
                yield prefix[:-1], path, True


def _code_bytes(path: str) -> tuple[bytes, bool]:
    """Bytecode without its header when a current cache stands beside the source, else the source."""
    cached = importlib.util.cache_from_source(path)
    try:
        with open(cached, "rb") as file:
            data = file.read()
        if data[:4] == importlib.util.MAGIC_NUMBER and _is_current(data, path):
            return data[_PYC_HEADER:], True
    except OSError:
        pass
    with open(path, "rb") as file:
        return file.read(), False


def _is_current(data: bytes, path: str) -> bool:
    if int.from_bytes(data[4:8], "little"):  # hash-based: checked where it was made
        return True
    status = os.stat(path)
    return int.from_bytes(data[8:12], "little") == int(status.st_mtime) & 0xFFFFFFFF and (
        int.from_bytes(data[12:16], "little") == status.st_size & 0xFFFFFFFF
    )


def isolate_imports() -> None:
    """Replaces every way to import by built-in, frozen and in-memory modules."""
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, MemoryStdlib()]
