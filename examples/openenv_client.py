"""One episode with OpenEnv's GenericEnvClient.

pip install openenv
python examples/openenv_client.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import json
import os
import sys
from pathlib import Path

from openenv import GenericAction, GenericEnvClient

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
SUBMISSION = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py"))


def call_tool(name: str, **arguments: str) -> GenericAction:
    """The action that calls a tool."""
    return GenericAction(type="call_tool", tool_name=name, arguments=arguments)


def main() -> None:
    """Plays a model that tries one thing out and then hands in what stands in a file."""
    with GenericEnvClient(base_url=SERVICE, message_timeout_s=120) as env:
        tools = env.step({"type": "list_tools"}).observation["tools"]
        prompt = env.reset(split="validation").observation["prompt"]  # a model would get this, and the tools
        print(f"{len(prompt)} characters of prompt, tools: {', '.join(tool['name'] for tool in tools)}")
        print(env.step(call_tool("python_expression", expression="stats.median([5.0, 8.0])")).observation["result"])
        ended = env.step(call_tool("submit_code", code=SUBMISSION.read_text()))
        print(ended.observation["result"])
        told = {name: ended.metadata[name] for name in ("seed", "split", "rows")}
        print(json.dumps({"reward": ended.reward, **told}))


if __name__ == "__main__":
    main()
