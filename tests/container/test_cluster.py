"""Three replicas behind one address, as `docker compose --profile cluster` starts them, with parts of it killed."""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.chaos import ORACLE, Cluster, cluster, trouble
from benchmarks.nuisances import NUISANCES
from tests.conftest import PATIENT
from tests.deploy import prometheus
from tests.deploy.prometheus import Prometheus, eventually
from tests.server import free_port

pytestmark = pytest.mark.timeout(600)

REPLICAS = ["replica-1", "replica-2", "replica-3"]


@pytest.fixture(scope="module")
def composed() -> Iterator[Cluster]:
    with cluster("gauntlet-test-cluster", free_port(), **PATIENT) as started:
        yield started


def test_an_episode_is_played_by_whichever_replica_is_asked(composed: Cluster) -> None:
    with httpx.Client(base_url=composed.url, timeout=30) as client:
        episode = client.post("/episodes", json={"suite": "classic"}).json()["id"]
        for step in range(1, 13):
            called = client.post(f"/episodes/{episode}/tools/python_expression", json={"expression": "1"}).json()
            assert called["steps"] == step
        assert client.post(f"/episodes/{episode}/tools/submit_code", json={"code": ORACLE}).json()["reward"] == 1.0
        assert {client.get(f"/episodes/{episode}").json()["reward"] for _ in range(12)} == {1.0}
    asked = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    for replica in REPLICAS:
        text = composed.compose("exec", "-T", replica, "python", "-c", asked).stdout
        counts = [
            line
            for line in text.splitlines()
            if line.startswith("gauntlet_http_requests_total") and "/episodes/" in line
        ]
        assert sum(float(line.rpartition(" ")[2]) for line in counts) > 0, f"{replica} was asked nothing"


@pytest.mark.parametrize("service", [*REPLICAS, "proxy", "redis"])
def test_every_part_is_hardened(composed: Cluster, service: str) -> None:
    found = composed.compose("ps", "--quiet", service).stdout.strip()
    inspect = [
        "docker",
        "inspect",
        "--format",
        "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}}",
        found,
    ]
    readonly, dropped, user = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.split()
    assert (readonly, dropped) == ("true", "[ALL]")
    assert user not in {"", "0", "0:0", "root"}


def test_redis_can_be_reached_by_replicas_only(composed: Cluster) -> None:
    connect = ["exec", "-T", "proxy", "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/redis/6379"]
    assert composed.compose(*connect, check=False).returncode != 0
    found = composed.compose("ps", "--quiet", "redis").stdout.strip()
    ports = subprocess.run(["docker", "port", found], capture_output=True, text=True, check=True).stdout
    assert ports == ""


def test_where_no_replica_answers_the_proxy_asks_to_come_again_and_logs_no_path(composed: Cluster) -> None:
    with httpx.Client(base_url=composed.url, timeout=30) as client:
        try:
            composed.compose("kill", *REPLICAS)
            for _ in range(4):  # connections that fail first, then replicas that are known to be away
                refused = client.get("/episodes/of-nobody", headers={"X-Request-ID": "asked"})
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
                assert refused.headers["content-type"] == "application/problem+json"
                assert refused.headers["X-Request-ID"] == "asked"
                problem = refused.json()
                assert problem.pop("detail")
                assert problem == {
                    "type": "about:blank", "title": "Service Unavailable", "status": 503, "code": "overloaded",
                }  # fmt: skip
            assert "of-nobody" not in composed.compose("logs", "proxy").stdout
        finally:
            composed.compose("start", *REPLICAS)
            composed.compose("up", "--detach", "--wait", "--no-recreate", "proxy")
            eventually(lambda: client.get("/ready").is_success, seconds=30)
        assert client.get("/ready").json() == {"status": "ready"}


