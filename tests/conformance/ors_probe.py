"""What a user of an ORS SDK meets beside the one good episode: `python ors_probe.py ors|openreward`."""

import importlib
import json
import os
import sys
from typing import Any

URL = os.environ.get("GAUNTLET_URL", "")
BLANKS = "print(*(' ' * n + chr(955) for n in range(170)), sep='')"


def environments(sdk: str) -> Any:
    if sdk == "ors":
        return importlib.import_module("ors.client").EnvironmentsAPI(URL)
    return importlib.import_module("openreward").OpenReward().environments


def environment(api: Any, sdk: str, name: str) -> Any:
    return api.get(name, base_url=URL) if sdk == "ors" else api.get(name, variant=name, base_url=URL)


def raised(call: Any) -> dict[str, Any]:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one it is is the question
        status = getattr(error, "status", None)
        return {"type": type(error).__name__, "text": str(error), "status": status} | vars(error)
    raise AssertionError("nothing was raised")


def main(sdk: str) -> dict[str, Any]:
    api = environments(sdk)
    gauntlet = environment(api, sdk, "resilience-gauntlet")
    told: dict[str, Any] = {
        "splits": gauntlet.list_splits(),
        "counts": [gauntlet.num_tasks(split) for split in ("train", "validation")],
        "tasks": len(gauntlet.list_tasks("train")),
        "range": [task.task_spec["seed"] for task in gauntlet.get_task_range("validation", -2)],
        "tools": [tool.name for tool in gauntlet.list_tools()],
        "no_environment": raised(environment(api, sdk, "nobody").list_tools)["status"],
        "no_index": raised(lambda: gauntlet.get_task("train", 10_000))["text"],
    }
    with gauntlet.session(split="train", index=3) as session:
        blanks = session.call_tool("python_expression", {"expression": BLANKS})
        told["long"] = blanks.blocks[0].text
        told["open"] = [blanks.reward, blanks.finished, blanks.metadata["seed"], blanks.metadata["steps"]]
        told["no_tool"] = raised(lambda: session.call_tool("no_such_tool", {}))
        told["unfit"] = raised(lambda: session.call_tool("submit_code", {"source": ""}))
        told["ended"] = session.call_tool("submit_code", {"code": ""}).finished
        told["again"] = raised(lambda: session.call_tool("submit_code", {"code": ""}))
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1]), default=str) + "\n")
