import asyncio
import importlib.resources
from typing import Any

import httpx2
import pytest
from starlette.responses import JSONResponse, Response

from runner.answers import TaskSpec
from runner.client import GraderClient
from runner.episode import Episode
from runner.offline.policies import policy_for
from runner.records import SCRIPTED_NOTICE, EpisodePlan, Limits, Outcome
from tests.runner.claude import Api, message, python, refusal, reply, submit, text, thinking, use
from tests.runner.fake_service import TASK, FakeService, problem

pytestmark = pytest.mark.anyio

GOOD = (importlib.resources.files("runner.offline") / "submissions" / "passes.py").read_text(encoding="utf-8")
HALF = GOOD.replace("isinstance(value, (int, float, str))", "isinstance(value, (int, float))")


def plan(suite: Any = "classic", seed: Any = None, scripted: Any = False, **limits: Any) -> Any:
    return EpisodePlan(run_id="r", episode=7, suite=suite, seed=seed, limits=Limits(**limits), scripted=scripted)


def run(api: Api, service: GraderClient, **changes: Any) -> Any:
    return Episode(plan(**changes), TaskSpec.model_validate(TASK), api.caller(), service).run()


def results(request: Any) -> Any:
    return [block for block in request["messages"][-1]["content"] if block["type"] == "tool_result"]


async def test_a_submission_is_graded_and_ends_the_episode(fake: FakeService, service: GraderClient) -> None:
    api = Api(message(text(), submit(GOOD)))
    record = await run(api, service)
    assert (record.outcome, record.score, record.points, record.passed) == (Outcome.PASSED, 1.0, 100, True)
    assert record.feedback == "✓ All tiers stable"
    assert record.code == GOOD
    assert record.checks[0].id == "tier1"
    assert record.grade.code_sha256
    assert [name for name, _ in fake.calls] == ["grade"]


async def test_a_failing_submission_keeps_the_graders_score(service: GraderClient) -> None:
    record = await run(Api(message(submit(HALF))), service)
    assert (record.outcome, record.score, record.passed) == (Outcome.FAILED, 0.8, False)
    assert record.feedback == "✗ Tier1 cascade unresolved"


async def test_the_request_carries_task_model_identity_and_caching_and_nothing_that_is_refused(
    service: GraderClient,
) -> None:
    api = Api(message(submit(GOOD)))
    await run(api, service)
    [request] = api.requests
    assert request["model"] == "claude-sonnet-5-5"
    assert request["tools"] == TASK["tools"]
    assert request["metadata"] == {"user_id": "r-7"}
    assert request["cache_control"] == {"type": "ephemeral"}
    assert request["messages"] == [{"role": "user", "content": [text(TASK["prompt"])]}]
    assert set(request) == {"model", "max_tokens", "tools", "metadata", "cache_control", "messages"}


async def test_parallel_tool_calls_are_answered_in_order_in_one_user_turn(service: GraderClient) -> None:
    api = Api(message(python("print(1)", "a"), python("print(2)", "b")), message(submit(GOOD)))
    await run(api, service)
    turns = api.requests[1]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert [(block["tool_use_id"], block["content"]) for block in turns[-1]["content"]] == [
        ("a", "stdout:\n1"),
        ("b", "stdout:\n2"),
    ]


async def test_assistant_content_goes_back_unmodified_with_fields_the_sdk_does_not_know(service: GraderClient) -> None:
    content = [
        {**thinking(), "novel_field": {"kept": [1, None]}},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "novel_block", "payload": {"x": 1.5}},
        text(),
        python("1"),
    ]
    api = Api(message(*content), message(submit(GOOD)))
    await run(api, service)
    assert api.requests[1]["messages"][1] == {"role": "assistant", "content": content}


async def test_calls_before_the_submission_are_carried_out_and_calls_after_it_are_not(
    fake: FakeService, service: GraderClient
) -> None:
    api = Api(message(python("print(1)", "a"), submit(GOOD, "b"), python("print(2)", "c"), submit("broken", "d")))
    record = await run(api, service)
    assert record.outcome is Outcome.PASSED
    assert [(name, body.get("expression")) for name, body in fake.calls] == [("execute", "print(1)"), ("grade", None)]
    answers = record.transcript[-1]["content"]
    assert [block["tool_use_id"] for block in answers] == ["a", "b", "c", "d"]
    assert [block.get("is_error", False) for block in answers] == [False, False, True, True]


@pytest.mark.parametrize(
    "bad",
    [
        use("rm_rf", "expression", "1"),
        use("python_expression", "code", "1"),
        use("python_expression", "expression", 7),
        {"type": "tool_use", "id": "toolu_1", "name": "submit_code", "input": {"code": "x", "note": "y"}},
        use("submit_code", "code", None),
    ],
)
async def test_a_wrong_tool_call_is_answered_as_an_error_and_the_episode_goes_on(
    bad: Any, service: GraderClient
) -> None:
    api = Api(message(bad), message(submit(GOOD)))
    record = await run(api, service)
    [answer] = results(api.requests[1])
    assert answer["is_error"] is True
    assert record.outcome is Outcome.PASSED


