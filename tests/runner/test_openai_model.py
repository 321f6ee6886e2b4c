"""The other API, through its real SDK."""

import json
import re
from typing import Any

import httpx2
import openai
import pytest

from runner.answers import TaskSpec
from runner.budget import Budget
from runner.caller import Caller
from runner.client import GraderClient
from runner.episode import Episode
from runner.errors import ContextOverflowError, FatalModelError, ModelError, TransientModelError
from runner.offline.policies import policy_for, script
from runner.openai_model import OpenAIModel, live_openai
from runner.records import Outcome
from runner.throttle import Throttle
from tests.runner import rubric
from tests.runner.claude import FAST, HELLO
from tests.runner.fake_service import TASK
from tests.runner.made import plan

pytestmark = pytest.mark.anyio


def completion(finish: Any = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-5-5",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": None, **message}}
        ],
        "usage": usage,
    }


def call(name: str, arguments: str, identifier: str = "call_1") -> dict[str, Any]:
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


class Chat:
    """A scripted transport under the SDK."""

    def __init__(self, *answers: Any) -> None:
        self._answers = iter(answers)
        self.requests: list[dict[str, Any]] = []

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(json.loads(request.content))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        return httpx2.Response(200, json=answer, headers={"x-request-id": "req_1"})

    def model(self, handle: Any = None) -> OpenAIModel:
        http = openai.DefaultAsyncHttpxClient(transport=httpx2.MockTransport(handle or self.handle))
        client = openai.AsyncOpenAI(api_key="k", base_url="http://chat.test/v1", max_retries=0, http_client=http)
        return OpenAIModel(client, "gpt-5-5", max_tokens=100)


def played(request: httpx2.Request) -> httpx2.Response:
    """The offline policies, spoken as Chat Completions."""
    body = json.loads(request.content)
    found = re.search(r"-(\d+)$", body["user"])
    assert found
    steps = script(policy_for(0, int(found[1])), body["messages"][0]["content"])
    taken = sum(message["role"] == "assistant" for message in body["messages"])
    answered = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    asked = [c["id"] for message in body["messages"] for c in message.get("tool_calls", ())]
    assert answered == asked
    calls = [
        call(use.name, json.dumps(use.input), f"call_{taken}_{index}")
        for index, use in enumerate(steps[taken].tool_uses)
    ]
    usage = {
        "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
        "prompt_tokens_details": {"cached_tokens": 60},
    }  # fmt: skip
    return httpx2.Response(200, json=completion("tool_calls", usage, content=steps[taken].text, tool_calls=calls))


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_an_episode_runs_over_chat_completions_as_over_the_messages_api(
    number: int, service: GraderClient
) -> None:
    model = Chat().model(played)
    caller = Caller(model, policy=FAST, throttle=Throttle(1), budget=Budget(None), journal=lambda *_, **__: None)
    record = await Episode(plan(number), TaskSpec.model_validate(TASK), caller, service).run()
    policy = policy_for(0, number)
    assert record.error is None
    assert (record.code, record.score) == (policy.source, rubric.grade(policy.source)["score"])
    assert (record.usage.input_tokens, record.usage.cache_read_input_tokens) == (40 * record.steps, 60 * record.steps)
    assert record.model == "gpt-5-5"


async def test_the_request_says_what_the_episode_said() -> None:
    chat = Chat(completion(content="hm"))
    history: Any = [
        {"role": "user", "content": [{"type": "text", "text": "task"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "x"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "a", "name": "python_expression", "input": {"expression": "1"}},
                {"type": "tool_use", "id": "b", "name": "python_expression", "input": "{broken"},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {"type": "tool_result", "tool_use_id": "b", "content": "no", "is_error": True},
                {"type": "text", "text": "go on"},
            ],
        },
    ]
    await chat.model().ask(history, TASK["tools"], "run-1")
    [request] = chat.requests
    assert request["messages"] == [
        {"role": "user", "content": "task"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                call("python_expression", '{"expression": "1"}', "a"),
                call("python_expression", "{broken", "b"),
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "no"},
        {"role": "user", "content": "go on"},
    ]
    assert [tool["function"]["name"] for tool in request["tools"]] == ["python_expression", "submit_code"]
    assert request["tools"][0]["function"]["parameters"] == TASK["tools"][0]["input_schema"]
    assert (request["model"], request["max_completion_tokens"], request["user"]) == ("gpt-5-5", 100, "run-1")


