"""MCP at /mcp as the clients of both generations of its SDK see it, unmodified."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.clients import assert_example_gets, last_json, run_client
from tests.conftest import ServiceProcess, running_service


@pytest.mark.parametrize("environment", ["mcp1", "mcp2"])
@pytest.mark.parametrize("example", ["mcp_client.py", "fastmcp_client.py"])
def test_the_examples_run_an_episode_to_its_reward(
    service: ServiceProcess, graded: tuple[Path, dict[str, Any]], environment: str, example: str
) -> None:
    submission, expected = graded
    assert_example_gets(expected, environment, example, submission, url=service.url)


def played(environment: str, source: str, url: str, *arguments: str) -> Any:
    """What a script, which is given the URL of /mcp and more, has printed last."""
    return last_json(run_client(environment, ["-c", source, f"{url}/mcp", *arguments], url=url))


NEGOTIATED = """
import asyncio, json, sys
from {module} import Client

async def main():
    async with Client(sys.argv[1]) as client:
        version = client{session}.protocol_version
        tools = [tool.name for tool in {tools}]
        ended = await client.call_tool("submit_code", {{"code": "def process_batch(events, state): return {{}}"}})
    print(json.dumps([version, tools, ended.structured_content["seed"], ended.structured_content["reward"]]))

asyncio.run(main())
"""
SDK_2 = NEGOTIATED.format(module="mcp", session="", tools="(await client.list_tools()).tools")
FASTMCP_4 = NEGOTIATED.format(module="fastmcp", session=".session", tools="await client.list_tools()")


@pytest.mark.parametrize("source", [SDK_2, FASTMCP_4], ids=["mcp", "fastmcp"])
def test_the_second_generation_finds_the_revision_that_the_url_speaks(service: ServiceProcess, source: str) -> None:
    told = played("mcp2", source, service.url)
    assert (told[0], told[1], told[3]) == ("2025-11-25", ["python_expression", "submit_code"], 0.0)
    episode = httpx.post(f"{service.url}/episodes", json={"seed": 1_000_000_007}).json()["id"]
    told = last_json(run_client("mcp2", ["-c", source, f"{service.url}/mcp?episode={episode}"], url=service.url))
    assert told == ["2026-07-28", ["python_expression", "submit_code"], 1_000_000_007, 0.0]


ERRORS = """
import asyncio, json, sys, urllib.request
import mcp
from mcp.client.streamable_http import streamable_http_client

Error = getattr(mcp, "McpError", None) or mcp.MCPError

async def told(call):
    try:
        result = (await call).model_dump(by_alias=True)
        return [result["isError"], result["content"][0]["text"]]
    except Error as error:
        return [error.error.code, error.error.message]

async def main():
    async with streamable_http_client(sys.argv[1]) as (read, write, *_), mcp.ClientSession(read, write) as session:
        episode = (await session.initialize()).model_dump(by_alias=True)["_meta"]["resilience-gauntlet/episode"]["id"]
        submit = lambda **arguments: session.call_tool("submit_code", arguments)
        answers = [
            await told(session.call_tool("shell", {})),
            await told(submit()),
            await told(submit(code="x = 1")),
            await told(submit(code="x = 1")),
        ]
        await session.send_ping()
        url = sys.argv[1].removesuffix("/mcp") + "/episodes/" + episode
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE")).close()
        answers.append(await told(submit(code="x = 1")))
        print(json.dumps(answers))

asyncio.run(main())
"""


@pytest.mark.parametrize("environment", ["mcp1", "mcp2"])
def test_errors_reach_the_user_of_either_generation(service: ServiceProcess, environment: str) -> None:
    unknown, unfitting, graded, finished, gone = played(environment, ERRORS, service.url)
    assert unknown == [-32602, "Unknown tool: use python_expression or submit_code."]
    assert unfitting == [True, "code: The tool takes an object with the one member 'code', a string."]
    assert graded[0] is False
    assert finished == [True, "The episode has ended: its submission was graded."]
    if environment == "mcp1":
        assert gone == [32600, "Session terminated"], "its own words for a 404, whatever the body says"
    else:
        assert gone[0] == -32001
        assert gone[1].startswith("Session not found. There is no such episode")


FULL = """
import asyncio, json, sys
import mcp
from mcp.client.streamable_http import streamable_http_client

Error = getattr(mcp, "McpError", None) or mcp.MCPError

async def main():
    async with streamable_http_client(sys.argv[1]) as (read, write, *_), mcp.ClientSession(read, write) as session:
        try:
            await session.initialize()
        except Error as error:
            print(json.dumps([error.error.code, error.error.message, error.error.data]))

asyncio.run(main())
"""


@pytest.mark.parametrize("environment", ["mcp1", "mcp2"])
def test_the_reason_for_no_episode_reaches_the_user_of_either_generation(environment: str) -> None:
    with running_service(GAUNTLET_EPISODES="1") as process:
        httpx.post(f"{process.url}/episodes").raise_for_status()
        code, message, data = played(environment, FULL, process.url)
    assert (code, message) == (-32000, "1 episodes are open, which is all that the service keeps.")
    assert data == {"code": "capacity", "retry_after_s": 5}