async def test_an_expression_that_raises_is_an_error_result(service: GraderClient) -> None:
    api = Api(message(python("1/0")), message(submit(GOOD)))
    await run(api, service)
    [answer] = results(api.requests[1])
    assert answer["is_error"] is True
    assert answer["content"] == "status: error\nerror:\nZeroDivisionError: division by zero"


async def test_an_expression_the_service_refuses_is_an_error_result(fake: FakeService, service: GraderClient) -> None:
    fake.plan = [problem(413, "Body over 256 KiB")]
    api = Api(message(python("x" * 10)), message(submit(GOOD)))
    await run(api, service)
    [answer] = results(api.requests[1])
    assert answer["is_error"] is True
    assert "Body over 256 KiB" in answer["content"]


@pytest.mark.parametrize("status", [413, 422])
async def test_a_submission_the_service_refuses_fails(status: int, fake: FakeService, service: GraderClient) -> None:
    fake.plan = [problem(status, "code too large")]
    record = await run(Api(message(submit("x"))), service)
    assert (record.outcome, record.score, record.code) == (Outcome.FAILED, 0.0, "x")
    assert "code too large" in record.feedback


async def test_a_service_fault_while_grading_leaves_no_score(fake: FakeService, service: GraderClient) -> None:
    fake.plan = [problem(500, "the sandbox could not be started") for _ in range(4)]
    record = await run(Api(message(submit(GOOD))), service)
    assert (record.outcome, record.score, record.passed, record.points) == (Outcome.INFRA_ERROR, None, None, None)
    assert record.error.status == 500
    assert not record.error.fatal
    assert "sandbox could not be started" in record.feedback


async def test_missing_token_while_grading_is_no_failed_submission(fake: FakeService, service: GraderClient) -> None:
    fake.plan = [problem(401, "no token")]
    record = await run(Api(message(submit(GOOD))), service)
    assert (record.outcome, record.error is not None and record.error.fatal) == (Outcome.INFRA_ERROR, True)


async def test_ending_without_a_submission_earns_one_reminder_then_fails(service: GraderClient) -> None:
    api = Api(message(text("All done."), stop="end_turn"), message(text("Really."), stop="end_turn"))
    record = await run(api, service)
    assert (record.outcome, record.feedback, record.score, record.steps) == (Outcome.FAILED, "No submission", 0.0, 2)
    assert "submit_code" in api.requests[1]["messages"][-1]["content"][0]["text"]


async def test_a_reminded_model_can_still_pass(service: GraderClient) -> None:
    record = await run(Api(message(text(), stop="end_turn"), message(submit(GOOD))), service)
    assert (record.outcome, record.steps) == (Outcome.PASSED, 2)


