"""The composed containers, built from this checkout and run as docker-compose.yml says, on a port of their own."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.server import free_port

ROOT = Path(__file__).parents[2]
PROJECT = f"gauntlet-test-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"
API_KEY = "sk-ant-of-a-test-that-never-calls"


@dataclass(frozen=True)
class Composition:
    url: str
    environment: dict[str, str]

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "--project-name", PROJECT, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=600, check=check
        )

    def inspect(self, service: str) -> Any:
        container = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        inspected = subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True)
        return json.loads(inspected.stdout)[0]

    def processes(self) -> list[str]:
        container = self.compose("ps", "--quiet", "service").stdout.strip()
        command = ["docker", "top", container, "-o", "pid,stat,args"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        return listed.stdout.splitlines()[1:]


@pytest.fixture(scope="module")
def composition(_composed: Composition) -> Composition:
    """The service, running, whatever tests of another file have done to it."""
    _composed.compose("up", "--detach", "--wait", "service")
    return _composed


@pytest.fixture(scope="session")
def _composed() -> Iterator[Composition]:
    port = free_port()
    composed = Composition(
        f"http://127.0.0.1:{port}", {**os.environ, "SERVICE_PORT": str(port), "ANTHROPIC_API_KEY": API_KEY}
    )
    composed.compose("down", "--volumes", "--timeout", "5")
    started = composed.compose("up", "--build", "--detach", "--wait", "service", check=False)
    try:
        assert started.returncode == 0, started.stderr + composed.compose("logs", "service").stdout
        yield composed
    finally:
        composed.compose("--profile", "runner", "down", "--volumes", "--timeout", "20")
