"""Who may call, how much at a time, and what becomes of calls that nobody waits for. Against the real service."""

import asyncio
import base64
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.types import Message, Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service.access import Access, ApiToken
from service.api.callers import Callers
from service.api.problems import BodyLimit
from service.app import create_app
from service.errors import UnauthorizedError
from service.protocols.nemo_gym.session import cookie_header
from service.settings import Settings
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


def basic(credentials: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


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
        basic(":"),
        basic(f"{TOKEN}:{OLD}"),
        basic(f"{TOKEN}x:"),
        {"x-api-key": OLD},
        {"x-api-key": f"Bearer {TOKEN}"},
        {"x-api-key": TOKEN, **bearer(OLD)},
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
    assert refused["detail"] in {
        "This service takes calls with a token only: send it as `Authorization: Bearer …`.",
        "What was sent as `Authorization` is no token of this service, or its time is over.",
    }


@pytest.mark.parametrize("token", [TOKEN, OTHER, EVALUATION])
async def test_every_token_that_holds_opens_the_service(client: httpx.AsyncClient, token: str) -> None:
    assert (await client.get("/task", headers=bearer(token))).status_code == 200
    graded = await client.post("/grade", json={"code": ""}, headers=bearer(token))
    assert graded.json()["score"] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"bearer {EVALUATION}"},
        basic(f"{EVALUATION}:"),
        basic(f"me:{EVALUATION}"),
        {"x-api-key": EVALUATION},
    ],
)
async def test_a_token_may_come_as_clients_can_send_it(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """By way of an address such as http://TOKEN@host, or as ORS' clients have it."""
    body = {"code": "", "suite": "hardened", "seed": 1_500_000_000}
    assert (await client.post("/grade", json=body, headers=headers)).status_code == 200


async def test_a_call_leaves_nothing_of_its_caller_with_the_task_that_made_it() -> None:
    """In one process with the service, a client may make all of its calls in one task."""
    app = create_app(Settings(api_tokens=SecretStr(TOKEN)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        before = dict(copy_context())
        for path in ("/episodes", "/nothing"):
            assert (await client.post(path, json={}, headers=bearer(TOKEN))).headers["x-request-id"]
            assert dict(copy_context()) == before


async def test_test_seeds_take_the_evaluation_token_all_the_same(client: httpx.AsyncClient) -> None:
    body = {"code": "", "suite": "hardened", "seed": 1_500_000_000}
    problem_of(await client.post("/grade", json=body, headers=bearer(TOKEN)), 403)
    assert (await client.post("/grade", json=body, headers=bearer(EVALUATION))).status_code == 200


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/health", "/ready", "/metrics", "/openapi.json", "/docs"])
async def test_what_tells_nothing_of_calls_takes_no_token(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


async def test_the_openapi_document_says_what_takes_a_token(client: httpx.AsyncClient, service: ServiceProcess) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    paths = {path: next(iter(methods.values())) for path, methods in document["paths"].items()}
    guarded = {path for path, operation in paths.items() if operation.get("security") == [{"token": []}]}
    assert guarded == {path for path, operation in paths.items() if "401" in operation["responses"]}
    assert paths.keys() - guarded == {"/health", "/ready", "/metrics"}
    assert "429" in paths["/grade"]["responses"]
    assert "429" not in paths["/task"]["responses"]
    async with httpx.AsyncClient(base_url=service.url) as open_to_all:
        text = (await open_to_all.get("/openapi.json")).text
    assert "securitySchemes" not in text
    assert '"401"' not in text


async def test_a_socket_takes_a_token_too(guarded: ServiceProcess) -> None:
    address = guarded.url.replace("http://", "ws://") + "/ws"
    with pytest.raises(InvalidStatus) as refused:
        await connect(address)
    assert refused.value.response.status_code == 401
    async with connect(address, additional_headers=bearer(TOKEN)) as socket:
        await socket.send(json.dumps({"type": "state"}))
        assert json.loads(await socket.recv())["type"] == "state"


async def test_a_socket_whose_token_ends_is_closed_with_its_next_message() -> None:
    now, heard, sent = 0.0, [], []
    access = Access(None, [ApiToken(SecretStr(TOKEN), until=1.0)], clock=lambda: now)

    async def listen(_: Scope, receive: Receive, __: Send) -> None:
        while True:
            heard.append((await receive())["type"])
            if heard[-1] == "websocket.disconnect":
                return

    async def receive() -> Message:
        nonlocal now
        now += 0.4
        return {"type": "websocket.connect" if not heard else "websocket.receive", "text": "{}"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "headers": [(b"authorization", f"Bearer {TOKEN}".encode())]}
    async with asyncio.timeout(5):
        await Callers(listen, access=access, public=(), public_folders=())(scope, receive, send)
    assert heard == ["websocket.connect", "websocket.receive", "websocket.disconnect"]
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


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
    fastest = dict.fromkeys(guesses, math.inf)
    for number in range(60):  # the fastest of many: what else the machine does disturbs one as much as the other
        for name, guess in guesses.items():
            started = time.perf_counter()
            for _ in range(500):
                with contextlib.suppress(UnauthorizedError):
                    access.check_caller(f"Bearer {guess}")
            fastest[name] = min(time.perf_counter() - started, fastest[name])
        if number > 4 and max(fastest.values()) < 1.1 * min(fastest.values()):
            return
    raise AssertionError(fastest)


ON_AN_EPISODE: dict[str, Callable[[str], dict[str, Any]]] = {
    "look": lambda key: {"method": "GET", "url": f"/episodes/{key}"},
    "step": lambda key: {"url": f"/episodes/{key}/tools/python_expression", "json": {"expression": "1"}},
    "submit": lambda key: {"url": f"/episodes/{key}/tools/submit_code", "json": {"code": ""}},
    "close": lambda key: {"method": "DELETE", "url": f"/episodes/{key}"},
    "openenv state": lambda key: {"method": "GET", "url": f"/state?session_id={key}"},
    "openenv reset": lambda key: {"url": f"/reset?session_id={key}", "json": {}},
    "openenv step": lambda key: {
        "url": f"/step?session_id={key}",
        "json": {"action": {"type": "call_tool", "tool_name": "submit_code", "arguments": {"code": ""}}},
    },
    "ors ping": lambda key: {"url": "/ping", "headers": {"x-session-id": key}},
    "ors prompt": lambda key: {"method": "GET", "url": "/prompt", "headers": {"x-session-id": key}},
    "ors call": lambda key: {
        "url": "/call",
        "headers": {"x-session-id": key},
        "json": {"name": "submit_code", "input": {"code": ""}},
    },
    "ors delete": lambda key: {"url": "/delete", "headers": {"x-session-id": key}},
    "nemo gym": lambda key: {"url": "/submit_code", "headers": {"cookie": cookie_header(key)}, "json": {"code": ""}},
    "mcp": lambda key: {
        "url": "/mcp",
        "headers": {"mcp-session-id": key},
        "json": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "submit_code"}},
    },
    "mcp close": lambda key: {"method": "DELETE", "url": "/mcp", "headers": {"mcp-session-id": key}},
}


@pytest.mark.parametrize("act", ON_AN_EPISODE)
async def test_another_callers_episode_is_as_one_that_there_never_was(client: httpx.AsyncClient, act: str) -> None:
    episode = (await client.post("/episodes", json={}, headers=bearer(TOKEN))).json()["id"]
    answers = []
    for key in (episode, "0" * len(episode)):
        asked = {"method": "POST", **ON_AN_EPISODE[act](key)}
        asked["headers"] = {**asked.get("headers", {}), **bearer(OTHER)}
        answer = await client.request(**asked)
        told = {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}}
        client.cookies.clear()
        answers.append((answer.status_code, str(told).replace(key, "ID"), answer.text.replace(key, "ID")))
    assert answers[0] == answers[1]
    assert answers[0][0] == (200 if act == "ors delete" else 404)
    seen = (await client.get(f"/episodes/{episode}", headers=bearer(TOKEN))).json()
    assert (seen["status"], seen["steps"]) == ("running", 0)


async def test_another_callers_episode_is_out_of_a_sockets_reach(guarded: ServiceProcess) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, timeout=30) as client:
        episode = (await client.post("/episodes", json={}, headers=bearer(TOKEN))).json()["id"]
    answers = []
    for key in (episode, "0" * len(episode)):
        address = f"{guarded.url.replace('http://', 'ws://')}/ws?session_id={key}"
        async with connect(address, additional_headers=bearer(OTHER)) as socket:
            answers.append(await asyncio.wait_for(socket.recv(), 10))
    assert answers[0] == answers[1]
    assert json.loads(answers[0])["data"]["code"] == "SESSION_ERROR"


