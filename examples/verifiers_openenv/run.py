"""Episodes with vf-eval of verifiers 0.4, by its `openenv` taskset: eval.toml says of which seeds.

pip install 'verifiers[openenv]' uv
python examples/verifiers_openenv/run.py [SUBMISSION.py]  # against GAUNTLET_URL, by default http://127.0.0.1:8000
vf-eval @ examples/verifiers_openenv/eval.toml -m MODEL --client.base-url URL  # a real model in place of the scripted
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
SUBMISSION = Path(sys.argv[1] if len(sys.argv) > 1 else HERE.with_name("solution.py"))


def answer(messages: list[dict[str, Any]]) -> str:
    """What a model would say: each reply is an OpenEnv action, as JSON."""
    turn = sum(message["role"] == "assistant" for message in messages)
    if turn == 0:
        call = {"tool_name": "python_expression", "arguments": {"expression": "stats.median([5.0, 8.0])"}}
    else:
        call = {"tool_name": "submit_code", "arguments": {"code": SUBMISSION.read_text()}}
    return json.dumps({"type": "call_tool", **call})


class ScriptedModel(BaseHTTPRequestHandler):
    """The Chat Completions API, as far as vf-eval calls it: streamed."""

    def do_POST(self) -> None:
        """Answers a completion."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        delta = {"role": "assistant", "content": answer(request["messages"])}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for choice, used in (({"delta": delta}, None), ({"delta": {}, "finish_reason": "stop"}, usage)):
            chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": request["model"]}
            chunk |= {"choices": [{"index": 0, **choice}], "usage": used}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        """Says nothing of each call."""


def main() -> None:
    """Has vf-eval play the tasks of eval.toml, and prints each rollout's reward."""
    model = ThreadingHTTPServer(("127.0.0.1", 0), ScriptedModel)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as outputs:
        command = ["vf-eval", "@", str(HERE / "eval.toml"), "--env.taskset.base-url", SERVICE, "-o", outputs]
        command += ["--client.base-url", f"http://127.0.0.1:{model.server_port}/v1", "--no-rich"]
        subprocess.run(command, check=True)  # noqa: S603 - made of nothing but the above
        rollouts = [json.loads(line) for path in Path(outputs).rglob("traces.jsonl") for line in path.open()]
    for rollout in rollouts:
        trace = rollout["traces"][0]
        if not rollout["ok"]:
            sys.exit(f"a rollout failed: {trace['errors']}")
        reward = trace["rewards"]["openenv_reward"]["score"]
        print(json.dumps({"reward": reward, **rollout["task"]["data"]["reset"]}))


if __name__ == "__main__":
    main()
