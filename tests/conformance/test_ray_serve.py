"""The service as a Ray Serve application, on a real Ray with real replicas, which grow in number towards the end."""

import asyncio
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from benchmarks.chaos import trouble
from tests.conformance.clients import client_python
from tests.conformance.ray_cluster import MOST_REPLICAS, SHARE, RayCluster, ServeDoor, ray_environment, running_cluster
from tests.conftest import RedisServer
from tests.sandbox.abuse import ABUSE, CONTROL, Line
from tests.sandbox.test_processes import children_of, descendants_of, zygotes_of
from tests.sandbox.trial import Trials, assert_as_expected, assert_nothing_left, lines_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]  # its environment may have to be made first

SPIN_S = 20
SPIN = {"expression": "while True: pass", "timeout_s": SPIN_S}
GROUPS = ("processes", "others", "files", "network", "kernel")  # the others take more than a minute
_AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into processes of the sandbox")
_REFUSALS = """
import json, sys
from service.errors import StartError
from service.ray_serve import Options, app
for arguments in json.loads(sys.argv[1]):
    try:
        app(Options.model_validate(arguments))
    except StartError as error:
        print(error)
"""
_HEALTH = """
import asyncio
from service.ray_serve import Replica
async def check():
    replica = Replica(1)
    service = replica.__serve_build_asgi_app__()
    async with service.router.lifespan_context(service):
        await replica.check_health()
asyncio.run(check())
"""

_SLOTS = """
import os
import service.ray_serve
from service.machine import Machine
service.ray_serve.this_machine = lambda: Machine(cores=16, memory_mib=4096)
os.environ["GAUNTLET_CONCURRENCY"] = "64"
for is_set in (False, True):
    replica = service.ray_serve.Replica(1, is_concurrency_set=is_set)
    print(replica.__serve_build_asgi_app__().state.live._sandbox.config.concurrency)
"""


@pytest.fixture(scope="module")
def cluster(installed: Path, redis_server: RedisServer) -> Iterator[RayCluster]:
    redis_server.flush()
    with running_cluster(installed, GAUNTLET_REDIS_URL=redis_server.url) as started:
        yield started


