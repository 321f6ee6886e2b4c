import time
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

from runner.client import GraderClient, checked_service_url
from runner.errors import ServiceError, ServiceGoneError, ServiceRefusedError
from runner.local_service import ServiceAddress
from runner.retry import RetryPolicy
from tests.runner.fake_service import TASK, FakeService, problem

pytestmark = pytest.mark.anyio


async def test_the_task_is_asked_for_in_anthropic_shape(fake: FakeService, service: GraderClient) -> None:
    task = await service.task("classic")
    assert task.tools == TASK["tools"]
    assert (task.target_pass_band.low, task.target_pass_band.high) == (0.10, 0.40)
    assert fake.calls == [("task", {"suite": "classic", "format": "anthropic"})]


async def test_execute_carries_stderr_and_all_else(fake: FakeService, service: GraderClient) -> None:
    answer = {"status": "error", "stdout": "o", "stderr": "e", "result": None, "error": "x", "truncated": True}
    fake.plan = [JSONResponse({**answer, "duration_ms": 3, "novel": 1})]
    assert (await service.execute("1")).model_dump() == {**answer, "duration_ms": 3}


async def test_a_seed_is_sent_only_when_there_is_one(fake: FakeService, service: GraderClient) -> None:
    fake.plan = [JSONResponse(GRADE), JSONResponse({**GRADE, "suite": "hardened", "seed": 0})]
    await service.grade("x", "classic", None)
    await service.grade("x", "hardened", 0)
    assert [body for _, body in fake.calls] == [
        {"code": "x", "suite": "classic"},
        {"code": "x", "suite": "hardened", "seed": 0},
    ]


GRADE = {"passed": False, "score": 0.8, "points": 80, "feedback": "✗", "checks": [], "suite": "classic", "seed": None}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_busy_service_is_asked_again(status: int, fake: FakeService, service: GraderClient) -> None:
    fake.plan = [problem(status, "busy"), problem(status, "busy")]
    assert (await service.execute("1")).status == "ok"
    assert len(fake.calls) == 3


async def test_patience_with_a_busy_service_ends(fake: FakeService, service: GraderClient) -> None:
    fake.plan = [problem(503, "queue is full") for _ in range(9)]
    with pytest.raises(ServiceError, match=r"503: queue is full") as caught:
        await service.execute("1")
    assert len(fake.calls) == 4
    assert not isinstance(caught.value, ServiceRefusedError)


@pytest.mark.timed
async def test_retry_after_is_honoured_and_capped(fake: FakeService) -> None:
    fake.plan = [problem(503, "busy", headers={"Retry-After": "3600"})]
    async with GraderClient(fake.url, retry=RetryPolicy(attempts=2, max_delay_s=0.3)) as client:
        started = time.monotonic()
        await client.execute("1")
    assert 0.3 <= time.monotonic() - started < 3


async def test_who_has_no_token_is_told_where_it_is_taken_from_and_ends_the_run(
    fake: FakeService, service: GraderClient
) -> None:
    fake.plan = [problem(401, "A token is needed.")]
    with pytest.raises(ServiceGoneError, match=r"answered 401: A token is needed\. No token was sent: .*RUNNER_TOKEN"):
        await service.execute("1")
    assert len(fake.calls) == 1


async def test_who_has_another_token_is_told_that_it_is_none_of_the_services(fake: FakeService) -> None:
    fake.plan = [problem(401, "A token is needed.")]
    async with GraderClient(fake.url, token="of-another-service") as client:
        with pytest.raises(ServiceGoneError, match=r"token that was sent, .*is none of the service's") as caught:
            await client.execute("1")
    assert "of-another-service" not in str(caught.value)


SEEDS = {"train": {"low": 0, "high": 9}, "test": {"low": 20, "high": 29}}


