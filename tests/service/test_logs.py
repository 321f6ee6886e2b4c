"""What the real service writes about itself."""

import hashlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.conftest import running_service

SECRET = "what-a-model-wrote-and-nobody-should-log"
TOKEN = "a-token-of-some-trainer"


def lines(file: Path, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while len(written := file.read_text().splitlines()) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return [json.loads(line) for line in written]


def test_json_has_a_line_for_each_request_with_its_id_and_nothing_of_what_was_sent(stderr: Path) -> None:
    with (
        running_service(GAUNTLET_LOG_FORMAT="json", GAUNTLET_API_TOKENS=TOKEN) as service,
        httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {TOKEN}"}) as client,
    ):
        client.post("/execute", json={"expression": repr(SECRET)}, headers={"x-request-id": "of-the.proxy_1"})
        client.post("/grade", json={"code": f"raise ValueError({SECRET!r})"})
        client.get(
            f"/episodes/{SECRET}?{SECRET}", headers={"user-agent": SECRET, "x-request-id": f"{SECRET}\t{SECRET}"}
        )
        client.get("/task", headers={"authorization": f"Bearer {SECRET}"})
    told = {each["route"]: each for each in lines(stderr, 4)}
    assert {route: (each["method"], each["status"]) for route, each in told.items()} == {
        "/execute": ("POST", 200),
        "/grade": ("POST", 200),
        "/episodes/{episode_id}": ("GET", 404),
        "/task": ("GET", 401),
    }
    assert told.pop("/execute")["request_id"] == "of-the.proxy_1"
    assert all(re.fullmatch(r"[0-9a-f]{16}", each["request_id"]) for each in told.values())
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", each["time"]) for each in told.values())
    assert all(each["duration_ms"] > 0 for each in told.values())
    callers = {route: each.get("caller") for route, each in told.items()}
    digest = hashlib.sha256(f"Bearer {TOKEN}".encode()).hexdigest()
    assert callers == {"/grade": digest[:12], "/episodes/{episode_id}": digest[:12], "/task": None}
    assert SECRET not in stderr.read_text()
    assert TOKEN not in stderr.read_text()


def test_what_is_said_of_an_unexpected_fault_has_its_requests_id(stderr: Path) -> None:
    with running_service(module="tests.service.failing_service", GAUNTLET_LOG_FORMAT="json") as service:
        answer = httpx.get(f"{service.url}/episodes/0123", headers={"x-request-id": "find-me"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "find-me")
    assert "in none" not in answer.text
    told = lines(stderr, 3)
    assert [(each["logger"], each["request_id"]) for each in told] == [
        ("gauntlet.access", "find-me"), ("gauntlet.service", "find-me"), ("uvicorn.error", "find-me"),
    ]  # fmt: skip


def test_where_it_serves_is_said_in_the_logs_format_on_the_first_line() -> None:
    with running_service(GAUNTLET_LOG_FORMAT="json") as service:
        said = json.loads(service.first_line)
        assert httpx.get(f"{said['url']}/ready").status_code == 200
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said["time"])
    assert (said["level"], said["url"]) == ("info", service.url)
    assert said["message"] == f"Resilience Gauntlet is serving on {service.url}"
    with running_service() as service:
        assert service.first_line == f"Resilience Gauntlet is serving on {service.url}\n"


def test_text_says_nothing_while_nothing_is_wrong(stderr: Path) -> None:
    with running_service() as service, httpx.Client(base_url=service.url) as client:
        client.post("/execute", json={"expression": "1 / 0"})
        client.get("/nothing")
    assert stderr.read_text() == ""


def test_a_redis_that_cannot_be_reached_is_told_before_anybody_calls(stderr: Path) -> None:
    with running_service(GAUNTLET_LOG_FORMAT="json", GAUNTLET_REDIS_URL="redis://127.0.0.1:9/0"):
        (fault,) = lines(stderr, 1)
    assert fault["message"].startswith("redis: ")
    assert "request_id" not in fault


def test_a_socket_that_is_refused_or_dropped_is_no_fault(stderr: Path) -> None:
    with running_service(GAUNTLET_API_TOKENS=TOKEN) as service:
        address = service.url.replace("http://", "ws://") + "/ws"
        with pytest.raises(InvalidStatus), connect(address):
            pass
        with connect(address, additional_headers={"authorization": f"Bearer {TOKEN}"}) as socket:
            socket.send("{}")
            socket.socket.shutdown(SHUT_RDWR)
        assert httpx.get(f"{service.url}/ready").status_code == 200
    assert stderr.read_text() == ""


def test_a_fault_of_the_service_is_told_with_the_requests_id(stderr: Path) -> None:
    gone = {"GAUNTLET_LOG_FORMAT": "json", "GAUNTLET_REDIS_URL": "redis://127.0.0.1:9/0"}
    with running_service(**gone) as service, httpx.Client(base_url=service.url, timeout=30) as client:
        response = client.post("/episodes", headers={"x-request-id": "mine"})
    assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
    fault, request = (each for each in lines(stderr, 3) if "request_id" in each)
    assert (fault["level"], fault["request_id"], request["request_id"]) == ("error", "mine", "mine")
    assert fault["message"].startswith("redis: ")


@pytest.mark.parametrize("given", [b"", b"x" * 65, b"a b", b"\xff", b"<script>"])
def test_an_id_that_is_not_plain_is_replaced(given: bytes) -> None:
    with running_service() as service, httpx.Client(base_url=service.url) as client:
        response = client.get("/ready", headers=[(b"x-request-id", given)])
    assert re.fullmatch(r"[0-9a-f]{16}", response.headers["x-request-id"]) or response.status_code == 400


def test_every_answer_names_its_request(service: Any) -> None:
    with httpx.Client(base_url=service.url) as client:
        for path in ("/ready", "/nothing", "/page/main.js", "/metrics"):
            assert client.get(path, headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


def test_an_unknown_format_is_refused() -> None:
    command = [sys.executable, "-m", "service"]
    done = subprocess.run(
        command, env={"GAUNTLET_LOG_FORMAT": "xml", "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert "GAUNTLET_LOG_FORMAT" in done.stderr
