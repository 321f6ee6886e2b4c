"""`gauntlet run --engine ray` on a real cluster, with a real service and scripted models."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from benchmarks.ray_run import ROOT, Nodes, differences, events, records, start_run, wait_for_records
from runner.answers import TaskSpec
from runner.engines.ray_engine import _shown
from runner.local_service import ServiceAddress
from runner.request import RunRequest
from tests.conformance.clients import EXAMPLES
from tests.conftest import ServiceProcess
from tests.runner.claude import message, submit
from tests.server import served

pytestmark = pytest.mark.timeout(300)  # its environment may have to be made first

KEY = "sk-ant-for-the-workers-memory-alone"
POISON = 5  # the episode that kills its worker


class Api(BaseHTTPRequestHandler):
    """A Messages API whose every conversation is one call, and whose poison kills who asks for it."""

    protocol_version = "HTTP/1.1"
    code = (EXAMPLES / "solution.py").read_text()
    gate = threading.Event()
    tokens = 5
    asked: list[str] = []  # noqa: RUF012 - a handler is made for each connection

    def do_GET(self) -> None:
        self._answer({"id": "claude-sonnet-5-5", "type": "model", "display_name": "", "lifecycle": "active"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != f"Bearer {KEY}":
            self.send_error(401)
            return
        episode = body["metadata"]["user_id"].rpartition("-")[2]
        self.asked.append(episode)
        if episode == str(POISON) and body["max_tokens"] == 1000:
            os.kill(owner_of(self.client_address[1]), signal.SIGKILL)
        self.gate.wait(60)
        self._answer(message(submit(self.code), usage={"input_tokens": 10, "output_tokens": self.tokens}))

    def _answer(self, answer: Any) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


def owner_of(port: int) -> int:
    """The process that has a connection from this port of 127.0.0.1."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    [inode] = [row[9] for row in rows if row[1] == f"0100007F:{port:04X}"]
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) == f"socket:[{inode}]":
                return int(descriptor.parts[2])
        except OSError:
            continue
    raise AssertionError("nobody has it")


