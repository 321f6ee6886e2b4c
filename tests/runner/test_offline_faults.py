import asyncio
import functools
import itertools
import json
import re
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message

from runner.model import offline_client
from runner.offline.checks import API_VERSION, ThinkingSigner
from runner.offline.endpoint import MessagesEndpoint, Settings
from runner.offline.episodes import played
from runner.offline.faults import Behaviour, Fault, Transient, behaviour_of, expected_outcome, fault_of
from runner.offline.policies import FAREWELL, policy_for, script
from runner.offline.server import OFFLINE_KEY, serve_offline
from tests.runner import rubric
from tests.runner.fake_service import TASK

pytestmark = pytest.mark.anyio

SEED = 7
HANG_S = 0.02
STATUSES = {
    Transient.RATE_LIMIT: (anthropic.RateLimitError, 429, "rate_limit_error"),
    Transient.RATE_LIMIT_BARE: (anthropic.RateLimitError, 429, "rate_limit_error"),
    Transient.OVERLOADED: (anthropic.OverloadedError, 529, "overloaded_error"),
    Transient.API_ERROR: (anthropic.InternalServerError, 500, "api_error"),
}
STREAMED = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio"


@asynccontextmanager
async def offline(faults: float = 1.0, hang_s: float = HANG_S, **settings: Any) -> AsyncIterator[AsyncAnthropic]:
    async with serve_offline(SEED, faults=faults, hang_s=hang_s, **settings) as url, offline_client(url) as client:
        yield client


@pytest.fixture(scope="module")
def told() -> list[Any]:
    """What the log of `client` was told."""
    return []


@pytest.fixture(scope="module")
async def client(told: list[Any]) -> AsyncIterator[Any]:
    """Of a server where whatever can fail does."""
    async with offline(log=told.append) as client:
        yield client


def first_fault(episode: int) -> Fault:
    fault = fault_of(SEED, 1.0, episode, 0, 1)
    assert fault is not None
    return fault


def meeting(kind: Transient) -> int:
    """An episode whose first attempt meets the fault, whenever any does."""
    return next(episode for episode in itertools.count(1) if first_fault(episode).kind is kind)


def showing(behaviour: Behaviour) -> int:
    return next(episode for episode in itertools.count(1) if behaviour_of(SEED, 1.0, episode) is behaviour)


def request(episode: int, messages: Any = None, run: str = "") -> Any:
    """Of a run of its own, unless it says of which."""
    return {
        "model": "claude-sonnet-5-5",
        "max_tokens": 8192,
        "messages": messages or [{"role": "user", "content": TASK["prompt"]}],
        "tools": TASK["tools"],
        "metadata": {"user_id": f"{run or secrets.token_hex(4)}-{episode}"},
        "cache_control": {"type": "ephemeral"},
    }


async def ask(client: AsyncAnthropic, asked: Any, *, stream: bool) -> Any:
    if not stream:
        return await client.messages.create(**asked)
    async with client.messages.stream(**asked) as events:
        return await events.get_final_message()


async def patiently(client: AsyncAnthropic, asked: Any) -> Message:
    """Tries again until a whole message comes."""
    while True:
        try:
            answer = await client.messages.create(**asked)
        except (anthropic.RateLimitError, anthropic.InternalServerError, anthropic.APIConnectionError, ValueError):
            continue
        if isinstance(answer, Message) and answer.stop_reason is not None:
            return answer


@functools.cache
def verdict(code: str) -> str:
    return "passed" if rubric.grade(code)["passed"] else "failed"


def say(messages: Any, role: str, blocks: Any) -> None:
    if messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    else:
        messages.append({"role": role, "content": blocks})


