"""Who may call, how much at a time, and what becomes of calls that nobody waits for. Against the real service."""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service.access import Access, ApiToken
from service.errors import UnauthorizedError
from tests.conftest import ServiceProcess, running_service
from tests.service.problems import problem_of

pytestmark = pytest.mark.anyio

TOKEN, OTHER, OLD = "a-token-of-some-trainer", "a-token-of-another-one", "a-token-that-is-over"
EVALUATION = "the-evaluation-token-itself"
HANGS = {"expression": "while True: pass", "timeout_s": 4.0}
CALLS = [
    ("GET", "/task"), ("POST", "/execute"), ("POST", "/grade"), ("POST", "/grade/rows"), ("POST", "/trace"),
    ("POST", "/episodes"), ("GET", "/episodes/0123"), ("POST", "/episodes/0123/tools/submit_code"), ("POST", "/mcp"),
    ("POST", "/reset"), ("POST", "/seed_session"), ("GET", "/list_environments"), ("GET", "/nothing"),
]  # fmt: skip


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServiceProcess]:
    tokens = f"{TOKEN},{OTHER}@2999-01-01,{OLD}@2026-01-01"
    with running_service(
        GAUNTLET_API_TOKENS=tokens, GAUNTLET_EVALUATION_TOKEN=EVALUATION, GAUNTLET_CLIENT_REQUESTS="2"
    ) as service:
        yield service


