"""What the page calls: grades row by row, and traces. Against the real service."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.access import Access
from service.api.playground import playground_routes
from service.api.problems import install
from service.errors import SandboxError
from service.schemas import CheckRow
from tests.conftest import running_service
from tests.grading.corpus import HANGS_IN_THE_FLOOD, HONEST
from tests.service.problems import problem_of

pytestmark = pytest.mark.anyio

KILLED = "import os\nos.kill(os.getpid(), 9)\n"


async def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in response.aiter_lines()]


@pytest.mark.parametrize("inputs", [{"suite": "classic"}, {"suite": "hardened", "seed": 11}])
async def test_rows_come_first_and_the_grade_last(client: httpx.AsyncClient, inputs: dict[str, Any]) -> None:
    body = {"code": HONEST, **inputs}
    async with client.stream("POST", "/grade/rows", json=body) as response:
        assert response.headers["content-type"] == "application/jsonl"
        *rows, last = await lines_of(response)
    grade = (await client.post("/grade", json=body)).json()
    del grade["duration_ms"], last["grade"]["duration_ms"]
    assert last == {"grade": grade}
    assert [list(line) for line in rows] == [["row"]] * 5
    assert all(line["row"] in grade["checks"] for line in rows)


async def test_a_row_is_answered_while_others_are_still_judged() -> None:
    with running_service(GAUNTLET_WALL_TIME_S="2") as service:
        async with (
            httpx.AsyncClient(base_url=service.url, timeout=30) as client,
            client.stream("POST", "/grade/rows", json={"code": HANGS_IN_THE_FLOOD}) as response,
        ):
            seen = {}
            started = asyncio.get_running_loop().time()
            async for line in response.aiter_lines():
                for kind, value in json.loads(line).items():
                    seen[value.get("id", kind)] = asyncio.get_running_loop().time() - started
    assert seen["tier3"] > max(seen[row] for row in ("tier1", "tier2_flat", "tier2_heavy_tail")) + 0.5
    assert list(seen)[-1] == "grade"


async def test_who_goes_away_ends_the_grade() -> None:
    with running_service(GAUNTLET_WALL_TIME_S="20", GAUNTLET_CPU_TIME_S="20") as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            async with client.stream("POST", "/grade/rows", json={"code": HANGS_IN_THE_FLOOD}) as response:
                await anext(response.aiter_lines())
                assert (await client.get("/health")).json()["capacity"]["requests"] == 1
            for _ in range(100):
                capacity = (await client.get("/health")).json()["capacity"]
                if capacity["requests"] == capacity["processes"] == 0:
                    return
                await asyncio.sleep(0.05)
    pytest.fail(f"still under way: {capacity}")


async def test_who_goes_away_before_the_first_row_ends_the_grade(capfd: pytest.CaptureFixture[str]) -> None:
    with running_service(GAUNTLET_WALL_TIME_S="20", GAUNTLET_CPU_TIME_S="20") as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            hanging = asyncio.create_task(client.post("/grade/rows", json={"code": "while True: pass"}))
            await until_requests(client, 1)
            hanging.cancel()
            await until_requests(client, 0)
            assert (await client.get("/health")).json()["capacity"]["processes"] == 0
            assert (await client.post("/grade", json={"code": HONEST})).json()["passed"]
    assert capfd.readouterr().err == ""


async def until_requests(client: httpx.AsyncClient, count: int) -> None:
    for _ in range(100):
        capacity = (await client.get("/health")).json()["capacity"]
        if capacity["requests"] == count:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"still under way: {capacity}")


class Failing:
    """A gauntlet whose sandbox fails after so many rows."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    async def grade(self, _: str, *, heard: Callable[[CheckRow], None], **__: Any) -> None:
        for row in ("tier1", "tier2_flat", "tier3")[: self._rows]:
            heard(CheckRow(id=row, title="", passed=True, points=1, max_points=1, detail=""))
            await asyncio.sleep(0)
        raise SandboxError("two sandbox processes died")


@pytest.mark.parametrize("rows", [0, 1, 3])
async def test_a_fault_is_a_status_before_the_first_row_and_a_line_after_it(rows: int) -> None:
    app = FastAPI()
    install(app)
    app.include_router(playground_routes(Failing(rows), Access(None)))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        response = await client.post("/grade/rows", json={"code": ""})
    if rows == 0:
        problem_of(response, 500)
        return
    assert response.status_code == 200
    *before, last = [json.loads(line) for line in response.text.splitlines()]
    assert [list(line) for line in before] == [["row"]] * rows
    assert last["problem"]["status"] == 500
    assert "two sandbox" not in response.text


async def test_a_grade_that_is_refused_has_its_own_status() -> None:
    token = "an-evaluation-token-of-ours"
    with running_service(GAUNTLET_QUEUE="1", GAUNTLET_EVALUATION_TOKEN=token) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            test_seed = {"code": HONEST, "suite": "hardened", "seed": 1_500_000_000}
            problem_of(await client.post("/grade/rows", json=test_seed), 403)
            allowed = await client.post("/grade/rows", json=test_seed, headers={"authorization": f"Bearer {token}"})
            assert allowed.status_code == 200
            problem_of(await client.post("/grade/rows", json={"code": HONEST, "seed": 5}), 422)
            of_json = {"content-type": "application/json"}
            problem_of(await client.post("/grade/rows", content='{"code": "\\ud800"}', headers=of_json), 422)
            problem_of(await client.post("/grade/rows", json={"code": HONEST, "audit": True}), 422)
            hanging = asyncio.create_task(
                client.post("/execute", json={"expression": "while True: pass", "timeout_s": 2.0})
            )
            await asyncio.sleep(0.5)
            for path in ("/grade/rows", "/trace"):
                full = await client.post(path, json={"code": HONEST})
                problem_of(full, 503)
                assert full.headers["retry-after"] == "1"
            assert (await hanging).json()["status"] == "timeout"


async def test_a_trace_tells_of_the_five_public_cases(client: httpx.AsyncClient) -> None:
    trace = (await client.post("/trace", json={"code": HONEST})).json()
    assert trace["buffer_limit"] == 240
    assert {case["id"]: len(case["events"]) for case in trace["cases"]} == {
        "flood": 60, "dirty": 5, "flat": 6, "heavy_tail": 10, "sanity": 5,
    }  # fmt: skip
    assert all(case["broken"] is None for case in trace["cases"])


@pytest.mark.parametrize("code", [KILLED, "x" * 10_000, "def process_batch(e, s): return {'clean': [[]] * 10**5}"])
async def test_a_trace_of_any_code_is_a_200(client: httpx.AsyncClient, code: str) -> None:
    response = await client.post("/trace", json={"code": code})
    assert response.status_code == 200
    assert all(case["broken"] for case in response.json()["cases"])


@pytest.mark.parametrize("member", ["suite", "seed", "case"])
async def test_nothing_but_the_public_cases_can_be_traced(client: httpx.AsyncClient, member: str) -> None:
    problem_of(await client.post("/trace", json={"code": HONEST, member: "hardened"}), 422)