async def test_an_empty_answer_keeps_the_roles_alternating(service: GraderClient) -> None:
    api = Api(message(python("1")), message(stop="end_turn"), message(submit(GOOD)))
    record = await run(api, service)
    assert record.outcome is Outcome.PASSED
    assert [turn["role"] for turn in api.requests[2]["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in api.requests[2]["messages"][-1]["content"]] == ["tool_result", "text"]


async def test_empty_text_blocks_are_not_sent_back(service: GraderClient) -> None:
    api = Api(message(thinking(), text(""), python("1")), message(submit(GOOD)))
    await run(api, service)
    assert api.requests[1]["messages"][1]["content"] == [thinking(), python("1")]


async def test_a_stop_sequence_without_a_call_counts_as_an_ended_turn(service: GraderClient) -> None:
    api = Api(message(text(), stop="stop_sequence", stop_sequence="END"), message(submit(GOOD)))
    assert (await run(api, service)).stop_reasons == ["stop_sequence", "tool_use"]


async def test_a_truncated_call_is_never_carried_out_and_the_model_may_go_on(
    fake: FakeService, service: GraderClient
) -> None:
    api = Api(message(thinking(), submit("def process_batch(ev"), stop="max_tokens"), message(submit(GOOD)))
    record = await run(api, service)
    assert [name for name, _ in fake.calls] == ["grade"]
    assert fake.calls[0][1]["code"] == GOOD
    [answer] = results(api.requests[1])
    assert answer["is_error"] is True
    assert "cut off" in answer["content"]
    assert record.outcome is Outcome.PASSED


async def test_truncated_text_is_answered_with_text(service: GraderClient) -> None:
    api = Api(message(text(), stop="max_tokens"), message(submit(GOOD)))
    await run(api, service)
    assert "cut off" in api.requests[1]["messages"][-1]["content"][0]["text"]


async def test_a_paused_turn_is_resumed_by_sending_it_back(service: GraderClient) -> None:
    first, second = text("searching"), text("still searching")
    api = Api(message(first, stop="pause_turn"), message(second, stop="pause_turn"), message(submit(GOOD)))
    record = await run(api, service)
    assert record.outcome is Outcome.PASSED
    assert api.requests[1]["messages"][-1] == {"role": "assistant", "content": [first]}
    assert api.requests[2]["messages"][-1] == {"role": "assistant", "content": [first, second]}


async def test_a_refusal_ends_the_episode_and_its_calls_are_not_carried_out(
    fake: FakeService, service: GraderClient
) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "no exploits"}
    record = await run(Api(message(submit(GOOD), stop="refusal", stop_details=details)), service)
    assert (record.outcome, record.score, record.passed) == (Outcome.REFUSED, 0.0, False)
    assert record.feedback == "Refused: no exploits"
    assert fake.calls == []


async def test_an_exceeded_context_window_is_a_limit(fake: FakeService, service: GraderClient) -> None:
    record = await run(Api(message(submit(GOOD), stop="model_context_window_exceeded")), service)
    assert (record.outcome, record.score) == (Outcome.LIMIT, 0.0)
    assert fake.calls == []


@pytest.mark.parametrize(
    "answer",
    [
        refusal(413, "request_too_large", "too large"),
        refusal(400, "invalid_request_error", "prompt is too long: 1000001 tokens"),
    ],
)
async def test_a_prompt_that_has_grown_too_long_is_a_limit_not_the_end_of_the_run(
    answer: Any, service: GraderClient
) -> None:
    record = await run(Api(message(python("1")), answer), service)
    assert (record.outcome, record.error) == (Outcome.LIMIT, None)


async def test_an_unknown_stop_reason_is_an_infrastructure_error(fake: FakeService, service: GraderClient) -> None:
    record = await run(Api(message(submit(GOOD), stop="cosmic_rays")), service)
    assert record.outcome is Outcome.INFRA_ERROR
    assert "cosmic_rays" in record.error.message
    assert fake.calls == []


async def test_the_step_limit_ends_the_episode(fake: FakeService, service: GraderClient) -> None:
    api = Api(message(python("1")), forever=True)
    record = await run(api, service, steps=5)
    assert (record.outcome, record.score, record.steps, len(api.requests)) == (Outcome.LIMIT, 0.0, 5, 5)
    assert record.feedback == "No submission within 5 model calls"


async def test_reminders_count_as_steps(service: GraderClient) -> None:
    record = await run(Api(message(text(), stop="end_turn")), service, steps=1)
    assert (record.outcome, record.steps) == (Outcome.LIMIT, 1)


async def test_a_submission_in_the_last_step_counts(service: GraderClient) -> None:
    record = await run(Api(message(python("1")), message(submit(GOOD))), service, steps=2)
    assert record.outcome is Outcome.PASSED


async def test_usage_requests_and_timing_are_summed_over_the_calls(service: GraderClient) -> None:
    api = Api(reply(message(python("1")), request_id="req_a"), reply(message(submit(GOOD)), request_id="req_b"))
    record = await run(api, service)
    assert record.usage.model_dump() == {
        "input_tokens": 20,
        "output_tokens": 10,
        "cache_read_input_tokens": 6,
        "cache_creation_input_tokens": 4,
    }
    assert record.request_ids == ["req_a", "req_b"]
    assert [call.request_id for call in record.calls] == ["req_a", "req_b"]
    assert record.model == "claude-sonnet-5-5"
    assert record.ended_at > record.started_at
    assert record.duration_s > 0


async def test_a_fatal_answer_is_marked_as_such(service: GraderClient) -> None:
    api = Api(refusal(404, "not_found_error", "model: claude-nope", request_id="req_x"))
    record = await run(api, service)
    assert record.outcome is Outcome.INFRA_ERROR
    assert (record.error.fatal, record.error.status, record.error.request_id) == (True, 404, "req_x")
    assert "claude-nope" in record.error.message


async def test_a_cancelled_episode_keeps_what_was_said_and_paid(service: GraderClient) -> None:
    class Stuck:
        async def execute(self, expression: str) -> Any:
            await asyncio.Event().wait()

        async def grade(self, code: str, suite: str, seed: int | None) -> Any:
            raise AssertionError

    api = Api(message(python("1")))
    episode = Episode(plan(), TaskSpec.model_validate(TASK), api.caller(), Stuck())
    task = asyncio.create_task(episode.run())
    while not api.requests:  # noqa: ASYNC110  the transport has no event to wait for
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    task.cancel()
    record = await task
    assert (record.outcome, record.score, record.steps) == (Outcome.CANCELLED, None, 1)
    assert record.usage.input_tokens == 10
    assert record.transcript[-1]["role"] == "assistant"


async def test_scripted_episodes_say_so(service: GraderClient) -> None:
    record = await run(Api(message(submit(GOOD))), service, scripted=True)
    assert (record.scripted, record.notice) == (True, SCRIPTED_NOTICE)
    assert (await run(Api(message(submit(GOOD))), service)).notice is None


async def test_a_seeded_suite_is_graded_with_the_plans_seed(fake: FakeService, service: GraderClient) -> None:
    record = await run(Api(message(submit(GOOD))), service, suite="hardened", seed=41)
    assert fake.calls[0][1] | {"code": ""} == {"code": "", "suite": "hardened", "seed": 41}
    assert record.grade.seed == 41


SURROGATE = (
    b'{"id":"m","type":"message","role":"assistant","model":"c","stop_reason":"tool_use",'
    b'"usage":{"input_tokens":1,"output_tokens":1},"content":[{"type":"tool_use","id":"t",'
    b'"name":"python_expression","input":{"expression":"x = 1 # \\ud800"}}]}'
)


async def test_lone_surrogates_from_the_model_reach_the_service_and_end_the_episode_without_retries(
    fake: FakeService, service: GraderClient
) -> None:
    api = Api(httpx2.Response(200, content=SURROGATE, headers={"content-type": "application/json"}))
    record = await run(api, service)
    assert fake.calls[0] == ("execute", {"expression": "x = 1 # \ud800"})
    assert (record.outcome, len(api.requests)) == (Outcome.INFRA_ERROR, 1)
    assert "surrogate" in record.feedback


async def test_lone_surrogates_from_the_sandbox_are_written_out(fake: FakeService, service: GraderClient) -> None:
    answer = '{"status": "ok", "stdout": "\\ud800"}'
    fake.plan = [Response(answer, media_type="application/json")]
    api = Api(message(python("1")), message(submit(GOOD)))
    assert (await run(api, service)).outcome is Outcome.PASSED
    assert results(api.requests[1])[0]["content"] == "stdout:\n\\ud800"


def test_the_source_under_test_is_what_the_offline_policy_submits() -> None:
    assert policy_for(0, 3).source == GOOD


async def test_a_limit_of_work_ends_the_episode_and_leaves_out_what_was_waited_for(
    fake: FakeService, service: GraderClient
) -> None:
    fake.plan = [JSONResponse({"status": "ok", "duration_ms": 130}), problem(503, "busy")]
    fake.plan += [JSONResponse({"status": "ok", "duration_ms": 130})]
    api = Api(refusal(503, retry_after="0.5"), message(python("1")), message(python("2")), forever=True)
    record = await run(api, service, work_s=0.25)
    assert (record.outcome, record.limit, record.feedback) == (
        Outcome.LIMIT, "work_s", "No submission within 0.25 s of work",
    )  # fmt: skip
    assert record.steps == 2
    assert 0.26 <= record.work_s < 0.4
    assert record.wait_s > 0


async def test_a_limit_of_tokens_counts_all_of_them(service: GraderClient) -> None:
    record = await run(Api(message(python("1")), forever=True), service, tokens=50)  # 20 in each answer
    assert (record.outcome, record.limit, record.steps, record.score) == (Outcome.LIMIT, "tokens", 3, 0.0)


async def test_a_limit_of_dollars(service: GraderClient) -> None:
    record = await run(Api(message(python("1")), forever=True), service, cost_usd=0.0002)
    assert (record.outcome, record.limit) == (Outcome.LIMIT, "cost_usd")
    assert record.cost_usd == pytest.approx(0.0002, abs=0.0001)
    assert record.cost_usd >= 0.0002


async def test_a_submission_in_an_answer_that_passes_a_limit_still_counts(service: GraderClient) -> None:
    record = await run(Api(message(submit(GOOD))), service, tokens=1)
    assert record.outcome is Outcome.PASSED


async def test_an_episode_that_only_waits_is_invalid_and_no_failure_of_the_models(service: GraderClient) -> None:
    record = await run(Api(refusal(429, retry_after="0.02"), forever=True), service, wait_s=0.1)
    assert (record.outcome, record.score) == (Outcome.INFRA_ERROR, None)
    assert "given up after 0 s of waiting: nobody was answered" in record.feedback


async def test_a_spent_budget_cancels_the_episode(service: GraderClient) -> None:
    api = Api(message(python("1")), forever=True)
    caller = api.caller(max_cost=0.0001)
    record: Any = await Episode(plan(), TaskSpec.model_validate(TASK), caller, service).run()
    assert (record.outcome, record.score, record.error.kind) == (Outcome.CANCELLED, None, "BudgetSpentError")
    assert record.error.fatal
    assert api.requests == []
