"""Ways to an episode at /mcp besides MCP's sessions: named by the URL, without sessions (2026-07-28), OpenEnv's."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.mcp_wire import EPISODE, LATEST, STATELESS, Mcp, error_of, result_of, text_of
from tests.conftest import running_service

pytestmark = pytest.mark.anyio

CALL = {"name": "python_expression", "arguments": {"expression": "6 * 7"}}


@pytest.fixture
async def episode(client: httpx.AsyncClient) -> str:
    """An episode that was opened over plain HTTP."""
    return str((await client.post("/episodes", json={"seed": 1_000_000_007})).json()["id"])


async def test_sessions_of_one_url_are_one_episode(client: httpx.AsyncClient, episode: str, correct: str) -> None:
    first, second = (Mcp(client, f"/mcp?episode={episode}") for _ in range(2))
    for mcp in (first, second):
        assert (await mcp.initialize())["_meta"][EPISODE]["seed"] == 1_000_000_007
        assert mcp.session == episode
    await first.call("python_expression", expression="1")
    assert (await first.delete()).status_code == 204
    told = (await second.call("submit_code", code=correct))["structuredContent"]
    assert (told["steps"], told["reward"]) == (2, 1.0)
    assert (await second.delete()).status_code == 204
    assert (await client.get(f"/episodes/{episode}")).json()["reward"] == 1.0


async def test_a_host_that_connects_anew_for_each_call_needs_no_handshake(
    client: httpx.AsyncClient, episode: str
) -> None:
    called = result_of(await Mcp(client, f"/mcp?episode={episode}").send("tools/call", CALL))
    assert (text_of(called), called["_meta"][EPISODE]["steps"]) == ("result:\n42", 1)


async def test_a_session_is_resumed_by_its_header(client: httpx.AsyncClient) -> None:
    mcp = Mcp(client)
    await mcp.initialize()
    await mcp.call("python_expression", expression="1")
    resumed = await Mcp(client).initialize(mcp_session_id=mcp.session)
    assert (resumed["_meta"][EPISODE]["id"], resumed["_meta"][EPISODE]["steps"]) == (mcp.session, 1)


@pytest.mark.parametrize("method", ["initialize", "tools/list", "tools/call", "server/discover"])
async def test_an_episode_that_is_not_there_is_404(client: httpx.AsyncClient, method: str) -> None:
    mcp = Mcp(client, f"/mcp?episode={'0' * 32}")
    assert error_of(await mcp.send(method, {"protocolVersion": LATEST}))[:2] == (404, -32001)
    assert error_of(await mcp.delete())[:2] == (404, -32001)


META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


async def stateless(
    client: httpx.AsyncClient,
    url: str,
    method: str,
    params: dict[str, Any] | None = None,
    *,
    meta: dict[str, Any] | None = None,
    **headers: str,
) -> httpx.Response:
    said = {"mcp_protocol_version": STATELESS, "mcp_method": method} | headers
    return await Mcp(client, url).send(method, {**(params or {}), "_meta": META if meta is None else meta}, **said)


async def test_a_stateless_client_finds_out_what_is_spoken(client: httpx.AsyncClient, episode: str) -> None:
    found = result_of(await stateless(client, f"/mcp?episode={episode}", "server/discover"))
    assert found["supportedVersions"] == ["2025-03-26", "2025-06-18", "2025-11-25", STATELESS]
    assert found["capabilities"] == {"tools": {"listChanged": False}}
    assert "process_batch" in found["instructions"]
    assert (found["resultType"], found["ttlMs"], found["cacheScope"]) == ("complete", 0, "private")
    assert found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "resilience-gauntlet"
    assert found["_meta"][EPISODE]["seed"] == 1_000_000_007


async def test_a_stateless_client_runs_an_episode(
    client: httpx.AsyncClient, episode: str, graded: tuple[Path, dict[str, Any]]
) -> None:
    submission, expected = graded
    url = f"/mcp?episode={episode}"
    listed = result_of(await stateless(client, url, "tools/list"))
    assert (len(listed["tools"]), listed["resultType"], listed["cacheScope"]) == (2, "complete", "public")
    tried = await stateless(client, url, "tools/call", CALL, mcp_name="python_expression")
    assert "mcp-session-id" not in tried.headers
    assert (text_of(result_of(tried)), result_of(tried)["resultType"]) == ("result:\n42", "complete")
    code = {"name": "submit_code", "arguments": {"code": submission.read_text()}}
    told = result_of(await stateless(client, url, "tools/call", code, mcp_name="submit_code"))["structuredContent"]
    assert {name: told[name] for name in expected} == expected


async def test_a_header_may_be_base64(client: httpx.AsyncClient, episode: str) -> None:
    name = f"=?base64?{base64.b64encode(b'python_expression').decode()}?="
    tried = await stateless(client, f"/mcp?episode={episode}", "tools/call", CALL, mcp_name=name)
    assert text_of(result_of(tried)) == "result:\n42"


@pytest.mark.parametrize(
    ("method", "params", "extra", "status", "code"),
    [
        ("ping", {}, {}, 404, -32601),
        ("initialize", {}, {}, 404, -32601),
        ("tools/list", {}, {"meta": {}}, 400, -32602),
        ("tools/list", {}, {"mcp_method": "tools/call"}, 400, -32020),
        ("tools/list", {}, {"meta": {**META, "io.modelcontextprotocol/protocolVersion": "2027-01-01"}}, 400, -32020),
        ("tools/call", CALL, {}, 400, -32020),
        ("tools/call", CALL, {"mcp_name": "submit_code"}, 400, -32020),
        ("tools/call", CALL, {"mcp_name": "=?base64?*?="}, 400, -32020),
        ("tools/call", {"name": "shell"}, {"mcp_name": "shell"}, 400, -32602),
        ("tools/call", {"name": "submit_code", "arguments": []}, {"mcp_name": "submit_code"}, 400, -32602),
    ],
)
async def test_stateless_requests_that_do_not_fit_are_refused(
    *,
    client: httpx.AsyncClient,
    episode: str,
    method: str,
    params: dict[str, Any],
    extra: dict[str, Any],
    status: int,
    code: int,
) -> None:
    answer = await stateless(client, f"/mcp?episode={episode}", method, params, **extra)
    assert error_of(answer)[:2] == (status, code)


async def test_without_an_episode_in_the_url_a_stateless_client_is_sent_back_to_the_handshake(
    client: httpx.AsyncClient,
) -> None:
    assert error_of(await stateless(client, "/mcp", "server/discover"))[:2] == (404, -32601)
    refused = await stateless(client, "/mcp", "tools/list")
    assert error_of(refused)[:2] == (400, -32022)
    supported = ["2025-03-26", "2025-06-18", "2025-11-25"]
    assert refused.json()["error"]["data"] == {"requested": STATELESS, "supported": supported}


async def test_openenvs_sessions_are_episodes(client: httpx.AsyncClient, correct: str) -> None:
    mcp = Mcp(client)
    created = result_of(await mcp.send("openenv/session/create", {"seed": 1_000_000_007}))
    assert created.keys() == {"session_id"}
    assert len(result_of(await mcp.send("tools/list", created))["tools"]) == 2
    code = {"name": "submit_code", "arguments": {"code": correct}, **created}
    told = result_of(await mcp.send("tools/call", code))["structuredContent"]
    assert (told["reward"], told["seed"]) == (1.0, 1_000_000_007)
    closed = result_of(await mcp.send("openenv/session/close", created))
    assert closed == {**created, "closed": True}
    for method in ("openenv/session/close", "tools/list", "tools/call"):
        assert error_of(await mcp.send(method, {**CALL, **created}))[:2] == (200, -32602)


async def test_openenv_is_told_what_was_wrong(client: httpx.AsyncClient) -> None:
    mcp = Mcp(client)
    assert error_of(await mcp.send("openenv/session/close"))[:2] == (200, -32602)
    assert error_of(await mcp.send("openenv/session/create", {"seed": "7"}))[:2] == (200, -32602)
    validated = await client.post("/mcp", json={})
    assert (validated.status_code, validated.json()["jsonrpc"]) == (200, "2.0")


async def test_openenv_is_told_when_no_more_sessions_are_kept() -> None:
    with running_service(GAUNTLET_EPISODES="1") as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            mcp = Mcp(client)
            created = result_of(await mcp.send("openenv/session/create"))
            assert error_of(await mcp.send("openenv/session/create"))[:2] == (200, -32000)
            assert text_of(result_of(await mcp.send("tools/call", {**CALL, **created}))) == "result:\n42"