@pytest.fixture
async def client(guarded: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=guarded.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        bearer("a-token-of-some-traine"),
        bearer(f"{TOKEN}x"),
        bearer(f"{OTHER}@2999-01-01"),
        bearer(f"{TOKEN},{OTHER}"),
        bearer(OLD),
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer  {TOKEN}"},
    ],
)
@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_without_a_token_that_holds_there_is_nothing(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> None:
    response = await client.request(method, path, headers=headers, content=b"not even looked at")
    refused = problem_of(response, 401)
    assert refused["code"] == "unauthorized"
    assert response.headers["www-authenticate"] == "Bearer"
    assert "token" not in re.sub(r"with a token only", "", refused["detail"])


@pytest.mark.parametrize("token", [TOKEN, OTHER, EVALUATION])
async def test_every_token_that_holds_opens_the_service(client: httpx.AsyncClient, token: str) -> None:
    assert (await client.get("/task", headers=bearer(token))).status_code == 200
    graded = await client.post("/grade", json={"code": ""}, headers=bearer(token))
    assert graded.json()["score"] == 0


async def test_test_seeds_take_the_evaluation_token_all_the_same(client: httpx.AsyncClient) -> None:
    body = {"code": "", "suite": "hardened", "seed": 1_500_000_000}
    problem_of(await client.post("/grade", json=body, headers=bearer(TOKEN)), 403)
    assert (await client.post("/grade", json=body, headers=bearer(EVALUATION))).status_code == 200


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/health", "/ready", "/metrics", "/openapi.json", "/docs"])
async def test_what_tells_nothing_of_calls_takes_no_token(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


async def test_a_socket_takes_a_token_too(guarded: ServiceProcess) -> None:
    address = guarded.url.replace("http://", "ws://") + "/ws"
    with pytest.raises(InvalidStatus) as refused:
        await connect(address)
    assert refused.value.response.status_code == 401
    async with connect(address, additional_headers=bearer(TOKEN)) as socket:
        await socket.send(json.dumps({"type": "state"}))
        assert json.loads(await socket.recv())["type"] == "state"


def test_a_token_holds_until_its_day_begins() -> None:
    token = ApiToken.read(f"{TOKEN}@2027-01-31")
    begins = datetime(2027, 1, 31, tzinfo=UTC).timestamp()
    now = begins - 1
    access = Access(None, [token], clock=lambda: now)
    assert access.check_caller(f"Bearer {TOKEN}")
    now = begins
    with pytest.raises(UnauthorizedError):
        access.check_caller(f"Bearer {TOKEN}")


def test_no_token_is_printed_by_accident() -> None:
    assert TOKEN not in repr(ApiToken(SecretStr(TOKEN)))


def test_time_tells_nothing_of_a_token() -> None:
    """Digests are compared, all of them each time: the first byte or the last one wrong takes as long."""
    access = Access(SecretStr(EVALUATION), [ApiToken.read(f"{TOKEN}-{each}") for each in range(20)])
    guesses = {"first": f"X{TOKEN[1:]}-0", "last": f"{TOKEN}-X", "short": "X", "of the last": f"{TOKEN}-1X"}
    fastest: dict[str, float] = {}
    for _ in range(7):
        for name, guess in guesses.items():
            started = time.perf_counter()
            for _ in range(500):
                with contextlib.suppress(UnauthorizedError):
                    access.check_caller(f"Bearer {guess}")
            taken = time.perf_counter() - started
            fastest[name] = min(taken, fastest.get(name, taken))
    assert max(fastest.values()) < 1.15 * min(fastest.values()), fastest


async def test_one_caller_cannot_take_every_place(client: httpx.AsyncClient) -> None:
    hanging = [asyncio.create_task(client.post("/execute", json=HANGS, headers=bearer(TOKEN))) for _ in range(2)]
    async with asyncio.timeout(10):
        while (await client.get("/health")).json()["capacity"]["requests"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    refused = await client.post("/execute", json={"expression": "1"}, headers=bearer(TOKEN))
    assert problem_of(refused, 429)["code"] == "client_share"
    assert refused.headers["retry-after"] == "1"
    assert (await client.post("/execute", json={"expression": "1"}, headers=bearer(OTHER))).json()["result"] == "1"
    assert [(await each).json()["status"] for each in hanging] == ["timeout"] * 2
    assert (await client.post("/execute", json={"expression": "1"}, headers=bearer(TOKEN))).json()["result"] == "1"
    text = (await client.get("/metrics")).text
    assert 'gauntlet_refusals_total{reason="share"} 1.0' in text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/execute", {"expression": "while True: pass", "timeout_s": 20.0}),
        ("/grade", {"code": "while True: pass"}),
        ("/trace", {"code": "while True: pass"}),
    ],
)
async def test_a_caller_who_goes_away_frees_its_place_at_once(path: str, body: dict[str, object]) -> None:
    with running_service(GAUNTLET_WALL_TIME_S="20", GAUNTLET_CPU_TIME_S="20", GAUNTLET_CONCURRENCY="1") as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            calling = asyncio.create_task(client.post(path, json=body))
            await asyncio.sleep(0.5)
            assert (await client.get("/health")).json()["capacity"]["processes"] == 1
            calling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await calling
            started = time.perf_counter()
            assert (await client.post("/execute", json={"expression": "1"})).json()["result"] == "1"
            assert time.perf_counter() - started < 1
            capacity = (await client.get("/health")).json()["capacity"]
            assert (capacity["requests"], capacity["processes"]) == (0, 0)


async def test_a_submission_is_graded_though_its_client_has_gone(service: ServiceProcess) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        episode = (await client.post("/episodes", json={"suite": "classic"})).json()["id"]
        code = {"code": "import time\ntime.sleep(0.5)\ndef process_batch(events, state): return {}"}
        calling = asyncio.create_task(client.post(f"/episodes/{episode}/tools/submit_code", json=code))
        await asyncio.sleep(0.2)
        calling.cancel()
        async with asyncio.timeout(20):
            while not (view := (await client.get(f"/episodes/{episode}")).json())["done"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (view["status"], view["reward"]) == ("submitted", 0.0)


async def test_a_step_whose_client_has_gone_costs_nothing(service: ServiceProcess) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        episode = (await client.post("/episodes", json={})).json()["id"]
        path = f"/episodes/{episode}/tools/python_expression"
        calling = asyncio.create_task(client.post(path, json={"expression": "while True: pass"}))
        await asyncio.sleep(0.3)
        assert (await client.get(f"/episodes/{episode}")).json()["steps"] == 1
        calling.cancel()
        await asyncio.sleep(0.2)
        assert (await client.get(f"/episodes/{episode}")).json()["steps"] == 0


async def test_a_body_in_many_small_pieces_is_read_whole(service: ServiceProcess) -> None:
    body = json.dumps({"expression": f"len('{'x' * 100_000}')"}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10):
            yield body[start : start + 10]

    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        headers = {"content-type": "application/json"}
        assert (await client.post("/execute", content=pieces(), headers=headers)).json()["result"] == "100000"
