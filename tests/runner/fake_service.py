"""A grading service on a real port that runs trusted code in this process, and misbehaves on request."""

import asyncio
import contextlib
import hashlib
import io
import itertools
import math
import socket
import statistics
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.runner import rubric

PIPELINE = """
def process_batch(events, state):
    values = [float(event["reading"]) for event in events]
    mean = sum(values) / len(values)
    std = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    clean = [e for e, v in zip(events, values) if abs(v - mean) / std < state["z_cutoff"]]
    state["seen"] += len(events)
    if state["seen"] > state["limit"]:
        state["buffer"].extend(events)
    return {"clean": clean, "mean": mean, "std": std, "alerts": [], "state": state}
"""

TASK: dict[str, Any] = {
    "id": "resilience-gauntlet",
    "version": "1",
    "prompt": f"Repair this pipeline.\n\n```python{PIPELINE}```\n\nHand in with submit_code.",
    "tools": [
        {
            "name": name,
            "description": name,
            "input_schema": {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]},
        }
        for name, field in (("python_expression", "expression"), ("submit_code", "code"))
    ],
    "target_pass_band": {"low": 0.10, "high": 0.40},
}


class FakeService:
    """Answers like the service; `plan` replaces the answers to come, `calls` tells what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.plan: list[Response] = []
        self.headers: list[Any] = []
        self.url = ""
        self.delay_s = 0.0
        self.prompt_suffix = ""
        self.task_changes: dict[str, Any] = {}
        self.fault: Response | None = None  # answers every grade
        self.graded: Iterator[Response | None] = itertools.repeat(None)  # answers some

    async def _task(self, request: Any) -> Any:
        suite = request.query_params.get("suite", "classic")
        return await self._answer(
            request,
            ("task", dict(request.query_params)),
            lambda: {**TASK, "prompt": TASK["prompt"] + self.prompt_suffix, "suite": suite, **self.task_changes},
        )

    async def _health(self, request: Any) -> Any:
        return JSONResponse({"status": "healthy", "grader_version": "fake"})

    async def _execute(self, request: Any) -> Any:
        body = await request.json()
        return await self._answer(request, ("execute", body), lambda: execute(body["expression"]))

    async def _grade(self, request: Any) -> Any:
        body = await request.json()
        return await self._answer(
            request,
            ("grade", body),
            lambda: {
                **rubric.grade(body["code"]),
                "suite": body["suite"],
                "seed": body.get("seed"),
                "grader_version": "fake",
                "code_sha256": hashlib.sha256(body["code"].encode()).hexdigest(),
                "duration_ms": 1,
            },
        )

    async def _answer(self, request: Any, call: Any, make: Any) -> Any:
        self.calls.append(call)
        self.headers.append(dict(request.headers))
        await asyncio.sleep(self.delay_s)
        if call[0] == "grade" and (fault := self.fault or next(self.graded)) is not None:
            return fault
        return self.plan.pop(0) if self.plan else JSONResponse(make())

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/task", self._task),
                Route("/health", self._health),
                Route("/execute", self._execute, methods=["POST"]),
                Route("/grade", self._grade, methods=["POST"]),
            ]
        )

    @contextlib.contextmanager
    def serving(self) -> Iterator[Any]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            config = uvicorn.Config(self.app(), log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                yield self
            finally:
                server.should_exit = True
                thread.join()


def execute(expression: str) -> dict[str, Any]:
    out = io.StringIO()
    scope = {"print": lambda *words: print(*words, file=out), "math": math, "stats": statistics}
    answer: dict[str, Any] = {"status": "ok", "stderr": "", "result": None, "error": None, "truncated": False}
    try:
        exec(expression, scope)
    except Exception as error:  # noqa: BLE001  whatever the code raises
        answer |= {"status": "error", "error": f"{type(error).__name__}: {error}"}
    return answer | {"stdout": out.getvalue(), "duration_ms": 1}


def problem(status: int, detail: str, **more: Any) -> JSONResponse:
    headers = more.pop("headers", None)
    body = {"type": "about:blank", "title": "Problem", "status": status, "detail": detail, **more}
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")
