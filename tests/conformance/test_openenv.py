"""The face for OpenEnv 0.10: the real clients, then what is on the wire."""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connect_sync

from service.app import create_app
from service.settings import Settings
from tests.conformance.clients import EXAMPLES, ROOT, TOKEN, client_python, last_json, run_client
from tests.conftest import ServiceProcess, running_service

pytestmark = pytest.mark.anyio

SESSIONS = 64
TEST_SEED = 1_500_000_007
AS_JSON = {"content-type": "application/json"}
NOTHING = "def process_batch(events, state):\n    return {}\n"
STEP = {"type": "step", "data": {"tool_name": "python_expression", "arguments": {"expression": "1"}}}


class Player:
    """A client that speaks the protocol by hand."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, message: object) -> dict[str, Any]:
        await self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))
        answer: dict[str, Any] = json.loads(await self.socket.recv())
        return answer

    async def reset(self, **options: Any) -> dict[str, Any]:
        return observed(await self.send({"type": "reset", "data": options}))

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        action = {"type": "call_tool", "tool_name": tool, "arguments": arguments}
        return observed(await self.send({"type": "step", "data": action}))

    async def state(self) -> dict[str, Any]:
        answer = await self.send({"type": "state"})
        assert answer["type"] == "state", answer
        state: dict[str, Any] = answer["data"]
        return state


def observed(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer.keys() == {"type", "data"}
    assert answer["type"] == "observation", answer
    data: dict[str, Any] = answer["data"]
    assert data.keys() == {"observation", "reward", "done", "metadata"}
    return data


@asynccontextmanager
async def player(url: str, session_id: str | None = None, **headers: str) -> AsyncIterator[Player]:
    query = "" if session_id is None else f"?session_id={session_id}"
    async with connect(f"{url.replace('http', 'ws', 1)}/ws{query}", additional_headers=headers) as socket:
        yield Player(socket)


async def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def capacity(url: str) -> dict[str, int]:
    told: dict[str, int] = httpx.get(f"{url}/health").json()["capacity"]
    return told


# The real clients


def test_the_generic_client_runs_an_episode_to_its_reward(
    service: ServiceProcess, graded: tuple[Path, dict[str, Any]]
) -> None:
    submission, expected = graded
    told = last_json(run_client("openenv", [str(EXAMPLES / "openenv_client.py"), str(submission)], url=service.url))
    assert {name: told[name] for name in expected} == expected
    assert told["split"] == "validation"


def test_the_mcp_client_shares_an_episode_between_its_socket_and_mcp(service: ServiceProcess, partial: Path) -> None:
    printed = run_client("openenv", [str(EXAMPLES / "openenv_mcp_client.py"), str(partial)], url=service.url)
    assert "tools: python_expression, submit_code" in printed
    assert "6.5" in printed
    told = last_json(printed)
    assert (told["reward"], told["rows"]["tier3"], told["split"]) == (0.8, 0, "validation")


def test_openenv_validate_passes_whole(service: ServiceProcess) -> None:
    command = str(client_python("openenv").with_name("openenv"))
    report = json.loads(run_client("openenv", [command, "validate", "--url", service.url, "--json"], url=service.url))
    assert report["passed"]
    assert report["summary"]["passed_count"] == report["summary"]["total_count"] == 6


def test_the_manifest_is_of_this_version() -> None:
    manifest = (ROOT / "openenv.yaml").read_text().splitlines()
    assert manifest[1:3] == ["name: resilience-gauntlet", f"version: {version('resilience-gauntlet')}"]


# An episode on the wire


async def test_a_reset_answers_the_prompt_alone_and_its_trainer_the_rest(service: ServiceProcess) -> None:
    async with player(service.url) as env:
        started = await env.reset(seed=1_000_000_007, split="validation", step_limit=3, episode_id="mine")
        assert started["observation"].keys() == {"prompt", "metadata"}  # `tools` would make MCPToolClient drop it
        assert "process_batch" in started["observation"]["prompt"]
        assert started["observation"]["metadata"] == {}
        assert (started["reward"], started["done"]) == (None, False)
        session_id, left = started["metadata"].pop("session_id"), started["metadata"].pop("time_left_s")
        assert len(session_id) == 32
        assert 3590 < left <= 3600
        assert started["metadata"] == {
            "episode_id": "mine",
            "suite": "hardened",
            "split": "validation",
            "seed": 1_000_000_007,
            "status": "running",
            "done": False,
            "reward": None,
            "grade": None,
            "rows": None,
            "steps": 0,
            "step_limit": 3,
        }


async def test_the_end_pays_once_and_tells_the_breakdown(service: ServiceProcess) -> None:
    async with player(service.url) as env:
        await env.reset(seed=7)
        tried = await env.call("python_expression", expression="print('hi')\n6 * 7")
        assert tried["observation"] == {
            "tool_name": "python_expression",
            "result": "stdout:\nhi\nresult:\n42",
            "error": None,
            "metadata": {},
        }
        assert (tried["reward"], tried["done"], tried["metadata"]["steps"]) == (None, False, 1)
        ended = await env.call("submit_code", code=NOTHING)
        assert (ended["reward"], ended["done"]) == (0.0, True)
        told = ended["metadata"]
        assert ended["observation"]["metadata"] == told
        assert (told["status"], told["reward"], told["seed"], told["split"]) == ("submitted", 0.0, 7, "train")
        assert list(told["rows"]) == ["tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity", "guardrails"]
        assert {row["id"]: row["points"] for row in told["grade"]["checks"]} == told["rows"]
        state = await env.state()
        assert (state["step_count"], state["status"], state["reward"]) == (2, "submitted", 0.0)
        again = await env.send({"type": "step", "data": {"tool_name": "submit_code", "arguments": {"code": NOTHING}}})
        assert again == {
            "type": "error",
            "data": {
                "message": "The episode has ended: its submission was graded.",
                "code": "EXECUTION_ERROR",
                "reason": "episode_finished",
            },
        }
        assert (await env.reset(suite="classic"))["metadata"]["seed"] is None
        assert (await env.call("submit_code", code=NOTHING))["metadata"]["grade"]["suite"] == "classic"


async def test_tools_are_listed_before_a_reset_and_cost_nothing(service: ServiceProcess) -> None:
    async with player(service.url) as env:
        listed = observed(await env.send({"type": "step", "data": {"type": "list_tools"}}))
        tools = listed["observation"]["tools"]
        assert [tool["name"] for tool in tools] == ["python_expression", "submit_code"]
        assert all(tool.keys() == {"name", "description", "input_schema"} for tool in tools)
        assert (await env.state())["step_count"] == 0


async def test_what_a_model_got_wrong_is_an_observation_and_costs_no_step(service: ServiceProcess) -> None:
    async with player(service.url) as env:
        await env.reset()
        unknown = await env.call("rm" * 500, path="/")
        assert unknown["observation"]["error"] == {
            "error_type": "tool_not_found",
            "message": "There is no such tool: use python_expression or submit_code.",
        }
        assert len(unknown["observation"]["tool_name"]) == 64
        wrong = await env.call("submit_code", source="x = 1")
        assert wrong["observation"]["error"] == {
            "error_type": "invalid_args",
            "message": "code: The tool takes an object with the one member 'code', a string.",
        }
        assert (wrong["observation"]["result"], wrong["reward"], wrong["done"]) == (None, None, False)
        assert (await env.state())["step_count"] == 0


@pytest.mark.parametrize(
    ("tool", "arguments", "error_type"),
    [
        ("submit_code", {"code": "\ud800"}, "invalid_args"),
        ("submit_code", {"\ud800": ""}, "invalid_args"),
        ("\ud800", {}, "tool_not_found"),
    ],
)
async def test_lone_surrogates_are_the_models_own_error(
    service: ServiceProcess, tool: str, arguments: dict[str, Any], error_type: str
) -> None:
    """An error frame would end the rollout in its client, and excuse the model from it."""
    async with player(service.url) as env, httpx.AsyncClient(base_url=service.url) as http:
        session = (await env.reset())["metadata"]["session_id"]
        action = {"type": "call_tool", "tool_name": tool, "arguments": arguments}
        posted = await http.post(
            "/step", params={"session_id": session}, content=json.dumps({"action": action}), headers=AS_JSON
        )
        for wrong in (await env.call(tool, **arguments), posted.json()):
            assert wrong["observation"]["error"]["error_type"] == error_type
            assert wrong["metadata"]["steps"] == 0


async def test_an_episode_without_a_submission_ends_unpaid(service: ServiceProcess) -> None:
    async with player(service.url) as env:
        await env.reset(step_limit=1)
        last = await env.call("python_expression", expression="1")
        assert (last["reward"], last["done"], last["metadata"]["status"]) == (0.0, True, "step_limit")
        assert (last["metadata"]["grade"], last["metadata"]["rows"]) == (None, None)
        await env.reset(time_limit_s=0.05)
        await asyncio.sleep(0.1)
        late = await env.call("submit_code", code=NOTHING)
        assert (late["reward"], late["done"], late["metadata"]["status"]) == (0.0, True, "time_limit")
        assert late["observation"]["error"] == {
            "error_type": "timeout",
            "message": "The episode has ended: its time is over.",
        }


async def test_seeds_of_the_test_split_need_the_token() -> None:
    with running_service(GAUNTLET_EVALUATION_TOKEN=TOKEN) as service:
        async with player(service.url) as env:
            for options in ({"split": "test"}, {"seed": TEST_SEED}):
                refused = await env.send({"type": "reset", "data": options})
                assert refused["data"]["code"] == "EXECUTION_ERROR"
                assert refused["data"]["reason"] == "forbidden"
            assert (await env.reset())["metadata"]["split"] == "train"
        async with player(service.url, Authorization=f"Bearer {TOKEN}") as env:
            assert (await env.reset(seed=TEST_SEED))["metadata"]["split"] == "test"


def test_a_fault_of_the_service_has_no_reward() -> None:
    """The sandbox of this service was never started."""
    app = create_app(Settings())
    with TestClient(app).websocket_connect("/ws") as socket:
        socket.send_json(STEP)
        failed = socket.receive_json()["data"]
        assert (failed["code"], failed["reason"]) == ("EXECUTION_ERROR", "sandbox_fault")
        assert failed["message"] == "The sandbox failed, which is the service's own fault. Try again."
        socket.send_json({"type": "step", "data": {"tool_name": "submit_code", "arguments": {"code": NOTHING}}})
        ended = socket.receive_json()["data"]
        assert (ended["reward"], ended["done"], ended["metadata"]["status"]) == (None, True, "fault")
        assert ended["observation"]["error"]["error_type"] == "execution_error"
        assert ended["metadata"]["rows"] is None


# Refusals


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ("{", "INVALID_JSON", "Invalid JSON: "),
        ("", "INVALID_JSON", "Invalid JSON: "),
        ("[]", "INVALID_JSON", "Invalid JSON: a message is an object"),
        ("[" * 100_000, "INVALID_JSON", "Invalid JSON: recursion limit exceeded"),
        ("[" * 800 + "]" * 800, "INVALID_JSON", "Invalid JSON: a message is an object"),
        ('{"type": ' + "[" * 800 + "]" * 800 + "}", "UNKNOWN_TYPE", "Unknown message type: [["),
        (b"\x00\x01", "INVALID_JSON", "Invalid JSON: "),
        ({"type": "jump"}, "UNKNOWN_TYPE", "Unknown message type: jump"),
        ({"type": ["step"]}, "UNKNOWN_TYPE", "Unknown message type: ['step']"),
        ({"type": "\ud800"}, "UNKNOWN_TYPE", "Unknown message type: \\ud800"),
        ({}, "UNKNOWN_TYPE", "Unknown message type: "),
        ({"type": "step", "data": {"\ud800": 1}}, "VALIDATION_ERROR", "Invalid message: "),
        ({"type": "step"}, "VALIDATION_ERROR", "Invalid message: data: Field required"),
        (
            {"type": "step", "data": []},
            "VALIDATION_ERROR",
            "Invalid message: data: Input should be a valid dictionary",
        ),
        ({"type": "step", "data": {}}, "VALIDATION_ERROR", "Invalid message: tool_name: Field required"),
        (
            {"type": "step", "data": {"tool_name": "submit_code", "code": "x"}},
            "VALIDATION_ERROR",
            "Invalid message: code: Extra inputs are not permitted",
        ),
        (
            {"type": "reset", "data": {"seed": -1}},
            "VALIDATION_ERROR",
            "Invalid message: seed: Input should be greater than or equal to 0",
        ),
        (
            {"type": "reset", "data": {"sed": 1}},
            "VALIDATION_ERROR",
            "Invalid message: sed: Extra inputs are not permitted",
        ),
        (
            {"type": "reset", "data": {"step_limit": 65}},
            "VALIDATION_ERROR",
            "Invalid message: step_limit: Input should be less than or equal to 64",
        ),
        (
            {"type": "reset", "data": {"episode_id": "x" * 256}},
            "VALIDATION_ERROR",
            "Invalid message: episode_id: String should have at most 255 characters",
        ),
    ],
)
async def test_a_frame_that_does_not_fit_is_refused_in_the_protocols_words(
    service: ServiceProcess, message: object, code: str, text: str
) -> None:
    async with player(service.url) as env:
        refused = await env.send(message)
        assert refused["type"] == "error"
        details = refused["data"]
        assert (details["code"], details["reason"]) == (code, "invalid")
        assert details["message"].startswith(text)
        if code == "VALIDATION_ERROR":
            (error,) = details["errors"]
            assert details["message"] == f"Invalid message: {'.'.join(error['loc'])}: {error['msg']}"
        assert observed(await env.send(STEP))["observation"]["result"] == "result:\n1"  # the socket goes on


async def test_a_frame_that_is_too_large_closes_the_socket(service: ServiceProcess) -> None:
    async with player(service.url) as env:
        with pytest.raises(ConnectionClosed) as closed:
            await env.call("submit_code", code="#" * (1 << 20))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    async with player(service.url) as env:
        too_long = await env.call("submit_code", code="#" * (300 << 10))
        assert too_long["observation"]["error"]["error_type"] == "invalid_args"


async def test_a_session_that_there_is_not_is_refused_and_closed(service: ServiceProcess) -> None:
    async with player(service.url, session_id="0" * 32) as env:
        refused = json.loads(await env.socket.recv())
        assert refused["type"] == "error"
        assert (refused["data"]["code"], refused["data"]["reason"]) == ("SESSION_ERROR", "episode_not_found")
        with pytest.raises(ConnectionClosed):
            await env.socket.recv()
        assert env.socket.close_code == 1000


async def test_another_sites_page_gets_no_socket(service: ServiceProcess) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        async with player(service.url, Origin="https://elsewhere.example"):
            pass
    async with player(service.url, Origin=service.url) as env:
        assert (await env.reset())["done"] is False


@pytest.mark.parametrize(
    ("headers", "status"), [({"X-Long": "y" * 9000}, 431), ({f"X-{number}": "y" for number in range(200)}, 431)]
)
async def test_a_handshake_that_is_too_large_is_answered(
    service: ServiceProcess, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with asyncio.timeout(5), player(service.url, **headers):
            pass
    assert refused.value.response.status_code == status


async def test_frames_are_not_compressed(service: ServiceProcess) -> None:
    """Half a megabyte of blanks has 600 bytes then: hundreds of frames would be in memory before one was answered."""
    async with player(service.url) as env:
        assert env.socket.response is not None
        assert "Sec-WebSocket-Extensions" not in env.socket.response.headers


async def test_an_idle_session_is_gone_until_it_is_reset() -> None:
    with running_service(GAUNTLET_EPISODE_IDLE_S="1") as service:
        async with player(service.url) as env:
            session_id = (await env.reset())["metadata"]["session_id"]
            await asyncio.sleep(1.2)
            for message in (STEP, {"type": "state"}):
                gone = await env.send(message)
                assert (gone["data"]["code"], gone["data"]["reason"]) == ("SESSION_ERROR", "episode_not_found")
            assert (await env.reset())["metadata"]["session_id"] == session_id
            assert observed(await env.send(STEP))["metadata"]["steps"] == 1


# Many, and those who leave


async def test_64_sessions_keep_apart_and_one_more_is_refused() -> None:
    with running_service(GAUNTLET_EPISODES=str(SESSIONS)) as service:
        async with contextlib.AsyncExitStack() as stack:
            players = [await stack.enter_async_context(player(service.url)) for _ in range(SESSIONS)]

            async def begin(number: int, env: Player) -> None:
                assert (await env.reset(seed=number))["metadata"]["seed"] == number
                tried = await env.call("python_expression", expression=f"{number} * 1000")
                assert tried["observation"]["result"] == f"result:\n{number * 1000}"

            async def end(number: int, env: Player) -> None:
                for _ in range(number % 3):
                    await env.call("python_expression", expression="0")
                code = f"{NOTHING}# {number}\n"
                told = (await env.call("submit_code", code=code))["metadata"]
                assert (told["seed"], told["steps"], told["reward"]) == (number, 2 + number % 3, 0.0)
                assert told["grade"]["code_sha256"] == hashlib.sha256(code.encode()).hexdigest()

            await asyncio.gather(*(begin(number, env) for number, env in enumerate(players)))
            async with player(service.url) as one_more:
                refused = json.loads(await one_more.socket.recv())
                message = refused["data"].pop("message")
                assert message == "64 episodes are open, which is all that the service keeps."
                assert refused == {
                    "type": "error",
                    "data": {
                        "code": "CAPACITY_REACHED",
                        "reason": "capacity",
                        "retry_after_s": 5,
                        "active_sessions": 64,
                        "max_sessions": 64,
                    },
                }
                with pytest.raises(ConnectionClosed):
                    await one_more.socket.recv()
            await asyncio.gather(*(end(number, env) for number, env in enumerate(players)))
            assert len({(await env.state())["session_id"] for env in players}) == SESSIONS


async def test_a_socket_that_drops_frees_its_place_even_while_it_is_graded() -> None:
    with running_service(GAUNTLET_EPISODES="1") as service:
        for message in (
            {"type": "reset"},
            {"type": "step", "data": {"tool_name": "submit_code", "arguments": {"code": NOTHING}}},
        ):
            async with player(service.url) as env:
                await env.socket.send(json.dumps(message))
                env.socket.transport.abort()
            await eventually(lambda: capacity(service.url)["episodes"] == 0)
        async with player(service.url) as env:
            assert (await env.reset())["done"] is False
            closed = await env.send({"type": "state"})
            assert closed["type"] == "state"
            await env.socket.send(json.dumps({"type": "close"}))
            with pytest.raises(ConnectionClosed):
                await env.socket.recv()
        await eventually(lambda: capacity(service.url)["episodes"] == 0)
        assert capacity(service.url)["requests"] == 0


async def test_a_socket_on_a_session_shares_it_and_leaves_it_open(service: ServiceProcess) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        session_id = (await http.post("/reset", json={"seed": 3})).json()["metadata"]["session_id"]
        async with player(service.url, session_id=session_id) as env:
            assert (await env.state())["seed"] == 3
            assert (await env.reset(seed=4))["metadata"]["session_id"] == session_id
            assert observed(await env.send(STEP))["metadata"]["steps"] == 1
        state = (await http.get("/state", params={"session_id": session_id})).json()
        assert (state["seed"], state["step_count"], state["episode_id"]) == (4, 1, session_id)


@pytest.mark.timed
def test_open_sockets_do_not_hold_up_the_end_of_the_service() -> None:
    with running_service() as service, connect_sync(f"{service.url.replace('http', 'ws', 1)}/ws") as socket:
        socket.send(json.dumps({"type": "reset"}))
        socket.recv()
        started = time.monotonic()
        service.process.terminate()
        assert service.process.wait(timeout=10) == 0
        assert time.monotonic() - started < 5


# Over HTTP


async def test_an_episode_over_http(service: ServiceProcess) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        started = (await http.post("/reset", json={"seed": 5, "episode_id": "mine"})).json()
        assert started.keys() == {"observation", "reward", "done", "metadata"}
        assert (started["metadata"]["episode_id"], started["metadata"]["seed"]) == ("mine", 5)
        key = {"session_id": started["metadata"]["session_id"]}
        submit = {"action": {"type": "call_tool", "tool_name": "submit_code", "arguments": {"code": NOTHING}}}
        ended = (await http.post("/step", params=key, json=submit)).json()
        assert (ended["reward"], ended["done"], ended["metadata"]["rows"]["tier1"]) == (0.0, True, 0)
        again = await http.post("/step", params=key, json=submit)
        assert (again.status_code, again.json()["code"]) == (409, "episode_finished")
        anew = (await http.post("/reset", params=key)).json()
        assert anew["metadata"]["session_id"] == key["session_id"]
        assert anew["metadata"]["status"] == "running"
        assert (await http.get("/state")).json() == {"episode_id": None, "step_count": 0}
        tools = (await http.post("/step", json={"action": {"type": "list_tools"}})).json()["observation"]["tools"]
        assert len(tools) == 2


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/reset", b"{", 400),
        ("/reset", b"[" * 100_000, 400),
        ("/reset", b'{"seed": "x"}', 422),
        ("/reset", rb'{"episode_id": "\ud800"}', 422),
        ("/reset", rb'{"\ud800": 1}', 422),
        ("/reset?session_id=0", b"{}", 404),
        ("/reset", b'{"split": "test", "seed": 7}', 422),
        ("/step", b'{"action": []}', 422),
        ("/step", b'{"action": {"tool_name": "submit_code"}}', 422),
        ("/step?session_id=0", b'{"action": {"tool_name": "submit_code"}}', 404),
        ("/step", rb'{"action": {"\ud800": "x", "tool_name": "x"}}', 422),
        ("/step", b'{"action": {"tool_name": "' + b"#" * (1 << 20) + b'"}}', 413),
    ],
)
async def test_a_body_that_does_not_fit_is_a_problem(
    service: ServiceProcess, path: str, body: bytes, status: int
) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        refused = await http.post(path, content=body, headers={"content-type": "application/json"})
        assert refused.status_code == status
        assert refused.headers["content-type"] == "application/problem+json"


async def test_the_schemas_are_those_of_an_mcp_environment(service: ServiceProcess) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        schemas = (await http.get("/schema")).json()
        assert schemas.keys() == {"action", "observation", "reset_observation", "state"}
        assert schemas["action"]["title"] == "CallToolAction"  # verifiers asks for the tools because of it
        assert schemas["action"]["required"] == ["tool_name"]
        metadata = (await http.get("/metadata")).json()
        assert metadata["name"] == "resilience-gauntlet"
        assert metadata["version"]
