import asyncio
import copy
import importlib.resources
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runner.answers import TaskSpec
from runner.budget import Budget
from runner.caller import Caller
from runner.client import GraderClient
from runner.episode import Episode
from runner.errors import FatalModelError
from runner.model import ClaudeModel, offline_client
from runner.offline.checks import API_VERSION
from runner.offline.policies import BLOCK, policy_for, script
from runner.offline.server import OFFLINE_KEY, serve_offline
from runner.throttle import Throttle
from tests.runner import rubric
from tests.runner.claude import FAST
from tests.runner.fake_service import TASK, FakeService, execute
from tests.runner.made import plan

pytestmark = pytest.mark.anyio

HEADERS = {"authorization": f"Bearer {OFFLINE_KEY}", "anthropic-version": API_VERSION}
SUBMISSIONS = importlib.resources.files("runner.offline") / "submissions"


def body(**changes: Any) -> Any:
    request = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": TASK["prompt"]}],
        "tools": TASK["tools"],
        "metadata": {"user_id": "run-1"},
        "cache_control": {"type": "ephemeral"},
    }
    return {name: value for name, value in {**request, **changes}.items() if value is not None}


@pytest.fixture
async def http() -> AsyncIterator[Any]:
    async with serve_offline(0) as url, httpx.AsyncClient(base_url=url, headers=HEADERS, trust_env=False) as client:
        yield client


async def post(http: httpx.AsyncClient, request: Any, **headers: Any) -> Any:
    return await http.post("/v1/messages", json=request, headers=headers)


async def refused(http: httpx.AsyncClient, request: Any, status: int, kind: str, words: str, **headers: Any) -> None:
    answer = await post(http, request, **headers)
    assert answer.status_code == status, answer.text
    refusal = answer.json()
    assert refusal["type"] == "error"
    assert refusal["error"]["type"] == kind
    assert words in refusal["error"]["message"]
    assert refusal["request_id"] == answer.headers["request-id"]
    assert refusal["request_id"].startswith("req_")


async def second_request(http: httpx.AsyncClient) -> Any:
    """A valid conversation that has reached its second turn, whose first called two tools."""
    request = body(metadata={"user_id": "run-3"})
    first = (await post(http, request)).json()
    calls = [block for block in first["content"] if block["type"] == "tool_use"]
    assert len(calls) == 2
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "ok"} for call in calls]
    request["messages"] += [{"role": "assistant", "content": first["content"]}, {"role": "user", "content": results}]
    return request


async def test_an_answer_has_the_shape_of_a_message(http: httpx.AsyncClient) -> None:
    answer = await post(http, body())
    message = answer.json()
    assert answer.status_code == 200
    assert answer.headers["request-id"].startswith("req_")
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "claude-sonnet-5-5")
    assert [block["type"] for block in message["content"]][:3] == ["thinking", "text", "tool_use"]
    assert (message["stop_reason"], message["stop_sequence"]) == ("tool_use", None)


async def test_usage_grows_with_the_conversation_and_moves_into_the_cache(http: httpx.AsyncClient) -> None:
    request = await second_request(http)
    first = (await post(http, body(metadata={"user_id": "run-3"}))).json()["usage"]
    second = (await post(http, request)).json()["usage"]
    assert first["cache_read_input_tokens"] == 0
    assert first["cache_creation_input_tokens"] > 100
    assert second["cache_read_input_tokens"] == pytest.approx(first["cache_creation_input_tokens"], abs=5)
    assert second["cache_creation_input_tokens"] > 100
    assert min(first["output_tokens"], second["output_tokens"]) > 50
    uncached = (await post(http, body(cache_control=None))).json()["usage"]
    assert uncached["input_tokens"] > 100
    assert uncached["cache_creation_input_tokens"] == 0


@pytest.mark.parametrize("value", ["", "Bearer wrong", "offline"])
async def test_a_wrong_key_is_refused(http: httpx.AsyncClient, value: Any) -> None:
    await refused(http, body(), 401, "authentication_error", "bearer", authorization=value)


@pytest.mark.parametrize("version", ["2023-06-01", ""])
async def test_a_wrong_version_is_refused(http: httpx.AsyncClient, version: str) -> None:
    headers = {"anthropic-version": version}
    await refused(http, body(), 400, "invalid_request_error", "anthropic-version", **headers)