class Agent:
    """A client by the book: tries again, resumes, answers every call, reminds once, ends at the first submission."""

    def __init__(self, client: AsyncAnthropic, episode: int, run: str = "") -> None:
        self.client = client
        self.episode = episode
        self.run = run or secrets.token_hex(4)
        self.messages: Any = [{"role": "user", "content": [{"type": "text", "text": TASK["prompt"]}]}]
        self.answers: list[Message] = []
        self.reminders = 0

    async def play(self) -> str:
        while True:
            answer = await patiently(self.client, request(self.episode, self.messages, self.run))
            self.answers.append(answer)
            say(self.messages, "assistant", answer.to_dict(mode="json")["content"])
            if (outcome := self.react(answer)) is not None:
                return outcome

    def react(self, answer: Message) -> str | None:
        calls = [block for block in answer.content if block.type == "tool_use"]
        match answer.stop_reason:
            case "refusal":
                return "refused"
            case "model_context_window_exceeded":
                return "limit"
            case "pause_turn":
                return None
            case "end_turn":
                self.reminders += 1
                say(self.messages, "user", [{"type": "text", "text": "Hand in."}])
                return "failed" if self.reminders > 1 else None
        whole = answer.stop_reason == "tool_use"
        for call in calls:
            if whole and call.name == "submit_code" and set(call.input) == {"code"} and call.input["code"] != 42:
                return verdict(str(call.input["code"]))
        say(self.messages, "user", [{"type": "tool_result", "tool_use_id": call.id, "content": "?"} for call in calls])
        return None


def befallen(log: Any) -> Any:
    return sorted((line["episode"], line["turn"], line["attempt"], line["fault"] or "") for line in log)


def test_no_share_means_no_faults() -> None:
    assert all(fault_of(SEED, 0.0, episode, 0, 1) is None for episode in range(1, 500))
    for episode in range(1, 101):
        assert behaviour_of(SEED, 0.0, episode) is None
        assert list(played(SEED, 0.0, episode, TASK["prompt"])) == [
            *script(policy_for(SEED, episode), TASK["prompt"]),
            FAREWELL,
        ]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_share_of_faults_is_the_one_asked_for(share: float) -> None:
    calls = [fault_of(SEED, share, episode, turn, 1) for episode in range(1, 1001) for turn in range(4)]
    assert sum(fault is not None for fault in calls) / len(calls) == pytest.approx(share, abs=0.02)
    episodes = [behaviour_of(SEED, share, episode) for episode in range(1, 2001)]
    assert sum(behaviour is not None for behaviour in episodes) / len(episodes) == pytest.approx(share, abs=0.03)


def test_every_kind_is_drawn_about_as_often_as_any_other() -> None:
    kinds = Counter(first_fault(episode).kind for episode in range(1, 3001))
    behaviours = Counter(behaviour_of(SEED, 1.0, episode) for episode in range(1, 3001))
    assert set(kinds) == set(Transient)
    assert set(behaviours) == set(Behaviour)
    for counted in (kinds, behaviours):
        assert max(counted.values()) < 1.6 * min(counted.values())


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_at_most_three_attempts_in_a_row_fail(share: float) -> None:
    for episode, turn in itertools.product(range(1, 101), range(3)):
        fine = [fault_of(SEED, share, episode, turn, attempt) is None for attempt in range(1, 41)]
        assert all(any(fine[start : start + 4]) for start in range(37))


def test_a_larger_share_adds_faults_and_changes_none() -> None:
    for episode in range(1, 301):
        few, many = fault_of(SEED, 0.2, episode, 1, 1), fault_of(SEED, 0.6, episode, 1, 1)
        assert few in (None, many)
        assert behaviour_of(SEED, 0.2, episode) in {None, behaviour_of(SEED, 0.6, episode)}


def test_seeds_turns_and_attempts_meet_different_faults() -> None:
    def drawn(seed: Any, turn: Any, attempt: Any) -> Any:
        return [fault_of(seed, 0.5, episode, turn, attempt) for episode in range(1, 31)]

    assert len({tuple(drawn(*place)) for place in [(0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2)]}) == 4


@STREAMED
@pytest.mark.parametrize("kind", STATUSES)
async def test_a_refused_attempt_is_what_the_sdk_calls_it(
    client: AsyncAnthropic, kind: Transient, stream: bool
) -> None:
    error_class, status, name = STATUSES[kind]
    with pytest.raises(error_class) as caught:
        await ask(client, request(meeting(kind)), stream=stream)
    error = caught.value
    assert isinstance(error, anthropic.APIStatusError)
    assert (error.status_code, error.type) == (status, name)
    assert error.request_id is not None
    assert error.request_id.startswith("req_")
    assert error.response.headers["x-should-retry"] == "true"


