"""Has the service grade what the agent left, and writes the reward, in a container that the agent never saw.

The reward is only ever written from a grade. Where the service gives none, no file is left: Harbor reports an error,
never a zero. An agent that handed in nothing is graded on that, and gets its zero.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SERVICE = os.environ.get("GAUNTLET_URL", "http://service:8000")
SEED = os.environ.get("GAUNTLET_SEED")  # of the validation split; drawn where there is none
SUBMISSION = Path("/app/process_batch.py")
WITNESS = Path("/app/fragile_pipeline.py")  # of the agent's image: shows that collecting worked
LOGS = Path("/logs/verifier")
READ_BYTES = 1 << 20  # more than any service takes
REFUSED = (413, 422)  # too large, or no source at all: the submission's own fault
SERVICE_FAULTS = 500
PAUSES_S = (0, 1, 4)


def main() -> None:
    """Writes `reward.json` (the score, and the six rows' points), and beside it the whole grade."""
    ended = graded(submission())
    rows = {row["id"]: row["points"] for row in ended["grade"]["checks"]}
    (LOGS / "grade.json").write_text(json.dumps(ended, indent=2))
    (LOGS / "reward.json").write_text(json.dumps({"reward": ended["reward"], **rows}))
    print(ended["text"], f"seed: {ended['seed']}", sep="\n")


def submission() -> str:
    """What the agent left, empty where it left none. A link is none: it could lead to anybody's file."""
    if SUBMISSION.is_file() and not SUBMISSION.is_symlink():
        with SUBMISSION.open("rb") as file:
            return file.read(READ_BYTES).decode("utf-8-sig", "replace")
    if not (os.path.lexists(SUBMISSION) or os.path.lexists(WITNESS)):
        sys.exit("nothing of the agent's container arrived here: no reward")
    print("nothing was handed in")
    return ""


def graded(code: str) -> dict[str, Any]:
    """The episode with its grade, on one seed however often it has to be tried."""
    episode = {"split": "validation", "seed": int(SEED) if SEED else None}
    for pause_s in PAUSES_S:
        time.sleep(pause_s)
        try:
            begun = post("/episodes", episode)
            episode["seed"] = begun["seed"]
            ended = submit(begun["id"], code)
        except urllib.error.HTTPError as refused:
            print(f"the service refused: {refused.code} {refused.read(1000).decode(errors='replace')}")
            if refused.code < SERVICE_FAULTS:  # it would refuse again: a seed of another split, say
                break
            continue
        except (OSError, ValueError) as error:
            print(f"the service failed: {error}")
            continue
        if ended["reward"] is not None:
            return ended
        print(ended["text"])
    sys.exit("the service gave no grade: no reward")


def submit(episode_id: str, code: str) -> dict[str, Any]:
    """Hands it in; what the service refuses to read counts as nothing."""
    path = f"/episodes/{episode_id}/tools/submit_code"
    try:
        return post(path, {"code": code})
    except urllib.error.HTTPError as refused:
        if refused.code not in REFUSED:
            raise
        print(f"refused: {refused.read(1000).decode(errors='replace')}")
        return post(path, {"code": ""})


def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Asks the service."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(SERVICE + path, json.dumps(body).encode(), headers)  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        return json.load(answer)


if __name__ == "__main__":
    main()