@pytest.mark.parametrize("model", ["claude-sonnet-4-20250514", "claude-nope"])
async def test_a_retired_or_unknown_model_is_not_found(http: httpx.AsyncClient, model: str) -> None:
    await refused(http, body(model=model), 404, "not_found_error", model)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"top_k": 5}, "top_k"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "budget_tokens"),
        ({"thinking": {"type": "disabled"}}, "thinking"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "tool", "name": "submit_code"}}, "tool_choice"),
        ({"stream": "yes"}, "stream"),
        ({"surprise": 1}, "surprise"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"tools": [{"name": "x"}]}, "tools.0"),
        ({"metadata": None}, "metadata.user_id"),
        ({"metadata": {"user_id": "run-0"}}, "metadata.user_id"),
        ({"metadata": ["run-1"]}, "metadata.user_id"),
        ({"cache_control": {"type": "eternal"}}, "cache_control"),
        ({"cache_control": "ephemeral"}, "cache_control"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x"}] * 2}, "messages.1.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}]}, "prefill"),
    ],
)
async def test_what_the_api_refuses_is_refused_by_name(http: httpx.AsyncClient, changes: Any, words: str) -> None:
    await refused(http, body(**changes), 400, "invalid_request_error", words)


@pytest.mark.parametrize("content", [b"{", b"[]", b""])
async def test_a_body_that_is_no_object_is_refused(http: httpx.AsyncClient, content: Any) -> None:
    answer = await http.post("/v1/messages", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_unknown_paths_are_not_found_in_the_apis_shape(http: httpx.AsyncClient) -> None:
    for answer in (await http.get("/v1/files"), await http.post("/v1/complete")):
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "not_found_error"
    assert (await http.get("/v1/messages")).status_code == 405


async def test_a_client_that_leaves_in_mid_request_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with serve_offline(1) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            + f"Authorization: Bearer {OFFLINE_KEY}\r\nanthropic-version: {API_VERSION}\r\n\r\n".encode()
            + b'{"model":'
        )
        await writer.drain()
        await asyncio.sleep(0.1)  # the handler waits for the rest
        writer.close()
        await writer.wait_closed()
        del reader
    assert not caplog.records


async def test_a_faithful_history_is_accepted(http: httpx.AsyncClient) -> None:
    answer = await post(http, await second_request(http))
    assert answer.status_code == 200, answer.text


def _tamper(path: tuple[Any, ...], value: Any) -> Any:
    def change(messages: Any) -> None:
        *parents, last = path
        target = messages
        for part in parents:
            target = target[part]
        target[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_tamper((1, "content", 0, "thinking"), "Something else."), "cannot be modified"),
        (_tamper((1, "content", 0, "signature"), "0" * 64), "cannot be modified"),
        (_tamper((1, "content", 0, "extra"), 1), "cannot be modified"),
        (lambda m: m[1]["content"].pop(0), "expected `thinking`"),
        (lambda m: m[2]["content"].pop(), "exactly one `tool_result`"),
        (lambda m: m[2]["content"].append(dict(m[2]["content"][0])), "exactly one `tool_result`"),
        (_tamper((2, "content", 0, "tool_use_id"), "toolu_stranger"), "unexpected `tool_use_id`"),
        (lambda m: m[2]["content"].insert(0, {"type": "text", "text": "x"}), "must come first"),
        (_tamper((2, "content"), "no results at all"), "exactly one `tool_result`"),
        (_tamper((1, "content", 1, "text"), ""), "non-empty"),
        (_tamper((1, "content"), [{"type": "text", "text": "x"}]), "unexpected `tool_use_id`"),
    ],
)
async def test_an_unfaithful_history_is_refused(http: httpx.AsyncClient, change: Any, words: str) -> None:
    request = copy.deepcopy(await second_request(http))
    change(request["messages"])
    await refused(http, request, 400, "invalid_request_error", words)


async def test_thinking_of_another_server_is_refused(http: httpx.AsyncClient) -> None:
    request = await second_request(http)
    async with serve_offline(0) as url:
        answer = await http.post(f"{url}/v1/messages", json=request)
    assert "cannot be modified" in answer.json()["error"]["message"]


@pytest.mark.filterwarnings("ignore:The model 'claude-sonnet-4-20250514' is deprecated:DeprecationWarning")
async def test_the_sdk_meets_a_retired_model_as_a_fatal_error() -> None:
    async with serve_offline(0) as url, offline_client(url) as client:
        with pytest.raises(FatalModelError, match=r"404 not_found_error: model: claude-sonnet-4-20250514.*req_"):
            await ClaudeModel(client, "claude-sonnet-4-20250514").ask(body()["messages"], [], "run-1")


