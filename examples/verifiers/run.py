"""Episodes with vf-eval of verifiers 0.4, over OpenEnv or NeMo Gym, and a scripted model in the place of a real one.

pip install 'verifiers[openenv]' uv
python examples/verifiers/run.py openenv [SUBMISSION.py]      # or nemo_gym; against GAUNTLET_URL
vf-eval @ examples/verifiers/openenv.toml -m MODEL --client.base-url URL      # a real model in place of the scripted
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SERVICE = os.environ.get("GAUNTLET_URL", "http://127.0.0.1:8000")
TASKSET = sys.argv[1]
SUBMISSION = Path(sys.argv[2] if len(sys.argv) > 2 else HERE.with_name("solution.py"))
ROWS = ("tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity", "guardrails")
CALLS = [
    ("python_expression", {"expression": "stats.median([5.0, 8.0])"}),
    ("submit_code", {"code": SUBMISSION.read_text()}),
]
OPTIONS = {
    "openenv": ["--env.taskset.base-url", SERVICE],
    "nemo_gym": [
        "--env.taskset.dataset", str(HERE.with_name("nemo_gym") / "example.jsonl"),
        "--env.taskset.task.resources-url", SERVICE,
    ],
}  # fmt: skip


def said(turn: int) -> dict[str, Any]:
    """What a model would say: it tries one thing out, hands in, and is done."""
    if turn == len(CALLS):
        return {"content": "I have handed in."}
    name, arguments = CALLS[turn]
    if TASKSET == "openenv":  # over OpenEnv, what a model says is an action, as JSON
        return {"content": json.dumps({"type": "call_tool", "tool_name": name, "arguments": arguments})}
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"index": 0, "id": f"call_{turn}", "type": "function", "function": function}]}


class ScriptedModel(BaseHTTPRequestHandler):
    """The Chat Completions API, as far as vf-eval calls it: streamed."""

    def do_POST(self) -> None:
        """Answers a completion."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        delta = said(sum(message["role"] == "assistant" for message in request["messages"]))
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        last = {"delta": {}, "finish_reason": "tool_calls" if "tool_calls" in delta else "stop"}
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for choice, used in (({"delta": {"role": "assistant", **delta}}, None), (last, usage)):
            chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": request["model"]}
            chunk |= {"choices": [{"index": 0, **choice}], "usage": used}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        """Says nothing of each call."""


def reward_of(rollout: dict[str, Any]) -> dict[str, Any]:
    """What a rollout earned; over OpenEnv, vf-eval keeps no rows."""
    if not rollout["ok"]:
        sys.exit(f"a rollout failed: {json.dumps(rollout)[-2000:]}")
    trace = rollout["traces"][0]
    if TASKSET == "openenv":
        return {"reward": trace["rewards"]["openenv_reward"]["score"], **rollout["task"]["data"]["reset"]}
    told = trace["info"]["nemo_gym"]  # all that /verify answered, but for the reward
    rows = {row: told[row] for row in ROWS}
    return {"reward": trace["rewards"]["nemo_gym"]["score"], "seed": told["seed"], "split": told["split"], "rows": rows}


def main() -> None:
    """Has vf-eval play the tasks, and prints each rollout's reward."""
    model = ThreadingHTTPServer(("127.0.0.1", 0), ScriptedModel)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as outputs:
        command = ["vf-eval", "@", str(HERE / f"{TASKSET}.toml"), *OPTIONS[TASKSET], "-o", outputs, "--no-rich"]
        command += ["--client.base-url", f"http://127.0.0.1:{model.server_port}/v1"]
        subprocess.run(command, check=True)  # noqa: S603 - made of nothing but the above
        rollouts = [json.loads(line) for path in Path(outputs).rglob("traces.jsonl") for line in path.open()]
    for rollout in rollouts:
        print(json.dumps(reward_of(rollout)))


if __name__ == "__main__":
    main()
