"""One episode over MCP with FastMCP's client, 3.x or 4.x.

pip install fastmcp
python examples/fastmcp_client.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from fastmcp import Client

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
CODE = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py")).read_text()


async def main() -> None:
    """Plays a model that tries one thing out and then hands in what stands in a file."""
    async with Client(f"{SERVICE}/mcp?split=validation") as client:  # entering it opens an episode
        tried = await client.call_tool("python_expression", {"expression": "stats.median([5.0, 8.0])"})
        print(tried.content[0].text)
        ended = await client.call_tool("submit_code", {"code": CODE})
        print(ended.content[0].text)
    result = ended.structured_content
    print(json.dumps({name: result[name] for name in ("reward", "seed", "split", "rows")}))


if __name__ == "__main__":
    asyncio.run(main())