async def test_the_environment_cannot_divert_the_offline_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-real")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    async with serve_offline(0) as url, offline_client(url) as client:
        turn = await ClaudeModel(client, "claude-sonnet-5-5").ask(body()["messages"], TASK["tools"], "run-1")
    assert turn.stop_reason == "tool_use"


async def test_fifty_concurrent_episodes_do_not_mix(service: GraderClient, fake: FakeService) -> None:
    task = TaskSpec.model_validate(TASK)

    def episode(number: Any) -> Any:
        return Episode(plan(number), task, caller, service).run()

    async with serve_offline(5) as url, offline_client(url) as client:
        model = ClaudeModel(client, "claude-sonnet-5-5")
        caller = Caller(model, policy=FAST, throttle=Throttle(50), budget=Budget(None), journal=lambda *_, **__: None)
        records = await asyncio.gather(*(episode(number) for number in range(1, 51)))
    for number, record in enumerate(records, start=1):
        policy = policy_for(5, number)
        assert record.error is None
        assert (record.code, record.score) == (policy.source, rubric.grade(policy.source)["score"])
        assert record.steps == len(script(policy, TASK["prompt"]))
    assert sum(record.passed for record in records) == 5


def test_the_default_ten_episodes_are_one_pass_third_and_an_opening_that_leaves_strings() -> None:
    kinds = [policy_for(0, episode).kind for episode in range(1, 11)]
    assert Counter(kinds) == {"passes": 1, "leaves_strings": 5, "over_trims": 4}
    assert kinds[2] == "passes"
    assert kinds[0] == "leaves_strings"


def test_every_block_of_ten_has_the_same_mix_in_another_order() -> None:
    orders = {
        tuple(policy_for(seed, first + position).kind for position in range(10))
        for seed, first in itertools.product(range(20), (1, 11, 21))
    }
    assert all(Counter(order) == Counter(BLOCK) for order in orders)
    assert len(orders) > 50


def test_a_policy_depends_on_seed_and_episode_alone() -> None:
    assert [policy_for(3, 8) for _ in range(5)] == [policy_for(3, 8)] * 5


def test_each_failing_kind_comes_in_two_styles_within_a_block() -> None:
    for kind in ("leaves_strings", "over_trims"):
        styles = {p.submission for p in (policy_for(0, episode) for episode in range(1, 11)) if p.kind == kind}
        assert len(styles) == 2


@pytest.mark.parametrize(
    ("name", "failed_rows"),
    [
        ("passes", set()),
        ("leaves_strings_dropping", {"tier1"}),
        ("leaves_strings_unconverted", {"tier1"}),
        ("over_trims_quartiles", {"tier1", "tier2_flat", "tier2_heavy_tail"}),
        ("over_trims_tight_cut", {"tier1", "tier2_heavy_tail"}),
    ],
)
def test_submissions_fail_exactly_the_rows_they_are_written_to_fail(name: str, failed_rows: set[str]) -> None:
    grade = rubric.grade((SUBMISSIONS / f"{name}.py").read_text(encoding="utf-8"))
    assert {check["id"] for check in grade["checks"] if not check["passed"]} == failed_rows


def test_every_submission_file_is_played() -> None:
    played = {policy_for(seed, episode).submission for seed in range(5) for episode in range(1, 11)}
    assert {f"{name}.py" for name in played} == {
        file.name for file in SUBMISSIONS.iterdir() if file.name.endswith(".py")
    }


@pytest.mark.parametrize("episode", range(1, 11))
def test_probes_run_the_prompts_own_pipeline_and_show_its_faults(episode: int) -> None:
    steps = script(policy_for(0, episode), TASK["prompt"])
    probes = [use.input["expression"] for step in steps for use in step.tool_uses if use.name == "python_expression"]
    shown = [execute(probe) for probe in probes]
    assert probes
    assert all(answer["status"] == "ok" for answer in shown)
    told = "".join(answer["stdout"] for answer in shown)
    assert any(fault in told for fault in ("ValueError", "ZeroDivisionError", "telemetry None", "50000.0"))
    assert steps[-1].tool_uses[0].name == "submit_code"


def test_some_policy_probes_in_parallel() -> None:
    assert any(len(step.tool_uses) == 2 for step in script(policy_for(0, 3), TASK["prompt"]))


def test_no_probe_shows_a_submission_failing_where_it_claims_to_work() -> None:
    steps = script(policy_for(0, 3), TASK["prompt"])
    own = execute(steps[-2].tool_uses[0].input["expression"])
    assert "Error" not in own["stdout"]
    assert "text -> [3.5]" in own["stdout"]
