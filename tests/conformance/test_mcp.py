"""MCP at /mcp, as the revisions that begin with a handshake have it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from service.task import SEEDS, Split, Suite, prompt
from tests.conformance.clients import TOKEN
from tests.conformance.mcp_wire import EPISODE, LATEST, TEST_SEED, Mcp, error_of, result_of, text_of
from tests.conftest import running_service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def mcp(client: httpx.AsyncClient) -> Mcp:
    mcp = Mcp(client)
    await mcp.initialize()
    return mcp


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_an_episode_ends_with_its_reward_in_structured_content(
    client: httpx.AsyncClient, graded: tuple[Path, dict[str, Any]], path: str
) -> None:
    submission, expected = graded
    mcp = Mcp(client, f"{path}?split=validation&seed=1000000007")
    await mcp.initialize()
    tried = await mcp.call("python_expression", expression="stats.median([5.0, 8.0])")
    assert (text_of(tried), tried["isError"]) == ("result:\n6.5", False)
    assert "structuredContent" not in tried, "hosts would show it to the model in place of the text"
    assert (tried["_meta"][EPISODE]["done"], tried["_meta"][EPISODE]["reward"]) == (False, None)
    ended = await mcp.call("submit_code", code=submission.read_text())
    told = ended["structuredContent"]
    assert {name: told[name] for name in expected} == expected
    assert (told["done"], told["status"], told["steps"]) == (True, "submitted", 2)
    assert (told["suite"], told["split"], told["seed"]) == ("hardened", "validation", 1_000_000_007)
    assert {row["id"]: row["points"] for row in told["grade"]["checks"]} == expected["rows"]
    assert text_of(ended) == told["text"]
    assert text_of(ended).startswith(f"Score: {expected['reward']:.0%}")
    assert ended["_meta"][EPISODE]["reward"] == expected["reward"]
    assert "id" not in told, "a model has no use for the key"


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_initialize_agrees_on_the_clients_revision(client: httpx.AsyncClient, version: str) -> None:
    mcp = Mcp(client)
    result = await mcp.initialize(version)
    assert result["protocolVersion"] == version
    assert result["serverInfo"]["name"] == "resilience-gauntlet"
    assert result["capabilities"] == {"tools": {"listChanged": False}}
    assert result["instructions"] == prompt(Suite.HARDENED)
    assert result["_meta"][EPISODE]["id"] == mcp.session


@pytest.mark.parametrize("version", ["2024-11-05", "2026-07-28", "", "1.0"])
async def test_initialize_offers_the_latest_revision_to_others(client: httpx.AsyncClient, version: str) -> None:
    assert (await Mcp(client).initialize(version))["protocolVersion"] == LATEST


async def test_the_url_says_what_the_episode_is_about(client: httpx.AsyncClient) -> None:
    mcp = Mcp(client, "/mcp?suite=classic&step_limit=3&time_limit_s=60.5")
    episode = (await mcp.initialize())["_meta"][EPISODE]
    assert (episode["suite"], episode["seed"], episode["split"], episode["step_limit"]) == ("classic", None, None, 3)
    assert 0 < episode["time_left_s"] <= 60.5
    assert (await Mcp(client, "/mcp?seed=7").initialize())["_meta"][EPISODE]["split"] == "train"
    drawn = (await Mcp(client, "/mcp?split=test").initialize())["_meta"][EPISODE]
    assert drawn["seed"] in SEEDS[Split.TEST]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("seed=-1", "seed"),
        ("seed=seven", "seed"),
        ("seed=7.5", "seed"),
        ("seed=" + "9" * 5000, "seed"),
        ("seed=7&split=test", "seed"),
        ("split=testing", "split"),
        ("step_limit=0", "step_limit"),
        ("step_limit=100000", "step_limit"),
        ("time_limit_s=nan", "time_limit_s"),
        ("time_limit_s=1e400", "time_limit_s"),
        ("sede=7", "sede"),
    ],
)
async def test_wrong_options_open_no_episode(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await Mcp(client, f"/mcp?{query}").send("initialize", {"protocolVersion": LATEST})
    status, code, message = error_of(answer)
    assert (status, code) == (200, -32602)
    assert message.startswith(f"{field}: ")
    assert "mcp-session-id" not in answer.headers


async def test_seeds_of_the_test_split_take_the_evaluation_token() -> None:
    with running_service(GAUNTLET_EVALUATION_TOKEN=TOKEN) as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            mcp = Mcp(client, f"/mcp?seed={TEST_SEED}")
            refused = await mcp.send("initialize", {"protocolVersion": LATEST})
            assert error_of(refused)[:2] == (200, -32000)
            assert refused.json()["error"]["data"] == {"code": "forbidden"}
            assert TOKEN not in refused.text
            allowed = await mcp.initialize(authorization=f"Bearer {TOKEN}")
            assert (allowed["_meta"][EPISODE]["seed"], allowed["_meta"][EPISODE]["split"]) == (TEST_SEED, "test")


async def test_tools_are_listed_with_and_without_a_session(mcp: Mcp, client: httpx.AsyncClient) -> None:
    tools = result_of(await mcp.send("tools/list"))["tools"]
    assert [tool["name"] for tool in tools] == ["python_expression", "submit_code"]
    assert all(tool["inputSchema"]["additionalProperties"] is False for tool in tools)
    assert result_of(await Mcp(client).send("tools/list"))["tools"] == tools


async def test_ping_is_answered_and_notifications_are_accepted(mcp: Mcp, client: httpx.AsyncClient) -> None:
    assert result_of(await mcp.send("ping")) == {}
    for body in (
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        {"jsonrpc": "2.0", "id": 9, "result": {}},
    ):
        answer = await client.post("/mcp", json=body, headers=mcp.headers)
        assert (answer.status_code, answer.content) == (202, b"")


async def test_an_unknown_method_is_404_unless_that_would_end_a_session(mcp: Mcp, client: httpx.AsyncClient) -> None:
    assert error_of(await Mcp(client).send("resources/list"))[:2] == (404, -32601)
    assert error_of(await mcp.send("resources/list"))[:2] == (200, -32601)


async def test_nothing_is_pushed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/mcp", headers={"accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, DELETE")


async def test_delete_ends_a_session(mcp: Mcp, client: httpx.AsyncClient) -> None:
    assert (await mcp.delete()).status_code == 204
    assert error_of(await mcp.send("ping"))[:2] == (404, -32001)
    assert error_of(await mcp.delete())[:2] == (404, -32001)
    assert (await client.get(f"/episodes/{mcp.session}")).status_code == 404


async def test_the_reward_outlives_the_session(mcp: Mcp, client: httpx.AsyncClient, correct: str) -> None:
    await mcp.call("submit_code", code=correct)
    assert (await mcp.delete()).status_code == 204
    assert (await client.get(f"/episodes/{mcp.session}")).json()["reward"] == 1.0


async def test_a_call_after_the_end_is_the_tools_own_error(mcp: Mcp) -> None:
    await mcp.call("submit_code", code="def process_batch(events, state): return {}")
    for tool, arguments in (("submit_code", {"code": "x = 1"}), ("python_expression", {"expression": "1"})):
        refused = await mcp.call(tool, **arguments)
        assert (refused["isError"], text_of(refused)) == (True, "The episode has ended: its submission was graded.")
        assert refused["_meta"]["resilience-gauntlet/error"] == "episode_finished"
        assert (refused["_meta"][EPISODE]["reward"], refused["_meta"][EPISODE]["steps"]) == (0.0, 1)
        assert "structuredContent" not in refused


async def test_the_last_step_ends_the_episode(client: httpx.AsyncClient) -> None:
    mcp = Mcp(client, "/mcp?step_limit=1")
    await mcp.initialize()
    ended = (await mcp.call("python_expression", expression="1 + 1"))["structuredContent"]
    assert (ended["done"], ended["status"], ended["reward"], ended["rows"]) == (True, "step_limit", 0.0, None)


@pytest.mark.parametrize(
    ("params", "about"),
    [
        ({"name": "shell", "arguments": {}}, "Unknown tool"),
        ({"arguments": {"code": "x"}}, "A tool's name"),
        ({"name": 7}, "A tool's name"),
        ({"name": "submit_code", "arguments": ["x"]}, "A tool's name"),
    ],
)
async def test_a_call_of_no_tool_is_a_protocol_error(mcp: Mcp, params: dict[str, Any], about: str) -> None:
    status, code, message = error_of(await mcp.send("tools/call", params))
    assert (status, code) == (200, -32602)
    assert message.startswith(about)


@pytest.mark.parametrize("arguments", [{}, {"code": 7}, {"code": "x", "more": 1}, {"expression": "x"}])
async def test_arguments_that_do_not_fit_are_told_to_the_model(mcp: Mcp, arguments: dict[str, Any]) -> None:
    refused = await mcp.call("submit_code", **arguments)
    assert refused["isError"] is True
    assert text_of(refused) == "code: The tool takes an object with the one member 'code', a string."
    assert (refused["_meta"]["resilience-gauntlet/error"], refused["_meta"][EPISODE]["steps"]) == ("invalid", 0)


async def test_a_call_needs_a_session(client: httpx.AsyncClient) -> None:
    params = {"name": "python_expression", "arguments": {"expression": "1"}}
    assert error_of(await Mcp(client).send("tools/call", params))[:2] == (400, -32600)
    for session in ("0" * 32, "nonsense", "../health"):
        answer = await Mcp(client).send("tools/call", params, mcp_session_id=session)
        assert error_of(answer)[:2] == (404, -32001)
        assert answer.json()["error"]["data"] == {"code": "episode_not_found"}


DEEP = b"[" * 100_000 + b"]" * 100_000
SURROGATE = b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "ping"}'


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, -32700),
        (b"{", 400, -32700),
        (b"\xff\xfe", 400, -32700),
        (DEEP, 400, -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": ' + DEEP + b"}}", 400, -32700),
        (b'{"jsonrpc": "2.0", "id": ' + b"9" * 5000 + b', "method": "ping"}', 400, -32700),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', 400, -32600),
        (b"[]", 400, -32600),
        (b"null", 400, -32600),
        (b'"ping"', 400, -32600),
        (b"{}", 200, -32600),
        (b'{"id": 1, "method": "ping"}', 200, -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', 200, -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', 200, -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', 200, -32600),
        (b'{"jsonrpc": "2.0", "id": NaN, "method": "ping"}', 200, -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', 200, -32600),
        (b'{"jsonrpc": "2.0", "id": 1}', 200, -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', 200, -32600),
    ],
)
async def test_what_is_no_message_is_refused(
    client: httpx.AsyncClient, mcp: Mcp, body: bytes, status: int, code: int
) -> None:
    refused = await client.post("/mcp", content=body)
    assert error_of(refused)[:2] == (status, code)
    assert refused.json()["id"] is None
    # After a handshake it is 400 in any case, as MCP's transport has it.
    assert error_of(await client.post("/mcp", content=body, headers=mcp.headers))[:2] == (400, code)


async def test_lone_surrogates_are_refused_or_sent_back_as_they_came(client: httpx.AsyncClient, mcp: Mcp) -> None:
    answer = await client.post("/mcp", content=SURROGATE, headers=mcp.headers)
    assert answer.json()["id"] in (None, "\ud800")
    body = '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "%s", "arguments": {"%s": "%s"}}}'
    for name, member, value in (
        ("submit_code", "code", "\\ud800"),
        ("submit_code", "\\ud800", ""),
        ("\\ud800", "", ""),
    ):
        answer = await client.post("/mcp", content=body % (name, member, value), headers=mcp.headers)
        assert answer.status_code in (200, 400)
        assert "error" in answer.json() or answer.json()["result"]["isError"] is True


async def test_a_body_over_the_limit_is_413(client: httpx.AsyncClient, mcp: Mcp) -> None:
    answer = await client.post("/mcp", content=b" " * (600 << 10), headers=mcp.headers)
    assert (answer.status_code, answer.json()["status"]) == (413, 413)
    assert result_of(await mcp.send("ping")) == {}


@pytest.mark.parametrize("version", ["2024-11-05", "2027-01-01", "x" * 1000])
async def test_a_revision_that_is_not_spoken_is_refused(mcp: Mcp, version: str) -> None:
    answer = await mcp.send("ping", mcp_protocol_version=version)
    assert error_of(answer)[:2] == (400, -32022)
    assert answer.json()["error"]["data"] == {
        "requested": version[:64],
        "supported": ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"],
    }


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://localhost:6274", "127.0.0.1:8000", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://[::1]:5173", "127.0.0.1:8000", True),
        ("http://10.0.0.7:8000", "10.0.0.7:8000", True),
        ("https://gauntlet.example", "gauntlet.example", True),
        ("http://gauntlet.example", "gauntlet.example", False),  # a page whose name was made to mean this host
        ("https://elsewhere.example", "gauntlet.example", False),
        ("http://10.0.0.8:8000", "10.0.0.7:8000", False),
        ("http://localhost.elsewhere.example", "127.0.0.1:8000", False),
        ("http://[", "127.0.0.1:8000", False),
        ("null", "127.0.0.1:8000", False),
        ("", "127.0.0.1:8000", False),
    ],
)
async def test_another_sites_page_is_refused(client: httpx.AsyncClient, origin: str, host: str, allowed: bool) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    answer = await client.post("/mcp", json=body, headers={"origin": origin, "host": host})
    if allowed:
        result_of(answer)
        return
    assert error_of(answer)[:2] == (403, -32600)
    deleted = await client.delete("/mcp", headers={"origin": origin, "host": host})
    assert error_of(deleted)[:2] == (403, -32600)


async def test_sessions_are_forgotten_and_a_full_service_says_so_to_the_model() -> None:
    with running_service(GAUNTLET_EPISODE_IDLE_S="2", GAUNTLET_QUEUE="1") as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            mcp = Mcp(client)
            await mcp.initialize()
            slow = asyncio.create_task(mcp.call("python_expression", expression="import time; time.sleep(1)"))
            await asyncio.sleep(0.3)
            refused = await mcp.call("python_expression", expression="1")
            assert refused["isError"] is True
            assert refused["_meta"]["resilience-gauntlet/error"] == "overloaded"
            assert refused["_meta"]["resilience-gauntlet/retry-after-s"] == 1
            assert (await slow)["isError"] is False
            await asyncio.sleep(2.1)
            assert error_of(await mcp.send("tools/list"))[:2] == (404, -32001)
            notified = await client.post(
                "/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=mcp.headers
            )
            assert notified.status_code == 404


async def test_64_sessions_keep_their_state_apart_and_one_more_is_refused(correct: str) -> None:
    with running_service(GAUNTLET_EPISODES="64") as process:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=process.url, timeout=60, limits=limits) as client:
            sessions = [Mcp(client, f"/mcp?seed={1_000_000_000 + index}") for index in range(64)]
            await asyncio.gather(*(mcp.initialize() for mcp in sessions))
            assert len({mcp.session for mcp in sessions}) == 64

            refused = await Mcp(client).send("initialize", {"protocolVersion": LATEST})
            assert error_of(refused) == (200, -32000, "64 episodes are open, which is all that the service keeps.")
            assert refused.json()["error"]["data"] == {"code": "capacity", "retry_after_s": 5}

            async def run(index: int, mcp: Mcp) -> None:
                for step in range(index % 3):
                    tried = await mcp.call("python_expression", expression=f"{index} * 1000 + {step}")
                    assert text_of(tried) == f"result:\n{index * 1000 + step}"
                holds = index % 2 == 0
                code = f"# {index}\n" + (correct if holds else "def process_batch(events, state): return {}")
                told = (await mcp.call("submit_code", code=code))["structuredContent"]
                assert (told["seed"], told["steps"]) == (1_000_000_000 + index, index % 3 + 1)
                assert told["reward"] == (1.0 if holds else 0.0)

            await asyncio.gather(*(run(index, mcp) for index, mcp in enumerate(sessions)))


async def test_a_fault_of_the_service_pays_nothing_and_costs_nothing() -> None:
    """The sandbox of this service was never started."""
    transport = httpx.ASGITransport(app=create_app(Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        mcp = Mcp(client)
        await mcp.initialize()
        failed = await mcp.call("python_expression", expression="1")
        assert (failed["isError"], failed["_meta"]["resilience-gauntlet/error"]) == (True, "sandbox_fault")
        assert failed["_meta"][EPISODE]["steps"] == 0
        assert "the sandbox is not running" not in json.dumps(failed)
        told = (await mcp.call("submit_code", code="x = 1"))["structuredContent"]
        assert (told["status"], told["done"], told["reward"], told["rows"]) == ("fault", True, None, None)