@pytest.mark.parametrize(
    ("finish", "message", "stop"),
    [
        ("stop", {"content": "done"}, "end_turn"),
        ("length", {"content": "and th"}, "max_tokens"),
        ("content_filter", {"content": None}, "refusal"),
        ("stop", {"refusal": "I will not"}, "refusal"),
        ("tool_calls", {"tool_calls": [call("submit_code", "{}")]}, "tool_use"),
        ("stop", {"tool_calls": [call("submit_code", "{}")]}, "tool_use"),
        ("length", {"tool_calls": [call("submit_code", '{"code": "de')]}, "max_tokens"),
        ("novel_reason", {"content": "x"}, "novel_reason"),
    ],
)
async def test_finish_reasons_become_stop_reasons(finish: str, message: Any, stop: str) -> None:
    turn = await Chat(completion(finish, **message)).model().ask(HELLO, [], "u")
    assert turn.stop_reason == stop


async def test_arguments_that_are_no_json_reach_the_tool_as_text(service: GraderClient) -> None:
    good = policy_for(0, 3).source
    answers = [
        completion("tool_calls", tool_calls=[call("submit_code", "{'code': 1")]),
        completion("tool_calls", tool_calls=[call("submit_code", json.dumps({"code": good}))]),
    ]
    chat = Chat(*answers)
    caller = Caller(chat.model(), policy=FAST, throttle=Throttle(1), budget=Budget(None), journal=lambda *_, **__: None)
    record = await Episode(plan(1), TaskSpec.model_validate(TASK), caller, service).run()
    assert record.outcome is Outcome.PASSED
    assert "takes exactly one argument" in chat.requests[1]["messages"][-1]["content"]


async def test_reasoning_is_kept_for_the_transcript() -> None:
    turn = await Chat(completion(content="x", reasoning_content="first, …")).model().ask(HELLO, [], "u")
    assert turn.content[0] == {"type": "thinking", "thinking": "first, …"}


def refused(status: int, code: str = "", words: str = "no", **headers: str) -> httpx2.Response:
    body = {"error": {"message": words, "type": "some_error", "code": code or None}}
    return httpx2.Response(status, json=body, headers=headers)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (refused(429, **{"retry-after": "7"}), TransientModelError, "429 some_error: no"),
        (refused(500), TransientModelError, "500"),
        (refused(429, "insufficient_quota", "no money"), FatalModelError, "no money"),
        (refused(401), FatalModelError, "check OPENAI_API_KEY"),
        (refused(404), FatalModelError, "check --model gpt-5-5"),
        (refused(400, "context_length_exceeded", "too long"), ContextOverflowError, "too long"),
        (httpx2.RemoteProtocolError("peer closed"), TransientModelError, "peer closed"),
        (httpx2.Response(200, text="<html>", headers={"content-type": "text/html"}), TransientModelError, "no compl"),
        ({"object": "error", "message": "loading"}, TransientModelError, "no completion"),
        (completion(None, content="cut"), TransientModelError, "cut off"),
    ],
)
async def test_refusals_and_broken_answers_mean_what_they_mean_elsewhere(answer: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        await Chat(answer).model().ask(HELLO, [], "u")


async def test_a_bad_request_in_mid_conversation_costs_its_episode_alone() -> None:
    later = [*HELLO, {"role": "assistant", "content": [{"type": "text", "text": "x"}]}, *HELLO]
    spoken = [{**message, "content": [{"type": "text", "text": "x"}]} for message in later]
    with pytest.raises(ModelError) as caught:
        await Chat(refused(400)).model().ask(spoken, [], "u")
    assert not isinstance(caught.value, FatalModelError)


async def test_a_missing_key_is_found_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(FatalModelError, match="OPENAI_API_KEY"):
        async with live_openai("m", max_tokens=1, timeout_s=1):
            pass


async def test_the_endpoint_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    async with live_openai("m", max_tokens=1, timeout_s=1) as model:
        assert model.endpoint == "http://127.0.0.1:9/v1"
        with pytest.raises(TransientModelError, match=r"no answer from http://127\.0\.0\.1:9/v1"):
            await model.ask([{"role": "user", "content": [{"type": "text", "text": "x"}]}], [], "u")
    monkeypatch.setenv("OPENAI_BASE_URL", "api.example.com")
    with pytest.raises(FatalModelError, match="OPENAI_BASE_URL"):
        async with live_openai("m", max_tokens=1, timeout_s=1):
            pass
