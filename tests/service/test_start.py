"""Starting and stopping the service as a person does: `python -m service`, `gauntlet-service`."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import ServiceProcess, running_service
from tests.sandbox.test_processes import descendants_of

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def start(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(command, env=ENVIRONMENT | settings, capture_output=True, text=True, timeout=60, check=False)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_port_0_picks_a_free_one_and_says_which() -> None:
    with running_service() as service:
        assert httpx.get(f"{service.url}/ready").status_code == 200


def test_the_console_script_is_the_same_command() -> None:
    script = Path(sys.executable).with_name("gauntlet-service")
    listed = subprocess.run([script, "--help"], env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    assert listed.replace("gauntlet-service", "X") == start("--help").stdout.replace("python -m service", "X")
    assert "--port" in listed


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["--port", "70000"], {}, "'--port'"),
        (["--host", "999.1.1.1"], {}, "cannot listen on 999.1.1.1 port 8000"),
        ([], {"GAUNTLET_MEMORY_MIB": "1"}, "GAUNTLET_MEMORY_MIB"),
        ([], {"GAUNTLET_MEMROY_MIB": "512"}, "GAUNTLET_MEMROY_MIB"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], settings: dict[str, str], said: str) -> None:
    done = start(*arguments, **settings)
    assert done.returncode != 0
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = start("--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr.count("Address already in use") == 1
    assert "--port" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user to give up")
def test_a_layer_that_does_not_hold_is_no_start() -> None:
    """A real missing layer: without the capability to change user, root's children would stay root."""
    command = [
        "setpriv",
        "--bounding-set=-setuid,-setgid",
        "--inh-caps=-all",
        sys.executable,
        "-m",
        "service",
        "--port",
        "0",
    ]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "sandbox layers not in force: uid" in done.stderr
    assert "GAUNTLET_SANDBOX_ALLOW_WEAKER" in done.stderr
    assert done.stdout == ""


def test_sigterm_ends_it_and_everything_it_started() -> None:
    with running_service() as service:
        httpx.post(f"{service.url}/execute", json={"expression": "1"}).raise_for_status()
        started = descendants_of(service.pid)
        assert started
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=10) == 0
    assert not [pid for pid in started if is_running(pid)]


def begin_request(service: ServiceProcess, body: bytes, announced: int | None = None) -> socket.socket:
    """Sends a request for an execution whose answer, or rest, is yet to come."""
    host, port = service.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=20)
    lines = [b"POST /execute HTTP/1.1", b"host: x", b"content-type: application/json"]
    client.sendall(b"\r\n".join([*lines, b"content-length: %d" % (announced or len(body)), b"", body]))
    time.sleep(0.5)
    return client


def test_sigterm_lets_what_is_in_flight_finish() -> None:
    with running_service() as service:
        with begin_request(service, b'{"expression": "import time; time.sleep(1); 7"}') as client:
            service.process.send_signal(signal.SIGTERM)
            answer = client.makefile("rb").read()
        assert b"200 OK" in answer
        assert b'"result":"7"' in answer
        assert service.process.wait(timeout=10) == 0


@pytest.mark.parametrize("sent_before", [0, 40], ids=["nothing yet", "a part of the head"])
def test_who_has_connected_before_sigterm_is_answered(sent_before: int) -> None:
    body = b'{"expression": "6 * 7"}'
    request = b"POST /execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    request %= len(body), body
    with running_service() as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(request[:sent_before])
            time.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            client.sendall(request[sent_before:])
            answer = client.makefile("rb").read()
        assert b"200 OK" in answer
        assert b"\r\nconnection: close\r\n" in answer
        assert b'"result":"42"' in answer
        assert service.process.wait(timeout=10) == 0


def test_sigterm_waits_for_nobody_who_asks_nothing() -> None:
    with running_service() as service, httpx.Client(base_url=service.url) as client:
        client.get("/health").raise_for_status()
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20):
            time.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(timeout=3) == 0


def test_sigterm_lets_it_finish_beside_a_socket_that_never_became_one() -> None:
    with (
        running_service() as service,
        begin_request(service, b'{"expression": "import time; time.sleep(1)"}') as client,
    ):
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as other:
            handshake = b"GET /ws HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\nx-long: %s\r\n\r\n"
            other.sendall(handshake % (b"y" * 9000))
            time.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            assert b"200 OK" in client.makefile("rb").read()
        assert service.process.wait(timeout=10) == 0


def test_sigterm_does_not_wait_for_a_client_that_never_ends_its_request() -> None:
    with running_service(GAUNTLET_DRAIN_S="1") as service, begin_request(service, b"{", announced=1000):
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=5) == 0


def test_sigterm_cuts_off_what_takes_longer_than_the_drain() -> None:
    slow = b'{"expression": "import time; time.sleep(20)", "timeout_s": 30}'
    with running_service(GAUNTLET_DRAIN_S="1") as service, begin_request(service, slow):
        processes = descendants_of(service.pid)
        assert len(processes) >= 3  # two zygotes and what runs, beside what waits
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=5) == 0
    assert not [pid for pid in processes if is_running(pid)]


def test_a_killed_service_leaves_no_process_behind() -> None:
    """Neither zygotes nor what waits, nor code that would go on for ever."""
    forever = b'{"expression": "while True: pass", "timeout_s": 30}'
    with running_service() as service, begin_request(service, forever):
        started = descendants_of(service.pid)
        assert len(started) >= 3
        service.process.kill()
        service.process.wait(timeout=10)
        deadline = time.monotonic() + 5
        while [pid for pid in started if is_running(pid)]:
            assert time.monotonic() < deadline, "the zygote outlived the service"
            time.sleep(0.02)


def test_it_cannot_be_traced_or_read_by_its_own_user() -> None:
    with running_service() as service:
        assert Path(f"/proc/{service.pid}/environ").stat().st_uid == 0
        zygote = next(iter(descendants_of(service.pid)))
        assert Path(f"/proc/{zygote}/oom_score_adj").read_text().strip() == "1000"
