"""One episode by OpenReward's client, against a service of your own.

pip install openreward
python examples/openreward_client.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENREWARD_DISABLE_UPDATE_CHECK", "1")  # it would ask the package index

from openreward import OpenReward

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
SUBMISSION = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py"))


def main() -> None:
    """Plays a model that tries one thing out and then hands in what stands in a file."""
    with OpenReward() as client:  # its base_url would be given a subdomain: the environment takes one as it is
        environment = client.environments.get("resilience-gauntlet", base_url=SERVICE)
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
