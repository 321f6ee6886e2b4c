"""`GET /metrics`: what is counted is what happened, in series that no client can add to."""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import StreamingResponse
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service.app import create_app
from service.episodes import OUTCOMES
from service.errors import Refusal
from service.grading import GRADER_VERSION
from service.sandbox import Status
from service.settings import Settings
from service.task import RUBRIC, Suite
from tests.conformance.clients import EXAMPLES
from tests.conftest import ServiceProcess, running_service

pytestmark = pytest.mark.anyio

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ORACLE = (EXAMPLES / "solution.py").read_text()
NAIVE = "def process_batch(events, state):\n    return {}"
USUAL = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

Series = dict[str, float]


async def scraped(client: httpx.AsyncClient) -> Series:
    """Every sample by its name and labels, as the text has them."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    found: Series = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[named(sample.name, **sample.labels)] = sample.value
    return found


async def scraped_when(client: httpx.AsyncClient, series: str, value: float) -> Series:
    """What is scraped once a series has a value, or after a while: the service sees a client's end a little later."""
    for _ in range(100):
        if (found := await scraped(client)).get(series) == value:
            break
        await asyncio.sleep(0.02)
    return found


async def labelled(client: httpx.AsyncClient) -> dict[str, tuple[str, set[str]]]:
    """The type and the labels of each of the service's own metrics."""
    found = {}
    for family in text_string_to_metric_families((await client.get("/metrics")).text):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = (family.type, labels - {"le"})
    return {name: told for name, told in found.items() if name.startswith("gauntlet_")}


def named(name: str, **labels: str) -> str:
    pairs = ",".join(f"{label}={labels[label]}" for label in sorted(labels))
    return f"{name.removeprefix('gauntlet_')}{{{pairs}}}"


def grown(before: Series, after: Series, *names: str) -> Series:
    """By how much the series of these names have grown, where they have."""
    deltas = {key: value - before.get(key, 0) for key, value in after.items() if key.partition("{")[0] in names}
    return {key: delta for key, delta in deltas.items() if delta}


@pytest.fixture
def app() -> FastAPI:
    """An app whose sandbox was never started."""
    return create_app(Settings())


