import asyncio
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from runner.errors import ContextOverflowError, FatalModelError, ModelError
from runner.model import ClaudeModel, live_client, offline_client
from runner.offline.server import serve_offline
from runner.retry import RetryPolicy, parse_retry_after
from tests.runner.claude import Api, message, refusal, reply, reply_of, submit, text

pytestmark = pytest.mark.anyio

FINE = message(text(), stop="end_turn")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_transient_statuses_are_retried(status: int) -> None:
    api = Api(refusal(status), refusal(status), FINE)
    turn = await reply_of(api.caller())
    assert (turn.attempts, len(api.requests)) == (3, 3)


@pytest.mark.parametrize(
    "fault",
    [
        httpx2.RemoteProtocolError("peer closed connection"),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        httpx2.Response(200, content=b'{"id": "msg_1", "type": "mess', headers={"content-type": "application/json"}),
        httpx2.Response(200, content=b"<html>", headers={"content-type": "text/html"}),
        reply({**FINE, "stop_reason": None}),
        reply({"type": "message"}),
    ],
    ids=["dropped", "refused", "timeout", "cut-json", "html", "no-stop-reason", "no-content"],
)
async def test_dropped_late_and_truncated_answers_are_retried(fault: Any) -> None:
    api = Api(fault, FINE)
    assert (await reply_of(api.caller())).attempts == 2


async def test_attempts_are_limited_and_the_last_reason_is_told() -> None:
    api = Api(refusal(529, "overloaded_error", "Overloaded"), forever=True)
    with pytest.raises(ModelError, match=r"529 overloaded_error: Overloaded.*req_1") as caught:
        await reply_of(api.caller())
    assert len(api.requests) == 4
    assert not isinstance(caught.value, FatalModelError)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
async def test_errors_that_every_call_would_meet_are_fatal_at_once(status: int) -> None:
    api = Api(refusal(status, "some_error", "spend limit reached", request_id="req_7"), forever=True)
    with pytest.raises(FatalModelError, match=r"spend limit reached.*req_7") as caught:
        await reply_of(api.caller())
    assert (len(api.requests), caught.value.status, caught.value.request_id) == (1, status, "req_7")


async def test_an_unknown_model_names_the_option() -> None:
    api = Api(refusal(404, "not_found_error", "model: claude-x"))
    with pytest.raises(FatalModelError, match=r"--model claude-x"):
        await reply_of(api.caller(name="claude-x"))


async def test_an_overlong_prompt_is_told_apart_from_other_bad_requests() -> None:
    api = Api(refusal(400, "invalid_request_error", "prompt is too long: 2 > 1"))
    with pytest.raises(ContextOverflowError):
        await reply_of(api.caller())


async def test_the_server_may_say_not_to_retry() -> None:
    api = Api(refusal(529, x_should_retry="false"), FINE)
    with pytest.raises(ModelError):
        await reply_of(api.caller())
    assert len(api.requests) == 1


async def test_the_server_may_ask_for_a_retry_of_a_bad_request() -> None:
    api = Api(refusal(400, x_should_retry="true"), FINE)
    assert (await reply_of(api.caller())).attempts == 2


@pytest.mark.timed
async def test_retry_after_is_capped() -> None:
    api = Api(refusal(529, retry_after="3600"), refusal(429, retry_after="3600"), FINE)
    started = time.monotonic()
    await reply_of(api.caller(RetryPolicy(attempts=3, max_delay_s=0.05)))
    assert 0.1 <= time.monotonic() - started < 2


async def test_retry_after_is_honoured() -> None:
    api = Api(refusal(503, retry_after="0.2"), FINE)
    started = time.monotonic()
    await reply_of(api.caller(RetryPolicy(attempts=2, first_delay_s=0.001, max_delay_s=5)))
    assert time.monotonic() - started >= 0.2


async def test_a_rate_limit_holds_back_every_caller_of_the_model() -> None:
    api = Api(refusal(429, retry_after="0.3"), FINE, forever=True)
    caller = api.caller(RetryPolicy(attempts=2, max_delay_s=5))
    first = asyncio.create_task(reply_of(caller))
    while not api.requests:  # noqa: ASYNC110  the transport has no event to wait for
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    started = time.monotonic()
    await reply_of(caller)
    assert time.monotonic() - started >= 0.25
    await first


async def test_waiting_for_a_retry_can_be_cancelled() -> None:
    api = Api(refusal(529, retry_after="30"), forever=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reply_of(api.caller(RetryPolicy()))


async def test_a_turn_tells_who_answered_at_what_cost() -> None:
    api = Api(reply({**message(submit("x")), "model": "claude-sonnet-5-5-20261001"}, request_id="req_9"))
    turn = await reply_of(api.caller())
    assert (turn.model, turn.request_id, turn.message_id) == ("claude-sonnet-5-5-20261001", "req_9", "msg_1")
    assert turn.usage.model_dump() == {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 2,
    }


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_PROFILE",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_CONFIG_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("no_credentials")
async def test_a_missing_key_is_found_before_the_first_call() -> None:
    with pytest.raises(FatalModelError, match=r"set ANTHROPIC_API_KEY"):
        async with live_client():
            pass


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize("key", ["sk-ant-x\n", "sk ant", "sk-änt"])
async def test_a_mangled_key_is_found_before_the_first_call(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    with pytest.raises(FatalModelError, match=r"ANTHROPIC_API_KEY"):
        async with live_client():
            pass


@pytest.mark.usefixtures("no_credentials")
async def test_a_bad_base_url_is_found_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-x")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "api.example.com")
    with pytest.raises(FatalModelError, match=r"ANTHROPIC_BASE_URL"):
        async with live_client():
            pass


@pytest.mark.usefixtures("no_credentials")
async def test_the_live_client_takes_its_base_url_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-x")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    async with live_client() as client:
        assert str(client.base_url).startswith("http://127.0.0.1:9")
        assert client.max_retries == 0


def test_backoff_doubles_up_to_the_cap_and_is_jittered() -> None:
    policy = RetryPolicy(first_delay_s=1, max_delay_s=8)
    for attempt, ceiling in enumerate([1, 2, 4, 8, 8, 8], start=1):
        delays = [policy.delay_s(attempt) for _ in range(200)]
        assert ceiling / 2 <= min(delays) < max(delays) <= ceiling
        assert len(set(delays)) > 100


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_read_in_every_form(header: Any, seconds: Any) -> None:
    assert parse_retry_after(header) == seconds


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("claude-sonnet-4-5", "Warning: claude-sonnet-4-5 is deprecated, retires on 2026-11-30"),
        ("claude-sonnet-4-20250514", "Warning: claude-sonnet-4-20250514 is retired"),
        ("claude-sonnet-5-5", None),
        ("claude-of-somebody-elses-endpoint", None),
    ],
)
async def test_a_model_that_retires_is_warned_of(name: str, warning: str | None) -> None:
    async with serve_offline(0) as url, offline_client(url) as client:
        assert await ClaudeModel(client, name).warning() == warning