async def test_one_caller_cannot_take_every_place(client: httpx.AsyncClient) -> None:
    hanging = [asyncio.create_task(client.post("/execute", json=HANGS, headers=bearer(TOKEN))) for _ in range(2)]
    async with asyncio.timeout(10):
        while (await client.get("/health")).json()["capacity"]["requests"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    refused = await client.post("/execute", json={"expression": "1"}, headers=bearer(TOKEN))
    assert problem_of(refused, 429)["code"] == "client_share"
    assert refused.headers["retry-after"] == "1"
    session = (await client.post("/create_session", headers=bearer(TOKEN))).text.split("data: ")[1].split()[0]
    of_ors = {"x-session-id": session, **bearer(TOKEN)}
    (await client.post("/create", json={"split": "train", "index": 0}, headers=of_ors)).raise_for_status()
    step = {"name": "python_expression", "input": {"expression": "1"}}
    assert (await client.post("/call", json=step, headers=of_ors)).status_code == 429
    assert (await client.post("/execute", json={"expression": "1"}, headers=bearer(OTHER))).json()["result"] == "1"
    assert [(await each).json()["status"] for each in hanging] == ["timeout"] * 2
    assert (await client.post("/execute", json={"expression": "1"}, headers=bearer(TOKEN))).json()["result"] == "1"
    text = (await client.get("/metrics")).text
    assert 'gauntlet_refusals_total{reason="share"} 2.0' in text


async def test_one_caller_cannot_take_the_places_of_another_ones_episodes() -> None:
    settings = {"GAUNTLET_API_TOKENS": f"{TOKEN},{OTHER}", "GAUNTLET_CLIENT_EPISODES": "2", "GAUNTLET_EPISODES": "4"}
    with running_service(**settings) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            for token in (TOKEN, OTHER):
                for path, opened in (("/episodes", 201), ("/reset", 200)):
                    assert (await client.post(path, json={}, headers=bearer(token))).status_code == opened
                for path in ("/episodes", "/reset", "/seed_session"):
                    refused = await client.post(path, json={}, headers=bearer(token))
                    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5"), path
                    assert refused.json()["code"] == "client_share"
            metrics = (await client.get("/metrics")).text
            assert 'gauntlet_refusals_total{reason="share"} 6.0' in metrics


@pytest.mark.timed
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


async def test_a_caller_who_has_sent_more_before_it_goes_away_frees_its_place_all_the_same(
    service: ServiceProcess,
) -> None:
    body = json.dumps({"expression": "while True: pass", "timeout_s": 20.0}).encode()
    head = b"POST /execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    asked = head % len(body) + body
    for pieces in ([asked, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"], [asked + asked], [asked, asked[:-9]]):
        _, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rpartition(":")[2]))
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.2)
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            assert (await client.get("/health")).json()["capacity"]["requests"] == 1
            writer.transport.abort()
            async with asyncio.timeout(1):
                while (await client.get("/health")).json()["capacity"]["requests"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)


