import re
import time
from collections.abc import AsyncIterator
from itertools import count, product
from statistics import median
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from runner.model import offline_client
from runner.offline.faults import Behaviour, behaviour_of, fault_of
from runner.offline.server import serve_offline
from tests.runner.fake_service import TASK

pytestmark = pytest.mark.anyio

SEED = 3
CURRENT = ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"]
LEGACY = pytest.mark.filterwarnings("ignore:The model 'claude-sonnet-4:DeprecationWarning")


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio"


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[Any]:
    async with serve_offline(SEED) as url, offline_client(url) as client:
        yield client


def prompt() -> Any:
    return [{"role": "user", "content": [{"type": "text", "text": TASK["prompt"]}]}]


def request(messages: Any = None, **changes: Any) -> Any:
    asked = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 8192,
        "messages": messages or prompt(),
        "tools": TASK["tools"],
        "metadata": {"user_id": "run-1"},
        "cache_control": {"type": "ephemeral"},
    }
    return {name: value for name, value in {**asked, **changes}.items() if value is not None}


def counted(asked: Any) -> Any:
    """The request without what counting has no use for."""
    return {name: value for name, value in asked.items() if name not in {"max_tokens", "metadata"}}


async def streamed(client: AsyncAnthropic, asked: Any) -> Any:
    async with client.messages.stream(**asked) as events:
        return await events.get_final_message()


def answered(messages: Any, answer: Any) -> Any:
    """The history as it goes on after an answer."""
    content = answer.to_dict(mode="json")["content"]
    calls = [block["id"] for block in content if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call, "content": "1.0 " * 50} for call in calls]
    paused = answer.stop_reason == "pause_turn"
    user = [] if paused else [{"role": "user", "content": results or [{"type": "text", "text": "Go on."}]}]
    if messages[-1]["role"] == "assistant":
        return [*messages[:-1], {"role": "assistant", "content": messages[-1]["content"] + content}, *user]
    return [*messages, {"role": "assistant", "content": content}, *user]


def without_ids(message: Any) -> Any:
    told = message.to_dict(mode="json", warnings=False)
    assert told.pop("id").startswith("msg_")
    for block in told["content"]:
        assert block.pop("id", "toolu_").startswith("toolu_")
        block.pop("parsed_output", None)
    return told


@pytest.mark.parametrize("behaviour", [None, *Behaviour])
async def test_a_stream_tells_the_same_message(behaviour: Behaviour | None) -> None:
    share = 0.02
    episode = next(
        number
        for number in count(1)
        if behaviour_of(SEED, share, number) is behaviour
        and not any(fault_of(SEED, share, number, turn, attempt) for turn, attempt in product(range(6), (1, 2)))
    )
    messages, stops = prompt(), set()
    async with serve_offline(SEED, faults=share) as url, offline_client(url) as client:
        for _ in range(6):
            asked = request(messages, metadata={"user_id": f"run-{episode}"})
            answer = await client.messages.create(**asked)
            assert without_ids(await streamed(client, asked)) == without_ids(answer)
            stops.add(answer.stop_reason)
            messages = answered(messages, answer)
    own = {
        Behaviour.PAUSE_TURN: "pause_turn",
        Behaviour.MAX_TOKENS: "max_tokens",
        Behaviour.REFUSAL: "refusal",
        Behaviour.CONTEXT_EXCEEDED: "model_context_window_exceeded",
    }
    assert stops >= ({own[behaviour]} if behaviour in own else {"tool_use", "end_turn"})


async def test_a_stream_is_the_apis_sequence_of_events(client: AsyncAnthropic) -> None:
    kinds = []
    async for event in await client.messages.create(**request(), stream=True):
        if event.type == "content_block_start":
            kinds.append(event.content_block.type)
        elif event.type == "content_block_delta":
            kinds.append(event.delta.type)
        else:
            kinds.append(event.type)
    kinds = [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind != before]
    thinking, text = ["thinking", "thinking_delta", "signature_delta"], ["text", "text_delta"]
    blocks = [thinking, text, *[["tool_use", "input_json_delta"]] * 2]
    assert kinds == [
        "message_start",
        *(kind for block in blocks for kind in [*block, "content_block_stop"]),
        "message_delta",
        "message_stop",
    ]


