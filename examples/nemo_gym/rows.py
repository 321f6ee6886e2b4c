"""Rows of a NeMo Gym dataset, one episode each, as the service describes its task.

python examples/nemo_gym/rows.py [SPLIT] [COUNT] > train.jsonl      # from GAUNTLET_URL, by default 127.0.0.1:8000
"""

import json
import os
import sys
from typing import Any
from urllib.request import urlopen

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
AGENT = {"type": "responses_api_agents", "name": "resilience_gauntlet_simple_agent"}


def rows(split: str, count: int) -> list[dict[str, Any]]:
    """The first rows of a split; to each its seed, and the same prompt and tools, in the Responses API's shape."""
    with urlopen(f"{SERVICE}/task?suite=hardened&format=openai") as answer:  # noqa: S310 - the service's own address
        task = json.load(answer)
    prompt = {
        "input": [{"role": "user", "content": task["prompt"]}],
        "tools": [{"type": "function", **tool["function"], "strict": True} for tool in task["tools"]],
        "parallel_tool_calls": False,
    }
    first = task["seeds"][split]["low"]
    return [
        {"responses_create_params": prompt, "suite": "hardened", "split": split, "seed": first + number}
        | {"agent_ref": AGENT}
        for number in range(count)
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] not in {"train", "validation", "test"}:
        sys.exit("SPLIT is train, validation or test")
    split, count = (sys.argv[1:] + ["train", "1000"][len(sys.argv) - 1 :])[:2]
    for row in rows(split, int(count)):
        print(json.dumps(row))