async def test_only_one_kind_of_rate_limit_says_how_long_to_wait(client: AsyncAnthropic) -> None:
    for kind in (Transient.RATE_LIMIT, Transient.RATE_LIMIT_BARE):
        with pytest.raises(anthropic.RateLimitError) as caught:
            await ask(client, request(meeting(kind)), stream=False)
        headers = caught.value.response.headers
        assert ("retry-after" in headers) == (kind is Transient.RATE_LIMIT)
        assert 0.05 <= float(headers.get("retry-after", "0.1")) <= 0.3
        assert headers["anthropic-ratelimit-requests-remaining"] == "0"


async def test_an_overload_strikes_in_the_middle_of_a_stream_only(client: AsyncAnthropic) -> None:
    episode = meeting(Transient.OVERLOADED_MIDWAY)
    with pytest.raises(anthropic.OverloadedError):
        await ask(client, request(episode), stream=False)
    with pytest.raises(anthropic.APIStatusError, match="overloaded_error") as caught:
        await ask(client, request(episode), stream=True)
    assert caught.value.status_code == 200
    raw = await client.messages.with_raw_response.create(**request(episode), stream=True)
    kinds = re.findall(r"^event: (.*)$", (await raw.http_response.aread()).decode(), re.MULTILINE)
    assert (kinds[0], kinds[-1]) == ("message_start", "error")
    assert "message_delta" not in kinds


@STREAMED
@pytest.mark.parametrize("kind", [Transient.HANG, Transient.DROP, Transient.DROP_IN_HEADERS])
async def test_a_closed_connection_is_a_connection_error(client: AsyncAnthropic, kind: Transient, stream: bool) -> None:
    with pytest.raises(anthropic.APIConnectionError) as caught:
        await ask(client, request(meeting(kind)), stream=stream)
    assert isinstance(caught.value.__cause__, httpx2.RemoteProtocolError)
    assert not isinstance(caught.value, anthropic.APITimeoutError)


async def test_a_body_that_breaks_off_is_a_protocol_error(client: AsyncAnthropic) -> None:
    episode = meeting(Transient.TRUNCATED)
    with pytest.raises(anthropic.APIConnectionError) as caught:
        await ask(client, request(episode), stream=False)
    with pytest.raises(httpx2.RemoteProtocolError, match="incomplete chunked read"):
        await ask(client, request(episode), stream=True)
    assert re.search(r"received \d+ bytes, expected \d+", str(caught.value.__cause__))


async def test_half_a_body_that_claims_to_be_whole_is_no_json_and_no_finished_stream(client: AsyncAnthropic) -> None:
    episode = meeting(Transient.CUT)
    with pytest.raises(json.JSONDecodeError):
        await ask(client, request(episode), stream=False)
    assert (await ask(client, request(episode), stream=True)).stop_reason is None


@STREAMED
async def test_an_unfinished_message_has_no_stop_reason(client: AsyncAnthropic, stream: bool) -> None:
    answer = await ask(client, request(meeting(Transient.UNFINISHED)), stream=stream)
    assert isinstance(answer, Message)
    assert answer.stop_reason is None
    assert [block.type for block in answer.content][:2] == ["thinking", "text"]


async def test_a_proxys_page_is_text_with_status_200(client: AsyncAnthropic) -> None:
    episode = meeting(Transient.PROXY_PAGE)
    answer = await ask(client, request(episode), stream=False)
    raw = await client.messages.with_raw_response.create(**request(episode))
    assert isinstance(answer, str)
    assert answer.startswith("<!DOCTYPE html>")
    assert raw.headers["content-type"] == "text/html"
    assert "request-id" not in raw.headers


