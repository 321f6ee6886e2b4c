"""`--workers N`: several processes that answer as one service does."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.clients import EXAMPLES
from tests.conftest import RedisServer, ServiceProcess, running_service
from tests.sandbox.test_processes import descendants_of

ORACLE = (EXAMPLES / "solution.py").read_text()
COUNT = 3


@pytest.fixture(scope="module")
def three(redis_server: RedisServer) -> Iterator[ServiceProcess]:
    limits = {"GAUNTLET_CONCURRENCY": "9", "GAUNTLET_QUEUE": "100", "GAUNTLET_POOL_LOW": "3", "GAUNTLET_POOL_HIGH": "6"}
    with running_service(arguments=["--workers", str(COUNT)], GAUNTLET_REDIS_URL=redis_server.url, **limits) as process:
        yield process


def workers_of(service: ServiceProcess) -> set[int]:
    return {pid for pid in descendants_of(service.pid) if b"spawn_main" in command_of(pid)}


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def folders() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("gauntlet-*")}


def scraped(service: ServiceProcess) -> dict[str, float]:
    """Sums over labels, from one scrape by a connection of its own."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{service.url}/metrics").text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def call(service: ServiceProcess, method: str, path: str, **options: Any) -> Any:
    """One call over a connection of its own, so that any worker may take it."""
    return httpx.request(method, f"{service.url}{path}", timeout=30, **options).raise_for_status().json()


def execute(service: ServiceProcess, expression: str) -> Any:
    return call(service, "POST", "/execute", json={"expression": expression})


def wait_until(what: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_any_worker_tells_the_numbers_of_all(three: ServiceProcess) -> None:
    before = scraped(three)
    with ThreadPoolExecutor(8) as threads:  # held long enough that no worker can take them all
        done = list(threads.map(lambda _: execute(three, "__import__('time').sleep(0.2) or 7"), range(48)))
    assert {answer["result"] for answer in done} == {"7"}
    told = [scraped(three) for _ in range(12)]
    assert {one["gauntlet_executions_total"] for one in told} == {before["gauntlet_executions_total"] + 48}
    assert {one["gauntlet_execution_duration_seconds_count"] for one in told} == {told[0]["gauntlet_executions_total"]}
    totals = [one["gauntlet_http_requests_total"] for one in told]
    assert totals == sorted(totals)
    assert {one["gauntlet_build_info"] for one in told} == {1}
    assert {one["gauntlet_sandbox_layer"] for one in told} == {4}
    assert told[-1]["process_resident_memory_bytes"] > 3e7 * COUNT


def test_the_limits_hold_for_all_workers_together(three: ServiceProcess) -> None:
    told = scraped(three)
    assert (told["gauntlet_sandbox_slots"], told["gauntlet_requests_limit"]) == (9, 102)
    capacity = call(three, "GET", "/health")["capacity"]
    assert (capacity["concurrency"], capacity["queue"]) == (3, 34)
    assert told["gauntlet_episodes_limit"] == capacity["episode_limit"]


def test_what_will_hurt_is_told_once_for_all_workers(redis_server: RedisServer, stderr: Path) -> None:
    large = {"GAUNTLET_CONCURRENCY": "1000", "GAUNTLET_MEMORY_MIB": "65536", "GAUNTLET_REDIS_URL": redis_server.url}
    with running_service(arguments=["--workers", "2"], GAUNTLET_LOG_FORMAT="json", **large) as service:
        assert json.loads(service.first_line)["url"] == service.url
    (told,) = stderr.read_text().splitlines()
    assert "1000 × 65536 MiB" in json.loads(told)["message"]


def test_every_worker_knows_every_episode(three: ServiceProcess) -> None:
    opened = [call(three, "POST", "/episodes", json={"seed": seed}) for seed in range(6)]
    with ThreadPoolExecutor(6) as threads:
        path = "/episodes/{}/tools/{}"
        for step in range(1, 5):
            tried = threads.map(
                lambda one: call(
                    three, "POST", path.format(one["id"], "python_expression"), json={"expression": str(one["seed"])}
                ),
                opened,
            )
            assert [(one["execution"]["result"], one["steps"]) for one in tried] == [(str(s), step) for s in range(6)]
        ended = list(
            threads.map(
                lambda one: call(three, "POST", path.format(one["id"], "submit_code"), json={"code": ORACLE}), opened
            )
        )
    assert [(one["reward"], one["seed"]) for one in ended] == [(1.0, seed) for seed in range(6)]


def test_a_session_that_one_worker_has_handed_out_is_opened_by_another(three: ServiceProcess) -> None:
    """ORS: each call over a connection of its own, so that they meet all workers."""
    for index in range(12):
        issued = httpx.post(f"{three.url}/create_session", json={}).text.split("data: ")[1].split()[0]
        session = {"X-Session-ID": issued}
        created = call(three, "POST", "/create", json={"split": "train", "index": index}, headers=session)
        assert created == {"sid": issued}
        ended = httpx.post(
            f"{three.url}/call", json={"name": "submit_code", "input": {"code": ""}}, headers=session, timeout=30
        )
        assert '"reward":0.0,"finished":true' in ended.text


def test_a_worker_that_is_killed_is_replaced_and_what_it_had_counted_stays(three: ServiceProcess) -> None:
    execute(three, "1")
    before, first = scraped(three), workers_of(three)
    victim = min(first)
    orphans = descendants_of(victim)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(workers_of(three)) == COUNT and victim not in workers_of(three))
    assert len(workers_of(three) - first) == 1
    started = before["process_start_time_seconds"]
    wait_until(lambda: scraped(three)["process_start_time_seconds"] > started)
    after = scraped(three)
    assert after["gauntlet_executions_total"] == before["gauntlet_executions_total"]
    assert after["gauntlet_sandbox_slots"] == 9
    assert execute(three, "6 * 7")["result"] == "42"
    wait_until(lambda: not [pid for pid in orphans if Path(f"/proc/{pid}").exists()])


