"""One episode by the Open Reward Standard's own client.

pip install ors-sdk
python examples/ors_client.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import json
import os
import sys
from pathlib import Path

from ors.client import ORS

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
SUBMISSION = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py"))


def main() -> None:
    """Plays a model that tries one thing out and then hands in what stands in a file."""
    with ORS(base_url=SERVICE) as client:
        environment = client.environment("resilience-gauntlet")
        task = environment.get_task("validation", index=7)
        with environment.session(task) as session:
            print(session.get_prompt()[0].text[:72])  # a model would get it whole,
            print([tool["name"] for tool in session.list_tools(format="openai")])  # and these
            tried = session.call_tool("python_expression", {"expression": "stats.median([5.0, 8.0])"})
            print(tried.blocks[0].text)
            ended = session.call_tool("submit_code", {"code": SUBMISSION.read_text()})
    print(ended.blocks[0].text)
    told = {name: ended.metadata[name] for name in ("seed", "split", "rows")}
    print(json.dumps({"reward": ended.reward, **told}))


if __name__ == "__main__":
    main()
