"""Episodes with vf-eval of verifiers 0.4, by its `nemo_gym` taskset, and a scripted model in the place of a real one.

pip install verifiers==0.4.0 uv
python examples/nemo_gym/run.py [SUBMISSION.py]  # against GAUNTLET_URL, by default http://127.0.0.1:8000
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
ROWS = ("tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity", "guardrails")


def answer(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What a model would say: it tries one thing out, hands in, and is done."""
    calls = [
        ("python_expression", {"expression": "stats.median([5.0, 8.0])"}),
        ("submit_code", {"code": SUBMISSION.read_text()}),
    ]
    turn = sum(message["role"] == "assistant" for message in messages)
    if turn == len(calls):
        return {"content": "I have handed in."}
    name, arguments = calls[turn]
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"index": 0, "id": f"call_{turn}", "type": "function", "function": function}]}


class ScriptedModel(BaseHTTPRequestHandler):
    """The Chat Completions API, as far as vf-eval calls it: streamed."""

    def do_POST(self) -> None:
        """Answers a completion."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = answer(request["messages"])
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        last = {"delta": {}, "finish_reason": "tool_calls" if "tool_calls" in said else "stop"}
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for choice, used in (({"delta": {"role": "assistant", **said}}, None), (last, usage)):
            chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": request["model"]}
            chunk |= {"choices": [{"index": 0, **choice}], "usage": used}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        """Says nothing of each call."""


def main() -> None:
    """Has vf-eval play the rows of example.jsonl, and prints each rollout's reward."""
    model = ThreadingHTTPServer(("127.0.0.1", 0), ScriptedModel)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as outputs:
        command = ["vf-eval", "@", str(HERE / "eval.toml"), "--env.taskset.dataset", str(HERE / "example.jsonl")]
        command += ["--env.taskset.task.resources-url", SERVICE, "-o", outputs, "--no-rich"]
        command += ["--client.base-url", f"http://127.0.0.1:{model.server_port}/v1"]
        subprocess.run(command, check=True)  # noqa: S603 - its own command
        rollouts = [json.loads(line) for path in Path(outputs).rglob("traces.jsonl") for line in path.open()]
    for rollout in rollouts:
        trace = rollout["traces"][0]
        if not rollout["ok"]:
            raise SystemExit(str(trace["errors"]))
        verdict = trace["info"]["nemo_gym"]  # all that /verify answered, but for the reward
        told = {"seed": verdict["seed"], "split": verdict["split"], "rows": {row: verdict[row] for row in ROWS}}
        print(json.dumps({"reward": trace["rewards"]["nemo_gym"]["score"], **told}))


if __name__ == "__main__":
    main()