async def test_a_stream_is_sent_as_one_and_keeps_its_connection_alive(client: AsyncAnthropic) -> None:
    raw = await client.messages.with_raw_response.create(**request(), stream=True)
    body = await raw.http_response.aread()
    assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert raw.headers["request-id"].startswith("req_")
    assert "connection" not in raw.headers
    events = re.findall(rb"event: (\w+)\ndata: \{.*\}\n\n", body)
    assert events.count(b"ping") == 1
    assert body.count(b"\n\n") == len(events)


async def test_streams_are_refused_like_anything_else(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        await streamed(client, request(extra_body={"temperature": 0.5}))


@pytest.mark.parametrize("cache_control", [None, {"type": "ephemeral"}])
async def test_counted_tokens_are_those_of_the_answer(client: AsyncAnthropic, cache_control: Any) -> None:
    messages = prompt()
    for _ in range(3):
        asked = request(messages, cache_control=cache_control, system="Be brief.")
        tokens = (await client.messages.count_tokens(**counted(asked))).input_tokens
        assert (await client.messages.count_tokens(**counted({**asked, "cache_control": None}))).input_tokens == tokens
        answer = await client.messages.create(**asked)
        usage = answer.usage
        read, created = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        assert tokens == usage.input_tokens + read + created > 100
        assert (read + created > 0) == (cache_control is not None)
        messages = answered(messages, answer)


async def test_the_system_prompt_and_the_tools_count(client: AsyncAnthropic) -> None:
    async def tokens(**changes: Any) -> int:
        return (await client.messages.count_tokens(**counted(request(**changes)))).input_tokens

    plain = await tokens(tools=None)
    assert await tokens(tools=None, system="x" * 400) == plain + 100
    assert await tokens() > plain + 20


@pytest.mark.parametrize("share", [0.0, 1.0])
async def test_counting_meets_no_faults_and_is_no_attempt(share: float) -> None:
    log: list[Any] = []
    async with serve_offline(SEED, faults=share, log=log.append) as url, offline_client(url) as client:
        counts = {(await client.messages.count_tokens(**counted(request()))).input_tokens for _ in range(5)}
    assert len(counts) == 1
    assert log == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_tokens": 5}, "max_tokens: Extra inputs"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages.0.role"),
        ({"temperature": 0.5}, "temperature"),
    ],
)
async def test_counting_is_as_strict_as_answering(client: AsyncAnthropic, changes: Any, words: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=words):
        await client.messages.count_tokens(**counted(request()), extra_body=changes)


async def test_another_key_may_not_count_or_list(client: AsyncAnthropic) -> None:
    stranger = client.with_options(api_key="sk-ant-real")
    with pytest.raises(anthropic.AuthenticationError):
        await stranger.messages.count_tokens(**counted(request()))
    with pytest.raises(anthropic.AuthenticationError):
        await stranger.models.list()
    with pytest.raises(anthropic.AuthenticationError):
        await stranger.models.retrieve(CURRENT[0])


async def test_what_is_written_to_the_cache_is_read_by_the_next_turn(client: AsyncAnthropic) -> None:
    first = await client.messages.create(**request())
    second = await client.messages.create(**request(answered(prompt(), first)))
    assert first.usage.cache_creation_input_tokens == second.usage.cache_read_input_tokens
    assert second.usage.cache_creation_input_tokens is not None
    assert second.usage.cache_creation_input_tokens > 100


@pytest.mark.parametrize(("ttl", "shares"), [(None, (1, 0)), ("5m", (1, 0)), ("1h", (0, 1))])
async def test_the_cache_says_for_how_long(client: AsyncAnthropic, ttl: Any, shares: tuple[int, int]) -> None:
    control = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
    usage = (await client.messages.create(**request(cache_control=control))).usage
    assert usage.cache_creation is not None
    assert usage.cache_creation_input_tokens is not None
    assert (
        usage.cache_creation.ephemeral_5m_input_tokens,
        usage.cache_creation.ephemeral_1h_input_tokens,
    ) == tuple(usage.cache_creation_input_tokens * share for share in shares)