@pytest.mark.parametrize(("mib", "by_the_proxy"), [(10, True), (1, False)])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_refused_in_one_way_by_proxy_and_replicas(
    composed: Cluster, mib: int, *, by_the_proxy: bool, announced: bool
) -> None:
    body = (mib << 20) * b" "
    content = body if announced else (body[start : start + 65536] for start in range(0, len(body), 65536))
    refused = httpx.post(f"{composed.url}/grade", content=content, timeout=30)
    assert (refused.status_code, refused.headers["content-type"]) == (413, "application/problem+json")
    problem = refused.json()
    assert ("9 MiB" in problem.pop("detail")) == by_the_proxy
    assert problem == {"type": "about:blank", "title": "Content Too Large", "status": 413}
    assert refused.headers["X-Request-ID"]


def test_what_a_replica_answers_passes_as_it_is(composed: Cluster) -> None:
    missing = httpx.get(f"{composed.url}/episodes/of-nobody", timeout=30)
    assert (missing.status_code, missing.json()["code"]) == (404, "episode_not_found")
    assert "Retry-After" not in missing.headers


def test_the_composed_runner_plays_on_the_cluster(composed: Cluster) -> None:
    aimed = replace(composed, environment={**composed.environment, "RUNNER_SERVICE": "http://proxy:8080"})
    played = aimed.compose("run", "--build", "--rm", "--no-deps", "-T", "runner", check=False)
    assert "Passed: 1/10 (10.0%)" in played.stdout, played.stdout + played.stderr
    assert composed.compose("ps", "--quiet", "service").stdout == ""


OVERRIDE = """\
services:
  prometheus:
    image: resilience-gauntlet/service
    entrypoint: [/usr/bin/prometheus]
    volumes:
      - {program}:/usr/bin/prometheus:ro
      - {{type: tmpfs, target: /prometheus, tmpfs: {{mode: 0o1777}}}}
"""


@prometheus.NEEDED
def test_prometheus_beside_the_cluster_watches_every_replica_by_its_name(composed: Cluster, tmp_path: Path) -> None:
    override = tmp_path / "compose.yml"
    override.write_text(OVERRIDE.format(program=prometheus.program("prometheus")))  # whose own image is another's
    files = ["docker-compose.yml", "deploy/observability/compose.yml", str(override)]
    both = [word for file in files for word in ("--file", file)]
    port = free_port()
    chosen = {"PROMETHEUS_PORT": str(port), "GRAFANA_PASSWORD": "of-a-test"}
    watched = replace(composed, environment={**composed.environment, **chosen})
    watching = Prometheus(f"http://127.0.0.1:{port}")
    try:
        watched.compose(*both, "up", "--detach", "--no-deps", "prometheus")
        assert eventually(watching.is_ready, seconds=30), watched.compose(*both, "logs", "prometheus").stdout
        eventually(lambda: len(watching.ask("up == 1")) == len(REPLICAS), seconds=60)
        found = {each["metric"]["instance"] for each in watching.ask("up == 1")}
        assert found == {f"{replica}:8000" for replica in REPLICAS}
    finally:
        watching.close()
        watched.compose(*both, "rm", "--stop", "--force", "prometheus")


def test_killed_replicas_lose_no_grade_and_no_reward(composed: Cluster) -> None:
    tally = asyncio.run(trouble(composed, REPLICAS, seconds=20, every_s=5, clients=4))
    assert (tally.lost, tally.wrong, tally.rewarded_twice) == ([], [], [])
    assert tally.grades > 5
    assert tally.episodes > 5


def busy_replica(composed: Cluster) -> str:
    asked = (
        "import json, urllib.request as u;"
        "print(json.load(u.urlopen('http://127.0.0.1:8000/health'))['capacity']['requests'])"
    )
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for replica in REPLICAS:
            if composed.compose("exec", "-T", replica, "python", "-c", asked).stdout.strip() != "0":
                return replica
    raise AssertionError("no replica has anything to do")


