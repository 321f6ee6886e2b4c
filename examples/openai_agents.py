"""One episode with the OpenAI Agents SDK, which reaches the tools over MCP; its model is a script.

pip install openai-agents
python examples/openai_agents.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import asyncio
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

from agents import Agent, Runner, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp
from agents.testing import ScriptedModel, assistant_message, function_call

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
SUBMISSION = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py"))


def ask(path: str, body: Any = None) -> Any:
    """Calls the service's own HTTP interface."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SERVICE + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


async def main() -> None:
    """Runs an agent, and reads what its episode earned."""
    set_tracing_disabled(disabled=True)
    episode = ask("/episodes", {"split": "validation"})
    model = ScriptedModel(  # leave it out for a real one: Agent(model="gpt-…")
        [
            [function_call("python_expression", {"expression": "stats.median([5.0, 8.0])"}, call_id="1")],
            [function_call("submit_code", {"code": SUBMISSION.read_text()}, call_id="2")],
            [assistant_message("Done.")],
        ]
    )
    server = MCPServerStreamableHttp(
        {"url": f"{SERVICE}/mcp?episode={episode['id']}", "timeout": 120}, client_session_timeout_seconds=120
    )
    async with server:
        agent = Agent(name="hardener", model=model, mcp_servers=[server])
        run = await Runner.run(agent, episode["prompt"], max_turns=episode["step_limit"])
    print(run.final_output)
    ended = ask(f"/episodes/{episode['id']}")
    rows = {row["id"]: row["points"] for row in ended["grade"]["checks"]}
    print(json.dumps({"reward": ended["reward"], "seed": ended["seed"], "split": ended["split"], "rows": rows}))


if __name__ == "__main__":
    asyncio.run(main())
