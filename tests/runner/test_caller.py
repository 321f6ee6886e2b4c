import asyncio
import time
from typing import Any

import pytest

from runner.errors import BudgetSpentError, FatalModelError, ModelError
from runner.retry import RetryPolicy
from tests.runner.claude import FAST, Api, message, refusal, reply, reply_of, text

pytestmark = pytest.mark.anyio

FINE = message(text(), stop="end_turn")


def events(api: Api, kind: str) -> list[Any]:
    return [event for event in api.events if event["event"] == kind]


async def test_every_answer_is_in_the_journal_with_its_usage_and_cost() -> None:
    api = Api(refusal(529), reply(FINE, request_id="req_7"))
    turn = await reply_of(api.caller(), episode=4)
    [call] = events(api, "call")
    assert (call["episode"], call["attempt"], call["request_id"], call["attempts"]) == (4, 1, "req_7", 2)
    assert call["usage"] == turn.usage.model_dump()
    assert call["cost_usd"] == turn.cost_usd == pytest.approx(10 * 2e-6 + 5 * 1e-5 + 3 * 0.1e-6 + 2 * 2.5e-6)


async def test_every_failed_attempt_is_in_the_journal_with_its_reason_and_wait() -> None:
    api = Api(refusal(429, "rate_limit_error", "slow down", retry_after="0.01"), refusal(500), FINE)
    await reply_of(api.caller())
    first, second = events(api, "retry")
    assert (first["status"], first["call_attempt"], first["request_id"]) == (429, 1, "req_1")
    assert "429 rate_limit_error: slow down" in first["reason"]
    assert (second["status"], second["call_attempt"]) == (500, 2)
    assert first["delay_s"] >= 0.01


async def test_rate_limits_are_waited_out_beyond_the_number_of_attempts() -> None:
    api = Api(*[refusal(429, retry_after="0.001")] * 20, FINE)
    turn = await reply_of(api.caller(RetryPolicy(attempts=2, max_delay_s=0.01)))
    assert turn.attempts == 21


@pytest.mark.timed
async def test_patience_has_an_end_and_says_what_it_waited_for() -> None:
    api = Api(refusal(429, "rate_limit_error", "slow down", retry_after="0.05"), forever=True)
    began = time.monotonic()
    with pytest.raises(FatalModelError, match=r"given up after 0 s of waiting: nobody was answered; .*: slow down"):
        await reply_of(api.caller(RetryPolicy(max_delay_s=1)), spare_wait_s=0.3)
    assert time.monotonic() - began < 0.35
    assert 3 <= len(api.requests) <= 7


async def test_patience_that_others_did_not_lose_ends_one_episode_alone() -> None:
    api = Api(refusal(503, retry_after="0.2"), FINE, refusal(503, retry_after="5"), forever=True)
    caller = api.caller(RetryPolicy(max_delay_s=5))
    unlucky = asyncio.create_task(reply_of(caller, spare_wait_s=0.3))
    await asyncio.sleep(0.05)
    await reply_of(caller)
    with pytest.raises(ModelError, match="given up after 0 s of waiting") as caught:
        await unlucky
    assert not isinstance(caught.value, FatalModelError)


async def test_waits_and_failed_attempts_are_told_apart_from_the_answers_own_time() -> None:
    api = Api(refusal(503, retry_after="0.2"), refusal(429, retry_after="0.2"), FINE)
    turn = await reply_of(api.caller(RetryPolicy(max_delay_s=5)))
    assert turn.wait_s >= 0.4
    assert turn.duration_s < 0.2


async def test_a_rate_limit_halves_the_calls_on_their_way() -> None:
    api = Api(refusal(429, retry_after="0.01"), FINE, forever=True)
    caller = api.caller(concurrency=8)
    await reply_of(caller)
    assert [event["allowed"] for event in events(api, "concurrency")] == [4]
    await asyncio.gather(*(reply_of(caller) for _ in range(40)))
    assert [event["allowed"] for event in events(api, "concurrency")] == [4, 5, 6, 7, 8]


async def test_the_budget_is_looked_at_before_the_call() -> None:
    api = Api(FINE, forever=True)
    caller = api.caller(max_cost=0.0825)  # the longest answer alone costs $0.08192
    await reply_of(caller)
    with pytest.raises(BudgetSpentError, match=r"--max-cost \$0\.0825 is spent"):
        await asyncio.gather(*(reply_of(caller) for _ in range(20)))
    spent = sum(event["cost_usd"] for event in events(api, "call"))
    assert 1 <= len(api.requests) < 20
    assert 0.0 < spent <= 0.0825


async def test_an_unknown_model_costs_something_unknown() -> None:
    api = Api(message(text(), stop="end_turn", model="some-model"))
    assert (await reply_of(api.caller(FAST, name="some-model"))).cost_usd is None


async def test_a_bad_request_in_mid_conversation_costs_its_episode_and_not_the_run() -> None:
    api = Api(refusal(400, "invalid_request_error", "messages.1: odd"), forever=True)
    later = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    with pytest.raises(ModelError) as caught:
        await reply_of(api.caller(), later)
    assert not isinstance(caught.value, FatalModelError)
    with pytest.raises(FatalModelError):
        await reply_of(api.caller())


async def test_money_that_has_run_out_ends_the_run_wherever_it_is_met() -> None:
    body = {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "spend limit",
            "details": {"error_code": "enforced_spend_limit_reached"},
        },
    }
    later = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    with pytest.raises(FatalModelError, match="spend limit"):
        await reply_of(Api(reply(body, 400)).caller(), later)