@pytest.fixture
def api() -> Iterator[Mapping[str, str]]:
    """The environment of a run that asks it, with money that is not real."""
    Api.gate, Api.asked, Api.tokens = threading.Event(), [], 5
    with served(Api) as url:
        yield {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": KEY}
        Api.gate.set()


Start = Callable[..., Popen[str]]


@pytest.fixture
def start(python: Path) -> Iterator[Start]:
    """Begins runs, and ends those that a test leaves behind."""
    begun: list[Popen[str]] = []

    def begin(*arguments: Any, **named: Any) -> Popen[str]:
        begun.append(start_run(named.pop("python", python), *arguments, **named))
        return begun[-1]

    yield begin
    for run in begun:
        run.kill()
        run.communicate()


def ended(run: Popen[str], status: int = 0) -> str:
    printed, errors = run.communicate(timeout=120)
    assert run.returncode == status, errors
    assert status or not errors, errors  # nothing of Ray's is printed
    return printed + errors


def until(found: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def on(cluster: Nodes) -> list[str]:
    return ["--engine", "ray", "--ray-address", cluster.address]


def test_a_run_that_loses_a_node_ends_as_one_on_no_cluster(
    cluster: Nodes, start: Start, service: ServiceProcess, tmp_path: Path
) -> None:
    shape = ["-n", "40", "--concurrency", "9", "--faults", "0.2", "--seed", "7"]
    run = start(tmp_path / "ray", *shape, *on(cluster), environment=cluster.environment, service=service.url)
    wait_for_records(tmp_path / "ray", 8, run)
    cluster.order("kill 1")
    printed = ended(run)
    ended(start(tmp_path / "local", *shape, environment=cluster.environment, service=service.url))
    assert differences(tmp_path / "ray", tmp_path / "local") == []
    lost = events(tmp_path / "ray", "lost")
    assert len(lost) >= 1
    assert {row["attempt"] for row in records(tmp_path / "ray") if row["episode"] == lost[0]["episode"]} == {2}
    assert len({event["node"] for event in events(tmp_path / "ray", "placed")}) == 3
    assert printed.count("Node ") == 1
    assert "raylet" not in printed


def test_an_episode_that_kills_its_workers_is_invalid_and_the_key_is_in_their_memory_alone(
    cluster: Nodes, start: Start, service: ServiceProcess, api: Mapping[str, str], tmp_path: Path
) -> None:
    shape = ["-n", "12", "--concurrency", "12", "--live", "--max-tokens", "1000"]
    environment = {**cluster.environment, **api}
    run = start(tmp_path, *shape, *on(cluster), environment=environment, service=service.url)
    until(lambda: len(events(tmp_path, "lost")) >= 1)
    shown = shown_by(cluster)
    Api.gate.set()
    ended(run)
    rows = {row["episode"]: row for row in records(tmp_path)}
    assert {number for number, row in rows.items() if row["outcome"] != "passed"} == {POISON}
    assert len(rows) == len(records(tmp_path)) == 12
    assert (rows[POISON]["outcome"], rows[POISON]["cost_usd"]) == ("infra_error", None)
    assert sum(event["episode"] == POISON for event in events(tmp_path, "lost")) == 3
    logs = [path.read_bytes() for path in Path(cluster.environment["HOME"]).rglob("*") if path.is_file()]
    assert "runner.engines" in shown or "Worker" in shown
    assert any(b"Worker" in log for log in logs)
    assert KEY not in shown
    assert not [log for log in logs if KEY.encode() in log]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text()]


def shown_by(cluster: Nodes) -> str:
    """All that Ray's state API tells."""
    headers = {"Authorization": f"Bearer {cluster.environment['RAY_AUTH_TOKEN']}"}
    with httpx.Client(base_url=f"http://{cluster.dashboard}", headers=headers, timeout=30) as client:
        kinds = ("actors", "tasks", "workers", "jobs", "objects", "runtime_envs")
        return "".join(client.get(f"/api/v0/{kind}?detail=1").raise_for_status().text for kind in kinds)


def test_a_node_that_joins_is_used_and_the_budget_holds_over_all(
    cluster: Nodes, start: Start, service: ServiceProcess, api: Mapping[str, str], tmp_path: Path
) -> None:
    Api.tokens = 1900
    shape = ["-n", "30", "--concurrency", "4", "--live", "--max-tokens", "2000", "--max-cost", "0.4"]
    environment = {**cluster.environment, **api}
    run = start(tmp_path, *shape, *on(cluster), environment=environment, service=service.url)
    until(lambda: len(Api.asked) == 4)
    known = {event["node"] for event in events(tmp_path, "worker")}
    cluster.order("add")
    until(lambda: {event["node"] for event in events(tmp_path, "worker")} > known)
    Api.gate.set()
    assert "--max-cost $0.4 is spent" in ended(run, status=1)
    assert {event["node"] for event in events(tmp_path, "placed")} > known
    calls = events(tmp_path, "call")
    assert len(calls) == len(Api.asked) > 4
    assert 0.2 < sum(call["booked_usd"] for call in calls) <= 0.4


def test_ctrl_c_ends_a_run_that_the_other_engine_finishes(
    cluster: Nodes, start: Start, service: ServiceProcess, api: Mapping[str, str], tmp_path: Path
) -> None:
    shape = ["-n", "8", "--concurrency", "4", "--live", "--grace", "1"]
    environment = {**cluster.environment, **api}
    run = start(tmp_path, *shape, *on(cluster), environment=environment, service=service.url)
    until(lambda: len(Api.asked) == 4)
    os.killpg(run.pid, signal.SIGINT)
    ended(run, status=130)
    assert [row["outcome"] for row in records(tmp_path)] == ["cancelled"] * 4
    Api.gate.set()
    [path] = tmp_path.iterdir()
    ended(start(tmp_path, "--resume", str(path), "--live", environment=environment, service=service.url))
    valid = [row["episode"] for row in records(tmp_path) if row["outcome"] == "passed"]
    assert sorted(valid) == list(range(1, 9))


def test_nodes_on_other_machines_need_a_service_that_they_reach(cluster: Nodes, start: Start, tmp_path: Path) -> None:
    cluster.order("add 127.0.0.2")
    until(lambda: refused(start(tmp_path, *on(cluster), "-n", "1", environment=cluster.environment, service=None)))


def refused(run: Popen[str]) -> bool:
    _, errors = run.communicate(timeout=60)
    return run.returncode == 1 and "(127.0.0.2)" in errors and "--service URL" in errors


def test_without_an_address_a_cluster_is_started_and_ended(
    start: Start, service: ServiceProcess, tmp_path: Path
) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    run = start(tmp_path / "runs", "-n", "3", "--engine", "ray", environment=environment, service=service.url)
    assert "✅ Run 3: 100% - ✓ All tiers stable" in ended(run)


@pytest.mark.parametrize(
    ("suite", "seed", "tokens", "sent"),
    [
        ("hardened", 20, {"RUNNER_TOKEN": "mine", "GAUNTLET_EVALUATION_TOKEN": "for-tests"}, "for-tests"),
        ("hardened", 0, {"RUNNER_TOKEN": "mine", "GAUNTLET_EVALUATION_TOKEN": "for-tests"}, "mine"),
        ("classic", 20, {"RUNNER_TOKEN": "mine", "GAUNTLET_EVALUATION_TOKEN": "for-tests"}, "mine"),
        ("hardened", 20, {"RUNNER_TOKEN": "mine"}, "mine"),
        ("hardened", 0, {"GAUNTLET_EVALUATION_TOKEN": "for-tests"}, "for-tests"),
        ("hardened", 20, {}, None),
    ],
)
def test_one_token_goes_to_the_nodes(suite: str, seed: int, tokens: dict[str, str], sent: str | None) -> None:
    spans = {"test": {"low": 20, "high": 29}}
    task: dict[str, Any] = {
        "id": "",
        "version": "",
        "prompt": "",
        "tools": [],
        "target_pass_band": {"low": 0, "high": 1},
    }
    job = SimpleNamespace(
        request=RunRequest(ServiceAddress("http://x", tokens), Path(), suite=suite, seed=seed),
        task=TaskSpec.model_validate(task | {"seeds": spans}),
    )
    shown = _shown(cast("Any", job))
    assert ServiceAddress("http://x", shown).token == sent
    assert list(shown.values()) == ([sent] if sent else [])


def test_the_extra_and_the_address_are_missed_before_anything_is_begun(start: Start, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    missing = start_run(
        Path(sys.executable), tmp_path / "runs", "--engine", "ray", environment=environment, service=None
    )
    assert "pip install 'resilience-gauntlet[ray]'" in ended(missing, status=1)
    nobody = ["--engine", "ray", "--ray-address", "127.0.0.1:9"]
    wrong = start(tmp_path / "runs", *nobody, environment=environment, service=None)
    assert "--ray-address 127.0.0.1:9: nobody listens there" in ended(wrong, status=1)
    assert not (tmp_path / "runs").exists()
