"""One episode with a LangChain agent, which reaches the tools over MCP; its model is a script.

pip install langchain langchain-mcp-adapters
python examples/langchain_agent.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolCall
from langchain_mcp_adapters.client import MultiServerMCPClient

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
CODE = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py")).read_text()


class Script(GenericFakeChatModel):
    """A model that says what it is told to, whatever tools it is given."""

    def bind_tools(self, *_: Any, **__: Any) -> "Script":
        """Needs no tools."""
        return self


async def main() -> None:
    """Runs an agent, and reads what its episode earned."""
    calls = [
        ToolCall(name="python_expression", args={"expression": "stats.median([5.0, 8.0])"}, id="1"),
        ToolCall(name="submit_code", args={"code": CODE}, id="2"),
    ]
    model = Script(messages=iter([*(AIMessage("", tool_calls=[call]) for call in calls), AIMessage("Done.")]))
    async with httpx.AsyncClient(base_url=SERVICE, timeout=120) as service:
        episode = (await service.post("/episodes", json={"split": "validation"})).raise_for_status().json()
        # The adapter connects anew for each call; the URL says that it is always the same episode.
        server = {"transport": "streamable_http", "url": f"{SERVICE}/mcp?episode={episode['id']}"}
        agent = create_agent(model, await MultiServerMCPClient({"gauntlet": server}).get_tools())
        run = await agent.ainvoke({"messages": [{"role": "user", "content": episode["prompt"]}]})
        print(run["messages"][-1].content)
        ended = (await service.get(f"/episodes/{episode['id']}")).raise_for_status().json()
    print(json.dumps({name: ended[name] for name in ("reward", "seed", "split", "rows")}))


if __name__ == "__main__":
    asyncio.run(main())