async def test_a_request_before_the_last_was_answered_is_to_be_sent_again(service: ServiceProcess) -> None:
    asked = b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rpartition(":")[2]))
    writer.write(asked * 5)
    async with asyncio.timeout(5):
        answers = await reader.read()
    writer.close()
    assert answers.count(b"HTTP/1.1 200 OK") == 1
    assert b"connection: close" in answers.lower()


async def test_a_call_that_is_not_done_in_the_time_of_the_drain_is_told_to_ask_again() -> None:
    with running_service(GAUNTLET_DRAIN_S="1", GAUNTLET_WALL_TIME_S="20", GAUNTLET_CPU_TIME_S="20") as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            calling = asyncio.create_task(client.post("/grade", json={"code": "while True: pass"}))
            await asyncio.sleep(0.5)
            service.process.terminate()
            cut = problem_of(await calling, 503)
            assert cut["code"] == "overloaded"
            assert (await calling).headers["retry-after"] == "1"
        assert service.process.wait(timeout=10) == 0


@pytest.mark.parametrize(("size", "at_a_time"), [(5000, 2), (1000, 6)])
async def test_large_bodies_are_worked_on_two_at_a_time(size: int, at_a_time: int) -> None:
    working: list[int] = []
    most = 0

    async def work(_: Scope, __: Receive, ___: Send) -> None:
        nonlocal most
        working.append(1)
        most = max(most, len(working))
        await asyncio.sleep(0.05)
        working.pop()

    async def receive() -> Message:
        return {"type": "http.request", "body": b" " * size}

    async def send(_: Message) -> None:
        raise AssertionError

    limited = BodyLimit(work, code_bytes=10, larger={"/verify": 5000})
    scope = {"type": "http", "path": "/verify", "headers": []}
    await asyncio.gather(*(limited(scope, receive, send) for _ in range(6)))
    assert most == at_a_time


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
