"""The real SDK with a scripted transport: each request takes the next reply."""

import itertools
import json
from typing import Any

import httpx2
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

from runner.budget import Budget
from runner.caller import Caller
from runner.model import ClaudeModel
from runner.records import Turn
from runner.retry import RetryPolicy
from runner.throttle import Throttle
from tests.runner.made import plan

HELLO = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
FAST = RetryPolicy(attempts=4, first_delay_s=0.001, max_delay_s=0.02)


def text(words: Any = "Thinking about it.") -> Any:
    return {"type": "text", "text": words}


def thinking(words: Any = "Hm.") -> Any:
    return {"type": "thinking", "thinking": words, "signature": "c2lnbmVk"}


def use(name: Any, field: Any, value: Any, identifier: Any = "toolu_1") -> Any:
    return {"type": "tool_use", "id": identifier, "name": name, "input": {field: value}}


def python(expression: Any, identifier: Any = "toolu_1") -> Any:
    return use("python_expression", "expression", expression, identifier)


def submit(code: Any, identifier: Any = "toolu_9") -> Any:
    return use("submit_code", "code", code, identifier)


def message(*content: Any, stop: Any = "tool_use", **changes: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 2,
        },
        **changes,
    }


def reply(body: Any, status: Any = 200, **headers: Any) -> httpx2.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json=body, headers={"request-id": "req_1", **headers})


def refusal(status: Any, kind: Any = "api_error", words: Any = "Overloaded", **headers: Any) -> httpx2.Response:
    return reply({"type": "error", "error": {"type": kind, "message": words}}, status, **headers)


class Api:
    """Holds the replies to come and the requests that came; the last reply repeats when `forever`."""

    def __init__(self, *replies: Any, forever: Any = False) -> None:
        self._replies = itertools.chain(replies, itertools.repeat(replies[-1])) if forever else iter(replies)
        self.requests: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.headers: list[httpx2.Headers] = []

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(json.loads(request.content))
        self.headers.append(request.headers)
        answer = next(self._replies)
        if isinstance(answer, Exception):
            raise answer
        return reply(answer) if isinstance(answer, dict) else answer

    def model(self, name: Any = "claude-sonnet-5-5") -> ClaudeModel:
        http = DefaultAsyncHttpxClient(transport=httpx2.MockTransport(self.handle))
        client = AsyncAnthropic(api_key="test", base_url="http://api.test", max_retries=0, http_client=http)
        return ClaudeModel(client, name)

    def caller(
        self,
        policy: Any = FAST,
        name: Any = "claude-sonnet-5-5",
        concurrency: Any = 10,
        max_cost: Any = None,
        call_timeout_s: Any = 300.0,
    ) -> Caller:
        return Caller(
            self.model(name),
            policy=policy,
            throttle=Throttle(concurrency, lambda allowed: self.log("concurrency", allowed=allowed)),
            budget=Budget(max_cost),
            journal=self.log,
            call_timeout_s=call_timeout_s,
        )

    def log(self, kind: str, /, **fields: Any) -> None:
        self.events.append({"event": kind, **fields})


async def reply_of(caller: Caller, messages: Any = HELLO, spare_wait_s: float = 60.0, episode: int = 1) -> Turn:
    return await caller.reply(plan(episode), messages, [], spare_wait_s)
