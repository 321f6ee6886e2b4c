"""Answers that nobody should give: each costs its episode at most, never the run, and never for ever."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from starlette.responses import JSONResponse, Response

from runner.answers import TaskSpec
from runner.budget import Budget
from runner.caller import Caller
from runner.client import GraderClient
from runner.episode import Episode
from runner.errors import FatalModelError, ModelError, ServiceError, TransientModelError
from runner.model import ClaudeModel, offline_client
from runner.records import Outcome
from runner.refusals import without_secrets
from runner.retry import RetryPolicy, parse_retry_after
from tests.runner.claude import HELLO, Api, message, python, refusal, reply_of, submit, text
from tests.runner.fake_service import TASK, FakeService, problem
from tests.runner.made import plan
from tests.runner.test_episode import GOOD
from tests.runner.test_openai_model import Chat, completion

pytestmark = pytest.mark.anyio

FINE = message(text(), stop="end_turn")
DEEP = '{"a":' * 400 + "1" + "}" * 400


def run(caller: Caller, service: GraderClient) -> Any:
    return Episode(plan(), TaskSpec.model_validate(TASK), caller, service).run()


def as_json(content: str) -> httpx2.Response:
    return httpx2.Response(200, content=content, headers={"content-type": "application/json"})


def without(name: str) -> Any:
    return {key: value for key, value in message(submit(GOOD)).items() if key != name}


@pytest.mark.parametrize(
    "answer",
    [
        message(text(), usage={"input_tokens": -5, "output_tokens": 1}),
        message(text(), usage={"input_tokens": "many", "output_tokens": 1}),
        message(text(), usage={"input_tokens": 1.5, "output_tokens": None}),
        message(text(), usage="none"),
        message("no block"),
        message(None),
        message({"text": "no type"}),
        message({"type": "tool_use", "name": "submit_code", "input": {}}),
        message({"type": "tool_use", "id": "a", "input": {}}),
        message({"type": "tool_use", "id": "a", "name": "submit_code"}),
        message({"type": "tool_use", "id": 7, "name": "submit_code", "input": {}}),
        message(text(), id=None),
        message(text(), model=7),
        without("model"),
        message(text(), stop="refusal", stop_details="because"),
        as_json(json.dumps(message()).replace("[]", f"[{DEEP}]")),
    ],
)  # fmt: skip
async def test_an_odd_answer_costs_its_episode_and_nothing_else(answer: Any, service: GraderClient) -> None:
    record = await run(Api(answer, forever=True).caller(), service)
    assert record.outcome in {Outcome.INFRA_ERROR, Outcome.REFUSED, Outcome.FAILED}
    assert record.error is None or not record.error.fatal
    assert json.dumps(record.model_dump(mode="json"))


@pytest.mark.parametrize(
    "answer",
    [
        completion(usage={"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}, content="x"),
        completion(usage={"prompt_tokens": None, "completion_tokens": None}, content="x"),
        {**completion(), "choices": [None]},
        {**completion(), "choices": [{"index": 0, "finish_reason": "stop", "message": None}]},
        completion(tool_calls=[{"id": "a", "type": "function", "function": {"name": "submit_code"}}]),
        completion(tool_calls=[{"type": "function", "function": {"name": "submit_code", "arguments": "{}"}}]),
        completion(content=["a", "list"]),
        completion(["stop"], content="x"),
        {**completion(content="x"), "model": 7},
    ],
)
async def test_an_odd_completion_is_no_answer(answer: Any) -> None:
    with pytest.raises(ModelError) as caught:
        await Chat(answer).model().ask(HELLO, [], "u")
    assert not isinstance(caught.value, FatalModelError)


async def test_a_completion_that_counts_no_tokens_costs_something_unknown() -> None:
    assert (await Chat(completion(content="x")).model().ask(HELLO, [], "u")).cost_usd is None


async def test_a_defect_of_ours_costs_its_episode_alone(service: GraderClient) -> None:
    class Broken:
        async def reply(self, *_: Any) -> Any:
            raise ZeroDivisionError("ours")

    record: Any = await Episode(plan(), TaskSpec.model_validate(TASK), Broken(), service).run()
    assert (record.outcome, record.feedback) == (
        Outcome.INFRA_ERROR, "defect of the runner: ZeroDivisionError: ours",
    )  # fmt: skip


# Answers that never end


@contextlib.asynccontextmanager
async def dripping(head: bytes, drop: bytes) -> AsyncIterator[str]:
    over = asyncio.Event()
    ended: list[asyncio.Event] = []

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(mine := asyncio.Event())
        with contextlib.suppress(ConnectionError):
            writer.write(head)
            while not over.is_set():
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        mine.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        await asyncio.gather(*(each.wait() for each in ended))
        server.close()


DRIPS = [
    (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n", b" "),
    (b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n"),
    (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
]


@pytest.mark.timed
@pytest.mark.parametrize(("head", "drop"), DRIPS, ids=["body", "headers", "informational"])
async def test_an_answer_that_drips_for_ever_is_given_up(head: bytes, drop: bytes) -> None:
    async with dripping(head, drop) as url, offline_client(url, timeout_s=0.3) as client:
        api = Api(FINE)
        caller = api.caller(RetryPolicy(attempts=2, first_delay_s=0.01), call_timeout_s=0.3)
        caller._provider = ClaudeModel(client, "claude-sonnet-5-5")
        began = time.monotonic()
        with pytest.raises(TransientModelError, match=r"no whole answer within 0\.3 s"):
            await reply_of(caller)
        assert time.monotonic() - began < 3


async def test_a_service_that_drips_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.client._TOTAL_TIMEOUT_S", 0.3)
    async with dripping(*DRIPS[0]) as url, GraderClient(url, retry=RetryPolicy(2, 0.01)) as client:
        with pytest.raises(ServiceError, match="did not answer POST /execute"):
            await client.execute("1")


async def test_a_model_list_that_drips_for_ever_delays_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.model._WARNING_TIMEOUT_S", 0.3)
    async with dripping(*DRIPS[0]) as url, offline_client(url) as client:
        assert await ClaudeModel(client, "claude-sonnet-5-5").warning() is None


@pytest.mark.parametrize("body", ['{"id": "m", "object": "model"}', "<html>", "[]", "null"])
async def test_a_model_list_of_another_shape_is_no_warning(body: str) -> None:
    api = Api(as_json(body), forever=True)
    assert await api.model().warning() is None


# Grades


def graded(**changes: Any) -> Callable[[], Response]:
    grade = {"passed": False, "score": 0.8, "points": 80, "feedback": "x", "suite": "classic", "seed": None}
    content = json.dumps({**grade, **changes})
    return lambda: Response(content, media_type="application/json")


@pytest.mark.parametrize(
    "answer",
    [
        graded(passed=True),
        graded(score=1.0),
        graded(passed="yes", score=1.0),
        graded(score=float("nan")),
        graded(score=float("inf")),
        graded(score=55.0),
        graded(suite="hardened", seed=7),
        graded(seed=7),
        graded(points=float("nan")),
        graded(duration_ms=float("nan")),
        graded(duration_ms=-1),
        graded(checks=[{"id": "t", "title": "t", "passed": False, "points": float("nan"), "max_points": 1}]),
    ],
)
async def test_a_grade_that_cannot_be_is_no_grade(answer: Any, fake: FakeService, service: GraderClient) -> None:
    fake.plan = [answer()]
    record = await run(Api(message(submit(GOOD))).caller(), service)
    assert (record.outcome, record.score) == (Outcome.INFRA_ERROR, None)


async def test_a_service_that_refuses_the_seed_refuses_no_submission(fake: FakeService, service: GraderClient) -> None:
    fake.plan = [problem(422, "seed: too large", errors=[{"field": "seed", "message": "too large"}])]
    record = await run(Api(message(submit(GOOD))).caller(), service)
    assert record.outcome is Outcome.INFRA_ERROR
    fake.plan = [problem(422, "code: a surrogate", errors=[{"field": "code", "message": "a surrogate"}])]
    record = await run(Api(message(submit(GOOD))).caller(), service)
    assert record.outcome is Outcome.FAILED


async def test_json_of_the_service_that_is_too_deep_is_no_answer(fake: FakeService, service: GraderClient) -> None:
    fake.plan = [Response('{"a":' * 100_000, media_type="application/json")]
    with pytest.raises(ServiceError):
        await service.execute("1")


async def test_a_turn_of_many_calls_is_bounded_by_the_limit_of_work(fake: FakeService, service: GraderClient) -> None:
    fake.plan = [JSONResponse({"status": "ok", "duration_ms": 400}) for _ in range(20)]
    calls = [python("1", f"toolu_{index}") for index in range(20)]
    record = await Episode(
        plan(work_s=1.0, steps=1), TaskSpec.model_validate(TASK), Api(message(*calls), forever=True).caller(), service
    ).run()
    assert (record.outcome, record.limit, len(fake.calls)) == (Outcome.LIMIT, "steps", 3)
    results = record.transcript[-1]["content"]
    assert len(results) == 20
    assert results[-1]["content"] == "Not carried out: the time is over. Only submit_code is still taken."


# Money and secrets


async def test_an_answer_without_a_price_ends_a_run_with_a_budget() -> None:
    caller = Api(message(text(), stop="end_turn", model="dearer-model")).caller(max_cost=1)
    with pytest.raises(
        FatalModelError, match="--max-cost cannot be kept: the cost of an answer by dearer-model is unk"
    ):
        await reply_of(caller)
    assert isinstance(caller._budget, Budget)
    assert 0.08 < caller._budget.spent_usd < 0.1  # the most it may have cost is booked


async def test_an_answer_by_a_dearer_model_ends_a_run_with_a_budget() -> None:
    usage = {"input_tokens": 10, "output_tokens": 8000}
    api = Api(message(text(), stop="end_turn", model="claude-opus-5-5", usage=usage))
    with pytest.raises(FatalModelError, match=r"by claude-opus-5-5 is \$0\.1600"):
        await reply_of(api.caller(max_cost=1))
    [call] = [event for event in api.events if event["event"] == "call"]
    assert call["booked_usd"] == call["cost_usd"] == pytest.approx(0.16, abs=0.001)


async def test_a_key_that_an_api_repeats_goes_no_further() -> None:
    api = Api(refusal(401, "authentication_error", "no such key: test, Bearer test"))
    with pytest.raises(FatalModelError) as caught:
        await reply_of(api.caller())
    assert "no such key: ***, Bearer ***" in str(caught.value)


def test_an_endpoint_is_kept_without_user_and_query() -> None:
    assert without_secrets("http://user:s3cr3t@host:8/v1/?token=abc") == "http://host:8/v1"


async def test_long_words_of_an_api_are_shortened() -> None:
    with pytest.raises(FatalModelError) as caught:
        await reply_of(Api(refusal(400, "invalid_request_error", "x" * 5_000_000)).caller())
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize("header", ["Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 01 Jan 0000 00:00:00", "-nan", "1e999"])
def test_a_date_that_is_none_is_passed_over(header: str) -> None:
    assert parse_retry_after(header) in (None, 0.0)
