"""One episode with the OpenAI Agents SDK, which reaches the tools over MCP; its model is a script.

pip install openai-agents
python examples/openai_agents.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

import httpx2
from agents import Agent, MaxTurnsExceeded, Runner, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp
from agents.testing import ScriptedModel, assistant_message, function_call

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
CODE = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py")).read_text()


async def main() -> None:
    """Runs an agent, and reads what its episode earned."""
    set_tracing_disabled(disabled=True)
    model = ScriptedModel(  # or a real one: Agent(model="gpt-…")
        [
            [function_call("python_expression", {"expression": "stats.median([5.0, 8.0])"}, call_id="1")],
            [function_call("submit_code", {"code": CODE}, call_id="2")],
            [assistant_message("Done.")],
        ]
    )
    async with httpx2.AsyncClient(base_url=SERVICE, timeout=120) as service:
        episode = (await service.post("/episodes", json={"split": "validation"})).raise_for_status().json()
        parameters = {"url": f"{SERVICE}/mcp?episode={episode['id']}", "timeout": 120}
        async with MCPServerStreamableHttp(parameters, client_session_timeout_seconds=120) as server:
            agent = Agent(name="hardener", model=model, mcp_servers=[server])
            with contextlib.suppress(MaxTurnsExceeded):  # the episode tells what it came to
                run = await Runner.run(agent, episode["prompt"], max_turns=episode["step_limit"])
                print(run.final_output)
        ended = (await service.get(f"/episodes/{episode['id']}")).raise_for_status().json()
    print(json.dumps({name: ended[name] for name in ("reward", "seed", "split", "rows")}))


if __name__ == "__main__":
    asyncio.run(main())