async def test_no_answer_waits_for_its_head_to_be_acknowledged(client: AsyncAnthropic) -> None:
    times = []
    for _ in range(15):
        began = time.perf_counter()
        await client.messages.create(**request())
        times.append(time.perf_counter() - began)
    assert median(times) < 0.035  # seconds; the kernel puts an acknowledgement off for 0.04


async def test_answers_say_how_far_the_rate_limits_are(client: AsyncAnthropic) -> None:
    raw = await client.messages.with_raw_response.create(**request())
    for name in ("requests", "tokens", "input-tokens", "output-tokens"):
        limit, remaining = (int(raw.headers[f"anthropic-ratelimit-{name}-{kind}"]) for kind in ("limit", "remaining"))
        assert 0 < remaining <= limit
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", raw.headers[f"anthropic-ratelimit-{name}-reset"])


async def test_the_sdk_lists_the_models_page_by_page(client: AsyncAnthropic) -> None:
    first = await client.models.list(limit=3)
    assert [model.id for model in first.data] == CURRENT
    assert (first.has_more, first.first_id, first.last_id) == (True, CURRENT[0], CURRENT[-1])
    assert [model.id async for model in client.models.list(limit=1)] == [*CURRENT, "claude-sonnet-4-5"]
    before = await client.models.list(limit=2, before_id="claude-sonnet-4-5")
    assert [model.id for model in before.data] == CURRENT[1:]
    assert before.has_more


async def test_models_tell_their_lifecycle(client: AsyncAnthropic) -> None:
    listed = {model.id: model async for model in client.models.list(lifecycle=["active", "deprecated", "retired"])}
    assert {name: model.lifecycle for name, model in listed.items()} == {
        **dict.fromkeys(CURRENT, "active"),
        "claude-sonnet-4-5": "deprecated",
        "claude-sonnet-4-20250514": "retired",
    }
    retires = {name: model.retires_at.date().isoformat() for name, model in listed.items() if model.retires_at}
    assert retires == {"claude-sonnet-4-5": "2026-11-30", "claude-sonnet-4-20250514": "2026-06-15"}
    assert set(retires) == {name for name, model in listed.items() if model.deprecated_at}
    for model in listed.values():
        assert model.type == "model"
        assert model.display_name.startswith("Claude ")
        assert model.max_input_tokens is not None
        assert model.max_tokens is not None
        assert model.max_input_tokens > model.max_tokens
    assert [model.created_at for model in listed.values()] == sorted(
        (model.created_at for model in listed.values()), reverse=True
    )


async def test_only_those_asked_for_are_listed(client: AsyncAnthropic) -> None:
    assert [model.id async for model in client.models.list(lifecycle=["retired"])] == ["claude-sonnet-4-20250514"]
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        await client.models.list(limit=0)
    with pytest.raises(anthropic.BadRequestError, match="after_id"):
        await client.models.list(after_id="claude-nope")
    with pytest.raises(anthropic.BadRequestError, match="lifecycle"):
        await client.models.list(extra_query={"lifecycle[]": "asleep"})


async def test_one_model_is_described_or_not_found(client: AsyncAnthropic) -> None:
    assert (await client.models.retrieve("claude-opus-5-5")).display_name == "Claude Opus 5.5"
    assert (await client.models.retrieve("claude-sonnet-4-20250514")).lifecycle == "retired"
    with pytest.raises(anthropic.NotFoundError, match="claude-nope") as caught:
        await client.models.retrieve("claude-nope")
    assert caught.value.type == "not_found_error"


@LEGACY
async def test_a_deprecated_model_still_answers_and_a_retired_one_does_not(client: AsyncAnthropic) -> None:
    assert (await client.messages.create(**request(model="claude-sonnet-4-5"))).model == "claude-sonnet-4-5"
    with pytest.raises(anthropic.NotFoundError, match="claude-sonnet-4-20250514"):
        await client.messages.create(**request(model="claude-sonnet-4-20250514"))