def test_a_client_does_not_notice_that_the_replica_which_graded_its_submission_was_killed(composed: Cluster) -> None:
    with httpx.Client(base_url=composed.url, timeout=60) as client, ThreadPoolExecutor(1) as thread:
        path = f"/episodes/{client.post('/episodes', json={'suite': 'classic'}).json()['id']}"
        slow = f"import time\ntime.sleep(4)\n{ORACLE}"
        submitting = thread.submit(client.post, f"{path}/tools/submit_code", json={"code": slow})
        composed.kill(busy_replica(composed))
        told = submitting.result(timeout=60)
        assert (told.status_code, told.json()["reward"], told.json()["steps"]) == (200, 1.0, 1)
        assert client.get(path).json()["grade"] == told.json()["grade"]
        refused = client.post(f"{path}/tools/submit_code", json={"code": slow})
        assert refused.status_code == 409


def test_a_restarted_redis_loses_no_episode(composed: Cluster) -> None:
    tally = asyncio.run(trouble(composed, ["redis"], seconds=15, every_s=5, clients=4))
    assert (tally.lost, tally.wrong, tally.rewarded_twice) == ([], [], [])
    assert tally.episodes > 5


def test_killed_zygotes_and_clients_that_misbehave_lose_nothing(composed: Cluster) -> None:
    victims = [f"{replica}:zygotes" for replica in REPLICAS]
    tally = asyncio.run(trouble(composed, victims, seconds=20, every_s=1, clients=4, nuisances=12))
    assert (tally.lost, tally.wrong, tally.rewarded_twice) == ([], [], [])
    assert set(tally.nuisances) == set(NUISANCES)
    assert tally.grades > 5
    assert tally.episodes > 5


def test_workers_run_within_a_hardened_container_and_leave_no_zombie(composed: Cluster) -> None:
    started = composed.compose(
        "run", "--detach", "--no-deps", "--name", "gauntlet-test-workers", "replica-1", "--workers", "2"
    )
    container = started.stdout.strip()
    try:
        before = watch(container, kills=0)
        assert (len(before["workers"]), before["ready"]) == (2, 200)
        after = watch(container, kills=1)
        assert len(set(after["workers"]) - set(before["workers"])) == 1
        assert (after["zombies"], after["slots"], after["ready"]) == ([], before["slots"], 200)
        subprocess.run(["docker", "stop", container], capture_output=True, check=True)
        ended = ["docker", "inspect", "--format", "{{.State.ExitCode}}", container]
        assert subprocess.run(ended, capture_output=True, text=True, check=True).stdout.strip() == "0"
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=True)


WATCH = """
import json, os, pathlib, signal, sys, time, urllib.request
from service.settings import read_settings

def processes():
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
            yield int(path.name), state, (path / "cmdline").read_bytes()
        except OSError:
            pass

def workers():
    name = b"spawn" + b"_main"  # which this command has not
    return sorted(pid for pid, _, command in processes() if name in command)

def ask(path):
    with urllib.request.urlopen(f"http://127.0.0.1:8000{path}", timeout=5) as answer:
        return answer.status, answer.read().decode()

def told():
    found = {"workers": workers(), "ready": ask("/ready")[0]}
    found["zombies"] = [pid for pid, state, _ in processes() if state == "Z"]
    found["slots"] = [line for line in ask("/metrics")[1].splitlines() if line.startswith("gauntlet_sandbox_slots")]
    return found

def is_up(found):
    return len(found["workers"]) == 2 and not found["zombies"] and found["slots"] == expected

deadline = time.monotonic() + 30
expected = [f"gauntlet_sandbox_slots {float(2 * read_settings({}).of_one_worker(2).concurrency)}"]
victims = workers()[: int(sys.argv[1])]
for victim in victims:
    os.kill(victim, signal.SIGKILL)
while time.monotonic() < deadline:
    try:
        found = told()
    except OSError:
        found = {}
    if found and is_up(found) and not set(found["workers"]) & set(victims):
        break
    time.sleep(0.2)
print(json.dumps(found))
"""


def watch(container: str, *, kills: int) -> dict[str, Any]:
    """Kills so many workers, and says how the container does once it is well again, or half a minute later."""
    command = ["docker", "exec", container, "python", "-c", WATCH, str(kills)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found