def in_process(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


@pytest.fixture
async def inside(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(app) as client:
        yield client


@pytest.fixture(scope="module")
def small() -> Iterator[ServiceProcess]:
    """A service that is full with two requests, one process or one episode."""
    limits = {"QUEUE": "2", "CONCURRENCY": "1", "EPISODES": "1", "EPISODE_IDLE_S": "1"}
    with running_service(**{f"GAUNTLET_{name}": value for name, value in limits.items()}) as process:
        yield process


@pytest.fixture
async def few(small: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=small.url, timeout=30) as client:
        yield client


# The text


async def test_whatever_is_known_in_advance_is_there_from_the_start(inside: httpx.AsyncClient) -> None:
    first = await scraped(inside)
    rows = [(suite, row.id, passed) for suite in Suite for row in RUBRIC for passed in ("true", "false")]
    known = [
        *(named("executions_total", status=status) for status in Status),
        *(named("refusals_total", reason=reason) for reason in Refusal),
        *(named("episodes_total", outcome=outcome) for outcome in OUTCOMES),
        *(named("grades_total", suite=suite, passed=passed) for suite in Suite for passed in ("true", "false")),
        *(named("grade_duration_seconds_count", suite=suite) for suite in Suite),
        *(named("grade_rows_total", suite=suite, row=row, passed=passed) for suite, row, passed in rows),
        *(named("http_requests_total", method=m, route="other", status="404") for m in [*USUAL, "other"]),
        named("sandbox_faults_total"),
        named("execution_duration_seconds_count"),
        named("websockets_open"),
    ]
    assert {key: first.get(key) for key in known} == dict.fromkeys(known, 0)
    assert not [key for key in first if "_created" in key]


async def test_what_is_exposed_is_what_is_documented(client: httpx.AsyncClient) -> None:
    await client.post("/execute", json={"expression": "1"})
    for _ in range(100):  # a request counts a moment after its client has the answer
        if "route" in (exposed := await labelled(client))["gauntlet_http_request_duration_seconds"][1]:
            break
        await asyncio.sleep(0.02)
    table = re.findall(r"^\| `(gauntlet_\w+)` \| (\w+) \|([^|]*)\|", DOCUMENT.read_text(), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in table}
    assert exposed == documented
    assert len(exposed) == len(table)


async def test_it_says_which_build_under_what_limits_behind_which_layers(client: httpx.AsyncClient) -> None:
    health = (await client.get("/health")).json()
    capacity, found = health["capacity"], await scraped(client)
    assert found[named("build_info", version=health["version"], grader_version=GRADER_VERSION)] == 1
    layers = {key: value for key, value in found.items() if key.startswith("sandbox_layer{")}
    assert layers == {named("sandbox_layer", layer=layer): 1 for layer in health["sandbox"]["layers"]}
    for name, told in (
        ("requests_limit", "queue"),
        ("sandbox_slots", "concurrency"),
        ("episodes_limit", "episode_limit"),
    ):
        assert found[named(name)] == capacity[told]
    assert found[named("sandbox_processes", state="waiting")] >= 1
    assert found["process_resident_memory_bytes{}"] > 1e6
    assert found["process_open_fds{}"] > 10


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=x", "text/plain; version=0.0.4; charset=utf-8"),
        ("image/png", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=x;escaping=y", "application/openmetrics-text; version=1.0.0"),
    ],
)
async def test_a_scraper_gets_the_format_that_it_asks_for(
    client: httpx.AsyncClient, accept: str | None, content_type: str
) -> None:
    answer = await client.get("/metrics", headers={"accept": accept} if accept is not None else {})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(content_type)
    assert answer.text.endswith("# EOF\n") == ("openmetrics" in content_type)


# What runs


async def test_executions_are_counted_by_their_status(client: httpx.AsyncClient) -> None:
    before = await scraped(client)
    started = time.perf_counter()
    for expression in (
        "1", "2", "1 / 0", "def f(:", "while True: pass", "bytearray(10**10)", "import os; os.kill(os.getpid(), 11)"
    ):  # fmt: skip
        (await client.post("/execute", json={"expression": expression, "timeout_s": 0.3})).raise_for_status()
    took = time.perf_counter() - started
    after = await scraped(client)
    statuses = {"ok": 2, "error": 1, "syntax_error": 1, "timeout": 1, "memory_limit": 1, "killed": 1}
    assert grown(before, after, "executions_total") == {
        named("executions_total", status=status): count for status, count in statuses.items()
    }
    assert grown(before, after, "execution_duration_seconds_count") == {"execution_duration_seconds_count{}": 7}
    [seconds] = grown(before, after, "execution_duration_seconds_sum").values()
    assert 0.3 < seconds < took
    slow = named("execution_duration_seconds_bucket", le="0.25")
    assert after[slow] - before[slow] == 6


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize(("code", "held"), [(ORACLE, 6), (NAIVE, 0)])
async def test_grades_are_counted_with_their_rows(
    client: httpx.AsyncClient, suite: Suite, code: str, held: int
) -> None:
    before = await scraped(client)
    grade = (await client.post("/grade", json={"code": code, "suite": suite})).json()
    after = await scraped(client)
    passed = str(held == 6).lower()
    assert grown(before, after, "grades_total") == {named("grades_total", suite=suite, passed=passed): 1}
    assert sum(row["passed"] for row in grade["checks"]) == held
    assert grown(before, after, "grade_rows_total") == {
        named("grade_rows_total", suite=suite, row=row["id"], passed=str(row["passed"]).lower()): 1
        for row in grade["checks"]
    }
    duration = "grade_duration_seconds"
    assert grown(before, after, f"{duration}_count") == {named(f"{duration}_count", suite=suite): 1}
    [seconds] = grown(before, after, f"{duration}_sum").values()
    assert seconds * 1000 == pytest.approx(grade["duration_ms"], abs=0.001)
    assert grown(before, after, "executions_total") == {}


async def test_what_was_refused_as_invalid_did_not_run(client: httpx.AsyncClient) -> None:
    before = await scraped(client)
    await client.post("/execute", json={"expression": "1", "timeout_s": 31})
    await client.post("/grade", json={"code": "x", "seed": 7})
    names = ("executions_total", "grades_total", "refusals_total", "sandbox_faults_total")
    assert grown(before, await scraped(client), *names) == {}


async def test_a_fault_is_counted_and_is_no_execution_and_no_grade(inside: httpx.AsyncClient) -> None:
    episode = (await inside.post("/episodes", json={"suite": "classic"})).json()["id"]
    before = await scraped(inside)
    answers = [
        await inside.post("/execute", json={"expression": "1"}),
        await inside.post("/grade", json={"code": ORACLE}),
        await inside.post("/trace", json={"code": ORACLE}),
        await inside.post(f"/episodes/{episode}/tools/submit_code", json={"code": ORACLE}),
    ]
    assert [answer.status_code for answer in answers] == [500, 500, 500, 200]
    after = await scraped(inside)
    names = ("executions_total", "grades_total", "sandbox_faults_total", "episodes_total")
    assert grown(before, after, *names) == {"sandbox_faults_total{}": 4, named("episodes_total", outcome="fault"): 1}


# What is refused


@pytest.mark.timed
async def test_a_full_service_counts_whom_it_refuses_and_answers_the_scraper(few: httpx.AsyncClient) -> None:
    episode = (await few.post("/reset", json={})).json()["metadata"]["session_id"]
    before = await scraped(few)
    slow = {"expression": "import time; time.sleep(1)"}
    waiting = [asyncio.create_task(few.post("/execute", json=slow)) for _ in range(2)]
    await asyncio.sleep(0.3)
    started = time.perf_counter()
    full = await scraped(few)
    assert time.perf_counter() - started < 0.3
    assert full["requests_in_flight{}"] == full["requests_limit{}"] == 2
    assert full["sandbox_queued{}"] == full["sandbox_slots{}"] == full["sandbox_processes{state=in_use}"] == 1
    step = {"type": "call_tool", "tool_name": "python_expression", "arguments": {"expression": "1"}}
    refused = [
        await few.post("/execute", json={"expression": "1"}),
        await few.post("/grade", json={"code": NAIVE}),
        await few.post("/step", params={"session_id": episode}, json={"action": step}),
        await few.post(f"/episodes/{episode}/tools/submit_code", json={"code": NAIVE}),
    ]
    assert [answer.status_code for answer in refused] == [503] * 4
    assert [(await answer).status_code for answer in waiting] == [200, 200]
    after = await scraped(few)
    assert grown(before, after, "refusals_total") == {named("refusals_total", reason="full"): 4}
    assert grown(before, after, "executions_total") == {named("executions_total", status="ok"): 2}
    assert after["requests_in_flight{}"] == after["sandbox_queued{}"] == after["sandbox_processes{state=in_use}"] == 0
    waited = named("execution_duration_seconds_bucket", le="1.0")
    assert (after[waited], after["execution_duration_seconds_bucket{le=2.5}"]) == (0, 2)
    await few.delete(f"/episodes/{episode}")


async def test_one_episode_too_many_is_counted_and_so_is_who_is_forgotten(few: httpx.AsyncClient) -> None:
    before = await scraped(few)
    (await few.post("/episodes", json={})).raise_for_status()
    refused = [await few.post(path, json={}) for path in ("/episodes", "/reset", "/seed_session")]
    assert {answer.status_code for answer in refused} == {503}
    after = await scraped(few)
    assert grown(before, after, "refusals_total") == {named("refusals_total", reason="capacity"): 3}
    assert after["episodes_running{}"] == after["episodes_limit{}"] == 1
    await asyncio.sleep(1.2)
    assert (await scraped(few))["episodes_running{}"] == 0
    ended = grown(before, await scraped(few), "episodes_total")
    assert ended == {named("episodes_total", outcome="abandoned"): 1}


async def test_a_service_that_drains_counts_whom_it_refuses(app: FastAPI, inside: httpx.AsyncClient) -> None:
    async with app.router.lifespan_context(app):
        assert (await inside.post("/execute", json={"expression": "1"})).status_code == 200
    before = await scraped(inside)
    assert (await inside.post("/execute", json={"expression": "1"})).status_code == 503
    assert grown(before, await scraped(inside), "refusals_total") == {named("refusals_total", reason="draining"): 1}


# Episodes


async def test_an_episode_is_counted_once_when_it_ends(client: httpx.AsyncClient) -> None:
    before = await scraped(client)

    async def begin(**options: object) -> str:
        opened = await client.post("/episodes", json={"suite": "classic", **options})
        return f"/episodes/{opened.raise_for_status().json()['id']}"

    submitted, stepped, timed, closed, kept = [
        await begin(**options) for options in ({}, {"step_limit": 1}, {"time_limit_s": 0.05}, {}, {})
    ]
    running = await scraped(client)
    assert running["episodes_running{}"] - before["episodes_running{}"] == 5
    assert grown(before, running, "episodes_total") == {}
    await client.post(f"{submitted}/tools/submit_code", json={"code": NAIVE})
    await client.post(f"{stepped}/tools/python_expression", json={"expression": "1"})
    await asyncio.sleep(0.1)
    assert (await client.get(timed)).json()["status"] == "time_limit"
    for path in (submitted, stepped, timed, closed):
        await client.delete(path)
    after = await scraped(client)
    assert grown(before, after, "episodes_total") == {
        named("episodes_total", outcome=outcome): 1
        for outcome in ("submitted", "step_limit", "time_limit", "abandoned")
    }
    assert after["episodes_running{}"] - before["episodes_running{}"] == 1
    await client.delete(kept)


async def test_an_episode_that_is_begun_anew_has_ended_before(client: httpx.AsyncClient) -> None:
    session = (await client.post("/reset", json={})).json()["metadata"]["session_id"]
    before = await scraped(client)
    (await client.post("/reset", params={"session_id": session}, json={})).raise_for_status()
    after = await scraped(client)
    assert grown(before, after, "episodes_total") == {named("episodes_total", outcome="abandoned"): 1}
    assert after["episodes_running{}"] == before["episodes_running{}"]
    await client.delete(f"/episodes/{session}")


async def test_an_episode_whose_time_is_over_is_found_by_the_scraper(client: httpx.AsyncClient) -> None:
    before = await scraped(client)
    episode = (await client.post("/episodes", json={"time_limit_s": 0.05})).json()["id"]
    await asyncio.sleep(0.1)
    await scraped(client)
    after = await scraped(client)
    assert grown(before, after, "episodes_total") == {named("episodes_total", outcome="time_limit"): 1}
    await client.delete(f"/episodes/{episode}")


async def test_nothing_of_an_episode_can_be_read_in_them(client: httpx.AsyncClient) -> None:
    seed = 1_876_543_210
    episode = (await client.post("/episodes", json={"seed": seed})).json()["id"]
    await client.post(f"/episodes/{episode}/tools/python_expression", json={"expression": "'wanted-by-the-model'"})
    await client.post(f"/episodes/{episode}/tools/wanted-by-the-model", json={"code": "1"})
    await client.post(f"/episodes/{episode}/tools/submit_code", json={"code": f"{NAIVE} # wanted-by-the-model"})
    text = (await client.get("/metrics")).text
    assert not [told for told in (episode, str(seed), "wanted") if told in text]
    assert 'route="/episodes/{episode_id}/tools/{tool}"' in text
    await client.delete(f"/episodes/{episode}")


# HTTP


def request(method: str, route: str, status: int) -> str:
    return named("http_requests_total", method=method, route=route, status=str(status))


async def test_requests_are_counted_by_method_route_and_status(client: httpx.AsyncClient) -> None:
    before = await scraped(client)
    for method, path in (
        ("GET", "/task?format=openai"), ("GET", "/task?format=none"), ("HEAD", "/task"), ("OPTIONS", "/task"),
        ("PROPFIND", "/task"), ("GET", "/episodes/none"), ("GET", "/episodes/other"), ("GET", "/episodes/a/b"),
        ("GET", "/ws"), ("GET", "/openapi.json"), ("GET", "/task/"), ("GET", "/{path}"), ("GET", "/page/none.js"),
    ):  # fmt: skip
        await client.request(method, path)
    after = await scraped(client)
    assert grown(before, after, "http_requests_total") == {
        request("GET", "/task", 200): 1,
        request("GET", "/task", 422): 1,
        request("HEAD", "/task", 405): 1,
        request("OPTIONS", "/task", 405): 1,
        request("other", "/task", 405): 1,
        request("GET", "/episodes/{episode_id}", 404): 2,
        request("GET", "other", 404): 4,
        request("GET", "/openapi.json", 200): 1,
        request("GET", "/page/{path}", 404): 1,
        request("GET", "/metrics", 200): 1,
    }
    assert grown(before, after, "http_request_duration_seconds_count") == {
        named("http_request_duration_seconds_count", route=route): count
        for route, count in {
            "/task": 5, "/episodes/{episode_id}": 2, "other": 4, "/openapi.json": 1, "/page/{path}": 1, "/metrics": 1
        }.items()
    }  # fmt: skip


async def test_a_flood_of_unknown_paths_adds_no_series(client: httpx.AsyncClient) -> None:
    await client.get("/nowhere")
    await scraped(client)  # which has a series of its own from then on
    before = await scraped(client)
    choose = random.Random(7)
    sent: Counter[str] = Counter()
    for number in range(200):
        method = choose.choice([*USUAL, "PROPFIND", "REPORT", "LOCK", "PURGE"])
        path = "/".join(choose.choice(["task", "", "%00", "ü", "{tool}", f"{number}"]) for _ in range(3))
        answer = await client.request(method, f"/{number}/{path}")
        assert answer.status_code == 404
        sent[method if method in USUAL else "other"] += 1
    after = await scraped(client)
    assert after.keys() == before.keys()
    assert grown(before, after, "http_requests_total") == {
        **{request(method, "other", 404): count for method, count in sent.items()},
        request("GET", "/metrics", 200): 1,
    }


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_counted_for_its_route(client: httpx.AsyncClient, chunked: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(16):
            yield b"#" * 65536

    before = await scraped(client)
    answer = await client.post("/grade", content=parts() if chunked else b"#" * (1 << 20))
    assert answer.status_code == 413
    refused = request("POST", "/grade", 413)
    after = await scraped_when(client, refused, before.get(refused, 0) + 1)
    grew = grown(before, after, "http_requests_total")
    del grew[request("GET", "/metrics", 200)]
    assert grew == {refused: 1}


async def test_a_crash_counts_as_500_and_a_stream_until_its_end(app: FastAPI, inside: httpx.AsyncClient) -> None:
    async def parts(*, crash: bool) -> AsyncIterator[str]:
        yield "first"
        await asyncio.sleep(0.3)
        if crash:
            raise RuntimeError("halfway")

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("nobody expected this")

    @app.get("/streamed")
    async def streamed(*, crash: bool) -> StreamingResponse:
        return StreamingResponse(parts(crash=crash))

    assert (await inside.get("/broken")).status_code == 500
    for crash in (False, True):
        await inside.get("/streamed", params={"crash": crash})
    found = await scraped(inside)
    for route, status in (("/broken", 500), ("/streamed", 200), ("/streamed", 500)):
        assert found[request("GET", route, status)] == 1
    assert found[named("http_request_duration_seconds_sum", route="/broken")] < 0.3
    assert 0.6 <= found[named("http_request_duration_seconds_sum", route="/streamed")] < 2


async def test_two_apps_of_one_process_share_nothing(inside: httpx.AsyncClient) -> None:
    async with in_process(create_app(Settings())) as other:
        await inside.get("/nowhere")
        key = request("GET", "other", 404)
        assert ((await scraped(inside))[key], (await scraped(other))[key]) == (1, 0)


async def test_open_websockets_are_counted_and_refused_ones_are_not(
    service: ServiceProcess, client: httpx.AsyncClient
) -> None:
    url = service.url.replace("http://", "ws://") + "/ws"
    with pytest.raises(InvalidStatus):
        await connect(url, additional_headers={"origin": "http://elsewhere.example"})
    assert (await scraped(client))["websockets_open{}"] == 0
    async with connect(url) as first, connect(url):
        await first.send('{"type": "state"}')
        await first.recv()
        assert (await scraped(client))["websockets_open{}"] == 2
    assert (await scraped_when(client, "websockets_open{}", 0))["websockets_open{}"] == 0
