"""One episode with OpenEnv's MCPToolClient.

pip install openenv
python examples/openenv_mcp_client.py [SUBMISSION.py]  # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from openenv.core import CallToolAction, MCPToolClient

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
SUBMISSION = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py"))


async def main(code: str) -> None:
    """Plays a model that tries one thing out and then hands in what stands in a file."""
    async with MCPToolClient(base_url=SERVICE, message_timeout_s=120) as env:
        started = await env.reset(split="validation")
        tools = await env.list_tools()  # a model would get these, and the prompt
        print(
            f"{len(started.observation.prompt)} characters of prompt, tools: {', '.join(tool.name for tool in tools)}"
        )
        print(await env.call_tool("python_expression", expression="stats.median([5.0, 8.0])"))
        # call_tool answers the result alone; a step answers the reward with it.
        ended = await env.step(CallToolAction(tool_name="submit_code", arguments={"code": code}))
        print(ended.observation.result)
        told = {name: ended.metadata[name] for name in ("seed", "split", "rows")}
        print(json.dumps({"reward": ended.reward, **told}))


if __name__ == "__main__":
    asyncio.run(main(SUBMISSION.read_text()))
