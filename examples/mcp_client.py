"""One episode over MCP (Model Context Protocol), with the official Python SDK, 1.x or 2.x.

pip install mcp
python examples/mcp_client.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
CODE = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py")).read_text()


async def main() -> None:
    """Plays a model that tries one thing out and then hands in what stands in a file."""
    url = f"{SERVICE}/mcp?split=validation"  # initialize opens an episode; the URL says which
    async with streamable_http_client(url) as (read, write, *_), ClientSession(read, write) as session:
        await session.initialize()  # a model would get its `instructions`, which are the prompt
        tools = [tool.name for tool in (await session.list_tools()).tools]
        print(tools)
        tried = await session.call_tool("python_expression", {"expression": "stats.median([5.0, 8.0])"})
        print(tried.content[0].text)
        ended = await session.call_tool("submit_code", {"code": CODE})
        print(ended.content[0].text)
    result = ended.model_dump(by_alias=True)["structuredContent"]
    print(json.dumps({name: result[name] for name in ("reward", "seed", "split", "rows")}))


if __name__ == "__main__":
    asyncio.run(main())
