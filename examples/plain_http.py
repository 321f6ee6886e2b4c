"""One episode over plain HTTP.

pip install httpx
python examples/plain_http.py [SUBMISSION.py]      # against GAUNTLET_URL, by default http://127.0.0.1:8000
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
SUBMISSION = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("solution.py"))


def checked(answer: httpx.Response) -> Any:
    """What was answered; the service says why where it refuses."""
    if answer.is_error:
        sys.exit(f"{answer.status_code}: {answer.json()['detail']}")
    return answer.json()


def main() -> None:
    """Plays a model that tries one thing out and then hands in what stands in a file."""
    with httpx.Client(base_url=SERVICE, timeout=120) as service:
        episode = checked(service.post("/episodes", json={"split": "validation"}))
        tools = f"/episodes/{episode['id']}/tools"  # a model would get episode["prompt"] and episode["tools"]
        tried = checked(service.post(f"{tools}/python_expression", json={"expression": "stats.median([5.0, 8.0])"}))
        print(tried["text"])
        ended = checked(service.post(f"{tools}/submit_code", json={"code": SUBMISSION.read_text()}))
        print(ended["text"])
        print(json.dumps({name: ended[name] for name in ("reward", "seed", "split", "rows")}))


if __name__ == "__main__":
    main()
