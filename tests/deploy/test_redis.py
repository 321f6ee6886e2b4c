"""Redis as the cluster's manifests start it, with a real server."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.manifests import MANIFESTS
from tests.server import free_port

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")

REDIS = MANIFESTS / "components" / "redis"
PASSWORD = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the ConfigMap's files, whose paths and port are this test's own."""
    port = free_port()
    config = (REDIS / "redis.conf").read_text()
    here = config.replace("dir /data", f"dir {tmp_path}").replace("port 6379", f"port {port}")
    (tmp_path / "redis.conf").write_text(here.replace("bind * -::*", "bind 127.0.0.1"))
    (tmp_path / "start.sh").write_text((REDIS / "start.sh").read_text().replace("/etc/redis/", f"{tmp_path}/"))
    return tmp_path


@contextmanager
def started(place: Path, *, password: str = PASSWORD, appendonly: str = "no") -> Iterator[subprocess.Popen[str]]:
    environment = {"PATH": os.environ["PATH"], "REDISCLI_AUTH": password, "APPENDONLY": appendonly}
    with subprocess.Popen(
        ["sh", "-eu", str(place / "start.sh")], env=environment, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=20)


def asked(place: Path, *commands: str) -> list[str]:
    """Sends inline commands on one connection, and answers what came back."""
    found = re.search(r"^port (\d+)$", (place / "redis.conf").read_text(), re.MULTILINE)
    assert found is not None
    deadline = time.monotonic() + 20
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", int(found[1])), timeout=5)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with connection, connection.makefile("rw", newline="") as stream:
        stream.write("".join(f"{command}\r\n" for command in (*commands, "QUIT")))
        stream.flush()
        return stream.read().split("\r\n")


def test_a_password_that_is_too_short_is_no_start(place: Path) -> None:
    with started(place, password="short") as process:
        printed, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert printed == "redis-password needs at least 16 characters\n"


def test_nobody_is_answered_without_the_password(place: Path) -> None:
    with started(place):
        assert asked(place, "PING")[0].startswith("-NOAUTH")
        assert asked(place, f"AUTH {PASSWORD}", "PING")[:2] == ["+OK", "+PONG"]


def test_the_password_is_in_no_list_of_processes_and_in_no_file(place: Path) -> None:
    with started(place) as process:
        assert asked(place, f"AUTH {PASSWORD}")[0] == "+OK"
        assert PASSWORD not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert (
            "redis-server" in Path(f"/proc/{process.pid}/cmdline").read_text()
        )  # the shell is gone: SIGTERM reaches it
        assert not [path for path in place.rglob("*") if path.is_file() and PASSWORD in path.read_text()]


def test_it_keeps_to_its_memory_and_evicts_nothing(place: Path) -> None:
    limit = re.search(r"limits: \{cpu: .*, memory: (\d+)Mi\}", (REDIS / "redis.yaml").read_text())
    assert limit is not None
    with started(place):
        told = asked(
            place, f"AUTH {PASSWORD}", "CONFIG GET maxmemory", "CONFIG GET maxmemory-policy", "CONFIG GET save"
        )
    assert "noeviction" in told
    assert told[told.index("maxmemory") + 2] == str(384 << 20)
    assert int(limit[1]) > 384
    assert told[told.index("save") + 2] == ""


@pytest.mark.parametrize(("appendonly", "kept"), [("no", "$-1"), ("yes", "here")])
def test_what_was_written_outlives_a_restart_with_a_volume_only(place: Path, appendonly: str, kept: str) -> None:
    with started(place, appendonly=appendonly):
        assert asked(place, f"AUTH {PASSWORD}", "SET episode here")[:2] == ["+OK", "+OK"]
    with started(place, appendonly=appendonly):
        assert kept in asked(place, f"AUTH {PASSWORD}", "GET episode")
