"""One episode with Pydantic AI, which reaches the tools over MCP; its model is a script.

pip install "pydantic-ai-slim[mcp]"
python examples/pydantic_ai_agent.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
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
    """Runs an agent, and reads what its submission earned."""
    toolset = MCPToolset(f"{SERVICE}/mcp?split=validation", include_instructions=True, read_timeout=120)
    agent = Agent(FunctionModel(script), toolsets=[toolset])  # or a real model: Agent("anthropic:claude-…", …)
    async with agent:  # opens an episode, whose prompt is among the instructions; without it each run opens its own
        run = await agent.run("Harden the pipeline.")
    parts = [part for message in run.all_messages() for part in message.parts if isinstance(part, ToolReturnPart)]
    print(*(part.content for part in parts), sep="\n")
    result = next(part.content for part in parts if part.tool_name == "submit_code")
    print(json.dumps({name: result[name] for name in ("reward", "seed", "split", "rows")}))


if __name__ == "__main__":
    asyncio.run(main())
