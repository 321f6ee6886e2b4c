"""One episode with Pydantic AI, which reaches the tools over MCP; its model is a script.

pip install "pydantic-ai-slim[mcp]"
python examples/pydantic_ai_agent.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import httpx2
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
CODE = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py")).read_text()


def script(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    """A model that tries one thing out, hands in what stands in a file, and then has no more to say."""
    match sum(isinstance(message, ModelRequest) for message in messages):
        case 1:
            part = ToolCallPart("python_expression", {"expression": "stats.median([5.0, 8.0])"})
        case 2:
            part = ToolCallPart("submit_code", {"code": CODE})
        case _:
            part = TextPart("Done.")
    return ModelResponse(parts=[part])


async def main() -> None:
    """Runs an agent, and reads what its episode earned."""
    async with httpx2.AsyncClient(base_url=SERVICE, timeout=120) as service:
        episode = (await service.post("/episodes", json={"split": "validation"})).raise_for_status().json()
        url = f"{SERVICE}/mcp?episode={episode['id']}"
        toolset = MCPToolset(url, read_timeout=120, tool_error_behavior="failed")  # a model may get calls wrong
        agent = Agent(FunctionModel(script), toolsets=[toolset])  # or a real model: Agent("anthropic:claude-…", …)
        run = await agent.run(episode["prompt"])
        print(run.output)
        ended = (await service.get(f"/episodes/{episode['id']}")).raise_for_status().json()
    print(json.dumps({name: ended[name] for name in ("reward", "seed", "split", "rows")}))


if __name__ == "__main__":
    asyncio.run(main())