async def raw_connection(url: str, episode: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends a request whose head the server has taken in."""
    body = json.dumps(request(episode)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n"
        f"Authorization: Bearer {OFFLINE_KEY}\r\nanthropic-version: {API_VERSION}\r\n\r\n".encode()
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    return reader, writer


@pytest.mark.parametrize(
    ("kind", "words"), [(Transient.DROP, b""), (Transient.DROP_IN_HEADERS, b"HTTP/1.1 200 OK\r\n")]
)
async def test_a_dropped_connection_ends_before_the_headers_do(kind: Transient, words: bytes) -> None:
    async with serve_offline(SEED, faults=1.0) as url:
        reader, writer = await raw_connection(url, meeting(kind))
        said = await reader.read()
        writer.close()
    assert said.startswith(words)
    assert b"\r\n\r\n" not in said
    assert bool(said) == bool(words)


async def test_a_hang_ends_when_the_client_leaves() -> None:
    log: list[Any] = []
    over = asyncio.Event()

    def keep(line: Any) -> None:
        log.append(line)
        over.set()

    async with offline(hang_s=600, log=keep) as client:
        with pytest.raises(anthropic.APITimeoutError):
            await ask(client.with_options(timeout=0.2), request(meeting(Transient.HANG)), stream=False)
        await asyncio.wait_for(over.wait(), 5)
    assert [(line["fault"], line["status"], line["answered"]) for line in log] == [("hang", None, False)]


@pytest.mark.timed
async def test_a_hang_ends_when_the_server_stops() -> None:
    log: list[Any] = []
    async with serve_offline(SEED, faults=1.0, hang_s=600, log=log.append) as url:
        reader, writer = await raw_connection(url, meeting(Transient.HANG))
        began = time.monotonic()
    assert await reader.read() == b""
    assert time.monotonic() - began < 2
    assert [line["fault"] for line in log] == ["hang"]
    writer.close()


@pytest.mark.parametrize("kind", Transient)
async def test_a_patient_client_gets_the_proper_answer_with_the_fourth_attempt(
    client: AsyncAnthropic, told: list[Any], kind: Transient
) -> None:
    before = len(told)
    answer = await patiently(client, request(meeting(kind)))
    lines = told[before:]
    assert [line["attempt"] for line in lines] == [1, 2, 3, 4]
    assert [line["answered"] for line in lines] == [False, False, False, True]
    assert lines[0]["fault"] == kind.value
    assert (lines[3]["message_id"], lines[3]["request_id"]) == (answer.id, answer._request_id)


async def test_faults_are_the_same_again_in_any_order_and_on_any_server() -> None:
    async def run(order: Callable[[Any], Any], name: str, concurrency: int) -> Any:
        log: list[Any] = []
        gate = asyncio.Semaphore(concurrency)

        async def one(client: AsyncAnthropic, episode: int) -> None:
            async with gate:
                await Agent(client, episode, name).play()

        async with offline(0.4, log=log.append) as client:
            await asyncio.gather(*(one(client, episode) for episode in order(range(1, 16))))
        return befallen(log)

    first = await run(list, "run", 1)
    assert first == await run(lambda episodes: list(reversed(episodes)), "another-run", 15)
    assert sum(fault != "" for *_, fault in first) > 20


async def test_an_episode_that_begins_again_meets_the_same_faults_again() -> None:
    log: list[Any] = []
    async with offline(0.5, log=log.append) as client:
        for _ in range(2):
            await Agent(client, 3, "run").play()
    once = len(log) // 2
    assert befallen(log[:once]) == befallen(log[once:])
    assert {line["turn"] for line in log[:once]} > {0, 1}


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
async def test_every_episode_ends_as_expected(share: float) -> None:
    log: list[Any] = []
    async with offline(share, log=log.append) as client:
        agents = [Agent(client, episode) for episode in range(1, 41)]
        outcomes = await asyncio.gather(*(agent.play() for agent in agents))
    assert outcomes == [expected_outcome(SEED, share, agent.episode) for agent in agents]
    failed = sum(line["fault"] is not None for line in log)
    assert failed / len(log) == pytest.approx(min(share, 0.75), abs=0.08)


async def test_the_log_tells_exactly_what_the_clients_got() -> None:
    log: list[Any] = []
    async with offline(0.5, log=log.append) as client:
        agents = [Agent(client, episode) for episode in range(1, 21)]
        await asyncio.gather(*(agent.play() for agent in agents))
        with pytest.raises(anthropic.BadRequestError) as refused:
            await client.messages.create(**{**request(1), "messages": []})
    got = {answer.id: answer for agent in agents for answer in agent.answers}
    told = [line for line in log if line["answered"]]
    assert sorted(line["message_id"] for line in told) == sorted(got)
    assert all(line["usage"] == got[line["message_id"]].usage.to_dict() for line in told)
    assert all(line["fault"] is None and line["status"] == 200 for line in told)
    assert len({line["request_id"] for line in log}) == len(log)
    names = {"episode", "turn", "attempt", "fault", "status", "request_id", "message_id", "usage", "answered"}
    assert all(set(line) == names for line in log)
    assert {name: value for name, value in log[-1].items() if value} == {
        "status": 400,
        "request_id": refused.value.request_id,
    }


async def test_the_log_knows_the_message_that_a_fault_kept_back(client: AsyncAnthropic, told: list[Any]) -> None:
    for kind in (Transient.CUT, Transient.OVERLOADED):
        with pytest.raises((anthropic.APIError, ValueError)):
            await ask(client, request(meeting(kind)), stream=False)
    cut, overloaded = told[-2:]
    assert (cut["status"], cut["answered"]) == (200, False)
    assert cut["message_id"].startswith("msg_")
    assert cut["usage"]["output_tokens"] > 0
    assert (overloaded["status"], overloaded["message_id"], overloaded["usage"]) == (529, None, None)


async def test_an_answer_that_nobody_waits_for_counts_as_none() -> None:
    class Gone:
        def is_closing(self) -> bool:
            return True

    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(request(1)).encode(), "more_body": False}

    async def send(_: Any) -> None:
        pass

    log: list[Any] = []
    endpoint = MessagesEndpoint(Settings(SEED, log=log.append), ThinkingSigner())
    headers = {"authorization": f"Bearer {OFFLINE_KEY}", "anthropic-version": API_VERSION}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await endpoint({"type": "http", "headers": raw, "state": {"transport": Gone()}}, receive, send)
    assert [(line["status"], line["fault"], line["answered"]) for line in log] == [(200, None, False)]


async def off_script(client: AsyncAnthropic, behaviour: Behaviour) -> tuple[Agent, Message]:
    """An episode, and its answer that leaves the script."""
    agent = Agent(client, showing(behaviour))
    assert await agent.play() == expected_outcome(SEED, 1.0, agent.episode)
    for answer, step in zip(agent.answers, usual(agent), strict=False):
        uses = [(block.name, block.input) for block in answer.content if block.type == "tool_use"]
        if uses != [(use.name, use.input) for use in step.tool_uses]:
            return agent, answer
    raise AssertionError("it went by the script")


def usual(agent: Agent) -> Any:
    return script(policy_for(SEED, agent.episode), TASK["prompt"])


async def test_malformed_input_is_followed_by_the_right_call(client: AsyncAnthropic) -> None:
    agent, odd = await off_script(client, Behaviour.MALFORMED_INPUT)
    after = agent.answers[agent.answers.index(odd) + 1]
    for wrong, right in zip(odd.content[2:], after.content[2:], strict=True):
        assert wrong.type == right.type == "tool_use"
        assert wrong.name == right.name
        assert wrong.input != right.input


def test_malformed_input_is_another_key_a_number_or_a_key_too_many() -> None:
    shapes = set()
    for episode in range(1, 300):
        if behaviour_of(SEED, 1.0, episode) is Behaviour.MALFORMED_INPUT:
            uses = [use for step in played(SEED, 1.0, episode, TASK["prompt"]) for use in step.tool_uses]
            shapes |= {tuple((name, type(value).__name__) for name, value in use.input.items()) for use in uses}
    for name in ("expression", "code"):
        assert {(("source", "str"),), ((name, "int"),), ((name, "str"), ("timeout", "int"))} < shapes


async def test_a_paused_turn_is_resumed_within_one_message(client: AsyncAnthropic) -> None:
    agent, odd = await off_script(client, Behaviour.PAUSE_TURN)
    assert odd.stop_reason == "pause_turn"
    assert [block.type for block in odd.content] == ["text"]
    assert sum(message["role"] == "assistant" for message in agent.messages) == len(agent.answers) - 1
    assert len(agent.answers) == len(usual(agent)) + 1


async def test_a_paused_turn_may_be_answered_instead(client: AsyncAnthropic) -> None:
    class Chatty(Agent):
        def react(self, answer: Message) -> str | None:
            outcome = super().react(answer)
            if answer.stop_reason == "pause_turn":
                say(self.messages, "user", [{"type": "text", "text": "Go on."}])
            return outcome

    agent = Chatty(client, showing(Behaviour.PAUSE_TURN))
    assert await agent.play() == expected_outcome(SEED, 1.0, agent.episode)
    assert len(agent.answers) == len(usual(agent)) + 1


async def test_thinking_cannot_be_taken_out_of_a_resumed_turn(client: AsyncAnthropic) -> None:
    agent, odd = await off_script(client, Behaviour.PAUSE_TURN)
    messages = agent.messages
    while messages[-1]["content"][0]["type"] != "text" or messages[-1]["role"] == "user":
        messages.pop()
    assert messages[-1]["content"][0] == odd.content[0].to_dict()
    calls = [block["id"] for block in messages[-1]["content"] if block["type"] == "tool_use"]
    say(messages, "user", [{"type": "tool_result", "tool_use_id": call, "content": "?"} for call in calls])
    messages[-2]["content"] = [block for block in messages[-2]["content"] if block["type"] != "thinking"]
    with pytest.raises(anthropic.BadRequestError, match="expected `thinking`"):
        await client.messages.create(**request(agent.episode, messages))


async def test_a_submission_is_cut_off_and_then_comes_whole(client: AsyncAnthropic) -> None:
    agent, odd = await off_script(client, Behaviour.MAX_TOKENS)
    after = agent.answers[agent.answers.index(odd) + 1]
    half, whole = odd.content[-1], after.content[-1]
    assert odd.stop_reason == "max_tokens"
    assert half.type == whole.type == "tool_use"
    assert str(whole.input["code"]).startswith(str(half.input["code"]))
    assert len(str(half.input["code"])) < len(str(whole.input["code"]))


async def test_two_expressions_and_the_submission_come_in_one_turn(client: AsyncAnthropic) -> None:
    _, odd = await off_script(client, Behaviour.PARALLEL_TOOLS)
    names = [block.name for block in odd.content if block.type == "tool_use"]
    assert names == ["python_expression", "python_expression", "submit_code"]


async def test_a_turn_that_only_talks_is_followed_by_the_script(client: AsyncAnthropic) -> None:
    agent, odd = await off_script(client, Behaviour.NO_TOOL)
    assert odd.stop_reason == "end_turn"
    assert len(agent.answers) == len(usual(agent)) + 1


async def test_a_refusal_says_why_and_is_repeated(client: AsyncAnthropic) -> None:
    agent, odd = await off_script(client, Behaviour.REFUSAL)
    assert odd.stop_reason == "refusal"
    assert odd.stop_details is not None
    assert odd.stop_details.category == "cyber"
    assert "declined" in (odd.stop_details.explanation or "")
    say(agent.messages, "user", [{"type": "text", "text": "Please go on."}])
    assert await agent.play() == "refused"


async def test_a_context_that_is_full_ends_the_episode(client: AsyncAnthropic) -> None:
    _, odd = await off_script(client, Behaviour.CONTEXT_EXCEEDED)
    assert odd.stop_reason == "model_context_window_exceeded"
    assert not any(block.type == "tool_use" for block in odd.content)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
async def test_a_share_beyond_all_and_nothing_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="faults"):
        async with serve_offline(0, faults=share):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_serves_logs_and_ends_cleanly(
    number: signal.Signals, tmp_path: Path, clean_environment: Any
) -> None:
    log, arguments = tmp_path / "calls.jsonl", ("--seed", str(SEED), "--faults", "1", "--hang-s", "0.01")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runner.offline", *arguments, "--log", str(log)),
        stdout=asyncio.subprocess.PIPE,
        env=clean_environment,
    )
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        async with offline_client(url) as client:
            answer = await patiently(client, request(4))
    finally:
        process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [line["attempt"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["message_id"] == answer.id


async def test_the_program_says_that_its_port_is_taken(clean_environment: Any) -> None:
    async with serve_offline(0) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "runner.offline", "--port", url.rpartition(":")[2]),
            stderr=asyncio.subprocess.PIPE,
            env=clean_environment,
        )
        _, words = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert b"choose another with --port" in words
