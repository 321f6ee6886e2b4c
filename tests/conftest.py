"""What all tests share: the event loop the service runs on, and the service itself as a real process."""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("unhurried", deadline=None)  # of an example, which a busy machine may miss
hypothesis.settings.load_profile("unhurried")

PATIENT = {"GAUNTLET_WALL_TIME_S": "20"}  # a machine may stand still for more than the five seconds of a case
_LONGEST = ("cluster", "conformance", "web")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the folders whose files take longest, or one of them is left to one worker in the end.

    What is timed may be tried three times: a busy machine stands still for seconds now and then, a fault comes back.
    """
    tests = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(tests).parts[0] not in _LONGEST)
    for item in items:
        if item.get_closest_marker("timed") is not None:
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


class ServiceProcess:
    """A real `python -m service` on a free port of its own."""

    def __init__(self, process: subprocess.Popen[str], first_line: str, url: str) -> None:
        self.process = process
        self.first_line = first_line
        self.url = url

    @property
    def pid(self) -> int:
        return self.process.pid


@contextmanager
def running_service(
    limits: Sequence[str] = (), arguments: Sequence[str] = (), module: str = "service", **settings: str
) -> Iterator[ServiceProcess]:
    """Starts a service with arguments of its own; the limits are arguments of prlimit(1)."""
    limited = ["prlimit", *limits] if limits else []
    process = subprocess.Popen(
        [*limited, sys.executable, "-m", module, "--port", "0", *arguments],
        env={"PATH": os.environ["PATH"], **settings},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield ServiceProcess(process, *_served_url(process))
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            assert process.stdout is not None
            process.stdout.close()


def _served_url(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The first line, and the URL in it."""
    assert process.stdout is not None
    deadline = time.monotonic() + 30
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(deadline - time.monotonic()):
            raise TimeoutError("the service did not say where it serves")
    line = process.stdout.readline()
    found = re.search(r"http://[^\s\"]+", line)
    if found is None:
        raise RuntimeError(f"the service ended with {process.wait(timeout=10)} and said {line!r}")
    return line, found[0]


@pytest.fixture(scope="session")
def service() -> Iterator[ServiceProcess]:
    with running_service(**PATIENT) as process:
        yield process


class RedisServer:
    """A real redis-server on a socket of its own, which keeps what it has been told over a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._folder}/redis.sock"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "yes"]
        self._process = subprocess.Popen(["redis-server", *options], cwd=self._folder, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while subprocess.run(self._client("ping"), capture_output=True, check=False).stdout != b"PONG\n":
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)

    def hang(self) -> None:
        """Takes connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def flush(self) -> None:
        subprocess.run(self._client("flushall"), capture_output=True, check=True)

    def _client(self, command: str) -> list[str]:
        return ["redis-cli", "-s", f"{self._folder}/redis.sock", command]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on this machine")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()
