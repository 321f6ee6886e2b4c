"""Three replicas behind one address, as `docker compose --profile cluster` starts them, with parts of it killed."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from benchmarks.chaos import ORACLE, Cluster, cluster, trouble

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

REPLICAS = ["replica-1", "replica-2", "replica-3"]


@pytest.fixture(scope="module")
def composed() -> Iterator[Cluster]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with cluster("gauntlet-test-cluster", port) as started:
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


def test_killed_replicas_lose_no_grade_and_no_reward(composed: Cluster) -> None:
    tally = asyncio.run(trouble(composed, REPLICAS, seconds=20, every_s=5, clients=4))
    assert (tally.lost, tally.wrong, tally.rewarded_twice) == ([], [], [])
    assert tally.grades > 20
    assert tally.episodes > 10


def test_a_restarted_redis_loses_no_episode(composed: Cluster) -> None:
    tally = asyncio.run(trouble(composed, ["redis"], seconds=15, every_s=5, clients=4))
    assert (tally.lost, tally.wrong, tally.rewarded_twice) == ([], [], [])
    assert tally.episodes > 10