@pytest.fixture(scope="module")
def http(cluster: RayCluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def trials(cluster: RayCluster) -> Trials:
    return Trials(ServeDoor(cluster))


def until(condition: Callable[[], bool], *, within_s: float) -> float:
    """Waits, and says how long."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + within_s
        time.sleep(0.02)
    return time.monotonic() - started


def in_flight(http: httpx.Client) -> int:
    capacity: dict[str, int] = http.get("/health").json()["capacity"]
    return capacity["requests"]


def request_of(path: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return (head + content).encode()


def connected(cluster: RayCluster) -> socket.socket:
    host, port = cluster.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


def test_submissions_are_graded_as_anywhere(http: httpx.Client, correct: str, partial: Path) -> None:
    assert http.post("/grade", json={"code": correct}).json()["score"] == 1.0
    graded = http.post("/grade", json={"code": partial.read_text()}).json()
    assert (graded["score"], [row["id"] for row in graded["checks"] if not row["passed"]]) == (0.8, ["tier3"])


def test_an_answer_has_one_request_id(http: httpx.Client) -> None:
    assert http.get("/task", headers={"x-request-id": "mine"}).headers.get_list("x-request-id") == ["mine"]
    assert len(http.get("/task").headers.get_list("x-request-id")) == 1


def test_a_grade_comes_row_by_row(http: httpx.Client, correct: str) -> None:
    slow = f"import time\n{correct}\nfast = process_batch\ndef process_batch(*batch):\n    time.sleep(0.1)\n"
    with http.stream("POST", "/grade/rows", json={"code": f"{slow}    return fast(*batch)\n"}) as answer:
        rows = [(time.monotonic(), json.loads(line)) for line in answer.iter_lines()]
    assert rows[-1][1]["grade"]["score"] == 1.0
    assert rows[-1][0] - rows[0][0] > 0.5  # one of the cases makes twelve calls


def test_a_body_without_a_length_is_refused_once_it_is_too_large(http: httpx.Client) -> None:
    refused = http.post("/execute", content=iter([b"x" * 65536] * 40), headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["status"]) == (413, 413)


def test_an_episode_begins_over_a_websocket(cluster: RayCluster) -> None:
    with connect(f"{cluster.url.replace('http', 'ws')}/ws", max_size=None) as websocket:
        websocket.send(json.dumps({"type": "reset", "data": {}}))
        assert json.loads(websocket.recv())["type"] == "observation"


def test_who_hangs_up_frees_the_slot(cluster: RayCluster, http: httpx.Client) -> None:
    with connected(cluster) as connection:
        connection.sendall(request_of("/execute", SPIN))
        until(lambda: in_flight(http) == 1, within_s=SPIN_S / 4)
    until(lambda: in_flight(http) == 0, within_s=SPIN_S / 4)


@_AS_ROOT
def test_submitted_code_has_nothing_of_ray(cluster: RayCluster, http: httpx.Client) -> None:
    with connected(cluster) as connection:
        connection.sendall(request_of("/execute", SPIN))
        until(lambda: in_flight(http) == 1, within_s=SPIN_S / 4)
        (replica,) = cluster.replicas()
        sandboxed = children_of(replica) - zygotes_of(replica)
        descriptors = [
            {int(each.name): str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()} for pid in sandboxed
        ]
        environments = {Path(f"/proc/{pid}/environ").read_bytes() for pid in sandboxed}
    assert len(sandboxed) >= 2
    for held in descriptors:
        kinds = {number: re.sub(r"\[\d+\]$", "", what) for number, what in held.items()}
        assert kinds == {0: "/dev/null", 1: "pipe:", 2: "pipe:", 3: "socket:"}
    assert environments == {b"PYTHONHASHSEED=0\0"}
    seen = http.post("/execute", json={"expression": "import os; (os.getuid(), dict(os.environ))"}).json()
    assert seen["result"] == "(61113, {})"


@pytest.mark.parametrize(("group", "line"), lines_of({group: ABUSE[group] for group in GROUPS}))
async def test_abuse_comes_to_what_the_contract_says(trials: Trials, group: str, line: Line) -> None:
    assert_as_expected(line, (await trials.of(group)).trials[line.id], trials.door)


@pytest.mark.parametrize(("group", "line"), lines_of({group: CONTROL[group] for group in GROUPS}))
async def test_what_is_allowed_passes_beside_it(trials: Trials, group: str, line: Line) -> None:
    assert_as_expected(line, (await trials.of(group)).trials[line.id], trials.door)


@pytest.mark.parametrize("group", GROUPS)
async def test_abuse_leaves_nothing_and_harms_nobody(trials: Trials, group: str) -> None:
    assert_nothing_left(await trials.of(group))


async def test_a_caller_is_told_by_the_address_that_a_trusted_proxy_names(cluster: RayCluster) -> None:
    body = {"expression": "import time; time.sleep(3)"}
    async with httpx.AsyncClient(base_url=cluster.url, timeout=60) as client:

        async def status(address: str) -> int:
            answer = await client.post("/execute", json=body, headers={"x-forwarded-for": address})
            return answer.status_code

        several = ["192.0.2.1"] * (MOST_REPLICAS * SHARE + 1)  # too many for one of the replicas at least
        *statuses, other = await asyncio.gather(*map(status, [*several, "192.0.2.2"]))
    assert set(statuses) == {200, 429}
    assert other == 200


def test_what_cannot_work_is_refused_before_it_is_deployed(installed: Path, tmp_path: Path) -> None:
    arguments: list[dict[str, Any]] = [
        {"max_replicas": 2},
        {"settings": {"GAUNTLET_API_TOKENS": "a-token-of-16-characters"}},
        {"settings": {"GAUNTLET_QUEU": "1"}},
        {},
    ]
    done = in_ray(installed, tmp_path, _REFUSALS, json.dumps(arguments))
    assert done.returncode == 0, done.stderr
    several, secret, unknown = done.stdout.splitlines()
    assert several.startswith("more than one replica needs GAUNTLET_REDIS_URL")
    assert secret.startswith("GAUNTLET_API_TOKENS: no argument may be a secret")
    assert unknown.startswith("unknown setting GAUNTLET_QUEU")


def test_a_replica_has_slots_that_fit_its_node_unless_their_number_was_set(installed: Path, tmp_path: Path) -> None:
    told = in_ray(installed, tmp_path, _SLOTS)
    assert told.stdout.split() == ["14", "64"], told.stderr


@_AS_ROOT
def test_a_replica_whose_sandbox_does_not_hold_is_not_healthy(installed: Path, tmp_path: Path) -> None:
    weak = ["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-all"]
    done = in_ray(installed, tmp_path, _HEALTH, before=weak)
    assert done.returncode == 1
    assert "StartError: sandbox layers not in force: uid" in done.stderr


def in_ray(
    installed: Path, home: Path, code: str, *arguments: str, before: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs Python where Ray is installed, and none is running."""
    command = [*(before or []), str(client_python("ray")), "-c", code, *arguments]
    environment = ray_environment(installed, home)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


async def test_load_brings_up_a_second_replica(cluster: RayCluster, correct: str) -> None:
    async with httpx.AsyncClient(base_url=cluster.url, timeout=60) as client, asyncio.TaskGroup() as group:

        async def grade() -> None:
            while len(cluster.replicas()) < 2:
                await client.post("/grade", json={"code": correct})

        for _ in range(SHARE):
            group.create_task(grade())


def test_ray_exports_what_a_replica_counts(cluster: RayCluster) -> None:
    graded = re.compile(r'^ray_gauntlet_grades_total{.*passed="true".*suite="classic".*} [1-9]', re.MULTILINE)
    until(lambda: graded.search(httpx.get(cluster.metrics_url).text) is not None, within_s=40)


async def test_a_replica_killed_under_load_loses_no_grade(cluster: RayCluster) -> None:
    before = set(cluster.replicas())
    tally = await trouble(cluster, ["replica"], seconds=6, every_s=3, clients=6)
    assert (tally.lost, tally.wrong, tally.rewarded_twice) == ([], [], [])
    assert (tally.grades >= 3, tally.episodes >= 3) == (True, True)  # at least one of each client
    assert len(before) == 2
    assert len(before & set(cluster.replicas())) == 1


def test_an_episode_whose_replica_was_killed_goes_on_at_another(
    cluster: RayCluster, http: httpx.Client, correct: str
) -> None:
    until(lambda: len(cluster.replicas()) == 2, within_s=60)
    episode = http.post("/episodes", json={"suite": "classic"}).json()["id"]
    tool = f"/episodes/{episode}/tools"
    assert http.post(f"{tool}/python_expression", json={"expression": "6 * 7"}).json()["execution"]["result"] == "42"
    with connected(cluster) as connection:
        connection.sendall(request_of(f"{tool}/submit_code", {"code": f"import time\ntime.sleep(3)\n{correct}"}))
        until(lambda: max(map(busy, cluster.replicas())) > 4, within_s=10)
        victim = max(cluster.replicas(), key=busy)
        sandboxed = descendants_of(victim)
        os.kill(victim, 9)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in sandboxed), within_s=5)
    until(lambda: asked(http, episode).get("done", False), within_s=30)
    assert (asked(http, episode)["reward"], asked(http, episode)["steps"]) == (1.0, 2)


def busy(replica: int) -> int:
    return len(children_of(replica) - zygotes_of(replica))


def asked(http: httpx.Client, episode: str) -> dict[str, Any]:
    """What is told of it; nothing while the proxy has not seen yet that a replica is gone."""
    answer = http.get(f"/episodes/{episode}")
    told: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    return told
