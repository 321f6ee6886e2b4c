"""Agent frameworks that reach the tools over MCP: their examples, and what else their users would do."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.clients import assert_example_gets, last_json, run_client
from tests.conftest import ServiceProcess


@pytest.mark.parametrize(
    ("environment", "example"),
    [("mcp2", "openai_agents.py"), ("mcp2", "pydantic_ai_agent.py"), ("mcp1", "langchain_agent.py")],
)
def test_the_examples_run_an_episode_to_its_reward(
    service: ServiceProcess, graded: tuple[Path, dict[str, Any]], environment: str, example: str
) -> None:
    submission, expected = graded
    assert_example_gets(expected, environment, example, submission, url=service.url)


OPENAI_AGENTS = """
import asyncio, json, sys
from agents import Agent, Runner, set_tracing_disabled
from agents.items import ToolCallOutputItem
from agents.mcp import MCPServerStreamableHttp
from agents.testing import ScriptedModel, assistant_message, function_call

async def main():
    set_tracing_disabled(True)
    code = {"code": "def process_batch(events, state): return {}"}
    calls = [[function_call("submit_code", code, call_id=id)] for id in "12"]
    async with MCPServerStreamableHttp({"url": sys.argv[1]}, cache_tools_list=True) as server:
        agent = Agent(name="a", model=ScriptedModel([*calls, [assistant_message("Done.")]]), mcp_servers=[server])
        run = await Runner.run(agent, "Harden the pipeline.")
        session = server.session_id
    outputs = [item.output for item in run.new_items if isinstance(item, ToolCallOutputItem)]
    print(json.dumps([session, [output["text"] if isinstance(output, dict) else output for output in outputs]]))

asyncio.run(main())
"""


def test_openai_agents_leave_a_reward_that_can_be_read_by_the_sessions_id(service: ServiceProcess) -> None:
    url = f"{service.url}/mcp?seed=1000000007"
    session, (graded, finished) = last_json(run_client("mcp2", ["-c", OPENAI_AGENTS, url], url=service.url))
    assert graded.startswith("Score: 0%")
    assert "The episode has ended: its submission was graded." in finished
    episode = httpx.get(f"{service.url}/episodes/{session}").json()
    assert (episode["seed"], episode["reward"], episode["steps"]) == (1_000_000_007, 0.0, 1)


PYDANTIC_AI = """
import asyncio, json, sys
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.models.test import TestModel

async def main():
    agent = Agent(TestModel(), toolsets=[MCPToolset(sys.argv[1])])
    run = await agent.run("Harden the pipeline.")
    parts = [part for message in run.all_messages() for part in message.parts if isinstance(part, ToolReturnPart)]
    print(json.dumps({part.tool_name: part.content for part in parts}))

asyncio.run(main())
"""


@pytest.mark.parametrize("query", ["?seed=1000000007", "?episode={}"])
def test_pydantic_ais_test_model_calls_both_tools(service: ServiceProcess, query: str) -> None:
    episode = httpx.post(f"{service.url}/episodes", json={"seed": 1_000_000_007}).json()["id"]
    url = f"{service.url}/mcp{query.format(episode)}"
    told = last_json(run_client("mcp2", ["-c", PYDANTIC_AI, url], url=service.url))
    assert "NameError" in told["python_expression"], "its text, which is not JSON"
    assert (told["submit_code"]["reward"], told["submit_code"]["seed"]) == (0.0, 1_000_000_007)
