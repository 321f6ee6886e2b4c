"""A real Prometheus: the machine's own, or Debian's, unpacked beside the environment of the tests."""

import fcntl
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.server import free_port

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv" / "tools"
NEEDED = pytest.mark.skipif(
    shutil.which("prometheus") is None and shutil.which("apt-get") is None,
    reason="there is no Prometheus on this machine, and no Debian to have it from",
)
_START_S = 30

Found = TypeVar("Found")


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`."""
    return shutil.which(name) or str(_unpacked() / "usr" / "bin" / name)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs promtool at the root of this checkout."""
    return _run([program("promtool"), *arguments], cwd=ROOT)


def _unpacked() -> Path:
    """Debian's package, downloaded and unpacked the first time that it is needed; nothing is installed."""
    place = TOOLS / "prometheus"
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "prometheus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            part = TOOLS / "prometheus.part"
            _download(part).rename(place)
            shutil.rmtree(part)
    return place


def _download(place: Path) -> Path:
    """Fetches the package by lists of its own, so that it takes no rights and the machine's lists stay as they are."""
    shutil.rmtree(place, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "unpacked"):
        (place / folder).mkdir(parents=True)
    own = ["-q", "-o", f"Dir::State::Lists={place}/lists", "-o", f"Dir::Cache={place}/cache"]
    for command in ("update", "download prometheus"):
        fetched = _run(["apt-get", *own, *command.split()], cwd=place)
        assert fetched.returncode == 0, fetched.stderr
    [package] = place.glob("*.deb")
    unpacked = _run(["dpkg-deb", "--extract", str(package), str(place / "unpacked")], cwd=place)
    assert unpacked.returncode == 0, unpacked.stderr
    return place / "unpacked"


def _run(command: Sequence[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


class Prometheus:
    """One that runs, over its HTTP API."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)

    def is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").is_success
        except httpx.TransportError:
            return False

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression comes to now, each with `metric` and `value`.

        Raises:
            AssertionError: it does not parse, or cannot be evaluated; says why.
        """
        answer = self._client.post("/api/v1/query", data={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        if answer["data"]["resultType"] == "scalar":
            return [{"metric": {}, "value": answer["data"]["result"]}]
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with how their last evaluation went."""
        groups = self._client.get("/api/v1/rules").raise_for_status().json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that fire, by name."""
        alerts = self._client.get("/api/v1/alerts").raise_for_status().json()["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}

    def close(self) -> None:
        self._client.close()


@contextmanager
def running_prometheus(configuration: Path, place: Path) -> Iterator[Prometheus]:
    """Starts one with a configuration, on a free port; its data and what it has to say are kept in `place`."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        program("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={place / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (place / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=place, stdout=log, stderr=log)
    prometheus = Prometheus(f"http://{address}")
    try:
        assert eventually(prometheus.is_ready, seconds=_START_S), (place / "log").read_text()
        yield prometheus
    finally:
        prometheus.close()
        process.terminate()
        try:
            process.wait(timeout=20)
        finally:
            process.kill()


def eventually(look: Callable[[], Found], *, seconds: float) -> Found:
    """What is found once it is true, or what is found last."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