def test_workers_are_replaced_one_by_one_on_sighup_and_no_call_is_lost(three: ServiceProcess) -> None:
    before, answered, is_over = workers_of(three), [], threading.Event()

    def keep_asking() -> None:
        while not is_over.is_set():
            answered.append(execute(three, "1 + 1")["result"])

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(keep_asking) for _ in range(4)]
        try:
            os.kill(three.pid, signal.SIGHUP)
            wait_until(lambda: len(workers_of(three)) == COUNT and not workers_of(three) & before, 60)
        finally:
            is_over.set()
        for one in asking:
            one.result(timeout=30)
    assert set(answered) == {"2"}
    assert len(answered) > COUNT


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_what_is_in_flight_is_finished_and_nothing_stays_behind(
    redis_server: RedisServer, number: signal.Signals, status: int
) -> None:
    others = folders()
    with running_service(arguments=["--workers", "2"], GAUNTLET_REDIS_URL=redis_server.url) as service:
        assert len(folders() - others) == 1
        everything = descendants_of(service.pid)
        with ThreadPoolExecutor(4) as threads:
            slow = [threads.submit(execute, service, "__import__('time').sleep(2) or 5") for _ in range(4)]
            wait_until(lambda: scraped(service)["gauntlet_requests_in_flight"] == 4)
            service.process.send_signal(number)
            assert [one.result(timeout=30)["result"] for one in slow] == ["5"] * 4
        assert service.process.wait(timeout=30) == status
        wait_until(lambda: not [pid for pid in everything if Path(f"/proc/{pid}").exists()])
        assert folders() == others


def test_workers_without_a_redis_are_refused() -> None:
    done = start("--workers", "2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--workers 2 needs GAUNTLET_REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user to give up")
def test_a_sandbox_that_does_not_hold_ends_them_all(redis_server: RedisServer) -> None:
    unable = ["setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-all"]
    done = start("--workers", "2", before=unable, GAUNTLET_REDIS_URL=redis_server.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "sandbox layers not in force: uid" in done.stderr
    assert "Traceback" not in done.stderr


def start(*arguments: str, before: list[str] | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [*(before or []), sys.executable, "-m", "service", "--port", "0", *arguments]
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_help_says_what_workers_share() -> None:
    shown = re.sub(r"\s+", " ", start("--help").stdout)
    assert "they share the limits, and several need GAUNTLET_REDIS_URL" in shown
