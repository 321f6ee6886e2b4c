"""A real cluster of three nodes on this machine, which all tests of a file share, and nodes of which are lost."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.ray_run import Nodes, nodes
from tests.conformance.clients import client_python


@pytest.fixture(scope="session")
def python() -> Path:
    """An interpreter that has Ray, in an environment that is made when it is first needed."""
    return client_python("ray")


@pytest.fixture(scope="session")
def cluster(python: Path) -> Iterator[Nodes]:
    # pytest's own folders have names that are too long for sockets.
    with tempfile.TemporaryDirectory(prefix="ray") as name, nodes(python, Path(name), "--dashboard") as started:
        yield started