@pytest.mark.parametrize(
    ("own", "evaluation", "seed", "shown"),
    [
        ("mine", "for-tests", 20, "Bearer for-tests"),
        ("mine", "for-tests", 29, "Bearer for-tests"),
        ("mine", "for-tests", 9, "Bearer mine"),
        ("mine", "for-tests", 30, "Bearer mine"),
        ("mine", "for-tests", None, "Bearer mine"),
        ("mine", None, 20, "Bearer mine"),
        ("for-tests", "for-tests", 0, "Bearer for-tests"),
        (None, None, 20, None),
    ],
)
async def test_seeds_of_the_test_split_are_graded_with_the_evaluation_token(
    own: str | None, evaluation: str | None, seed: int | None, shown: str | None, fake: FakeService
) -> None:
    fake.task_changes = {"seeds": SEEDS}
    fake.fault = JSONResponse({**GRADE, "suite": "hardened", "seed": seed})
    async with GraderClient(fake.url, token=own, evaluation_token=evaluation) as client:
        for _ in range(2):
            await client.grade("x", "hardened", seed)
        await client.execute("1")
    told = [(call[0], headers.get("authorization")) for call, headers in zip(fake.calls, fake.headers, strict=True)]
    own_shown = None if own is None else f"Bearer {own}"
    assert [each for each in told if each[0] != "task"] == [("grade", shown)] * 2 + [("execute", own_shown)]
    assert [each for each in told if each[0] == "task"] in ([], [("task", own_shown)])


def test_the_services_address_tells_its_tokens_apart() -> None:
    own, evaluation = {"RUNNER_TOKEN": "mine"}, {"GAUNTLET_EVALUATION_TOKEN": "for-tests"}
    told = [ServiceAddress(None, each) for each in ({}, own, evaluation, own | evaluation)]
    assert [each.token for each in told] == [None, "mine", "for-tests", "mine"]
    assert [each.evaluation_token for each in told] == [None, None, "for-tests", "for-tests"]


@pytest.mark.parametrize("status", [400, 403, 413, 422])
async def test_a_refusal_is_told_in_the_services_words_and_not_repeated(
    status: int, fake: FakeService, service: GraderClient
) -> None:
    fake.plan = [problem(status, "code: too long", errors=[{"loc": ["body", "code"]}])]
    with pytest.raises(ServiceRefusedError, match=f"answered {status}: code: too long") as caught:
        await service.grade("x", "classic", None)
    assert caught.value.status == status
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    "strange",
    [
        PlainTextResponse("hello"),
        JSONResponse([1]),
        JSONResponse({"hello": 1}),
        RedirectResponse("http://127.0.0.1:9/"),
    ],
    ids=["text", "list", "other-object", "redirect"],
)
async def test_something_else_than_a_grading_service_is_recognised(
    strange: Any, fake: FakeService, service: GraderClient
) -> None:
    fake.plan = [strange]
    with pytest.raises(ServiceError, match=r"does not answer as|307"):
        await service.task("classic")


@pytest.mark.timed
async def test_first_contact_with_a_dead_address_fails_fast() -> None:
    async with GraderClient("http://127.0.0.1:9") as client:
        started = time.monotonic()
        with pytest.raises(ServiceError, match=r"http://127.0.0.1:9 did not answer POST /grade"):
            await client.grade("x", "classic", None)
    assert time.monotonic() - started < 1


async def test_a_service_that_goes_away_in_mid_run_is_waited_for() -> None:
    policy = RetryPolicy(attempts=3, first_delay_s=0.1, max_delay_s=0.1)
    with FakeService().serving() as fake:
        client = GraderClient(fake.url, retry=policy)
        await client.execute("1")
    async with client:
        started = time.monotonic()
        with pytest.raises(ServiceGoneError, match=r"did not answer POST /execute"):
            await client.execute("1")
    assert time.monotonic() - started >= 0.1


async def test_a_proxy_in_the_environment_does_not_come_between_loopback_addresses(
    fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with GraderClient(fake.url) as client:
        assert (await client.execute("1")).status == "ok"


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://u:p@x", "http://x?a=1", "http://x#a"]
)
def test_unusable_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL"):
        checked_service_url(url)


def test_a_trailing_slash_and_a_path_prefix_are_fine() -> None:
    assert checked_service_url("http://host:8000/") == "http://host:8000"
    assert checked_service_url("https://host/gauntlet/") == "https://host/gauntlet"


async def test_a_path_prefix_is_kept(fake: FakeService) -> None:
    async with GraderClient(fake.url + "/prefix") as client:
        with pytest.raises(ServiceRefusedError, match=r"/prefix answered 404"):
            await client.task("classic")


async def test_a_suite_the_service_does_not_have_names_the_option(fake: FakeService, service: GraderClient) -> None:
    fake.plan = [problem(422, "suite: Input should be 'classic'")]
    with pytest.raises(ServiceError, match=r"--suite hardened is not offered here: .*Input should be 'classic'"):
        await service.task("hardened")
